"""The vocabulary of all vector code here: LLVM's vectors, and the few patterns that processors have an instruction for.

*Source*: LLVM's language reference.
"""

from llvmlite import ir

I8, I16, I32, I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
FLOAT16, FLOAT32 = ir.HalfType(), ir.FloatType()


def vector(element: ir.Type, lanes: int) -> ir.VectorType:
    return ir.VectorType(element, lanes)


def splat(element: ir.Type, value: float, lanes: int) -> ir.Constant:
    return ir.Constant(vector(element, lanes), [value] * lanes)


def pick(places: list[int]) -> ir.Constant:
    """Name the lanes that a shuffle takes."""
    return ir.Constant(vector(I32, len(places)), places)


def at(builder: ir.IRBuilder, start: ir.Value, index: ir.Value | int, each: ir.Value | int = 1) -> ir.Value:
    """Return the address of element `index` in an array of elements of `each` bytes."""
    index, each = (ir.Constant(I64, value) if isinstance(value, int) else value for value in (index, each))
    return builder.add(start, builder.mul(index, each))


def load(builder: ir.IRBuilder, element: ir.Type, lanes: int, address: ir.Value, align: int = 2) -> ir.Value:
    """Load a vector at a process address."""
    return builder.load(builder.inttoptr(address, vector(element, lanes).as_pointer()), align=align)


def store(builder: ir.IRBuilder, value: ir.Value, address: ir.Value, align: int = 4) -> None:
    """Store a vector at a process address."""
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=align)


def everywhere(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """Put the number into every lane."""
    nothing = ir.Constant(vector(value.type, lanes), ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(nothing, value, ir.Constant(I32, 0)), nothing, splat(I32, 0, lanes))


def count_lanes(builder: ir.IRBuilder, mask: ir.Value) -> ir.Value:
    """Return in how many lanes of an i1[8] the bit is set: i64."""
    return builder.zext(builder.ctpop(builder.bitcast(mask, I8)), I64)


def pair_everywhere(builder: ir.IRBuilder, address: ir.Value, lanes: int) -> ir.Value:
    """Load two i16 into every pair of lanes: i16[lanes]."""
    pair = builder.load(builder.inttoptr(address, I32.as_pointer()), align=2)
    return builder.bitcast(everywhere(builder, pair, lanes // 2), vector(I16, lanes))


def add_products(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
    """Add to `total` the products of the lanes of a and b, neighbours summed. a, b: i16[2n]; total: i32[n]."""
    lanes = a.type.count
    products = builder.mul(builder.sext(a, vector(I32, lanes)), builder.sext(b, vector(I32, lanes)))
    even, odd = (builder.shuffle_vector(products, products, pick(list(range(first, lanes, 2)))) for first in (0, 1))
    return builder.add(builder.add(even, odd), total)


def in_turn(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Interleave the lanes: a_0, b_0, a_1, b_1, …"""
    lanes = a.type.count
    return builder.shuffle_vector(a, b, pick([i // 2 + i % 2 * lanes for i in range(2 * lanes)]))


def widened(builder: ir.IRBuilder, value: ir.Value, places: int = 0) -> tuple[ir.Value, ir.Value]:
    """Widen the even and the odd lanes of an i32[2n], times 2^places: i64[n] each."""
    lanes = value.type.count // 2
    both = builder.bitcast(value, vector(I64, lanes))
    odd = builder.ashr(both, splat(I64, 32, lanes))
    odd = builder.shl(odd, splat(I64, places, lanes)) if places else odd
    return builder.ashr(builder.shl(both, splat(I64, 32, lanes)), splat(I64, 32 - places, lanes)), odd
