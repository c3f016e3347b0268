"""What a thief may change in a job that is finished, and what a validator then hears: `opml verify` says yes only to the job as it was."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from min_training_job import EVERY, UPDATES, finished

from opml_min.cli import main, verify_job
from opml_min.cli.demo.training_scene import scene_of_job
from opml_min.cli.trained_model import write_trained_model
from opml_min.machine import Memory
from opml_min.memory_map import STATE, Quarter
from opml_min.model.errors import ImageError
from opml_min.model.files.sealed import sha256_of
from opml_min.model.image.image import Image
from opml_min.model.resolve import resolve
from opml_min.training.image import TrainingImage
from opml_min.training.jobs.description import TrainingJob
from opml_min.training.jobs.evidence import rewrite_evidence
from opml_min.training.jobs.execution import open_job
from opml_min.training.jobs.folder import JobFolder
from opml_min.training.jobs.verification import Checked, Shard, check_shard, evidence_of, shards_of
from opml_min.training.operations import TrainingOpcode

Capture = pytest.CaptureFixture[str]
TEXT = "First Citizen: Before we proceed any further, hear me speak. All: Speak, speak. " * 12
FAST = ("--steps", "2", "--batch", "2", "--length", "16", "--checkpoint-every", "1", "--threads", "1")


def trained_job(folder: Path, recipe: str) -> Path:
    (folder / "text.txt").write_text(TEXT)
    how = ("--data", str(folder / "text.txt"), "--recipe", recipe, "--out", str(folder / "job"), *FAST)
    assert main(["train", "embedded", *how]) == 0
    return folder / "job"


@pytest.fixture(scope="module")
def last_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_job(tmp_path_factory.mktemp("last"), "last")


@pytest.fixture
def job(last_layer: Path, tmp_path: Path) -> Path:
    """A copy of a finished job, to be changed."""
    return Path(shutil.copytree(last_layer, tmp_path / "job"))


def verified(capsys: Capture, job: Path, *arguments: object, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*map(str, ("verify", job, "--threads", 1, *arguments)), "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def describe(job: Path, **fields: object) -> None:
    (job / "job.json").write_text(json.dumps({**json.loads((job / "job.json").read_bytes()), **fields}))


def tell_again(job: Path) -> None:
    """Write the trained model that the changed description leads to, so that nothing in the folder contradicts it."""
    with JobFolder(job).locked():
        opened = open_job(JobFolder(job), 1)
        write_trained_model(opened.folder, opened.job, opened.run)


def test_a_job_as_it_was(job: Path, capsys: Capture) -> None:
    found = verified(capsys, job)
    assert (found["holds"], found["fault"], found["not_compared"]) == (True, None, None)
    image = Image(job / "trained.opml")
    assert found["state_root"] == found["state_root_of_trained_model"] != found["first_state_root"]
    assert image.segments[-1].address == STATE


def test_weights_that_change_places(job: Path, capsys: Capture) -> None:
    """Keys for values: the state is what the run left, but the model reads it as something else."""
    trained = json.loads((job / "job.json").read_bytes())["trained"]
    keys, values = (next(one for one in trained if one["name"] == f"blk.3.attn_{name}.weight") for name in "kv")
    keys["address"], values["address"] = values["address"], keys["address"]
    describe(job, trained=trained)
    tell_again(job)
    found = verified(capsys, job, code=1)
    assert (found["holds"], found["mismatches"]) == (False, [])
    assert "does NOT say where the run leaves the trained tensors" in found["fault"]


def test_another_source(job: Path, tmp_path: Path, capsys: Capture) -> None:
    """The frozen weights of the trained model come from the source, so it must be the one that was trained on."""
    other = tmp_path / "other.opml"
    data = bytearray(resolve("embedded").image.path.read_bytes())
    data[-100] ^= 1
    other.write_bytes(data)
    describe(job, source=str(other), source_sha256=sha256_of(other).hex())
    tell_again(job)
    assert "is NOT what the recipe last with adam makes of" in verified(capsys, job, code=1)["fault"]
    assert main(["verify", str(job), "--threads", "1"]) == 1
    assert "is NOT what the recipe" in capsys.readouterr().out.splitlines()[-1]


def test_other_weights_to_begin_with(tmp_path: Path, capsys: Capture) -> None:
    """They lie in the state quarter, so the model root does not show them."""
    job = trained_job(tmp_path, "full")
    first = verified(capsys, job)["first_state_root"]
    state, path = TrainingImage(job / "training.opml").segments[-1], job / "training.opml"
    assert state.address == STATE
    data = bytearray(path.read_bytes())
    data[state.offset + 40] ^= 1
    path.write_bytes(data)
    for left in (job / "checkpoint-1", job / "checkpoint-2", job / "updates.jsonl"):
        left.unlink()
    assert main(["train", "--resume", str(job), "--threads", "1"]) == 0
    found = verified(capsys, job, code=1)
    assert "is NOT what the recipe full with adam makes of embedded" in found["fault"]
    assert found["first_state_root"] != first


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"recipe": "full"}, "is NOT what the recipe full"),
        ({"recipe": "magic"}, "does NOT fit the training image: 'magic'"),
        ({"optimizer": "muon"}, "with muon"),
        ({"kind": "pictures"}, "it has no PICTURES"),
        ({"trained": []}, "does NOT say where"),
    ],
)
def test_a_description_of_something_else(job: Path, capsys: Capture, fields: dict[str, object], fault: str) -> None:
    describe(job, **fields)
    assert fault in verified(capsys, job, code=1)["fault"]


def test_a_description_of_another_classifier(tmp_path: Path, capsys: Capture) -> None:
    job = finished(tmp_path / "job").path
    assert verified(capsys, job)["holds"] is True
    describe(job, optimizer="sgd")
    assert "with sgd makes of the data in it" in verified(capsys, job, code=1)["fault"]
    describe(job, kind="text")
    assert verified(capsys, job, code=2)["holds"] is None


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"source": "/nowhere/model.gguf"}, "there is no file /nowhere/model.gguf"),
        ({"source_sha256": "00" * 32}, "embedded is not the model that the job trained"),
        ({"tokenizer": "/nowhere/tokenizer.bin"}, "has its own tokenizer"),
    ],
)
def test_a_source_that_is_not_here_is_no_yes(job: Path, capsys: Capture, fields: dict[str, object], why: str) -> None:
    describe(job, **fields)
    found = verified(capsys, job, code=2)
    assert (found["holds"], found["fault"]) == (None, None)
    assert why in found["not_compared"]
    assert main(["verify", str(job), "--threads", "1"]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("the run hashes of updates 1 to 2 hold\n")
    assert err.count("\n") == 1
    assert why in err
    assert verified(capsys, job, "--shard", "1/2")["holds"] is True  # it does not reach the end


def test_what_a_stranger_writes_does_nothing_to_a_terminal(job: Path, capsys: Capture) -> None:
    capsys.readouterr()
    for fields, code in (({"source": "\x1b[2J\x07"}, 2), ({"source": "embedded", "recipe": "\x1b[2J\n"}, 1)):
        describe(job, **fields)
        assert main(["verify", str(job), "--threads", "1"]) == code
        out, err = capsys.readouterr()
        assert (out + err).replace("\n", "").isprintable()


def test_a_scene_of_a_job_is_told_in_printable_words(job: Path) -> None:
    describe(job, source="\x1b[2J")
    assert scene_of_job(job).description.startswith("last of ?[2J on ")


def test_a_demonstration_is_about_the_model_that_the_job_names(job: Path, capsys: Capture) -> None:
    describe(job, model_root="11" * 32)
    assert main(["demo", "--train", "--model", str(job)]) == 2
    assert "is not the image that the job names" in capsys.readouterr().err


def test_a_demonstration_is_of_a_training_with_a_loss(job: Path, capsys: Capture) -> None:
    """A stranger's tape may end before it."""
    image, path = TrainingImage(job / "training.opml"), job / "training.opml"
    first_loss = next(index for index, op in enumerate(image.ops) if op.opcode == TrainingOpcode.CROSS_ENTROPY)
    shorter = evolve(image.header, op_count=first_loss)
    path.write_bytes(path.read_bytes().replace(image.header.pack(), shorter.pack(), 1))
    memory = Memory()
    TrainingImage(path).load_into(memory)
    describe(job, model_root=memory.quarter_root(Quarter.MODEL).hex())
    assert main(["demo", "--train", "--model", str(job)]) == 2
    assert "its tape has no op of a loss" in capsys.readouterr().err


def test_the_source_may_have_another_name_here(job: Path, capsys: Capture) -> None:
    describe(job, source="/nowhere/model.gguf")
    assert verified(capsys, job, "--model", "embedded")["holds"] is True
    assert verified(capsys, job, "--model", "mnist", code=2)["holds"] is None


def test_verify_needs_no_space_on_the_disk(job: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    assert verified(capsys, job)["holds"] is True


def test_a_trained_model_of_any_size(job: Path, refused: Callable[..., str]) -> None:
    """The system stores none of the zeros, and a reader would have to."""
    path = job / "trained.opml"
    *_, state = Image(path).segments
    data, length = bytearray(path.read_bytes()), 1 << 37
    table = data.rindex(len(state.data).to_bytes(8, "little"), 0, 4096)
    data[table : table + 8] = length.to_bytes(8, "little")
    path.write_bytes(data)
    os.truncate(path, state.offset + length)
    assert "its state quarter is longer than what the run left" in refused("verify", job, "--threads", 1)


# While a job is recomputed ----------------------------------------------------------------------------------------------------------------


def test_what_is_compared_is_what_was_read_at_first(tmp_path: Path) -> None:
    """Another process may go on with the job, or another computer have another folder of that name."""
    folder = finished(tmp_path / "job")
    job, records = evidence_of(folder)
    rewrite_evidence(folder / "updates.jsonl", [])
    (folder / "job.json").write_bytes(b"{}")
    second = shards_of(folder, records)[1]
    assert check_shard(folder.path, job, second, 1).mismatch is None
    wrong = evolve(second, claimed=(*second.claimed[:-1], bytes(32)))
    mismatch = check_shard(folder.path, job, wrong, 1).mismatch
    assert mismatch is not None
    assert (mismatch.update, mismatch.claimed) == (2 * EVERY, bytes(32))
    assert len(records) == UPDATES


def test_shards_of_different_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]) -> None:
    """They have one model root, and begin with different weights."""

    def elsewhere(path: Path, job: TrainingJob, shard: Shard, threads: int, *watch: Callable[[int], None]) -> Checked:
        checked = check_shard(path, job, shard, threads)
        return checked if shard.first else evolve(checked, first_state_root=bytes(32))

    monkeypatch.setattr(verify_job, "check_shard", elsewhere)
    assert "had the same training.opml" in refused("verify", finished(tmp_path / "job").path, "--threads", 1)


def test_an_image_that_is_changed_meanwhile(tmp_path: Path) -> None:
    """Its root was computed before, so the run hashes could be those of other data."""
    folder = finished(tmp_path / "job")
    job, records = evidence_of(folder)
    times = (folder / "training.opml").stat()

    def change(update: int) -> None:
        with (folder / "training.opml").open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)
            file.seek(-1, os.SEEK_END)
            file.write(last)
        os.utime(folder / "training.opml", ns=(times.st_atime_ns, times.st_mtime_ns))

    with pytest.raises(ImageError, match="was changed while it was in use"):
        check_shard(folder.path, job, shards_of(folder, records)[0], 1, change)
