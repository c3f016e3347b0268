"""The small vocabulary in which the machine is written.

An instruction *interprets* its operands as integers, computes in ℤ, and *wraps* the result once. A register holds an integer in
`[0, 2^64)`; `signed` reads it as two's complement, `wrap` brings any integer back.

*Source*: The RISC-V Instruction Set Manual, Volume I, chapters "RV32I" (notation) and "M" (division).
"""

from typing import TypeVar

XLEN = 64  # bits of a register; RISC-V manual, "RV64I"
Items = TypeVar("Items", bytes, tuple[int, ...])


def bits(word: int, high: int, low: int) -> int:
    """`word[high:low]` as the manual writes it: both ends included."""
    return (word >> low) & ((1 << (high - low + 1)) - 1)


def wrap(value: int, width: int = XLEN) -> int:
    """The number in `[0, 2^width)` that is congruent to `value`."""
    return value & ((1 << width) - 1)


def signed(value: int, width: int = XLEN) -> int:
    """The low `width` bits of `value`, read as two's complement: in `[-2^(width-1), 2^(width-1))`."""
    sign = 1 << (width - 1)
    return (wrap(value, width) ^ sign) - sign


def put(items: Items, at: int, new: Items) -> Items:
    """The bytes, or the registers, with some of them replaced, from place `at` on."""
    return items[:at] + new + items[at + len(new) :]


def flag(condition: bool) -> int:
    """1 if it holds, else 0."""
    return 1 if condition else 0


def quotient(dividend: int, divisor: int) -> int:
    """Division rounded toward zero, and −1 for a divisor of 0: from this one convention follow all special cases of the M extension."""
    if divisor == 0:
        return -1
    magnitude = abs(dividend) // abs(divisor)
    return magnitude if (dividend < 0) == (divisor < 0) else -magnitude


def remainder(dividend: int, divisor: int) -> int:
    """What `quotient` leaves; it has the dividend's sign, and by 0 it is the dividend."""
    return dividend - divisor * quotient(dividend, divisor)
