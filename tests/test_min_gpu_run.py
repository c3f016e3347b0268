"""Runs on the emulated card: the run hash of native code, whoever takes turns at whatever stage, and no more copied than has changed."""

import os
from pathlib import Path

import pytest
from attrs import evolve
from min_gpu_emulator import EmulatedCard, Schedule
from min_model import write_source

from opml_min.cache_folder import cache_folder
from opml_min.memory_map import HEADER, STAGE_STEP_LIMIT, STATE
from opml_min.mnist.pictures import drawn_request
from opml_min.model.build.build import write_model
from opml_min.model.devices import Device
from opml_min.model.errors import AcceleratorUnusable, RunTorn
from opml_min.model.gpu import card
from opml_min.model.image.image import Image
from opml_min.model.image.ops import Opcode
from opml_min.model.image.request import TextRequest
from opml_min.model.resolve import build_source, resolve
from opml_min.model.run import Run

REQUEST = TextRequest((1, 260, 77), 3, 1 << 16, 99).pack()


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> EmulatedCard:
    found = EmulatedCard()
    monkeypatch.setattr(card, "open_card", lambda: found)
    return found


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("tiny")
    build_source(write_source(folder), folder / "tok300.bin", folder / "tiny.opml")
    return Image(folder / "tiny.opml")


def ended(image: Image, request: bytes, **how: object) -> Run:
    run = Run(image, request, **how)  # type: ignore[arg-type]
    run.run_all()
    return run


@pytest.mark.parametrize("temperature", [0, 1 << 16])
def test_the_embedded_model(emulated: EmulatedCard, temperature: int) -> None:
    model = resolve("embedded")
    request = TextRequest(tuple(model.tokenizer.prompt("ROMEO:")), 6, temperature, 7).pack()
    emulated.schedule = Schedule.SHUFFLED
    run, native = ended(model.image, request, device="gpu"), ended(model.image, request)
    assert run.run_hash() == native.run_hash()
    assert run.tokens() == native.tokens()
    assert run.losses() is None


def test_stories260k(emulated: EmulatedCard, shared_data: Path) -> None:
    model = resolve(str(shared_data / "stories260K.bin"))
    request = TextRequest(tuple(model.tokenizer.prompt("Once upon a time")), 6).pack()
    assert ended(model.image, request, device="gpu").run_hash() == ended(model.image, request).run_hash()


@pytest.mark.skipif(os.environ.get("HYPOTHESIS_PROFILE") != "nightly", reason="takes half a minute")
def test_smollm2(emulated: EmulatedCard) -> None:
    """Needs what `opml model fetch smollm2` leaves."""
    if not (cache_folder() / "sources" / "SmolLM2-135M-Instruct.Q4_1.gguf").is_file():
        pytest.skip("smollm2 has not been fetched")
    model = resolve("smollm2")
    request = TextRequest(tuple(model.tokenizer.prompt("Once upon a time")), 8).pack()
    emulated.blocks = 2
    assert ended(model.image, request, device="gpu").run_hash() == ended(model.image, request, threads=2).run_hash()


def test_a_picture(emulated: EmulatedCard) -> None:
    model = resolve("mnist")
    run, native = ended(model.image, drawn_request(), device="gpu"), ended(model.image, drawn_request())
    assert run.tokens() == native.tokens() == [7]
    assert run.run_hash() == native.run_hash()


def test_every_single_stage(image: Image, emulated: EmulatedCard) -> None:
    run, native = Run(image, REQUEST, device="gpu"), Run(image, REQUEST)
    while run.stage < run.stage_count:
        run.run_stage()
        native.run_stage()
        assert run.state() == native.state(), image.ops[(run.stage - 1) % len(image.ops)]


def test_a_model_in_one_stage(tmp_path: Path, emulated: EmulatedCard) -> None:
    build_source(write_source(tmp_path), tmp_path / "tok300.bin", tmp_path / "single.opml", single_phase=True)
    single = Image(tmp_path / "single.opml")
    assert ended(single, REQUEST, device="gpu").run_hash() == ended(single, REQUEST).run_hash()


@pytest.mark.parametrize("order", [1, -1])
def test_a_run_ends_at_a_stop_token(
    order: int, image: Image, tmp_path: Path, emulated: EmulatedCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opml_min.model.gpu.accelerator.LAUNCH_SECONDS", 1e9)  # so that it ends within a launch
    request = TextRequest((1, 5), 12).pack()
    free = ended(image, request)
    stop = free.tokens()[4]
    header = evolve(image.header, stop_tokens=(7, stop)[::order])
    rest = image.segments[1].data[image.header.tape_address - HEADER + 128 * len(image.tape) :]
    write_model(tmp_path / "stop.opml", image.program, header, image.ops, [rest])
    stopping = Image(tmp_path / "stop.opml")
    run, native = ended(stopping, request, device="gpu"), ended(stopping, request)
    assert run.tokens() == native.tokens() == free.tokens()[: free.tokens().index(stop) + 1]
    assert run.run_hash() == native.run_hash()


def test_the_machine_and_the_card_take_turns(image: Image, emulated: EmulatedCard) -> None:
    run, expected = Run(image, REQUEST, device="gpu"), ended(image, REQUEST)
    for stage in range(20, run.stage_count, 23):
        run.run_to(stage)
        run.machine.begin_stage(stage)
        run.machine.run(STAGE_STEP_LIMIT)
        run.stage += 1
    run.run_all()
    assert run.run_hash() == expected.run_hash()


def test_going_back_uploads_what_changed(image: Image, emulated: EmulatedCard) -> None:
    run, expected = Run(image, REQUEST, device="gpu"), Run(image, REQUEST)
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
    everything = sum(extent.length for extent in run.engine._carry.extents)  # type: ignore[union-attr]
    run.restore(snapshots[100])
    run.run_to(101)
    emulated.uploaded.clear()
    run.run_to(102)
    assert 8 == sum(length for _, length in emulated.uploaded) < everything  # the grid's barrier alone


def test_only_what_was_written_is_copied_back(image: Image, emulated: EmulatedCard) -> None:
    run = Run(image, REQUEST, device="gpu")
    for stage, op in enumerate(image.ops[:20]):
        emulated.downloaded.clear()
        run.run_stage()
        copied = sum(length for _, length in emulated.downloaded) - 48  # the output's head, twice
        if op.opcode == Opcode.NORM:
            assert copied == 32 + 2 * op.operands["length"]
        if op.opcode == Opcode.MATMUL:
            assert copied == 4 * op.operands["rows"]
        assert copied <= 4096, f"stage {stage}"


def test_what_the_host_changes_reaches_the_card(image: Image, emulated: EmulatedCard) -> None:
    """A number of the residual stream, and then a weight, which nobody else may see."""
    runs = Run(image, REQUEST, device="gpu"), Run(image, REQUEST)
    bystander = Run(image, REQUEST, device="gpu")
    out = image.ops[0].operands["out"]
    assert out >= STATE
    weights = image.ops[1].operands["weights"]
    for run in runs:
        run.run_to(1)
        run.memory.write(out + 8, (12345).to_bytes(4, "little"))
        run.run_to(60)
        run.memory.write(weights, (1 << 25).to_bytes(4, "little"))
        run.run_to(run.stage_count)
    assert runs[0].memory.carry_root() == runs[1].memory.carry_root()
    bystander.run_all()
    assert bystander.run_hash() == ended(image, REQUEST).run_hash() != runs[0].run_hash()


def test_weights_are_uploaded_once_and_freed_with_the_last_run(image: Image, emulated: EmulatedCard) -> None:
    left = emulated.left
    first, second = ended(image, REQUEST, device="gpu"), ended(image, REQUEST, device="gpu")
    model = first.engine.model  # type: ignore[union-attr]
    assert model is second.engine.model  # type: ignore[union-attr]
    places = {extent.place for extent in model.extents}
    assert [address for address, _ in emulated.uploaded if address in places] == list(places)
    del first, second, model
    assert emulated.left == left


@pytest.mark.parametrize("device", ["gpu", "cpu", "vm"])
def test_an_interrupted_run_has_its_tokens_and_no_state(device: Device, image: Image, emulated: EmulatedCard) -> None:
    run = Run(image, TextRequest((1, 260), 7).pack(), device=device)

    snapshot = run.snapshot()

    def interrupt() -> None:
        if len(run.tokens()) == 2 or device == "cpu":
            raise KeyboardInterrupt

    if device == "cpu":
        run.engine._compute = lambda first, end, watch: watch()  # type: ignore[union-attr, method-assign]  # which it does not call in short runs
    with pytest.raises(KeyboardInterrupt):
        run.run_all(interrupt)
    assert len(run.tokens()) == (0 if device == "cpu" else 2)
    for use in (run.run_hash, run.run_all, run.snapshot, lambda: run.restore(snapshot)):
        with pytest.raises(RunTorn, match="interrupted in the middle"):
            use()


def test_float_images_and_too_large_heads_are_refused(tmp_path: Path, image: Image, emulated: EmulatedCard) -> None:
    build_source(write_source(tmp_path), tmp_path / "tok300.bin", tmp_path / "float.opml", arithmetic="float")
    with pytest.raises(AcceleratorUnusable, match=r"float\.opml is a float image"):
        Run(Image(tmp_path / "float.opml"), REQUEST, device="gpu")
    source = write_source(tmp_path, shape=(2064, 8, 1, 2, 2, 300, 8))
    build_source(source, tmp_path / "tok300.bin", tmp_path / "wide.opml")
    with pytest.raises(AcceleratorUnusable, match="heads of more than 1024 numbers"):
        Run(Image(tmp_path / "wide.opml"), REQUEST, device="gpu")
