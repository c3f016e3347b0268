"""CROSS_ENTROPY, and the products of the targets' own gradients: TARGET_DATA, TARGET_WEIGHTS, EMBED_WEIGHTS.

*Source*: spec §6.6.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int16s, int32s, int64s
from opml_min.model.native.kernels.fixed.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    bits,
    exp2,
    reciprocal,
    round_shift,
    round_shift_sat32,
    sat32,
)
from opml_min.training.kernels.batch_rows import activation_row, exponent_of, gradient_row, put_activation, put_gradient
from opml_min.training.kernels.compiled import compiled_for_training
from opml_min.training.kernels.elementwise import index_at
from opml_min.training.kernels.register_width import use_whole_registers

LOG2_E = 94548  # Q16
ONE_Q30 = 1 << 30


@compiled_for_training
def cross_entropy(base, words, first, end, chunk, scratch, shared):
    use_whole_registers()
    out_address, of_target, logit_address, target_address, rows, vocabulary, width = words[:7]
    z = int64s(0, scratch, vocabulary)
    for t in range(first, end):
        logits, largest, total = int32s(base, logit_address + 4 * vocabulary * t, vocabulary), np.int64(INT32_MIN), np.int64(0)
        for j in range(vocabulary):
            largest = max(largest, np.int64(logits[j]))
        for j in range(vocabulary):
            z[j] = exp2(-min(round_shift((largest - np.int64(logits[j])) * LOG2_E, 12), INT32_MAX))
            total += z[j]
        inverse, size = reciprocal(total), bits(total)
        for j in range(vocabulary):
            z[j] = round_shift(z[j] * inverse, size)
        target = index_at(base, target_address, t, vocabulary)
        int32s(base, of_target + 4 * t, 1)[0] = z[target] - ONE_Q30
        z[target] = 0
        put_activation(base, out_address, rows, vocabulary, t, z, np.int64(30), width)


@compiled_for_training
def target_data(base, words, first, end, chunk, scratch, shared):
    out_address, of_target, target_address, working, rows, columns, matrix_rows = words[:7]
    z = int64s(0, scratch, columns)
    for t in range(first, end):
        target = index_at(base, target_address, t, matrix_rows)
        row, factor = int16s(base, working + 32 + 2 * columns * target, columns), np.int64(int32s(base, of_target + 4 * t, 1)[0])
        for i in range(columns):
            z[i] = factor * np.int64(row[i])
        put_gradient(base, out_address, rows, columns, t, z, 30 + exponent_of(base, working, 0))


@njit
def _add_to_sums(base, sums_address, row, columns, z):
    sums = int32s(base, sums_address + 4 * columns * row, columns)
    for i in range(columns):
        sums[i] = sat32(np.int64(sums[i]) + z[i])


@njit
def _order(base, index_address, rows, matrix_rows, shared):
    """Order the rows of the batch by their indices, each as often as it occurs: a sort by counting, which keeps their order otherwise.

    shared: i64 (matrix_rows + 1), where in the order the rows of each index begin, and the end; then the order"""
    starts, order = shared[: matrix_rows + 1], shared[matrix_rows + 1 :]
    starts[:] = 0
    for t in range(rows):
        starts[index_at(base, index_address, t, matrix_rows)] += 1
    end = np.int64(0)
    for j in range(matrix_rows + 1):
        end += starts[j]
        starts[j] = end
    for t in range(rows - 1, -1, -1):
        j = index_at(base, index_address, t, matrix_rows)
        starts[j] -= 1
        order[starts[j]] = t


@compiled_for_training
def order_by_target(base, words, first, end, chunk, scratch, shared):
    """Leave the order for `target_weights`. The only unit is all of it."""
    _order(base, words[2], words[4], words[6], shared)


@compiled_for_training
def target_weights(base, words, first, end, chunk, scratch, shared):
    """Units are rows of the matrix."""
    sums_address, of_target, _, x_address, rows, columns, matrix_rows, sum_frac = words[:8]
    order, z = shared[matrix_rows + 1 :], int64s(0, scratch, columns)
    for j in range(first, end):
        if shared[j] == shared[j + 1]:
            continue
        z[:] = 0
        for place in range(shared[j], shared[j + 1]):
            t = order[place]
            x, factor = activation_row(base, x_address, rows, columns, t), np.int64(int32s(base, of_target + 4 * t, 1)[0])
            shift = 30 + exponent_of(base, x_address, t) - sum_frac
            for i in range(columns):
                z[i] += round_shift_sat32(factor * np.int64(x[i]), shift)
        _add_to_sums(base, sums_address, j, columns, z)


@compiled_for_training
def order_by_token(base, words, first, end, chunk, scratch, shared):
    """Leave the order for `embed_weights`. The only unit is all of it."""
    _order(base, words[2], words[3], words[5], shared)


@compiled_for_training
def embed_weights(base, words, first, end, chunk, scratch, shared):
    """Units are rows of the matrix."""
    sums_address, d_address, _, rows, columns, matrix_rows, sum_frac = words[:7]
    order, z = shared[matrix_rows + 1 :], int64s(0, scratch, columns)
    for j in range(first, end):
        if shared[j] == shared[j + 1]:
            continue
        z[:] = 0
        for place in range(shared[j], shared[j + 1]):
            t = order[place]
            d, shift = gradient_row(base, d_address, rows, columns, t), exponent_of(base, d_address, t) - sum_frac
            for i in range(columns):
                z[i] += round_shift_sat32(np.int64(d[i]), shift)
        _add_to_sums(base, sums_address, j, columns, z)
