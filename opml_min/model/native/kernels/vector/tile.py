"""The inner products of a tile: 8 rows of weights times one activation, as vector code.

Two columns of the 8 rows lie in 16 bytes, so the 8 lanes of a vector are the 8 rows. The code widens the weights, multiplies them by the
same two elements of the activation in every lane, and adds the two products. x86 does that in one instruction, `vpmaddwd`; newer processors
also add to the total, `vpdpwssd`. The i32 sums of a group of 32 columns are multiplied by the groups' scales and added to i64 sums.

A half times 2^24 is an integer below 2^31. A processor that converts halfs to floats computes it that way, where both the conversion and
the product with the power of two are exact. For other processors integer operations decode the half.

*Source*: spec/README.md §3.4 (blocks) and §5 (MATMUL).
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from opml_min.machine import processor
from opml_min.model.image.weights import BLOCK_BYTES, GROUP, MINIMUM_OFFSET, Q4_0, Q4_1, Q8_0, SCALE_OFFSET, TILE_ROWS
from opml_min.model.native.kernels.vector.vector_code import (
    FLOAT16,
    FLOAT32,
    I8,
    I16,
    I32,
    I64,
    add_products,
    at,
    everywhere,
    load,
    pair_everywhere,
    splat,
    store,
    vector,
)

INT16S, INT32S, INT64S = vector(I16, 2 * TILE_ROWS), vector(I32, TILE_ROWS), vector(I64, TILE_ROWS)
FLOAT32S = vector(FLOAT32, TILE_ROWS)
HARDWARE_READS_HALFS = processor.has("f16c")
HARDWARE_ADDS_TO_TOTALS = processor.has("avx512vnni") and processor.has("avx512vl")


def _all_rows(value: int) -> ir.Constant:
    """Return the number in one i32 lane per row."""
    return splat(I32, value, TILE_ROWS)


class Tile:
    """Emits the code for the blocks of a tile."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    def load(self, address: ir.Value, offset: int, element: ir.Type, count: int, align: int) -> ir.Value:
        """Load a vector at an offset from a process address."""
        return load(self.builder, element, count, at(self.builder, address, offset), align)

    def pair(self, q: ir.Value, column: int) -> ir.Value:
        """Load (q[column], q[column + 1]) for every row: i16[16]."""
        return pair_everywhere(self.builder, at(self.builder, q, column, 2), 2 * TILE_ROWS)

    def multiply_add(self, weights: ir.Value, pair: ir.Value, total: ir.Value) -> ir.Value:
        """Add to `total` the products of weights and pair, neighbours summed. weights, pair: i16[16]; total: i32[8]."""
        b = self.builder
        if HARDWARE_ADDS_TO_TOTALS:  # by name, because LLVM would merge the two totals, and each addition would wait for the one before
            kind = ir.FunctionType(INT32S, [INT32S] * 3)
            by_name = cgutils.get_or_insert_function(b.module, kind, "llvm.x86.avx512.vpdpwssd.256")
            return b.call(by_name, [total, b.bitcast(weights, INT32S), b.bitcast(pair, INT32S)])
        return add_products(b, weights, pair, total)

    def halfs(self, block: ir.Value, offset: int) -> ir.Value:
        """Load 8 halfs, times 2^24: i32[8]. |half| < 128."""
        b = self.builder
        if HARDWARE_READS_HALFS:
            floats = b.fpext(self.load(block, offset, FLOAT16, TILE_ROWS, 16), FLOAT32S)
            return b.fptosi(b.fmul(floats, splat(FLOAT32, 2.0**24, TILE_ROWS)), INT32S)
        raw = b.zext(self.load(block, offset, I16, TILE_ROWS, 16), INT32S)
        exponent = b.and_(b.lshr(raw, _all_rows(10)), _all_rows(31))
        fraction = b.and_(raw, _all_rows(1023))
        subnormal = b.icmp_unsigned("==", exponent, _all_rows(0))
        places = b.select(subnormal, _all_rows(0), b.sub(exponent, _all_rows(1)))
        normal = b.or_(fraction, _all_rows(1024))
        size = b.shl(b.select(subnormal, fraction, normal), places)
        sign = b.ashr(b.shl(raw, _all_rows(16)), _all_rows(31))  # 0 or −1
        return b.sub(b.xor(size, sign), sign)

    def widening_product(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.mul(self.builder.sext(a, INT64S), self.builder.sext(b, INT64S))

    def group(self, quantisation: int, block: ir.Value, q: ir.Value, group_sum: ir.Value) -> ir.Value:
        """Compute what one block adds to the sums: i64[8]. group_sum: Σ q of the group"""
        b = self.builder
        totals = [_all_rows(0), _all_rows(0)]  # two, so that additions need not wait for one another
        if quantisation == Q8_0:
            for column in range(0, GROUP, 2):
                weights = b.sext(self.load(block, 8 * column, I8, 16, 16), INT16S)
                which = column // 2 % 2
                totals[which] = self.multiply_add(weights, self.pair(q, column), totals[which])
            return self.widening_product(b.add(*totals), self.halfs(block, SCALE_OFFSET[quantisation]))
        for column in range(0, GROUP // 2, 2):
            both = b.zext(self.load(block, 8 * column, I8, 16, 16), INT16S)
            low, high = b.and_(both, splat(I16, 15, 16)), b.lshr(both, splat(I16, 4, 16))
            totals[0] = self.multiply_add(low, self.pair(q, column), totals[0])
            totals[1] = self.multiply_add(high, self.pair(q, column + GROUP // 2), totals[1])
        scales, sums = self.halfs(block, SCALE_OFFSET[quantisation]), everywhere(b, group_sum, TILE_ROWS)
        if quantisation == Q4_0:
            return self.widening_product(b.sub(b.add(*totals), b.shl(sums, _all_rows(3))), scales)
        return b.add(self.widening_product(b.add(*totals), scales), self.widening_product(sums, self.halfs(block, MINIMUM_OFFSET)))


def _tile_sums(quantisation: int) -> Any:
    @intrinsic
    def tile_sums(typing: Any, block: Any, q: Any, group_sums: Any, groups: Any, sums: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            block_address, q_address, group_sum_address, group_count, sum_address = arguments
            total = cgutils.alloca_once_value(builder, splat(I64, 0, TILE_ROWS))
            with cgutils.for_range(builder, group_count, intp=I64) as loop:
                block_now = at(builder, block_address, loop.index, BLOCK_BYTES[quantisation])
                q_now = at(builder, q_address, loop.index, 2 * GROUP)
                sum_place = at(builder, group_sum_address, loop.index, 4)
                group_sum = builder.load(builder.inttoptr(sum_place, I32.as_pointer()), align=4)
                builder.store(builder.add(builder.load(total), Tile(builder).group(quantisation, block_now, q_now, group_sum)), total)
            store(builder, builder.load(total), sum_address)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 5), code

    return tile_sums


# Each is f(block, q, group_sums, groups, sums); all but `groups` are process addresses:
# block: (groups, BLOCK_BYTES) bytes of one tile · q: i16 (groups, 32) · group_sums: i32 (groups), Σ q · sums: i64 (8), written
tile_sums_q8_0, tile_sums_q4_0, tile_sums_q4_1 = _tile_sums(Q8_0), _tile_sums(Q4_0), _tile_sums(Q4_1)
