"""Conversions between floats and integers: to nearest, ties to even; results out of range saturate, and a NaN gives the largest integer.

*Source*: the RISC-V unprivileged manual, chapter F, FCVT.
"""

from opml_fuzz.conformance.integer_float.bit_pattern import (
    SIGN,
    is_infinite,
    is_nan,
    is_zero,
    round_and_pack,
    shift_right_sticky,
    sign_of,
    unpack,
)


def _to_integer(a: int, smallest: int, largest: int) -> int:
    """Converts to the nearest integer in range, in two's complement of the width of the range."""
    if is_nan(a):
        value = largest
    elif is_infinite(a):
        value = smallest if sign_of(a) else largest
    else:
        value = min(max(_nearest(a), smallest), largest)
    return value & (largest - smallest)  # a range of 2^n values: the mask of n ones


def _nearest(a: int) -> int:
    if is_zero(a):
        return 0
    x = unpack(a)
    kept = shift_right_sticky(x.significand, -x.exponent - 2)  # with a guard and a sticky bit
    size = (kept >> 2) + (0b11001000 >> (kept & 7) & 1)
    return -size if x.sign else size


def _from_integer(value: int) -> int:
    return round_and_pack(int(value < 0), abs(value), 0) if value else 0


def to_i32(a: int) -> int:
    return _to_integer(a, -(1 << 31), (1 << 31) - 1)


def to_u32(a: int) -> int:
    return _to_integer(a, 0, (1 << 32) - 1)


def to_i64(a: int) -> int:
    return _to_integer(a, -(1 << 63), (1 << 63) - 1)


def to_u64(a: int) -> int:
    return _to_integer(a, 0, (1 << 64) - 1)


def from_i32(a: int) -> int:
    return _from_integer(a - ((a & SIGN) << 1))


def from_u32(a: int) -> int:
    return _from_integer(a)


def from_i64(a: int) -> int:
    return _from_integer(a - ((a & 1 << 63) << 1))


def from_u64(a: int) -> int:
    return _from_integer(a)
