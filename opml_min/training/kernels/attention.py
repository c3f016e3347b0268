"""ATTENTION: one head of one sequence at a time, in blocks of positions; then the heads of each position become one row.

*Source*: spec §6.5.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int16s, int64s
from opml_min.model.native.kernels.fixed.fixed_point import INT32_MIN, bits, reciprocal, round_shift_sat32, sat32
from opml_min.training.kernels.batch_rows import activation_row, exponent_of, padded, put_exponent
from opml_min.training.kernels.compiled import compiled_for_training
from opml_min.training.kernels.elementwise import shortened
from opml_min.training.kernels.packing import interleave_rows, split, transpose
from opml_min.training.kernels.product_code import THREE_PIECE_ROWS, TILE_COLUMNS, TWO_PIECE_ROWS, multiply, multiply_three_pieces
from opml_min.training.kernels.register_width import use_whole_registers
from opml_min.training.kernels.short_rows import normalise_heads
from opml_min.training.kernels.softmax_code import LANES as WEIGHT_LANES
from opml_min.training.kernels.softmax_code import weights_in_pieces

POSITIONS = 4 * TWO_PIECE_ROWS  # of a block; also a multiple of THREE_PIECE_ROWS
SCALE = 21  # of `words`: log2(e) / √head_size, Q24
ROOT = 22  # 1 / √head_size, Q30


@njit
def scores_of(dots, scale, shift):
    """Turn dot products, i64, into scores in place. Return the largest."""
    largest = np.int64(INT32_MIN)
    if 0 < shift <= 63:  # almost always
        for t in range(len(dots)):
            dots[t] = sat32((((dots[t] * scale) >> (shift - 1)) + 1) >> 1)
            largest = max(largest, dots[t])
    else:
        for t in range(len(dots)):
            dots[t] = round_shift_sat32(dots[t] * scale, shift)
            largest = max(largest, dots[t])
    return largest


@njit
def split_rows(values, count, length, scratch):
    """Split i16 (count, length) into pieces at scratch, (2, padded count, ⌈length/2⌉, 2). Zeros fill the rows."""
    pairs, rows = (length + 1) // 2, padded(count, TWO_PIECE_ROWS)
    low, high = int16s(0, scratch, 2 * pairs * rows), int16s(0, scratch + 4 * pairs * rows, 2 * pairs * rows)
    if length % 2 == 0:
        split(values, low, high)
    else:
        for s in range(count):
            place = slice(2 * pairs * s, 2 * pairs * (s + 1))
            split(values[s * length : (s + 1) * length], low[place], high[place])
        low[2 * pairs * count :], high[2 * pairs * count :] = 0, 0


@njit
def dots_of_block(split_values, count, first, end, length, packed, columns, out, width):
    """Write the products of rows [first, end) with packed pairs to out, i64 (POSITIONS, width). split_values: of all `count` rows"""
    pairs, rows = (length + 1) // 2, padded(end - first, TWO_PIECE_ROWS)
    pieces = 4 * pairs * padded(count, TWO_PIECE_ROWS)
    multiply(split_values + 4 * pairs * first, 4 * pairs, 4, pieces, packed, 4 * width, rows, columns, pairs, out, 8 * width)


@compiled_for_training
def attention_heads(base, words, first, end, chunk, scratch, shared):
    """Units are heads of sequences. shared: i64 (rows, heads, head_size), the values, and (rows, heads), their fraction bits"""
    use_whole_registers()
    _, q_address, k_address, v_address, sequences, period, heads, kv_heads, head_size = words[:9]
    length, width, columns, pairs = period * head_size, padded(period, TILE_COLUMNS), padded(head_size, TILE_COLUMNS), (period + 1) // 2
    fractions = shared[sequences * period * heads * head_size :]
    keys = scratch  # pairs (⌈head_size/2⌉, width)
    values = keys + 4 * ((head_size + 1) // 2) * width  # pairs (⌈period/2⌉, columns)
    scores = values + 4 * pairs * columns  # i64 (POSITIONS, width)
    acc = scores + 8 * POSITIONS * width  # i64 (POSITIONS, columns)
    queries = acc + 8 * POSITIONS * columns  # split rows of q
    pieces = queries + 8 * ((head_size + 1) // 2) * padded(period, TWO_PIECE_ROWS)  # i16 (3, POSITIONS, padded positions until now)
    for unit in range(first, end):
        sequence, head = unit // heads, unit % heads
        kv_row = sequence * kv_heads + head // (heads // kv_heads)
        q = activation_row(base, q_address, sequences * heads, length, unit)
        k = activation_row(base, k_address, sequences * kv_heads, length, kv_row)
        v, e_v = activation_row(base, v_address, sequences * kv_heads, length, kv_row), exponent_of(base, v_address, kv_row)
        shift = exponent_of(base, q_address, unit) + exponent_of(base, k_address, kv_row) + 8
        transpose(k.ctypes.data, period, head_size, width, 0, (head_size + 1) // 2, keys)
        split_rows(q, period, head_size, queries)
        interleave_rows(v.ctypes.data, period, head_size, 2 * head_size, columns, values)
        for start in range(0, period, POSITIONS):
            stop = min(start + POSITIONS, period)
            row_bytes = 2 * padded(stop, WEIGHT_LANES)
            piece_bytes = POSITIONS * row_bytes
            dots_of_block(queries, period, start, stop, head_size, keys, stop, scores, width)
            int16s(0, pieces, 3 * piece_bytes // 2)[:] = 0
            for s in range(start, stop):
                row = scores + 8 * width * (s - start)
                largest = scores_of(int64s(0, row, s + 1), words[SCALE], shift)
                total = weights_in_pieces(row, s + 1, largest, pieces + row_bytes * (s - start), piece_bytes)
                fractions[(sequence * period + s) * heads + head] = total
            rows, used = padded(stop - start, THREE_PIECE_ROWS), (stop + 1) // 2
            multiply_three_pieces(pieces, row_bytes, 4, piece_bytes, values, 4 * columns, rows, head_size, used, acc, 8 * columns)
            for s in range(start, stop):
                row, o = (sequence * period + s) * heads + head, int64s(0, acc + 8 * columns * (s - start), head_size)
                total = fractions[row]
                c, inverse = shortened(o), reciprocal(total)
                fractions[row] = e_v + bits(total) + 30 - c
                for i in range(head_size):
                    shared[row * head_size + i] = o[i] * inverse


@compiled_for_training
def attention_rows(base, words, first, end, chunk, scratch, shared):
    out_address, _, _, _, sequences, period, heads, _, head_size, width = words[:10]
    rows, length = sequences * period, heads * head_size
    for t in range(first, end):
        values, fractions = shared.ctypes.data + 8 * t * length, shared.ctypes.data + 8 * (rows * length + t * heads)
        row = activation_row(base, out_address, rows, length, t).ctypes.data
        put_exponent(base, out_address, t, normalise_heads(values, fractions, heads, head_size, width, row))
