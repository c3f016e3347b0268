"""`opml train` and `opml verify` of jobs, as people and scripts use them: a text, pictures, refusals in one line, shards, wrong hashes."""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from min_training_job import EVERY, UPDATES, finished, made

from opml_min.cli import INTERRUPTED, main
from opml_min.cli.train_progress import TrainingProgress, duration
from opml_min.cli.train_settings import settings_of
from opml_min.memory_map import Quarter
from opml_min.model.image.image import Image
from opml_min.model.image.request import TextRequest
from opml_min.model.resolve import resolve
from opml_min.model.run import Run
from opml_min.training.jobs import execution, workers
from opml_min.training.jobs.evidence import UpdateRecord, rewrite_evidence
from opml_min.training.jobs.execution import open_job
from opml_min.training.jobs.folder import JobFolder
from opml_min.training.jobs.plot import EIGHTHS, characters, svg
from opml_min.training.jobs.text_data import packed, split_off, windows
from opml_min.training.jobs.verification import Shard, evidence_of, part_of, shards_of

Capture = pytest.CaptureFixture[str]
TEXT = "First Citizen: Before we proceed any further, hear me speak. All: Speak, speak. " * 12
FAST = ("--steps", "4", "--batch", "2", "--length", "16", "--checkpoint-every", "2", "--threads", "1")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def told(capsys: Capture, *arguments: object, code: int = 0) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


# Texts -----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["lora", "scratch"])
def test_a_text(tmp_path: Path, text: Path, capsys: Capture, recipe: str) -> None:
    job = tmp_path / "job"
    result = told(capsys, "train", "embedded", "--data", text, "--recipe", recipe, "--eval", "--out", job, *FAST)
    assert result["updates"] == 4
    assert result["held_out_after"]["examples"] == result["held_out_before"]["examples"] > 0
    assert result["held_out_after"]["loss"] < result["held_out_before"]["loss"]
    checked = told(capsys, "verify", job, "--threads", 1)
    assert checked["holds"] is True
    assert (checked["updates"], checked["shards"]) == ([1, 4], 2)
    assert [checked[name] for name in ("run_hash", "model_root", "state_root")] == [
        result[name] for name in ("run_hash", "model_root", "state_root")
    ]
    assert (job / "loss.svg").read_text().startswith("<svg ")
    again = told(capsys, "train", "--resume", job)
    assert [again[name] for name in ("run_hash", "held_out_after")] == [result[name] for name in ("run_hash", "held_out_after")]
    answer = told(capsys, "run", result["trained_model"], "--prompt", "First", "--max-tokens", 4, "--threads", 1)
    assert len(answer["tokens"]) == 4


def test_a_trained_model_begins_with_the_state_root_of_its_job(tmp_path: Path, text: Path, capsys: Capture) -> None:
    job = tmp_path / "job"
    result = told(capsys, "train", "embedded", "--data", text, "--recipe", "last", "--out", job, *FAST)
    run = Run(Image(Path(result["trained_model"])), TextRequest((1,), 1).pack(), threads=1)
    assert "0x" + run.memory.quarter_root(Quarter.STATE).hex() == result["state_root"]
    right = told(capsys, "verify", job, "--threads", 1)
    assert (right["state_root_of_trained_model"], right["not_compared"]) == (result["state_root"], None)
    whole = (job / "trained.opml").read_bytes()
    program, model, *_ = Image(job / "trained.opml").segments
    for offset in (program.offset + 100, model.offset + 3000, model.offset + len(model.data) - 1):
        data = bytearray(whole)
        data[offset] ^= 1  # in the program, the tape and a frozen tensor
        (job / "trained.opml").write_bytes(data)
        assert not told(capsys, "verify", job, "--threads", 1, code=1)["holds"]
    assert main(["verify", str(job), "--threads", "1"]) == 1
    assert f"{job / 'trained.opml'} does NOT compute what was trained" in capsys.readouterr().out
    data = bytearray(whole)
    data[-1] ^= 1
    (job / "trained.opml").write_bytes(data)
    wrong = told(capsys, "verify", job, "--threads", 1, code=1)
    assert (wrong["holds"], wrong["mismatches"]) == (False, [])
    assert main(["verify", str(job), "--threads", "1"]) == 1
    assert f"{job / 'trained.opml'} does NOT begin with what the run left" in capsys.readouterr().out


def test_a_source_that_has_changed_is_noticed(tmp_path: Path, text: Path, capsys: Capture, refused: Callable[..., str]) -> None:
    """What was not trained comes from the source, so another source would make another model."""
    source, job = tmp_path / "source.opml", tmp_path / "job"
    source.write_bytes(resolve("embedded").image.path.read_bytes())
    told(capsys, "train", source, "--data", text, "--out", job, *FAST)
    data = bytearray(source.read_bytes())
    data[-100] ^= 1
    source.write_bytes(data)
    assert f"{source} is not the model that the job trained" in refused("train", "--resume", job, "--threads", 1)


@pytest.mark.parametrize("field", ["context", "dim", "layers", "heads", "head_size"])
def test_a_source_that_is_not_as_its_header_says(tmp_path: Path, text: Path, refused: Callable[..., str], field: str) -> None:
    """Training from scratch takes only the shape of a source, so nothing else would notice."""
    image = resolve("embedded").image
    head = image.header.pack()
    for value in (0, (1 << 64) - 1) if field == "context" else (0, 3, (1 << 64) - 1):
        changed = evolve(image.header, **{field: value}).pack()
        (tmp_path / "source.opml").write_bytes(image.path.read_bytes().replace(head, changed))
        source = ("train", tmp_path / "source.opml", "--recipe", "scratch", "--data", text, "--out", tmp_path / "job")
        refused(*source, "--length", 8)
        assert not (tmp_path / "job").exists()


def test_what_people_read(tmp_path: Path, text: Path, capsys: Capture) -> None:
    assert main(["train", "embedded", "--data", str(text), "--eval", str(text), "--out", str(tmp_path / "job"), *FAST]) == 0
    out, err = capsys.readouterr()
    assert "nats per token: " in out
    tokenizer = resolve("embedded").tokenizer
    assert tokenizer is not None
    held_out = windows(tokenizer.prompt(TEXT), 16)
    rest = held_out.targets
    found = re.search(rf"held out, {rest.size} tokens: (\S+) before, (\S+) after; .*\nnats per character .*: (\S+)\n", out)
    assert found is not None
    before, after, per_character = map(float, found.groups())
    assert after < before
    held_out_text = tokenizer.decode(rest.reshape(-1).tolist(), int(held_out.inputs[0, 0]))
    assert held_out_text in TEXT
    assert per_character == pytest.approx(after * rest.size / len(held_out_text), abs=1e-3)
    assert err == 2 * f"opml: scoring {rest.size} held-out tokens\n"
    assert f"opml run {tmp_path / 'job' / 'trained.opml'}" in out
    assert out.splitlines()[-1].startswith("state root 0x")
    assert main(["verify", str(tmp_path / "job"), "--threads", "1"]) == 0
    assert capsys.readouterr().out.startswith("the run hashes of updates 1 to 4 hold\n")


@pytest.mark.parametrize(("at", "done"), [(1, "1 update"), (3, "3 updates")])
def test_ctrl_c_is_one_line_that_says_how_to_go_on(
    tmp_path: Path, text: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, at: int, done: str
) -> None:
    real, job = TrainingProgress.show, tmp_path / "my job"  # the command can be pasted

    def interrupted(progress: TrainingProgress, record: UpdateRecord) -> None:
        real(progress, record)
        if record.update == at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "show", interrupted)
        assert main(["train", "embedded", "--data", str(text), "--out", str(job), *FAST]) == INTERRUPTED
    how = f"`opml train --resume '{job}'` goes on after update {at // 2 * 2}"
    assert capsys.readouterr() == ("", f"opml: interrupted after {done}; {how}\n")
    assert told(capsys, "train", "--resume", job, "--threads", 1)["updates"] == 4


def test_ctrl_c_before_a_checkpoint_is_whole(tmp_path: Path, text: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The update is done, and the job still goes on before it."""

    def interrupted(path: Path, run: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(execution, "save_checkpoint", interrupted)
    assert main(["train", "embedded", "--data", str(text), "--out", str(tmp_path / "job"), *FAST]) == INTERRUPTED
    assert "interrupted after 2 updates" in (line := capsys.readouterr().err)
    assert line.endswith("goes on after update 0\n")


def binary(folder: Path) -> Path:
    (folder / "binary").write_bytes(b"text\xff")
    return folder / "binary"


def zero(folder: Path) -> Path:
    (folder / "zero").write_bytes(b"a\0b")
    return folder / "zero"


def empty(folder: Path) -> Path:
    (folder / "empty").write_bytes(b"")
    return folder / "empty"


def short(folder: Path) -> Path:
    (folder / "short").write_text("A few words only.")
    return folder / "short"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (binary, "is no text: byte 4 is not UTF-8"),
        (zero, "is no text: byte 1 is zero"),
        (empty, "is empty"),
        (short, "is too short"),
        (lambda folder: folder / "absent", "cannot read"),
        (lambda folder: folder, "cannot read"),
    ],
)
def test_a_text_that_is_none(tmp_path: Path, text: Path, refused: Callable[..., str], make: Callable[[Path], Path], message: str) -> None:
    for number, files in enumerate([("--data", make(tmp_path)), ("--data", text, "--eval", make(tmp_path))]):
        line = refused("train", "embedded", "--out", tmp_path / f"job{number}", "--length", "64", *files)
        assert message in line
        assert not (tmp_path / f"job{number}").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--length", "300"), "beyond the context"),
        (("--rank", "4", "--recipe", "full"), "--rank is for lora"),
        (("--hidden", "4"), "--hidden is for a classifier"),
        (("--rate", "0.2"), "learning rate"),
        (("--rate", "nan"), "learning rate"),
        (("--rate", "1e308"), "learning rate"),
        (("--rate", "-1"), "learning rate"),
        (("--rate", "0.01", "--last-rate", "0.02"), "--last-rate"),
        (("--last-rate", "nan"), "--last-rate"),
        (("--last-rate", "-1"), "--last-rate"),
        (("--warmup", "9", "--steps", "8"), "--warmup"),
        (("--warmup", "-1"), "--warmup"),
        (("--decay", "2"), "--decay"),
        (("--steps", "9999999"), "at most"),
        (("--batch", "8", "--batches", "3"), "equal batches"),
        (("--batch", "1000000000"), "steps that a stage has"),
        (("--batch", "4294967295", "--batches", "4294967295"), "batches are impossible"),
        (("--recipe", "magic"), "invalid choice"),
    ],
)
def test_options_that_cannot_be_meant(
    tmp_path: Path, text: Path, capsys: Capture, arguments: tuple[str, ...], message: str
) -> None:
    try:
        code = main(["train", "embedded", "--data", str(text), "--out", str(tmp_path / "job"), "--length", "16", *arguments])
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (tmp_path / "job").exists()


def test_what_a_new_job_needs(tmp_path: Path, text: Path, refused: Callable[..., str]) -> None:
    assert "needs SOURCE" in refused("train")
    assert "needs --data" in refused("train", "embedded")
    assert "needs --out" in refused("train", "embedded", "--data", text)
    assert "leave out --steps" in refused("train", "--resume", tmp_path, "--steps", 3)
    assert "leave out SOURCE" in refused("train", "embedded", "--resume", tmp_path)
    assert "is not empty" in refused("train", "embedded", "--data", text, "--out", tmp_path)
    assert "cannot read" in refused("train", "--resume", tmp_path / "no")
    (tmp_path / "empty").mkdir()
    assert "it has no job.json" in refused("train", "--resume", tmp_path / "empty")


# Pictures --------------------------------------------------------------------------------------------------------------------------------


def write_idx(path: Path, values: np.ndarray) -> None:
    sizes = b"".join(n.to_bytes(4, "big") for n in values.shape)
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes())


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Pictures of 28 × 28 in which a bright row says the class."""
    folder, rng = tmp_path / "pictures", np.random.default_rng(1)
    folder.mkdir()
    labels = rng.integers(0, 10, 100)
    values = rng.integers(0, 60, (100, 28, 28))
    values[np.arange(100), labels] += 150
    write_idx(folder / "t10k-images-idx3-ubyte", values)
    write_idx(folder / "t10k-labels-idx1-ubyte", labels)
    return folder


def test_pictures(tmp_path: Path, pictures: Path, capsys: Capture) -> None:
    how = ("--steps", 40, "--batch", 16, "--hidden", 16, "--checkpoint-every", 20, "--threads", 1)
    result = told(capsys, "train", "mnist", "--data", pictures, "--out", tmp_path / "job", *how)
    assert result["held_out_after"]["examples"] == 20
    assert result["held_out_after"]["accuracy"] > 0.8 > 0.5 > result["held_out_before"]["accuracy"]
    assert told(capsys, "verify", tmp_path / "job", "--threads", 1)["holds"] is True
    files = (pictures / "t10k-images-idx3-ubyte", pictures / "t10k-labels-idx1-ubyte")
    evaluated = told(capsys, "eval", result["trained_model"], *files, "--last", 20)
    assert abs(evaluated["accuracy"] - result["held_out_after"]["accuracy"]) <= 0.1


def test_scoring_has_a_bar_on_a_terminal(tmp_path: Path, pictures: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first update and after the last one."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    how = ("--steps", "1", "--batch", "4", "--hidden", "2", "--threads", "1")
    assert main(["train", "mnist", "--data", str(pictures), "--out", str(tmp_path / "job"), *how]) == 0
    err = capsys.readouterr().err
    assert [err.count(f" {done}/20") for done in (4, 8, 12, 16)] == [2, 2, 2, 2]
    assert "scoring" not in err


def test_files_of_training_are_learned_and_those_of_the_test_held_out(tmp_path: Path, pictures: Path, capsys: Capture) -> None:
    for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
        (pictures / f"train-{kind}").write_bytes((pictures / f"t10k-{kind}").read_bytes())
    result = told(capsys, "train", "mnist", "--data", pictures, "--out", tmp_path / "job", "--steps", 1, "--hidden", 2, "--threads", 1)
    assert result["held_out_after"]["examples"] == 100


def test_pictures_that_cannot_be_used(tmp_path: Path, pictures: Path, refused: Callable[..., str]) -> None:
    def line(*arguments: object, data: Path = pictures) -> str:
        return refused("train", "mnist", "--data", data, "--out", tmp_path / "job", *arguments)

    assert "dataset-fashion-mnist" in line(data=tmp_path / "nowhere")
    assert "--recipe is for language models" in line("--recipe", "lora")
    assert "--eval is for language models" in line("--eval")
    (pictures / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x02\x01\x02")
    assert "do not fit" in line()
    write_idx(pictures / "t10k-labels-idx1-ubyte", np.full(100, 10))
    assert "a label is not from 0 to 9" in line()
    (pictures / "t10k-labels-idx1-ubyte").write_bytes(b"nothing")
    assert "is not an IDX file" in line()


# Verification ----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    return finished(tmp_path / "job")


def with_wrong_hash(folder: JobFolder, update: int) -> None:
    opened = open_job(folder, 1)
    records = opened.records
    wrong = bytes([records[update - 1].run_hash[0] ^ 1]) + records[update - 1].run_hash[1:]
    records[update - 1] = UpdateRecord(update, wrong, 1.0)
    rewrite_evidence(folder / "updates.jsonl", records)


@pytest.mark.parametrize(("update", "workers"), [(1, 1), (5, 1), (UPDATES, 1), (5, 2)])
def test_a_wrong_hash_is_named(job: JobFolder, capsys: Capture, update: int, workers: int) -> None:
    with_wrong_hash(job, update)
    result = told(capsys, "verify", job.path, "--workers", workers, "--threads", 1, code=1)
    assert result["holds"] is False
    assert [mismatch["update"] for mismatch in result["mismatches"]] == [update]
    if workers == 1:
        assert main(["verify", str(job.path), "--threads", "1"]) == 1
        assert capsys.readouterr().out.startswith(f"the run hash of update {update} does NOT hold: claimed 0x")


def test_a_checkpoint_that_does_not_fit_its_hash_is_named(job: JobFolder, capsys: Capture) -> None:
    path = job.checkpoint(EVERY)
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    assert main(["verify", str(job.path), "--threads", "1"]) == 1
    out, _ = capsys.readouterr()
    assert out.startswith(f"the checkpoint after update {EVERY} does NOT have the claimed run hash: ")
    assert out.count("\n") == 1
    result = told(capsys, "verify", job.path, "--shard", "1/4", "--threads", 1)
    assert result["holds"] is True
    assert result["state_root"] is None


def test_each_shard_finds_its_own_wrong_update(job: JobFolder, capsys: Capture) -> None:
    with_wrong_hash(job, 5)
    held = [told(capsys, "verify", job.path, "--shard", f"{i}/4", "--threads", 1, code=int(i == 2))["holds"] for i in (1, 2, 3, 4)]
    assert held == [True, False, True, True]


def ends(shards: list[Shard]) -> list[tuple[int, int]]:
    return [(shard.first, shard.end) for shard in shards]


def test_shards_tile_the_updates(job: JobFolder) -> None:
    records = evidence_of(job)[1]
    shards = shards_of(job, records)
    assert ends(shards) == [(i, i + EVERY) for i in range(0, UPDATES, EVERY)]
    for parts in range(1, 6):
        assert [shard for i in range(1, parts + 1) for shard in part_of(shards, i, parts)] == shards
    assert ends(shards_of(job, records[: EVERY + 1])) == [(0, EVERY), (EVERY, EVERY + 1)]
    assert shards[1].claimed == tuple(record.run_hash for record in records[EVERY - 1 : 2 * EVERY])
    assert shards[0].claimed == (b"", *(record.run_hash for record in records[:EVERY]))


def test_what_verify_refuses(tmp_path: Path, job: JobFolder, refused: Callable[..., str]) -> None:
    assert "no evidence yet" in refused("verify", made(tmp_path / "new").path)
    assert "is empty" in refused("verify", job.path, "--shard", "1/9")
    assert "on the processor" in refused("verify", job.path, "--device", "vm")
    assert "without a source" in refused("verify", job.path, "--model", "embedded")
    assert "for the folder of a training job" in refused("verify", job / "job.json", "--workers", 2)
    assert "is no training job" in refused("verify", tmp_path)
    job.checkpoint(EVERY).write_bytes(b"")
    assert "is no checkpoint" in refused("verify", job.path)


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "a/b", "1/", "1/4294967296"])
def test_a_shard_that_is_none(job: JobFolder, shard: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["verify", str(job.path), "--shard", shard])


def test_a_cluster(job: JobFolder, capsys: Capture, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "CONNECT_SECONDS", 1)
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in refused("verify", job.path, "--scheduler", "tcp://127.0.0.1:1")
    monkeypatch.undo()
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        assert "has no workers" in refused("verify", job.path, "--scheduler", cluster.scheduler_address)
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        on_it = ("verify", job.path, "--scheduler", cluster.scheduler_address, "--threads", 1)
        assert told(capsys, *on_it)["holds"] is True
        with_wrong_hash(job, 7)
        assert [each["update"] for each in told(capsys, *on_it, code=1)["mismatches"]] == [7]


def test_without_dask_one_line_says_so(job: JobFolder, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "pip install 'opml[dask]'" in refused("verify", job.path, "--scheduler", "tcp://127.0.0.1:1")


def test_a_job_under_way_is_verified_as_far_as_it_is(job: JobFolder, capsys: Capture) -> None:
    rewrite_evidence(job / "updates.jsonl", open_job(job, 1).records[:4])
    result = told(capsys, "verify", job.path, "--threads", 1)
    assert (result["holds"], result["updates_done"], result["updates_in_all"], result["state_root"]) == (True, 4, UPDATES, None)
    assert main(["verify", str(job.path), "--threads", "1"]) == 0
    assert capsys.readouterr().out.endswith(f"the job is not finished: 4 of {UPDATES} updates are done\n")


# Parts -----------------------------------------------------------------------------------------------------------------------------------


def test_windows_of_a_text() -> None:
    tokens = list(range(100))
    learned, rest = split_off(tokens, 4)
    assert learned + rest == tokens
    assert len(rest) == 10
    cut = windows(rest, 4)
    assert cut.inputs.tolist() == [[90, 91, 92, 93], [94, 95, 96, 97]]
    assert cut.targets.tolist() == [[91, 92, 93, 94], [95, 96, 97, 98]]
    assert len(split_off(tokens, 40)[1]) == 41
    assert [packed([1, 2], vocabulary) for vocabulary in (256, 257, 65537)] == [(b"\1\2", 1), (b"\1\0\2\0", 2), (b"\1\0\0\0\2\0\0\0", 4)]


def test_plots() -> None:
    falling = [float(n) for n in range(1000, 0, -1)]
    rows = characters(falling, width=10, height=4).split("\n")
    heights = [sum(EIGHTHS.index(row[9 + i]) if len(row) > 9 + i else 0 for row in rows) for i in range(10)]
    assert heights == sorted(heights, reverse=True)
    assert heights[0] == 32
    assert rows[0].split()[0] == "950.500"
    drawn = svg(falling, "a < b & c")
    assert "a &lt; b &amp; c" in drawn
    points = [tuple(map(float, point.split(","))) for point in drawn.split('points="')[1].split('"')[0].split()]
    assert points == sorted(points)
    assert len(points) == 600
    assert characters([1.0]).count("\n") == 7
    assert "polyline" in svg([1.0], "one")


@pytest.mark.parametrize("summed", [1, 8])
def test_the_rate_falls_to_the_last_one(summed: int) -> None:
    """Divided by how many gradients are added up. Without --last-rate it is a tenth."""
    for given, expected in ((None, 0.001), (0.0, 0.0), (0.002, 0.002), (0.01, 0.01)):
        options = argparse.Namespace(warmup=None, decay=None, seed=None, last_rate=given)
        settings = settings_of(options, updates=100, rate=0.01, decay=0.0, summed=summed)
        assert settings.rate_q34 == pytest.approx(0.01 / summed * 2**34, abs=1)
        assert settings.last_rate_q34 == pytest.approx(expected / summed * 2**34, abs=1)


def test_progress(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [duration(seconds) for seconds in (0, 59.6, 3599, 3600.4)] == ["0:00", "1:00", "59:59", "1:00:00"]
    for is_terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal, raising=False)
        progress = TrainingProgress(0, 4, 100, "token")
        progress._begin, progress._last = progress._begin - 120, progress._last - 120
        progress.show(UpdateRecord(2, bytes(32), 3.25))
        progress.clear()
        shown = capsys.readouterr().err
        assert "2/4  loss 3.2500  2 tokens/s  2:00 left" in shown
        assert shown.endswith("\r\033[K" if is_terminal else "\n")
