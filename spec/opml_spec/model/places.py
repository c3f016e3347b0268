"""Where the tensors of a model may lie: weights in the model or the state quarter, buffers in the state quarter.

What an operation writes shares no byte with what it reads, nor with another buffer that it writes. So it does not matter in which order
bytes are read and written.

Weights may lie in the state quarter if no operation of the tape writes there, at any position. Then they are constant during a run, as in
the model quarter, and the bounds that hold for them before its first stage hold in each.

*Source*: spec §3.8.
"""

from collections.abc import Iterator
from itertools import combinations, product

from opml_spec.errors import ImageOp
from opml_spec.machine.memory import IO, MEMORY_BYTES, MODEL, STATE, Memory
from opml_spec.model.layout import RECORD_BYTES, Header, Record
from opml_spec.model.operations.fixed import Add, Attention, Cache, Embed, Input, MatMul, Norm, Relu, Rope, Sample, SwiGlu
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
    FloatSample,
    FloatSwiGlu,
)
from opml_spec.model.operations.operation import Operation
from opml_spec.model.operations.table import decode_operation
from opml_spec.model.tensors import ALIGNMENT, GROUP, HEAD_BYTES, TILE_ROWS, Matrix, whole_tiles

CONSTANT, CARRIED = range(MODEL, IO), range(STATE, MEMORY_BYTES)  # the model quarter, the state quarter


def check_places(memory: Memory) -> None:
    """Raise unless each of the weights and buffers of this model lies where it may."""
    header = Header.read(memory)
    tape = [decode_operation(Record.read(memory, header.tape + RECORD_BYTES * op)) for op in range(header.ops)]
    changed = [place for operation in tape for place in written(operation)]
    for op, operation in enumerate(tape):
        for place in (*written(operation), *read(operation)):
            if place.start % ALIGNMENT or not inside(place, CARRIED):
                raise ImageOp(f"op {op}: the buffer at {place.start:#x} may not lie there")
        for place in (*weights(operation, header), *addend(operation)):
            if place.start % ALIGNMENT or not (inside(place, CONSTANT) or inside(place, CARRIED)):
                raise ImageOp(f"op {op}: the weights at {place.start:#x} may not lie there")
        for place, other in touching(operation):
            if overlap(place, other):
                raise ImageOp(f"op {op}: the buffers at {place.start:#x} and {other.start:#x} overlap")
        for place in weights(operation, header):
            if any(overlap(place, other) for other in changed):
                raise ImageOp(f"op {op}: an op of the tape writes into the weights at {place.start:#x}")


def touching(operation: Operation) -> Iterator[tuple[range, range]]:
    """Yield each pair of buffers of which an operation writes one and touches the other. ADD's x is one buffer, read and written."""
    changes = list(written(operation))
    yield from combinations(changes, 2)
    yield from product(changes, (*read(operation), *addend(operation)))


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


def addend(operation: Operation) -> Iterator[range]:
    """Yield the place of what an ADD adds, which may be either weights, a bias, or a buffer."""
    if isinstance(operation, Add | FloatAdd):
        yield at(operation.y, 4 * operation.length)


def read(operation: Operation) -> Iterator[range]:
    """Yield the places of the buffers that an operation reads and does not write, at all positions together."""
    match operation:
        case Norm() | FloatNorm() | Relu() | FloatRelu():
            yield at(operation.x, 4 * operation.length)
        case MatMul():
            yield padded_activation(operation.x, operation.columns)
        case FloatMatMul():
            yield at(operation.x, 4 * operation.columns)
        case Cache() | FloatCache():
            for vector in (operation.k, operation.v):
                yield at(vector, 4 * operation.kv_heads * operation.head_size)
        case Attention() | FloatAttention():
            yield at(operation.q, 4 * operation.heads * operation.head_size)
            yield from cached(operation)
        case SwiGlu() | FloatSwiGlu():
            for vector in (operation.gate, operation.up):
                yield at(vector, 4 * operation.length)
        case Sample() | FloatSample():
            yield at(operation.logits, 4 * operation.length)


def cached(operation: Cache | FloatCache | Attention | FloatAttention) -> Iterator[range]:
    """Yield the places of a KV cache, with all positions."""
    places = operation.kv_heads * operation.context
    if isinstance(operation, FloatCache | FloatAttention):
        for rows in (operation.keys, operation.values):
            yield at(rows, 4 * places * operation.head_size)
    else:
        for rows, exponents in ((operation.keys, operation.key_exponents), (operation.values, operation.value_exponents)):
            yield at(rows, 2 * places * operation.head_size)
            yield at(exponents, places)


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
        case Cache() | FloatCache():
            yield from cached(operation)
