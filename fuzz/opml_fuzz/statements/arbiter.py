"""The arbiter's formulas, read from its source.

The arbiter is written in Vyper, and a Vyper function that only computes is valid Python. So the text of such functions, of the arbiter and
of the modules that it imports, is executed here on `EvmWord`s, which do what the EVM's instructions do, over ints and over symbols alike.
The specification is therefore compared with the contract's own text; the compiler, between text and bytecode, is left to the fuzzer.

*Source*: Ethereum Yellow Paper, appendix H.2 (the instructions); Vyper's language reference (their names).
"""

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from evm_arbiter.compile import sources

WORD_BITS = 256
SIGN = 1 << (WORD_BITS - 1)
MASK = (1 << WORD_BITS) - 1

Term = Any  # an int in [−2^255, 2^255), or a symbol, which wraps by itself


class EvmWord:
    """A 256-bit word. `value` is its meaning in two's complement; unsigned operations reinterpret it."""

    def __init__(self, value: Term) -> None:
        self.value = ((value & MASK) ^ SIGN) - SIGN if isinstance(value, int) else value

    def __add__(self, other: Any) -> "EvmWord":
        return EvmWord(self.value + word(other).value)

    def __sub__(self, other: Any) -> "EvmWord":
        return EvmWord(self.value - word(other).value)

    def __mul__(self, other: Any) -> "EvmWord":
        return EvmWord(self.value * word(other).value)

    def __and__(self, other: Any) -> "EvmWord":
        return EvmWord(self.value & word(other).value)

    def __or__(self, other: Any) -> "EvmWord":
        return EvmWord(self.value | word(other).value)

    def __xor__(self, other: Any) -> "EvmWord":
        return EvmWord(self.value ^ word(other).value)

    __radd__, __rmul__, __rand__, __ror__, __rxor__ = __add__, __mul__, __and__, __or__, __xor__

    def __invert__(self) -> "EvmWord":
        return EvmWord(~self.value)

    def __lshift__(self, other: Any) -> "EvmWord":
        """SHL by less than 256."""
        return EvmWord(self.value << word(other).value)

    def __rshift__(self, other: Any) -> "EvmWord":
        """SHR by less than 256: an arithmetic shift whose sign bits are masked out."""
        amount = word(other).value
        return EvmWord((self.value >> amount) & ~((-1 << (WORD_BITS - 1 - amount)) << 1))

    def __rlshift__(self, other: int) -> "EvmWord":
        return word(other) << self

    def __eq__(self, other: object) -> Any:
        return self.value == word(other).value

    def __ne__(self, other: object) -> Any:
        return self.value != word(other).value

    def __lt__(self, other: Any) -> Any:
        """LT: the signed order after both signs are flipped."""
        return (self ^ SIGN).value < (word(other) ^ SIGN).value

    def __ge__(self, other: Any) -> Any:
        return (self ^ SIGN).value >= (word(other) ^ SIGN).value

    def __gt__(self, other: Any) -> Any:
        return (self ^ SIGN).value > (word(other) ^ SIGN).value

    def __hash__(self) -> int:
        return hash(self.value)

    def __mod__(self, other: Any) -> "EvmWord":
        """MOD by a divisor other than 0; both below 2^255."""
        divisor = word(other).value
        return EvmWord(self.value - divisor * (self.value // divisor))


class SignedWord:
    """A 256-bit word that Vyper has typed int256."""

    def __init__(self, value: Term) -> None:
        self.value = value

    def __floordiv__(self, other: "SignedWord") -> "SignedWord":
        """SDIV by a divisor other than 0; it rounds toward zero."""
        magnitude = abs(self.value) // abs(other.value)
        return SignedWord(magnitude if bool(self.value < 0) == bool(other.value < 0) else -magnitude)

    def __mod__(self, other: "SignedWord") -> "SignedWord":
        """SMOD by a divisor other than 0: the remainder of SDIV (`division.smod` states that this is sgn(a)·(|a| mod |b|))."""
        return SignedWord(self.value - other.value * (self // other).value)


def word(value: Any) -> EvmWord:
    """Makes an operand, which may be a literal, a word."""
    return value if isinstance(value, EvmWord) else EvmWord(value)


def unsafe_div(a: Any, b: Any) -> Any:
    """Divides by DIV or SDIV, depending on the type of the operands."""
    return a // b if isinstance(a, SignedWord) else EvmWord(word(a).value // word(b).value)


def read_arbiter(texts: Mapping[str, str]) -> SimpleNamespace:
    """Reads the arbiter's internal functions that only compute, by name, and those of the module `codec`, which it imports."""
    codec = read_module(texts["modules/codec.vy"])
    arbiter = read_module(texts["arbiter.vy"], codec=codec)
    arbiter._signed = lambda value: SignedWord(word(value).value)  # these two change the type and keep the bits
    arbiter._word = lambda value: EvmWord(value.value)
    return arbiter


def read_module(text: str, **imported: SimpleNamespace) -> SimpleNamespace:
    """Reads the constants of one text, and its internal functions that only compute, by name; imported modules are read the same way."""
    scope: dict[str, Any] = {
        **imported,
        "unsafe_add": lambda a, b: word(a) + b,
        "unsafe_sub": lambda a, b: word(a) - b,
        "unsafe_mul": lambda a, b: word(a) * b,
        "unsafe_div": unsafe_div,
    }
    constants = re.findall(r"^(\w+): constant\(uint256\) = ([^#\n]+)", text, re.M)
    for name, value in constants:
        scope[name] = eval(value, scope)  # made of literals and earlier constants
    functions = re.findall(r"^@internal\n@pure\n(def (\w+).*?)(?=^@|\Z)", text, re.M | re.S)
    for source, _ in functions:
        exec("from __future__ import annotations\n" + source, scope)  # Vyper's types are not evaluated
    names = [*imported, *(name for name, _ in constants), *(name for _, name in functions)]
    scope["self"] = module = SimpleNamespace(**{name: scope[name] for name in names})
    return module


ARBITER = read_arbiter(sources())
