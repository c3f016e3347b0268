"""ROPE: rotates each pair of neighbours (a, b) of every head by the position's angle, in place.

    a' = sat32(round_shift(a·cos − b·sin, 30)), b' = sat32(round_shift(a·sin + b·cos, 30))

*Source*: spec/README.md §5.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from opml_min.model.native.kernels.addressing import int32s
from opml_min.model.native.kernels.fixed.fixed_point import round_shift, sat32
from opml_min.model.native.kernels.vector.vector_code import I32, I64, at, in_turn, load, splat, store, vector, widened

PAIRS = 8  # rotated at once


@intrinsic
def _turn(typing: Any, vector_address: Any, table: Any, vectors: Any) -> Any:
    """Rotate `vectors` times PAIRS pairs.

    vector_address, table: process addresses of i32 (vectors, PAIRS, 2), a and b, and of cosine and sine likewise"""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        start, table_address, count = arguments
        limits = (splat(I64, (1 << 31) - 1, PAIRS), ">"), (splat(I64, -(1 << 31), PAIRS), "<")

        def rounded(value: ir.Value) -> ir.Value:
            value = builder.ashr(builder.add(value, splat(I64, 1 << 29, PAIRS)), splat(I64, 30, PAIRS))  # |value| ≤ 2^62
            for limit, beyond in limits:
                value = builder.select(builder.icmp_signed(beyond, value, limit), limit, value)
            return builder.trunc(value, vector(I32, PAIRS))

        with cgutils.for_range(builder, count, intp=I64) as loop:
            place = at(builder, start, loop.index, 8 * PAIRS)
            a, b = widened(builder, load(builder, I32, 2 * PAIRS, place))
            cosine, sine = widened(builder, load(builder, I32, 2 * PAIRS, at(builder, table_address, loop.index, 8 * PAIRS)))
            x = rounded(builder.sub(builder.mul(a, cosine), builder.mul(b, sine)))
            y = rounded(builder.add(builder.mul(a, sine), builder.mul(b, cosine)))
            store(builder, in_turn(builder, x, y), place)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


@njit
def rope(base, operands, position):
    vector_address, heads, head_size, table_address = operands[:4]
    vector = int32s(base, vector_address, heads * head_size)  # (heads, head_size / 2, 2), Q14
    table = int32s(base, table_address + position * 4 * head_size, head_size)  # (head_size / 2, 2), Q30: cos, sin
    whole = head_size // (2 * PAIRS)
    for head in range(heads):
        turned = vector[head * head_size : (head + 1) * head_size]
        _turn(turned.ctypes.data, table.ctypes.data, whole)
        for i in range(2 * PAIRS * whole, head_size, 2):
            cosine, sine = np.int64(table[i]), np.int64(table[i + 1])
            a, b = np.int64(turned[i]), np.int64(turned[i + 1])
            turned[i] = sat32(round_shift(a * cosine - b * sine, 30))
            turned[i + 1] = sat32(round_shift(a * sine + b * cosine, 30))
