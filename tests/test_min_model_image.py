"""Images: what is built is what is read, bit for bit; what is damaged or hostile is refused."""

import hashlib
import struct
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve
from min_model import SHAPE, checkpoint_bytes, tokenizer_bytes, write_source

from opml_min.machine import Memory
from opml_min.memory_map import HEADER, STATE
from opml_min.model.build.build import replace_program, write_model
from opml_min.model.build.quantise import quantise_q8_0
from opml_min.model.build.replace_program import update_program
from opml_min.model.errors import CheckFailed, CheckpointError, ImageError, TokenizerError
from opml_min.model.image.image import Image
from opml_min.model.image.ops import Opcode
from opml_min.model.image.program import shipped_program
from opml_min.model.image.weights import Q4_0, Q4_1, Q8_0, Groups, dequantise, pack, unpack
from opml_min.model.native.check import check
from opml_min.model.quality.reference import logits
from opml_min.model.resolve import build_source
from opml_min.model.sources.from_image import checkpoint_of_image
from opml_min.model.sources.llama2c import read_llama2c


@pytest.fixture
def image(tmp_path):
    source = write_source(tmp_path)
    build_source(source, tmp_path / "tok300.bin", tmp_path / "tiny.opml")
    return Image(tmp_path / "tiny.opml")


def test_the_same_source_gives_the_same_bytes(image, tmp_path):
    build_source(tmp_path / "tiny.bin", tmp_path / "tok300.bin", tmp_path / "again.opml")
    assert image.path.read_bytes() == (tmp_path / "again.opml").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.opml", "tiny.bin", "tiny.opml", "tok300.bin"]


def test_an_image_loads_where_it_says(image):
    memory = Memory()
    image.load_into(memory)
    assert memory.read(HEADER, 16) == b"OPMLTAPE" + struct.pack("<Q", 1)
    assert memory.read(1 << 38, len(image.program)) == shipped_program()
    assert memory.read(image.header.tokenizer_address, image.header.tokenizer_length) == tokenizer_bytes()
    assert len(image.tape) == image.header.op_count == 1 + 15 * SHAPE[2] + 3
    check(image)


def test_the_embedded_image_holds_the_shipped_program():
    """After a change of the guest: python -m opml_min.model.build.replace_program opml_min/embedded/embedded.opml"""
    path = Path(str(files("opml_min.embedded").joinpath("embedded.opml")))
    check(Image(path))
    assert path.stat().st_size <= 1 << 20
    assert path.with_name("embedded.opml.sha256").read_text() == f"{hashlib.sha256(path.read_bytes()).hexdigest()}  embedded.opml\n"


def test_the_weights_of_an_image_are_those_of_its_source_rounded(image, tmp_path):
    source, stored = read_llama2c(tmp_path / "tiny.bin"), checkpoint_of_image(image)
    assert evolve(stored.shape, theta=1e4, epsilon=1e-5, frequency_divisors=()) == source.shape
    assert stored.shape.frequency_divisors == pytest.approx([1e4 ** (j / 3) for j in range(3)], rel=1e-6)
    for mine, other in zip(stored.layers[1], source.layers[1], strict=True):
        assert mine.shape == other.shape
        assert np.abs(mine - other).max() <= np.abs(other).max() / 254 * 1.01
    np.testing.assert_allclose(logits(stored, [1, 5, 9]), logits(source, [1, 5, 9]), atol=0.5)


def test_an_own_classifier_is_used(tmp_path):
    source = write_source(tmp_path, own_classifier=True)
    build_source(source, tmp_path / "tok300.bin", tmp_path / "own.opml")
    stored, original = checkpoint_of_image(Image(tmp_path / "own.opml")), read_llama2c(source)
    assert np.abs(stored.classifier - original.classifier).max() < 0.01


# --------------------------------------------------------------------------------------------------------------------- blocks


@pytest.mark.parametrize("quantisation", [Q8_0, Q4_0, Q4_1])
def test_packing_is_reversible_and_lies_where_the_page_says(quantisation):
    rng = np.random.default_rng(1)
    low, high = (-128, 128) if quantisation == Q8_0 else (0, 16)
    weights = rng.integers(low, high, (11, 3, 32)).astype(np.int8)
    scales, minimums = rng.integers(0, 0x5800, (2, 11, 3)).astype(np.uint16)
    groups = Groups(weights, scales, minimums if quantisation == Q4_1 else None)
    data = pack(quantisation, groups)
    back = unpack(data, quantisation, 11, 96)
    assert (back.weights == weights).all()
    assert (back.scales == scales).all()
    assert quantisation != Q4_1 or (back.minimums == minimums).all()
    row, column = 9, 2 * 32 + 21  # tile 1, lane 1, group 2, column 21
    block = data.reshape(2, 3, -1)[1, 2]
    if quantisation == Q8_0:
        assert block[21 // 2 * 16 + 1 * 2 + 21 % 2].view(np.int8) == weights[row, 2, 21]
        assert block[256 + 2 : 256 + 4].view(np.uint16) == scales[row, 2]
    else:
        assert block[5 // 2 * 16 + 1 * 2 + 5 % 2] >> 4 == weights[row, 2, 21]
        assert block[128 + 2 : 128 + 4].view(np.uint16) == scales[row, 2]
    assert dequantise(quantisation, back).shape == (11, column + 11)


def test_quantisation_is_ggmls_and_keeps_what_is_already_q8_0():
    rng = np.random.default_rng(2)
    x = rng.normal(0, 1, (8, 96)).astype(np.float32)
    once = quantise_q8_0(x)
    d = np.abs(x.reshape(8, 3, 32)).max(axis=2) / np.float32(127)
    assert (once.scales.view(np.float16) == d.astype(np.float16)).all()
    assert np.abs(x.reshape(8, 3, 32) / d[:, :, None] - once.weights).max() <= 0.5001
    stored = dequantise(Q8_0, once)
    assert (dequantise(Q8_0, quantise_q8_0(stored)) == stored).all()
    small = rng.integers(-90, 91, (8, 96)).astype(np.float32) * np.float32(np.float16(0.0123))  # no weight is ±127
    assert (dequantise(Q8_0, quantise_q8_0(small)) == small).all()
    tiny = np.full((1, 32), 2**-40, np.float32)
    assert (dequantise(Q8_0, quantise_q8_0(tiny)) == 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, 128 * 127.5])
def test_weights_that_no_block_holds_are_refused(value):
    with pytest.raises(CheckpointError):
        quantise_q8_0(np.array([[1, value]], np.float32))


# ----------------------------------------------------------------------------------------------------------------- bad sources


def change(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


SOURCE = checkpoint_bytes()
BAD_SOURCES = {
    "empty": b"",
    "short header": SOURCE[:20],
    "header alone": SOURCE[:28],
    "truncated": SOURCE[:-4],
    "half a float": SOURCE[:-1],
    "too long": SOURCE + b"\0\0\0\0",
    "text": b"It is a truth universally acknowledged, that a single man " * 40,
    "newer format": b"24ka" + SOURCE,
    "zeros": bytes(1000),
    "negative dim": change(SOURCE, 0, struct.pack("<i", -24)),
    "no heads": change(SOURCE, 12, struct.pack("<i", 0)),
    "heads do not divide dim": change(SOURCE, 12, struct.pack("<i", 7)),
    "kv heads do not divide heads": change(SOURCE, 16, struct.pack("<i", 3)),
    "odd head size": change(SOURCE, 12, struct.pack("<i", 8)),
    "no vocabulary": change(SOURCE, 20, struct.pack("<i", 0)),
    "huge context": change(SOURCE, 24, struct.pack("<i", 2**31 - 1)),
    "another vocabulary": change(SOURCE, 20, struct.pack("<i", 299)),
    "nan": change(SOURCE, 28 + 400, struct.pack("<f", float("nan"))),
    "infinity": change(SOURCE, len(SOURCE) // 2 // 4 * 4, struct.pack("<f", float("inf"))),
    "huge weight": change(SOURCE, 28 + 400, struct.pack("<f", 1e9)),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_a_bad_source_leaves_nothing_behind(name, tmp_path):
    write_source(tmp_path)
    (tmp_path / "bad.bin").write_bytes(BAD_SOURCES[name])
    with pytest.raises(CheckpointError) as caught:
        build_source(tmp_path / "bad.bin", tmp_path / "tok300.bin", tmp_path / "bad.opml")
    assert "\n" not in str(caught.value)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("data", [b"", b"\7", tokenizer_bytes()[:-1], tokenizer_bytes() + b"\0", b"\xff" * 4000, SOURCE])
def test_a_bad_tokenizer_is_refused(data, tmp_path):
    write_source(tmp_path)
    (tmp_path / "tok300.bin").write_bytes(data)
    with pytest.raises(TokenizerError):
        build_source(tmp_path / "tiny.bin", tmp_path / "tok300.bin", tmp_path / "bad.opml")
    assert not (tmp_path / "bad.opml").exists()


# ------------------------------------------------------------------------------------------------------------------ bad images


def test_a_damaged_image_is_refused(image, tmp_path):
    good = image.path.read_bytes()
    (address,) = struct.unpack_from("<Q", good, 40)
    (offset,) = struct.unpack_from("<Q", good, 48)
    damages = [
        b"", good[:10], good[:40], good[:4096], good[:-1], good + b"\0",
        change(good, 0, b"OPMLIMG2"), change(good, 12, b"\1"),
        change(good, 8, struct.pack("<I", 0)), change(good, 8, struct.pack("<I", 2**31)),
        change(good, 16, struct.pack("<Q", 1 << 39)), change(good, 16, struct.pack("<Q", (1 << 38) + 4096)),
        change(good, 40, struct.pack("<Q", address + 8)), change(good, 40, struct.pack("<Q", 1 << 38)),
        change(good, 40, struct.pack("<Q", 1 << 39)),
        change(good, 48, struct.pack("<Q", 2**60)), change(good, 56, struct.pack("<Q", 2**64 - 1)),
        change(good, offset, b"X"), change(good, offset + 8, b"\2"), change(good, offset + 32, struct.pack("<Q", 2**50)),
        change(good, offset + 40, struct.pack("<Q", 5)), change(good, offset + 64, b"\5"),
    ]  # fmt: skip
    for number, data in enumerate(damages):
        path = tmp_path / "damaged.opml"
        path.write_bytes(data)
        with pytest.raises(ImageError) as caught:
            Image(path)
        assert "\n" not in str(caught.value), number


def changed_tape(image, path, opcode, **operands):
    """The image with other operands in the first op of that kind."""
    ops = list(image.ops)
    index = next(i for i, op in enumerate(ops) if op.opcode == opcode)
    ops[index] = evolve(ops[index], operands=ops[index].operands | operands)
    rest = image.segments[1].data[image.header.tape_address - HEADER + 128 * len(ops) :]
    write_model(path, image.program, image.header, ops, [rest])
    return Image(path)


HOSTILE_OPS = [
    (Opcode.EMBED, {"out": STATE + 1}),
    (Opcode.EMBED, {"out": (1 << 39) + 64}),
    (Opcode.EMBED, {"out": STATE + (1 << 38) - 32}),
    (Opcode.EMBED, {"quantisation": 3}),
    (Opcode.EMBED, {"r": 3}),
    (Opcode.EMBED, {"length": 4096}),
    (Opcode.EMBED, {"matrix": STATE}),
    (Opcode.NORM, {"eps_q48": 1 << 36}),
    (Opcode.NORM, {"length": 0}),
    (Opcode.NORM, {"length": (1 << 15) + 1}),
    (Opcode.NORM, {"out": STATE}),
    (Opcode.MATMUL, {"columns": 33}),
    (Opcode.MATMUL, {"rows": 1 << 31}),
    (Opcode.MATMUL, {"out_frac": 63}),
    (Opcode.MATMUL, {"matrix": (2 << 38) - 32}),
    (Opcode.ROPE, {"head_size": 5}),
    (Opcode.ROPE, {"table": (1 << 38) + 32}),
    (Opcode.CACHE, {"context": 8}),
    (Opcode.CACHE, {"keys": STATE}),
    (Opcode.ATTENTION, {"kv_heads": 3}),
    (Opcode.ATTENTION, {"scale_q30": 1 << 40}),
    (Opcode.SWIGLU, {"up": 1 << 60}),
    (Opcode.ADD, {"y": STATE + 32}),
    (Opcode.SAMPLE, {"length": 301}),
]


def test_the_tape_that_the_next_test_changes_is_good(image, tmp_path):
    check(changed_tape(image, tmp_path / "good.opml", Opcode.EMBED))


@pytest.mark.parametrize(("opcode", "operands"), HOSTILE_OPS, ids=lambda value: str(value))
def test_native_code_does_not_run_a_hostile_tape(image, tmp_path, opcode, operands):
    with pytest.raises(CheckFailed):
        check(changed_tape(image, tmp_path / "hostile.opml", opcode, **operands))


def test_native_code_does_not_run_another_program(image, tmp_path):
    replace_program(image, tmp_path / "other.opml", bytes.fromhex("73000000") * 8)
    with pytest.raises(CheckFailed):
        check(Image(tmp_path / "other.opml"))


@pytest.mark.parametrize("pattern", [0x7C00, 0xFC00, 0x7E00, 0x5800])
def test_native_code_does_not_run_scales_that_are_too_large(image, tmp_path, pattern):
    matrix = next(words[4] for words in image.tape.tolist() if words[0] == Opcode.MATMUL)
    data = bytearray(image.segments[1].data.tobytes())
    struct.pack_into("<H", data, matrix - HEADER + 256, pattern)
    write_model(tmp_path / "scales.opml", image.program, image.header, image.ops,
                [bytes(data[image.header.tape_address - HEADER + 128 * len(image.tape) :])])  # fmt: skip
    with pytest.raises(CheckFailed):
        check(Image(tmp_path / "scales.opml"))


def test_an_update_puts_the_shipped_program_back(image, tmp_path):
    replace_program(image, tmp_path / "old.opml", b"\x13\0\0\0")
    (tmp_path / "old.opml.sha256").write_text("stale")
    update_program(tmp_path / "old.opml")
    assert (tmp_path / "old.opml").read_bytes() == image.path.read_bytes()
    assert (tmp_path / "old.opml.sha256").read_text().startswith(hashlib.sha256(image.path.read_bytes()).hexdigest())
