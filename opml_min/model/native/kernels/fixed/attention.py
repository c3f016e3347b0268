"""ATTENTION: the softmax-weighted sum of the cached values for each query head. `attention_output` then makes one activation of all heads.

    score_t = sat32(round_shift((Σ_i q_i·K[t]_i)·scale_q30, e_q + e_K[t] + 14)), w_t = exp2(score_t − max score), S = Σ w_t
    acc_i = Σ_t round_shift(w_t, e_V[t] − e*)·V[t]_i, o_i = round_shift(acc_i, c)·reciprocal(S)

*Source*: spec §3.5.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int8s, int16s, int32s
from opml_min.model.native.kernels.fixed.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    QUERY_BITS,
    VECTOR_FRACTION_BITS,
    bits,
    exp2,
    largest_bits,
    normalise,
    reciprocal,
    round_shift,
    round_shift_sat32,
)
from opml_min.model.native.kernels.fixed.losses import saturated_in
from opml_min.model.native.kernels.vector.attention_sums import LANES, PIECE, dot_of_pieces, weighted_sum_of_8


@njit
def attention_head(base, operands, position, head, o, fractions, weights, query):
    """Compute one head, and write its row of o and its element of fractions. Return the losses: saturated scores.

    o: i64 (heads, head_size) · fractions: i64 (heads), the fraction bits of each row of o
    weights: i64 (context), query: i16 (head_size): scratch"""
    q_address, key_address, key_exp_address, value_address, value_exp_address = operands[1:6]
    heads, kv_heads, head_size, context, scale_q30 = operands[6:11]
    length = position + 1
    row = head // (heads // kv_heads) * context  # this kv head's first row
    keys = int16s(base, key_address + 2 * row * head_size, length * head_size)  # (length, head_size)
    key_exponents = int8s(base, key_exp_address + row, length)  # (length)
    values = int16s(base, value_address + 2 * row * head_size, length * head_size)  # (length, head_size)
    value_exponents = int8s(base, value_exp_address + row, length)  # (length)
    q_vector = int32s(base, q_address + 4 * head * head_size, head_size)  # (head_size), Q14
    query_exponent = normalise(q_vector, VECTOR_FRACTION_BITS, QUERY_BITS, query[:head_size])

    largest, least = np.int64(INT32_MIN), np.int64(INT32_MAX)
    for t in range(length):
        dot = dot_of_pieces(query.ctypes.data, keys.ctypes.data + 2 * t * head_size, head_size // PIECE)
        for i in range(head_size // PIECE * PIECE, head_size):
            dot += np.int64(query[i]) * np.int64(keys[t * head_size + i])
        weights[t] = round_shift_sat32(dot * scale_q30, query_exponent + key_exponents[t] + 14)
        largest, least = max(largest, weights[t]), min(least, weights[t])
    found = saturated_in(weights[:length], least, largest)
    total = np.int64(0)
    smallest = np.int64(127)
    for t in range(length):
        weights[t] = exp2(weights[t] - largest)
        total += weights[t]
        smallest = min(smallest, np.int64(value_exponents[t]))

    acc = o[head * head_size : (head + 1) * head_size]
    for t in range(length):
        weights[t] = round_shift(weights[t], np.int64(value_exponents[t]) - smallest)
    for i in range(0, head_size // LANES * LANES, LANES):
        weighted_sum_of_8(weights.ctypes.data, values.ctypes.data + 2 * i, 2 * head_size, length, acc[i:].ctypes.data)
    for i in range(head_size // LANES * LANES, head_size):
        acc[i] = 0
        for t in range(length):
            acc[i] += weights[t] * np.int64(values[t * head_size + i])
    c = max(0, largest_bits(acc) - 31)
    inverse = reciprocal(total)
    for i in range(head_size):
        acc[i] = round_shift(acc[i], c) * inverse
    fractions[head] = smallest + bits(total) + 30 - c
    return found
