"""Statements about binary32: the specification's operations are IEEE 754's, as the prover's own theory defines them.

The specification's text knows its format by four constants. So the same text, with other constants, is an arithmetic of smaller floats, and
of these the solver can prove everything. Of binary32 itself it proves what does not align or multiply significands.

*Source*: spec §1.3; IEEE Std 754-2019.
"""

import re
from functools import cache
from inspect import getsource
from itertools import product
from types import SimpleNamespace
from typing import Any

from opml_spec.arithmetic import binary32

from opml_fuzz.statements.statement import Float, Statement

BINARY32 = (8, 23)
MODES = ("RNE", "RTZ", "RDN", "RUP", "RMM")


@cache
def arithmetic(exponent_bits: int, fraction_bits: int) -> Any:
    """The specification's binary32 with the constants of another format."""
    bias = (1 << (exponent_bits - 1)) - 1
    constants = {"FRACTION_BITS": fraction_bits, "MIN_EXPONENT": 1 - bias, "MAX_EXPONENT": bias}
    constants["SIGN"] = 1 << (exponent_bits + fraction_bits)
    text = getsource(binary32)
    for name, value in constants.items():
        text, count = re.subn(rf"^{name} = .*", f"{name} = {value}", text, flags=re.M)
        if count != 1:
            raise ValueError(f"binary32 does not define {name} in one line")
    scope: dict[str, Any] = {"__name__": f"binary{1 + exponent_bits + fraction_bits}"}
    exec(text, scope)
    return SimpleNamespace(**scope)


def of_format(a: Any) -> Any:
    return arithmetic(a.kind.exponent_bits, a.kind.fraction_bits)


def one_of_all(a: Any) -> Any:
    """The float, no longer a symbol: the prover tries all values of all bits."""
    return a.with_bits(sum(1 << place for place in range(a.kind.bits) if a.bits >> place & 1))


def operates(operation: str, operands: int, mode: str, a: Any) -> bool:
    """The operation has the bits of the theory's result, whatever its operands are, the first of them being `a`."""
    a, spec = one_of_all(a), of_format(a)
    ours, theirs, rounding = getattr(spec, operation), getattr(a, operation), spec.Rounding[mode]
    others = [[*a.every()]] * (operands - 1)
    return all(theirs(*rest, mode).has(ours(a.bits, *(one.bits for one in rest), rounding)) for rest in product(*others))


def converts(mode: str, a: Any) -> bool:
    """Integers become the nearest floats, up to infinity, and floats the nearest integers of 4 bits."""
    a, spec = one_of_all(a), of_format(a)
    rounding, values = spec.Rounding[mode], range(a.bits - 128, 128, 1 << a.kind.bits)
    rounds = a.to_integer(4, mode, spec.to_fixed(a.bits, -8, 7, 0, rounding))
    return rounds and all(a.of_integer(value, 8, mode).has(spec.from_fixed(value, 0, rounding)) for value in values)


def compares(a: Any, b: Any) -> Any:
    spec = arithmetic(a.kind.exponent_bits, a.kind.fraction_bits)
    pairs = ((spec.eq, a.equal), (spec.lt, a.less), (spec.le, a.at_most))
    return all(bool(ours(a.bits, b.bits)) == bool(theirs(b)) for ours, theirs in pairs)


def becomes_integer(width: int, mode: str, a: Any) -> Any:
    """A float becomes the nearest integer in range."""
    spec = arithmetic(a.kind.exponent_bits, a.kind.fraction_bits)
    return a.to_integer(width, mode, spec.to_fixed(a.bits, -(1 << (width - 1)), (1 << (width - 1)) - 1, 0, spec.Rounding[mode]))


SMALL = Float(3, 2)
SMALLER = Float(2, 2)  # the theory has none that are smaller
STATEMENTS = (
    *(
        Statement(
            f"floats.{operation}",
            f"{operation} of the specification is IEEE's, for all floats of {kind.bits} bits, rounded by {', '.join(modes)}",
            {"a": kind},
            operates,
            cases=tuple((operation, operands, mode) for mode in modes),
        )
        for operation, operands, kind, modes in (
            ("add", 2, SMALL, MODES),
            ("sub", 2, SMALL, MODES),
            ("mul", 2, SMALL, MODES),
            ("div", 2, SMALL, MODES),
            ("sqrt", 1, Float(3, 4), MODES),
            ("fma", 3, SMALLER, ("RNE", "RDN")),  # `add` and `mul` are fma too, in all directions
        )
    ),
    Statement("floats.compares", "comparisons of binary32 are IEEE's", {"a": Float(*BINARY32), "b": Float(*BINARY32)}, compares),
    Statement(
        "floats.integers",
        "integers become floats of 6 bits, and these integers, as in IEEE",
        {"a": SMALL},
        converts,
        cases=tuple((mode,) for mode in MODES),
    ),
    Statement(
        "floats.to_integer",
        "a float of binary32 becomes the nearest 32-bit or 64-bit integer in range, as in IEEE",
        {"a": Float(*BINARY32)},
        becomes_integer,
        cases=((32, "RNE"), (64, "RNE")),
    ),
)
