"""MATMUL: y = sat32(round_shift(Σ_groups d·(Σ_c w·q) (+ m·(Σ_c q)), e + 24 − out_frac)) for every row.

*Source*: spec/README.md §5.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int16s, int32s
from opml_min.model.native.kernels.fixed.fixed_point import round_shift_sat32
from opml_min.model.native.kernels.vector.tile import (
    BLOCK_BYTES,
    GROUP,
    LANES,
    Q4_0,
    Q8_0,
    round_whole_tile,
    tile_sums_q4_0,
    tile_sums_q4_1,
    tile_sums_q8_0,
)


@njit
def needs_group_sums(operands):
    return operands[3] != Q8_0


@njit
def sum_groups(base, operands, group_sums):
    """Σ_c q of every group, for the formats that need it. group_sums: i32 (columns/32) or longer, written."""
    x_address, columns = operands[1], operands[5]
    q = int16s(base, x_address + 32, columns)  # (groups, 32)
    if needs_group_sums(operands):
        for group in range(columns // GROUP):
            total = np.int32(0)
            for c in range(GROUP):
                total += np.int32(q[GROUP * group + c])
            group_sums[group] = total


@njit
def finish_tile(base, out_address, rows, tile, sums, shift):
    """Rounds a tile's sums, i64 (8), into the vector."""
    count = min(LANES, rows - LANES * tile)
    place = out_address + 4 * LANES * tile
    if 0 < shift <= 63 and count == LANES:  # as good as always
        round_whole_tile(sums.ctypes.data, shift, base + place)
        return
    out = int32s(base, place, count)
    for lane in range(count):
        out[lane] = round_shift_sat32(sums[lane], shift)


@njit
def matmul_tiles(base, operands, first, end, group_sums, sums):
    """The tiles [first, end), as far as there are any.

    group_sums: i32 (columns/32) or longer, from sum_groups · sums: i64 (8) or longer, scratch"""
    out_address, x_address, matrix_address, form, rows, columns, out_frac = operands[:7]
    q = base + x_address + 32  # i16 (columns)
    shift = np.int64(int32s(base, x_address, 1)[0]) + 24 - out_frac
    groups = columns // GROUP
    tile_bytes = groups * BLOCK_BYTES[form]
    for tile in range(first, min(end, (rows + LANES - 1) // LANES)):
        block = base + matrix_address + tile * tile_bytes
        if form == Q8_0:
            tile_sums_q8_0(block, q, group_sums.ctypes.data, groups, sums.ctypes.data)
        elif form == Q4_0:
            tile_sums_q4_0(block, q, group_sums.ctypes.data, groups, sums.ctypes.data)
        else:
            tile_sums_q4_1(block, q, group_sums.ctypes.data, groups, sums.ctypes.data)
        finish_tile(base, out_address, rows, tile, sums, shift)
