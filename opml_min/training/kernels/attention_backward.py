"""ATTENTION_BACKWARD: the query heads that use one key-value head of one sequence, in blocks of positions; then the rows of all heads.

Of one query head it keeps p, dS and Z of all positions, i16, for the products along the positions.

*Source*: spec §6.6.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int16s, int64s
from opml_min.model.native.kernels.fixed.fixed_point import (
    ZERO_EXPONENT,
    bits,
    quantise,
    reciprocal,
    round_shift,
)
from opml_min.training.kernels.attention import POSITIONS, ROOT, SCALE, dots_of_block, scores_of, split_rows
from opml_min.training.kernels.batch_rows import (
    GRADIENT_BITS,
    NO_EXPONENT,
    activation_row,
    exponent_of,
    gradient_row,
    is_zero,
    padded,
    put_exponent,
)
from opml_min.training.kernels.compiled import compiled_for_training
from opml_min.training.kernels.elementwise import SUM_BITS
from opml_min.training.kernels.packing import LANES, SHIFTED_AWAY, interleave_rows, interleave_split, transpose
from opml_min.training.kernels.product_code import TILE_COLUMNS, TWO_PIECE_ROWS, multiply
from opml_min.training.kernels.register_width import use_whole_registers
from opml_min.training.kernels.short_rows import normalise_gradient, normalise_heads, normalise_products
from opml_min.training.kernels.softmax_code import weights_of_width


@njit
def _filled(s, width):
    """Return how many elements of row s are read by the products along the positions: its block's. Those after s are 0."""
    return min(width, s + POSITIONS)


@njit
def _gradients_of_scores(p, total, products, e, root, width, out):
    """Write dS of one position and return its exponent. total: Σ p · products: dP, i64, overwritten · e: e_o + e_v

    Rounding and a positive factor keep the order, so the extremes of y tell the size of y·F before it is computed."""
    weighted = np.int64(0)
    for t in range(len(products)):
        weighted += np.int64(p[t]) * products[t]
    mean = weighted // total
    least, most = np.int64(0), np.int64(0)
    for t in range(len(products)):
        y = np.int64(p[t]) * (products[t] - mean)
        products[t] = y
        least, most = min(least, y), max(most, y)
    c = max(0, bits(max(-least, most)) - SUM_BITS)
    factor = round_shift(reciprocal(total) * root, 30)
    size = bits(max(-round_shift(least, c), round_shift(most, c)) * factor)
    if size == 0:
        out[:] = 0
        return np.int64(ZERO_EXPONENT)
    limit, shift = np.int64((1 << width) - 1), size - width
    if c > 0 and shift > 0:  # almost always
        for t in range(len(products)):
            y = ((products[t] >> (c - 1)) + 1) >> 1
            out[t] = min(max(((y * factor >> (shift - 1)) + 1) >> 1, -limit), limit)
    else:
        for t in range(len(products)):
            products[t] = round_shift(products[t], c) * factor
        quantise(products, shift, limit, out)
    return e - c + bits(total) + 30 + width - size


@njit
def _shifts(exponents):
    """Turn the exponents of rows, NO_EXPONENT for a row of zeros, into the shifts that align them. Return their common exponent."""
    common = exponents.min()
    for s in range(len(exponents)):
        exponents[s] -= common
    return common if common != NO_EXPONENT else np.int64(ZERO_EXPONENT)


@njit
def _along_positions(rows, shifts, width, packed, columns, head_size, pieces, out):
    """Write Σ_s round_shift(rows[s][t], shifts[s])·b[s][i] for s ≥ t to out, i64 (padded period, columns).

    rows: i16 (period, width), as far as `_filled` · packed: pairs of b (⌈period/2⌉, columns) · pieces: room for the split pairs"""
    period = len(shifts)
    pairs = (period + 1) // 2
    piece_bytes = 4 * pairs * width
    for pair in range(pairs):
        filled, place = _filled(2 * pair, width), 4 * pair * width
        even, even_shift, odd, odd_shift = rows + place, shifts[2 * pair], rows + place, np.int64(SHIFTED_AWAY)
        if 2 * pair + 1 < period:
            odd, odd_shift = rows + place + 2 * width, shifts[2 * pair + 1]
        low, high = pieces + place, pieces + piece_bytes + place
        interleave_split(even, odd, filled, even_shift, odd_shift, padded(filled, LANES), low, high)
    for t in range(0, period, POSITIONS):
        first, rows_now = t // 2, min(POSITIONS, padded(period - t, TWO_PIECE_ROWS))
        place, b_now, out_now = pieces + 4 * t + 4 * width * first, packed + 4 * columns * first, out + 8 * columns * t
        multiply(place, 4, 4 * width, piece_bytes, b_now, 4 * columns, rows_now, head_size, pairs - first, out_now, 8 * columns)


@njit
def _add_heads(parts, fractions, group, period, columns, head_size, out, out_fractions, stride, fraction_stride):
    """Align the rows of a group of heads, position by position, and add them.

    parts: process address of i64 (group, padded period, columns) · fractions: i64 (group) · out: i64, rows at a stride"""
    size = padded(period, TWO_PIECE_ROWS) * columns
    for t in range(period):
        common = np.int64(NO_EXPONENT)
        for h in range(group):
            if not is_zero(int64s(0, parts + 8 * (h * size + t * columns), head_size)):
                common = min(common, fractions[h])
        row = out[t * stride : t * stride + head_size]
        row[:] = 0
        for h in range(group):
            part = int64s(0, parts + 8 * (h * size + t * columns), head_size)
            if not is_zero(part):
                for i in range(head_size):
                    row[i] += round_shift(part[i], fractions[h] - common)
        out_fractions[t * fraction_stride] = common if common != NO_EXPONENT else ZERO_EXPONENT


@compiled_for_training
def attention_backward_heads(base, words, first, end, chunk, scratch, shared):
    """Units are key-value heads of sequences.

    shared: i64 values (rows, heads, head_size) of dq, (rows, kv_heads, head_size) of dk and of dv, then their fraction bits, per head"""
    use_whole_registers()
    _, _, _, q_address, k_address, v_address, d_address, sequences, period, heads, kv_heads, head_size, bits_wanted = words[:13]
    rows, length, pairs, group = sequences * period, period * head_size, (period + 1) // 2, heads // kv_heads
    width, columns = padded(period + TWO_PIECE_ROWS, TILE_COLUMNS), padded(head_size, TILE_COLUMNS)
    head_pairs, part_size = (head_size + 1) // 2, padded(period, TWO_PIECE_ROWS) * columns
    dk_values, dv_values = shared[rows * heads * head_size :], shared[rows * (heads + kv_heads) * head_size :]
    dq_fractions = shared[rows * (heads + 2 * kv_heads) * head_size :]
    dk_fractions, dv_fractions = dq_fractions[rows * heads :], dq_fractions[rows * (heads + kv_heads) :]

    keys = scratch  # pairs along the head (head_pairs, width)
    values = keys + 4 * head_pairs * width  # likewise
    key_rows = values + 4 * head_pairs * width  # pairs along the positions (pairs, columns)
    query_rows = key_rows + 4 * pairs * columns  # likewise
    scores = query_rows + 4 * pairs * columns  # i64 (POSITIONS, width)
    products = scores + 8 * POSITIONS * width  # likewise
    p = products + 8 * POSITIONS * width  # i16 (period, width)
    d_s = p + 2 * period * width  # likewise
    d_o = d_s + 2 * period * width  # i16 (period, head_size)
    z = d_o + 2 * padded(period * head_size, 4)  # likewise
    exponents = z + 2 * padded(period * head_size, 4)  # i64 (4, period): of do, dS and Z; the sums of p
    dq = exponents + 32 * period  # i64 (POSITIONS, columns)
    dk_parts = dq + 8 * POSITIONS * columns  # i64 (group, padded period, columns)
    dv_parts = dk_parts + 8 * group * part_size  # likewise
    fractions = dv_parts + 8 * group * part_size  # i64 (2, group)
    queries = fractions + 16 * group  # split rows of q
    gradients = queries + 8 * head_pairs * padded(period, TWO_PIECE_ROWS)  # split rows of do
    pieces = gradients + 8 * head_pairs * padded(period, TWO_PIECE_ROWS)  # split factors: at most i16 (2, 2·pairs, width)
    e_o, e_s = int64s(0, exponents, period), int64s(0, exponents + 8 * period, period)
    e_z, totals = int64s(0, exponents + 16 * period, period), int64s(0, exponents + 24 * period, period)
    dk_own, dv_own = int64s(0, fractions, group), int64s(0, fractions + 8 * group, group)

    for unit in range(first, end):
        sequence, kv_head = unit // kv_heads, unit % kv_heads
        k, v = (
            activation_row(base, k_address, sequences * kv_heads, length, unit),
            activation_row(base, v_address, sequences * kv_heads, length, unit),
        )
        e_k, e_v = exponent_of(base, k_address, unit), exponent_of(base, v_address, unit)
        transpose(k.ctypes.data, period, head_size, width, 0, head_pairs, keys)
        transpose(v.ctypes.data, period, head_size, width, 0, head_pairs, values)
        interleave_rows(k.ctypes.data, period, head_size, 2 * head_size, columns, key_rows)
        for h in range(group):
            head = kv_head * group + h
            q_row = sequence * heads + head
            q, e_q = activation_row(base, q_address, sequences * heads, length, q_row), exponent_of(base, q_address, q_row)
            do_values, z_values = int16s(0, d_o, length), int16s(0, z, length)
            for s in range(period):
                t = sequence * period + s
                row = gradient_row(base, d_address, rows, heads * head_size, t).ctypes.data + 4 * head * head_size
                e_o[s] = normalise_gradient(row, head_size, exponent_of(base, d_address, t), bits_wanted, d_o + 2 * head_size * s)
            split_rows(q, period, head_size, queries)
            split_rows(do_values, period, head_size, gradients)
            for start in range(0, period, POSITIONS):
                stop = min(start + POSITIONS, period)
                dots_of_block(queries, period, start, stop, head_size, keys, stop, scores, width)
                dots_of_block(gradients, period, start, stop, head_size, values, stop, products, width)
                for s in range(start, stop):
                    row = scores + 8 * width * (s - start)
                    largest = scores_of(int64s(0, row, s + 1), words[SCALE], e_q + e_k + 8)
                    totals[s] = weights_of_width(row, s + 1, largest, bits_wanted, p + 2 * width * s)
                    for first_of_row in (p + 2 * width * s, d_s + 2 * width * s):
                        int16s(0, first_of_row, _filled(s, width))[s + 1 :] = 0
                    p_s, ds_s = int16s(0, p + 2 * width * s, s + 1), int16s(0, d_s + 2 * width * s, s + 1)
                    d_p = int64s(0, products + 8 * width * (s - start), s + 1)
                    e_s[s] = _gradients_of_scores(p_s, totals[s], d_p, e_o[s] + e_v, words[ROOT], bits_wanted, ds_s)
                    inverse = reciprocal(totals[s])
                    row, out, fraction_bits = d_o + 2 * head_size * s, z + 2 * head_size * s, e_o[s] + bits(totals[s]) + 30
                    e_z[s] = normalise_products(row, head_size, inverse, fraction_bits, bits_wanted, out)
                    dq_fractions[(sequence * period + s) * heads + head] = e_s[s] + e_k
                    if is_zero(ds_s):
                        e_s[s] = NO_EXPONENT
                    if is_zero(z_values[s * head_size : (s + 1) * head_size]):
                        e_z[s] = NO_EXPONENT
                columns_now, place = padded(stop, 2), int16s(0, d_s, period * width)
                _dq_of_block(place, start, stop, width, columns_now // 2, key_rows, columns, head_size, pieces, dq)
                for s in range(start, stop):
                    row = ((sequence * period + s) * heads + head) * head_size
                    int64s(0, shared.ctypes.data + 8 * row, head_size)[:] = int64s(0, dq + 8 * columns * (s - start), head_size)
            dk_own[h], dv_own[h] = _shifts(e_s) + e_q, _shifts(e_z)
            for s in range(period):
                for i in range(head_size):
                    z_values[s * head_size + i] = round_shift(np.int64(z_values[s * head_size + i]), min(e_z[s], 64))
            interleave_rows(q.ctypes.data, period, head_size, 2 * head_size, columns, query_rows)
            _along_positions(d_s, e_s, width, query_rows, columns, head_size, pieces, dk_parts + 8 * h * part_size)
            interleave_rows(z, period, head_size, 2 * head_size, columns, query_rows)
            e_z[:] = 0  # p is aligned
            _along_positions(p, e_z, width, query_rows, columns, head_size, pieces, dv_parts + 8 * h * part_size)
        first_row = sequence * period * kv_heads + kv_head
        for which in range(2):
            out, out_fractions = (dk_values, dk_fractions) if which == 0 else (dv_values, dv_fractions)
            parts, own = (dk_parts, dk_own) if which == 0 else (dv_parts, dv_own)
            out = out[first_row * head_size :]
            _add_heads(parts, own, group, period, columns, head_size, out, out_fractions[first_row:], kv_heads * head_size, kv_heads)


@njit
def _dq_of_block(d_s, first, end, width, pairs, key_rows, columns, head_size, scratch, out):
    """Write Σ_t dS_s,t·k_t for the positions [first, end) to out, i64 (POSITIONS, columns). pairs: that are not all zero"""
    piece_bytes = 4 * pairs * POSITIONS
    int16s(0, scratch, piece_bytes)[:] = 0
    for s in range(first, end):
        low = int16s(0, scratch + 4 * pairs * (s - first), 2 * pairs)
        high = int16s(0, scratch + piece_bytes + 4 * pairs * (s - first), 2 * pairs)
        row = d_s[s * width : s * width + 2 * pairs]
        for t in range(2 * pairs):
            low[t] = row[t] & 255
            high[t] = row[t] >> 8
    rows = padded(end - first, TWO_PIECE_ROWS)
    multiply(scratch, 4 * pairs, 4, piece_bytes, key_rows, 4 * columns, rows, head_size, pairs, out, 8 * columns)


@compiled_for_training
def attention_backward_rows(base, words, first, end, chunk, scratch, shared):
    """Units are rows. shared: what `attention_backward_heads` left"""
    sequences, period, heads, kv_heads, head_size = words[7:12]
    rows = sequences * period
    start, fraction_start = np.int64(0), rows * (heads + 2 * kv_heads) * head_size
    for which in range(3):
        count = heads if which == 0 else kv_heads
        length = count * head_size
        for t in range(first, end):
            values, fractions = shared.ctypes.data + 8 * (start + t * length), shared.ctypes.data + 8 * (fraction_start + t * count)
            row = gradient_row(base, words[which], rows, length, t).ctypes.data
            put_exponent(base, words[which], t, normalise_heads(values, fractions, count, head_size, GRADIENT_BITS, row))
        start += rows * length
        fraction_start += rows * count
