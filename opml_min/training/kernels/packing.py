"""Factors of products as `multiply` reads them: split into pieces, or in pairs of neighbours along the sum.

*Source*: the layouts of `product_code`.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int16s


@njit
def split(values, low, high):
    """Split i16 values: low is 0 … 255, high is signed. Places after the values become 0."""
    for i in range(len(values)):
        low[i] = values[i] & 255
        high[i] = values[i] >> 8
    low[len(values) :], high[len(values) :] = 0, 0


@njit
def transpose(rows, count, length, width, first, end, packed):
    """Pack i16 (count, length), at a process address, so that columns come in pairs: (⌈length/2⌉, width, 2). Zeros fill the width.

    Only the pairs [first, end) are written."""
    source = int16s(0, rows, count * length)
    out = int16s(0, packed, end * width * 2)
    for pair in range(first, end):
        line, last = out[pair * width * 2 : (pair + 1) * width * 2], 2 * pair + 1 == length
        for row in range(count):
            line[2 * row] = source[row * length + 2 * pair]
            line[2 * row + 1] = 0 if last else source[row * length + 2 * pair + 1]
        line[2 * count :] = 0


@njit
def interleave(even, odd, packed):
    """Write two rows as pairs: i16 (width, 2). Zeros fill the width."""
    for i in range(len(even)):
        packed[2 * i] = even[i]
        packed[2 * i + 1] = odd[i]
    packed[2 * len(even) :] = 0


@njit
def interleave_rows(rows, count, length, stride, width, packed):
    """Pack i16 (count, length), at a process address and `stride` bytes apart, so that rows come in pairs: (⌈count/2⌉, width, 2)."""
    for pair in range((count + 1) // 2):
        even, out = int16s(0, rows + 2 * pair * stride, length), int16s(0, packed + 4 * pair * width, 2 * width)
        if 2 * pair + 1 < count:
            interleave(even, int16s(0, rows + (2 * pair + 1) * stride, length), out)
        else:
            out[:] = 0
            for i in range(length):
                out[2 * i] = even[i]


@njit
def interleave_split(even, odd, even_shift, odd_shift, low, high):
    """Write two aligned rows as pairs, split into pieces: i16 (width, 2) each. Zeros fill the width. Shifts are 0 or more."""
    if even_shift == 0 and odd_shift == 0:
        for i in range(len(even)):
            low[2 * i], low[2 * i + 1] = even[i] & 255, odd[i] & 255
            high[2 * i], high[2 * i + 1] = even[i] >> 8, odd[i] >> 8
    else:
        even_shift, odd_shift = min(even_shift, 63), min(odd_shift, 63)  # an i16 that is shifted by 63 rounds to 0, too
        for i in range(len(even)):
            a = ((np.int64(even[i]) << 1 >> even_shift) + 1) >> 1  # round_shift without a branch
            b = ((np.int64(odd[i]) << 1 >> odd_shift) + 1) >> 1
            low[2 * i], low[2 * i + 1] = a & 255, b & 255
            high[2 * i], high[2 * i + 1] = a >> 8, b >> 8
    low[2 * len(even) :], high[2 * len(even) :] = 0, 0
