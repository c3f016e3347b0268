"""Factors of products as `multiply` reads them: split into pieces, or in pairs of neighbours along the sum.

*Source*: the layouts of `product_code`.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from opml_min.model.native.kernels.addressing import int16s
from opml_min.model.native.kernels.vector.vector_code import I16, I32, I64, at, everywhere, load, splat, store, vector

LANES = 16
SHIFTED_AWAY = 31  # places; an i16 rounds to 0


@njit
def split(values, low, high):
    """Split i16 values: low is 0 … 255, high is signed. Places after the values become 0."""
    for i in range(len(values)):
        low[i] = values[i] & 255
        high[i] = values[i] >> 8
    low[len(values) :], high[len(values) :] = 0, 0


@njit
def transpose(rows, count, length, width, first, end, packed):
    """Pack i16 (count, length), at a process address, so that columns come in pairs: (⌈length/2⌉, width, 2). Zeros fill the width.

    Only the pairs [first, end) are written."""
    source = int16s(0, rows, count * length)
    out = int16s(0, packed, end * width * 2)
    for pair in range(first, end):
        line, last = out[pair * width * 2 : (pair + 1) * width * 2], 2 * pair + 1 == length
        for row in range(count):
            line[2 * row] = source[row * length + 2 * pair]
            line[2 * row + 1] = 0 if last else source[row * length + 2 * pair + 1]
        line[2 * count :] = 0


def _emit_pairs(builder: ir.IRBuilder, rows: Any, count: ir.Value, width: ir.Value, put: Callable[[ir.Value, Any], None]) -> None:
    """Emit a loop over two rows of i16, LANES of each at once. `put` takes the place of a lane and the lanes of both, i32[LANES].

    rows: process addresses and shifts (or None) of both · What lies behind `count` is read, and taken for zeros."""
    lanes, one = ir.Constant(vector(I32, LANES), list(range(LANES))), splat(I32, 1, LANES)
    with cgutils.for_range(builder, builder.udiv(width, ir.Constant(I64, LANES)), intp=I64) as loop:
        first = builder.mul(loop.index, ir.Constant(I64, LANES))
        used = builder.icmp_signed("<", lanes, everywhere(builder, builder.trunc(builder.sub(count, first), I32), LANES))
        pair = []
        for row, shift in rows:
            value = builder.sext(load(builder, I16, LANES, at(builder, row, first, 2)), vector(I32, LANES))
            if shift is not None:  # round_shift without a branch
                shifted = builder.ashr(builder.shl(value, one), everywhere(builder, builder.trunc(shift, I32), LANES))
                value = builder.ashr(builder.add(shifted, one), one)
            pair.append(builder.select(used, value, splat(I32, 0, LANES)))
        put(first, pair)


def _joined(builder: ir.IRBuilder, even: ir.Value, odd: ir.Value) -> ir.Value:
    """Join the lower halves of two i32[LANES]."""
    return builder.or_(builder.and_(even, splat(I32, 0xFFFF, LANES)), builder.shl(odd, splat(I32, 16, LANES)))


@intrinsic
def _interleave(typing: Any, even: Any, odd: Any, odd_shift: Any, count: Any, width: Any, packed: Any) -> Any:
    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        even, odd, odd_shift, count, width, packed = arguments

        def put(first: ir.Value, pair: Any) -> None:
            store(builder, _joined(builder, *pair), at(builder, packed, first, 4))

        _emit_pairs(builder, ((even, None), (odd, odd_shift)), count, width, put)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), code


@intrinsic
def _interleave_split(
    typing: Any, even: Any, odd: Any, count: Any, even_shift: Any, odd_shift: Any, width: Any, low: Any, high: Any
) -> Any:
    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        even, odd, count, even_shift, odd_shift, width, low, high = arguments

        def put(first: ir.Value, pair: Any) -> None:
            lower = [builder.and_(value, splat(I32, 255, LANES)) for value in pair]
            upper = [builder.ashr(value, splat(I32, 8, LANES)) for value in pair]
            store(builder, _joined(builder, *lower), at(builder, low, first, 4))
            store(builder, _joined(builder, *upper), at(builder, high, first, 4))

        _emit_pairs(builder, ((even, even_shift), (odd, odd_shift)), count, width, put)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), code


@njit
def interleave_rows(rows, count, length, stride, width, packed):
    """Pack i16 (count, length), at a process address and `stride` bytes apart, so that rows come in pairs: (⌈count/2⌉, width, 2).

    Zeros fill the width, which is a multiple of LANES."""
    for pair in range((count + 1) // 2):
        even, has_odd = rows + 2 * pair * stride, 2 * pair + 1 < count
        odd, odd_shift = (even + stride, 0) if has_odd else (even, SHIFTED_AWAY)
        _interleave(even, odd, odd_shift, length, width, packed + 4 * pair * width)


@njit
def interleave_split(even, odd, count, even_shift, odd_shift, width, low, high):
    """Write two rows of i16 (count), aligned, as pairs that are split into pieces: i16 (width, 2) each. Shifts are 0 or more.

    even, odd, low, high: process addresses · Zeros fill the width, which is a multiple of LANES."""
    _interleave_split(even, odd, count, min(even_shift, SHIFTED_AWAY), min(odd_shift, SHIFTED_AWAY), width, low, high)
