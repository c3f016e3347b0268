"""Counting what fixed point loses: numbers that reached the end of i32, and numbers of which rounding left no bit although they are not 0.

Both counts travel in one integer: saturated numbers count 1, lost ones 2^32. They change no byte of the memory.

*Source*: spec §3.5 (sat32, round_shift).
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.fixed.fixed_point import INT32_MAX, INT32_MIN

LOST_BITS = 32  # where the second count begins


@njit
def is_saturated(rounded):
    return np.int64((rounded == INT32_MAX) | (rounded == INT32_MIN))


@njit
def saturated_in(values, least, largest):
    """Return how many of the values are saturated. least, largest: of them; they almost always say that there is none"""
    found = np.int64(0)
    if least == INT32_MIN or largest == INT32_MAX:
        for value in values:
            found += is_saturated(value)
    return found


@njit
def loss_of(exact, rounded):
    """Return the count for one number. exact: the number before it was rounded"""
    return is_saturated(rounded) | np.int64((rounded == 0) & (exact != 0)) << LOST_BITS


@njit
def note_losses(losses, op, found):
    """Add the counts of one piece of an op. losses: i64 (ops, 2) or more ops, one thread's"""
    if found != 0:
        losses[op, 0] += found & ((1 << LOST_BITS) - 1)
        losses[op, 1] += found >> LOST_BITS
