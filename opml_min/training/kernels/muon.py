"""MUON: a step along the orthogonal matrix that is next to the momentum, by five iterations of Newton and Schulz.

The units of all phases are rows of X, which is the transpose of a matrix that has more rows than columns. What a phase leaves lies in
`shared`: numbers that are the same for all, the longest number of each piece of rows, and matrices at the offsets in `words`.
No phase reads what it writes itself, but for its own rows.

*Source*: spec §6.7.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int16s, int32s, int64s
from opml_min.model.native.kernels.fixed.fixed_point import bits, largest_bits, normalise_sized, round_shift, rsqrt, sat32
from opml_min.training.kernels.batch_rows import DECAY, MOMENTUM, RATE, WORDS, activation_row, padded
from opml_min.training.kernels.compiled import compiled_for_training
from opml_min.training.kernels.optimisers import STEP_FRACTION_BITS, stepped
from opml_min.training.kernels.packing import interleave_rows
from opml_min.training.kernels.product_code import TILE_COLUMNS, TWO_PIECE_ROWS
from opml_min.training.kernels.products import multiply_rows

A_Q12, B_Q12, C_Q12 = 14109, -19558, 8321  # (= 3.4445, −4.7750, 2.0315)
ITERATIONS = 5
WIDTH = 15
PIECE_ROWS = 4 * TWO_PIECE_ROWS

# What `shared` begins with.
Z_FRACTION, X_EXPONENT, SQUARE_FRACTION, A_EXPONENT, NUMBERS = range(5)

# Of `words`: the pieces of rows, and byte offsets in `shared`. Z and the square are i64, X and A activations; the others are pairs.
PIECES, Z, X, SQUARE, A, X_COLUMNS, X_ROWS, A_ROWS = range(WORDS, WORDS + 8)


@njit
def _sizes(words):
    """Return the rows and the columns of X."""
    return min(words[3], words[4]), max(words[3], words[4])


@njit
def _place(words, row, column):
    """Return where an element of X lies in the matrix."""
    return column * words[4] + row if words[3] > words[4] else row * words[4] + column


@njit
def _rows_of(words, shared, matrix, first, end, columns):
    """Return rows of Z or of the square, one after the other."""
    return int64s(0, shared.ctypes.data + words[matrix] + 8 * columns * first, (end - first) * columns)


@njit
def _piece_numbers(words, shared, kind):
    """Return a number per piece of rows: the longest of Z, the longest of the square, or the sum of the squares of X."""
    return shared[NUMBERS + kind * words[PIECES] : NUMBERS + (kind + 1) * words[PIECES]]


@compiled_for_training
def muon_momentum(base, words, first, end, chunk, scratch, shared):
    """Z becomes the gradient plus the momentum."""
    _, columns = _sizes(words)
    count = words[3] * words[4]
    sums, momentum, z = int32s(base, words[1], count), int32s(base, words[2], count), _rows_of(words, shared, Z, first, end, columns)
    for row in range(first, end):
        for column in range(columns):
            i = _place(words, row, column)
            g = np.int64(sums[i])
            momentum[i] = sat32(round_shift(np.int64(momentum[i]) * words[MOMENTUM], 16) + g)
            z[(row - first) * columns + column] = g + round_shift(np.int64(momentum[i]) * words[MOMENTUM], 16)
    _piece_numbers(words, shared, 0)[chunk] = largest_bits(z)
    if first == 0:
        shared[Z_FRACTION] = 0


@compiled_for_training
def muon_normalise(base, words, first, end, chunk, scratch, shared):
    """X becomes Z, normalised as a whole, and is packed for both of its products."""
    rows, columns = _sizes(words)
    z, x = _rows_of(words, shared, Z, first, end, columns), shared.ctypes.data + words[X] + padded(4 * rows, 32)
    own = int16s(0, x + 2 * columns * first, (end - first) * columns)
    exponent = normalise_sized(z, _piece_numbers(words, shared, 0).max(), shared[Z_FRACTION], WIDTH, own)
    total = np.int64(0)
    for value in own:
        total += np.int64(value) * np.int64(value)
    _piece_numbers(words, shared, 2)[chunk] = total
    if first == 0:
        shared[X_EXPONENT] = exponent
    width, square_width = padded(columns, TILE_COLUMNS), padded(rows, TILE_COLUMNS)
    line = shared.ctypes.data + words[X_ROWS] + 2 * width * first
    interleave_rows(x + 2 * columns * first, end - first, columns, 2 * columns, width, line)
    pairs = int16s(0, shared.ctypes.data + words[X_COLUMNS], padded(columns, 2) * square_width)
    for row in range(first, end):
        for column in range(padded(columns, 2)):
            value = own[(row - first) * columns + column] if column < columns else np.int16(0)
            pairs[2 * (column // 2 * square_width + row) + column % 2] = value


@compiled_for_training
def muon_scale(base, words, first, end, chunk, scratch, shared):
    """Z becomes X, divided by the root of the sum of its squares."""
    rows, columns = _sizes(words)
    total = _piece_numbers(words, shared, 2).sum()
    t = (64 - bits(total)) // 2 * 2
    inverse = rsqrt(np.uint64(total) << np.uint64(t)) if total != 0 else np.int64(0)
    z = _rows_of(words, shared, Z, first, end, columns)
    for row in range(first, end):
        x = activation_row(0, shared.ctypes.data + words[X], rows, columns, row)
        for column in range(columns):
            z[(row - first) * columns + column] = np.int64(x[column]) * inverse
    _piece_numbers(words, shared, 0)[chunk] = largest_bits(z)
    if first == 0:
        shared[Z_FRACTION] = 62 - t // 2


@compiled_for_training
def muon_square(base, words, first, end, chunk, scratch, shared):
    """The square becomes X·Xᵀ."""
    rows, columns = _sizes(words)
    data, width = shared.ctypes.data, padded(rows, TILE_COLUMNS)
    sums = multiply_rows(0, data + words[X], rows, columns, first, end, 0, columns, data + words[X_COLUMNS], rows, scratch)
    square = _rows_of(words, shared, SQUARE, first, end, rows)
    for row in range(end - first):
        square[row * rows : (row + 1) * rows] = int64s(0, sums + 8 * width * row, rows)
    _piece_numbers(words, shared, 1)[chunk] = largest_bits(square)
    if first == 0:
        shared[SQUARE_FRACTION] = 2 * shared[X_EXPONENT]


@compiled_for_training
def muon_normalise_square(base, words, first, end, chunk, scratch, shared):
    """A becomes the square, normalised as a whole. It is symmetric, so its columns in pairs are its rows in pairs."""
    rows, _ = _sizes(words)
    square, a = _rows_of(words, shared, SQUARE, first, end, rows), shared.ctypes.data + words[A] + padded(4 * rows, 32)
    own = int16s(0, a + 2 * rows * first, (end - first) * rows)
    exponent = normalise_sized(square, _piece_numbers(words, shared, 1).max(), shared[SQUARE_FRACTION], WIDTH, own)
    if first == 0:
        shared[A_EXPONENT] = exponent
    width = padded(rows, TILE_COLUMNS)
    line = shared.ctypes.data + words[A_ROWS] + 2 * width * first
    interleave_rows(a + 2 * rows * first, end - first, rows, 2 * rows, width, line)


@compiled_for_training
def muon_polynomial(base, words, first, end, chunk, scratch, shared):
    """The square becomes b·A + c·A·A."""
    rows, _ = _sizes(words)
    data, width = shared.ctypes.data, padded(rows, TILE_COLUMNS)
    sums = multiply_rows(0, data + words[A], rows, rows, first, end, 0, rows, data + words[A_ROWS], rows, scratch)
    square = _rows_of(words, shared, SQUARE, first, end, rows)
    for row in range(first, end):
        a, product = activation_row(0, data + words[A], rows, rows, row), int64s(0, sums + 8 * width * (row - first), rows)
        for column in range(rows):
            rounded = round_shift(C_Q12 * product[column], shared[A_EXPONENT])
            square[(row - first) * rows + column] = B_Q12 * np.int64(a[column]) + rounded
    _piece_numbers(words, shared, 1)[chunk] = largest_bits(square)
    if first == 0:
        shared[SQUARE_FRACTION] = shared[A_EXPONENT] + 12


@compiled_for_training
def muon_iterate(base, words, first, end, chunk, scratch, shared):
    """Z becomes a·X + B·X, where B is the polynomial, which lies where A was."""
    rows, columns = _sizes(words)
    data, width = shared.ctypes.data, padded(columns, TILE_COLUMNS)
    sums = multiply_rows(0, data + words[A], rows, rows, first, end, 0, rows, data + words[X_ROWS], columns, scratch)
    z = _rows_of(words, shared, Z, first, end, columns)
    for row in range(first, end):
        x, product = activation_row(0, data + words[X], rows, columns, row), int64s(0, sums + 8 * width * (row - first), columns)
        for column in range(columns):
            rounded = round_shift(product[column], shared[A_EXPONENT] - 12)
            z[(row - first) * columns + column] = A_Q12 * np.int64(x[column]) + rounded
    _piece_numbers(words, shared, 0)[chunk] = largest_bits(z)
    if first == 0:
        shared[Z_FRACTION] = shared[X_EXPONENT] + 12


@compiled_for_training
def muon_step(base, words, first, end, chunk, scratch, shared):
    """The weights take their step along X."""
    rows, columns = _sizes(words)
    count, shift = words[3] * words[4], STEP_FRACTION_BITS + 34 - words[5]
    master, sums = int32s(base, words[0], count), int32s(base, words[1], count)
    for row in range(first, end):
        x = activation_row(0, shared.ctypes.data + words[X], rows, columns, row)
        for column in range(columns):
            i = _place(words, row, column)
            u = sat32(round_shift(np.int64(x[column]), shared[X_EXPONENT] - STEP_FRACTION_BITS))
            master[i] = stepped(np.int64(master[i]), u, words[RATE], words[DECAY], shift)
            sums[i] = 0
