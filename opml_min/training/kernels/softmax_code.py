"""Softmax weights of a row, eight at a time, as vector code, in the form in which products need them.

    2^z = p(f)·2^i, z = i + f; p by Horner's rule: p' = floor((p·f + 2^31) / 2^32) + c = floor((p·f + 2^31 + c·2^32) / 2^32), f in Q32

Each p and f is below 2^32, and a shift by 32 lets LLVM see it: processors multiply such halves of lanes much faster than whole ones.

*Source*: spec §1.2 (exp2), spec §6.5 and spec §6.6.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from opml_min.model.native.kernels.fixed.fixed_point import EXP2_Q30
from opml_min.model.native.kernels.vector.vector_code import I16, I64, at, everywhere, load, splat, store, vector

LANES = 8
LOWEST = -57  # below −32 the result is 0, which a shift by at most 63 places gives


def _exp2(builder: ir.IRBuilder, z: ir.Value) -> ir.Value:
    """Return 2^z in Q24 for z ≤ 0 in Q16. z: i64[LANES]"""

    def constant(value: int) -> ir.Constant:
        return splat(I64, value, LANES)

    whole = builder.ashr(z, constant(16))
    whole = builder.select(builder.icmp_signed(">", whole, constant(LOWEST)), whole, constant(LOWEST))
    f, p = builder.shl(builder.and_(z, constant(0xFFFF)), constant(16)), constant(EXP2_Q30[0])
    for coefficient in EXP2_Q30[1:]:
        p = builder.lshr(builder.add(builder.mul(p, f), constant((coefficient << 32) + (1 << 31))), constant(32))
    doubled = builder.lshr(p, builder.sub(constant(5), whole))
    return builder.lshr(builder.add(doubled, constant(1)), constant(1))


def _emit_row(builder: ir.IRBuilder, scores: ir.Value, count: ir.Value, largest: ir.Value, put: Callable[..., ir.Value]) -> ir.Value:
    """Emit the weights of `count` scores, i64. `put` stores those of some lanes, and returns what is added up. Return the sum."""
    kind = vector(I64, LANES)
    total = cgutils.alloca_once_value(builder, splat(I64, 0, LANES))
    lanes, most = ir.Constant(kind, list(range(LANES))), everywhere(builder, largest, LANES)
    blocks = builder.udiv(builder.add(count, ir.Constant(I64, LANES - 1)), ir.Constant(I64, LANES))
    with cgutils.for_range(builder, blocks, intp=I64) as loop:
        first = builder.mul(loop.index, ir.Constant(I64, LANES))
        weights = _exp2(builder, builder.sub(load(builder, I64, LANES, at(builder, scores, first, 8), align=8), most))
        used = builder.icmp_signed("<", lanes, everywhere(builder, builder.sub(count, first), LANES))
        weights = builder.select(used, weights, splat(I64, 0, LANES))
        builder.store(builder.add(builder.load(total), put(first, weights)), total)
    sums, result = builder.load(total), ir.Constant(I64, 0)
    for lane in range(LANES):
        result = builder.add(result, builder.extract_element(sums, ir.Constant(I64, lane)))
    return result


@intrinsic
def weights_in_pieces(typing: Any, scores: Any, count: Any, largest: Any, pieces: Any, piece_stride: Any) -> Any:
    """Write w = exp2(score − largest) as three pieces of 8 bits, i16, `piece_stride` bytes apart. Return Σ w.

    scores: process address of i64 (count) · Both have room up to the next multiple of LANES, which becomes 0 in the pieces."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        scores, count, largest, pieces, piece_stride = arguments

        def put(first: ir.Value, weights: ir.Value) -> ir.Value:
            for piece in range(3):
                part = builder.lshr(weights, splat(I64, 8 * piece, LANES))
                part = builder.and_(part, splat(I64, 255, LANES)) if piece < 2 else part
                place = at(builder, at(builder, pieces, piece, piece_stride), first, 2)
                store(builder, builder.trunc(part, vector(I16, LANES)), place, align=2)
            return weights

        return _emit_row(builder, scores, count, largest, put)

    return types.int64(*[types.int64] * 5), code


@intrinsic
def weights_of_width(typing: Any, scores: Any, count: Any, largest: Any, width: Any, out: Any) -> Any:
    """Write p = min(round_shift(exp2(score − largest), 24 − width), 2^width − 1), i16. Return Σ p.

    scores: process address of i64 (count) · Both have room up to the next multiple of LANES, which becomes 0 in out."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        scores, count, largest, width, out = arguments
        one = ir.Constant(I64, 1)
        shift = everywhere(builder, builder.sub(ir.Constant(I64, 23), width), LANES)
        most = everywhere(builder, builder.sub(builder.shl(one, width), one), LANES)

        def put(first: ir.Value, weights: ir.Value) -> ir.Value:
            p = builder.lshr(builder.add(builder.lshr(weights, shift), splat(I64, 1, LANES)), splat(I64, 1, LANES))
            p = builder.select(builder.icmp_unsigned("<", p, most), p, most)
            store(builder, builder.trunc(p, vector(I16, LANES)), at(builder, out, first, 2), align=2)
            return p

        return _emit_row(builder, scores, count, largest, put)

    return types.int64(*[types.int64] * 5), code
