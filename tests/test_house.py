"""The rules of the house that a machine can check: imports, line budgets, no traces, wheel contents."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

LINE_BUDGETS = {  # non-blank lines of Python, Vyper, C, CUDA C and assembly; raising one is a reviewed change
    "spec/opml_spec": 5_500,
    "opml_min": 28_150,
    "evm_arbiter": 2_800,
    "fuzz/opml_fuzz": 29_500,
}
SOURCES = {".py", ".vy", ".c", ".cu", ".cuh", ".S"}
GENERATED = {"sigmoid_table.h"}


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout.decode().split("\0")
    return [REPOSITORY / name for name in names if name and (REPOSITORY / name).is_file()]


def test_import_rules() -> None:
    """The three minds import nothing from one another, chapters only earlier ones, one file py-evm."""
    done = subprocess.run([Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_only_one_file_imports_py_evm() -> None:
    sources = [path for path in tracked() if path.suffix == ".py" and "tests" not in path.parts]
    assert [path.name for path in sources if re.search(r"^\s*(from|import) eth\b", path.read_text(), re.M)] == ["embedded.py"]


@pytest.mark.parametrize(("part", "budget"), LINE_BUDGETS.items())
def test_line_budget(part: str, budget: int) -> None:
    lines = sum(
        sum(bool(line.strip()) for line in path.read_text().splitlines())
        for path in tracked()
        if path.is_relative_to(REPOSITORY / part) and path.suffix in SOURCES and path.name not in GENERATED
    )
    assert 0 < lines <= budget


def test_file_names_say_what_is_inside() -> None:
    assert not [p for p in tracked() if p.stem in {"utils", "util", "common", "helpers", "helper", "manager", "misc"}]


def test_no_path_of_this_machine() -> None:
    """No tracked text names an absolute path of the checkout or of a home directory."""
    for path in tracked():
        if path.suffix in {".py", ".md", ".toml", ".vy", ".c", ".h", ".json", ".yml", ""} and path.stat().st_size < 1 << 20:
            assert str(REPOSITORY.parent) + "/" not in path.read_text(errors="replace"), path


def test_wheel_holds_the_four_packages_and_their_data(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, REPOSITORY]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"opml_spec", "opml_min", "evm_arbiter", "opml_fuzz"}
    for needed in (
        "opml_spec/py.typed",
        "opml_spec/machine/README.md",
        "opml_min/guest/guest.elf",
        "opml_min/guest/training.elf",
        "opml_min/embedded/embedded.opml",
        "opml_min/embedded/training.json",
        "opml_min/mnist/mnist.opml",
        "opml_min/model/gpu/kernels/batches.cu",
        "opml_min/model/gpu/kernels/batches.ptx",
        "opml_min/model/gpu/kernels/parallel.cuh",
        "opml_min/model/gpu/kernels/keccak.cu",
        "opml_min/model/gpu/kernels/keccak.ptx",
        "opml_min/model/gpu/kernels/stages.cu",
        "opml_min/model/gpu/kernels/stages.ptx",
        "evm_arbiter/artefacts/arbiter.json",
        "evm_arbiter/artefacts/game.json",
    ):
        assert needed in names
