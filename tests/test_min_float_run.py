"""Float images: the published text, runs on any number of threads and in the machine, commands, and what native code refuses."""

import json

import numpy as np
import pytest
from attrs import astuple, evolve
from min_model import write_source

from opml_min.cli import main
from opml_min.memory_map import HEADER
from opml_min.model.build.build import write_model
from opml_min.model.image.image import Image
from opml_min.model.image.ops import FLOAT, Opcode
from opml_min.model.image.request import TextRequest
from opml_min.model.native.check import CheckFailed, check
from opml_min.model.quality.reference import logits
from opml_min.model.resolve import build_source, resolve
from opml_min.model.run import Run
from opml_min.model.sources.from_image import checkpoint_of_image
from opml_min.model.sources.llama2c import read_llama2c

PUBLISHED = (  # what llama2.c's own test expects of 200 greedy steps (github.com/karpathy/llama2.c, test_all.py)
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. "
    "She wanted to play with it, but it was too high.\n"
    "Lily's mom said, \"Lily, let's go to the park.\" Lily was sad and didn't know what to do. She said, \"I want to play with your ball, "
    "but I can't find it.\"\n"
    "Lily was sad and didn't know what to do. She said, \"I'm sorry, Lily. I didn't know what to do.\"\n"
    "Lily didn't want to help her mom, so she"
)


@pytest.fixture
def image(tmp_path):
    build_source(write_source(tmp_path), tmp_path / "tok300.bin", tmp_path / "tiny.opml", arithmetic="float")
    return Image(tmp_path / "tiny.opml")


def opml(capsys, *arguments):
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_published_text_to_the_letter(shared_data, capsys):
    result = opml(capsys, "run", shared_data / "stories260K.bin", "--arithmetic", "float", "--prompt", "", "--max-tokens", 200)
    assert result["text"] == PUBLISHED


def test_the_weights_are_the_checkpoints_own(tmp_path):
    for own_classifier in (False, True):
        source = write_source(tmp_path, own_classifier=own_classifier)
        build_source(source, tmp_path / "tok300.bin", tmp_path / "float.opml", arithmetic="float")
        stored, original = checkpoint_of_image(Image(tmp_path / "float.opml")), read_llama2c(source)
        assert astuple(stored.shape)[:8] == astuple(original.shape)[:8]
        assert np.abs(logits(stored, [1, 5, 7]) - logits(original, [1, 5, 7])).max() < 1e-5  # epsilon and the turns are read back too
        assert (stored.embedding == original.embedding).all()
        assert (stored.final_norm == original.final_norm).all()
        for mine, theirs in zip(stored.layers, original.layers, strict=True):
            assert all((a == b).all() for a, b in zip(mine, theirs, strict=True))
        if own_classifier:
            assert (stored.classifier == original.classifier).all()


def test_logits_are_those_of_the_reference(image, tmp_path):
    """After the last of three tokens, within what 24 bits lose."""
    tokens = (1, 260, 77)
    run = Run(image, TextRequest(tokens, 1).pack())
    run.run_all()
    place = image.ops[-1].operands
    found = run.memory.view(place["logits"], place["length"], np.float32)
    expected = logits(read_llama2c(tmp_path / "tiny.bin"), list(tokens))[-1]
    assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("temperature", [0, 1 << 15])
def test_threads_single_stages_and_the_machine_change_nothing(image, temperature):
    request = TextRequest((1, 5), 8, temperature, 4).pack()
    one, three, stepwise = Run(image, request), Run(image, request, threads=3), Run(image, request)
    machine = Run(image, request, device="vm")
    for run in (one, three, machine):
        run.run_all()
    while stepwise.stage < stepwise.stage_count:
        stepwise.run_stage()
    assert one.run_hash() == three.run_hash() == stepwise.run_hash() == machine.run_hash()


def test_threads_that_share_ops_change_nothing(tmp_path):
    """The matrices are large enough to be shared, and so is attention at the later positions."""
    source = write_source(tmp_path, shape=(256, 512, 2, 32, 4, 300, 256))
    build_source(source, tmp_path / "tok300.bin", tmp_path / "large.opml", arithmetic="float")
    hashes = set()
    for threads in (1, 2, 3):
        run = Run(Image(tmp_path / "large.opml"), TextRequest(tuple(range(3, 200)), 20).pack(), threads=threads)
        run.run_all()
        hashes.add(run.run_hash())
    assert len(hashes) == 1


def test_commands(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write_source(tmp_path)
    fixed = opml(capsys, "run", source, "--max-tokens", 6)
    native = opml(capsys, "run", source, "--max-tokens", 6, "--arithmetic", "float", "--save", "run.json")
    machine = opml(capsys, "run", source, "--max-tokens", 6, "--arithmetic", "float", "--device", "vm")
    assert native["run_hash"] == machine["run_hash"] != fixed["run_hash"]
    assert native["text"] == machine["text"]
    assert machine["machine_steps"] > 1000
    assert opml(capsys, "verify", "run.json")["holds"]
    assert opml(capsys, "verify", "run.json", "--device", "vm")["holds"]
    assert opml(capsys, "model", "build", source, "-o", "float.opml", "--arithmetic", "float")["arithmetic"] == "float"
    assert opml(capsys, "run", "float.opml", "--max-tokens", 6)["run_hash"] == native["run_hash"]
    (tmp_path / "text").write_text("abcab abc ab\n" * 9)
    result = opml(capsys, "eval", source, "text", "--window", 16, "--arithmetic", "float")
    assert result["nll_max_difference"] < 1e-4
    assert main(["run", "float.opml", "--arithmetic", "fixed"]) == 2
    assert "float arithmetic" in capsys.readouterr().err


def test_the_embedded_model_has_a_float_sister():
    """With exactly the weights that its blocks stand for."""
    fixed, floats = resolve("embedded").image, resolve("embedded", arithmetic="float").image
    assert floats.header.arithmetic == FLOAT
    assert floats.tokenizer_bytes() == fixed.tokenizer_bytes()
    assert (checkpoint_of_image(floats).layers[0].gate == checkpoint_of_image(fixed).layers[0].gate).all()


def changed(image, path, index, **operands):
    """The image with other operands in one op."""
    ops = list(image.ops)
    ops[index] = evolve(ops[index], operands={**ops[index].operands, **operands})
    rest = image.segments[1].data[image.header.tape_address - HEADER + 128 * len(ops) :]
    write_model(path, image.program, image.header, ops, [rest])
    return Image(path)


@pytest.mark.parametrize(
    ("kind", "operands"),
    [
        (Opcode.FLOAT_NORM, {"eps_bits": 1 << 32}),
        (Opcode.FLOAT_NORM, {"out": 0xC000000000}),
        (Opcode.FLOAT_MATMUL, {"rows": 0}),
        (Opcode.FLOAT_MATMUL, {"matrix": 0xC000000000}),
        (Opcode.FLOAT_MATMUL, {"x": 0x4010000000}),
        (Opcode.FLOAT_ATTENTION, {"root_bits": 1 << 32}),
        (Opcode.FLOAT_ATTENTION, {"kv_heads": 3}),
        (Opcode.FLOAT_ATTENTION, {"context": 5}),
        (Opcode.FLOAT_ROPE, {"head_size": 3}),
        (Opcode.FLOAT_ADD, {"y": 0xC000000004}),
        (Opcode.FLOAT_SAMPLE, {"length": 301}),
    ],
)
def test_what_native_code_refuses(image, tmp_path, kind, operands):
    check(image)
    index = next(i for i, words in enumerate(image.tape.tolist()) if words[0] == kind)
    with pytest.raises(CheckFailed, match=f"op {index} of the tape"):
        check(changed(image, tmp_path / "bad.opml", index, **operands))


def test_an_image_keeps_to_one_arithmetic(image, tmp_path):
    ops = list(image.ops)
    rest = image.segments[1].data[image.header.tape_address - HEADER + 128 * len(ops) :]
    write_model(tmp_path / "bad.opml", image.program, evolve(image.header, arithmetic=0), ops, [rest])
    with pytest.raises(CheckFailed, match="other arithmetic"):
        check(Image(tmp_path / "bad.opml"))
