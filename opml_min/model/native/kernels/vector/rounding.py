"""Rounding of the 64-bit sums of a tile to 32-bit outputs: out_i = sat32(round_shift(sums_i, shift)).

*Source*: spec/README.md §4 and §5 (MATMUL).
"""

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from opml_min.model.image.weights import TILE_ROWS
from opml_min.model.native.kernels.addressing import int32s
from opml_min.model.native.kernels.fixed.fixed_point import round_shift_sat32
from opml_min.model.native.kernels.vector.vector_code import I32, I64, at, everywhere, load, splat, store, vector


def rounding_of(tiles: int) -> Any:
    """Emit f(sums, shift, out) for 1 ≤ shift ≤ 63. sums: i64 (tiles, 8), out: i32 (tiles, 8): process addresses"""

    @intrinsic
    def round_tiles(typing: Any, sums: Any, shift: Any, out: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            sums_address, places, out_address = arguments
            shifts = everywhere(builder, places, TILE_ROWS)
            places_before = builder.sub(shifts, splat(I64, 1, TILE_ROWS))
            for tile in range(tiles):
                value = load(builder, I64, TILE_ROWS, at(builder, sums_address, tile, 8 * TILE_ROWS), align=8)
                half = builder.and_(builder.ashr(value, places_before), splat(I64, 1, TILE_ROWS))
                value = builder.add(builder.ashr(value, shifts), half)
                for limit, beyond in ((splat(I64, (1 << 31) - 1, TILE_ROWS), ">"), (splat(I64, -(1 << 31), TILE_ROWS), "<")):
                    value = builder.select(builder.icmp_signed(beyond, value, limit), limit, value)
                store(builder, builder.trunc(value, vector(I32, TILE_ROWS)), at(builder, out_address, tile, 4 * TILE_ROWS))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), code

    return round_tiles


_round_tile = rounding_of(1)


@njit
def finish_tile(base, out_address, rows, tile, sums, shift):
    """Round a tile's sums, i64 (8), into its rows of the output."""
    count = min(TILE_ROWS, rows - TILE_ROWS * tile)
    place = out_address + 4 * TILE_ROWS * tile
    if 0 < shift <= 63 and count == TILE_ROWS:  # almost always
        _round_tile(sums.ctypes.data, shift, base + place)
        return
    out = int32s(base, place, count)
    for row in range(count):
        out[row] = round_shift_sat32(sums[row], shift)
