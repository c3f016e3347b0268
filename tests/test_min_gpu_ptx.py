"""The committed PTX is what the sources compile to, byte for byte, holds no float instruction, and assembles for every card from 7.5 on."""

import hashlib
import locale
import os
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from opml_min.model.gpu import build
from opml_min.model.gpu.build import KERNELS, KernelError, ptx_of, sha256_of_ptx

ALL_CARDS = ["sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_103", "sm_120", "sm_121"]
CARDS = ALL_CARDS if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else ["sm_75", "sm_120"]
FLOAT = re.compile(r"\.(b?f16|bf16|f16x2|tf32|f32|f64|e4m3|e5m2)|\b(rcp|sqrt|rsqrt|sin|cos|ex2|lg2|tanh|fma)\b")
SATURATING = re.compile(r"\.sat(finite)?\b|\.satfinite\b")


def instructions(source: str) -> list[str]:
    """The PTX without comments and names of files."""
    lines = (line.split("//")[0].strip() for line in ptx_of(source).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def package(name: str) -> Path:
    try:
        found = find_spec(name)
    except ModuleNotFoundError:
        found = None
    if found is None or not found.submodule_search_locations:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing")
        pytest.skip(f"needs {name}, which the dev extra installs")
    return Path(next(iter(found.submodule_search_locations)))


def test_every_source_is_known() -> None:
    assert sorted(KERNELS) == sorted(path.stem for path in build.FOLDER.glob("*.cu"))


@pytest.mark.parametrize("source", KERNELS)
def test_committed_ptx_is_reproducible(source: str) -> None:
    package("nvidia.cuda_nvrtc")
    encoding = locale.getencoding()
    ptx = build.compile_ptx(source)
    assert ptx == ptx_of(source).read_bytes()
    assert locale.getencoding() == encoding  # the compiler changes it


@pytest.mark.parametrize("source", KERNELS)
def test_the_hash_is_that_of_the_committed_ptx(source: str) -> None:
    assert sha256_of_ptx(source).read_text().strip() == hashlib.sha256(ptx_of(source).read_bytes()).hexdigest()


def test_a_mistake_in_a_kernel_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package("nvidia.cuda_nvrtc")
    (tmp_path / "stages.cu").write_text("__global__ void run_stages() { unknown(); }")
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    with pytest.raises(KernelError, match="unknown"):
        build.compile_ptx("stages")


@pytest.mark.parametrize("source", KERNELS)
def test_drivers_from_cuda_12_2_on_take_it(source: str) -> None:
    ptx = instructions(source)
    assert ".version 8.2" in ptx
    assert ".target sm_75" in ptx


@pytest.mark.parametrize("source", KERNELS)
def test_there_is_no_float_and_no_saturating_instruction(source: str) -> None:
    assert len(instructions(source)) > 300
    assert not [line for line in instructions(source) if FLOAT.search(line) or SATURATING.search(line)]


@pytest.mark.parametrize(("source", "barriers"), [("stages", 3), ("batches", 5)])
def test_the_steps_of_the_grids_barrier_stand_in_their_order(source: str, barriers: int) -> None:
    """A block's threads meet, one of them makes their writes visible, arrives, waits for the others, and makes theirs visible here."""
    kinds = {"bar.sync": "meet", "membar.gl": "fence", "red.add": "arrive", "atom.add": "arrive", "ld.volatile": "wait"}
    steps = [kind for line in instructions(source) for word, kind in kinds.items() if line.startswith(word) and "shared" not in line]
    waits = [place for place, step in enumerate(steps) if step == "wait"]
    assert len(waits) == barriers
    for place in waits:
        assert steps[place - 3 : place + 3] == ["meet", "fence", "arrive", "wait", "fence", "meet"]
    assert steps.count("fence") == 2 * len(waits)


@pytest.mark.parametrize("planted", ["add.f32 %f1, %f2, %f3;", "cvt.rn.f64.s32 %d1, %r1;", "ex2.approx %r1, %r2;", "add.sat.s32 %r1, %r2;"])
def test_such_an_instruction_would_be_seen(planted: str) -> None:
    assert FLOAT.search(planted) or SATURATING.search(planted)


@pytest.mark.parametrize("source", KERNELS)
@pytest.mark.parametrize("card", CARDS)
def test_it_assembles(card: str, source: str, tmp_path: Path) -> None:
    assembler = package("nvidia.cuda_nvcc") / "bin" / "ptxas"
    done = subprocess.run([assembler, f"-arch={card}", ptx_of(source), "-o", tmp_path / "kernel.cubin"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "kernel.cubin").stat().st_size > 5_000
