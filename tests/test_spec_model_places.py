"""What a loader checks of operands and places, and that a model whose weights lie in the state quarter computes the same."""

from collections.abc import Sequence

import numpy as np
import pytest
from attrs import asdict, astuple, evolve
from opml_spec.errors import ImageBound, ImageHeader, ImageOp, MatrixFormat
from opml_spec.machine.memory import IO, MEMORY_BYTES, MODEL, STATE, Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.model.bounds import check_bounds
from opml_spec.model.layout import HEADER, RECORD_BYTES, WHEN_DRAWING, Header, encode_tape, encode_words
from opml_spec.model.loader import RANGES, check_model
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
    FloatSwiGlu,
)
from opml_spec.model.operations.operation import Operation
from opml_spec.model.operations.table import OPERATIONS
from opml_spec.model.places import addend, at, check_places, read, weights, written
from opml_spec.model.stage import run_stage
from spec_llama import Q8_0, make_llama, output, text_request, with_request

TRAINED = STATE + (1 << 30)
CONTEXT, VOCABULARY = 4, 11
A, B, C, D, E, F = (STATE + (i << 16) for i in range(6))
W = MODEL + (1 << 29)
HEADER_OF_TEST = Header(tape=HEADER + 4096, context=CONTEXT, vocabulary=VOCABULARY)

EXAMPLES: list[Operation] = [
    Embed(A, W, Q8_0, 64, 40, 14),
    Norm(A, B, W, 40, 14, 0),
    MatMul(A, B, W, Q8_0, 13, 64, 14),
    Rope(A, 3, 6, W),
    Cache(A, B, C, D, E, F, 2, 6, CONTEXT),
    Attention(A, B, C, D, E, F, 4, 2, 6, CONTEXT, 1 << 29),
    SwiGlu(A, B, C, 40),
    Add(A, W, 40),
    Sample(A, VOCABULARY),
    Input(A, 40),
    Relu(A, B, 40, 14),
    FloatEmbed(A, W, 40),
    FloatNorm(A, B, W, 40, 0),
    FloatMatMul(A, B, W, 13, 40),
    FloatRope(A, 3, 6, W),
    FloatCache(A, B, C, D, 2, 6, CONTEXT),
    FloatAttention(A, B, C, D, 4, 2, 6, CONTEXT, 0x40000000),
    FloatSwiGlu(A, B, C, 40),
    FloatAdd(A, W, 40),
    FloatInput(A, 40),
    FloatRelu(A, B, 40),
]


def model(operations: Sequence[Operation], condition: int = 0) -> Memory:
    header = evolve(HEADER_OF_TEST, ops=len(operations))
    tape = encode_tape([operation.record(condition) for operation in operations])
    return Memory.from_segments({HEADER: encode_words(header.words), HEADER + 4096: tape})


def leaves(size: int) -> int:
    """Rounds up to whole leaves."""
    return -(-size // 32) * 32


def refused(memory: Memory, problem: str) -> None:
    with pytest.raises(ImageOp, match=problem):
        check_places(memory)


def moved(operation: Operation, old: int, new: int) -> Operation:
    return type(operation)(*(new if value == old else value for value in astuple(operation)))


# Which bytes an operation writes and reads -----------------------------------------------------------------------------------------------


def test_there_is_an_example_of_every_operation_that_writes_a_buffer() -> None:
    assert {type(one) for one in EXAMPLES} == set(OPERATIONS.values()) - {OPERATIONS[41]}


@pytest.mark.parametrize("operation", EXAMPLES, ids=lambda op: type(op).__name__)
def test_an_operation_writes_nothing_but_its_buffers(operation: Operation) -> None:
    """At each position; all positions together reach the last leaf of each buffer, less the padding of an activation."""
    rng = np.random.default_rng(1)
    memory = with_request(model([operation]), 99, text_request([1, 2, 3, 5], 2, 1 << 16))
    for buffer in {value for value in astuple(operation) if value >= STATE or value == W}:
        small = rng.integers(-9, 10, 4096, dtype=np.int8).tobytes() if operation.opcode < 33 else rng.random(2048, np.float32).tobytes()
        memory = memory.store_bytes(buffer, small)
    places, reached = list(written(operation)), set()
    for position in range(CONTEXT):
        after = operation.execute(memory, position)
        allowed = memory
        for place in places:
            data = after.load_bytes(place.start, len(place))
            reached |= {place.start for last in range(1, 64) if last <= len(place) and data[-last] != memory.load(place.stop - last, 1)}
            allowed = allowed.store_bytes(place.start, data)
        assert hash_of(after.subtree(33, 3)) == hash_of(allowed.subtree(33, 3))
    assert reached == {place.start for place in places}


@pytest.mark.parametrize("operation", [one for one in EXAMPLES if W in astuple(one)], ids=lambda op: type(op).__name__)
def test_an_operation_reads_its_weights_from_first_to_last(operation: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    """All positions together, with the first and the last token, read to the end of the last tile and no further."""
    plain, read = Memory.load_bytes, list[range]()

    def load_bytes(self: Memory, address: int, size: int) -> bytes:
        read.append(at(address, size))
        return plain(self, address, size)

    memory = with_request(model([operation]), 99, text_request([0, VOCABULARY - 1, 3, 3], 2))
    memory = memory.store(B, 4, 1)  # a NORM of zeros needs no weights
    monkeypatch.setattr(Memory, "load_bytes", load_bytes)
    for position in range(CONTEXT):
        operation.execute(memory, position)
    found = [place for place in read if W <= place.start < IO]
    assert [*weights(operation, HEADER_OF_TEST), *addend(operation)] == [
        range(min(one.start for one in found), max(one.stop for one in found))
    ]


# Places ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tape", [STATE, MEMORY_BYTES - RECORD_BYTES, IO, IO - RECORD_BYTES + 32])
def test_the_tape_lies_in_the_model_quarter(tape: int) -> None:
    """In the state quarter an op could write into it."""
    memory = model(EXAMPLES[:1])
    words = evolve(Header.read(memory), tape=tape).words
    with pytest.raises(ImageHeader, match="lies outside the model quarter"):
        check_model(memory.store_bytes(HEADER, encode_words(words)))


def test_the_places_of_a_llama_are_accepted() -> None:
    for at_address in (W, TRAINED):
        check_model(make_llama(form=lambda name: len(name) % 3, weights_at=at_address).memory)


@pytest.mark.parametrize("operation", EXAMPLES, ids=lambda op: type(op).__name__)
def test_buffers_lie_in_the_state_quarter(operation: Operation) -> None:
    check_places(model([operation]))
    for place in written(operation):
        check_places(model([moved(operation, place.start, MEMORY_BYTES - len(place) // 32 * 32 - 32)]))
        for address in (STATE - 32, IO + (1 << 30), W + (1 << 20), STATE + 16, MEMORY_BYTES - len(place) + 32):
            refused(model([moved(operation, place.start, address)]), "buffer")


@pytest.mark.parametrize("operation", [one for one in EXAMPLES if W in astuple(one)], ids=lambda op: type(op).__name__)
def test_weights_lie_in_the_model_or_the_state_quarter(operation: Operation) -> None:
    (place,) = (*weights(operation, HEADER_OF_TEST), *addend(operation))
    size = len(place)
    for address in (MODEL, IO - size, TRAINED, MEMORY_BYTES - size):
        check_places(model([moved(operation, W, address)]))
    for address in (0, MODEL - 32, IO - size + 1, IO + (1 << 30), STATE - 1, MEMORY_BYTES - size + 1):
        refused(model([moved(operation, W, address)]), "weights")


@pytest.mark.parametrize("operation", [one for one in EXAMPLES if [*weights(one, HEADER_OF_TEST)]], ids=lambda op: type(op).__name__)
@pytest.mark.parametrize("other", EXAMPLES, ids=lambda op: type(op).__name__)
def test_no_operation_of_the_tape_writes_into_weights(operation: Operation, other: Operation) -> None:
    """Weights may end where a buffer begins, and begin where it ends; the leaf before or after is too much."""
    (place,) = weights(operation, HEADER_OF_TEST)
    for buffer in written(other):
        for address, right in (
            (leaves(buffer.stop), True),
            (buffer.start - leaves(len(place)), True),
            (leaves(buffer.stop) - 32, False),
            (buffer.start - leaves(len(place)) + 32, False),
        ):
            if address < STATE:
                continue
            reads = moved(moved(operation, A, TRAINED + (1 << 20)), W, address)
            shared = any(address < one.stop and one.start < address + len(place) for one in written(other))
            for tape in ([reads, other], [other, reads]):
                if right and not shared:
                    check_places(model(tape, WHEN_DRAWING))
                else:
                    refused(model(tape, WHEN_DRAWING), "writes into the weights")


def test_a_bias_in_the_state_quarter_may_be_a_buffer() -> None:
    check_places(model([Relu(C, B, 40, 14), Add(A, C, 40)]))


@pytest.mark.parametrize("operation", EXAMPLES, ids=lambda op: type(op).__name__)
def test_what_an_operation_writes_touches_nothing_else_of_it(operation: Operation) -> None:
    """A leaf of overlap at either end is too much, and so is the same place."""
    changes = list(written(operation))
    others = [*changes, *read(operation), *addend(operation)]
    for one in changes:
        for other in others:
            if one != other:
                for start in {other.start, other.start - leaves(len(one)) + 32, leaves(other.stop) - 32} - {one.start}:
                    refused(model([moved(operation, one.start, start)]), "overlap|may not lie there")


@pytest.mark.parametrize(
    ("right", "overlapping"),
    [
        (FloatAdd(A, B, 64), FloatAdd(A + 32, A, 64)),
        (FloatSwiGlu(A, B, C, 64), FloatSwiGlu(B + 32, B, C, 64)),
        (FloatRelu(A, B, 64), FloatRelu(B + 32, B, 64)),
    ],
    ids=lambda op: type(op).__name__,
)
def test_the_formulas_say_nothing_about_buffers_that_overlap(right: Operation, overlapping: Operation) -> None:
    """Who reads everything first gets another result than who writes as it goes: the reason for the rule."""
    check_places(model([right]))
    refused(model([overlapping]), "overlap")


# Operands --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", EXAMPLES, ids=lambda op: type(op).__name__)
def test_operands_are_in_their_ranges(operation: Operation) -> None:
    for name in asdict(operation).keys() & RANGES.keys():
        for value in (RANGES[name][0] - 1, RANGES[name][-1] + 1):
            if value >= 0:
                with pytest.raises(ImageOp, match=f"{name} is {value}"):
                    check_model(model([evolve(operation, **{name: value})]))


@pytest.mark.parametrize(
    ("operation", "header", "condition"),
    [
        (Embed(A, W, Q8_0, 64, 65, 14), {}, 0),
        (Embed(A, W, Q8_0, 40, 40, 14), {}, 0),
        (MatMul(A, B, W, Q8_0, 13, 40, 14), {}, 0),
        (Rope(A, 3, 7, W), {}, 0),
        (Cache(A, B, C, D, E, F, 2, 7, CONTEXT), {}, 0),
        (Cache(A, B, C, D, E, F, 2, 6, CONTEXT - 1), {}, 0),
        (Attention(A, B, C, D, E, F, 3, 2, 6, CONTEXT, 1 << 29), {}, 0),
        (FloatAttention(A, B, C, D, 4, 2, 7, CONTEXT, 0), {}, 0),
        (Sample(A, VOCABULARY + 1), {}, 1),
        (Sample(A, VOCABULARY), {}, 0),
        (Add(A, B, 9), {}, 2),
        (Add(A, B, 9), {"arithmetic": 1}, 0),
        (FloatAdd(A, B, 9), {}, 0),
        (Input(A, CONTEXT), {}, 0),
        (Input(A, CONTEXT + 1), {"request_kind": 1}, 0),
        (Embed(A, W, Q8_0, 64, 40, 14), {"request_kind": 1}, 0),
    ],
)
def test_operands_fit_each_other_and_the_header(operation: Operation, header: dict[str, int], condition: int) -> None:
    memory = model([operation], condition)
    given = evolve(Header.read(memory), **header)
    with pytest.raises(ImageOp, match="op 0"):
        check_model(memory.store_bytes(HEADER, encode_words(given.words)))


def test_a_quantisation_is_known() -> None:
    for operation in (MatMul(A, B, W, 3, 13, 64, 14), Embed(A, W, 1 << 63, 64, 40, 14)):
        with pytest.raises(MatrixFormat):
            check_model(model([operation]))


@pytest.mark.parametrize("header", [{"ops": (1 << 24) + 1}, {"context": 0}, {"context": (1 << 23) + 1}, {"flags": 2}, {"arithmetic": 2}])
def test_a_header_is_in_its_ranges(header: dict[str, int]) -> None:
    memory = model([Add(A, B, 9)])
    check_model(memory)
    with pytest.raises(ImageHeader):
        check_model(memory.store_bytes(HEADER, encode_words(evolve(Header.read(memory), **header).words)))


# What weights in the state quarter mean --------------------------------------------------------------------------------------------------


def test_a_model_computes_the_same_from_weights_in_the_state_quarter() -> None:
    request, ends = text_request([5, 6], 2), []
    for at_address in (W, TRAINED):
        llama = make_llama(form=lambda name: len(name) % 3, weights_at=at_address)
        memory = with_request(llama.memory, 3 * llama.ops, request)
        for stage in range(3 * llama.ops):
            memory, code = run_stage(memory, stage)
            assert code == 0
        ends.append(output(memory))
        size = 1 << 20
        assert memory.load_bytes(at_address, size) == llama.memory.load_bytes(at_address, size), "no stage writes weights"
    assert ends[0] == ends[1]


def test_bounds_hold_for_the_first_content_of_the_state_quarter() -> None:
    llama = make_llama(weights_at=TRAINED)
    check_bounds(llama.memory)
    infinite = llama.memory.store(llama.addresses.layers[1].wq.address + 256, 2, 0x7C00)
    with pytest.raises(ImageBound, match="d, m"):
        check_bounds(infinite)
    with pytest.raises(ImageBound, match="cos, sin"):
        check_bounds(llama.memory.store(llama.addresses.rope, 4, (1 << 30) + 1))
    assert at(TRAINED, 4) == range(TRAINED, TRAINED + 4)
