"""Statements about arithmetic: the arbiter's formula on 256-bit words gives each instruction's meaning on integers.

*Source*: spec §2; The RISC-V Instruction Set Manual, Volume I, "RV64I", "M".
"""

from operator import and_
from typing import Any

from opml_spec.machine.instructions import INSTRUCTIONS
from opml_spec.words import quotient, remainder, signed, wrap

from opml_fuzz.machine.encodings import ENCODINGS
from opml_fuzz.statements.arbiter import ARBITER, word
from opml_fuzz.statements.statement import Integer, Statement, Word

OPERANDS = {"a": Word(64), "b": Word(64)}
FRACTION = {"dividend": Integer(-(1 << 64)), "divisor": Integer(-(1 << 64))}
MEANINGS: dict[str, Any] = {row.name: row.meaning for row in INSTRUCTIONS}
BRANCH = 0b1100011


def computes(name: str, a: Any, b: Any) -> Any:
    """`_compute` gives the meaning, wrapped to 64 bits."""
    match = ENCODINGS[name].match
    result = ARBITER._compute(match >> 25, match >> 12 & 7, word(a), word(b), 32 if match & 8 else 64)
    return result == word(wrap(MEANINGS[name](a, b)))


def branches(name: str, a: Any, b: Any) -> Any:
    """`_compare`, negated for odd funct3, is the condition."""
    funct3 = ENCODINGS[name].match >> 12 & 7
    taken = bool(ARBITER._compare(funct3, word(a), word(b))) != (funct3 & 1 == 1)
    return taken == bool(MEANINGS[name](a, b))


def extends(width: int, a: Any) -> Any:
    """`_extend` extends the sign to 64 bits."""
    return ARBITER._extend(word(a & (1 << width) - 1), 1 << (width - 1)) == word(wrap(signed(a, width)))


def turns_bytes(a: Any) -> Any:
    """`codec.reverse` moves byte i to place 7 − i."""
    turned = ARBITER.codec.reverse(word(a)).value
    byte_pairs = ((turned >> 8 * i & 255) == (a >> 8 * (7 - i) & 255) for i in range(8))
    result: Any = turned >> 64 == 0
    for pair in byte_pairs:
        result = and_(result, pair)
    return result


def euclid(dividend: Any, divisor: Any) -> Any:
    """The manual's definition holds: dividend = divisor · quotient + remainder, |remainder| < |divisor|, its sign that of the dividend."""
    q, r = quotient(dividend, divisor), remainder(dividend, divisor)
    return (dividend == divisor * q + r) & (abs(r) < abs(divisor)) & ((r == 0) | ((r < 0) == (dividend < 0)))


def smod_is_left(dividend: Any, divisor: Any) -> Any:
    """The Yellow Paper's SMOD, sgn(a)·(|a| mod |b|), is the remainder of the division toward zero."""
    magnitude = abs(dividend) % abs(divisor)
    return remainder(dividend, divisor) == (-magnitude if dividend < 0 else magnitude)


def euclid_by_zero(dividend: Any) -> Any:
    """The quotient is all ones, the remainder the dividend."""
    return (wrap(quotient(dividend, 0)) == wrap(-1)) & (remainder(dividend, 0) == dividend)


def not_by_zero(dividend: Any, divisor: Any) -> Any:
    return divisor != 0


STATEMENTS = (
    *(
        Statement(f"arbiter.{name}", f"the contract's {name} is the specification's", OPERANDS, computes, cases=((name,),))
        for name, encoding in ENCODINGS.items()
        if encoding.format == "R"
    ),
    Statement(
        "arbiter.branches",
        "the contract takes a branch iff the specification does",
        OPERANDS,
        branches,
        cases=tuple((name,) for name, encoding in ENCODINGS.items() if encoding.match & 0x7F == BRANCH),
    ),
    Statement(
        "arbiter.extend",
        "the contract extends signs as the specification does",
        {"a": Word(64)},
        extends,
        cases=tuple((width,) for width in range(2, 65)),
    ),
    Statement("arbiter.reverse", "the contract reverses the order of bytes", {"a": Word(64)}, turns_bytes),
    Statement("division.euclid", "division rounds toward zero", FRACTION, euclid, not_by_zero),
    Statement("division.smod", "the EVM's SMOD is the remainder of its SDIV", FRACTION, smod_is_left, not_by_zero),
    Statement(
        "division.by_zero",
        "by zero, the quotient is all ones and the remainder is the dividend",
        {"dividend": Word(64, is_signed=True)},
        euclid_by_zero,
    ),
)
