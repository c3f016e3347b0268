"""Mutated files of every kind are refused in one line, or accepted as they are: a short form here, a long one with OPML_FILE_FUZZ=20000."""

import json
import os
import subprocess
import sys
from pathlib import Path

import file_mutations
import file_oracles
import pytest
from attrs import evolve
from opml_fuzz.conformance.elf import parse
from opml_fuzz.fuzzing.difference import read as read_replay

from opml_min.machine import Memory
from opml_min.model import run_file
from opml_min.model.image.image import Image
from opml_min.model.image.request import TextRequest
from opml_min.model.resolve import build_source, resolve
from opml_min.model.sources.read import read_source

PROGRAM = Path(__file__).with_name("file_mutations.py")
NAMES = ("gguf", "hugging-face", "llama2c", "image", "saved-run", "replay", "elf", "request", "training-job")
CASES = int(os.environ.get("OPML_FILE_FUZZ", "60"))


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_file_is_read_or_refused(name):
    """Each kind has a process of its own, so that one that dies says in which case."""
    command, environment = [sys.executable, PROGRAM, name, str(CASES)], os.environ | {"PYTHONPATH": paths()}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120 + CASES, env=environment)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-1500:]}"
    kind, accepted, refused = done.stdout.split()
    assert (kind, int(accepted) + int(refused)) == (name, CASES)
    assert int(refused) > CASES // 4
    if name != "saved-run":  # almost every change of so small a file damages it
        assert int(accepted) > 0


def changed(path: Path, at: int, bit: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= bit
    path.write_bytes(bytes(data))


def test_the_oracles_notice_one_bit(tmp_path):
    """A file that changes between the build and the comparison is like a reader that misreads one bit."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in file_mutations.hugging_face_files().items():
        (folder / name).write_bytes(data)
    sources = {
        "gguf": (tmp_path / "valid.gguf", file_oracles.same_gguf, None, tmp_path / "valid.gguf"),
        "folder": (folder, file_oracles.same_folder, None, folder / "model-1.safetensors"),
        "llama2c": (tmp_path / "a.bin", file_oracles.same_llama2c, tmp_path / "tok.bin", tmp_path / "a.bin"),
    }
    file_mutations.gguf_bytes(tmp_path)
    (tmp_path / "a.bin").write_bytes(file_mutations.checkpoint_bytes())
    (tmp_path / "tok.bin").write_bytes(file_mutations.tokenizer_bytes())
    for path, same, tokenizer, part in sources.values():
        build_source(path, tokenizer, tmp_path / "a.opml")
        checkpoint, image = read_source(path, tokenizer).checkpoint, Image(tmp_path / "a.opml")
        same(path, checkpoint, image)
        changed(part, 403 if part.suffix == ".bin" else -1, 128)  # the sign of a weight
        with pytest.raises(AssertionError):
            same(path, checkpoint, image)


def test_the_oracles_of_the_projects_own_files_notice_one_bit(tmp_path):
    image, memory, path = resolve("embedded").image, Memory(), tmp_path / "a"
    image.load_into(memory)
    path.write_bytes(image.path.read_bytes())
    file_oracles.same_image(path, image, memory)
    for at in (5000, -1):
        changed(path, at)
        with pytest.raises(AssertionError):
            file_oracles.same_image(path, image, memory)
        changed(path, at)
    saved = run_file.SavedRun("embedded", None, "fixed", bytes(32), b"request", 3, bytes(32))
    run_file.save(path, saved)
    file_oracles.same_saved_run(path, saved)
    with pytest.raises(AssertionError):
        file_oracles.same_saved_run(path, evolve(saved, stages=4))
    path.write_text(json.dumps(file_mutations.Replay.cases[1]))
    written = read_replay(path).to_json()
    file_oracles.same_replay(path, written)
    with pytest.raises(AssertionError):
        file_oracles.same_replay(path, written | {"stops": [1, 2]})
    elf = file_mutations.Elf(tmp_path).data
    loaded = parse(elf).segments
    file_oracles.same_elf(elf, loaded)
    with pytest.raises(AssertionError):
        file_oracles.same_elf(elf, {address: bytes([1]) + data[1:] for address, data in loaded.items()})
    with pytest.raises(AssertionError):
        file_oracles.same_request(TextRequest((1, 2), 3).pack(), TextRequest((1, 3), 3))


def paths() -> str:
    return os.pathsep.join(path for path in sys.path if path)
