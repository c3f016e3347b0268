"""Whoever reads an image as a LLaMA finds out whether it computes one: the ops, what each reads and writes, and each number."""

import time
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve
from min_model import write_source

from opml_min.cli import main
from opml_min.memory_map import HEADER, MODEL, STATE
from opml_min.model.build.build import FloatPieces, llama_header, rope_turns, write_model
from opml_min.model.build.llama_image import check_llama
from opml_min.model.build.tape import LayerWeights, Matrix, ModelWeights, llama_tape, op_count
from opml_min.model.errors import CheckFailed, ImageError
from opml_min.model.image.header import HEADER_WORDS, TOKENIZER_NONE
from opml_min.model.image.image import Image
from opml_min.model.image.llama import is_tied, rope_table, tensors_of_llama
from opml_min.model.image.ops import FLOAT, OPERANDS, RECORD_BYTES, WEIGHTS, Opcode, align
from opml_min.model.image.program import shipped_program
from opml_min.model.image.weights import F32, GROUP, Q4_0, Groups, pack, unpack
from opml_min.model.native.check import check
from opml_min.model.resolve import build_source
from opml_min.model.sources.checkpoint import Shape
from opml_min.model.sources.rotary_base import are_rotations, frequencies_of
from opml_min.model.sources.tokenizers.text import Text

OUT, X, Y = 2, 3, 3  # words of a record: what is written, what is read, what is added


@pytest.fixture(scope="module", params=["fixed", "float"])
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("llama")
    build_source(write_source(folder), None, folder / "tiny.opml", arithmetic=request.param)
    return Image(folder / "tiny.opml")


def changed(image: Image, path: Path, index: int, word: int, value: int) -> Image:
    """The image with another word in one record of its tape."""
    data, tape = image.path.read_bytes(), image.tape.copy()
    at = data.index(image.tape.tobytes())
    tape[index, word] = value
    path.write_bytes(data[:at] + tape.tobytes() + data[at + tape.nbytes :])
    return Image(path)


def with_bytes(image: Image, path: Path, address: int, new: bytes) -> Image:
    """The image with other bytes at an address."""
    segment = next(each for each in image.segments if each.address <= address < each.address + len(each.data))
    data, at = image.path.read_bytes(), segment.offset + address - segment.address
    path.write_bytes(data[:at] + new + data[at + len(new) :])
    return Image(path)


def test_an_own_image_computes_a_llama(image: Image) -> None:
    check(image)
    check_llama(image)


def test_every_word_of_the_tape_but_the_place_of_a_weight_matters(image: Image, tmp_path: Path) -> None:
    """What an op reads or writes is exchanged with what another one does; every other number is one more."""
    passed_the_check = 0
    for index, op in enumerate(image.ops):
        for word, name in enumerate(OPERANDS[op.opcode], 2):
            value = int(image.tape[index, word])
            others = [int(place) for place in image.tape[:, OUT] if place != value]
            if name in WEIGHTS:
                continue
            other = changed(image, tmp_path / "other.opml", index, word, others[index % len(others)] if value > MODEL else value + 1)
            try:
                check(other)
                passed_the_check += 1
            except CheckFailed:
                continue
            if name in ("out_frac", "r", "scale_q30") and value < MODEL:
                continue  # a builder chooses them
            with pytest.raises(ImageError, match=r"does not (compute|hold) a LLaMA"):
                check_llama(other)
    assert passed_the_check > len(image.ops)


def test_a_model_with_the_ops_of_a_llama_is_not_exported_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its second norm of a layer reads what attention left, not the residual stream."""
    build_source(write_source(tmp_path), None, tmp_path / "tiny.opml")
    image = Image(tmp_path / "tiny.opml")
    norm, added = 10, int(image.tape[9, Y])
    other = changed(image, tmp_path / "other.opml", norm, X, added)
    check(other)
    (tmp_path / "text.txt").write_text("once upon a time " * 400)
    for command in (
        ["model", "export", str(other.path), str(tmp_path / "other.gguf")],
        ["train", str(other.path), "--data", str(tmp_path / "text.txt"), "--out", str(tmp_path / "job")],
    ):
        assert main(command) == 2
        assert f"{other.path} does not compute a LLaMA: norm of layer 0 reads another buffer" in capsys.readouterr().err
    assert not (tmp_path / "other.gguf").exists()


def test_a_file_has_one_epsilon(image: Image, tmp_path: Path) -> None:
    norm = next(index for index, op in enumerate(image.ops) if "weights" in op.operands)
    word = 2 + OPERANDS[image.ops[norm].opcode].index("eps_q48" if "eps_q48" in image.ops[norm].operands else "eps_bits")
    other = changed(image, tmp_path / "other.opml", norm, word, int(image.tape[norm, word]) + 1)
    check(other)
    with pytest.raises(ImageError, match="norm of layer 0 has another eps"):
        check_llama(other)


def test_a_layer_has_its_own_cache(tmp_path: Path) -> None:
    """Both layers write one cache; or each reads the other's."""
    build_source(write_source(tmp_path), None, tmp_path / "tiny.opml")
    image, keys = Image(tmp_path / "tiny.opml"), 4
    first, second = (index for index, op in enumerate(image.ops) if op.opcode == Opcode.CACHE)
    shared = changed(image, tmp_path / "shared.opml", second, keys, int(image.tape[first, keys]))
    shared = changed(shared, tmp_path / "both.opml", second + 1, keys, int(image.tape[first, keys]))
    crossed = changed(image, tmp_path / "one.opml", first + 1, keys, int(image.tape[second, keys]))
    crossed = changed(crossed, tmp_path / "crossed.opml", second + 1, keys, int(image.tape[first, keys]))
    for other in (shared, crossed):
        check(other)
        with pytest.raises(ImageError, match="KV cache is not its own"):
            check_llama(other)


# What a LLaMA does not store ------------------------------------------------------------------------------------------------------


TABLES = {
    "of zeros": lambda table: 0 * table,
    "of half the size": lambda table: table / 2,
    "that begins again": lambda table: np.concatenate([table[:20], table[:12]]),
    "with one other number": lambda table: np.where(np.arange(table.size).reshape(table.shape) == 77, 0, table),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_holds_rotations(name: str, image: Image, tmp_path: Path) -> None:
    """A GGUF file has a base instead of the table, so the file would be of another model."""
    table, rope = rope_table(image), next(op for op in image.ops if op.opcode.kind == Opcode.ROPE)
    new = TABLES[name](table).astype(table.dtype)
    other = with_bytes(image, tmp_path / "other.opml", rope.operands["table"], new.tobytes())
    check(other)
    with pytest.raises(ImageError, match="its RoPE table does not turn by one angle"):
        check_llama(other)


@pytest.mark.parametrize("angles", [[1e-9, 0.01, 1.0, 3.0], [3.5, 6.2, 0.0, 1.5]])
def test_any_angle_is_a_rotation(angles: list[float]) -> None:
    """Beyond half a turn, too, which a base below 1 gives."""
    turned = np.arange(100)[:, None] * np.array(angles)
    turns = np.stack([np.cos(turned), np.sin(turned)], axis=2)
    for table in (np.rint(turns * 2**30).astype(np.int32), turns.astype(np.float32)):
        assert are_rotations(table)
        np.testing.assert_allclose(frequencies_of(table), angles, atol=1e-7)
    for number in (np.nan, np.inf):
        assert not are_rotations(np.full((100, 4, 2), number, np.float32))


def test_a_matrix_has_no_weights_beyond_its_columns(tmp_path: Path) -> None:
    """They would be multiplied by what lies behind an activation. No op writes there, and the image may begin with any numbers there."""
    build_source(write_source(tmp_path), None, tmp_path / "tiny.opml")
    image = Image(tmp_path / "tiny.opml")
    for name in ("blk.0.attn_q.weight", "blk.1.ffn_down.weight"):
        tensor = next(each for each in tensors_of_llama(image) if each.name == name)
        assert tensor.quantisation is not None
        assert tensor.columns % GROUP
        groups = unpack(image.view(tensor.address, tensor.size), tensor.quantisation, tensor.rows, align(tensor.columns))
        weights = groups.weights.copy()
        weights[5, -1, -1] = 1
        data = pack(tensor.quantisation, Groups(weights, groups.scales))
        other = with_bytes(image, tmp_path / "other.opml", tensor.address, data.tobytes())
        check(other)
        with pytest.raises(ImageError, match=f"{name} has weights beyond its {tensor.columns} columns"):
            check_llama(other)


def test_one_place_in_two_quantisations_is_two_matrices(tmp_path: Path) -> None:
    build_source(write_source(tmp_path), None, tmp_path / "tiny.opml")
    image = Image(tmp_path / "tiny.opml")
    embedding, *_, classifier = tensors_of_llama(image)
    assert is_tied([embedding, classifier])
    (index,) = classifier.ops
    other = changed(image, tmp_path / "other.opml", index, 2 + OPERANDS[Opcode.MATMUL].index("quantisation"), Q4_0)
    other = with_bytes(other, tmp_path / "both.opml", embedding.address, bytes(embedding.size))  # zero in one, and not in the other
    check(other)
    check_llama(other)
    assert not is_tied(tensors_of_llama(other))


# Large and impossible ones --------------------------------------------------------------------------------------------------------


def test_large_buffers_take_no_longer_than_small_ones(tmp_path: Path) -> None:
    """A small file may name many buffers of a megabyte. None of its matrices is in it."""
    shape = Shape(dim=8, hidden_dim=1 << 18, layers=100, heads=4, kv_heads=4, vocabulary=64, context=16, head_size=2)
    path, tape_address = tmp_path / "large.opml", align(HEADER + 8 * HEADER_WORDS)
    pieces = FloatPieces(align(tape_address + RECORD_BYTES * op_count(shape, FLOAT)))
    table = pieces.rotations(rope_turns(shape))

    def matrix(rows: int, columns: int) -> Matrix:
        return Matrix(table, F32, rows, columns)

    square, wide, narrow = matrix(8, 8), matrix(shape.hidden_dim, 8), matrix(8, shape.hidden_dim)
    layer = LayerWeights(table, square, square, square, square, table, wide, wide, narrow)
    ops = llama_tape(shape, ModelWeights(matrix(64, 8), table, [layer] * shape.layers, table, matrix(64, 8)), FLOAT)
    for first in range(11, len(ops) - 3, 15):  # each layer has its own gate, up and hidden
        for index, name, place in ((0, "out", 0), (1, "out", 1), (2, "gate", 0), (2, "up", 1), (2, "out", 2), (3, "x", 2)):
            at = STATE + (1 << 33) + (first << 24) + (place << 22)
            ops[first + index] = evolve(ops[first + index], operands={**ops[first + index].operands, name: at})
    header = llama_header(shape, Text(b"", TOKENIZER_NONE), ops, tape_address, (0, 0), FLOAT)
    write_model(path, shipped_program(), header, ops, pieces.pieces)
    begin = time.process_time()
    check_llama(Image(path))
    assert time.process_time() - begin < 5


def test_a_size_that_no_llama_has_is_refused(tmp_path: Path) -> None:
    build_source(write_source(tmp_path), None, tmp_path / "tiny.opml", arithmetic="float")
    image = other = Image(tmp_path / "tiny.opml")
    for index, op in enumerate(image.ops):
        if "eps_bits" in op.operands:
            at = 2 + OPERANDS[op.opcode].index("eps_bits")
            other = changed(other, tmp_path / f"{index}.opml", index, at, int(np.float32(-1e-5).view(np.uint32)))
    check(other)
    with pytest.raises(ImageError, match="does not hold a LLaMA: impossible shape: an epsilon of -1e-05"):
        check_llama(other)


HEADERS = {
    "an arithmetic": ({"arithmetic": 9}, ["show", "export: arithmetic 9 is unknown", "eval: arithmetic 9 is unknown"]),
    "a stop token": ({"stop_tokens": ((1 << 64) - 1, 1 << 63)}, ["show", "export: names the token"]),
    "a vocabulary": ({"vocabulary": 0}, ["show: more tokens", "export: more tokens", "eval: more tokens"]),
    "no vocabulary": ({"vocabulary": 0, "tokenizer_length": 4}, ["show", "export: more logits"]),
    "a tokenizer": ({"tokenizer_kind": 7}, ["show", "export", "eval: has no tokenizer"]),
    "layers": ({"layers": 1 << 63}, ["show", "export: does not hold a LLaMA", "eval: does not hold a LLaMA"]),
    "heads": ({"head_size": 0}, ["show", "export: does not hold a LLaMA", "eval: does not hold a LLaMA"]),
}
"""What a header says, and what each command refuses."""


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_says_anything_is_taken_or_refused_in_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_source(write_source(tmp_path), None, tmp_path / "tiny.opml")
    values, outcomes = HEADERS[name]
    header = Image(tmp_path / "tiny.opml").header
    other = str(tmp_path / "other.opml")
    Path(other).write_bytes((tmp_path / "tiny.opml").read_bytes().replace(header.pack(), evolve(header, **values).pack()))
    (tmp_path / "text.txt").write_text("ab abc ab")
    arguments = {
        "show": ["model", "show", other],
        "export": ["model", "export", other, str(tmp_path / "other.gguf"), "--type", "f32"],
        "eval": ["eval", other, str(tmp_path / "text.txt")],
    }
    for outcome in outcomes:
        command, _, problem = outcome.partition(": ")
        assert main(arguments[command]) == (2 if problem else 0), outcome
        error = capsys.readouterr().err
        assert problem in error
        assert error.count("\n") <= 1
