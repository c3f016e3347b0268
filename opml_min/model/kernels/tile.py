"""The inner products of a tile: 8 rows of weights times one activation, or times several, as vector code.

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

LANES = 8
GROUP = 32  # columns
TOGETHER = 8  # activations that share one reading of a tile
Q8_0, Q4_0, Q4_1 = 0, 1, 2
BLOCK_BYTES = (272, 144, 160)  # of 8 rows × 32 columns, by format

HALF, FLOAT = ir.HalfType(), ir.FloatType()
HARDWARE_READS_HALFS = processor.has("f16c")
HARDWARE_ADDS_TO_TOTALS = processor.has("avx512vnni") and processor.has("avx512vl")
I8, I16, I32, I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)


def _lanes(element: ir.Type, count: int = LANES) -> ir.VectorType:
    return ir.VectorType(element, count)


def _splat(element: ir.Type, value: float, count: int = LANES) -> ir.Constant:
    return ir.Constant(_lanes(element, count), [value] * count)


class _Tile:
    """Emits the code for one format."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    def load(self, address: ir.Value, offset: int, element: ir.Type, count: int, align: int) -> ir.Value:
        """A vector at a process address."""
        place = self.builder.add(address, ir.Constant(I64, offset))
        return self.builder.load(self.builder.inttoptr(place, _lanes(element, count).as_pointer()), align=align)

    def pair(self, q: ir.Value, column: int) -> ir.Value:
        """(q[column], q[column + 1]) in all 8 lanes: i16[16]."""
        b = self.builder
        place = b.inttoptr(b.add(q, ir.Constant(I64, 2 * column)), I32.as_pointer())
        return b.bitcast(self.everywhere(b.load(place, align=4)), _lanes(I16, 16))

    def everywhere(self, value: ir.Value) -> ir.Value:
        """An i32 in all 8 lanes."""
        nothing = ir.Constant(_lanes(I32), ir.Undefined)
        return self.builder.shuffle_vector(self.builder.insert_element(nothing, value, ir.Constant(I32, 0)), nothing, _splat(I32, 0))

    def multiply_add(self, weights: ir.Value, pair: ir.Value, total: ir.Value) -> ir.Value:
        """total + the products of neighbours, added in pairs. weights: i16[16]; pair: i16[16]; total: i32[8]."""
        b = self.builder
        if HARDWARE_ADDS_TO_TOTALS:  # by name: LLVM would find it, but make one total of several, and each addition wait for the last one
            kind = ir.FunctionType(_lanes(I32), [_lanes(I32)] * 3)
            add_products = cgutils.get_or_insert_function(b.module, kind, "llvm.x86.avx512.vpdpwssd.256")
            return b.call(add_products, [total, b.bitcast(weights, _lanes(I32)), b.bitcast(pair, _lanes(I32))])
        products = b.mul(b.sext(weights, _lanes(I32, 16)), b.sext(pair, _lanes(I32, 16)))
        even = b.shuffle_vector(products, products, ir.Constant(_lanes(I32), list(range(0, 16, 2))))
        odd = b.shuffle_vector(products, products, ir.Constant(_lanes(I32), list(range(1, 16, 2))))
        return b.add(b.add(even, odd), total)

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

    def group(self, form: int, block: ir.Value, activations: list[ir.Value], group_sums: list[ir.Value]) -> list[ir.Value]:
        """What one block adds to the sums of each activation: i64[8]. group_sums: Σ q of the group, of each activation."""
        b = self.builder
        every = range(len(activations))
        totals = [[_splat(I32, 0), _splat(I32, 0)] for _ in every]  # two, so that one addition need not wait for the other
        if form == Q8_0:
            for column in range(0, GROUP, 2):
                weights = b.sext(self.load(block, 8 * column, I8, 16, 16), _lanes(I16, 16))
                for i in every:
                    which = column // 2 % 2 if len(activations) == 1 else 0
                    totals[i][which] = self.multiply_add(weights, self.pair(activations[i], column), totals[i][which])
            scales = self.halfs(block, 256)
            return [self.widening_product(b.add(*totals[i]), scales) for i in every]
        for column in range(0, GROUP // 2, 2):
            both = b.zext(self.load(block, 8 * column, I8, 16, 16), _lanes(I16, 16))
            low, high = b.and_(both, _splat(I16, 15, 16)), b.lshr(both, _splat(I16, 4, 16))
            for i in every:
                totals[i][0] = self.multiply_add(low, self.pair(activations[i], column), totals[i][0])
                totals[i][1] = self.multiply_add(high, self.pair(activations[i], column + GROUP // 2), totals[i][1])
        scales, sums = self.halfs(block, 128), [self.everywhere(group_sum) for group_sum in group_sums]
        if form == Q4_0:
            return [self.widening_product(b.sub(b.add(*totals[i]), b.shl(sums[i], _splat(I32, 3))), scales) for i in every]
        minimums = self.halfs(block, 144)
        return [b.add(self.widening_product(b.add(*totals[i]), scales), self.widening_product(sums[i], minimums)) for i in every]


def _tile_sums(form: int, activations: int) -> Any:
    @intrinsic
    def tile_sums(typing: Any, block: Any, q: Any, q_step: Any, group_sums: Any, group_sums_step: Any, groups: Any, sums: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            block_address, q_address, q_step_bytes, group_sum_address, group_sum_step_bytes, group_count, sum_address = arguments
            tile = _Tile(builder)

            def at(start: ir.Value, step: ir.Value, i: int) -> ir.Value:
                return builder.add(start, builder.mul(step, ir.Constant(I64, i)))

            accumulators = [cgutils.alloca_once_value(builder, _splat(I64, 0)) for _ in range(activations)]
            with cgutils.for_range(builder, group_count, intp=I64) as loop:
                block_now = builder.add(block_address, builder.mul(loop.index, ir.Constant(I64, BLOCK_BYTES[form])))
                q_now = builder.add(q_address, builder.mul(loop.index, ir.Constant(I64, 2 * GROUP)))
                sum_place = builder.add(group_sum_address, builder.mul(loop.index, ir.Constant(I64, 4)))
                sum_places = [at(sum_place, group_sum_step_bytes, i) for i in range(activations)]
                group_sums_now = [builder.load(builder.inttoptr(place, I32.as_pointer()), align=4) for place in sum_places]
                added = tile.group(form, block_now, [at(q_now, q_step_bytes, i) for i in range(activations)], group_sums_now)
                for accumulator, more in zip(accumulators, added, strict=True):
                    builder.store(builder.add(builder.load(accumulator), more), accumulator)
            for i, accumulator in enumerate(accumulators):
                place = builder.add(sum_address, ir.Constant(I64, 8 * LANES * i))
                builder.store(builder.load(accumulator), builder.inttoptr(place, _lanes(I64).as_pointer()), align=8)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), code

    return tile_sums


# Each is f(block, q, q_step, group_sums, group_sums_step, groups, sums), all process addresses but `groups` and the steps, which are bytes:
# block: (groups, BLOCK_BYTES) bytes of one tile · q: i16 (groups, 32), the next activation's q_step bytes on
# group_sums: i32 (groups), Σ q, likewise · sums: i64 (activations, 8), written
tile_sums_q8_0, tile_sums_of_block_q8_0 = _tile_sums(Q8_0, 1), _tile_sums(Q8_0, TOGETHER)
tile_sums_q4_0, tile_sums_of_block_q4_0 = _tile_sums(Q4_0, 1), _tile_sums(Q4_0, TOGETHER)
tile_sums_q4_1, tile_sums_of_block_q4_1 = _tile_sums(Q4_1, 1), _tile_sums(Q4_1, TOGETHER)


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
