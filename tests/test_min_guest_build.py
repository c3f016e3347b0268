"""The committed guests are what their sources compile to, byte for byte, and keep the rules of the memory map."""

import hashlib
import struct
from pathlib import Path

import pytest

from opml_min.guest import build, generate_tables

ENTRY = 0x40_0000_0000
TEXT_WINDOW = 2**28
PT_LOAD, WRITABLE = 1, 2


@pytest.mark.parametrize(
    ("elf", "elf_sha256", "files"),
    [(build.ELF, build.ELF_SHA256, build.sources()), (build.TRAINING_ELF, build.TRAINING_ELF_SHA256, build.training_sources())],
    ids=["inference", "training"],
)
def test_committed_elf_is_reproducible(elf: Path, elf_sha256: Path, files: list[Path], tmp_path: Path) -> None:
    rebuilt = tmp_path / elf.name
    digest = build.build(rebuilt, files)
    assert rebuilt.read_bytes() == elf.read_bytes()
    assert digest == elf_sha256.read_text().strip() == hashlib.sha256(elf.read_bytes()).hexdigest()


def test_committed_table_is_what_the_generator_writes() -> None:
    assert (build.FOLDER / "sigmoid_table.h").read_text() == generate_tables.sigmoid_header()


@pytest.mark.parametrize("file", [build.ELF, build.TRAINING_ELF], ids=lambda file: file.stem)
def test_elf_is_one_read_only_segment_at_entry(file: Path) -> None:
    elf = file.read_bytes()
    machine, _, entry, table_offset = struct.unpack_from("<HIQQ", elf, 18)
    count = struct.unpack_from("<H", elf, 56)[0]
    segments = [struct.unpack_from("<IIQQQQQQ", elf, table_offset + 56 * k) for k in range(count)]
    loaded = [segment for segment in segments if segment[0] == PT_LOAD and segment[6]]
    assert (machine, entry, len(loaded)) == (243, ENTRY, 1)  # 243 = EM_RISCV
    _, flags, _, address, _, file_size, memory_size, _ = loaded[0]
    assert address == ENTRY
    assert file_size == memory_size < TEXT_WINDOW
    assert not flags & WRITABLE


def test_writable_data_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "writable.c"
    source.write_text("volatile int counter = 1;\nint stage(unsigned long index) { return counter += index; }\n")
    with pytest.raises(build.CompilationError, match="initialised writable data"):
        build.compile_elf([build.FOLDER / "start.S", source], build.FOLDER / "link.ld", tmp_path / "writable.elf")


def test_other_programs_link_with_their_data_in_scratch(tmp_path: Path) -> None:
    source, output = tmp_path / "program.c", tmp_path / "program.elf"
    source.write_text("volatile long counter = 7;\nlong zeros[1000];\nint main(long a) { zeros[a] = counter++; return zeros[a] != 7; }\n")
    build.compile_elf([build.FOLDER / "program.S", source], build.FOLDER / "program.ld", output)
    elf = output.read_bytes()
    table_offset, count = struct.unpack_from("<Q", elf, 32)[0], struct.unpack_from("<H", elf, 56)[0]
    segments = [struct.unpack_from("<IIQQQQQQ", elf, table_offset + 56 * k) for k in range(count)]
    writable = [segment for segment in segments if segment[0] == PT_LOAD and segment[1] & WRITABLE]
    assert [segment[3] >= ENTRY - 2**24 and segment[3] + segment[6] <= ENTRY for segment in writable] == [True]
