"""Attention's products for a batch of positions, as vector code: 16 keys, or 16 columns of values, times four queries at a time.

Both kinds of sums consist of products of i16, added in pairs into i32 (x86: `vpmaddwd`, `vpdpwssd`). For that one factor is split in two: a
query's 14 bits into 7 and 7, a weight's 25 bits into 13 and 12. Keys and values are packed, 16 positions at a time. The lanes of a vector
are 16 keys with a pair of their columns, or 16 columns with a pair of positions. The 16 are interleaved: the first, the ninth, the second,
the tenth, …. So the even lanes are the first eight, and the odd lanes the last eight.

*Source*: spec/README.md §5 (ATTENTION).
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from opml_min.model.native.kernels.vector.vector_code import (
    I16,
    I32,
    I64,
    add_products,
    at,
    load,
    pair_everywhere,
    pick,
    splat,
    store,
    widened,
)

QUERIES = 4  # they share one reading of the keys and values
LANES = 16  # keys, or columns of values, in a vector; also positions that are packed at once
COLUMNS = 32  # a row of keys or values is padded to a multiple
QUERY_LOW_BITS, WEIGHT_LOW_BITS = 7, 12
MAX_HEAD_SIZE = 512  # 127·32767·512 < 2^31
VECTOR_BYTES = 64
ORDER = [lane // 2 + lane % 2 * 8 for lane in range(LANES)]  # which of the 16 each lane holds


@intrinsic
def pack_keys(typing: Any, rows: Any, stride: Any, columns: Any, packed: Any) -> Any:
    """Transpose 16 rows of i16, `stride` bytes apart, into i16 (columns/2, 16, 2). columns: a multiple of COLUMNS"""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        rows_address, stride_bytes, column_count, packed_address = arguments
        with cgutils.for_range(builder, builder.udiv(column_count, ir.Constant(I64, COLUMNS)), intp=I64) as loop:
            first = at(builder, rows_address, loop.index, 2 * COLUMNS)
            lines = [load(builder, I32, LANES, at(builder, first, row, stride_bytes)) for row in ORDER]
            for distance in (8, 4, 2, 1):  # swap squares of this size across the diagonal
                keep, turn = (
                    pick([i % distance + i // distance % 2 * 16 + i // (2 * distance) * 2 * distance + d for i in range(16)])
                    for d in (0, distance)
                )
                for row in range(16):
                    if row & distance == 0:
                        a, b = lines[row], lines[row + distance]
                        lines[row], lines[row + distance] = builder.shuffle_vector(a, b, keep), builder.shuffle_vector(a, b, turn)
            place = at(builder, packed_address, loop.index, LANES * VECTOR_BYTES)
            for pair, line in enumerate(lines):
                store(builder, line, at(builder, place, pair, VECTOR_BYTES))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), code


@intrinsic
def pack_values(typing: Any, rows: Any, stride: Any, columns: Any, packed: Any, packed_stride: Any) -> Any:
    """Interleave pairs of 16 rows of i16, `stride` bytes apart, into i16 (columns/16, 8, 16, 2) with `packed_stride` bytes per first
    index."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        rows_address, stride_bytes, column_count, packed_address, packed_stride_bytes = arguments
        lanes = pick([column + which * LANES for column in ORDER for which in range(2)])
        with cgutils.for_range(builder, builder.udiv(column_count, ir.Constant(I64, LANES)), intp=I64) as loop:
            first = at(builder, rows_address, loop.index, 2 * LANES)
            place = at(builder, packed_address, loop.index, packed_stride_bytes)
            for pair in range(LANES // 2):
                a, b = (load(builder, I16, LANES, at(builder, first, 2 * pair + which, stride_bytes)) for which in range(2))
                store(builder, builder.shuffle_vector(a, b, lanes), at(builder, place, pair, VECTOR_BYTES))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), code


@intrinsic
def dots_of_16_keys(typing: Any, keys: Any, queries: Any, pairs: Any, stride: Any, out: Any, out_stride: Any) -> Any:
    """Compute out_it = Σ_c (128·high_ic + low_ic)·key_tc for QUERIES queries and 16 keys.

    keys: i16 (pairs, 16, 2), packed · queries: i16 (QUERIES, 2 for high and low, stride/2) · out: i64 (QUERIES, out_stride/8)"""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        keys_address, queries_address, count, stride_bytes, out_address, out_stride_bytes = arguments
        parts = [(i, which) for i in range(QUERIES) for which in range(2)]
        totals = {part: cgutils.alloca_once_value(builder, splat(I32, 0, LANES)) for part in parts}
        places = {(i, which): at(builder, queries_address, 2 * i + which, stride_bytes) for i, which in parts}
        with cgutils.for_range(builder, count, intp=I64) as loop:
            columns = load(builder, I16, 32, at(builder, keys_address, loop.index, VECTOR_BYTES))
            for part in parts:
                pair = pair_everywhere(builder, at(builder, places[part], loop.index, 4), 32)
                builder.store(add_products(builder, columns, pair, builder.load(totals[part])), totals[part])
        for i in range(QUERIES):
            high = widened(builder, builder.load(totals[i, 0]), QUERY_LOW_BITS)
            low = widened(builder, builder.load(totals[i, 1]))
            for half in range(2):
                store(
                    builder,
                    builder.add(high[half], low[half]),
                    at(builder, at(builder, out_address, i, out_stride_bytes), half, VECTOR_BYTES),
                )
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), code


@intrinsic
def sums_of_16_columns(typing: Any, values: Any, weights: Any, groups: Any, stride: Any, out: Any, out_stride: Any) -> Any:
    """Compute out_ic = Σ_t (4096·high_it + low_it)·value_tc for QUERIES weightings and 16 columns, over `groups` times 16 positions.

    values: i16 (groups, 8, 16, 2), packed · weights: i16 (QUERIES, 2 for high and low, stride/2), high ≤ 4096, low < 4096
    out: i64 (QUERIES, out_stride/8)"""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        values_address, weights_address, count, stride_bytes, out_address, out_stride_bytes = arguments
        totals = {(i, half): cgutils.alloca_once_value(builder, splat(I64, 0, 8)) for i in range(QUERIES) for half in range(2)}
        with cgutils.for_range(builder, count, intp=I64) as loop:
            group = at(builder, values_address, loop.index, VECTOR_BYTES * LANES // 2)
            sums = {(i, which): splat(I32, 0, LANES) for i in range(QUERIES) for which in range(2)}
            for pair in range(LANES // 2):  # 16 products of 4096·32767 stay below 2^31
                columns = load(builder, I16, 32, at(builder, group, pair, VECTOR_BYTES))
                for i, which in sums:
                    place = at(builder, at(builder, weights_address, 2 * i + which, stride_bytes), loop.index, 2 * LANES)
                    sums[i, which] = add_products(
                        builder, columns, pair_everywhere(builder, at(builder, place, pair, 4), 32), sums[i, which]
                    )
            for i in range(QUERIES):
                high, low = widened(builder, sums[i, 0], WEIGHT_LOW_BITS), widened(builder, sums[i, 1])
                for half in range(2):
                    total = totals[i, half]
                    builder.store(builder.add(builder.load(total), builder.add(high[half], low[half])), total)
        for (i, half), total in totals.items():
            store(builder, builder.load(total), at(builder, at(builder, out_address, i, out_stride_bytes), half, VECTOR_BYTES))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), code
