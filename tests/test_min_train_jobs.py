"""Training jobs: whatever ends them at whatever moment, they go on to the same run hashes; damaged folders are refused in one line."""

import json
import os
import random
import re
import signal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from min_training_job import EVERY, SIZES, UPDATES, finished, made, small_plan

from opml_min.model.errors import ModelError, WriteFailed
from opml_min.training.jobs import execution
from opml_min.training.jobs.checkpoint import load_checkpoint
from opml_min.training.jobs.description import load_job
from opml_min.training.jobs.errors import JobError
from opml_min.training.jobs.evidence import UpdateRecord, read_evidence
from opml_min.training.jobs.execution import open_job, start_of_run, train
from opml_min.training.jobs.folder import JobFolder
from opml_min.training.jobs.held_out import scored
from opml_min.training.jobs.loss import losses_of
from opml_min.training.jobs.making import held_out_examples, make_job
from opml_min.training.operations import TrainingOpcode
from opml_min.training.recipes.recipe import Optimiser


def evidence(folder: JobFolder) -> list[UpdateRecord]:
    return read_evidence(folder / "updates.jsonl", UPDATES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    """A job that nobody interrupted."""
    return finished(tmp_path_factory.mktemp("jobs") / "whole")


def test_a_job_leaves_the_run_hashes_of_its_run(whole: JobFolder) -> None:
    records, job = evidence(whole), load_job(whole)
    assert [record.update for record in records] == list(range(1, UPDATES + 1))
    run = start_of_run(whole, job, threads=2)
    for record in records:
        run.run_to(record.update * len(run.ops))
        assert run.run_hash() == record.run_hash
    assert run.stage == run.stage_count
    assert whole.checkpoints() == list(range(EVERY, UPDATES + 1, EVERY))


def test_the_loss_is_that_of_the_probabilities(whole: JobFolder) -> None:
    """CROSS_ENTROPY's own probability of each target, in Q30, says the same."""
    run = start_of_run(whole, load_job(whole), threads=1)
    ops = [(i, op) for i, op in enumerate(run.ops) if op.opcode == TrainingOpcode.CROSS_ENTROPY]
    ((index, op),) = ops
    run.run_to(index + 1)
    of_target = run.memory.view(op["of_target"], op["rows"], np.int32).astype(np.float64) / 2**30
    losses, right = losses_of(run.memory, op)
    assert np.allclose(losses, -np.log1p(of_target), atol=1e-5)
    logits = run.memory.view(op["logits"], op["rows"] * SIZES[-1], np.int32).reshape(-1, SIZES[-1])
    assert right.tolist() == (logits.argmax(1) == run.memory.view(op["targets"], op["rows"], np.uint32)).tolist()
    assert evidence(whole)[0].loss == pytest.approx(losses.mean(), abs=1e-6)


def test_what_is_held_out_is_scored_better_afterwards(whole: JobFolder) -> None:
    job = load_job(whole)
    assert job.before is not None
    assert job.before.examples == 10
    run = start_of_run(whole, job, threads=1)
    load_checkpoint(whole.checkpoint(UPDATES), run, UPDATES)
    after = scored(run, held_out_examples(whole, run), threads=1)
    assert after.loss < job.before.loss - 0.1
    assert evidence(whole)[-1].loss < evidence(whole)[0].loss


@pytest.mark.parametrize("optimiser", list(Optimiser))
def test_a_checkpoint_holds_all_that_lives_between_updates(tmp_path: Path, optimiser: Optimiser) -> None:
    folder = finished(tmp_path / "job", small_plan(optimiser=optimiser))
    job = load_job(folder)
    last, resumed = (start_of_run(folder, job, threads=1) for _ in range(2))
    last.run_all()
    for updates in folder.checkpoints():
        load_checkpoint(folder.checkpoint(updates), resumed, updates)
        assert resumed.run_hash() == evidence(folder)[updates - 1].run_hash
        resumed.run_all()
        assert resumed.run_hash() == last.run_hash()
        resumed = start_of_run(folder, job, threads=1)


# Ends at any moment ----------------------------------------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


@pytest.mark.parametrize("update", [1, EVERY, EVERY + 1, UPDATES - 1])
def test_a_job_that_is_interrupted_goes_on(tmp_path: Path, whole: JobFolder, update: int) -> None:
    folder = made(tmp_path / "job")

    def stop(record: UpdateRecord) -> None:
        if record.update == update:
            raise Stopped

    with pytest.raises(Stopped), folder.locked():
        train(open_job(folder, 1), stop)
    with folder.locked():
        opened = open_job(folder, 1)
        assert opened.updates_done == update // EVERY * EVERY
        train(opened)
    assert evidence(folder) == evidence(whole)


def until_killed(folder: JobFolder) -> None:
    with folder.locked():
        train(open_job(folder, 1))


def test_a_job_that_is_killed_goes_on_and_loses_only_what_is_after_its_last_checkpoint(tmp_path: Path, whole: JobFolder) -> None:
    """The process is killed at random moments, also while it makes the job and while it writes.

    It gets more time after each kill, because a process that was forked from a large one is slow at first, by how much nobody knows."""
    rng, kept, kills = random.Random(1), 0, 0
    begin = time.perf_counter()
    until_killed(made(tmp_path / "measured"))
    seconds = time.perf_counter() - begin
    folder = JobFolder(tmp_path / "job")
    for attempt in range(100):
        child = os.fork()
        if not child:
            try:
                if not (folder / "job.json").exists():
                    folder.create()
                    with folder.locked():
                        make_job(folder, small_plan(), threads=1)
                until_killed(folder)
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0, seconds / 30 * 1.1**attempt))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        kills += os.WIFSIGNALED(status)
        if (folder / "job.json").exists():
            found = folder.checkpoints()
            assert max(found, default=0) >= kept
            kept = max(found, default=0)
            assert len(evidence(folder)) >= kept
        if kept == UPDATES:
            break
    assert kills >= 3
    until_killed(folder)
    assert evidence(folder) == evidence(whole)
    assert not [path.name for path in folder.path.iterdir() if path.name.startswith(".")]


def full(*arguments: Any, **named: Any) -> Any:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("when", [0, 1, 2])
def test_a_full_disk_is_one_line_and_the_job_goes_on_when_there_is_space(
    tmp_path: Path, whole: JobFolder, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str], when: int
) -> None:
    folder, real, calls = made(tmp_path / "job"), os.fsync, []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        full() if len(calls) > when else real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        assert "No space left" in refused("train", "--resume", folder.path, "--threads", 1)
    until_killed(folder)
    assert evidence(folder) == evidence(whole)


def test_two_processes_do_not_write_one_job(tmp_path: Path) -> None:
    folder = made(tmp_path / "job")
    with folder.locked(), pytest.raises(JobError, match="in use by another process"), JobFolder(folder.path).locked():
        pass
    with folder.locked():
        pass


def test_two_processes_do_not_make_one_job(tmp_path: Path) -> None:
    """The second one neither deletes what the first one is writing, nor replaces what it has made."""
    folder = JobFolder(tmp_path / "job")
    folder.create()
    with folder.locked():
        (folder / ".training.opml.x").write_bytes(b"half")
        JobFolder(folder.path).create()
        assert (folder / ".training.opml.x").exists()
        make_job(folder, small_plan(seed=1), threads=1)
        assert not (folder / ".training.opml.x").exists()
    with folder.locked(), pytest.raises(JobError, match="is a job already"):
        make_job(folder, small_plan(seed=2), threads=1)
    assert load_job(folder).settings.seed == 1


def test_evidence_is_on_the_disk_before_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path / "job")
    real, seen = execution.save_checkpoint, []

    def save(path: Path, run: Any) -> None:
        seen.append(len(evidence(folder)))
        real(path, run)

    monkeypatch.setattr(execution, "save_checkpoint", save)
    until_killed(folder)
    assert seen == list(range(EVERY, UPDATES + 1, EVERY))


# Folders that are no jobs, or damaged ----------------------------------------------------------------------------------------------------


def changed(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes())) and None


def with_field(**fields: Any) -> Callable[[Path], None]:
    return changed("job.json", lambda data: json.dumps({**json.loads(data), **fields}).encode())


def line(number: int, change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        lines = data.split(b"\n")
        lines[number] = change(lines[number])
        return b"\n".join(lines)

    return edit


def instead(name: str, make: Callable[[Path], None]) -> Callable[[Path], None]:
    """Put something else into the place of a file."""

    def change(folder: Path) -> None:
        (folder / name).rename(folder.parent / "moved")
        make(folder / name)

    return change


def to_moved(path: Path) -> None:
    path.symlink_to(path.parent.parent / "moved")


def endless(path: Path) -> None:
    """Make a checkpoint say that it has 2^30 pages, as many as its file then has: the system stores none of the zeros."""
    data = path.read_bytes()
    path.write_bytes(data[:16] + (1 << 30).to_bytes(8, "little"))
    os.truncate(path, 24 + (1 << 30) * 1032)


LAST = f"checkpoint-{UPDATES}"
POISONED: dict[str, tuple[Callable[[Path], None], str]] = {
    "no description": (lambda folder: (folder / "job.json").unlink(), "no training job"),
    "not JSON": (changed("job.json", lambda data: data[:-9]), "not JSON"),
    "deep": (changed("job.json", lambda data: b"[" * 100_000), "nested"),
    "long": (changed("job.json", lambda data: b" " * (1 << 21)), "bytes; at most"),
    "format": (with_field(format="opml run 1"), "format"),
    "source": (with_field(source=7), "damaged"),
    "zero byte": (with_field(source="a\0b"), "damaged"),
    "surrogate": (with_field(data="\ud800"), "JSON|damaged"),
    "kind": (with_field(kind="poems"), "damaged"),
    "root": (with_field(model_root="00" * 32), "not the image"),
    "short root": (with_field(model_root="00"), "damaged"),
    "request": (with_field(request="00" * 64), "damaged"),
    "long request": (with_field(request="00" * 20_000), "damaged"),
    "endless updates": (changed("job.json", lambda data: re.sub(rb'("request": ".{16}).{8}', rb"\1ffffffff", data)), "at most 2\\^24"),
    "control characters": (changed("job.json", lambda data: data.replace(b'"0.weight"', b'"\\u001b[2J"')), "damaged"),
    "long text": (with_field(source="x" * 40_000), "damaged"),
    "every": (with_field(checkpoint_every=0), "damaged"),
    "every text": (with_field(checkpoint_every="1"), "damaged"),
    "before": (with_field(before={"loss": 1}), "damaged"),
    "before list": (with_field(before=[1]), "damaged"),
    "before endless": (changed("job.json", lambda data: data.replace(b'"examples": 10', b'"examples": 1e999')), "damaged"),
    "before huge": (changed("job.json", lambda data: re.sub(rb'"loss": [0-9.]+', b'"loss": 1e308', data)), "damaged"),
    "before infinite": (changed("job.json", lambda data: re.sub(rb'"loss": [0-9.]+', b'"loss": -1e999', data)), "damaged"),
    "description pipe": (instead("job.json", os.mkfifo), "not a plain file"),
    "image link": (instead("training.opml", to_moved), "not a plain file"),
    "evidence pipe": (instead("updates.jsonl", os.mkfifo), "not a plain file"),
    "evidence link": (instead("updates.jsonl", to_moved), "not a plain file"),
    "checkpoint pipe": (instead(LAST, os.mkfifo), "not a plain file"),
    "plot link": (lambda folder: (folder / "loss.svg").symlink_to(folder.parent / "letter"), "not a plain file"),
    "no image": (lambda folder: (folder / "training.opml").unlink(), "cannot read"),
    "empty image": (changed("training.opml", lambda data: b""), "not an image"),
    "cut image": (changed("training.opml", lambda data: data[:-1]), "truncated"),
    "image bit": (changed("training.opml", lambda data: data[:-1] + bytes([data[-1] ^ 1])), "not the image"),
    "huge image": (lambda folder: os.truncate(folder / "training.opml", 1 << 40), "after its last segment"),
    "evidence order": (changed("updates.jsonl", line(1, lambda one: one.replace(b'"update": 2', b'"update": 3'))), "line 2"),
    "evidence hash": (changed("updates.jsonl", line(2, lambda one: one.replace(b'"run_hash": "', b'"run_hash": "g'))), "line 3"),
    "evidence loss": (changed("updates.jsonl", line(0, lambda one: one.split(b', "loss"')[0] + b', "loss": NaN}')), "line 1"),
    "evidence huge loss": (changed("updates.jsonl", line(0, lambda one: one.split(b', "loss"')[0] + b', "loss": 1e308}')), "line 1"),
    "evidence list": (changed("updates.jsonl", line(0, lambda one: b"[]")), "line 1"),
    "evidence twice": (changed("updates.jsonl", lambda data: data + data), f"line {UPDATES + 1} is not that"),
    "more evidence": (changed("updates.jsonl", lambda data: data + UpdateRecord(UPDATES + 1, bytes(32), 1.0).line()), "more than"),
    "endless evidence": (lambda folder: os.truncate(folder / "updates.jsonl", 1 << 40), f"line {UPDATES + 1} is not that"),
    "empty checkpoint": (changed(LAST, lambda data: b""), "no checkpoint"),
    "checkpoint magic": (changed(LAST, lambda data: b"OPMLIMG1" + data[8:]), "no checkpoint"),
    "checkpoint update": (changed(LAST, lambda data: data[:8] + bytes(8) + data[16:]), "no checkpoint"),
    "checkpoint count": (changed(LAST, lambda data: data[:16] + b"\xff" * 8 + data[24:]), "no checkpoint"),
    "cut checkpoint": (changed(LAST, lambda data: data[:-1]), "no checkpoint"),
    "checkpoint page": (changed(LAST, lambda data: data[:24] + bytes(8) + data[32:]), "pages that the job does not write"),
    "checkpoint page far away": (changed(LAST, lambda data: data[:24] + b"\xff" * 8 + data[32:]), "pages that the job does not write"),
    "checkpoint pages twice": (changed(LAST, lambda data: data[:24] + data[32:40] + data[32:]), "pages that the job does not write"),
    "endless checkpoint": (lambda folder: endless(folder / LAST), "pages that the job does not write"),
    "checkpoint bit": (changed(LAST, lambda data: data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:]), "does not have the run hash"),
    "checkpoint folder": (lambda folder: (folder / LAST).rename(folder / "old") and (folder / LAST).mkdir(), "not a plain file"),
}


@pytest.mark.parametrize("name", POISONED)
def test_a_poisoned_folder_is_refused_in_one_line(tmp_path: Path, name: str, refused: Callable[..., str]) -> None:
    folder = finished(tmp_path / "job")
    poison, message = POISONED[name]
    poison(folder.path)
    with pytest.raises(ModelError, match=message) as found, folder.locked():
        open_job(folder, threads=1)
    assert "\n" not in str(found.value)
    assert refused("train", "--resume", folder.path, "--threads", 1).startswith("opml: ")


def held_out(**arrays: np.ndarray) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with np.load(folder / "held_out") as stored:
            contents = {**stored, **arrays}
        with (folder / "held_out").open("wb") as file:
            np.savez(file, **contents)

    return change


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with zipfile.ZipFile(folder / "held_out", "w", method) as file:
            for name, content in members:
                file.writestr(f"{name}.npy", content)

    return change


def npy(header: str, content: bytes = b"") -> bytes:
    """A file of numpy's with this header."""
    return b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header.encode() + b"\n" + content


def single_array(folder: Path) -> None:
    with (folder / "held_out").open("wb") as file:
        np.save(file, np.zeros(3, np.uint8))


def in_both_headers(local: int, central: int, value: int) -> Callable[[bytes], bytes]:
    """Change the byte at these offsets of the first member's two headers in a zip archive."""

    def edit(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[data.index(b"PK\3\4") + local] = changed[data.index(b"PK\1\2") + central] = value
        return bytes(changed)

    return edit


UNFINISHABLE: dict[str, Callable[[Path], None]] = {
    "kind": with_field(kind="text"),
    "no tensors": with_field(trained=[]),
    "huge tensors": changed("job.json", lambda data: re.sub(rb'"rows": [0-9]+', b'"rows": %d' % (1 << 39), data)),
    "tensors elsewhere": changed("job.json", lambda data: re.sub(rb'"address": [0-9]+', b'"address": 4096', data)),
    "nothing held out": held_out(inputs=np.zeros((0, SIZES[0]), np.uint8), targets=np.zeros((0, 1), np.uint8)),
    "short inputs": held_out(inputs=np.zeros((10, 3), np.uint8)),
    "fewer targets": held_out(targets=np.zeros((9, 1), np.uint8)),
    "numbers": held_out(targets=np.array(7)),
    "floats": held_out(inputs=np.zeros((10, SIZES[0]))),
    "texts": held_out(inputs=np.full((10, SIZES[0]), "a")),
    "no archive": single_array,
    "encrypted": changed("held_out", in_both_headers(6, 8, 1)),
    "unknown compression": changed("held_out", in_both_headers(8, 10, 97)),
    "members of another kind": archive(("inputs", b"hello"), ("targets", b"hello")),
    "headers that do not end": archive(("inputs", npy("{'descr': '<u4', ((((")), ("targets", npy("{'descr': '<u4', (((("))),
    "unfolds to anything": archive(("inputs", bytes(1 << 29)), ("targets", b""), method=zipfile.ZIP_DEFLATED),
    "cut": changed("held_out", lambda data: data[: len(data) // 2]),
}


@pytest.mark.parametrize("name", UNFINISHABLE)
def test_what_comes_after_the_last_update_is_refused_in_one_line(tmp_path: Path, name: str, refused: Callable[..., str]) -> None:
    folder = finished(tmp_path / "job")
    UNFINISHABLE[name](folder.path)
    assert "is damaged" in refused("train", "--resume", folder.path, "--threads", 1)


@pytest.mark.parametrize("left", [UPDATES - 1, UPDATES - EVERY])
def test_a_line_that_was_cut_off_does_not_count(tmp_path: Path, whole: JobFolder, left: int) -> None:
    """Also where all lines before it have their checkpoint."""
    folder = finished(tmp_path / "job")
    folder.checkpoint(UPDATES).unlink()
    changed("updates.jsonl", lambda data: b"\n".join([*data.split(b"\n")[:left], data.split(b"\n")[left][:-30]]))(folder.path)
    assert len(evidence(folder)) == left
    until_killed(folder)
    assert evidence(folder) == evidence(whole)


def test_a_folder_with_other_things_does_not_become_a_job(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("Dear reader")
    with pytest.raises(JobError, match="not empty"):
        JobFolder(tmp_path / "letters").create()
    with pytest.raises(WriteFailed, match="cannot write"):
        JobFolder(tmp_path / "no" / "such").create()
    (tmp_path / "file").write_text("x")
    with pytest.raises(WriteFailed, match="cannot write"):
        JobFolder(tmp_path / "file").create()
    folder = made(tmp_path / "job")
    with pytest.raises(JobError, match="--resume"):
        folder.create()
