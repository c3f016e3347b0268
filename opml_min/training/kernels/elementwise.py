"""The ops whose rows need nothing but themselves: EMBED, ROPE, HEADS, SWIGLU, ADD, RELU, their gradients, ROUND and SUM.

*Source*: spec §6.5 and §6.6.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int16s, int32s, int64s
from opml_min.model.native.kernels.fixed.fixed_point import (
    ONE_Q30,
    VECTOR_FRACTION_BITS,
    largest_bits,
    round_shift,
    round_shift_sat32,
    sat32,
    sigmoid,
)
from opml_min.training.kernels.batch_rows import exponent_of, gradient_row, is_zero, put_activation, put_gradient
from opml_min.training.kernels.compiled import compiled_for_training
from opml_min.training.kernels.register_width import use_whole_registers

SUM_BITS = 31  # to which products are shortened before the next product
Q24 = 1 << 24


@njit
def index_at(base, address, t, limit):
    """Return u32 number t, at most limit − 1."""
    return min(np.int64(np.uint32(int32s(base, address + 4 * t, 1)[0])), limit - 1)


@compiled_for_training
def embed(base, words, first, end, chunk, scratch, shared):
    out_address, working, token_address, _, columns, matrix_rows, r = words[:7]
    shift = exponent_of(base, working, 0) - r
    for t in range(first, end):
        token = index_at(base, token_address, t, matrix_rows)
        out, row = int32s(base, out_address + 4 * columns * t, columns), int16s(base, working + 32 + 2 * columns * token, columns)
        for i in range(columns):
            out[i] = round_shift_sat32(np.int64(row[i]), shift)


@compiled_for_training
def rope(base, words, first, end, chunk, scratch, shared):
    address, _, period, heads, head_size, table_address = words[:6]
    for t in range(first, end):
        table = int32s(base, table_address + 4 * head_size * (t % period), head_size)
        row = int32s(base, address + 4 * heads * head_size * t, heads * head_size)
        for head in range(heads):
            for i in range(0, head_size, 2):
                place = head * head_size + i
                a, b, cosine, sine = np.int64(row[place]), np.int64(row[place + 1]), np.int64(table[i]), np.int64(table[i + 1])
                row[place] = sat32(round_shift(a * cosine - b * sine, 30))
                row[place + 1] = sat32(round_shift(a * sine + b * cosine, 30))


@compiled_for_training
def rope_backward(base, words, first, end, chunk, scratch, shared):
    use_whole_registers()
    out_address, x_address, rows, period, heads, head_size, table_address, width = words[:8]
    length = heads * head_size
    turned = int64s(0, scratch, length)
    for t in range(first, end):
        table = int32s(base, table_address + 4 * head_size * (t % period), head_size)
        row = gradient_row(base, x_address, rows, length, t)
        for head in range(heads):
            for i in range(0, head_size, 2):
                place = head * head_size + i
                a, b, cosine, sine = np.int64(row[place]), np.int64(row[place + 1]), np.int64(table[i]), np.int64(table[i + 1])
                turned[place] = a * cosine + b * sine
                turned[place + 1] = b * cosine - a * sine
        put_activation(base, out_address, rows, length, t, turned, exponent_of(base, x_address, t) + 30, width)


@compiled_for_training
def heads(base, words, first, end, chunk, scratch, shared):
    """Units are the heads of all sequences."""
    use_whole_registers()
    out_address, x_address, sequences, period, head_count, head_size, frac, width = words[:8]
    values = int64s(0, scratch, period * head_size)
    for unit in range(first, end):
        sequence, head = unit // head_count, unit % head_count
        for t in range(period):
            place = x_address + 4 * ((sequence * period + t) * head_count + head) * head_size
            values[t * head_size : (t + 1) * head_size] = int32s(base, place, head_size)
        put_activation(base, out_address, sequences * head_count, period * head_size, unit, values, frac, width)


@njit
def shortened(values):
    """Shorten i64 values in place to SUM_BITS. Return by how many places."""
    c = max(0, largest_bits(values) - SUM_BITS)
    if c > 0:
        for i in range(len(values)):
            values[i] = round_shift(values[i], c)
    return c


@compiled_for_training
def swiglu(base, words, first, end, chunk, scratch, table):
    """table: sigmoid's, as i64"""
    use_whole_registers()
    out_address, gate_address, up_address, rows, length, width = words[:6]
    z = int64s(0, scratch, length)
    for t in range(first, end):
        gate, up = int32s(base, gate_address + 4 * length * t, length), int32s(base, up_address + 4 * length * t, length)
        for i in range(length):  # a loop of its own, because the table keeps it from being vector code
            z[i] = sigmoid(gate[i], table)
        for i in range(length):
            z[i] *= np.int64(gate[i])
        c = shortened(z)
        for i in range(length):
            z[i] *= np.int64(up[i])
        put_activation(base, out_address, rows, length, t, z, VECTOR_FRACTION_BITS + 30 - c + VECTOR_FRACTION_BITS, width)


@compiled_for_training
def swiglu_backward(base, words, first, end, chunk, scratch, table):
    """table: sigmoid's, as i64"""
    use_whole_registers()
    gate_out, up_out, d_address, gate_address, up_address, rows, length, width = words[:8]
    slopes, z = int64s(0, scratch, length), int64s(0, scratch + 8 * length, length)
    for t in range(first, end):
        gate, up = int32s(base, gate_address + 4 * length * t, length), int32s(base, up_address + 4 * length * t, length)
        d, e = gradient_row(base, d_address, rows, length, t), exponent_of(base, d_address, t)
        for i in range(length):
            slopes[i] = sigmoid(gate[i], table)
        for i in range(length):
            g, s = np.int64(gate[i]), slopes[i]
            z[i] = g * s
            slopes[i] = round_shift(s * (Q24 + round_shift(g * (ONE_Q30 - s), 20)), 30)
        c = shortened(z)
        for i in range(length):
            z[i] *= np.int64(d[i])
        put_activation(base, up_out, rows, length, t, z, e + 44 - c, width)
        for i in range(length):
            z[i] = np.int64(d[i]) * np.int64(up[i])
        c = shortened(z)
        for i in range(length):
            z[i] *= slopes[i]
        put_activation(base, gate_out, rows, length, t, z, e + 38 - c, width)


@compiled_for_training
def add(base, words, first, end, chunk, scratch, shared):
    out, x = int32s(base, words[0] + 4 * first, end - first), int32s(base, words[1] + 4 * first, end - first)
    y = int32s(base, words[2] + 4 * first, end - first)
    for i in range(end - first):
        out[i] = sat32(np.int64(x[i]) + np.int64(y[i]))


@compiled_for_training
def relu(base, words, first, end, chunk, scratch, shared):
    out_address, x_address, rows, length, frac, width = words[:6]
    z = int64s(0, scratch, length)
    for t in range(first, end):
        x = int32s(base, x_address + 4 * length * t, length)
        for i in range(length):
            z[i] = max(x[i], 0)
        put_activation(base, out_address, rows, length, t, z, frac, width)


@compiled_for_training
def relu_backward(base, words, first, end, chunk, scratch, shared):
    out_address, d_address, x_address, rows, length, width = words[:6]
    z = int64s(0, scratch, length)
    for t in range(first, end):
        x, d = int32s(base, x_address + 4 * length * t, length), gradient_row(base, d_address, rows, length, t)
        for i in range(length):
            z[i] = d[i] if x[i] > 0 else 0
        put_activation(base, out_address, rows, length, t, z, exponent_of(base, d_address, t), width)


@compiled_for_training
def round_rows(base, words, first, end, chunk, scratch, shared):
    use_whole_registers()
    out_address, x_address, rows, length, width = words[:5]
    z = int64s(0, scratch, length)
    for t in range(first, end):
        z[:] = gradient_row(base, x_address, rows, length, t)
        put_activation(base, out_address, rows, length, t, z, exponent_of(base, x_address, t), width)


@compiled_for_training
def sum_rows(base, words, first, end, chunk, scratch, shared):
    use_whole_registers()
    out_address, x_address, y_address, rows, length = words[:5]
    z = int64s(0, scratch, length)
    for t in range(first, end):
        x, y = gradient_row(base, x_address, rows, length, t), gradient_row(base, y_address, rows, length, t)
        e_x, e_y = exponent_of(base, x_address, t), exponent_of(base, y_address, t)
        if is_zero(x):
            z[:], e = y, e_y
        elif is_zero(y):
            z[:], e = x, e_x
        else:
            if e_x < e_y:
                x, y, e_x, e_y = y, x, e_y, e_x
            shift, e = min(e_x - e_y, 63), e_y  # only x moves; an i32 that is shifted by 63 rounds to 0, too
            for i in range(length):
                z[i] = ((np.int64(x[i]) << 1 >> shift) + 1 >> 1) + np.int64(y[i])  # round_shift without a branch
        put_gradient(base, out_address, rows, length, t, z, e)
