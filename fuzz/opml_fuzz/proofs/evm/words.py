"""Words of the EVM: 256 bits, known or not.

A word is an int, a z3 vector of 256 bits, or a z3 truth value, which counts as 0 or 1. What can be computed is computed: after each rule z3
simplifies, and a numeral becomes an int. So a program that shifts and masks an instruction word of which only the registers are unknown
decodes it without any search.

DIV, SDIV, MOD and SMOD use one unknown function, `DIVISION`, for the quotient of two numbers that are not negative, as the specification's
symbols do (`symbols.py`). So do products where the exploration knows no products.

*Source*: Ethereum Yellow Paper, appendix H.2. That SMOD is what SDIV leaves is the statement `division.smod`.
"""

from collections.abc import Callable
from typing import Any

import z3

from opml_fuzz.proofs.symbols import DIVISION, PRODUCT

BITS = 256
TOP = 1 << BITS
SIGN = TOP >> 1

Word = Any
"""int, z3.BitVecRef of 256 bits, or z3.BoolRef."""


def vector(word: Word) -> z3.BitVecRef:
    """Makes a word a vector of 256 bits."""
    if isinstance(word, int):
        return z3.BitVecVal(word, BITS)
    return z3.If(word, z3.BitVecVal(1, BITS), z3.BitVecVal(0, BITS)) if z3.is_bool(word) else word


def reduced(term: Any) -> Word:
    """Simplifies a vector or a truth value; what is known becomes an int."""
    term = z3.simplify(term, ctrl_c=False)
    if z3.is_bv_value(term):
        return term.as_long()
    if z3.is_true(term) or z3.is_false(term):
        return int(z3.is_true(term))
    return term


def is_nonzero(word: Word) -> Any:
    """The condition that a word is not 0: a bool if that is known, else a formula."""
    if isinstance(word, int):
        return word != 0
    return word if z3.is_bool(word) else formula(word != 0)


def formula(condition: Any) -> Any:
    """Simplifies a condition; a bool if it is known."""
    word = reduced(condition)
    return bool(word) if isinstance(word, int) else word


def choice(condition: z3.BoolRef, yes: Word, no: Word) -> Word:
    """The word that is `yes` where the condition holds, else `no`."""
    if isinstance(yes, int) and isinstance(no, int):
        return yes if yes == no else reduced(z3.If(condition, vector(yes), vector(no))) if max(yes, no) > 1 else bit(condition, yes)
    if not isinstance(yes, int) and not isinstance(no, int) and yes.eq(no):
        return yes
    if truth(yes) is not None and truth(no) is not None:
        return reduced(z3.If(condition, truth(yes), truth(no)))
    return reduced(z3.If(condition, vector(yes), vector(no)))


def bit(condition: z3.BoolRef, yes: int) -> Word:
    """The truth value of the condition if `yes` is 1, of its contrary if it is 0."""
    return reduced(condition if yes else z3.Not(condition))


def truth(word: Word) -> z3.BoolRef | None:
    """The word as a truth value, if it is one."""
    if isinstance(word, int):
        return z3.BoolVal(bool(word)) if word < 2 else None
    return word if z3.is_bool(word) else None


# The rules: what an opcode gives for its operands, the top of the stack first ----------------------------------------------------------


def signed(word: int) -> int:
    return word - TOP if word >= SIGN else word


def toward_zero(a: int, b: int) -> int:
    """The quotient of two signed words."""
    a, b = signed(a), signed(b)
    return 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def quotient(a: z3.BitVecRef, b: z3.BitVecRef) -> z3.BitVecRef:
    return z3.If(b == 0, z3.BitVecVal(0, BITS), DIVISION(a, b))


def signed_quotient(a: z3.BitVecRef, b: z3.BitVecRef) -> z3.BitVecRef:
    magnitude = DIVISION(z3.If(a < 0, -a, a), z3.If(b < 0, -b, b))
    return z3.If(b == 0, z3.BitVecVal(0, BITS), z3.If((a < 0) == (b < 0), magnitude, -magnitude))


def left_over(divide: Callable[[Any, Any], Any]) -> Callable[[Any, Any], z3.BitVecRef]:
    """MOD and SMOD: what the division leaves, 0 for a divisor of 0."""
    return lambda a, b: z3.If(b == 0, z3.BitVecVal(0, BITS), a - PRODUCT(b, divide(a, b)))


def shift(rule: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Shifts take the amount first."""
    return lambda amount, value: rule(value, amount)


def byte(at: z3.BitVecRef, word: z3.BitVecRef) -> z3.BitVecRef:
    return z3.If(z3.ULT(at, 32), z3.LShR(word, 8 * (31 - at)) & 255, z3.BitVecVal(0, BITS))


def right(value: int, amount: int) -> int:
    return value >> amount if amount < BITS else 0


BINARY: dict[str, tuple[Callable[[int, int], int], Callable[[Any, Any], Any]]] = {
    "ADD": (lambda a, b: a + b, lambda a, b: a + b),
    "MUL": (lambda a, b: a * b, lambda a, b: a * b),
    "SUB": (lambda a, b: a - b, lambda a, b: a - b),
    "DIV": (lambda a, b: a // b if b else 0, quotient),
    "SDIV": (toward_zero, signed_quotient),
    "MOD": (lambda a, b: a % b if b else 0, left_over(quotient)),
    "SMOD": (lambda a, b: signed(a) - signed(b) * signed(toward_zero(a, b) % TOP) if b else 0, left_over(signed_quotient)),
    "LT": (lambda a, b: a < b, z3.ULT),
    "GT": (lambda a, b: a > b, z3.UGT),
    "SLT": (lambda a, b: signed(a) < signed(b), lambda a, b: a < b),
    "SGT": (lambda a, b: signed(a) > signed(b), lambda a, b: a > b),
    "EQ": (lambda a, b: a == b, lambda a, b: a == b),
    "AND": (lambda a, b: a & b, lambda a, b: a & b),
    "OR": (lambda a, b: a | b, lambda a, b: a | b),
    "XOR": (lambda a, b: a ^ b, lambda a, b: a ^ b),
    "BYTE": (lambda at, word: right(word, 8 * (31 - at)) & 255 if at < 32 else 0, byte),
    "SHL": (lambda amount, value: value << amount if amount < BITS else 0, shift(lambda a, b: a << b)),
    "SHR": (lambda amount, value: right(value, amount), shift(z3.LShR)),
    "SAR": (lambda amount, value: signed(value) >> min(amount, BITS), shift(lambda a, b: a >> b)),
}
"""Each twice: on ints, to be cut to 256 bits, and on vectors."""

LOGIC: dict[str, Callable[[Any, Any], z3.BoolRef]] = {"AND": z3.And, "OR": z3.Or, "XOR": z3.Xor, "EQ": lambda a, b: a == b}
"""What some of them are on two truth values."""


def binary(name: str, a: Word, b: Word, knows_products: bool = True) -> Word:
    """The result of an opcode with two operands."""
    on_ints, on_vectors = BINARY[name]
    if isinstance(a, int) and isinstance(b, int):
        return int(on_ints(a, b)) % TOP
    first, second = truth(a), truth(b)
    if name in LOGIC and first is not None and second is not None:
        return reduced(LOGIC[name](first, second))
    if name == "MUL" and not knows_products and not isinstance(a, int) and not isinstance(b, int):
        on_vectors = PRODUCT
    if name in ("SHL", "SHR", "SAR") and isinstance(b, int) and b == 0:  # z3 does not simplify this
        return 0
    return reduced(on_vectors(vector(a), vector(b)))


def is_zero(word: Word) -> Word:
    """The result of ISZERO."""
    condition = is_nonzero(word)
    return int(not condition) if isinstance(condition, bool) else reduced(z3.Not(condition))


def complement(word: Word) -> Word:
    """The result of NOT."""
    return TOP - 1 - word if isinstance(word, int) else reduced(~vector(word))
