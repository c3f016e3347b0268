"""Runs by XLA, on its processor: the run hash of native code, whoever takes turns at whatever stage, and one line for what is refused."""

import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve
from min_model import write_source

from opml_min.cache_folder import cache_folder
from opml_min.cli import main
from opml_min.memory_map import HEADER, STAGE_STEP_LIMIT, STATE
from opml_min.mnist.pictures import drawn_request
from opml_min.model.build.build import write_model
from opml_min.model.image.image import Image
from opml_min.model.image.request import TextRequest
from opml_min.model.resolve import build_source, resolve
from opml_min.model.run import Run
from opml_min.model.xla import first_device as xla

if find_spec("jax") is None and not os.environ.get("CI"):
    pytest.skip("needs JAX, which the dev extra installs", allow_module_level=True)

import jax

from opml_min.model.xla import engine

Capsys = pytest.CaptureFixture[str]
REQUEST = TextRequest((1, 260, 77), 3, 1 << 16, 99).pack()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tiny")
    build_source(write_source(made), made / "tok300.bin", made / "tiny.opml")
    build_source(made / "tiny.bin", made / "tok300.bin", made / "single.opml", single_phase=True)
    build_source(made / "tiny.bin", made / "tok300.bin", made / "float.opml", arithmetic="float")
    (made / "text.txt").write_text("a bc abc ab " * 3)
    return made


@pytest.fixture(scope="module")
def image(folder: Path) -> Image:
    return Image(folder / "tiny.opml")


def ended(image: Image, request: bytes, **how: Any) -> Run:
    run = Run(image, request, **how)
    run.run_all()
    return run


@pytest.mark.parametrize("name", ["embedded", "stories260K.bin"])
def test_texts(name: str, request: pytest.FixtureRequest) -> None:
    model = resolve(name if name == "embedded" else str(request.getfixturevalue("shared_data") / name))
    for temperature in (0, 1 << 16):
        data = TextRequest(tuple(model.tokenizer.prompt("Once upon a time")), 8, temperature, 7).pack()
        run, native = ended(model.image, data, device="xla"), ended(model.image, data)
        assert run.run_hash() == native.run_hash()
        assert run.tokens() == native.tokens()
        assert run.losses() is None


@pytest.mark.skipif(os.environ.get("HYPOTHESIS_PROFILE") != "nightly", reason="takes a quarter of a minute")
def test_smollm2() -> None:
    """Needs what `opml model fetch smollm2` leaves."""
    if not (cache_folder() / "sources" / "SmolLM2-135M-Instruct.Q4_1.gguf").is_file():
        pytest.skip("smollm2 has not been fetched")
    model = resolve("smollm2")
    request = TextRequest(tuple(model.tokenizer.prompt("Once upon a time")), 8).pack()
    assert ended(model.image, request, device="xla").run_hash() == ended(model.image, request, threads=2).run_hash()


def test_a_picture() -> None:
    model = resolve("mnist")
    run, native = ended(model.image, drawn_request(), device="xla"), ended(model.image, drawn_request())
    assert run.tokens() == native.tokens() == [7]
    assert run.run_hash() == native.run_hash()


def test_every_single_stage(image: Image) -> None:
    run, native = Run(image, REQUEST, device="xla"), Run(image, REQUEST)
    while run.stage < run.stage_count:
        run.run_stage()
        native.run_stage()
        assert run.state() == native.state(), image.ops[(run.stage - 1) % len(image.ops)]


def test_a_model_in_one_stage(folder: Path) -> None:
    single = Image(folder / "single.opml")
    assert ended(single, REQUEST, device="xla").run_hash() == ended(single, REQUEST).run_hash()


def test_a_run_ends_at_a_stop_token(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LAUNCH_SECONDS", 1e9)  # so that it ends within a launch
    request = TextRequest((1, 5), 12).pack()
    free = ended(image, request)
    header = evolve(image.header, stop_tokens=(7, 1 << 63, free.tokens()[4]))
    rest = image.segments[1].data[image.header.tape_address - HEADER + 128 * len(image.tape) :]
    write_model(tmp_path / "stop.opml", image.program, header, image.ops, [rest])
    stopping = Image(tmp_path / "stop.opml")
    run, native = ended(stopping, request, device="xla"), ended(stopping, request)
    assert run.tokens() == native.tokens() == free.tokens()[: free.tokens().index(free.tokens()[4]) + 1]
    assert run.run_hash() == native.run_hash()


def test_the_machine_and_the_device_take_turns(image: Image) -> None:
    run, expected = Run(image, REQUEST, device="xla"), ended(image, REQUEST)
    for stage in range(20, run.stage_count, 23):
        run.run_to(stage)
        run.machine.begin_stage(stage)
        run.machine.run(STAGE_STEP_LIMIT)
        run.stage += 1
    run.run_all()
    assert run.run_hash() == expected.run_hash()


def test_going_back(image: Image) -> None:
    run, expected = Run(image, REQUEST, device="xla"), Run(image, REQUEST)
    snapshots, states = {}, {}
    for stage in (0, 40, 70, 100):
        run.run_to(stage)
        expected.run_to(stage)
        snapshots[stage], states[stage] = run.snapshot(), run.state()
        assert states[stage] == expected.state()
    for start, end in [(40, 70), (0, 40), (70, 100), (40, 100), (100, 100), (0, 100)]:
        run.restore(snapshots[start])
        assert run.state() == states[start]
        run.run_to(end)
        assert run.state() == states[end]


def test_what_the_host_changes_reaches_the_device(image: Image) -> None:
    """A number of the residual stream, and then a weight, which nobody else may see."""
    runs = Run(image, REQUEST, device="xla"), Run(image, REQUEST)
    bystander = Run(image, REQUEST, device="xla")
    out = image.ops[0].operands["out"]
    assert out >= STATE
    for run in runs:
        run.run_to(1)
        run.memory.write(out + 8, (12345).to_bytes(4, "little"))
        run.run_to(60)
        run.memory.write(image.ops[1].operands["weights"], (1 << 25).to_bytes(4, "little"))
        run.run_to(run.stage_count)
    assert runs[0].memory.carry_root() == runs[1].memory.carry_root()
    bystander.run_all()
    assert bystander.run_hash() == ended(image, REQUEST).run_hash() != runs[0].run_hash()


def test_weights_are_unpacked_once(image: Image) -> None:
    first, second = (Run(image, REQUEST, device="xla").engine for _ in range(2))
    assert first._tensors is second._tensors  # type: ignore[union-attr]


def test_an_interrupt_loses_nothing(image: Image) -> None:
    run, seen = Run(image, REQUEST, device="xla"), iter(range(100))

    def interrupt() -> None:
        if next(seen) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.run_all(interrupt)
    states = []
    native = Run(image, REQUEST)
    while native.stage < native.stage_count:
        native.run_to(native.stage + len(image.ops))
        states.append(native.memory.carry_root())
    assert run.memory.carry_root() in states[1:-1]


# The command line ---------------------------------------------------------------------------------------------------------


def told(capsys: Capsys, *arguments: object) -> tuple[dict[str, Any], str]:
    """The JSON of a command that succeeds, and what it said on stderr."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def test_run_and_verify(folder: Path, capsys: Capsys) -> None:
    command = ["run", folder / "tiny.opml", "--prompt", "abc", "--max-tokens", "4", "--temperature", "1"]
    by_xla, said = told(capsys, *command, "--device", "xla", "--save", folder / "run.json")
    native, _ = told(capsys, *command)
    assert said.splitlines()[0] == "opml: computing on XLA's device cpu"
    assert (by_xla["device"], by_xla["saturated"]) == ("xla", None)
    same = ("text", "tokens", "run_hash", "model_root", "stages")
    assert [by_xla[key] for key in same] == [native[key] for key in same]
    assert told(capsys, "verify", folder / "run.json", "--device", "xla")[0]["holds"]


def test_eval_of_a_text(folder: Path, capsys: Capsys) -> None:
    command = ["eval", folder / "tiny.opml", folder / "text.txt", "--max-tokens", "12", "--window", "8"]
    by_xla, said = told(capsys, *command, "--device", "xla")
    assert said.splitlines()[0] == "opml: computing on XLA's device cpu"
    assert by_xla["perplexity"] == told(capsys, *command)[0]["perplexity"]
    assert by_xla["saturated"] is None


def test_a_dispute(folder: Path, capsys: Capsys) -> None:
    command = ["demo", "--model", folder / "tiny.opml", "--cheat", "kv-cache", "--seed", "3", "--max-tokens", "2"]
    result, said = told(capsys, *command, "--device", "xla")
    assert said.splitlines()[0] == "opml: computing on XLA's device cpu"
    assert result["verdict"] == "claim_rejected"


def without_jax(name: str) -> None:
    raise ModuleNotFoundError(f"No module named {name!r}")


def no_tpu() -> list[object]:
    raise RuntimeError("Unable to initialize backend 'tpu': no TPU is there\nand more lines")


REASONS: list[tuple[Callable[[str], Any], str]] = [
    (without_jax, "--device xla needs JAX: pip install 'opml[xla]'"),
    (lambda name: SimpleNamespace(local_devices=no_tpu), "JAX finds no device: Unable to initialize backend 'tpu': no TPU is there"),
]


@pytest.mark.parametrize(("imported", "line"), REASONS)
def test_each_reason_is_one_line(
    imported: Callable[[str], Any], line: str, folder: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str], capsys: Capsys
) -> None:
    monkeypatch.setattr(xla, "import_module", imported)
    monkeypatch.setattr(xla, "open_device", xla.XlaDevice)
    command = ["run", folder / "tiny.opml", "--prompt", "abc", "--max-tokens", "2", "--device", "xla"]
    assert refused(*command) == f"opml: {line}\n"
    result, said = told(capsys, *command, "--allow-cpu")
    assert said.splitlines()[0] == f"opml: {line}; the processor computes instead"
    assert result["device"] == "cpu"


def test_float_images_are_refused(folder: Path, refused: Callable[..., str]) -> None:
    line = refused("run", folder / "float.opml", "--prompt", "abc", "--device", "xla")
    assert line == f"opml: {folder}/float.opml is a float image; accelerators compute fixed point only\n"


def test_memory_that_ends_in_the_middle_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> None:
    def full(*arguments: object, **how: object) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\nand more lines")

    monkeypatch.setattr(engine, "walk", full)
    assert main(["run", str(folder / "tiny.opml"), "--device", "xla"]) == 2
    assert capsys.readouterr().err.splitlines()[1:] == ["opml: XLA's device cpu reports: RESOURCE_EXHAUSTED: out of memory"]
