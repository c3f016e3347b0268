"""The embedded model is what its documented run makes of the text: a few updates of it here, all of them with `HYPOTHESIS_PROFILE=nightly`.

A small model goes the whole way from the text to the committed files and back.
"""

import hashlib
import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from min_model import checkpoint_bytes

from opml_min import cli
from opml_min.cli import main, verify_embedded
from opml_min.cli.train_settings import settings_of
from opml_min.embedded import build, documented_run, verification
from opml_min.embedded.documented_run import CHECKSUM, DOCUMENT, MODEL, load, save
from opml_min.embedded.pieces import tokenizer_of_text
from opml_min.memory_map import STATE
from opml_min.model.image.image import Image
from opml_min.model.image.llama import tensors_of_llama
from opml_min.training.jobs.errors import JobError
from opml_min.training.jobs.folder import JobFolder
from opml_min.training.training_model import Trained

Capture = pytest.CaptureFixture[str]
NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
TEXT = "First Citizen: Before we proceed any further, hear me speak. All: Speak, speak. " * 12


def told(capsys: Capture, *arguments: object, code: int = 0) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


# The committed files ---------------------------------------------------------------------------------------------------------------------


def test_the_documentation_is_as_it_would_be_written_again(tmp_path: Path) -> None:
    save(tmp_path / "again.json", load())
    assert (tmp_path / "again.json").read_bytes() == DOCUMENT.read_bytes()


def test_the_command_means_the_documented_settings() -> None:
    documented = load()
    program, *arguments = shlex.split(documented.command)
    options = cli._parser().parse_args(arguments)
    assert (program, options.source, options.recipe, options.eval) == ("opml", "embedded", "scratch", True)
    assert (options.optimizer, options.batch, options.length) == (documented.optimizer, documented.sequences, documented.length)
    assert settings_of(options, options.steps, options.rate, 1.0, 1) == documented.settings


def test_the_model_has_the_documented_shape_and_lies_in_the_model_quarter() -> None:
    documented, image = load(), Image(MODEL)
    header, shape = image.header, documented.shape
    sizes = (header.dim, header.hidden_dim, header.layers, header.heads, header.kv_heads, header.head_size, header.vocabulary)
    assert sizes == (shape.dim, shape.hidden_dim, shape.layers, shape.heads, shape.kv_heads, shape.head_size, shape.vocabulary)
    assert header.context == documented.context
    assert all(segment.address < STATE for segment in image.segments)
    assert CHECKSUM.read_text() == f"{hashlib.sha256(MODEL.read_bytes()).hexdigest()}  {MODEL.name}\n"


def test_the_documented_run(shared_data: Path, capsys: Capture) -> None:
    """The text makes the tokenizer and the training image; the first update, or by night all of them, end as documented."""
    documented, text = load(), shared_data / "tinyshakespeare.txt"
    assert tokenizer_of_text(text.read_text(), documented.shape.vocabulary) == Image(MODEL).tokenizer_bytes()
    result = told(capsys, "verify", "embedded", "--data", text, *(() if NIGHTLY else ("--updates", 1)))
    assert result["holds"]
    assert result["compared"]["model root"] == "0x" + documented.model_root.hex()
    assert result["compared"]["run hash after update 1"] == "0x" + documented.run_hashes[1].hex()
    assert ("SHA-256 of embedded.opml" in result["compared"]) == NIGHTLY


# A small model ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def small(tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> JobFolder:
    """A finished job, for which the model's files are in a folder of their own."""
    (tmp_path / "tiny.bin").write_bytes(checkpoint_bytes())
    (tmp_path / "tok300.bin").write_bytes(tokenizer_of_text(TEXT, 300))
    how = ("--recipe", "scratch", "--optimizer", "muon", "--eval", "--steps", 4, "--batch", 2, "--length", 16, "--checkpoint-every", 2)
    told(capsys, "train", tmp_path / "tiny.bin", "--data", text, "--out", tmp_path / "job", *how, "--threads", 1)
    for module in (build, documented_run, verification):
        for name in ("MODEL", "CHECKSUM", "DOCUMENT"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, tmp_path / getattr(module, name).name)
    monkeypatch.setattr(build, "FIRST_UPDATES", (1,))
    monkeypatch.setattr(verify_embedded, "load", lambda: load(tmp_path / DOCUMENT.name))
    return JobFolder(tmp_path / "job")


def test_a_job_becomes_the_model_and_is_verified(small: JobFolder, tmp_path: Path, text: Path, capsys: Capture) -> None:
    build.build(small)
    result = told(capsys, "verify", "embedded", "--data", text, "--threads", 1)
    assert result["holds"]
    hashes = [f"run hash after update {k}" for k in (1, 2, 4)]
    assert list(result["compared"]) == ["model root", *hashes, "state root", "SHA-256 of embedded.opml"]
    assert main(["verify", "embedded", "--data", str(text)]) == 0
    assert capsys.readouterr().out.count(" holds\n") == 6
    made, trained = Image(tmp_path / MODEL.name), Image(small / "trained.opml")
    job = json.loads((small / "job.json").read_text())
    left = {each["name"]: Trained(**each) for each in job["trained"]}
    assert len(left) == len(tensors_of_llama(made))
    for tensor in tensors_of_llama(made):  # bit for bit what the run has left
        assert made.read(tensor.address, tensor.size) == trained.read(left[tensor.name].address, tensor.size)
    runs = [told(capsys, "run", image.path, "--prompt", "First", "--max-tokens", 12, "--threads", 1) for image in (made, trained)]
    assert runs[0]["tokens"] == runs[1]["tokens"]


def wrong_byte(folder: Path) -> None:
    content = bytearray((folder / MODEL.name).read_bytes())
    content[-1] ^= 1
    (folder / MODEL.name).write_bytes(content)


def wrong(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        save(folder / DOCUMENT.name, evolve(load(folder / DOCUMENT.name), **changes))

    return change


@pytest.mark.parametrize(
    ("change", "what", "compared"),
    [
        (wrong_byte, "SHA-256 of embedded.opml", 6),
        (wrong(state_root=bytes(32)), "state root", 5),
        (wrong(run_hashes={1: bytes(32)}), "run hash after update 1", 2),
        (wrong(length=8), "model root", 1),
    ],
    ids=["model", "state root", "run hash", "recipe"],
)
def test_what_does_not_hold_is_named(
    change: Callable[[Path], None], what: str, compared: int, small: JobFolder, tmp_path: Path, text: Path, capsys: Capture
) -> None:
    build.build(small)
    change(tmp_path)
    result = told(capsys, "verify", "embedded", "--data", text, "--threads", 1, code=1)
    assert (result["holds"], result["mismatch"]["what"], len(result["compared"])) == (False, what, compared)
    assert main(["verify", "embedded", "--data", str(text), "--threads", "1"]) == 1
    assert f"{what} does NOT hold" in capsys.readouterr().out


def test_another_training_is_not_documented(small: JobFolder, text: Path, tmp_path: Path, capsys: Capture) -> None:
    """A tokenizer that the text does not make, and a recipe that begins with other weights."""
    how = ("--steps", 2, "--batch", 2, "--length", 16, "--threads", 1)
    told(capsys, "train", "embedded", "--data", text, "--recipe", "scratch", "--eval", "--out", tmp_path / "other", *how)
    with pytest.raises(JobError, match="did not learn from"):
        build.build(JobFolder(tmp_path / "other"))
    told(capsys, "train", "embedded", "--data", text, "--recipe", "lora", "--out", tmp_path / "lora", *how)
    with pytest.raises(JobError, match="is no finished training of a text from scratch"):
        build.build(JobFolder(tmp_path / "lora"))
    assert not (tmp_path / MODEL.name).exists()


def test_what_is_refused(refused: Callable[..., str], text: Path, tmp_path: Path) -> None:
    assert "with --data" in refused("verify", "embedded")
    assert "is another text" in refused("verify", "embedded", "--data", text)
    assert "No such file" in refused("verify", "embedded", "--data", tmp_path / "nothing")
    assert "--shard" in refused("verify", "embedded", "--data", text, "--shard", "1/2")
    assert "--workers" in refused("verify", "embedded", "--data", text, "--workers", 2)
    assert "on the processor" in refused("verify", "embedded", "--data", text, "--device", "vm")
    assert "for `opml verify embedded`" in refused("verify", tmp_path, "--data", text)
    assert "for `opml verify embedded`" in refused("verify", text, "--updates", 1)


def test_too_many_updates(refused: Callable[..., str], small: JobFolder, text: Path) -> None:
    build.build(small)
    assert "trained in 4" in refused("verify", "embedded", "--data", text, "--updates", 5)
