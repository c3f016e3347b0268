"""CAST and EXPORT: master weights as products read them, in training and in inference.

*Source*: spec §6.4.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int8s, int16s, int32s
from opml_min.model.native.kernels.fixed.fixed_point import ZERO_EXPONENT, bits, largest_bits, quantise
from opml_min.training.kernels.batch_rows import padded, put_exponent
from opml_min.training.kernels.compiled import compiled_for_training

LARGEST = 127  # of an exported weight
TILE_ROWS, GROUP, BLOCK_BYTES, SCALE_OFFSET = 8, 32, 272, 256


@compiled_for_training
def cast_size(base, words, first, end, chunk, scratch, shared):
    """Find the longest of some master weights."""
    shared[chunk] = largest_bits(int32s(base, words[1] + 4 * first, end - first))


@compiled_for_training
def cast(base, words, first, end, chunk, scratch, shared):
    """Round some master weights to the exponent of all. shared: what `cast_size` left"""
    out_address, master_address, _, frac, width = words[:5]
    size = np.int64(0)
    for each in shared:
        size = max(size, each)
    out = int16s(base, out_address + 32 + 2 * first, end - first)
    if size == 0:
        out[:] = 0
    else:
        quantise(int32s(base, master_address + 4 * first, end - first), size - width, (1 << width) - 1, out)
    if first == 0:
        put_exponent(base, out_address, 0, frac + width - size if size != 0 else np.int64(ZERO_EXPONENT))


@njit
def half_at_least(least):
    """Return the bits of the least half whose integer, half·2^24, is at least `least`."""
    if least < 2048:
        return least
    places = bits(least) - 11
    mantissa = (least + (np.int64(1) << places) - 1) >> places  # 1024 … 2048
    return (places << 10) + mantissa  # a carry into the exponent is right


@njit
def half_as_integer(half):
    """Return half·2^24 of a positive half."""
    exponent, fraction = half >> 10, half & 1023
    return fraction if exponent == 0 else (1024 + fraction) << (exponent - 1)


@compiled_for_training
def export(base, words, first, end, chunk, scratch, shared):
    """Units are tiles of 8 rows."""
    out_address, master_address, rows, columns, frac = words[:5]
    groups = padded(columns, GROUP) // GROUP
    for tile in range(first, end):
        for group in range(groups):
            block = out_address + (tile * groups + group) * BLOCK_BYTES
            quantised, halfs = int8s(base, block, SCALE_OFFSET), int16s(base, block + SCALE_OFFSET, TILE_ROWS)
            quantised[:], halfs[:] = 0, 0
            for lane in range(min(TILE_ROWS, rows - TILE_ROWS * tile)):
                count = min(GROUP, columns - GROUP * group)
                row = int32s(base, master_address + 4 * ((TILE_ROWS * tile + lane) * columns + GROUP * group), count)
                largest = np.int64(0)
                for w in row:
                    largest = max(largest, abs(np.int64(w)))
                if largest == 0:
                    continue
                divisor = np.int64(LARGEST) << frac
                half = half_at_least(((largest << 24) + divisor - 1) // divisor)
                d = half_as_integer(half)
                halfs[lane] = half
                for c in range(count):
                    q = ((np.int64(row[c]) << 25) + (d << frac)) // (d << (frac + 1))
                    quantised[c // 2 * 16 + lane * 2 + c % 2] = min(max(q, -LARGEST), LARGEST)
