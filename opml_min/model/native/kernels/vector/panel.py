"""MATMUL for a batch of positions: a panel of 32 rows is unpacked once, then multiplied by four activations at a time.

Unpacked weights are i16, with two columns of a row in a 32-bit lane, so that one instruction (x86: `vpmaddwd`, `vpdpwssd`) multiplies and
adds pairs. A vector holds the rows of two tiles, one in the even lanes and the other in the odd ones. So the i32 sums of a group can be
widened to 64 bits and multiplied by the scales while every lane stays in its place.

*Source*: spec §3.4 (blocks) and §3.5 (MATMUL).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from opml_min.model.image.weights import BLOCK_BYTES, GROUP, MINIMUM_OFFSET, Q4_0, Q4_1, Q8_0, SCALE_OFFSET, TILE_ROWS
from opml_min.model.native.kernels.addressing import int32s, int64s
from opml_min.model.native.kernels.batch import PANEL_POSITIONS
from opml_min.model.native.kernels.vector.rounding import finish_tile, rounding_of
from opml_min.model.native.kernels.vector.tile import Tile
from opml_min.model.native.kernels.vector.vector_code import (
    I8,
    I16,
    I32,
    I64,
    add_products,
    at,
    everywhere,
    in_turn,
    load,
    pair_everywhere,
    splat,
    store,
    vector,
    widened,
)

TILES = 4  # in a panel
PAIRS = GROUP // 2
VECTORS = range(TILES // 2)  # i32[16], with two tiles each
PANEL_GROUP_BYTES = GROUP * 2 * TILE_ROWS * TILES  # i16 (PAIRS, TILES·8, 2): the weights of a group
HALFS_GROUP_BYTES = 2 * 4 * TILE_ROWS * TILES  # i32 (2, TILES·8): scales and minimums


def _unpack(quantisation: int) -> Any:
    @intrinsic
    def unpack(typing: Any, first_tile: Any, tiles: Any, groups: Any, weights: Any, halfs: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            first_tile_address, tile_count, group_count, weights_address, halfs_address = arguments
            tile_bytes = builder.mul(group_count, ir.Constant(I64, BLOCK_BYTES[quantisation]))
            last_tile = builder.sub(tile_count, ir.Constant(I64, 1))

            def tile_address(t: int) -> ir.Value:
                index = ir.Constant(I64, t)
                return at(
                    builder, first_tile_address, builder.select(builder.icmp_signed("<", index, last_tile), index, last_tile), tile_bytes
                )

            def pair_of_columns(block: ir.Value, pair: int) -> ir.Value:
                """Return a pair of columns of every row: i32[8], each two i16."""
                place = pair if quantisation == Q8_0 else pair % (PAIRS // 2)
                stored = load(builder, I8, 16, at(builder, block, place, 16))
                if quantisation == Q8_0:
                    return builder.bitcast(builder.sext(stored, vector(I16, 16)), vector(I32, TILE_ROWS))
                both = builder.zext(stored, vector(I16, 16))
                nibbles = builder.and_(both, splat(I16, 15, 16)) if pair == place else builder.lshr(both, splat(I16, 4, 16))
                return builder.bitcast(builder.sub(nibbles, splat(I16, 8 if quantisation == Q4_0 else 0, 16)), vector(I32, TILE_ROWS))

            with cgutils.for_range(builder, group_count, intp=I64) as loop:
                for v in VECTORS:
                    a, b = (at(builder, tile_address(2 * v + i), loop.index, BLOCK_BYTES[quantisation]) for i in range(2))
                    place = at(builder, at(builder, weights_address, loop.index, PANEL_GROUP_BYTES), v, 64)
                    for pair in range(PAIRS):
                        weights = in_turn(builder, pair_of_columns(a, pair), pair_of_columns(b, pair))
                        store(builder, weights, at(builder, place, pair, PANEL_GROUP_BYTES // PAIRS))
                    place = at(builder, at(builder, halfs_address, loop.index, HALFS_GROUP_BYTES), v, 64)
                    offsets = (SCALE_OFFSET[quantisation], MINIMUM_OFFSET)[: 2 if quantisation == Q4_1 else 1]
                    for kind, offset in enumerate(offsets):
                        halfs = in_turn(builder, *(Tile(builder).halfs(block, offset) for block in (a, b)))
                        store(builder, halfs, at(builder, place, kind, HALFS_GROUP_BYTES // 2))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 5), code

    return unpack


def _panel_sums(with_minimums: bool) -> Any:
    @intrinsic
    def panel_sums(
        typing: Any, weights: Any, halfs: Any, q: Any, q_stride: Any, group_sums: Any, sums_stride: Any, groups: Any, sums: Any
    ) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            weights_address, halfs_address, q_address, q_stride_bytes, group_sums_address, sums_stride_bytes, group_count, sums_address = (
                arguments
            )
            every = range(PANEL_POSITIONS)
            totals = {(i, t): cgutils.alloca_once_value(builder, splat(I64, 0, TILE_ROWS)) for i in every for t in range(TILES)}
            activations = [at(builder, q_address, i, q_stride_bytes) for i in every]
            sums_of_groups = [at(builder, group_sums_address, i, sums_stride_bytes) for i in every]

            def add(i: int, v: int, factors: tuple[ir.Value, ir.Value], others: tuple[ir.Value, ir.Value]) -> None:
                for odd in range(2):
                    total = totals[i, 2 * v + odd]
                    builder.store(builder.add(builder.load(total), builder.mul(factors[odd], others[odd])), total)

            with cgutils.for_range(builder, group_count, intp=I64) as loop:
                columns = at(builder, weights_address, loop.index, PANEL_GROUP_BYTES)
                q_now = [at(builder, place, loop.index, 2 * GROUP) for place in activations]
                dots = {(i, v): splat(I32, 0, 16) for i in every for v in VECTORS}
                for pair in range(PAIRS):
                    w = [load(builder, I16, 32, at(builder, columns, PANEL_GROUP_BYTES // PAIRS * pair + 64 * v)) for v in VECTORS]
                    for i in every:
                        x = pair_everywhere(builder, at(builder, q_now[i], pair, 4), 32)
                        for v in VECTORS:
                            dots[i, v] = add_products(builder, w[v], x, dots[i, v])
                halfs = at(builder, halfs_address, loop.index, HALFS_GROUP_BYTES)
                for v in VECTORS:
                    scales = widened(builder, load(builder, I32, 16, at(builder, halfs, v, 64)))
                    for i in every:
                        add(i, v, widened(builder, dots[i, v]), scales)
                for v in VECTORS if with_minimums else ():
                    minimums = widened(builder, load(builder, I32, 16, at(builder, halfs, HALFS_GROUP_BYTES // 2 + 64 * v)))
                    for i in every:
                        place = builder.inttoptr(at(builder, sums_of_groups[i], loop.index, 4), I32.as_pointer())
                        group_sum = everywhere(builder, builder.sext(builder.load(place, align=4), I64), TILE_ROWS)
                        add(i, v, (group_sum, group_sum), minimums)
            for (i, t), total in totals.items():
                store(builder, builder.load(total), at(builder, sums_address, TILES * i + t, 8 * TILE_ROWS))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 8), code

    return panel_sums


# unpack(first_tile, tiles, groups, weights, halfs): all but `tiles` and `groups` are process addresses
# weights and halfs are written; instead of a missing tile, the last one is read again
_unpack_q8_0, _unpack_q4_0, _unpack_q4_1 = _unpack(Q8_0), _unpack(Q4_0), _unpack(Q4_1)

# sums(weights, halfs, q, q_stride, group_sums, group_sums_stride, groups, sums): all but `groups` and the strides are process addresses
# weights, halfs: unpacked · q: i16 (groups, 32), the next activation q_stride bytes further · group_sums: i32 (groups), Σ q, likewise
# sums: i64 (PANEL_POSITIONS, TILES, 8), written
_panel_sums_without_minimums, _panel_sums_with_minimums = _panel_sums(False), _panel_sums(True)

_round_panel = rounding_of(TILES)


@njit
def matmul_panel(base, operands, panel, positions, stride, group_sums, scratch):
    """Compute the existing rows of one panel, for activations and outputs that lie `stride` bytes apart. Return the losses.

    There must be memory for a multiple of PANEL_POSITIONS positions; the results beyond `positions` are meaningless.
    group_sums: i32 (positions, columns/32 or more), from sum_groups · scratch: the process address of panel_scratch_bytes bytes"""
    out_address, x_address, matrix_address, quantisation, rows, columns, out_frac = operands[:7]
    groups, tiles = columns // GROUP, min(TILES, (rows + TILE_ROWS - 1) // TILE_ROWS - TILES * panel)
    halfs_address = scratch + groups * PANEL_GROUP_BYTES
    sums_address = halfs_address + groups * HALFS_GROUP_BYTES
    first_tile = base + matrix_address + TILES * panel * groups * BLOCK_BYTES[quantisation]
    if quantisation == Q8_0:
        _unpack_q8_0(first_tile, tiles, groups, scratch, halfs_address)
    elif quantisation == Q4_0:
        _unpack_q4_0(first_tile, tiles, groups, scratch, halfs_address)
    else:
        _unpack_q4_1(first_tile, tiles, groups, scratch, halfs_address)
    found = np.int64(0)
    for first in range(0, positions, PANEL_POSITIONS):
        q = base + x_address + first * stride + 32
        if quantisation == Q4_1:
            sums_stride = group_sums.strides[0]
            group_sums_address = group_sums.ctypes.data + first * sums_stride
            _panel_sums_with_minimums(scratch, halfs_address, q, stride, group_sums_address, sums_stride, groups, sums_address)
        else:
            _panel_sums_without_minimums(scratch, halfs_address, q, stride, 0, 0, groups, sums_address)
        for i in range(min(PANEL_POSITIONS, positions - first)):
            moved = (first + i) * stride
            shift = np.int64(int32s(base, x_address + moved, 1)[0]) + 24 - out_frac
            if 0 < shift <= 63 and (panel + 1) * TILES * TILE_ROWS <= rows:  # almost always
                place = base + out_address + moved + 4 * TILE_ROWS * TILES * panel
                found += _round_panel(sums_address + 8 * TILE_ROWS * TILES * i, shift, place)
            else:
                for t in range(tiles):
                    sums = int64s(0, sums_address + 8 * TILE_ROWS * (TILES * i + t), TILE_ROWS)
                    found += finish_tile(base, out_address + moved, rows, TILES * panel + t, sums, shift)
    return found


def panel_scratch_bytes(groups: int) -> int:
    return groups * (PANEL_GROUP_BYTES + HALFS_GROUP_BYTES) + 8 * TILE_ROWS * TILES * PANEL_POSITIONS
