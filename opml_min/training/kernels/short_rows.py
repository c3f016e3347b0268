"""Normalisation of short rows, such as one head at one position, as vector code: there, loops of unknown length spend most of their time
on finding out how long they are.

A row is given by its process address and its numbers' type; each number is multiplied by a factor first.

*Source*: spec §1.1 (normalise).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from opml_min.model.native.kernels.addressing import int64s
from opml_min.model.native.kernels.fixed.fixed_point import ZERO_EXPONENT, bits
from opml_min.model.native.kernels.vector.vector_code import I16, I32, I64, at, everywhere, load, splat, vector
from opml_min.training.kernels.batch_rows import NO_EXPONENT

LANES = 8
_WIDE = vector(I64, LANES)
_BYTES = {I16: 2, I32: 4, I64: 8}


def _blocks(builder: ir.IRBuilder, count: ir.Value) -> Any:
    return cgutils.for_range(builder, builder.udiv(builder.add(count, ir.Constant(I64, LANES - 1)), ir.Constant(I64, LANES)), intp=I64)


def _numbers(builder: ir.IRBuilder, kind: ir.Type, row: ir.Value, first: ir.Value, count: ir.Value, factor: ir.Value) -> Any:
    """Load some numbers times the factor, and zeros behind the row's end. Return them, and which lanes lie in the row."""
    used = builder.icmp_signed("<", ir.Constant(_WIDE, list(range(LANES))), everywhere(builder, builder.sub(count, first), LANES))
    values = load(builder, kind, LANES, at(builder, row, first, _BYTES[kind]))
    wide = values if kind is I64 else builder.sext(values, _WIDE)
    return builder.select(used, builder.mul(wide, everywhere(builder, factor, LANES)), splat(I64, 0, LANES)), used


def _union_of(kind: ir.Type) -> Any:
    @intrinsic
    def union(typing: Any, row: Any, count: Any, factor: Any) -> Any:
        """Join the magnitudes of all numbers by `or`, which is as long as the longest."""

        def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            row, count, factor = arguments
            total = cgutils.alloca_once_value(builder, splat(I64, 0, LANES))
            with _blocks(builder, count) as loop:
                values, _ = _numbers(builder, kind, row, builder.mul(loop.index, ir.Constant(I64, LANES)), count, factor)
                magnitudes = builder.select(builder.icmp_signed("<", values, splat(I64, 0, LANES)), builder.neg(values), values)
                builder.store(builder.or_(builder.load(total), magnitudes), total)
            joined = builder.load(total)
            result = ir.Constant(I64, 0)
            for lane in range(LANES):
                result = builder.or_(result, builder.extract_element(joined, ir.Constant(I64, lane)))
            return result

        return types.int64(*[types.int64] * 3), code

    return union


def _put_of(kind: ir.Type, out_kind: ir.Type) -> Any:
    @intrinsic
    def put(typing: Any, row: Any, count: Any, factor: Any, shift: Any, limit: Any, out: Any) -> Any:
        """Write clamp(round_shift(number, shift), ±limit) of all numbers."""

        def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            row, count, factor, shift, limit, out = arguments
            one, zero = ir.Constant(I64, 1), ir.Constant(I64, 0)
            is_right = builder.icmp_signed(">", shift, zero)
            right = builder.select(is_right, builder.sub(shift, one), zero)  # and one place more, after the rounding
            left = builder.select(is_right, zero, builder.neg(shift))
            most = everywhere(builder, limit, LANES)
            least = builder.neg(most)
            added = everywhere(builder, builder.zext(is_right, I64), LANES)
            kind_of_out = vector(out_kind, LANES)
            function = ir.FunctionType(ir.VoidType(), [kind_of_out, kind_of_out.as_pointer(), I32, vector(ir.IntType(1), LANES)])
            name = f"llvm.masked.store.v{LANES}i{out_kind.width}.p0v{LANES}i{out_kind.width}"
            masked_store = cgutils.get_or_insert_function(builder.module, function, name)
            with _blocks(builder, count) as loop:
                first = builder.mul(loop.index, ir.Constant(I64, LANES))
                values, used = _numbers(builder, kind, row, first, count, factor)
                values = builder.ashr(builder.shl(values, everywhere(builder, left, LANES)), everywhere(builder, right, LANES))
                values = builder.ashr(builder.add(values, added), added)
                values = builder.select(builder.icmp_signed("<", values, most), values, most)
                values = builder.select(builder.icmp_signed(">", values, least), values, least)
                place = builder.inttoptr(at(builder, out, first, _BYTES[out_kind]), kind_of_out.as_pointer())
                builder.call(masked_store, [builder.trunc(values, kind_of_out), place, ir.Constant(I32, 2), used])
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), code

    return put


_union_of_i16s, _union_of_i32s, _union_of_i64s = _union_of(I16), _union_of(I32), _union_of(I64)
_put_i16s_as_i16s, _put_i32s_as_i16s = _put_of(I16, I16), _put_of(I32, I16)
_put_i64s_as_i16s, _put_i64s_as_i32s = _put_of(I64, I16), _put_of(I64, I32)


@njit
def normalise_products(row, count, factor, fraction_bits, width, out):
    """Normalise i16 (count) times a factor into i16. Return the exponent. row, out: process addresses"""
    size = bits(_union_of_i16s(row, count, factor))
    _put_i16s_as_i16s(row, count, factor, size - width, (1 << width) - 1, out)
    return np.int64(fraction_bits + width - size) if size != 0 else np.int64(ZERO_EXPONENT)


@njit
def normalise_gradient(row, count, fraction_bits, width, out):
    """Normalise i32 (count) into i16. Return the exponent. row, out: process addresses"""
    size = bits(_union_of_i32s(row, count, 1))
    _put_i32s_as_i16s(row, count, 1, size - width, (1 << width) - 1, out)
    return np.int64(fraction_bits + width - size) if size != 0 else np.int64(ZERO_EXPONENT)


@njit
def normalise_heads(values, fractions, heads, head_size, width, out):
    """Write the heads, each with its own fraction bits, as one row: of i16 if `width` is at most 15, else of i32. Return its exponent.

    values: i64 (heads, head_size) · fractions: i64 (heads) · values, fractions, out: process addresses"""
    fraction_of, least = int64s(0, fractions, heads), np.int64(NO_EXPONENT)
    for head in range(heads):
        size = bits(_union_of_i64s(values + 8 * head * head_size, head_size, 1))
        if size != 0:
            least = min(least, fraction_of[head] + width - size)
    for head in range(heads):
        shift = max(fraction_of[head] - least, -width)  # less only if the head is all zero, or all heads are
        factor = np.int64(shift <= 63)
        place, shift = values + 8 * head * head_size, min(shift, 63)
        if width <= 15:
            _put_i64s_as_i16s(place, head_size, factor, shift, (1 << width) - 1, out + 2 * head * head_size)
        else:
            _put_i64s_as_i32s(place, head_size, factor, shift, (1 << width) - 1, out + 4 * head * head_size)
    return least if least != NO_EXPONENT else np.int64(ZERO_EXPONENT)
