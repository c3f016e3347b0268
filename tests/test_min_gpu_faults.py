"""What goes wrong on a card ends in one clear line and exit code 2, never in a wrong hash, and no later run uses what it left behind."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from min_gpu_driver import CUresult, FakeDriver
from min_gpu_emulator import EmulatedCard
from min_model import write_source

from opml_min.cli import main
from opml_min.memory_map import ENTRY, HEADER
from opml_min.model.build.build import write_image
from opml_min.model.errors import AcceleratorUnusable, RunTorn
from opml_min.model.gpu import card, engine
from opml_min.model.gpu.batches import scratch_sizes
from opml_min.model.gpu.resident import close_together
from opml_min.model.image.image import Image
from opml_min.model.image.ops import Buffer, Opcode
from opml_min.model.image.request import TextRequest
from opml_min.model.resolve import build_source
from opml_min.model.run import Run

REQUEST = TextRequest((1, 260, 7, 8), 2, 1 << 16, 7).pack()
LOST, NO_MEMORY = CUresult.CUDA_ERROR_LAUNCH_FAILED, CUresult.CUDA_ERROR_OUT_OF_MEMORY


class FailingDriver(FakeDriver):
    """A driver that fails at some call: at that one only, or from then on, as after a kernel has crashed."""

    def __init__(self, failing: range = range(0), error: CUresult = LOST) -> None:
        self.calls: list[str] = []
        self._failing, self._error = failing, error
        super().__init__()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if not name.startswith("cu"):
            return found

        def call(*arguments: object) -> object:
            self.calls.append(name)
            return (self._error, None) if len(self.calls) in self._failing else found(*arguments)

        return call


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("tiny")
    build_source(write_source(folder), folder / "tok300.bin", folder / "tiny.opml")
    return Image(folder / "tiny.opml")


def run_on(driver: FakeDriver, image: Image, patch: pytest.MonkeyPatch) -> bytes:
    patch.setattr(card, "import_module", lambda name: driver)
    opened = card.Card()
    patch.setattr(card, "open_card", lambda: opened)
    run = Run(image, REQUEST, device="gpu")
    run.run_all()
    return run.run_hash()


def test_whichever_call_fails_the_run_has_no_hash(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs after it have the right one, though the failed run still exists."""
    on_processor = Run(image, REQUEST)
    on_processor.run_all()
    whole = FailingDriver()
    assert run_on(whole, image, monkeypatch) == on_processor.run_hash()
    kinds = dict.fromkeys(name for name in whole.calls if name not in ("cuInit", "cuMemFree"))
    assert len(kinds) >= 12
    alive = []
    for name in kinds:
        places = [number for number, each in enumerate(whole.calls, 1) if each == name]
        for first, error, is_lost in ((places[0], NO_MEMORY, False), (places[len(places) // 2], LOST, True)):
            failing = FailingDriver(range(first, 1 << 30 if is_lost else first + 1), error)
            with pytest.raises(AcceleratorUnusable, match=name if error == LOST else "has too little free memory") as told:
                run_on(failing, image, monkeypatch)
            alive.append(told)
    assert run_on(FakeDriver(), image, monkeypatch) == on_processor.run_hash()


def test_a_model_that_did_not_arrive_is_not_used_again(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FailingDriver()
    expected = run_on(driver, image, monkeypatch)
    driver.calls.clear()
    driver._failing = range(driver_call(driver, image, "cuMemcpyHtoD"), 1 << 30)
    with pytest.raises(AcceleratorUnusable) as told:
        Run(image, REQUEST, device="gpu")
    driver._failing = range(0)
    run = Run(image, REQUEST, device="gpu")
    run.run_all()
    assert told.value
    assert run.run_hash() == expected


def driver_call(driver: FailingDriver, image: Image, name: str) -> int:
    """Counts the calls of a new run until the first one of a function, and forgets them."""
    Run(image, REQUEST, device="gpu")
    number = driver.calls.index(name) + 1
    driver.calls.clear()
    return number


def test_a_card_that_is_lost_is_one_line(image: Image, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Also where memory of it is freed, long after the command has ended."""
    driver = FailingDriver()
    run_on(driver, image, monkeypatch)
    launch = driver.calls.index("cuLaunchCooperativeKernel") + 2
    lost = FailingDriver(range(launch, 1 << 30))
    monkeypatch.setattr(card, "import_module", lambda name: lost)
    opened = card.Card()
    monkeypatch.setattr(card, "open_card", lambda: opened)
    capfd.readouterr()
    assert main(["run", str(image.path), "--prompt", "abc", "--device", "gpu", "--json"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[1:] == [f"opml: the NVIDIA driver reports CUDA_ERROR_LAUNCH_FAILED in {lost.calls[launch - 1]}"]
    assert "cuMemFree" in lost.calls or "cuCtxSetCurrent" in lost.calls[launch:]


def test_a_result_that_the_binding_does_not_know_is_one_line(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(self: FakeDriver, *arguments: object) -> None:
        raise ValueError("987 is not a valid CUresult")

    monkeypatch.setattr(FakeDriver, "cuLaunchCooperativeKernel", unknown)
    with pytest.raises(AcceleratorUnusable, match="does not fit its Python binding: cuLaunchCooperativeKernel: 987 is not"):
        run_on(FakeDriver(), image, monkeypatch)


def test_a_signal_that_arrives_in_a_launch(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python raises it when the launch is over, so the card is ahead of the host."""
    driver = FakeDriver()
    expected = run_on(driver, image, monkeypatch)
    run = Run(image, REQUEST, device="gpu")
    run.run_to(30)
    compute = driver.card.run_stages

    def interrupted(*arguments: int) -> None:
        compute(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(driver.card, "run_stages", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.run_all()
    monkeypatch.undo()
    for use in (run.run_all, run.run_hash):
        with pytest.raises(RunTorn):
            use()
    with pytest.MonkeyPatch.context() as patch:
        assert run_on(FakeDriver(), image, patch) == expected


def test_an_interrupted_engine_uploads_everything(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver()
    run_on(driver, image, monkeypatch)
    run, expected = Run(image, REQUEST, device="gpu"), Run(image, REQUEST)
    run.run_to(20)
    expected.run_to(25)
    before = run.memory.read(image.ops[0].operands["out"], 64)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.engine.run(20, 25, watch=interrupt)  # type: ignore[union-attr]
    assert run.memory.read(image.ops[0].operands["out"], 64) == before
    run.engine.run(20, 25)  # type: ignore[union-attr]
    assert run.memory.carry_root() == expected.memory.carry_root()


@pytest.mark.parametrize("limit", ["MOST_HEADS", "MOST_HEAD_SIZE"])
def test_heads_beyond_the_shared_memory(limit: str, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, limit, 1)
    with pytest.raises(AcceleratorUnusable, match=r"has more than [0-9]+ heads, or heads of more than [0-9]+ numbers"):
        run_on(FakeDriver(), image, monkeypatch)


def test_room_for_scratch_is_required_before_the_start(image: Image) -> None:
    """So that `--allow-cpu` can still be followed."""
    emulated = EmulatedCard()
    scratch = sum(scratch_sizes(image.ops))
    emulated.left = needed = scratch + sum(length for _, length in close_together(tensors_and_carried(image)))
    engine.require_usable(image, emulated)
    emulated.left = needed - 1
    assert scratch > 500
    with pytest.raises(AcceleratorUnusable, match="and the model needs"):
        engine.require_usable(image, emulated)


def tensors_and_carried(image: Image) -> list[Buffer]:
    return engine._tensors(image.ops, image.header) + engine._carried(image.ops, image.header)


def changed(image: Image, path: Path, index: int, word: int, value: int) -> Path:
    """Writes the image with one word of its tape changed."""
    data = bytearray(image.segments[1].data)
    struct.pack_into("<Q", data, image.header.tape_address - HEADER + 128 * (index % len(image.tape)) + 8 * word, value)
    write_image(path, [(ENTRY, [image.program]), (HEADER, [bytes(data)])])
    return path


REFUSED = [
    (0, 0, 99, "unknown opcode"),
    (0, 0, Opcode.FLOAT_EMBED, "op 0 of the tape: FLOAT_EMBED is an op of the other arithmetic"),
    (2, 5, 3, "op 2 of the tape: a matrix has an unknown quantisation or an incomplete group"),
    (2, 6, 1 << 33, "op 2 of the tape: rows is 8589934592"),
    (7, 0, 0, "unknown opcode"),
    (2, 0, Opcode.ATTENTION, "op 2 of the tape: "),
    (-1, 1, 0, "it would also draw at positions before the first new token"),
]


@pytest.mark.parametrize(("index", "word", "value", "line"), REFUSED)
def test_a_tape_that_the_kernel_cannot_take(
    index: int, word: int, value: int, line: str, image: Image, tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with `--allow-cpu`, unless the processor can take it."""
    driver = FakeDriver()
    monkeypatch.setattr(card, "import_module", lambda name: driver)
    monkeypatch.setattr(card, "open_card", card.Card)
    path = changed(image, tmp_path / "changed.opml", index, word, value)
    for more in ([], ["--allow-cpu"]):
        told = refused("run", path, "--prompt", "abc", "--device", "gpu", *more)
        assert line in told
        assert str(path) in told
    assert not driver.card.launched
