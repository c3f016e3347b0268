"""Sums of products over vectors of i16, as vector code: attention's scores and its weighted sums.

Eight products of |q| < 2^13 and |k| < 2^15 stay below 2^31, so the 8 lanes may add 64 of them in i32 (x86: `vpmaddwd`) before they widen.

*Source*: spec/README.md §5 (ATTENTION).
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES, PIECE = 8, 64
I16, I32, I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
WORDS, PRODUCTS = ir.VectorType(I64, LANES), ir.VectorType(I32, 16)
ZEROS = ir.Constant(WORDS, [0] * LANES)


def _load(builder: ir.IRBuilder, address: ir.Value, count: int) -> ir.Value:
    """i16[count] at a process address."""
    return builder.load(builder.inttoptr(address, ir.VectorType(I16, count).as_pointer()), align=2)


def _pick(places: range) -> ir.Constant:
    return ir.Constant(ir.VectorType(I32, len(places)), list(places))


@intrinsic
def dot_of_pieces(typing: Any, q: Any, k: Any, pieces: Any) -> Any:
    """Σ q_i·k_i over `pieces` times 64 elements, |q_i| < 2^13. q, k: process addresses"""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        q_address, k_address, count = arguments
        total = cgutils.alloca_once_value(builder, ZEROS)
        with cgutils.for_range(builder, count, intp=I64) as loop:
            lanes: ir.Value = ir.Constant(ir.VectorType(I32, LANES), [0] * LANES)
            for first in range(0, PIECE, 16):
                offset = builder.add(builder.mul(loop.index, ir.Constant(I64, 2 * PIECE)), ir.Constant(I64, 2 * first))
                a, b = (builder.sext(_load(builder, builder.add(at, offset), 16), PRODUCTS) for at in (q_address, k_address))
                products = builder.mul(a, b)
                even, odd = (builder.shuffle_vector(products, products, _pick(range(i, 16, 2))) for i in (0, 1))
                lanes = builder.add(lanes, builder.add(even, odd))
            builder.store(builder.add(builder.load(total), builder.sext(lanes, WORDS)), total)
        sums = builder.load(total)
        result: ir.Value = ir.Constant(I64, 0)
        for lane in range(LANES):
            result = builder.add(result, builder.extract_element(sums, ir.Constant(I32, lane)))
        return result

    return types.int64(types.int64, types.int64, types.int64), code


@intrinsic
def weighted_sum_of_8(typing: Any, weights: Any, values: Any, step: Any, count: Any, out: Any) -> Any:
    """out_i = Σ_t weights_t·values_ti for 8 columns. weights: i64 (count), each below 2^31

    values: i16, rows `step` bytes apart · out: i64 (8)"""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        weights_address, values_address, step_bytes, rows, out_address = arguments
        total = cgutils.alloca_once_value(builder, ZEROS)
        with cgutils.for_range(builder, rows, intp=I64) as loop:
            place = builder.add(weights_address, builder.mul(loop.index, ir.Constant(I64, 8)))
            weight = builder.sext(builder.trunc(builder.load(builder.inttoptr(place, I64.as_pointer())), I32), I64)
            one = builder.insert_element(ir.Constant(WORDS, ir.Undefined), weight, ir.Constant(I32, 0))
            everywhere = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, LANES), [0] * LANES))
            row = _load(builder, builder.add(values_address, builder.mul(loop.index, step_bytes)), LANES)
            builder.store(builder.add(builder.load(total), builder.mul(builder.sext(row, WORDS), everywhere)), total)
        builder.store(builder.load(total), builder.inttoptr(out_address, WORDS.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), code
