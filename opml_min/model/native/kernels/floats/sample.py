"""FLOAT_SAMPLE: the next token, which is the first with the largest logit, or drawn from the softmax at a temperature.

    M = l_0, replaced by each later l_j > M; w_j = the integer nearest to exp((l_j ⊖ M) ⊘ (T ⊗ 2^-16)) ⊗ 2^24, 0 for a NaN; S = Σ w_j
    the first j with w_0 + … + w_j > (random·S) >> 64, that of M if S = 0

*Source*: spec/README.md §7 and §5.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import float32s
from opml_min.model.native.kernels.fixed.fixed_point import scaled, splitmix64
from opml_min.model.native.kernels.floats.functions import exp

TEMPERATURE_UNIT = np.float32(2**-16)
WEIGHT_UNITS = np.float32(2**24)


@njit
def _weight(logit, largest, temperature):
    w = exp((logit - largest) / temperature) * WEIGHT_UNITS
    return np.int64(np.rint(w)) if w == w else np.int64(0)


@njit
def float_sample(base, operands, temperature_q16, seed, position):
    """Return the token. Temperature 0 is greedy. seed: uint64"""
    logits_address, length = operands[:2]
    logits = float32s(base, logits_address, length)  # (length)
    best = 0
    for j in range(1, length):
        if logits[j] > logits[best]:
            best = j
    if temperature_q16 == 0:
        return best
    temperature = np.float32(temperature_q16) * TEMPERATURE_UNIT
    largest = logits[best]
    total = np.int64(0)
    for j in range(length):
        total += _weight(logits[j], largest, temperature)
    threshold = scaled(splitmix64(seed, position), total)
    running = np.int64(0)
    for j in range(length):
        running += _weight(logits[j], largest, temperature)
        if running > threshold:
            return j
    return best
