"""Fixed point: an integer that stands for a fraction, and the one rounding.

A Qn number is an integer v that stands for `v · 2^-n`; n is its number of *fraction bits*. Every formula interprets its operands as
integers, computes in ℤ, and rounds once, by `round_shift`. `bits(v)` of the text is Python's `v.bit_length()`.

*Source*: spec §1.1.
"""

from collections.abc import Sequence

INT32_MIN = -(1 << 31)
INT32_MAX = (1 << 31) - 1

ACTIVATION_BITS = 15  # of the magnitude of a normalised value: it fits i16, and −2^15 does not occur
ZERO_EXPONENT = 127  # by convention, of values that are all zero


def round_shift(value: int, shift: int) -> int:
    """`value · 2^-shift` rounded to the nearest integer, halves up. Exact for shift ≤ 0."""
    return (value + (1 << (shift - 1))) >> shift if shift > 0 else value << -shift


def clamp(value: int, low: int, high: int) -> int:
    """The number in `[low, high]` that is nearest to `value`."""
    return max(low, min(high, value))


def sat32(value: int) -> int:
    """The i32 that is nearest to `value`."""
    return clamp(value, INT32_MIN, INT32_MAX)


def most_bits(values: Sequence[int]) -> int:
    """The bit length of the largest magnitude."""
    return max(value.bit_length() for value in values)


def shorten(values: Sequence[int], width: int) -> tuple[list[int], int]:
    """Round low bits away until the largest value has `width` bits; return the values and how many bits they lost."""
    dropped = max(0, most_bits(values) - width)
    return [round_shift(value, dropped) for value in values], dropped


def normalise(values: Sequence[int], fraction_bits: Sequence[int], width: int = ACTIVATION_BITS) -> tuple[list[int], int]:
    """`(q, e)` with `q · 2^-e` nearest to the values, for the largest e (the finest grid) at which every |q| has at most `width` bits.

    The values may have different fraction bits. What rounds up to `2^width` is clamped to `2^width − 1`.
    """
    exponents = [f + width - v.bit_length() for v, f in zip(values, fraction_bits, strict=True) if v != 0]
    if not exponents:
        return [0] * len(values), ZERO_EXPONENT
    e, limit = min(exponents), (1 << width) - 1
    return [clamp(round_shift(v, f - e), -limit, limit) for v, f in zip(values, fraction_bits, strict=True)], e
