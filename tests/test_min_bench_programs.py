"""The benchmark programs are what their sources compile to, and they exit with code 0 in the machine."""

from pathlib import Path

import pytest

from opml_min.bench_programs.build import FOLDER, NAMES, STAGE, build
from opml_min.cli.bench.vm import loaded, run_to_the_end


@pytest.mark.parametrize("name", [*NAMES, STAGE])
def test_committed_elf_is_reproducible(name: str, tmp_path: Path) -> None:
    build(name, tmp_path / "program.elf")
    assert (tmp_path / "program.elf").read_bytes() == (FOLDER / f"{name}.elf").read_bytes()


def test_a_program_ends_well() -> None:
    assert run_to_the_end(loaded("chase")) > 100_000_000
