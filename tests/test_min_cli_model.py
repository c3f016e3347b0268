"""The commands on models: what scripts rely on, and one clear line for every bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from min_model import checkpoint_bytes, tokenizer_bytes, write_source

from opml_min.cli import main
from opml_min.model.image.image import Image
from opml_min.model.image.llama import tensors_of_llama
from opml_min.model.resolve import build_source


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a checkpoint and its tokenizer; the cache is elsewhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    write_source(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def opml(capsys):
    def run(*arguments: object, fails_with: int = 0) -> dict:
        code = main([*map(str, arguments), "--json"])
        out, err = capsys.readouterr()
        assert code == fails_with, err
        return json.loads(out)

    return run


def test_run_prints_what_scripts_rely_on(opml, folder):
    result = opml("run", folder / "tiny.bin", "--prompt", "ab", "--max-tokens", 5)
    assert set(result) >= {"text", "tokens", "tokens_per_second", "prefill_tokens_per_second", "run_hash", "model_root"}
    assert set(result) >= {"device", "machine_steps", "seconds"}
    assert len(result["tokens"]) == 5
    assert result["machine_steps"] is None
    machine = opml("run", folder / "tiny.bin", "--prompt", "ab", "--max-tokens", 5, "--device", "vm")
    assert machine["machine_steps"] > 1000
    for threads in (1, 2, 3):
        again = opml("run", folder / "tiny.bin", "--prompt", "ab", "--max-tokens", 5, "--threads", threads)
        assert again["run_hash"] == result["run_hash"] == machine["run_hash"]
        assert again["text"] == machine["text"]


def test_the_text_streams(folder, capsys):
    assert main(["run", str(folder / "tiny.bin"), "--max-tokens", "4"]) == 0
    out = capsys.readouterr().out
    assert "4 tokens" in out
    assert "run hash 0x" in out


def test_sampling_depends_on_the_seed(opml, folder):
    texts = {tuple(opml("run", folder / "tiny.bin", "--temperature", 4, "--seed", seed, "--max-tokens", 9)["tokens"]) for seed in (1, 1, 2)}
    assert len(texts) == 2


def test_the_embedded_model_is_the_default(opml):
    result = opml("run", "--prompt", "ROMEO:", "--max-tokens", 8)
    assert result["text"]
    assert opml("run", "embedded", "--prompt", "ROMEO:", "--max-tokens", 8)["run_hash"] == result["run_hash"]


@pytest.mark.parametrize("device", ["cpu", "vm"])
def test_verify(opml, folder, device, capsys):
    opml("run", folder / "tiny.bin", "--prompt", "abc", "--max-tokens", 4, "--save", folder / "run.json")
    assert opml("verify", folder / "run.json", "--device", device)["holds"]
    saved = json.loads((folder / "run.json").read_text())
    (folder / "lie.json").write_text(json.dumps(saved | {"run_hash": "00" * 32}))
    assert not opml("verify", folder / "lie.json", "--device", device, fails_with=1)["holds"]
    (folder / "stages.json").write_text(json.dumps(saved | {"stages": saved["stages"] + 1}))
    assert not opml("verify", folder / "stages.json", "--device", device, fails_with=1)["holds"]
    (folder / "other.json").write_text(json.dumps(saved | {"model_root": "11" * 32}))
    assert main(["verify", str(folder / "other.json")]) == 2
    assert "another model" in capsys.readouterr().err


def test_build_and_show(opml, folder):
    built = opml("model", "build", folder / "tiny.bin", "-o", folder / "tiny.opml", "--context", 16)
    shown = opml("model", "show", folder / "tiny.opml")
    assert built == shown
    assert shown["shape"]["context"] == 16
    assert shown["stages_per_position"] == 34
    assert shown["bytes"] < (folder / "tiny.opml").stat().st_size
    assert opml("run", folder / "tiny.opml", "--max-tokens", 3)["model_root"] == shown["model_root"]


def test_eval(opml, folder):
    (folder / "text").write_text("abc ab ab a b c abcab " * 4)
    result = opml("eval", folder / "tiny.bin", folder / "text", "--window", 20, "--max-tokens", 30)
    assert result["tokens"] == 28
    assert result["perplexity"] == pytest.approx(result["reference_perplexity"], rel=0.05)
    assert 0 < result["nll_rms_difference"] <= result["nll_max_difference"] < 0.5
    opml("model", "build", folder / "tiny.bin", "-o", folder / "tiny.opml")
    on_image = opml("eval", folder / "tiny.opml", folder / "text", "--window", 20, "--max-tokens", 30)
    assert on_image["perplexity"] == result["perplexity"]
    assert on_image["nll_rms_difference"] < result["nll_rms_difference"] / 5, "the image's own weights leave only the activations' rounding"


def test_what_is_not_a_finite_number_is_null(opml, folder):
    """JSON has no NaN, and numpy warns of nothing on stderr."""
    (folder / "text").write_text("abc ab ab a b c")
    build_source(folder / "tiny.bin", None, folder / "tiny.opml", arithmetic="float")
    norm = next(each for each in tensors_of_llama(Image(folder / "tiny.opml")) if not each.is_matrix)
    segment, data = Image(folder / "tiny.opml").segments[1], bytearray((folder / "tiny.opml").read_bytes())
    at = segment.offset + norm.address - segment.address
    data[at : at + 4] = b"\x01\x00\x80\x7f"  # a signalling NaN
    (folder / "other.opml").write_bytes(data)
    result = opml("eval", folder / "other.opml", folder / "text")
    assert result["perplexity"] is None
    assert result["reference_perplexity"] is None


def test_eval_of_stories260k(opml, shared_data):
    result = opml("eval", shared_data / "stories260K.bin", shared_data / "tinyshakespeare.txt", "--max-tokens", 512)
    assert result["tokens"] == 511
    assert abs(result["perplexity"] / result["reference_perplexity"] - 1) < 0.005


def test_a_source_is_built_once(opml, folder, tmp_path):
    opml("run", folder / "tiny.bin", "--max-tokens", 1)
    (image,) = (tmp_path / "cache" / "opml").glob("*.opml")
    made = image.stat().st_mtime_ns
    opml("run", folder / "tiny.bin", "--max-tokens", 1)
    assert [path.stat().st_mtime_ns for path in (tmp_path / "cache" / "opml").glob("*.opml")] == [made]
    (folder / "tiny.bin").write_bytes(checkpoint_bytes(seed=4))
    opml("run", folder / "tiny.bin", "--max-tokens", 1)
    assert len(list((tmp_path / "cache" / "opml").glob("*.opml"))) == 2


BAD = {
    "no such command": ["fly"],
    "no such model": ["run", "nowhere.bin"],
    "a folder": ["run", "."],
    "an empty file": ["run", "empty.bin"],
    "a text": ["run", "text.bin"],
    "a gguf": ["run", "some.gguf"],
    "a truncated source": ["run", "short.bin"],
    "a truncated image": ["run", "short.opml"],
    "a wrong tokenizer": ["run", "tiny.bin", "--tokenizer", "empty.bin"],
    "no tokenizer file": ["run", "tiny.bin", "--tokenizer", "nowhere"],
    "too many tokens": ["run", "tiny.bin", "--max-tokens", "32"],
    "far too many tokens": ["run", "tiny.bin", "--max-tokens", "99999999999"],
    "a prompt beyond the context": ["run", "tiny.bin", "--prompt", "a " * 40],
    "a huge prompt": ["run", "tiny.bin", "--prompt", "a " * 9000],
    "no tokens": ["run", "tiny.bin", "--max-tokens", "0"],
    "negative temperature": ["run", "tiny.bin", "--temperature", "-1"],
    "tiny temperature": ["run", "tiny.bin", "--temperature", "0.001"],
    "temperature nan": ["run", "tiny.bin", "--temperature", "nan"],
    "seed": ["run", "tiny.bin", "--seed", str(2**64)],
    "threads": ["run", "tiny.bin", "--threads", "0"],
    "far too many threads": ["run", "tiny.bin", "--threads", "1000"],
    "a tokenizer for an image": ["run", "embedded", "--tokenizer", "empty.bin"],
    "a text for a picture": ["run", "mnist", "--prompt", "seven"],
    "the number of no picture": ["run", "mnist", "--index", "5"],
    "device": ["run", "tiny.bin", "--device", "abacus"],
    "save nowhere": ["run", "tiny.bin", "--max-tokens", "1", "--save", "nowhere/file"],
    "verify nothing": ["verify", "nowhere.json"],
    "verify garbage": ["verify", "text.bin"],
    "verify json": ["verify", "list.json"],
    "eval nothing": ["eval", "tiny.bin", "nowhere.txt"],
    "eval an empty text": ["eval", "tiny.bin", "empty.bin"],
    "eval window": ["eval", "tiny.bin", "text.bin", "--window", "33"],
    "build nothing": ["model", "build", "nowhere.bin", "-o", "out.opml"],
    "build to nowhere": ["model", "build", "tiny.bin", "-o", "nowhere/out.opml"],
    "build over a folder": ["model", "build", "tiny.bin", "-o", "folder"],
    "build too long": ["model", "build", "tiny.bin", "-o", "out.opml", "--context", "33"],
    "show nothing": ["model", "show", "nowhere.opml"],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gives_one_line_and_leaves_nothing(name, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    Path("empty.bin").touch()
    Path("text.bin").write_text("It is a truth universally acknowledged. " * 30)
    Path("some.gguf").write_bytes(b"GGUF" + bytes(100))
    Path("short.bin").write_bytes(checkpoint_bytes()[:-8])
    Path("short.opml").write_bytes(b"OPMLIMG1\2\0\0\0\0\0\0\0" + bytes(16))
    Path("list.json").write_text("[1, 2]")
    Path("folder").mkdir()
    before = sorted(Path().rglob("*"))
    try:
        code = main(BAD[name])
    except SystemExit as exit_:
        code = exit_.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert len(err) < 300
    assert "Traceback" not in err
    assert sorted(Path().rglob("*")) == before


EMPTY = [
    ["run", ""], ["run", "--tokenizer", ""], ["run", "--save", ""], ["run", "mnist", "--input", ""], ["verify", ""],
    ["eval", "embedded", ""],
    ["model", "show", ""], ["model", "build", "", "-o", "out"], ["model", "build", "tiny.bin", "-o", ""], ["model", "random", "-o", ""],
    ["model", "build", "tiny.bin", "-o", "out", "--calibrate", ""],
]  # fmt: skip


@pytest.mark.parametrize("line", EMPTY, ids=" ".join)
def test_an_empty_path_is_not_the_current_folder(line, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    try:
        code = main(line)
    except SystemExit as exit_:
        code = exit_.code
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is empty" in err


def test_a_full_disk_leaves_nothing(folder, tmp_path):
    """The output is limited to fewer bytes than the image has."""
    script = f"ulimit -f 8; exec {sys.executable} -m opml_min.cli model build {folder}/tiny.bin -o {tmp_path}/full.opml"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=os.environ, check=False)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert not [path for path in tmp_path.iterdir() if "full" in path.name]


def test_a_second_tokenizer_must_be_chosen_between(folder, capsys):
    (folder / "tok2.bin").write_bytes(tokenizer_bytes())
    assert main(["run", str(folder / "tiny.bin")]) == 2
    assert "--tokenizer" in capsys.readouterr().err
