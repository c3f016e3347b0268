"""`opml run --batch`: each line gets the answer and the run hash that it gets alone, and one line says why a file is of no use."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from min_gpu_driver import FakeDriver
from min_model import write_source

from opml_min.cli import main, run_batch
from opml_min.model.gpu import card
from opml_min.model.resolve import build_source

FILES = {
    "single": ["abc"],
    "mixed lengths": ["a", "abc ab abc ab ab", "", "é", "ab bc"],
    "common prefix": ["abc ab a", "abc ab b", "abc ab", "abc ab a"],
}
SAMPLED = ("--max-tokens", "4", "--temperature", "1", "--seed", "5")
SAME = ("text", "tokens", "prompt_tokens", "run_hash", "machine_steps", "stages")

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    build_source(write_source(folder), folder / "tok300.bin", folder / "tiny.opml")
    return folder / "tiny.opml"


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    fake = FakeDriver()
    monkeypatch.setattr(card, "import_module", lambda name: fake)
    opened = card.Card()
    monkeypatch.setattr(card, "open_card", lambda: opened)
    return fake


def told(capsys: Capsys, *arguments: object) -> dict:
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("device", "kind"), [*((device, kind) for device in ("cpu", "gpu") for kind in FILES), ("vm", "mixed lengths")])
def test_each_line_is_answered_as_alone(
    device: str, kind: str, image: Path, driver: FakeDriver, tmp_path: Path, capsys: Capsys
) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(FILES[kind]) + "\n" * (kind == "single"), encoding="utf-8")
    together = told(capsys, "run", image, "--batch", file, *SAMPLED, "--device", device)
    assert bool(driver.card.batches_launched) == (device == "gpu")
    assert set(together) == {"answers", "tokens_per_second", "model_root", "device", "seconds"}
    assert together["device"] == device
    assert len(together["answers"]) == len(FILES[kind])
    for prompt, answer in zip(FILES[kind], together["answers"], strict=True):
        alone = told(capsys, "run", image, "--prompt", prompt, *SAMPLED, "--device", "cpu" if device == "gpu" else device)
        assert {key: answer[key] for key in SAME} == {key: alone[key] for key in SAME}
        assert set(answer) == {*SAME, "saturated", "lost", "notable"}
        assert together["model_root"] == alone["model_root"]


def test_standard_input_for_people(image: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> None:
    """Lines may end as on Windows."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"abc\r\n\r\n")))
    assert main(["run", str(image), "--batch", "-", *SAMPLED]) == 0
    out = capsys.readouterr().out
    alone = [told(capsys, "run", image, "--prompt", prompt, *SAMPLED) for prompt in ("abc", "")]
    assert out.startswith("".join(f"{each['text']}\n\nrun hash {each['run_hash']}\n\n" for each in alone) + "2 prompts, 8 tokens, ")


BAD_FILES = {
    b"": "FILE is empty; it should have a prompt in each line",
    b"abc\n\xff\n": "FILE, line 2: this is not UTF-8",
    b"abc\n" + b"ab " * 40: "FILE, line 2: 42 prompt tokens and 1 new ones exceed the context of 32",
    b"a" * 99: "FILE has more than 0 MiB",
}


@pytest.mark.parametrize("content", BAD_FILES)
def test_each_bad_file_is_one_line(
    content: bytes, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(content)
    if "MiB" in BAD_FILES[content]:
        monkeypatch.setattr(run_batch, "MOST_BYTES", 98)
    assert refused("run", image, "--batch", file) == f"opml: {BAD_FILES[content]}\n".replace("FILE", str(file))


def test_a_file_that_is_not_there(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]) -> None:
    assert refused("run", image, "--batch", tmp_path / "no") == f"opml: cannot read {tmp_path}/no: No such file or directory\n"
    assert refused("run", image, "--batch", tmp_path) == f"opml: cannot read {tmp_path}: Is a directory\n"
    monkeypatch.setattr("sys.stdin", None)
    assert refused("run", image, "--batch", "-") == "opml: standard input is closed\n"


@pytest.mark.parametrize("option", [("--prompt", "a"), ("--input", "a"), ("--index", "1"), ("--save", "a")])
def test_options_without_a_meaning_are_refused(option: tuple[str, str], image: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert refused("run", image, "--batch", tmp_path / "no", *option) == f"opml: {option[0]} cannot be used with --batch\n"


def test_pictures_are_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert refused("run", "mnist", "--batch", tmp_path / "no") == "opml: mnist takes a picture, not a text\n"
