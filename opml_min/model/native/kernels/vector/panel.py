"""MATMUL for a block of positions: a panel of 32 rows is unpacked once, then multiplied with four activations at a time.

Unpacked weights are i16, two columns of a row in a 32-bit lane, so that one instruction (x86: `vpmaddwd`, `vpdpwssd`) multiplies and adds
pairs. The lanes of a vector are the rows of two tiles in turn, one's in the even lanes and the other's in the odd ones: the i32 sums of
a group then widen to 64 bits, and meet the groups' scales, without any lane changing its place.

*Source*: spec/README.md §3.4 (blocks) and §5 (MATMUL).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from opml_min.model.native.kernels.addressing import int32s, int64s
from opml_min.model.native.kernels.fixed.matmul import finish_tile
from opml_min.model.native.kernels.vector.tile import BLOCK_BYTES, GROUP, LANES, Q4_0, Q4_1, Q8_0, Tile
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

TILES = 4  # of a panel
TOGETHER = 4  # activations that share one reading of a panel
PAIRS = GROUP // 2
VECTORS = range(TILES // 2)  # of i32[16], each of two tiles
PANEL_GROUP_BYTES = GROUP * 2 * LANES * TILES  # of the weights of a group: i16 (PAIRS, TILES·8, 2)
HALFS_GROUP_BYTES = 2 * 4 * LANES * TILES  # i32 (2, TILES·8): scales and minimums


def _unpack(form: int) -> Any:
    @intrinsic
    def unpack(typing: Any, first_tile: Any, tiles: Any, groups: Any, weights: Any, halfs: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            first_tile_address, tile_count, group_count, weights_address, halfs_address = arguments
            tile_bytes = builder.mul(group_count, ir.Constant(I64, BLOCK_BYTES[form]))
            last_tile = builder.sub(tile_count, ir.Constant(I64, 1))

            def tile_address(t: int) -> ir.Value:
                index = ir.Constant(I64, t)
                return at(
                    builder, first_tile_address, builder.select(builder.icmp_signed("<", index, last_tile), index, last_tile), tile_bytes
                )

            def pair_of_columns(block: ir.Value, pair: int) -> ir.Value:
                """i32[8], each two i16."""
                place = pair if form == Q8_0 else pair % (PAIRS // 2)
                stored = load(builder, I8, 16, at(builder, block, place, 16))
                if form == Q8_0:
                    return builder.bitcast(builder.sext(stored, vector(I16, 16)), vector(I32, LANES))
                both = builder.zext(stored, vector(I16, 16))
                nibbles = builder.and_(both, splat(I16, 15, 16)) if pair == place else builder.lshr(both, splat(I16, 4, 16))
                return builder.bitcast(builder.sub(nibbles, splat(I16, 8 if form == Q4_0 else 0, 16)), vector(I32, LANES))

            with cgutils.for_range(builder, group_count, intp=I64) as loop:
                for v in VECTORS:
                    a, b = (at(builder, tile_address(2 * v + i), loop.index, BLOCK_BYTES[form]) for i in range(2))
                    place = at(builder, at(builder, weights_address, loop.index, PANEL_GROUP_BYTES), v, 64)
                    for pair in range(PAIRS):
                        weights = in_turn(builder, pair_of_columns(a, pair), pair_of_columns(b, pair))
                        store(builder, weights, at(builder, place, pair, PANEL_GROUP_BYTES // PAIRS))
                    place = at(builder, at(builder, halfs_address, loop.index, HALFS_GROUP_BYTES), v, 64)
                    for kind, offset in enumerate({Q8_0: (256,), Q4_0: (128,), Q4_1: (128, 144)}[form]):
                        halfs = in_turn(builder, *(Tile(builder).halfs(block, offset) for block in (a, b)))
                        store(builder, halfs, at(builder, place, kind, HALFS_GROUP_BYTES // 2))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 5), code

    return unpack


def _panel_sums(with_minimums: bool) -> Any:
    @intrinsic
    def panel_sums(
        typing: Any, weights: Any, halfs: Any, q: Any, q_step: Any, group_sums: Any, sums_step: Any, groups: Any, sums: Any
    ) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            weights_address, halfs_address, q_address, q_step_bytes, group_sums_address, sums_step_bytes, group_count, sums_address = (
                arguments
            )
            every = range(TOGETHER)
            totals = {(i, t): cgutils.alloca_once_value(builder, splat(I64, 0, LANES)) for i in every for t in range(TILES)}
            activations = [at(builder, q_address, i, q_step_bytes) for i in every]
            sums_of_groups = [at(builder, group_sums_address, i, sums_step_bytes) for i in every]

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
                        group_sum = everywhere(builder, builder.sext(builder.load(place, align=4), I64), LANES)
                        add(i, v, (group_sum, group_sum), minimums)
            for (i, t), total in totals.items():
                store(builder, builder.load(total), at(builder, sums_address, TILES * i + t, 8 * LANES))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 8), code

    return panel_sums


# unpack(first_tile, tiles, groups, weights, halfs): process addresses but `tiles` and `groups`; weights and halfs are written; instead of a
# tile that is missing, the last one is read
_unpack_q8_0, _unpack_q4_0, _unpack_q4_1 = _unpack(Q8_0), _unpack(Q4_0), _unpack(Q4_1)

# sums(weights, halfs, q, q_step, group_sums, group_sums_step, groups, sums), all process addresses but `groups` and the steps, in bytes:
# weights, halfs: unpacked · q: i16 (groups, 32), the next activation's q_step bytes on · group_sums: i32 (groups), Σ q, likewise
# sums: i64 (TOGETHER, TILES, 8), written
_panel_sums_without_minimums, _panel_sums_with_minimums = _panel_sums(False), _panel_sums(True)


@intrinsic
def _round_panel(typing: Any, sums: Any, shift: Any, out: Any) -> Any:
    """out_i = sat32(round_shift(sums_i, shift)), 1 ≤ shift ≤ 63, |sums_i| < 2^62. sums: i64 (TILES·8), out: i32 (TILES·8)"""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        sums_address, places, out_address = arguments
        half = everywhere(builder, builder.shl(ir.Constant(I64, 1), builder.sub(places, ir.Constant(I64, 1))), LANES)
        for tile in range(TILES):
            value = load(builder, I64, LANES, at(builder, sums_address, tile, 8 * LANES), align=8)
            value = builder.ashr(builder.add(value, half), everywhere(builder, places, LANES))
            for limit, beyond in ((splat(I64, (1 << 31) - 1, LANES), ">"), (splat(I64, -(1 << 31), LANES), "<")):
                value = builder.select(builder.icmp_signed(beyond, value, limit), limit, value)
            store(builder, builder.trunc(value, vector(I32, LANES)), at(builder, out_address, tile, 4 * LANES))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


@njit
def matmul_panel(base, operands, panel, positions, step, group_sums, scratch):
    """The rows of one panel, as far as there are any, for activations and outputs that lie `step` bytes apart.

    There is memory for a multiple of TOGETHER positions; what is computed beyond `positions` means nothing.
    group_sums: i32 (positions, columns/32 or more), from sum_groups · scratch: the process address of panel_scratch_bytes bytes"""
    out_address, x_address, matrix_address, form, rows, columns, out_frac = operands[:7]
    groups, tiles = columns // GROUP, min(TILES, (rows + LANES - 1) // LANES - TILES * panel)
    halfs_address = scratch + groups * PANEL_GROUP_BYTES
    sums_address = halfs_address + groups * HALFS_GROUP_BYTES
    first_tile = base + matrix_address + TILES * panel * groups * BLOCK_BYTES[form]
    if form == Q8_0:
        _unpack_q8_0(first_tile, tiles, groups, scratch, halfs_address)
    elif form == Q4_0:
        _unpack_q4_0(first_tile, tiles, groups, scratch, halfs_address)
    else:
        _unpack_q4_1(first_tile, tiles, groups, scratch, halfs_address)
    for together in range(0, positions, TOGETHER):
        q = base + x_address + together * step + 32
        if form == Q4_1:
            sums_step = group_sums.strides[0]
            group_sums_address = group_sums.ctypes.data + together * sums_step
            _panel_sums_with_minimums(scratch, halfs_address, q, step, group_sums_address, sums_step, groups, sums_address)
        else:
            _panel_sums_without_minimums(scratch, halfs_address, q, step, 0, 0, groups, sums_address)
        for i in range(min(TOGETHER, positions - together)):
            moved = (together + i) * step
            shift = np.int64(int32s(base, x_address + moved, 1)[0]) + 24 - out_frac
            if 0 < shift <= 63 and (panel + 1) * TILES * LANES <= rows:  # as good as always
                _round_panel(sums_address + 8 * LANES * TILES * i, shift, base + out_address + moved + 4 * LANES * TILES * panel)
            else:
                for t in range(tiles):
                    sums = int64s(0, sums_address + 8 * LANES * (TILES * i + t), LANES)
                    finish_tile(base, out_address + moved, rows, TILES * panel + t, sums, shift)


def panel_scratch_bytes(groups: int) -> int:
    return groups * (PANEL_GROUP_BYTES + HALFS_GROUP_BYTES) + 8 * LANES * TILES * TOGETHER
