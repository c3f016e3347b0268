"""MATMUL, MATMUL_DATA and MATMUL_WEIGHTS: the products of a batch with a part of a matrix, in blocks of rows.

In a first phase a factor is packed for all blocks; `shared` holds it.

*Source*: spec §6.5 and §6.6.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int16s, int32s, int64s
from opml_min.model.native.kernels.fixed.fixed_point import INT32_MAX, INT32_MIN, ZERO_EXPONENT, round_shift_sat32, sat32
from opml_min.training.kernels.batch_rows import NO_EXPONENT, activation_row, exponent_of, is_zero, padded, put_gradient
from opml_min.training.kernels.compiled import compiled_for_training
from opml_min.training.kernels.packing import interleave_rows, interleave_split, split, transpose
from opml_min.training.kernels.product_code import TILE_COLUMNS, TWO_PIECE_ROWS, multiply
from opml_min.training.kernels.register_width import use_whole_registers

BLOCK_ROWS = 8 * TWO_PIECE_ROWS


@njit
def round_row(sums, shift, out):
    """Write sat32(round_shift(sums_i, shift))."""
    if 0 < shift <= 63:  # almost always
        for i in range(len(out)):
            rounded = (sums[i] >> shift) + ((sums[i] >> (shift - 1)) & 1)
            out[i] = min(max(rounded, INT32_MIN), INT32_MAX)
    else:
        for i in range(len(out)):
            out[i] = round_shift_sat32(sums[i], shift)


@njit
def multiply_rows(base, address, rows, length, first, end, part, taken, packed, columns, scratch):
    """Multiply the rows [first, end) of an activation, of them the elements [part, part + taken), with packed pairs.

    Return the process address of the sums, i64 (rows, padded columns), behind the split rows in scratch."""
    block, pairs, width = padded(end - first, TWO_PIECE_ROWS), (taken + 1) // 2, padded(columns, TILE_COLUMNS)
    pieces, sums = 4 * pairs * block, scratch + 8 * pairs * block
    int16s(0, scratch, 4 * pairs * block)[:] = 0
    for t in range(first, end):
        row, place = activation_row(base, address, rows, length, t)[part : part + taken], scratch + 4 * pairs * (t - first)
        split(row, int16s(0, place, 2 * pairs), int16s(0, place + pieces, 2 * pairs))
    multiply(scratch, 4 * pairs, 4, pieces, packed, 4 * width, block, columns, pairs, sums, 8 * width)
    return sums


@compiled_for_training
def matmul_pack(base, words, first, end, chunk, scratch, shared):
    """Pack the part of the matrix. Units are pairs of its columns."""
    working, columns, part, taken = base + words[2] + 32, words[4], words[6], words[7]
    transpose(working + 2 * columns * part, taken, columns, padded(taken, TILE_COLUMNS), first, end, shared.ctypes.data)


@compiled_for_training
def matmul(base, words, first, end, chunk, scratch, shared):
    use_whole_registers()
    out_address, x_address, working, rows, columns, matrix_rows, part, taken, out_frac = words[:9]
    sums = multiply_rows(base, x_address, rows, columns, first, end, 0, columns, shared.ctypes.data, taken, scratch)
    width = padded(taken, TILE_COLUMNS)
    for t in range(first, end):
        shift = exponent_of(base, x_address, t) + exponent_of(base, working, 0) - out_frac
        round_row(int64s(0, sums + 8 * width * (t - first), taken), shift, int32s(base, out_address + 4 * (matrix_rows * t + part), taken))


@compiled_for_training
def matmul_data_pack(base, words, first, end, chunk, scratch, shared):
    """Pack the part of the matrix. Units are pairs of its rows."""
    working, columns, part, taken = base + words[2] + 32, words[4], words[6], words[7]
    rows, width = min(2 * (end - first), taken - 2 * first), padded(columns, TILE_COLUMNS)
    packed = shared.ctypes.data + 4 * width * first
    interleave_rows(working + 2 * columns * (part + 2 * first), rows, columns, 2 * columns, width, packed)


@compiled_for_training
def matmul_data(base, words, first, end, chunk, scratch, shared):
    use_whole_registers()
    out_address, g_address, working, rows, columns, matrix_rows, part, taken = words[:8]
    sums = multiply_rows(base, g_address, rows, matrix_rows, first, end, part, taken, shared.ctypes.data, columns, scratch)
    width = padded(columns, TILE_COLUMNS)
    for t in range(first, end):
        z, e = int64s(0, sums + 8 * width * (t - first), columns), exponent_of(base, g_address, t) + exponent_of(base, working, 0)
        put_gradient(base, out_address, rows, columns, t, z, e)


@compiled_for_training
def matmul_weights_exponents(base, words, first, end, chunk, scratch, shared):
    """Write the exponents of the products of the rows that count, and NO_EXPONENT for all others, to the beginning of shared."""
    _, g_address, x_address, rows, columns, matrix_rows, part, taken = words[:8]
    for t in range(first, end):
        g, x = activation_row(base, g_address, rows, matrix_rows, t)[part : part + taken], activation_row(base, x_address, rows, columns, t)
        counts = not is_zero(g) and not is_zero(x)
        shared[t] = exponent_of(base, g_address, t) + exponent_of(base, x_address, t) if counts else np.int64(NO_EXPONENT)


@njit
def _places(rows, taken, columns, shared):
    """Return where in shared G and x are packed, and their widths."""
    g_width, x_width, pairs = padded(padded(taken, TWO_PIECE_ROWS), TILE_COLUMNS), padded(columns, TILE_COLUMNS), (rows + 1) // 2
    g = shared.ctypes.data + 8 * padded(rows, 8)
    return g, g + 8 * pairs * g_width, g_width, x_width


@compiled_for_training
def matmul_weights_pack(base, words, first, end, chunk, scratch, shared):
    """Pack G, aligned and split, and x. Units are pairs of rows."""
    _, g_address, x_address, rows, columns, matrix_rows, part, taken = words[:8]
    g_packed, x_packed, g_width, x_width = _places(rows, taken, columns, shared)
    common, pieces = shared[:rows].min(), 4 * ((rows + 1) // 2) * g_width
    for pair in range(first, end):
        even, odd = 2 * pair, min(2 * pair + 1, rows - 1)
        e_even, e_odd = shared[even], shared[odd] if odd > even else np.int64(NO_EXPONENT)
        low, high = g_packed + 4 * g_width * pair, g_packed + pieces + 4 * g_width * pair
        g_even = activation_row(base, g_address, rows, matrix_rows, even)[part:].ctypes.data
        g_odd = activation_row(base, g_address, rows, matrix_rows, odd)[part:].ctypes.data
        least = common if common != NO_EXPONENT else np.int64(0)  # a row that does not count is shifted away
        interleave_split(g_even, g_odd, taken, e_even - least, e_odd - least, g_width, low, high)
        x_even = base + x_address + padded(4 * rows, 32) + 2 * columns * even
        interleave_rows(x_even, min(2, rows - even), columns, 2 * columns, x_width, x_packed + 4 * x_width * pair)


@compiled_for_training
def matmul_weights(base, words, first, end, chunk, scratch, shared):
    """Add to the sums. Units are rows of the part."""
    use_whole_registers()
    sums_address, _, _, rows, columns, _, part, taken, sum_frac = words[:9]
    g_packed, x_packed, g_width, x_width = _places(rows, taken, columns, shared)
    pairs, block = (rows + 1) // 2, padded(end - first, TWO_PIECE_ROWS)
    common = shared[:rows].min()
    shift = (common if common != NO_EXPONENT else np.int64(ZERO_EXPONENT)) - sum_frac
    multiply(g_packed + 4 * first, 4, 4 * g_width, 4 * pairs * g_width, x_packed, 4 * x_width, block, columns, pairs, scratch, 8 * x_width)
    rounded = int32s(0, scratch + 8 * block * x_width, columns)
    for j in range(first, end):
        sums = int32s(base, sums_address + 4 * columns * (part + j), columns)
        round_row(int64s(0, scratch + 8 * x_width * (j - first), columns), shift, rounded)
        for c in range(columns):
            sums[c] = sat32(np.int64(sums[c]) + np.int64(rounded[c]))
