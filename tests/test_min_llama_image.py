"""Whoever reads an image as a LLaMA finds out whether it computes one: the ops, what each reads and writes, and each number."""

from pathlib import Path

import pytest
from min_model import write_source

from opml_min.cli import main
from opml_min.memory_map import MODEL
from opml_min.model.build.llama_image import check_llama
from opml_min.model.errors import CheckFailed, ImageError
from opml_min.model.image.image import Image
from opml_min.model.image.ops import OPERANDS, WEIGHTS, Opcode
from opml_min.model.native.check import check
from opml_min.model.resolve import build_source

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
