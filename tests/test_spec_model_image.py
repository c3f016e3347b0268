"""The image file, the header, and the bounds that a loader relies on."""

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.arithmetic.fixed import round_shift
from opml_spec.errors import ImageBound, ImageFile, ImageHeader
from opml_spec.machine.memory import ENTRY, IO, MODEL, STATE, TEXT_BYTES, Memory
from opml_spec.model.bounds import bounds, check_bounds, row_bound
from opml_spec.model.image import decode_image, encode_image
from opml_spec.model.layout import FLOAT, HEADER, SINGLE_PHASE, Header, encode_tape, encode_words
from opml_spec.model.operations.fixed import Attention, Embed, MatMul, Norm, Rope, Sample
from opml_spec.model.operations.operation import Operation
from opml_spec.model.tensors import Matrix
from spec_llama import Q4_1, Q8_0, block_matrix, make_llama

SEGMENTS = {ENTRY: b"program", HEADER: b"header", STATE: b"state" * 1000}


def test_an_image_goes_there_and_back() -> None:
    file = encode_image(SEGMENTS)
    assert decode_image(file) == SEGMENTS
    assert file[:8] == b"OPMLIMG1"
    assert file[4096:4103] == b"program"
    assert len(file) == 3 * 4096 + 5000


@given(st.lists(st.tuples(st.integers(1, 30), st.binary(max_size=9000)), max_size=4))
def test_any_segments_go_there_and_back(parts: list[tuple[int, bytes]]) -> None:
    segments, address = {ENTRY: b"\x13"}, ENTRY + 4096
    for gap, data in parts:
        address += 4096 * gap
        segments[address] = data
        address += -(-len(data) // 4096) * 4096
    assert decode_image(encode_image(segments)) == segments


def with_entry(number: int, field: int, value: int) -> bytes:
    """The file with one field (0 address, 1 file offset, 2 length) of a table entry changed."""
    start = 16 + 24 * number + 8 * field
    file = encode_image(SEGMENTS)
    return file[:start] + value.to_bytes(8, "little") + file[start + 8 :]


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"OPMLIMG2" + encode_image(SEGMENTS)[8:],
        encode_image(SEGMENTS)[:12] + b"\1" + encode_image(SEGMENTS)[13:],
        encode_image({}),
        encode_image(SEGMENTS)[:50],
        encode_image(SEGMENTS)[:-1],
        encode_image(SEGMENTS) + b"\0",
        with_entry(1, 0, HEADER + 8),
        with_entry(1, 1, 2 * 4096 + 1),
        with_entry(1, 0, ENTRY),
        with_entry(0, 0, 0),
        with_entry(2, 0, IO),
        with_entry(2, 0, (1 << 40) - 4096),
        with_entry(1, 2, 5000),
        with_entry(0, 1, 0),
        with_entry(1, 0, STATE - 4096),
        encode_image({ENTRY + 4096: b"program"}),
        encode_image({ENTRY: bytes(TEXT_BYTES)}),
        encode_image(SEGMENTS | {IO: b""}),
        encode_image(SEGMENTS | {1 << 40: b""}),
    ],
    ids=range(20),
)
def test_files_that_are_no_images(file: bytes) -> None:
    with pytest.raises(ImageFile):
        decode_image(file)


def test_a_header_goes_there_and_back() -> None:
    header = Header(
        ops=3, tape=MODEL, context=7, vocabulary=9, stop_tokens=2, stop_0=4, stop_1=5, stop_2=6, flags=SINGLE_PHASE, arithmetic=FLOAT
    )
    assert Header.read(Memory.from_segments({HEADER: encode_words(header.words)})) == header
    assert header.stops == (4, 5)
    header.check()
    for bad in ({"magic": 1}, {"version": 2}, {"flags": 2}, {"ops": 0}, {"request_kind": 2}, {"arithmetic": 2}, {"stop_tokens": 5}):
        with pytest.raises(ImageHeader):
            evolve(header, **bad).check()


# Bounds ----------------------------------------------------------------------------------------------------------------------------------


def test_a_sane_model_is_within_its_bounds() -> None:
    check_bounds(make_llama(form=lambda name: len(name) % 3).memory)


@pytest.mark.parametrize("form", [Q8_0, Q4_1])
def test_the_row_bound_is_reached_and_never_passed(form: int) -> None:
    """Weights and activations chosen by an adversary who wants the largest sum: 2^-7 away for Q8_0's positive weights, exact for −128."""
    scales, minimums = np.array([[0.5, -2.0], [1.0, 100.0]], np.float16), np.array([[1.0, -3.0], [-1.0, 0.25]], np.float16)
    stored = np.full((2, 64), -128 if form == Q8_0 else 15)
    data = block_matrix(form, stored, scales, minimums if form == Q4_1 else None)
    memory = Memory.from_segments({MODEL: data})
    for row in Matrix(MODEL, form, 64).rows(memory, 2):
        sums = [sum(abs(g.scale * w + g.minimum) * 32768 for w in g.weights) for g in row]
        bound = row_bound(row, {Q8_0: 128, Q4_1: 15}[form])
        assert sum(sums) <= bound
        if form == Q8_0:
            assert sum(sums) == bound


def image(operation: Operation, data: bytes = b"") -> Memory:
    header = Header(ops=1, tape=HEADER + 4096, context=16, vocabulary=8)
    segments = {HEADER: encode_words(header.words), HEADER + 4096: encode_tape([operation.record()]), MODEL + (1 << 29): data}
    return Memory.from_segments(segments)


def matrix(scale: float, columns: int, row: int = 0) -> bytes:
    scales = np.zeros((8, columns // 32), np.float16)
    scales[row] = scale
    return block_matrix(Q8_0, np.ones((8, columns)), scales)


TABLE = MODEL + (1 << 29)


@pytest.mark.parametrize(
    ("operation", "data", "problem"),
    [
        (Norm(0, 0, 0, (1 << 15) - 1, 14, (1 << 36) - 1), b"", None),
        (Norm(0, 0, 0, 1 << 15, 14, 0), b"", "Σ xs²"),
        (Norm(0, 0, 0, 64, 14, 1 << 37), b"", "mean"),
        (Norm(0, 0, 0, 64, 4, 1 << 37), b"", None),
        (MatMul(0, 0, TABLE, 0, 8, 64, 14), matrix(127.9, 64), None),
        (MatMul(0, 0, TABLE, 0, 8, 64, 14), matrix(128.0, 64), "d, m"),
        (MatMul(0, 0, TABLE, 0, 8, 32768, 14), matrix(127.9, 32768, row=7), "Σ d·Σ w·q"),
        (MatMul(0, 0, TABLE, 0, 7, 32768, 14), matrix(127.9, 32768, row=7), "Σ d·Σ w·q"),
        (Embed(0, TABLE, 0, 32, 32, 14), matrix(-128.0, 32), "d, m"),
        (Embed(0, TABLE, 0, 32, 32, 14), matrix(float("inf"), 32), "d, m"),
        (Rope(0, 1, 2, TABLE), (1 << 30).to_bytes(4, "little") * 32, None),
        (Rope(0, 1, 2, TABLE), ((1 << 30) + 1).to_bytes(4, "little") * 32, "cos, sin"),
        (Attention(0, 0, 0, 0, 0, 0, 1, 1, 64, 16, 1 << 29), b"", None),
        (Attention(0, 0, 0, 0, 0, 0, 1, 1, 64, 16, 1 << 30), b"", "Σ q·K·scale"),
        (Attention(0, 0, 0, 0, 0, 0, 1, 1, 64, (1 << 24) - 1, 1), b"", None),
        (Attention(0, 0, 0, 0, 0, 0, 1, 1, 64, 1 << 24, 1), b"", "Σ w·V"),
        (Sample(0, (1 << 39) - 1), b"", None),
        (Sample(0, 1 << 39), b"", "Σ w"),
    ],
)
def test_what_a_loader_refuses(operation: Operation, data: bytes, problem: str | None) -> None:
    memory = image(operation, data)
    if problem is None:
        check_bounds(memory)
    else:
        with pytest.raises(ImageBound, match=problem.replace("·", ".")):
            check_bounds(memory)


def test_norm_stays_within_its_bounds() -> None:
    """NORM at its worst: every number that the bound names, computed from inputs at the borders of i32."""
    named = {bound.name: bound.magnitude for bound in bounds(Memory(), Norm(0, 0, 0, 96, 14, (1 << 36) - 1))}
    for x in (-(1 << 31), (1 << 31) - 1, 1, -1, (1 << 25) - 1):
        dropped = x.bit_length() - 24
        square = round_shift(x, dropped) ** 2
        assert 96 * square <= named["Σ xs²"]
        assert square + round_shift((1 << 36) - 1, 48 - 2 * (14 - dropped)) <= named["mean"]
        assert abs(x * -(1 << 31)) <= named["x·w"]
