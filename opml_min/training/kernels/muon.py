"""MUON: a step along the orthogonal matrix that is next to the momentum, by five iterations of Newton and Schulz.

*Source*: spec §6.7.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int16s, int32s, int64s
from opml_min.model.native.kernels.fixed.fixed_point import bits, normalise, round_shift, rsqrt, sat32
from opml_min.training.kernels.batch_rows import DECAY, MOMENTUM, RATE, padded
from opml_min.training.kernels.compiled import compiled_for_training
from opml_min.training.kernels.optimisers import STEP_FRACTION_BITS, stepped
from opml_min.training.kernels.packing import interleave_rows, split, transpose
from opml_min.training.kernels.product_code import TILE_COLUMNS, TWO_PIECE_ROWS, multiply

A_Q12, B_Q12, C_Q12 = 14109, -19558, 8321  # (= 3.4445, −4.7750, 2.0315)
ITERATIONS = 5


@njit
def _product(a, rows, inner, packed, columns, scratch, out):
    """Write a·b to out, i64 (padded rows, padded columns). a: i16 (rows, inner) · packed: b, in pairs"""
    pairs, width, block = (inner + 1) // 2, padded(columns, TILE_COLUMNS), padded(rows, TWO_PIECE_ROWS)
    piece_bytes = 4 * pairs * block
    int16s(0, scratch, piece_bytes)[:] = 0
    for row in range(rows):
        low = int16s(0, scratch + 4 * pairs * row, 2 * pairs)
        split(a[row * inner : (row + 1) * inner], low, int16s(0, scratch + piece_bytes + 4 * pairs * row, 2 * pairs))
    int64s(0, out, block * width)[:] = 0
    multiply(scratch, 4 * pairs, 4, piece_bytes, packed, 4 * width, block, columns, pairs, out, 8 * width)


@njit
def _orthogonal(z, x, rows, columns, scratch):
    """Replace z, i64 (rows, columns), rows ≤ columns, by the orthogonal matrix next to it, in x. Return its exponent; x is 0 if z is."""
    width, square_width, block = padded(columns, TILE_COLUMNS), padded(rows, TILE_COLUMNS), padded(rows, TWO_PIECE_ROWS)
    packed = scratch
    pieces = packed + 2 * padded(max(rows, columns), 2) * max(width, square_width)
    products = pieces + 4 * padded(columns, 2) * block
    squares = products + 8 * block * width
    a = int16s(0, squares + 8 * rows * rows, rows * rows)
    square, product = int64s(0, squares, rows * rows), int64s(0, products, block * width)
    normalise(z, np.int64(0), 15, x)
    total = np.int64(0)
    for value in x:
        total += np.int64(value) * np.int64(value)
    if total == 0:
        return np.int64(0)
    t = (64 - bits(total)) // 2 * 2
    inverse = rsqrt(np.uint64(total) << np.uint64(t))
    for i in range(rows * columns):
        z[i] = np.int64(x[i]) * inverse
    e = normalise(z, 62 - t // 2, 15, x)
    for _ in range(ITERATIONS):
        transpose(x.ctypes.data, rows, columns, square_width, packed)
        _product(x, rows, columns, packed, rows, pieces, products)
        for i in range(rows):
            square[i * rows : (i + 1) * rows] = product[i * square_width : i * square_width + rows]
        e_a = normalise(square, 2 * e, 15, a)
        transpose(a.ctypes.data, rows, rows, square_width, packed)  # A is symmetric
        _product(a, rows, rows, packed, rows, pieces, products)
        for i in range(rows):
            for j in range(rows):
                square[i * rows + j] = B_Q12 * np.int64(a[i * rows + j]) + round_shift(C_Q12 * product[i * square_width + j], e_a)
        e_b = normalise(square, e_a + 12, 15, a)
        interleave_rows(x.ctypes.data, rows, columns, 2 * columns, width, packed)
        _product(a, rows, rows, packed, columns, pieces, products)
        for i in range(rows):
            for j in range(columns):
                z[i * columns + j] = A_Q12 * np.int64(x[i * columns + j]) + round_shift(product[i * width + j], e_b - 12)
        e = normalise(z, e + 12, 15, x)
    return e


@compiled_for_training
def muon(base, words, first, end, chunk, scratch, shared):
    """Compute all of it: one unit."""
    master_address, sums_address, momentum_address, matrix_rows, columns, frac = words[:6]
    count, turned = matrix_rows * columns, matrix_rows > columns
    master, sums, momentum = int32s(base, master_address, count), int32s(base, sums_address, count), int32s(base, momentum_address, count)
    z, x = int64s(0, scratch, count), int16s(0, scratch + 8 * count, count)
    for i in range(count):
        g = np.int64(sums[i])
        momentum[i] = sat32(round_shift(np.int64(momentum[i]) * words[MOMENTUM], 16) + g)
        place = i % columns * matrix_rows + i // columns if turned else i
        z[place] = g + round_shift(np.int64(momentum[i]) * words[MOMENTUM], 16)
    rest = scratch + 8 * count + 2 * padded(count, 4)
    e = _orthogonal(z, x, min(matrix_rows, columns), max(matrix_rows, columns), rest)
    for i in range(count):
        place = i % columns * matrix_rows + i // columns if turned else i
        u = sat32(round_shift(np.int64(x[place]), e - STEP_FRACTION_BITS))
        master[i] = stepped(np.int64(master[i]), u, words[RATE], words[DECAY], STEP_FRACTION_BITS + 34 - frac)
        sums[i] = 0
