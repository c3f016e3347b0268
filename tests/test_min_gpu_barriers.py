"""Every barrier is needed: without it, some schedule of the blocks or warps gives other bytes. And no schedule does while all are there."""

import random
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from min_gpu_emulator import UNFAIR, Deadlock, EmulatedCard, is_noticed_apart, library
from min_gpu_stages import Places, RandomStage, matrix, written_by_specification
from min_model import write_source
from opml_spec.model.operations import fixed as spec
from test_min_gpu_kernels import Compute, check_on, in_a_batch

from opml_min.machine import Memory
from opml_min.model.gpu import accelerator, batches, card, engine
from opml_min.model.gpu.barriers import barriers_before
from opml_min.model.gpu.engine import AcceleratorEngine
from opml_min.model.image.image import Image
from opml_min.model.image.ops import Op, Opcode
from opml_min.model.image.request import TextRequest
from opml_min.model.resolve import build_source
from opml_min.model.run import Run
from opml_min.model.run_batch import finished_runs

SHAPE = (128, 160, 2, 4, 2, 300, 32)  # every block and warp has a part in every op
REQUEST = TextRequest((1, 260, 77), 5, 1 << 16, 99).pack()
BATCH_SHAPE = (128, 160, 2, 8, 4, 300, 32)  # a warp has parts of two heads
BATCH = [TextRequest((1, 260, 77, 5, 6), 2, 1 << 16, 99).pack(), TextRequest((3,), 3).pack()]

Differs = Callable[[EmulatedCard], bool]


def small_llama(folder: Path, shape: tuple[int, ...]) -> Image:
    build_source(write_source(folder, shape=shape), folder / "tok300.bin", folder / "tiny.opml")
    return Image(folder / "tiny.opml")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return small_llama(tmp_path_factory.mktemp("tiny"), SHAPE)


@pytest.fixture(autouse=True)
def long_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch is a barrier, too, so let each have several positions."""
    monkeypatch.setattr(accelerator, "LAUNCH_SECONDS", 1e9)


@pytest.fixture(scope="module")
def run_differs(image: Image) -> Differs:
    """A run of a small LLaMA."""
    expected = Run(image, REQUEST)
    expected.run_all()

    def differs(emulated: EmulatedCard) -> bool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(card, "open_card", lambda: emulated)
            run = Run(image, REQUEST, device="gpu")
            try:
                run.run_all()
            except Deadlock:
                return True
            return run.run_hash() != expected.run_hash()

    return differs


@pytest.fixture(scope="module")
def batch_differs(tmp_path_factory: pytest.TempPathFactory) -> Differs:
    """A prompt and another request, in batches of up to 5 positions."""
    image = small_llama(tmp_path_factory.mktemp("batch"), BATCH_SHAPE)
    expected = [run.run_hash() for run in finished_runs(image, BATCH)]

    def differs(emulated: EmulatedCard) -> bool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(card, "open_card", lambda: emulated)
            patch.setattr(batches, "MOST_POSITIONS", 5)
            try:
                return [run.run_hash() for run in finished_runs(image, BATCH, device="gpu")] != expected
            except Deadlock:
                return True

    return differs


def stage_differs(stage: RandomStage, compute: Compute = AcceleratorEngine.run) -> Differs:
    memory, expected = Memory(), written_by_specification(stage)

    def differs(emulated: EmulatedCard) -> bool:
        try:
            check_on(emulated, stage, memory, expected, compute)
        except (AssertionError, Deadlock):
            return True
        return False

    return differs


def long_attention() -> RandomStage:
    """ATTENTION over three chunks of positions."""
    rng, kv_heads, share, head_size, context, position = random.Random(1), 2, 2, 16, 200, 190
    places, heads = Places(rng), kv_heads * share

    def rows() -> int:
        count = kv_heads * context * head_size
        return places.state(struct.pack(f"<{count}h", *(rng.randint(-32767, 32767) for _ in range(count))))

    def exponents() -> int:
        return places.state(bytes(rng.randint(10, 14) for _ in range(kv_heads * context)))

    q = places.vector([rng.randint(-(2**16), 2**16) for _ in range(heads * head_size)])
    out, scale = places.activation_out(heads * head_size), round(2**30 * 1.4427 / head_size**0.5)
    operation = spec.Attention(out, q, rows(), exponents(), rows(), exponents(), heads, kv_heads, head_size, context, scale)
    prompt = [0] * (position + 1)
    request = struct.pack(f"<4IQ{len(prompt)}I", len(prompt), 1, 0, 0, 0, *prompt)
    return RandomStage((operation,), position, places.segments, request, context, 8)


def long_products() -> RandomStage:
    """Two products of one activation, whose rows are so long that warps share them."""
    rng = random.Random(2)
    places = Places(rng)
    x = places.state(struct.pack("<i28x512h", 10, *(rng.randint(-32767, 32767) for _ in range(512))))
    products = tuple(spec.MatMul(places.rubbish(32), x, matrix(rng, places, 0, 8, 512), 0, 8, 512, 12) for _ in range(2))
    return RandomStage(products, 0, places.segments, struct.pack("<4IQI", 1, 1, 0, 0, 0, 0), 8, 8)


def unfair_cards(blocks: int = 3) -> Iterator[EmulatedCard]:
    """Cards with two warps a block; overflows are let pass, for a missing barrier may cause any."""
    for schedule, seed in UNFAIR:
        yield EmulatedCard(blocks, 64, schedule, seed, kind="unchecked")


def test_no_schedule_matters(run_differs: Differs, batch_differs: Differs) -> None:
    for emulated in [EmulatedCard(), EmulatedCard(1, 32), EmulatedCard(4, 128), *unfair_cards()]:
        assert not run_differs(emulated)
        assert not batch_differs(emulated)


def test_every_barrier_before_an_op_is_needed(
    image: Image, run_differs: Differs, batch_differs: Differs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a batch, too: there those of the first layer are left out, and not the first of all, for which a batch does not ask."""
    waiting = np.flatnonzero(barriers_before(image.ops))
    assert len(waiting) == 28
    assert {image.ops[k].opcode for k in set(range(len(image.ops))) - set(waiting)} == {Opcode.MATMUL}
    for missing in waiting:

        def without(ops: list[Op], missing: int = missing) -> np.ndarray:
            flags = barriers_before(ops)
            flags[missing] = 0
            return flags

        monkeypatch.setattr(engine, "barriers_before", without)
        monkeypatch.setattr(batches, "barriers_before", without)
        assert is_noticed_apart(lambda: any(run_differs(emulated) for emulated in unfair_cards())), image.ops[missing]
        if 0 < missing <= len(image.ops) // 2:
            assert is_noticed_apart(lambda: any(batch_differs(emulated) for emulated in unfair_cards())), image.ops[missing]


def test_every_barrier_in_a_kernel_is_needed(run_differs: Differs, batch_differs: Differs) -> None:
    """The barriers of the grid, of a block, and of a warp."""
    attention, products, emulator = stage_differs(long_attention()), stage_differs(long_products()), library("unchecked")
    attention_in_batch = stage_differs(long_attention(), in_a_batch)

    def is_noticed(file: str) -> bool:
        return any(
            (attention_in_batch(emulated) or batch_differs(alone) or batch_differs(emulated))
            if file == "batches.cu"
            else (attention(emulated) or products(alone) or run_differs(emulated))
            for emulated, alone in zip(unfair_cards(), unfair_cards(blocks=1), strict=True)
        )

    assert not is_noticed_apart(partial(is_noticed, "stages.cu"))
    assert not is_noticed("batches.cu")
    files = [Path(emulator.site_file(site).decode()).name for site in range(emulator.sites())]
    assert len(files) >= 21
    assert files.count("batches.cu") == 6
    for site, file in enumerate(files):
        if file == "keccak.cu":  # test_min_gpu_hashes.py has these
            continue
        emulator.remove_site(site)
        try:
            assert is_noticed_apart(partial(is_noticed, file)), f"{file}:{emulator.site_line(site)}"
        finally:
            emulator.remove_site(-1)
