"""Trained models: an image registers exactly the state root that the training run ends with, and computes with what was trained."""

import json
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve
from min_sources import CONTEXT, TOKENS, random_weights, write_gguf

from opml_min.cli import main
from opml_min.machine import Memory
from opml_min.memory_map import HEADER, STATE, Quarter
from opml_min.model.errors import ImageError
from opml_min.model.image.header import NO_TOKEN
from opml_min.model.image.image import Image
from opml_min.model.image.llama import tensors_of_llama
from opml_min.model.image.program import shipped_program
from opml_min.model.image.request import TextRequest
from opml_min.model.image.segments import write_image
from opml_min.model.native.check import check
from opml_min.model.quality.reference import logits
from opml_min.model.resolve import build_source, text_of
from opml_min.model.run import Run
from opml_min.model.sources.checkpoint import Shape
from opml_min.model.sources.export_gguf import write_gguf as write_exported
from opml_min.model.sources.from_image import checkpoint_of_image
from opml_min.training.recipes.llama import llama_training
from opml_min.training.recipes.llama_shape import LlamaShape
from opml_min.training.recipes.recipe import Method, Recipe, TokenText
from opml_min.training.request import Settings
from opml_min.training.run import TrainingRun
from opml_min.training.trained_image import image_from_scratch, image_in_model_quarter, state_left, trained_image

SETTINGS = Settings(7, 2, 1, 171798692, 0, 6554, 3277, 62259, 6554).pack()
SHAPE = LlamaShape(dim=24, hidden_dim=40, layers=2, heads=4, kv_heads=2, head_size=6, vocabulary=300)
PERIOD, REQUEST = 8, TextRequest((1, 26, 7), 4).pack()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("source")
    weights = random_weights(own_classifier=False)
    build_source(write_gguf(folder / "source.gguf", weights), None, folder / "source.opml")
    return Image(folder / "source.opml")


def finished(origin: Image | LlamaShape, method: Method) -> tuple[TrainingRun, tuple[object, ...]]:
    text = np.random.default_rng(5).integers(3, 250, 200, dtype=np.uint16).tobytes()
    model = llama_training(origin, Recipe(method, sequences=2, period=PERIOD, rank=2), TokenText(text, 2))
    run = TrainingRun(model.segments, SETTINGS)
    run.run_all()
    return run, model.trained


@pytest.mark.parametrize("method", [Method.FULL, Method.LAST, Method.LORA])
def test_a_trained_source(method: Method, source: Image, tmp_path: Path) -> None:
    run, trained = finished(source, method)
    write_image(tmp_path / "trained.opml", trained_image(source, trained, state_left(run.memory, run.ops)))
    image = Image(tmp_path / "trained.opml")
    registers_and_runs(image, run)
    assert (image.program, image.header, text_of(image)) == (source.program, source.header, text_of(source))
    names = {each.name for each in trained}
    for old, new in zip(tensors_of_llama(source), tensors_of_llama(image), strict=True):
        name = old.name if old.name in names or old.name != "output.weight" else "token_embd.weight"
        assert (new.address >= STATE) == (name in names), name
        assert (image.read(new.address, new.size) == source.read(old.address, old.size)) == (name not in names), name
    assert [op.opcode for op in image.ops] == [op.opcode for op in source.ops]
    assert image.path.stat().st_size < source.path.stat().st_size + len(state_left(run.memory, run.ops)) + (1 << 15)


def test_a_model_from_scratch(tmp_path: Path) -> None:
    run, trained = finished(SHAPE, Method.SCRATCH)
    shape = Shape(SHAPE.dim, SHAPE.hidden_dim, SHAPE.layers, SHAPE.heads, SHAPE.kv_heads, SHAPE.vocabulary, 32, SHAPE.head_size)
    write_image(tmp_path / "trained.opml", image_from_scratch(shape, None, SHAPE.r, trained, state_left(run.memory, run.ops)))
    image = Image(tmp_path / "trained.opml")
    registers_and_runs(image, run)
    assert (image.program, image.header.vocabulary, image.header.bos_token) == (shipped_program(), 300, NO_TOKEN)
    natively = Run(image, REQUEST)
    natively.run_to(3 * len(image.ops) - 1)  # all but the SAMPLE of the last prompt position
    sample = image.ops[-1].operands
    found = natively.memory.view(sample["logits"], sample["length"], np.int32) / 2**12
    expected = logits(checkpoint_of_image(image), [1, 26, 7])[-1]
    assert np.abs(found - expected).max() < 0.01
    fewer = [each for each in trained if each.name != "blk.1.ffn_up.weight"]
    with pytest.raises(ImageError, match=r"blk\.1\.ffn_up\.weight was not trained"):
        image_from_scratch(shape, None, SHAPE.r, fewer, state_left(run.memory, run.ops))


def test_weights_in_the_model_quarter(tmp_path: Path) -> None:
    """Logits and tokens do not depend on where the weights lie."""
    run, trained = finished(SHAPE, Method.SCRATCH)
    shape = Shape(SHAPE.dim, SHAPE.hidden_dim, SHAPE.layers, SHAPE.heads, SHAPE.kv_heads, SHAPE.vocabulary, 32, SHAPE.head_size)
    write_image(tmp_path / "trained.opml", image_from_scratch(shape, None, SHAPE.r, trained, state_left(run.memory, run.ops)))
    source = Image(tmp_path / "trained.opml")
    write_image(tmp_path / "moved.opml", image_in_model_quarter(source))
    image = Image(tmp_path / "moved.opml")
    check(image)
    assert image.path.stat().st_size < source.path.stat().st_size
    assert all(segment.address < STATE for segment in image.segments)
    for old, new in zip(tensors_of_llama(source), tensors_of_llama(image), strict=True):
        assert old.address >= STATE > new.address
        assert image.read(new.address, new.size) == source.read(old.address, old.size)
    found = []
    for each in (source, image):
        natively, in_the_machine = Run(each, REQUEST), Run(each, REQUEST, device="vm")
        for one in (natively, in_the_machine):
            one.run_all()
        assert natively.run_hash() == in_the_machine.run_hash()
        sample = each.ops[-1].operands
        found.append((natively.tokens(), natively.memory.read(sample["logits"], 4 * sample["length"])))
    assert found[0] == found[1]


def registers_and_runs(image: Image, run: TrainingRun) -> None:
    check(image)
    memory = Memory()
    image.load_into(memory)
    assert memory.quarter_root(Quarter.STATE) == run.state_root
    natively, in_the_machine = Run(image, REQUEST), Run(image, REQUEST, device="vm")
    for each in (natively, in_the_machine):
        each.run_all()
    assert natively.run_hash() == in_the_machine.run_hash()
    assert len(natively.tokens()) >= 1


def test_a_trained_model_as_a_gguf_file(source: Image, tmp_path: Path) -> None:
    """Exported and built again it has the same matrices. Gains are rounded to binary32."""
    run, trained = finished(source, Method.FULL)
    write_image(tmp_path / "trained.opml", trained_image(source, trained, state_left(run.memory, run.ops)))
    image = Image(tmp_path / "trained.opml")
    assert write_exported(tmp_path / "trained.gguf", image, text_of(image), "trained", "q8_0") == ()
    build_source(tmp_path / "trained.gguf", None, tmp_path / "again.opml")
    again = Image(tmp_path / "again.opml")
    for old, new in zip(tensors_of_llama(image), tensors_of_llama(again), strict=True):
        here, there = image.view(old.address, old.size), again.view(new.address, new.size)
        if old.is_matrix:
            assert (here == there).all(), old.name
        else:
            gains = here.view(np.int32).astype(np.int64)
            assert np.abs(gains - there.view(np.int32)).max() <= np.abs(gains).max() >> 24, old.name
    assert text_of(again) == text_of(image)


def test_a_trained_model_trains_again(source: Image, tmp_path: Path) -> None:
    """What stays frozen then moves from the state quarter to the model quarter."""
    first, trained = finished(source, Method.FULL)
    write_image(tmp_path / "first.opml", trained_image(source, trained, state_left(first.memory, first.ops)))
    image = Image(tmp_path / "first.opml")
    second, trained_again = finished(image, Method.LAST)
    write_image(tmp_path / "second.opml", trained_image(image, trained_again, state_left(second.memory, second.ops)))
    again = Image(tmp_path / "second.opml")
    registers_and_runs(again, second)
    names = {each.name for each in trained_again}
    for old, new in zip(tensors_of_llama(image), tensors_of_llama(again), strict=True):
        assert old.address >= STATE
        assert (image.read(old.address, old.size) == again.read(new.address, new.size)) == (new.address < STATE) == (old.name not in names)


def test_what_was_not_trained_on_this_source_is_refused(source: Image) -> None:
    run, trained = finished(source, Method.LAST)
    state = state_left(run.memory, run.ops)
    wrong = [evolve(trained[0], rows=trained[0].rows + 1), *trained[1:]]
    with pytest.raises(ImageError, match="in another shape"):
        trained_image(source, wrong, state)
    with pytest.raises(ImageError, match=r"has no tensor blk\.9"):
        trained_image(source, [evolve(trained[0], name="blk.9.attn_q.weight"), *trained[1:]], state)


@pytest.mark.parametrize("place", ["a larger tensor", "the tape", "the header", "what precedes the tape"])
def test_frozen_tensors_stay_wherever_the_source_has_them(place: str, source: Image, tmp_path: Path) -> None:
    """Gains may lie where something else begins, or in the tape, which gets other addresses."""
    tape, header = source.tape.copy(), source.header
    larger = next(each for each in tensors_of_llama(source) if each.name == "blk.0.ffn_gate.weight")
    (norm,) = next(each for each in tensors_of_llama(source) if each.name == "blk.1.ffn_norm.weight").ops
    places = {"a larger tensor": larger.address, "the tape": header.tape_address, "the header": HEADER}
    tape[norm, 4] = places.get(place, header.tape_address - 32)
    data = source.path.read_bytes()
    (tmp_path / "other.opml").write_bytes(data.replace(source.tape.tobytes(), tape.tobytes()))
    other = Image(tmp_path / "other.opml")
    write_image(tmp_path / "trained.opml", trained_image(other, [], np.zeros(4096, np.uint8)))
    image = Image(tmp_path / "trained.opml")
    for old, new in zip(tensors_of_llama(other), tensors_of_llama(image), strict=True):
        assert other.read(old.address, old.size) == image.read(new.address, new.size)
    assert image.ops[0].operands["out"] > other.ops[0].operands["out"]
    assert text_of(image) == text_of(other)


def test_what_is_no_llama_is_not_taken_for_a_source(source: Image, tmp_path: Path) -> None:
    """A stranger's job may name any image as its source."""
    tape = source.tape.copy()
    tape[1, 6] -= 1
    (tmp_path / "other.opml").write_bytes(source.path.read_bytes().replace(source.tape.tobytes(), tape.tobytes()))
    with pytest.raises(ImageError, match="does not compute a LLaMA: norm of layer 0 has another r"):
        trained_image(Image(tmp_path / "other.opml"), [], np.zeros(4096, np.uint8))


def test_all_commands_take_a_trained_model(source: Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, trained = finished(source, Method.LORA)
    image = tmp_path / "trained.opml"
    write_image(image, trained_image(source, trained, state_left(run.memory, run.ops)))
    (tmp_path / "text.txt").write_text("the inner thing and then a 1999 " * 3)
    assert main(["model", "show", str(image), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state_root"] == "0x" + run.state_root.hex()
    assert main(["run", str(image), "--prompt", "the", "--max-tokens", "3", "--raw", "--save", str(tmp_path / "run.json"), "--json"]) == 0
    assert main(["verify", str(tmp_path / "run.json")]) == 0
    assert main(["eval", str(image), str(tmp_path / "text.txt"), "--window", str(CONTEXT), "--json"]) == 0
    capsys.readouterr()
    for cheat in ("kv-cache", "other-weights"):
        assert main(["demo", "--model", str(image), "--cheat", cheat, "--seed", "1", "--json"]) == 0
    assert len(TOKENS) == source.header.vocabulary
