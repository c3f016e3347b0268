"""ADAM and SGD: one step of some weights.

*Source*: spec §6.7.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int32s, int64s
from opml_min.model.native.kernels.fixed.fixed_point import bits, round_shift, rsqrt, sat32
from opml_min.training.kernels.batch_rows import DECAY, FIRST_MOMENT, RATE, SECOND_MOMENT
from opml_min.training.kernels.compiled import compiled_for_training

LARGEST_GRADIENT = 1 << 23
STEP_FRACTION_BITS = 24


@njit
def stepped(w, u, rate, decay, shift):
    """Return a weight after the step u and its decay."""
    return sat32(w - round_shift(u * rate, shift) - round_shift(w * decay, 32))


@njit
def adam_step(m, v):
    """Return m / √v of the moments, Q24."""
    t = (64 - bits(v + 1)) // 2 * 2
    return sat32(round_shift(m * rsqrt(np.uint64(v + 1) << np.uint64(t)), 45 - t // 2))


@njit
def clamped(g):
    return min(max(g, -LARGEST_GRADIENT), LARGEST_GRADIENT)


@compiled_for_training
def adam(base, words, first, end, chunk, scratch, shared):
    count, frac = end - first, words[5]
    master, sums = int32s(base, words[0] + 4 * first, count), int32s(base, words[1] + 4 * first, count)
    m = int32s(base, words[2] + 4 * first, count)
    v = int64s(base, words[3] + 8 * first, count)
    for i in range(count):
        g = clamped(np.int64(sums[i]))
        first_moment = np.int64(m[i]) + round_shift((128 * g - np.int64(m[i])) * words[FIRST_MOMENT], 16)
        second_moment = v[i] + round_shift((g * g - v[i]) * words[SECOND_MOMENT], 16)
        m[i], v[i] = first_moment, second_moment
        u = adam_step(first_moment, second_moment)
        master[i] = stepped(np.int64(master[i]), u, words[RATE], words[DECAY], STEP_FRACTION_BITS + 34 - frac)
        sums[i] = 0


@compiled_for_training
def sgd(base, words, first, end, chunk, scratch, shared):
    count, frac, sum_frac = end - first, words[3], words[4]
    master, sums = int32s(base, words[0] + 4 * first, count), int32s(base, words[1] + 4 * first, count)
    for i in range(count):
        master[i] = stepped(np.int64(master[i]), np.int64(sums[i]), words[RATE], words[DECAY], sum_frac + 34 - frac)
        sums[i] = 0
