"""FLOAT_MATMUL: y_r = Σ_c w_rc ⊗ x_c, each row's sum in the order of the columns, from +0.

The 8 rows of a tile are the 8 lanes of a vector, so no sum is split and the order is the pinned one. Four tiles are done side by side where
there are as many: one addition then need not wait for the other.

*Source*: spec/README.md §7 (matrix format 3).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from opml_min.model.native.kernels.addressing import float32s

LANES = 8
TOGETHER = 4  # tiles
F32, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
VECTOR, INTEGERS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)


def _splat(value: int) -> ir.Constant:
    return ir.Constant(INTEGERS, [value] * LANES)


def _tile_sums(tiles: int) -> Any:
    """f(tile, x, columns, out): process addresses of `tiles` tiles that follow one another, of x f32 (columns), of out f32 (8·tiles)."""

    @intrinsic
    def tile_sums(typing: Any, tile: Any, x: Any, columns: Any, out: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            tile_address, x_address, column_count, out_address = arguments
            tile_bytes = builder.mul(column_count, ir.Constant(I64, 4 * LANES))
            starts = [builder.add(tile_address, builder.mul(tile_bytes, ir.Constant(I64, i))) for i in range(tiles)]
            sums = [cgutils.alloca_once_value(builder, ir.Constant(VECTOR, [0.0] * LANES)) for _ in range(tiles)]
            with cgutils.for_range(builder, column_count, intp=I64) as loop:
                place = builder.add(x_address, builder.mul(loop.index, ir.Constant(I64, 4)))
                value = builder.load(builder.inttoptr(place, F32.as_pointer()), align=4)
                one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), value, ir.Constant(I32, 0))
                everywhere = builder.shuffle_vector(one, ir.Constant(VECTOR, ir.Undefined), _splat(0))
                offset = builder.mul(loop.index, ir.Constant(I64, 4 * LANES))
                for start, total in zip(starts, sums, strict=True):
                    weights = builder.load(builder.inttoptr(builder.add(start, offset), VECTOR.as_pointer()), align=32)
                    builder.store(builder.fadd(builder.load(total), builder.fmul(weights, everywhere)), total)
            for i, total in enumerate(sums):
                pattern = builder.bitcast(builder.load(total), INTEGERS)
                is_nan = builder.icmp_signed(">", builder.and_(pattern, _splat(0x7FFFFFFF)), _splat(0x7F800000))
                place = builder.add(out_address, ir.Constant(I64, 4 * LANES * i))
                builder.store(
                    builder.select(is_nan, _splat(0x7FC00000), pattern), builder.inttoptr(place, INTEGERS.as_pointer()), align=4
                )
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64, types.int64), code

    return tile_sums


_one_tile, _four_tiles = _tile_sums(1), _tile_sums(TOGETHER)


@njit
def float_matmul_tiles(base, operands, first, end, sums):
    """The tiles [first, end), as far as there are any. sums: 32 bytes of scratch."""
    out_address, x_address, matrix_address, rows, columns = operands[:5]
    x, out = base + x_address, base + out_address
    matrix, tile_bytes = base + matrix_address, 4 * LANES * columns
    end = min(end, (rows + LANES - 1) // LANES)
    whole = min(end, rows // LANES)
    tile = first
    while tile + TOGETHER <= whole:
        _four_tiles(matrix + tile * tile_bytes, x, columns, out + 4 * LANES * tile)
        tile += TOGETHER
    while tile < whole:
        _one_tile(matrix + tile * tile_bytes, x, columns, out + 4 * LANES * tile)
        tile += 1
    if tile < end:  # the last tile, of which not all rows are there
        _one_tile(matrix + tile * tile_bytes, x, columns, sums.ctypes.data)
        found = sums.view(np.float32)
        last = float32s(base, out_address + 4 * LANES * tile, rows - LANES * tile)
        for lane in range(rows - LANES * tile):
            last[lane] = found[lane]
