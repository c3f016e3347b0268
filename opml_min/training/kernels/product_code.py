"""Exact products of matrices of i16 with i64 sums, as vector code.

Products of i16 are added in pairs into i32 (x86: `vpmaddwd`, `vpdpwssd`). So that many pairs fit, one factor is split into pieces of 8
bits, each with sums of its own. After BLOCK_PAIRS pairs these are widened, put together and added to the i64 sums.

    |low|, |high| ≤ 256, |b| ≤ 32767: 2·128·256·32767 = 2147418112 < 2^31

*Source*: spec §6.5 and §6.6 (all products are exact).
"""

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from opml_min.machine import processor
from opml_min.model.native.kernels.vector.vector_code import I16, I32, I64, add_products, at, everywhere, load, splat, store, vector

LANES = 16
BLOCK_PAIRS = 128
PIECE_BITS = 8
TILE_COLUMNS = 2 * LANES  # a narrow tile has half of them
HARDWARE_ADDS_TO_TOTALS = processor.has("avx512vnni") and processor.has("avx512f")
if HARDWARE_ADDS_TO_TOTALS:
    llvm.initialize_native_asmparser()


def _multiply_add(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
    """Add to `total`, i32[16], the products of pairs. a, b: i32[16], each two i16."""
    if HARDWARE_ADDS_TO_TOTALS:  # in assembly, because LLVM would split it into two instructions
        kind = ir.FunctionType(total.type, [total.type] * 3)
        return builder.asm(kind, "vpdpwssd $3, $2, $0", "=v,0,v,v", [total, a, b], side_effect=False)
    pairs = vector(I16, 2 * LANES)
    return add_products(builder, builder.bitcast(a, pairs), builder.bitcast(b, pairs), total)


def _emit_tile(builder: ir.IRBuilder, rows: int, halves: int, pieces: int, arguments: Any) -> None:
    """Emit the body of `_tile_of`."""
    a, row_stride, pair_stride, piece_stride, b, b_stride, pairs, out, out_stride, adds = arguments
    parts = [(row, piece, half) for row in range(rows) for piece in range(pieces) for half in range(halves)]
    totals = {part: cgutils.alloca_once(builder, vector(I32, LANES)) for part in parts}
    for total in totals.values():
        builder.store(splat(I32, 0, LANES), total)
    with cgutils.for_range(builder, pairs, intp=I64) as loop:
        b_now, a_now = at(builder, b, loop.index, b_stride), at(builder, a, loop.index, pair_stride)
        columns = [load(builder, I32, LANES, at(builder, b_now, half, 4 * LANES)) for half in range(halves)]
        for row in range(rows):
            for piece in range(pieces):
                place = at(builder, at(builder, a_now, row, row_stride), piece, piece_stride)
                pair = everywhere(builder, builder.load(builder.inttoptr(place, I32.as_pointer()), align=2), LANES)
                for half in range(halves):
                    total = totals[row, piece, half]
                    builder.store(_multiply_add(builder, columns[half], pair, builder.load(total)), total)
    wide = vector(I64, LANES)
    are_added = builder.icmp_signed("!=", adds, ir.Constant(I64, 0))
    for row in range(rows):
        for half in range(halves):
            place = at(builder, at(builder, out, row, out_stride), half, 8 * LANES)
            before = cgutils.alloca_once_value(builder, splat(I64, 0, LANES))
            with builder.if_then(are_added):
                builder.store(load(builder, I64, LANES, place, align=8), before)
            value = builder.load(before)
            for piece in range(pieces):
                part = builder.sext(builder.load(totals[row, piece, half]), wide)
                value = builder.add(value, builder.shl(part, splat(I64, PIECE_BITS * piece, LANES)))
            store(builder, value, place)


def _tile_of(rows: int, halves: int, pieces: int) -> Any:
    """Emit f for tiles of `rows` by LANES·halves columns, which writes a·b to out, for at most BLOCK_PAIRS pairs along the sum, or adds it.

    a: pieces of rows of pairs, at any strides in bytes · b: pairs (pairs, columns) · out: i64; all process addresses · adds: 0 or 1"""

    @intrinsic
    def tile(
        typing: Any,
        a: Any,
        row_stride: Any,
        pair_stride: Any,
        piece_stride: Any,
        b: Any,
        b_stride: Any,
        pairs: Any,
        out: Any,
        out_stride: Any,
        adds: Any,
    ) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            name = f"tile_of_{rows}_rows_{halves}_halves_{pieces}_pieces"
            function = builder.module.globals.get(name)
            if function is None:  # one copy per kernel, because compiling it takes longest
                function = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), [I64] * 10), name)
                function.linkage = "internal"
                function.attributes.add("noinline")
                body = ir.IRBuilder(function.append_basic_block())
                _emit_tile(body, rows, halves, pieces, function.args)
                body.ret_void()
            builder.call(function, arguments)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 10), code

    return tile


TWO_PIECE_ROWS, THREE_PIECE_ROWS = 6, 4  # so that all sums stay in registers
_wide, _narrow = _tile_of(TWO_PIECE_ROWS, 2, 2), _tile_of(TWO_PIECE_ROWS, 1, 2)
_three_pieces = _tile_of(THREE_PIECE_ROWS, 1, 3)


@njit
def multiply(a, row_stride, pair_stride, piece_stride, b, b_stride, rows, columns, pairs, out, out_stride):
    """Write a product to out, i64 (rows, columns), whose a has two pieces: 15 bits and a sign, or 16 bits.

    Rows are computed up to the next multiple of TWO_PIECE_ROWS, columns up to that of TILE_COLUMNS: all must lie in a, b and out."""
    for column in range(0, columns, TILE_COLUMNS):
        for first in range(0, pairs, BLOCK_PAIRS):
            count, b_now = min(BLOCK_PAIRS, pairs - first), b + first * b_stride + 4 * column
            for row in range(0, rows, TWO_PIECE_ROWS):
                a_now, out_now = a + row * row_stride + first * pair_stride, out + row * out_stride + 8 * column
                if columns - column > LANES:
                    _wide(a_now, row_stride, pair_stride, piece_stride, b_now, b_stride, count, out_now, out_stride, first > 0)
                else:
                    _narrow(a_now, row_stride, pair_stride, piece_stride, b_now, b_stride, count, out_now, out_stride, first > 0)


@njit
def multiply_three_pieces(a, row_stride, pair_stride, piece_stride, b, b_stride, rows, columns, pairs, out, out_stride):
    """Do what `multiply` does for an a of three pieces, and rows up to the next multiple of THREE_PIECE_ROWS."""
    for column in range(0, columns, LANES):
        for first in range(0, pairs, BLOCK_PAIRS):
            count, b_now = min(BLOCK_PAIRS, pairs - first), b + first * b_stride + 4 * column
            for row in range(0, rows, THREE_PIECE_ROWS):
                a_now, out_now = a + row * row_stride + first * pair_stride, out + row * out_stride + 8 * column
                _three_pieces(a_now, row_stride, pair_stride, piece_stride, b_now, b_stride, count, out_now, out_stride, first > 0)
