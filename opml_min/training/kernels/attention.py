"""ATTENTION: one head of one sequence at a time, in blocks of positions; then the heads of each position become one row.

*Source*: spec §6.5.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int16s, int64s
from opml_min.model.native.kernels.fixed.fixed_point import bits, exp2, reciprocal, round_shift_sat32, sat32
from opml_min.training.kernels.batch_rows import activation_row, exponent_of, normalise_heads, padded, put_exponent
from opml_min.training.kernels.compiled import compiled_for_training
from opml_min.training.kernels.elementwise import shortened
from opml_min.training.kernels.packing import interleave_rows, split, transpose
from opml_min.training.kernels.product_code import THREE_PIECE_ROWS, TILE_COLUMNS, TWO_PIECE_ROWS, multiply, multiply_three_pieces

POSITIONS = 4 * TWO_PIECE_ROWS  # of a block; also a multiple of THREE_PIECE_ROWS
SCALE = 21  # of `words`: log2(e) / √head_size, Q24
ROOT = 22  # 1 / √head_size, Q30


@njit
def softmax_weights(dots, scale, shift):
    """Turn dot products, i64, into softmax weights in place. Return the sum of the weights."""
    largest = np.int64(-(1 << 31))
    if 0 < shift <= 63:  # almost always
        for t in range(len(dots)):
            product = dots[t] * scale
            dots[t] = sat32((product >> shift) + ((product >> (shift - 1)) & 1))
            largest = max(largest, dots[t])
    else:
        for t in range(len(dots)):
            dots[t] = round_shift_sat32(dots[t] * scale, shift)
            largest = max(largest, dots[t])
    total = np.int64(0)
    for t in range(len(dots)):
        dots[t] = exp2(dots[t] - largest)
        total += dots[t]
    return total


@njit
def split_block(values, first, end, length, scratch):
    """Split rows [first, end) of i16 (…, length) into pieces at scratch, padded with zeros to POSITIONS rows."""
    pairs = (length + 1) // 2
    pieces = 4 * pairs * POSITIONS
    int16s(0, scratch, 4 * pairs * POSITIONS)[:] = 0
    for s in range(first, end):
        place = scratch + 4 * pairs * (s - first)
        split(values[s * length : (s + 1) * length], int16s(0, place, 2 * pairs), int16s(0, place + pieces, 2 * pairs))


@njit
def dots_of_block(values, first, end, length, packed, columns, scratch, out, width):
    """Write the products of rows [first, end) with packed pairs to out, i64 (POSITIONS, width)."""
    pairs, rows = (length + 1) // 2, padded(end - first, TWO_PIECE_ROWS)
    split_block(values, first, end, length, scratch)
    int64s(0, out, POSITIONS * width)[:] = 0
    multiply(scratch, 4 * pairs, 4, 4 * pairs * POSITIONS, packed, 4 * width, rows, columns, pairs, out, 8 * width)


@compiled_for_training
def attention_heads(base, words, first, end, chunk, scratch, shared):
    """Units are heads of sequences. shared: i64 (rows, heads, head_size), the values, and (rows, heads), their fraction bits"""
    _, q_address, k_address, v_address, sequences, period, heads, kv_heads, head_size = words[:9]
    length, width, columns, pairs = period * head_size, padded(period, TILE_COLUMNS), padded(head_size, TILE_COLUMNS), (period + 1) // 2
    fractions = shared[sequences * period * heads * head_size :]
    keys = scratch  # pairs (⌈head_size/2⌉, width)
    values = keys + 4 * ((head_size + 1) // 2) * width  # pairs (⌈period/2⌉, columns)
    scores = values + 4 * pairs * columns  # i64 (POSITIONS, width)
    acc = scores + 8 * POSITIONS * width  # i64 (POSITIONS, columns)
    pieces = acc + 8 * POSITIONS * columns  # i16 (3, POSITIONS, 2·pairs), or the split queries
    piece_bytes = 4 * POSITIONS * pairs
    for unit in range(first, end):
        sequence, head = unit // heads, unit % heads
        kv_row = sequence * kv_heads + head // (heads // kv_heads)
        q = activation_row(base, q_address, sequences * heads, length, unit)
        k = activation_row(base, k_address, sequences * kv_heads, length, kv_row)
        v, e_v = activation_row(base, v_address, sequences * kv_heads, length, kv_row), exponent_of(base, v_address, kv_row)
        shift = exponent_of(base, q_address, unit) + exponent_of(base, k_address, kv_row) + 8
        transpose(k.ctypes.data, period, head_size, width, keys)
        interleave_rows(v.ctypes.data, period, head_size, 2 * head_size, columns, values)
        for start in range(0, period, POSITIONS):
            stop = min(start + POSITIONS, period)
            dots_of_block(q, start, stop, head_size, keys, stop, pieces, scores, width)
            int16s(0, pieces, 3 * piece_bytes // 2)[:] = 0
            for s in range(start, stop):
                weights = int64s(0, scores + 8 * width * (s - start), s + 1)
                total = softmax_weights(weights, words[SCALE], shift)
                for piece in range(3):
                    part = int16s(0, pieces + piece * piece_bytes + 4 * pairs * (s - start), s + 1)
                    for t in range(s + 1):
                        part[t] = weights[t] >> 16 if piece == 2 else (weights[t] >> (8 * piece)) & 255
                fractions[(sequence * period + s) * heads + head] = total
            int64s(0, acc, POSITIONS * columns)[:] = 0
            rows, used = padded(stop - start, THREE_PIECE_ROWS), (stop + 1) // 2
            multiply_three_pieces(pieces, 4 * pairs, 4, piece_bytes, values, 4 * columns, rows, head_size, used, acc, 8 * columns)
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
        values, fractions = shared[t * length : (t + 1) * length], shared[rows * length + t * heads :][:heads]
        row = activation_row(base, out_address, rows, length, t)
        put_exponent(base, out_address, t, normalise_heads(values, fractions, heads, head_size, width, row))
