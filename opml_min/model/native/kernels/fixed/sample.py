"""SAMPLE: the next token, which is the first with the largest logit, or drawn from the softmax at a temperature.

    c = 6196328018 // T, w_j = exp2(−min(round_shift((M − l_j)·c, 12), 2^31 − 1)), S = Σ w_j
    the first j with w_0 + … + w_j > (random·S) >> 64

*Source*: spec/README.md §5.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int32s
from opml_min.model.native.kernels.fixed.fixed_point import exp2, round_shift, scaled, splitmix64

LOG2_E_Q32 = 6196328018


@njit
def sample(base, operands, temperature_q16, seed, position):
    """Return the token. Temperature 0 is greedy. seed: uint64"""
    logits_address, length = operands[:2]
    logits = int32s(base, logits_address, length)  # (length), Q12
    best = 0
    for j in range(1, length):
        if logits[j] > logits[best]:
            best = j
    if temperature_q16 == 0:
        return best
    c = LOG2_E_Q32 // temperature_q16
    largest = np.int64(logits[best])
    total = np.int64(0)
    for j in range(length):
        total += exp2(-min(round_shift((largest - logits[j]) * c, 12), np.int64((1 << 31) - 1)))
    threshold = scaled(splitmix64(seed, position), total)
    running = np.int64(0)
    for j in range(length):
        running += exp2(-min(round_shift((largest - logits[j]) * c, 12), np.int64((1 << 31) - 1)))
        if running > threshold:
            return j
    return best
