"""`--device gpu` on the command line: the same results as on the processor, and one clear line for each reason why no card can be used."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from min_gpu_driver import CUresult, FakeDriver
from min_gpu_emulator import compile_emulator
from min_model import write_source

from opml_min.cli import main
from opml_min.cli.bench import card_limits
from opml_min.cli.bench import gpu as bench_gpu
from opml_min.model.gpu import card
from opml_min.model.gpu.build import KERNELS
from opml_min.model.resolve import build_source
from opml_min.model.sources.checkpoint import Shape

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    fake = FakeDriver()
    monkeypatch.setattr(card, "import_module", lambda name: fake)
    monkeypatch.setattr(card, "open_card", card.Card)
    return fake


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tiny")
    build_source(write_source(made), made / "tok300.bin", made / "tiny.opml")
    build_source(made / "tiny.bin", made / "tok300.bin", made / "float.opml", arithmetic="float")
    (made / "text.txt").write_text("a bc abc ab " * 3)
    return made


def told(capsys: Capsys, *arguments: object) -> tuple[dict[str, object], str]:
    """The JSON of a command that succeeds, and what it said on stderr."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def test_run_and_verify(folder: Path, driver: FakeDriver, capsys: Capsys) -> None:
    command = ["run", folder / "tiny.opml", "--prompt", "abc", "--max-tokens", "4", "--temperature", "1"]
    on_card, said = told(capsys, *command, "--device", "gpu", "--save", folder / "run.json")
    on_processor, _ = told(capsys, *command)
    assert said.splitlines()[0] == "opml: computing on Emulated T4"
    assert driver.card.batches_launched
    assert (on_card["device"], on_card["saturated"]) == ("gpu", None)
    same = ("text", "tokens", "run_hash", "model_root", "stages")
    assert [on_card[key] for key in same] == [on_processor[key] for key in same]
    driver.card.batches_launched.clear()
    assert told(capsys, "verify", folder / "run.json", "--device", "gpu")[0]["holds"]
    assert driver.card.batches_launched


def test_eval_of_a_text(folder: Path, driver: FakeDriver, capsys: Capsys) -> None:
    command = ["eval", folder / "tiny.opml", folder / "text.txt", "--max-tokens", "12", "--window", "8"]
    on_card, _ = told(capsys, *command, "--device", "gpu")
    on_processor, _ = told(capsys, *command)
    assert driver.card.batches_launched  # a window is one batch
    assert not driver.card.launched
    assert on_card["perplexity"] == on_processor["perplexity"]
    assert on_card["saturated"] is None


@pytest.mark.parametrize("cheat", ["kv-cache", "other-weights"])
def test_a_dispute(cheat: str, folder: Path, driver: FakeDriver, capsys: Capsys) -> None:
    command = ["demo", "--model", folder / "tiny.opml", "--cheat", cheat, "--seed", "3", "--max-tokens", "2"]
    result, _ = told(capsys, *command, "--device", "gpu")
    assert driver.card.launched
    assert result["verdict"] == "claim_rejected"


def test_the_real_binding_on_a_driver_that_is_emulated(tmp_path: Path, folder: Path, capsys: Capsys) -> None:
    """NVIDIA's binding finds the emulator as libcuda.so.1, so every call to it is made as with a card."""
    if find_spec("cuda") is None or find_spec("cuda.bindings") is None:
        if os.environ.get("CI"):
            pytest.fail("cuda-bindings is missing")
        pytest.skip("needs cuda-bindings, which the dev extra installs")
    compile_emulator("driver.cc", tmp_path / "libcuda.so.1")
    command = ["run", str(folder / "tiny.opml"), "--prompt", "abc", "--max-tokens", "3", "--json"]
    # With this threshold of glibc's malloc, what the driver may no longer read is no longer there.
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-m", "opml_min.cli", *command, "--device", "gpu"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "opml: computing on Emulated card\n"
    assert json.loads(done.stdout)["run_hash"] == told(capsys, *command[:-1])[0]["run_hash"]


def test_the_measurement(driver: FakeDriver, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every column of every row, against sizes and instructions that are counted here; speeds mean nothing."""
    small = Shape(64, 96, 1, 4, 2, 64, 48, 16)
    for name, value in {
        "CASES": [("small", small)], "COMPARED": small, "CONTEXTS": (8, 30, 99), "BATCHES": (1, 3), "POSITIONS": 2, "ROUNDS": 1,
        "HASHED_PAGES": (3, 40), "BARRIERS": 64, "COPIED_BYTES": 1 << 20,
    }.items():  # fmt: skip
        monkeypatch.setattr(bench_gpu, name, value)
    result, _ = told(capsys, "bench", "gpu")
    found = {row["name"]: row for row in result["rows"]}  # type: ignore[attr-defined]
    assert found.pop("runs that differ from the processor's")["value"] == 0
    assert found.pop("sets of roots that differ from the processor's")["value"] == 0
    assert found["instructions of all lanes"]["value"] == 2 * 4 * 32 * 1.0  # multiprocessors, schedulers, lanes, GHz
    general = ["memory of the card, reading and writing", "a barrier of all blocks", "instructions of all lanes"]
    general += ["roots of 3 pages", "roots of 40 pages"]
    kinds = ["EMBED 64 × 64", "NORM 64", "MATMUL 64 × 64", "MATMUL 32 × 64", "ROPE 6 × 16", "CACHE 2 × 16"]
    kinds += ["ATTENTION 4 × 16, context 8", "ATTENTION 4 × 16, context 30", "ADD 64", "MATMUL 96 × 64", "SWIGLU 96", "MATMUL 64 × 96"]
    kinds += ["SAMPLE 64"]
    decoding = [f", context {context}, batch {batch}" for context in (8, 30) for batch in (1, 3)]
    cases = [f"small {kind}{what}" for kind in ("Q8_0", "Q4_0") for what in [*(f": {each}" for each in kinds), *decoding]]
    assert [*found] == [*general, *cases, "this whole measurement"]
    assert all(row["value"] > 0 for row in found.values())
    columns = {"bytes", "gigabytes_per_second", "memory_ms", "issue_ms", "barriers_ms", "largest_limit", "ratio", "value", "unit", "name"}
    assert all(set(found[name]) == columns for name in cases)
    weights = sum(rows * columns for rows, columns in [(64, 64), (32, 64), (32, 64), (64, 64), (96, 64), (96, 64), (64, 96), (64, 64)])
    row = found["small Q8_0, context 30, batch 1"]
    moved = weights * 34 / 32 + 2 * 2 * (2 * 16 + 1) * 30
    assert moved < row["bytes"] < moved + 12_000  # and the vectors between the ops
    assert row["memory_ms"] == pytest.approx(row["bytes"] / found[general[0]]["value"] / 1e6)
    cached = 4 * 16 * 30

    def issue_ms(kernel: str) -> float:
        per_product, per_number = card_limits.instructions_per_product(kernel)[0], card_limits.instructions_per_cached_number(kernel)
        return (weights * per_product + cached * per_number) / 256e9 * 1000

    assert row["issue_ms"] == pytest.approx(issue_ms("stages"))
    assert row["barriers_ms"] == pytest.approx(18 * found["a barrier of all blocks"]["value"] / 1000)
    assert row["ratio"] == pytest.approx(row["value"] / max(row[f"{limit}_ms"] for limit in ("memory", "issue", "barriers")))
    of_three = found["small Q8_0, context 30, batch 3"]
    assert of_three["bytes"] == pytest.approx(3 * row["bytes"] - 2 * weights * 34 / 32, abs=2 * 3_000)  # and the vectors of products
    assert of_three["issue_ms"] == pytest.approx(3 * issue_ms("batches"))
    assert of_three["barriers_ms"] == pytest.approx(row["barriers_ms"])
    product = found["small Q8_0: MATMUL 96 × 64"]
    assert product["bytes"] == 96 * 64 * 34 / 32 + (32 + 2 * 64) + 4 * 96
    assert product["gigabytes_per_second"] == pytest.approx(product["bytes"] / product["value"] / 1e6)


PTX = """
.entry counted() {
mov.u32 %r1, 0;
$L__BB0_1:
mov.u32 %r2, 0;
$L__BB0_3:
ld.u32 %r3, [%rd1];
// begin inline asm
dp2a.lo.s32.s32 %r4, %r3, %r3, %r4;
dp2a.hi.s32.s32 %r4, %r3, %r3, %r4;
setp.lt.u32 %p1, %r2, 9;
@%p1 bra $L__BB0_3;
add.s32 %r1, %r1, 1;
bra.uni $L__BB0_4;
$L__BB0_4:
@!%p2 bra $L__BB0_1;
ret;
}
"""


def test_instructions_are_counted_in_innermost_loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        (tmp_path / "counted.ptx").write_text(PTX)
        patch.setattr(card_limits, "ptx_of", lambda source: tmp_path / f"{source}.ptx")
        (loop,) = card_limits.innermost_loops("counted")
        assert [line.split()[0] for line in loop] == ["ld.u32", "dp2a.lo.s32.s32", "dp2a.hi.s32.s32", "setp.lt.u32", "@%p1"]
    for kernel in KERNELS:
        if kernel != "keccak":  # dp2a alone takes half an instruction per weight, and reading weights and sums a part of one
            products = card_limits.instructions_per_product(kernel)
            assert 0.5 < products[0] < products[1] < products[2] < 5
            assert 2 < card_limits.instructions_per_cached_number(kernel) < 20


def no_binding(driver: FakeDriver, patch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    patch.setattr(card, "import_module", missing)


def change(**fields: object) -> Callable[[FakeDriver, pytest.MonkeyPatch], None]:
    def changed(driver: FakeDriver, patch: pytest.MonkeyPatch) -> None:
        for name, value in fields.items():
            setattr(driver, name, value)

    return changed


def little_memory(driver: FakeDriver, patch: pytest.MonkeyPatch) -> None:
    driver.card.left = 1 << 14


REASONS = [
    (no_binding, "--device gpu needs NVIDIA's Python binding: pip install 'opml[gpu]'"),
    (change(start=None), "this computer has no NVIDIA driver"),
    (change(start=CUresult.CUDA_ERROR_NO_DEVICE), "the NVIDIA driver finds no card"),
    (change(cards=0), "the NVIDIA driver finds no card"),
    (change(start=CUresult.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH), "the NVIDIA driver does not start (CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)"),
    (change(version=12010), "the NVIDIA driver is too old: it is for CUDA 12.1, and at least 12.2 is needed"),
    (change(capability=(7, 0)), "Emulated T4 is too old: it has compute capability 7.0, and at least 7.5 is needed"),
    (change(is_cooperative=False), "Emulated T4 cannot run blocks that wait for one another"),
    (little_memory, "Emulated T4 has 0 MiB free, and the model needs 1 MiB"),
]


@pytest.mark.parametrize(("break_it", "line"), REASONS)
def test_each_reason_is_one_line(
    break_it: Callable[[FakeDriver, pytest.MonkeyPatch], None], line: str, folder: Path, driver: FakeDriver,
    monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str], capsys: Capsys,
) -> None:  # fmt: skip
    break_it(driver, monkeypatch)
    command = ["run", folder / "tiny.opml", "--prompt", "abc", "--max-tokens", "2", "--device", "gpu"]
    assert refused(*command) == f"opml: {line}\n"
    result, said = told(capsys, *command, "--allow-cpu")
    assert said.splitlines()[0] == f"opml: {line}; the processor computes instead"
    assert result["device"] == "cpu"
    assert not driver.card.launched


def test_float_images_are_refused(folder: Path, driver: FakeDriver, refused: Callable[..., str]) -> None:
    line = refused("run", folder / "float.opml", "--prompt", "abc", "--device", "gpu")
    assert line == f"opml: {folder}/float.opml is a float image; accelerators compute fixed point only\n"


def test_memory_that_ends_in_the_middle_is_one_line(
    folder: Path, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str], capsys: Capsys
) -> None:
    monkeypatch.setattr(FakeDriver, "cuMemAlloc", lambda self, length: (CUresult.CUDA_ERROR_OUT_OF_MEMORY, None))
    assert main(["run", str(folder / "tiny.opml"), "--device", "gpu"]) == 2
    assert capsys.readouterr().err.splitlines()[1:] == ["opml: Emulated T4 has too little free memory"]


def test_a_launch_that_fails_is_one_line(folder: Path, driver: FakeDriver, capsys: Capsys) -> None:
    driver.launch = CUresult.CUDA_ERROR_LAUNCH_FAILED
    assert main(["run", str(folder / "tiny.opml"), "--device", "gpu"]) == 2
    reason = "opml: the NVIDIA driver reports CUDA_ERROR_LAUNCH_FAILED in cuLaunchCooperativeKernel"
    assert capsys.readouterr().err.splitlines()[1:] == [reason]


def test_the_card_is_opened_once(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(card, "import_module", lambda name: driver)
        card.open_card.cache_clear()
        assert card.open_card() is card.open_card()
        card.open_card.cache_clear()
