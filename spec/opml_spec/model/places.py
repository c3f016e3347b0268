"""Where the tensors of a model may lie: weights in the model or the state quarter, buffers in the state quarter.

Weights may lie in the state quarter if no operation of the tape writes there, at any position. Then they are constant during a run, as in
the model quarter, and the bounds that hold for them before its first stage hold in each.

*Source*: spec §3.8.
"""

from collections.abc import Iterator

from opml_spec.errors import ImageHeader, ImageOp
from opml_spec.machine.memory import IO, MEMORY_BYTES, MODEL, STATE, Memory
from opml_spec.model.layout import RECORD_BYTES, Header, Record
from opml_spec.model.operations.fixed import Add, Attention, Cache, Embed, Input, MatMul, Norm, Relu, Rope, SwiGlu
from opml_spec.model.operations.float import (
    FloatAdd,
    FloatAttention,
    FloatCache,
    FloatEmbed,
    FloatInput,
    FloatMatMul,
    FloatNorm,
    FloatRelu,
    FloatRope,
    FloatSwiGlu,
)
from opml_spec.model.operations.operation import Operation
from opml_spec.model.operations.table import decode_operation
from opml_spec.model.tensors import ALIGNMENT, GROUP, HEAD_BYTES, TILE_ROWS, Matrix

CONSTANT, CARRIED = range(MODEL, IO), range(STATE, MEMORY_BYTES)  # the model quarter, the state quarter


def check_places(memory: Memory) -> None:
    """Raise unless the tape of this model, and each of its weights and buffers, lies where it may."""
    header = Header.read(memory)
    if not inside(at(header.tape, RECORD_BYTES * header.ops), CONSTANT):
        raise ImageHeader(f"the tape at {header.tape:#x} lies outside the model quarter")
    tape = [decode_operation(Record.read(memory, header.tape + RECORD_BYTES * op)) for op in range(header.ops)]
    changed = [place for operation in tape for place in written(operation)]
    for op, operation in enumerate(tape):
        for place in written(operation):
            if place.start % ALIGNMENT or not inside(place, CARRIED):
                raise ImageOp(f"op {op}: the buffer at {place.start:#x} may not lie there")
        for place in read_only(operation, header):
            if not inside(place, CONSTANT) and not inside(place, CARRIED):
                raise ImageOp(f"op {op}: the weights at {place.start:#x} may not lie there")
        for place in weights(operation, header):
            if any(overlap(place, other) for other in changed):
                raise ImageOp(f"op {op}: an op of the tape writes into the weights at {place.start:#x}")


def inside(place: range, quarter: range) -> bool:
    return quarter.start <= place.start and place.stop <= quarter.stop


def overlap(a: range, b: range) -> bool:
    return a.start < b.stop and b.start < a.stop


def at(address: int, size: int) -> range:
    """The bytes of a tensor."""
    return range(address, address + size)


def padded_activation(address: int, length: int) -> range:
    """An activation with its head and its padding."""
    return at(address, HEAD_BYTES + 2 * (-(-length // GROUP) * GROUP))


def whole_tiles(rows: int) -> int:
    """The number of rows with those that fill the last tile."""
    return -(-rows // TILE_ROWS) * TILE_ROWS


def weights(operation: Operation, header: Header) -> Iterator[range]:
    """Yield the places of what an operation reads and none may write."""
    match operation:
        case Embed(_, matrix, quantisation, columns) | MatMul(_, _, matrix, quantisation, _, columns):
            rows = operation.rows if isinstance(operation, MatMul) else header.vocabulary
            yield at(matrix, whole_tiles(rows) // TILE_ROWS * Matrix(matrix, quantisation, columns).tile_bytes)
        case FloatEmbed(_, matrix, columns) | FloatMatMul(_, _, matrix, _, columns):
            rows = operation.rows if isinstance(operation, FloatMatMul) else header.vocabulary
            yield at(matrix, 4 * whole_tiles(rows) * columns)
        case Norm() | FloatNorm():
            yield at(operation.weights, 4 * operation.length)
        case Rope() | FloatRope():
            yield at(operation.table, 4 * header.context * operation.head_size)


def read_only(operation: Operation, header: Header) -> Iterator[range]:
    """Yield the places of weights, and of an addend, which may be either a bias or a buffer."""
    yield from weights(operation, header)
    if isinstance(operation, Add | FloatAdd):
        yield at(operation.y, 4 * operation.length)


def written(operation: Operation) -> Iterator[range]:
    """Yield the places of the buffers that an operation writes, at all positions together."""
    match operation:
        case Norm() | SwiGlu() | Input() | Relu():
            yield padded_activation(operation.out, operation.length)
        case Attention():
            yield padded_activation(operation.out, operation.heads * operation.head_size)
        case Embed() | FloatNorm() | FloatSwiGlu() | FloatInput() | FloatRelu():
            yield at(operation.out, 4 * operation.length)
        case FloatEmbed():
            yield at(operation.out, 4 * operation.columns)
        case MatMul() | FloatMatMul():
            yield at(operation.out, 4 * operation.rows)
        case FloatAttention():
            yield at(operation.out, 4 * operation.heads * operation.head_size)
        case Rope() | FloatRope():
            yield at(operation.vector, 4 * operation.heads * operation.head_size)
        case Add() | FloatAdd():
            yield at(operation.x, 4 * operation.length)
        case Cache():
            for rows, exponents in ((operation.keys, operation.key_exponents), (operation.values, operation.value_exponents)):
                places = operation.kv_heads * operation.context
                yield at(rows, 2 * places * operation.head_size)
                yield at(exponents, places)
        case FloatCache():
            for rows in (operation.keys, operation.values):
                yield at(rows, 4 * operation.kv_heads * operation.context * operation.head_size)
