"""MATMUL: y = sat32(round_shift(Σ_groups d·(Σ_c w·q) (+ m·(Σ_c q)), e + 24 − out_frac)) for every row.

*Source*: spec §3.5.
"""

import numpy as np
from numba import njit

from opml_min.model.image.weights import BLOCK_BYTES, GROUP, Q4_0, Q8_0, TILE_ROWS
from opml_min.model.native.kernels.addressing import int16s, int32s
from opml_min.model.native.kernels.vector.rounding import finish_tile
from opml_min.model.native.kernels.vector.tile import tile_sums_q4_0, tile_sums_q4_1, tile_sums_q8_0


@njit
def needs_group_sums(operands):
    return operands[3] != Q8_0


@njit
def sum_groups(base, operands, group_sums):
    """Compute Σ_c q of every group if the quantisation needs it. group_sums: i32 (columns/32) or longer, written"""
    x_address, columns = operands[1], operands[5]
    q = int16s(base, x_address + 32, columns)  # (groups, 32)
    if needs_group_sums(operands):
        for group in range(columns // GROUP):
            total = np.int32(0)
            for c in range(GROUP):
                total += np.int32(q[GROUP * group + c])
            group_sums[group] = total


@njit
def matmul_tiles(base, operands, first, end, group_sums, sums):
    """Compute the existing tiles of [first, end). Return the losses.

    group_sums: i32 (columns/32) or longer, from sum_groups · sums: i64 (8) or longer, scratch"""
    out_address, x_address, matrix_address, quantisation, rows, columns, out_frac = operands[:7]
    q = base + x_address + 32  # i16 (columns)
    shift = np.int64(int32s(base, x_address, 1)[0]) + 24 - out_frac
    groups = columns // GROUP
    tile_bytes = groups * BLOCK_BYTES[quantisation]
    found = np.int64(0)
    for tile in range(first, min(end, (rows + TILE_ROWS - 1) // TILE_ROWS)):
        block = base + matrix_address + tile * tile_bytes
        if quantisation == Q8_0:
            tile_sums_q8_0(block, q, group_sums.ctypes.data, groups, sums.ctypes.data)
        elif quantisation == Q4_0:
            tile_sums_q4_0(block, q, group_sums.ctypes.data, groups, sums.ctypes.data)
        else:
            tile_sums_q4_1(block, q, group_sums.ctypes.data, groups, sums.ctypes.data)
        found += finish_tile(base, out_address, rows, tile, sums, shift)
    return found
