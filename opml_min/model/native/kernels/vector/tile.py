"""The inner products of a tile: 8 rows of weights times one activation, as vector code.

A pair of columns of 8 rows lies in 16 bytes, so the 8 lanes of a vector are the 8 rows: widen, multiply with the pair of the
activation in every lane, add the two products (x86 does that in one instruction, `vpmaddwd`, and newer processors add to the total in the
same one, `vpdpwssd`). The i32 sums of a group of 32 columns are multiplied by the groups' scales and added to i64 sums.

A half times 2^24 is an integer below 2^31. Where the processor converts halfs to floats it is read so: both the conversion and the product
with the power of two are exact. Elsewhere it is decoded by integers.

*Source*: spec/README.md §3.4 (blocks) and §5 (MATMUL).
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from opml_min.machine import processor
from opml_min.model.native.kernels.vector.vector_code import (
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
    vector,
)

LANES = 8
GROUP = 32  # columns
Q8_0, Q4_0, Q4_1 = 0, 1, 2
BLOCK_BYTES = (272, 144, 160)  # of 8 rows × 32 columns, by format

HALF, FLOAT = ir.HalfType(), ir.FloatType()
HARDWARE_READS_HALFS = processor.has("f16c")
HARDWARE_ADDS_TO_TOTALS = processor.has("avx512vnni") and processor.has("avx512vl")


def _lanes(element: ir.Type, count: int = LANES) -> ir.VectorType:
    return vector(element, count)


def _splat(element: ir.Type, value: float, count: int = LANES) -> ir.Constant:
    return splat(element, value, count)


class Tile:
    """Emits the code for one format."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    def load(self, address: ir.Value, offset: int, element: ir.Type, count: int, align: int) -> ir.Value:
        """A vector at a process address."""
        return load(self.builder, element, count, at(self.builder, address, offset), align)

    def pair(self, q: ir.Value, column: int) -> ir.Value:
        """(q[column], q[column + 1]) in all 8 lanes: i16[16]."""
        return pair_everywhere(self.builder, at(self.builder, q, column, 2), 2 * LANES)

    def multiply_add(self, weights: ir.Value, pair: ir.Value, total: ir.Value) -> ir.Value:
        """total + the products of neighbours, added in pairs. weights: i16[16]; pair: i16[16]; total: i32[8]."""
        b = self.builder
        if HARDWARE_ADDS_TO_TOTALS:  # by name: LLVM would find it, but make one total of several, and each addition wait for the last one
            kind = ir.FunctionType(_lanes(I32), [_lanes(I32)] * 3)
            by_name = cgutils.get_or_insert_function(b.module, kind, "llvm.x86.avx512.vpdpwssd.256")
            return b.call(by_name, [total, b.bitcast(weights, _lanes(I32)), b.bitcast(pair, _lanes(I32))])
        return add_products(b, weights, pair, total)

    def halfs(self, block: ir.Value, offset: int) -> ir.Value:
        """The 8 halfs there, times 2^24: i32[8]. |half| < 128."""
        b = self.builder
        if HARDWARE_READS_HALFS:
            return b.fptosi(b.fmul(b.fpext(self.load(block, offset, HALF, LANES, 16), _lanes(FLOAT)), _splat(FLOAT, 2.0**24)), _lanes(I32))
        raw = b.zext(self.load(block, offset, I16, LANES, 16), _lanes(I32))
        exponent = b.and_(b.lshr(raw, _splat(I32, 10)), _splat(I32, 31))
        fraction = b.and_(raw, _splat(I32, 1023))
        subnormal = b.icmp_unsigned("==", exponent, _splat(I32, 0))
        places = b.select(subnormal, _splat(I32, 0), b.sub(exponent, _splat(I32, 1)))
        normal = b.or_(fraction, _splat(I32, 1024))
        size = b.shl(b.select(subnormal, fraction, normal), places)
        sign = b.ashr(b.shl(raw, _splat(I32, 16)), _splat(I32, 31))  # 0 or −1
        return b.sub(b.xor(size, sign), sign)

    def widening_product(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.mul(self.builder.sext(a, _lanes(I64)), self.builder.sext(b, _lanes(I64)))

    def group(self, form: int, block: ir.Value, q: ir.Value, group_sum: ir.Value) -> ir.Value:
        """What one block adds to the sums: i64[8]. group_sum: Σ q of the group."""
        b = self.builder
        totals = [_splat(I32, 0), _splat(I32, 0)]  # two, so that one addition need not wait for the other
        if form == Q8_0:
            for column in range(0, GROUP, 2):
                weights = b.sext(self.load(block, 8 * column, I8, 16, 16), _lanes(I16, 16))
                which = column // 2 % 2
                totals[which] = self.multiply_add(weights, self.pair(q, column), totals[which])
            return self.widening_product(b.add(*totals), self.halfs(block, 256))
        for column in range(0, GROUP // 2, 2):
            both = b.zext(self.load(block, 8 * column, I8, 16, 16), _lanes(I16, 16))
            low, high = b.and_(both, _splat(I16, 15, 16)), b.lshr(both, _splat(I16, 4, 16))
            totals[0] = self.multiply_add(low, self.pair(q, column), totals[0])
            totals[1] = self.multiply_add(high, self.pair(q, column + GROUP // 2), totals[1])
        scales, sums = self.halfs(block, 128), everywhere(b, group_sum, LANES)
        if form == Q4_0:
            return self.widening_product(b.sub(b.add(*totals), b.shl(sums, _splat(I32, 3))), scales)
        return b.add(self.widening_product(b.add(*totals), scales), self.widening_product(sums, self.halfs(block, 144)))


def _tile_sums(form: int) -> Any:
    @intrinsic
    def tile_sums(typing: Any, block: Any, q: Any, group_sums: Any, groups: Any, sums: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            block_address, q_address, group_sum_address, group_count, sum_address = arguments
            total = cgutils.alloca_once_value(builder, _splat(I64, 0))
            with cgutils.for_range(builder, group_count, intp=I64) as loop:
                block_now, q_now, sum_place = (
                    builder.add(start, builder.mul(loop.index, ir.Constant(I64, each)))
                    for start, each in ((block_address, BLOCK_BYTES[form]), (q_address, 2 * GROUP), (group_sum_address, 4))
                )
                group_sum = builder.load(builder.inttoptr(sum_place, I32.as_pointer()), align=4)
                builder.store(builder.add(builder.load(total), Tile(builder).group(form, block_now, q_now, group_sum)), total)
            builder.store(builder.load(total), builder.inttoptr(sum_address, _lanes(I64).as_pointer()), align=8)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 5), code

    return tile_sums


# Each is f(block, q, group_sums, groups, sums), all process addresses but `groups`:
# block: (groups, BLOCK_BYTES) bytes of one tile · q: i16 (groups, 32) · group_sums: i32 (groups), Σ q · sums: i64 (8), written
tile_sums_q8_0, tile_sums_q4_0, tile_sums_q4_1 = _tile_sums(Q8_0), _tile_sums(Q4_0), _tile_sums(Q4_1)


@intrinsic
def round_whole_tile(typing: Any, sums: Any, shift: Any, out: Any) -> Any:
    """out_i = sat32(round_shift(sums_i, shift)), 1 ≤ shift ≤ 63, for all lanes. sums: i64 (8), out: i32 (8): process addresses"""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        sum_address, places, out_address = arguments
        one = builder.insert_element(ir.Constant(_lanes(I64), ir.Undefined), places, ir.Constant(I32, 0))
        shifts = builder.shuffle_vector(one, one, _splat(I32, 0))
        values = builder.load(builder.inttoptr(sum_address, _lanes(I64).as_pointer()), align=8)
        half = builder.and_(builder.ashr(values, builder.sub(shifts, _splat(I64, 1))), _splat(I64, 1))
        rounded = builder.add(builder.ashr(values, shifts), half)
        for limit, beyond in ((_splat(I64, (1 << 31) - 1), ">"), (_splat(I64, -(1 << 31)), "<")):
            rounded = builder.select(builder.icmp_signed(beyond, rounded, limit), limit, rounded)
        builder.store(builder.trunc(rounded, _lanes(I32)), builder.inttoptr(out_address, _lanes(I32).as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code
