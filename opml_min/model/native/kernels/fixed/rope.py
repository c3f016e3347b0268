"""ROPE: rotates each pair of neighbours (a, b) of every head by the position's angle, in place.

    a' = sat32(round_shift(a·cos − b·sin, 30)), b' = sat32(round_shift(a·sin + b·cos, 30))

*Source*: spec §3.5.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from opml_min.model.native.kernels.addressing import int32s
from opml_min.model.native.kernels.fixed.fixed_point import INT32_MAX, INT32_MIN, round_shift, sat32
from opml_min.model.native.kernels.fixed.losses import is_saturated
from opml_min.model.native.kernels.vector.vector_code import I32, I64, at, count_lanes, in_turn, load, splat, store, vector, widened

PAIRS = 8  # rotated at once


@intrinsic
def _turn(typing: Any, vector_address: Any, table: Any, vectors: Any) -> Any:
    """Rotate `vectors` times PAIRS pairs. Return the losses.

    vector_address, table: process addresses of i32 (vectors, PAIRS, 2), a and b, and of cosine and sine likewise"""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        start, table_address, count = arguments
        limits = (splat(I64, INT32_MAX, PAIRS), ">"), (splat(I64, INT32_MIN, PAIRS), "<")
        found = cgutils.alloca_once_value(builder, ir.Constant(I64, 0))

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
            for each in (x, y):
                at_an_end = [builder.icmp_signed("==", each, splat(I32, limit, PAIRS)) for limit in (INT32_MAX, INT32_MIN)]
                builder.store(builder.add(builder.load(found), count_lanes(builder, builder.or_(*at_an_end))), found)
        return builder.load(found)

    return types.int64(types.int64, types.int64, types.int64), code


@njit
def rope(base, operands, position):
    """Compute one ROPE. Return the losses."""
    vector_address, heads, head_size, table_address = operands[:4]
    vector = int32s(base, vector_address, heads * head_size)  # (heads, head_size / 2, 2), Q14
    table = int32s(base, table_address + position * 4 * head_size, head_size)  # (head_size / 2, 2), Q30: cos, sin
    whole, found = head_size // (2 * PAIRS), np.int64(0)
    for head in range(heads):
        turned = vector[head * head_size : (head + 1) * head_size]
        found += _turn(turned.ctypes.data, table.ctypes.data, whole)
        for i in range(2 * PAIRS * whole, head_size, 2):
            cosine, sine = np.int64(table[i]), np.int64(table[i + 1])
            a, b = np.int64(turned[i]), np.int64(turned[i + 1])
            turned[i] = sat32(round_shift(a * cosine - b * sine, 30))
            turned[i + 1] = sat32(round_shift(a * sine + b * cosine, 30))
            found += is_saturated(turned[i]) + is_saturated(turned[i + 1])
    return found
