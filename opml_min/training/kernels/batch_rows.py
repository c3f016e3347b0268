"""Rows of a batch in memory: where each lies, and how numbers become rows with exponents.

*Source*: spec §6.3 and §1.1.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int16s, int32s
from opml_min.model.native.kernels.fixed.fixed_point import largest_bits, normalise_sized, sat32

SETTINGS = 14  # of `words`: where the operands end
SEED, UPDATE, RATE, DECAY, MOMENTUM = range(SETTINGS, SETTINGS + 5)
FIRST_MOMENT, SECOND_MOMENT = MOMENTUM + 1, MOMENTUM + 2
WORDS = SECOND_MOMENT + 1
GRADIENT_BITS = 30
NO_EXPONENT = 1 << 40  # of a row of zeros: larger than any exponent


@njit
def padded(size, multiple):
    return (size + multiple - 1) // multiple * multiple


@njit
def activation_row(base, address, rows, length, t):
    """Return row t: i16 (length)."""
    return int16s(base, address + padded(4 * rows, 32) + 2 * length * t, length)


@njit
def gradient_row(base, address, rows, length, t):
    """Return row t: i32 (length)."""
    return int32s(base, address + padded(4 * rows, 32) + 4 * length * t, length)


@njit
def exponent_of(base, address, t):
    return np.int64(int32s(base, address + 4 * t, 1)[0])


@njit
def put_exponent(base, address, t, exponent):
    int32s(base, address + 4 * t, 1)[0] = sat32(exponent)


@njit
def put_activation(base, address, rows, length, t, values, fraction_bits, width):
    """Normalise i64 (length) into row t."""
    row = activation_row(base, address, rows, length, t)
    put_exponent(base, address, t, normalise_sized(values, largest_bits(values), fraction_bits, width, row))


@njit
def put_gradient(base, address, rows, length, t, values, fraction_bits):
    """Normalise i64 (length) into row t."""
    row = gradient_row(base, address, rows, length, t)
    put_exponent(base, address, t, normalise_sized(values, largest_bits(values), fraction_bits, GRADIENT_BITS, row))


@njit
def is_zero(values):
    for value in values:  # noqa: SIM110  # numba compiles no generator
        if value != 0:
            return False
    return True
