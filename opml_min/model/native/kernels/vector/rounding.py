"""Rounding of the 64-bit sums of a tile to 32-bit outputs: out_i = sat32(round_shift(sums_i, shift)). What is lost is counted.

*Source*: spec §1.1 and §3.5 (MATMUL).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from opml_min.model.image.weights import TILE_ROWS
from opml_min.model.native.kernels.addressing import int32s
from opml_min.model.native.kernels.fixed.fixed_point import INT32_MAX, INT32_MIN, round_shift_sat32
from opml_min.model.native.kernels.fixed.losses import LOST_BITS, loss_of
from opml_min.model.native.kernels.vector.vector_code import I32, I64, at, count_lanes, everywhere, load, splat, store, vector


def rounding_of(tiles: int) -> Any:
    """Emit f(sums, shift, out) for 1 ≤ shift ≤ 63, which returns the losses.

    sums: i64 (tiles, 8), out: i32 (tiles, 8): process addresses"""

    @intrinsic
    def round_tiles(typing: Any, sums: Any, shift: Any, out: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            sums_address, places, out_address = arguments
            shifts = everywhere(builder, places, TILE_ROWS)
            places_before = builder.sub(shifts, splat(I64, 1, TILE_ROWS))
            found: ir.Value = ir.Constant(I64, 0)

            def equals(rounded: ir.Value, number: int) -> ir.Value:
                return builder.icmp_signed("==", rounded, splat(I32, number, TILE_ROWS))

            for tile in range(tiles):
                exact = load(builder, I64, TILE_ROWS, at(builder, sums_address, tile, 8 * TILE_ROWS), align=8)
                half = builder.and_(builder.ashr(exact, places_before), splat(I64, 1, TILE_ROWS))
                value = builder.add(builder.ashr(exact, shifts), half)
                for limit, beyond in ((splat(I64, INT32_MAX, TILE_ROWS), ">"), (splat(I64, INT32_MIN, TILE_ROWS), "<")):
                    value = builder.select(builder.icmp_signed(beyond, value, limit), limit, value)
                rounded = builder.trunc(value, vector(I32, TILE_ROWS))
                store(builder, rounded, at(builder, out_address, tile, 4 * TILE_ROWS))
                saturated = builder.or_(equals(rounded, INT32_MAX), equals(rounded, INT32_MIN))
                lost = builder.and_(equals(rounded, 0), builder.icmp_signed("!=", exact, splat(I64, 0, TILE_ROWS)))
                found = builder.add(found, count_lanes(builder, saturated))
                found = builder.add(found, builder.shl(count_lanes(builder, lost), ir.Constant(I64, LOST_BITS)))
            return found

        return types.int64(types.int64, types.int64, types.int64), code

    return round_tiles


_round_tile = rounding_of(1)


@njit
def finish_tile(base, out_address, rows, tile, sums, shift):
    """Round a tile's sums, i64 (8), into its rows of the output. Return the losses."""
    count = min(TILE_ROWS, rows - TILE_ROWS * tile)
    place = out_address + 4 * TILE_ROWS * tile
    if 0 < shift <= 63 and count == TILE_ROWS:  # almost always
        return _round_tile(sums.ctypes.data, shift, base + place)
    out, found = int32s(base, place, count), np.int64(0)
    for row in range(count):
        rounded = round_shift_sat32(sums[row], shift)
        out[row] = rounded
        found += loss_of(sums[row], rounded)
    return found
