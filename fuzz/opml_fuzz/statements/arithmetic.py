"""Statements about division, which the proofs about the bytecode take for an unknown function.

*Source*: spec §2; The RISC-V Instruction Set Manual, Volume I, "M"; Ethereum Yellow Paper, appendix H.2.
"""

from typing import Any

from opml_spec.words import quotient, remainder, wrap

from opml_fuzz.statements.statement import Integer, Statement, Word

FRACTION = {"dividend": Integer(-(1 << 64)), "divisor": Integer(-(1 << 64))}


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
    Statement("division.euclid", "division rounds toward zero", FRACTION, euclid, not_by_zero),
    Statement("division.smod", "the EVM's SMOD is the remainder of its SDIV", FRACTION, smod_is_left, not_by_zero),
    Statement(
        "division.by_zero",
        "by zero, the quotient is all ones and the remainder is the dividend",
        {"dividend": Word(64, is_signed=True)},
        euclid_by_zero,
    ),
)
