"""FLOAT_MATMUL: y_r = Σ_c w_rc ⊗ x_c, each row's sum in the order of the columns, from +0.

The 8 rows of a tile are the 8 lanes of a vector, so no sum is split and the order is the specified one. Four tiles are computed side by
side where possible, so that additions need not wait for one another.

*Source*: spec/README.md §7 (F32 matrices).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from opml_min.model.image.weights import TILE_ROWS
from opml_min.model.native.kernels.addressing import float32s
from opml_min.model.native.kernels.vector.vector_code import FLOAT32, I32, I64, at, everywhere, load, splat, store, vector

SIDE_BY_SIDE = 4  # tiles


def _tile_sums(tiles: int) -> Any:
    """Emit f(tile, x, columns, out): process addresses of consecutive tiles, of x, f32 (columns), and of out, f32 (8·tiles)."""

    @intrinsic
    def tile_sums(typing: Any, tile: Any, x: Any, columns: Any, out: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            tile_address, x_address, column_count, out_address = arguments
            tile_bytes = builder.mul(column_count, ir.Constant(I64, 4 * TILE_ROWS))
            starts = [at(builder, tile_address, i, tile_bytes) for i in range(tiles)]
            sums = [cgutils.alloca_once_value(builder, splat(FLOAT32, 0.0, TILE_ROWS)) for _ in range(tiles)]
            with cgutils.for_range(builder, column_count, intp=I64) as loop:
                value = builder.load(builder.inttoptr(at(builder, x_address, loop.index, 4), FLOAT32.as_pointer()), align=4)
                x_everywhere = everywhere(builder, value, TILE_ROWS)
                for start, total in zip(starts, sums, strict=True):
                    weights = load(builder, FLOAT32, TILE_ROWS, at(builder, start, loop.index, 4 * TILE_ROWS), align=32)
                    builder.store(builder.fadd(builder.load(total), builder.fmul(weights, x_everywhere)), total)
            for i, total in enumerate(sums):
                pattern = builder.bitcast(builder.load(total), vector(I32, TILE_ROWS))
                size = builder.and_(pattern, splat(I32, 0x7FFFFFFF, TILE_ROWS))
                is_nan = builder.icmp_signed(">", size, splat(I32, 0x7F800000, TILE_ROWS))
                canonical = builder.select(is_nan, splat(I32, 0x7FC00000, TILE_ROWS), pattern)
                store(builder, canonical, at(builder, out_address, i, 4 * TILE_ROWS))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64, types.int64), code

    return tile_sums


_one_tile, _four_tiles = _tile_sums(1), _tile_sums(SIDE_BY_SIDE)


@njit
def float_matmul_tiles(base, operands, first, end, sums):
    """Compute the existing tiles of [first, end). sums: 32 bytes of scratch"""
    out_address, x_address, matrix_address, rows, columns = operands[:5]
    x, out = base + x_address, base + out_address
    matrix, tile_bytes = base + matrix_address, 4 * TILE_ROWS * columns
    end = min(end, (rows + TILE_ROWS - 1) // TILE_ROWS)
    whole = min(end, rows // TILE_ROWS)
    tile = first
    while tile + SIDE_BY_SIDE <= whole:
        _four_tiles(matrix + tile * tile_bytes, x, columns, out + 4 * TILE_ROWS * tile)
        tile += SIDE_BY_SIDE
    while tile < whole:
        _one_tile(matrix + tile * tile_bytes, x, columns, out + 4 * TILE_ROWS * tile)
        tile += 1
    if tile < end:  # the last tile, which has fewer rows
        _one_tile(matrix + tile * tile_bytes, x, columns, sums.ctypes.data)
        found = sums.view(np.float32)
        last = float32s(base, out_address + 4 * TILE_ROWS * tile, rows - TILE_ROWS * tile)
        for lane in range(rows - TILE_ROWS * tile):
            last[lane] = found[lane]
