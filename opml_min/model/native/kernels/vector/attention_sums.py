"""Attention's scores and weighted sums at a single position: sums of products of i16, as vector code.

Eight products of |q| < 2^13 and |k| < 2^15 stay below 2^31, so the 8 lanes may add 64 of them in i32 (x86: `vpmaddwd`) before they widen.

*Source*: spec/README.md §5 (ATTENTION).
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from opml_min.model.native.kernels.vector.vector_code import I16, I32, I64, add_products, at, everywhere, load, splat, store, vector

LANES, PIECE = 8, 64
INT64S = vector(I64, LANES)


@intrinsic
def dot_of_pieces(typing: Any, q: Any, k: Any, pieces: Any) -> Any:
    """Compute Σ q_i·k_i over `pieces` times 64 elements, |q_i| < 2^13. q, k: process addresses"""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        q_address, k_address, count = arguments
        total = cgutils.alloca_once_value(builder, splat(I64, 0, LANES))
        with cgutils.for_range(builder, count, intp=I64) as loop:
            q_piece, k_piece = (at(builder, start, loop.index, 2 * PIECE) for start in (q_address, k_address))
            products: ir.Value = splat(I32, 0, LANES)
            for first in range(0, PIECE, 2 * LANES):
                a, b = (load(builder, I16, 2 * LANES, at(builder, piece, first, 2)) for piece in (q_piece, k_piece))
                products = add_products(builder, a, b, products)
            builder.store(builder.add(builder.load(total), builder.sext(products, INT64S)), total)
        sums = builder.load(total)
        result: ir.Value = ir.Constant(I64, 0)
        for lane in range(LANES):
            result = builder.add(result, builder.extract_element(sums, ir.Constant(I32, lane)))
        return result

    return types.int64(types.int64, types.int64, types.int64), code


@intrinsic
def weighted_sum_of_8(typing: Any, weights: Any, values: Any, stride: Any, count: Any, out: Any) -> Any:
    """Compute out_i = Σ_t weights_t·values_ti for 8 columns. weights: i64 (count), each below 2^31

    values: i16, rows `stride` bytes apart · out: i64 (8)"""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        weights_address, values_address, stride_bytes, rows, out_address = arguments
        total = cgutils.alloca_once_value(builder, splat(I64, 0, LANES))
        with cgutils.for_range(builder, rows, intp=I64) as loop:
            place = at(builder, weights_address, loop.index, 8)
            weight = builder.sext(builder.trunc(builder.load(builder.inttoptr(place, I64.as_pointer())), I32), I64)
            row = load(builder, I16, LANES, at(builder, values_address, loop.index, stride_bytes))
            product = builder.mul(builder.sext(row, INT64S), everywhere(builder, weight, LANES))
            builder.store(builder.add(builder.load(total), product), total)
        store(builder, builder.load(total), out_address)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), code
