"""Large models: mapped from their file and shared; what is known of a file is forgotten when it changes; random weights of any shape."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from attrs import evolve

from opml_min.cli import main
from opml_min.machine import Machine, Memory
from opml_min.memory_map import ENTRY, Quarter
from opml_min.model.errors import ImageError
from opml_min.model.files import file_memo
from opml_min.model.files.file_memo import Identity, recalled, remembered
from opml_min.model.image.image import Image
from opml_min.model.image.request import TextRequest
from opml_min.model.image.weights import Q4_0, Q8_0
from opml_min.model.resolve import build_source
from opml_min.model.run import Run
from opml_min.model.sources.checkpoint import SHAPES
from opml_min.model.sources.random_gguf import write_random_gguf

REQUEST = TextRequest((1, 260, 270), 5).pack()


@pytest.fixture
def image(tmp_path):
    write_random_gguf(tmp_path / "tiny.gguf", SHAPES["tiny"], Q8_0, 0)
    build_source(tmp_path / "tiny.gguf", None, tmp_path / "tiny.opml")
    return Image(tmp_path / "tiny.opml")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Small files count as large, and as settled; the cache is elsewhere."""
    monkeypatch.setattr(file_memo, "LARGE_BYTES", 0)
    monkeypatch.setattr(file_memo, "TICK_SECONDS", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


# ---------------------------------------------------------------------------------------------------------------------- mapping


@pytest.mark.parametrize("offset", [0, 4096, 4097])
def test_a_mapped_file_is_what_a_written_one_is(tmp_path, offset):
    data = np.random.default_rng(offset).bytes(3 * 4096 + 77)
    (tmp_path / "file").write_bytes(bytes(offset) + data + b"what follows is not in it" * 300)
    mapped, written = Memory(), Memory()
    with (tmp_path / "file").open("rb") as file:
        mapped.map_file(ENTRY, file.fileno(), offset, len(data))
    written.write(ENTRY, data)
    assert mapped.read(ENTRY, 5 * 4096) == written.read(ENTRY, 5 * 4096)
    assert mapped.root() == written.root()


def test_the_host_may_write_where_a_file_is_mapped_and_the_file_stays(tmp_path):
    (tmp_path / "file").write_bytes(bytes(range(256)) * 64)
    memory = Memory()
    with (tmp_path / "file").open("rb") as file:
        memory.map_file(ENTRY, file.fileno(), 0, 16384)
    before = memory.quarter_root(Quarter.MODEL)
    memory.write(ENTRY + 4090, b"0123456789")
    assert memory.read(ENTRY + 4089, 12) == b"\xf90123456789\x04"
    assert memory.quarter_root(Quarter.MODEL) != before
    memory.write(ENTRY + 4090, bytes([*range(250, 256), *range(4)]))
    assert memory.quarter_root(Quarter.MODEL) == before
    assert (tmp_path / "file").read_bytes() == bytes(range(256)) * 64


def test_a_program_that_stores_into_its_mapped_text_traps(tmp_path):
    (tmp_path / "file").write_bytes(bytes.fromhex("17050000" "2330a500") + bytes(4088))  # auipc a0, 0; sd a0, 0(a0)
    machine = Machine(Memory(), translate_after_steps=0)
    with (tmp_path / "file").open("rb") as file:
        machine.memory.map_file(ENTRY, file.fileno(), 0, 4096)
    machine.begin_stage(0)
    assert machine.run(10) == 2
    assert machine.status.kind != 0
    assert machine.memory.read(ENTRY, 4) == bytes.fromhex("17050000")


def test_native_code_that_writes_to_a_model_ends_the_process(image):
    """Better than a model that is no longer the one that was hashed."""
    program = f"""
import numpy as np
from pathlib import Path
from opml_min.machine import Memory
from opml_min.model.image.image import Image
memory = Memory()
Image(Path({str(image.path)!r})).load_into(memory)
print("loaded", flush=True)
memory.view({ENTRY}, 1, np.uint8)[0] = 1
print("written")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode < 0, done.stdout) == (True, "loaded\n")


def test_an_image_may_be_replaced_but_not_written_to(image):
    before = Run(image, REQUEST).model_root
    copy = image.path.with_name("other.opml")
    copy.write_bytes(image.path.read_bytes()[:-1] + b"\1")
    copy.replace(image.path)
    assert Run(image, REQUEST).model_root == before  # the object goes on with the file that it opened
    written = Image(image.path)
    with image.path.open("r+b") as file:
        file.write(b"OPMLIMG1")
    with pytest.raises(ImageError, match="written to while it was in use"):
        Run(written, REQUEST)


# -------------------------------------------------------------------------------------------------------------------- remembering


def test_a_root_is_computed_once(image, cache, monkeypatch):
    root = Run(image, REQUEST).model_root
    monkeypatch.setattr(Memory, "quarter_root", None)
    assert Run(Image(image.path), REQUEST).model_root == root


@pytest.mark.parametrize("change", ["in place, with its times put back", "replaced", "grown"])
def test_a_file_that_has_changed_is_not_taken_for_what_it_was(tmp_path, cache, change):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    first = Identity.of(path)
    assert remembered("contents", path, first, path.read_bytes) == b"before"
    assert recalled("contents", Identity.of(path)) == b"before"
    if change == "replaced":
        (tmp_path / "new").write_bytes(b"after!")
        os.utime(tmp_path / "new", ns=(first.modified_ns, first.modified_ns))
        (tmp_path / "new").replace(path)
    else:
        path.write_bytes(b"after!" if change.startswith("in place") else b"and after")
        os.utime(path, ns=(first.modified_ns, first.modified_ns))
    assert recalled("contents", Identity.of(path)) is None
    assert remembered("contents", path, Identity.of(path), path.read_bytes) == path.read_bytes()


def test_nothing_is_remembered_of_a_file_that_has_just_changed_or_changes_meanwhile(tmp_path, cache, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def read_while_somebody_writes() -> bytes:
        data = path.read_bytes()
        time.sleep(0.02)  # a tick of this file system
        path.write_bytes(b"after!")
        return data

    first = Identity.of(path)
    assert remembered("contents", path, first, read_while_somebody_writes) == b"before"
    monkeypatch.setattr(file_memo, "TICK_SECONDS", 2)
    assert remembered("contents", path, Identity.of(path), path.read_bytes) == b"after!"
    assert not list(cache.rglob("*"))


def test_a_wrong_root_in_the_cache_does_not_get_into_a_proof(image, cache):
    Run(image, REQUEST).model_root  # noqa: B018
    (entry,) = (path for path in (cache / "opml" / "known").iterdir() if path.stat().st_size == 32)
    entry.write_bytes(bytes(32))
    run = Run(image, REQUEST)
    assert run.model_root == bytes(32)
    with pytest.raises(ValueError, match="is not 0000"):
        run.memory.proof(ENTRY // 32)


def test_a_changed_model_has_another_root_than_its_file(image, cache):
    run = Run(image, REQUEST)
    before = run.model_root
    run.memory.write(image.header.tape_address, b"\7")
    assert run.model_root != before
    assert Run(image, REQUEST).model_root == before


# ------------------------------------------------------------------------------------------------------------------ random weights


@pytest.mark.parametrize("quantisation", ["q8_0", "q4_0"])
def test_random_weights_run_alike_natively_and_in_the_machine(tmp_path, quantisation):
    file = tmp_path / "random.gguf"
    assert main(["model", "random", "--shape", "tiny", "--format", quantisation, "--seed", "5", "-o", str(file)]) == 0
    build_source(file, None, tmp_path / "random.opml")
    image = Image(tmp_path / "random.opml")
    runs = [Run(image, REQUEST, device=device) for device in ("cpu", "vm")]
    for run in runs:
        run.run_all()
    assert runs[0].run_hash() == runs[1].run_hash()
    assert len(set(runs[0].tokens())) > 1


def test_the_seed_decides(tmp_path):
    for name, quantisation, seed in (("a", Q8_0, 1), ("b", Q8_0, 1), ("c", Q8_0, 2), ("d", Q4_0, 1)):
        write_random_gguf(tmp_path / name, SHAPES["tiny"], quantisation, seed)
    assert len({(tmp_path / name).read_bytes() for name in "abcd"}) == 3
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_slice_of_the_7b_shape_runs(tmp_path):
    """Heads of 128, rows of 11,008."""
    shape = evolve(SHAPES["llama2-7b"], layers=1, vocabulary=320, dim=256, heads=2, kv_heads=2, context=8)
    assert shape.head_size == 128
    write_random_gguf(tmp_path / "thin.gguf", shape, Q8_0, 0)
    build_source(tmp_path / "thin.gguf", None, tmp_path / "thin.opml")
    run = Run(Image(tmp_path / "thin.opml"), TextRequest((1, 2, 300), 2).pack())
    run.run_all()
    assert len(run.tokens()) == 2
