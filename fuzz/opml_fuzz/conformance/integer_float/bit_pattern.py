"""The fields of a pattern, and the one place that rounds.

A finite value is unpacked into a sign, a significand of 24 bits whose top bit is set, and the exponent of that significand's last bit.
`round_and_pack` goes back, from a significand of any length whose last bit may be a sticky one.

*Source*: IEEE 754-2019, 3.4 and 4.3.1.
"""

from attrs import frozen

SIGN = 1 << 31
INFINITY = 0x7F80_0000
NAN = 0x7FC0_0000
FRACTION_BITS = 23
HIDDEN = 1 << FRACTION_BITS
FRACTION = HIDDEN - 1
LAST_PLACE = -149  # the exponent of a subnormal's last bit
LARGEST_FIELD = 255


@frozen
class Parts:
    """The number (−1)^sign · significand · 2^exponent, where 2^23 ≤ significand < 2^24."""

    sign: int
    significand: int
    exponent: int


def is_nan(a: int) -> bool:
    return a & ~SIGN > INFINITY


def is_infinite(a: int) -> bool:
    return a & ~SIGN == INFINITY


def is_zero(a: int) -> bool:
    return a & ~SIGN == 0


def sign_of(a: int) -> int:
    return a >> 31


def unpack(a: int) -> Parts:
    """Unpacks a finite pattern other than zero."""
    field, fraction = a >> FRACTION_BITS & 0xFF, a & FRACTION
    if field:
        return Parts(sign_of(a), fraction | HIDDEN, field - 1 + LAST_PLACE)
    places = FRACTION_BITS + 1 - fraction.bit_length()
    return Parts(sign_of(a), fraction << places, LAST_PLACE - places)


def shift_right_sticky(significand: int, places: int) -> int:
    """Shifts right, and collects the bits that fall out in the last one that stays."""
    if places <= 0:
        return significand << -places
    return significand >> places | (significand & ((1 << places) - 1) != 0)


def round_and_pack(sign: int, significand: int, exponent: int) -> int:
    """Rounds (−1)^sign · significand · 2^exponent to the nearest pattern, ties to even.

    significand: any positive integer; if its last bit is a sticky one, it has at least two bits more than the result keeps"""
    last = max(exponent + significand.bit_length() - (FRACTION_BITS + 1), LAST_PLACE)  # exponent of the result's last bit
    kept = shift_right_sticky(significand, last - exponent - 2)  # with a guard and a sticky bit
    rounded = (kept >> 2) + (0b11001000 >> (kept & 7) & 1)  # up if last·guard·sticky is 011, 110 or 111
    if rounded == HIDDEN << 1:
        rounded, last = HIDDEN, last + 1
    field = last - LAST_PLACE + 1 if rounded & HIDDEN else 0
    if field >= LARGEST_FIELD:
        return sign << 31 | INFINITY
    return sign << 31 | field << FRACTION_BITS | (rounded & FRACTION)
