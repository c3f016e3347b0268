"""Files from strangers: each kind of damage is refused by name. `test_min_file_fuzz.py` tries the kinds that nobody thought of."""

import json
import os
import struct
import sys

import numpy as np
import pytest
from min_sources import random_weights, write_gguf, write_hugging_face
from opml_fuzz.commands import fuzz
from opml_fuzz.conformance.elf import load as load_elf
from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.difference import read as read_replay

from opml_min.model import run_file
from opml_min.model.errors import CheckpointError, ImageError
from opml_min.model.image.program import program_of_elf
from opml_min.model.resolve import resolve
from opml_min.model.run_file import SavedRunError
from opml_min.model.sources.formats.gguf_file import read_gguf_file
from opml_min.model.sources.formats.safetensors_file import tensors_of_folder
from opml_min.model.strict_json import MOST_DEPTH, JsonError, depth, object_of

ENTRY = 1 << 38


# JSON ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("{}", 1),
        ('{"a": [[1], {}]}', 3),
        ('{"[[[": "]]{{\\"[["}', 1),
        ('["\\\\", [1]]', 2),
        ("1", 0),
        ("[" * 70000, 70000),
        ('"[', 0),
        ("]]][", 0),
    ],
)
def test_depth(text, levels):
    assert max(0, depth(text.encode())) == levels


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"a":' * 75000, "nested"),
        (b"[" * 75000, "nested"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"b": {"a": 1, "a": 1}}', "twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": "\xff"}', "not JSON"),
        (b'{"a": "\\ud800"}', "not JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON"),
        (b"[1]", "object"),
        (b"", "not JSON"),
        (b'{"a": 1}' + b" " * 1000, "bytes"),
    ],
)
def test_json_is_refused_within_limits(data, problem):
    with pytest.raises(JsonError, match=problem):
        object_of(data, 500 if problem == "bytes" else 1 << 20)


def test_json_within_limits_is_read_whatever_the_recursion_limit():
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        inner = "[" * (MOST_DEPTH - 1) + "]" * (MOST_DEPTH - 1)
        assert object_of(f'{{"a": {inner}, "\\u00e9\\ud83d\\ude00": 1e999}}'.encode(), 1 << 20)["é😀"] == float("inf")
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json", "model.safetensors.index.json"])
def test_every_json_of_a_folder_is_read_within_limits(name, tmp_path, refused):
    folder = write_hugging_face(tmp_path / "model", random_weights())
    (folder / name).write_text("[" * 75000)
    assert name in refused("run", folder, "--prompt", "a")


def test_a_deep_file_from_the_other_party(tmp_path, refused):
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 75000)
    assert "nested" in refused("verify", deep)
    assert "nested" in refused("replay", deep, main=fuzz.main)


# Saved runs ------------------------------------------------------------------------------------------------------------------------

GOOD = {
    "format": run_file.FORMAT, "model": "embedded", "tokenizer": None, "arithmetic": "fixed", "model_root": "00" * 32, "request": "00" * 28,
    "stages": 5, "run_hash": "11" * 32,
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"stages": float("inf")}, {"stages": True}, {"stages": "5"}, {"stages": 5.0}, {"stages": 0}, {"stages": 2**70}, {"model": 3},
        {"model": "a\0b"}, {"model": "\ud800"}, {"model": None}, {"tokenizer": 3}, {"tokenizer": "\0"}, {"tokenizer": ""}, {"model": ""},
        {"request": "0"}, {"request": "é"},
        {"request": "00" * 20000}, {"arithmetic": "exact"}, {"arithmetic": None}, {"run_hash": "11" * 31}, {"format": None},
        {"model_root": []},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_saved_run_is_refused(change, tmp_path, refused):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(SavedRunError, match=r"run\.json"):
        run_file.load(path)
    assert "run.json" in refused("verify", path)


@pytest.mark.parametrize("missing", GOOD)
def test_a_saved_run_lacks_nothing(missing, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({key: value for key, value in GOOD.items() if key != missing}))
    with pytest.raises(SavedRunError):
        run_file.load(tmp_path / "run.json")


def test_a_model_that_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for name in (tmp_path / "fifo", "/dev/null", "x" * 5000):
        with pytest.raises(CheckpointError):
            resolve(str(name))


# GGUF ------------------------------------------------------------------------------------------------------------------------------


def text(value):
    return struct.pack("<Q", len(value)) + value


def entry(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


def header(entries, tensors=(), counts=None, version=3):
    made = counts or (len(tensors), len(entries))
    return b"GGUF" + struct.pack("<IQQ", version, *made) + b"".join(entries) + b"".join(tensors) + bytes(200)


U32 = entry(b"a", 4, struct.pack("<I", 7))
HOSTILE_HEADERS = {
    "an array of 2^60 numbers": (header([entry(b"a", 9, struct.pack("<IQ", 4, 1 << 60))]), "do not fit"),
    "an array of 2^60 texts": (header([entry(b"a", 9, struct.pack("<IQ", 8, 1 << 60))]), "do not fit"),
    "an array of arrays": (header([entry(b"a", 9, struct.pack("<IQ", 9, 1))]), "array of the type 9"),
    "a text of 2^63 bytes": (header([entry(b"a", 8, struct.pack("<Q", 1 << 63))]), "ends beyond"),
    "2^63 entries": (header([U32], counts=(0, 1 << 63)), "do not fit"),
    "2^63 tensors": (header([U32], counts=(1 << 63, 1)), "do not fit"),
    "an unknown type": (header([entry(b"a", 13, bytes(8))]), "unknown type 13"),
    "a key that is not UTF-8": (header([entry(b"\xff", 4, bytes(4))]), "not UTF-8"),
    "a value that is not UTF-8": (header([entry(b"key", 8, text(b"\xff"))]), "key is not UTF-8"),
    "a key twice": (header([U32, U32]), "a twice"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + bytes(99), "big-endian"),
    "version 1": (header([U32], version=1), "version 1"),
    "an alignment of 3": (header([entry(b"general.alignment", 4, struct.pack("<I", 3))]), "power of two"),
    "an alignment of 0": (header([entry(b"general.alignment", 4, bytes(4))]), "power of two"),
    "an alignment in words": (header([entry(b"general.alignment", 8, text(b"32"))]), "power of two"),
}


def tensor(name=b"t", shape=(8,), kind=0, offset=0):
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


HOSTILE_HEADERS |= {
    "a tensor beyond the file": (header([], [tensor(shape=(1 << 40,))]), "ends at byte"),
    "a tensor of 2^128 numbers": (header([], [tensor(shape=(1 << 63, 1 << 63))]), "ends at byte"),
    "a tensor of nothing": (header([], [tensor(shape=(0,))]), "impossible shape"),
    "a tensor of 5 dimensions": (header([], [tensor(shape=(1,) * 5)]), "5 dimensions"),
    "a tensor without dimensions": (header([], [tensor(shape=())]), "0 dimensions"),
    "a tensor of an unknown type": (header([], [tensor(kind=999)]), "unknown type 999"),
    "a tensor in part of a block": (header([], [tensor(shape=(8,), kind=8)]), "impossible shape"),
    "a tensor twice": (header([], [tensor(), tensor(offset=32)]), "twice"),
    "tensors that overlap": (header([], [tensor(shape=(16,)), tensor(b"u", offset=32)]), "overlaps"),
    "a tensor that is not aligned": (header([], [tensor(offset=4)]), "not aligned"),
}


@pytest.mark.parametrize("name", HOSTILE_HEADERS)
def test_a_hostile_gguf_header_is_refused(name, tmp_path):
    data, problem = HOSTILE_HEADERS[name]
    (tmp_path / "a.gguf").write_bytes(data)
    with pytest.raises(CheckpointError, match=problem):
        read_gguf_file(tmp_path / "a.gguf")


def test_a_header_is_read(tmp_path):
    entries = [U32, entry(b"b", 7, b"\1"), entry(b"c", 9, struct.pack("<IQ", 5, 2) + struct.pack("<ii", -1, 5)), entry(b"d", 8, text(b"x"))]
    (tmp_path / "a.gguf").write_bytes(header(entries, [tensor(shape=(4, 2))]))
    file = read_gguf_file(tmp_path / "a.gguf")
    assert file.metadata == {"a": 7, "b": True, "c": [-1, 5], "d": "x"}
    assert file.tensors["t"].shape == (2, 4)
    assert file.tensors["t"].data.shape == (2, 16)


def test_truncation_at_every_length_is_refused(tmp_path, monkeypatch):
    whole = write_gguf(tmp_path / "whole.gguf", random_weights()).read_bytes()
    for length in [*range(0, 200), *range(200, len(whole), 9973)]:
        (tmp_path / "a.gguf").write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_gguf_file(tmp_path / "a.gguf")


# Safetensors -------------------------------------------------------------------------------------------------------------------------


def safetensors(head, data=bytes(16), length=None):
    made = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(made) if length is None else length) + made + data


def one(**change):
    return {"t": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]} | change}


HOSTILE_SAFETENSORS = {
    "a header beyond the file": safetensors(one(), length=1 << 60),
    "a short file": b"abc",
    "an empty file": b"",
    "a deep header": safetensors(b"[" * 75000),
    "a list": safetensors(b"[]"),
    "a negative size": safetensors(one(shape=[-2, -2])),
    "a size of 2^200": safetensors(one(shape=[1 << 200])),
    "another size": safetensors(one(shape=[3, 2])),
    "a size in words": safetensors(one(shape=["2", 2])),
    "a true size": safetensors(one(shape=[True, 4])),
    "no shape": safetensors(one(shape=None)),
    "offsets the wrong way round": safetensors(one(data_offsets=[16, 0])),
    "offsets beyond the file": safetensors(one(shape=[2, 4], data_offsets=[0, 32])),
    "three offsets": safetensors(one(data_offsets=[0, 8, 16])),
    "no type": safetensors(one(dtype=None)),
    "a gap": safetensors(one(shape=[2], data_offsets=[8, 16])),
    "bytes that no tensor has": safetensors(one(), bytes(20)),
    "tensors that overlap": safetensors(one() | {"u": one()["t"]}),
    "a tensor twice": safetensors(b'{"t": {}, "t": {}}'),
    "an entry that is no object": safetensors({"t": 3}),
}


@pytest.mark.parametrize("name", HOSTILE_SAFETENSORS)
def test_a_hostile_safetensors_header_is_refused(name, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(HOSTILE_SAFETENSORS[name])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        tensors_of_folder(tmp_path)


def test_a_safetensors_header_is_read(tmp_path):
    values = np.arange(4, dtype="<f4")
    (tmp_path / "model.safetensors").write_bytes(safetensors(one() | {"__metadata__": {"format": "pt"}}, values.tobytes()))
    (found,) = tensors_of_folder(tmp_path).values()
    assert (found.values == values.reshape(2, 2)).all()


@pytest.mark.parametrize("place", ["../model.safetensors", "/etc/passwd", "a\\b.safetensors", "", 3, None, "tensors.bin"])
def test_an_index_names_files_of_its_folder(place, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"t": place}}))
    with pytest.raises(CheckpointError, match="index"):
        tensors_of_folder(tmp_path)


# ELF ---------------------------------------------------------------------------------------------------------------------------------


def elf(segments, table=64, entry_bytes=56, count=None, magic=b"\x7fELF\x02\x01\x01"):
    """segments: (offset, address, bytes in the file, bytes in memory)"""
    counted = len(segments) if count is None else count
    head = magic + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 243, 1, ENTRY, table, 0, 0, 64, entry_bytes, counted, 64, 0, 0)
    entries = [struct.pack("<IIQQQQQQ", 1, 5, offset, address, 0, file, memory, 8) for offset, address, file, memory in segments]
    return head + b"".join(entries) + bytes(range(64))


END = 64 + 56
HOSTILE_ELF = {
    "cut": elf([(END, ENTRY, 8, 8)])[:60],
    "a table beyond the file": elf([(END, ENTRY, 8, 8)], table=1 << 60),
    "65,535 segments": elf([(END, ENTRY, 8, 8)], count=65535),
    "segments of 1 byte": elf([(END, ENTRY, 8, 8)], entry_bytes=1),
    "more in the file than in memory": elf([(END, ENTRY, 8, 4)]),
    "a segment beyond the file": elf([(END, ENTRY, 1 << 40, 1 << 40)]),
    "segments that overlap": elf([(END + 56, ENTRY, 16, 16), (END + 72, ENTRY + 8, 8, 8)]),
    "big-endian": elf([(END, ENTRY, 8, 8)], magic=b"\x7fELF\x02\x02\x01"),
}


@pytest.mark.parametrize("name", HOSTILE_ELF)
def test_a_hostile_elf_file_is_refused(name, tmp_path):
    with pytest.raises(ImageError):
        program_of_elf(HOSTILE_ELF[name])
    (tmp_path / "a.elf").write_bytes(HOSTILE_ELF[name])
    with pytest.raises(InputError, match=r"a\.elf"):
        load_elf(tmp_path / "a.elf")


def test_a_program_does_not_share_its_bytes(tmp_path):
    """Many segments over the same bytes of a small file would load as gigabytes."""
    (tmp_path / "a.elf").write_bytes(elf([(END + 56 * 3, ENTRY + (i << 12), 8, 8) for i in range(4)]))
    with pytest.raises(InputError, match="overlap"):
        load_elf(tmp_path / "a.elf")


def test_an_elf_file_is_read(tmp_path):
    good = elf([(END + 56, ENTRY, 4, 4), (END + 60, ENTRY + 8, 4, 8)])
    assert program_of_elf(good) == bytes([0, 1, 2, 3, 0, 0, 0, 0, 4, 5, 6, 7])
    (tmp_path / "a.elf").write_bytes(good)
    assert load_elf(tmp_path / "a.elf").segments == {ENTRY: bytes([0, 1, 2, 3]), ENTRY + 8: bytes([4, 5, 6, 7])}


# Replay files ------------------------------------------------------------------------------------------------------------------------

START = {"pc": "0x4000000000", "x": {"1": "0x5"}, "status": [0, "0x0"], "memory": {"0x4000000000": "13" * 32}}


def program(stops=(1, 2), **start):
    return {"case": "program", "start": START | start, "stops": list(stops)}


@pytest.mark.parametrize(
    "case",
    [
        program(pc="-1"), program(pc=1 << 64), program(pc="1" * 5000), program(pc=None), program(pc=True), program(x=[]),
        program(x={"1": 1 << 64}), program(x={"40": 1}),
        {"case": "acts", "rules": 1.5, "acts": []}, {"case": "disputes", "seed": -0.0, "acts": 3},
        program(memory={"0x1": "13" * 32}), program(memory={"0x0": "13" * 31}),
        program(memory={hex(1 << 40): "13" * 32}), program(memory={"0x0": "13" * 32, "0": "13" * 32}), program(memory={"0x0": 3}),
        program(status=[3, 0]), program(status=[0, 1]), program(status=[2, 77]), program(status=[0]), program(status=0),
        program(stops=[]), program(stops=[2, 1]), program(stops=[0]), program(stops=[1 << 40]), program(stops=[1.5]),
        {"case": "witness", "witness": "0"}, {"case": "witness", "witness": "00" * 100_000}, {"case": "none"}, {"case": [1]}, {},
        {"case": "disputes", "seed": "1", "acts": 10**9}, {"case": "disputes", "seed": "1", "acts": -1},
    ],
    ids=lambda case: json.dumps(case)[:80],
)  # fmt: skip
def test_an_impossible_replay_file_is_refused(case, tmp_path):
    path = tmp_path / "replay.json"
    path.write_text(json.dumps(case))
    with pytest.raises(InputError, match=r"replay\.json"):
        read_replay(path)


def test_a_replay_file_is_read(tmp_path):
    (tmp_path / "replay.json").write_text(json.dumps(program()))
    case = read_replay(tmp_path / "replay.json")
    assert case.to_json() == program()
    assert case.start.state().pc == ENTRY
