"""FLOAT_ATTENTION: the softmax-weighted sum of the cached values for each query head.

    score_t = (Σ_i q_i ⊗ K[t]_i) ⊘ root, M = score_0 replaced by each later score_t > M
    w_t = exp(score_t ⊖ M), S = Σ w_t, y_i = Σ_t (w_t ⊘ S) ⊗ V[t]_i

*Source*: spec/README.md §7.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import float32s
from opml_min.model.native.kernels.floats.functions import ZERO, canonical, exp

SIDE_BY_SIDE = 4  # scores summed at once, so that additions need not wait for one another


@njit
def float_attention_head(base, operands, position, head, weights):
    """Compute one head. weights: f32 (context), scratch"""
    out_address, q_address, key_address, value_address, heads, kv_heads, head_size, context, root_bits = operands[:9]
    root = np.int32(root_bits).view(np.float32)
    length = position + 1
    row = head // (heads // kv_heads) * context  # this kv head's first row
    keys = float32s(base, key_address + 4 * row * head_size, length * head_size)  # (length, head_size)
    values = float32s(base, value_address + 4 * row * head_size, length * head_size)  # (length, head_size)
    q = float32s(base, q_address + 4 * head * head_size, head_size)  # (head_size)
    out = float32s(base, out_address + 4 * head * head_size, head_size)  # (head_size)

    for t in range(0, length - SIDE_BY_SIDE + 1, SIDE_BY_SIDE):
        a, b, c, d = ZERO, ZERO, ZERO, ZERO
        place = t * head_size
        for i in range(head_size):
            a += q[i] * keys[place + i]
            b += q[i] * keys[place + head_size + i]
            c += q[i] * keys[place + 2 * head_size + i]
            d += q[i] * keys[place + 3 * head_size + i]
        weights[t], weights[t + 1], weights[t + 2], weights[t + 3] = a / root, b / root, c / root, d / root
    for t in range(length // SIDE_BY_SIDE * SIDE_BY_SIDE, length):
        dot = ZERO
        for i in range(head_size):
            dot += q[i] * keys[t * head_size + i]
        weights[t] = dot / root

    largest = weights[0]
    for t in range(1, length):
        if weights[t] > largest:
            largest = weights[t]
    total = ZERO
    for t in range(length):
        weights[t] = exp(weights[t] - largest)
        total += weights[t]

    out[:] = ZERO
    for t in range(length):
        share = weights[t] / total
        for i in range(head_size):
            out[i] += share * values[t * head_size + i]
    for i in range(head_size):
        out[i] = canonical(out[i])
