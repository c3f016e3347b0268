"""`opml bench dispute`: what a dispute over one long stage costs an honest player, measured against running the stage once.

The stages take 1.0 to 1.5 · 10^9 steps and differ in how much they write, and in what order. An honest player of either side first learns
the result. Then the segment shrinks to one step late in the stage: the server posts the hashes at the inner boundaries of each segment,
and the challenger finds the false part of hashes that are true up to that step and wrong after it. Each player runs in a process
of its own, so that its peak memory can be measured. The fastest of three rounds counts, for players and for the plain run. What the
contracts cost is not included; `opml bench gas` measures that.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from struct import pack, unpack

from attrs import frozen

from opml_min.bench_programs.build import FOLDER, STAGE
from opml_min.cli.bench.row import Row
from opml_min.cli.output import Progress
from opml_min.machine import HALTED
from opml_min.memory_map import STAGE_STEP_LIMIT
from opml_min.model.build.build import build_llama
from opml_min.model.devices import Device
from opml_min.model.errors import CheckFailed
from opml_min.model.image.image import Image
from opml_min.model.image.program import program_of_elf, shipped_program
from opml_min.model.image.request import TextRequest
from opml_min.model.resolve import DEFAULT_MODEL, resolve, text_of
from opml_min.model.run import Run
from opml_min.model.sources.from_image import checkpoint_of_image
from opml_min.players.chain import INSTRUCTIONS, Segment
from opml_min.players.cheats.own_programs import model_of
from opml_min.players.computation import Computation

K = 32  # parts of a segment
NEW_TOKENS = 100
MOST_RUNS = 4  # what a player may take, in plain runs of the stage
MOST_NATIVE_RUNS = 10  # what a run in the machine may take, in native runs
ROUNDS = 3
MEBI = 1 << 20
READ, STREAM, SCATTER = range(3)  # order: bench_programs/stage.c


@frozen
class Stage:
    """A request to the program of `bench_programs/stage.c`."""

    name: str
    pattern: int
    touched_bytes: int  # a power of two, beside the page with the result
    iterations: int
    is_limited: bool = True

    def request(self) -> bytes:
        return pack("<QQQ", self.pattern, self.touched_bytes // 8, self.iterations)


STAGES = (
    Stage("1 MiB", READ, 1 * MEBI, 1_550),
    Stage("64 MiB", READ, 64 * MEBI, 22),
    Stage("128 MiB streamed", STREAM, 128 * MEBI, 8),
    # each of 31 hashes covers nearly all that is touched, more work than four runs; only more cores speed it up
    Stage("128 MiB scattered", SCATTER, 128 * MEBI, 110_000_000, is_limited=False),
)


@frozen
class Played:
    """What one player needed, and the hashes that it posted, by step."""

    seconds: float
    peak_bytes: int | None  # None if the system does not tell
    posted: dict[int, bytes]


def rows() -> list[Row]:
    found, progress = [], Progress("stages", len(STAGES) + 1)
    for number, stage in enumerate(STAGES):
        found += rows_of(stage)
        progress.show(number + 1)
    machine, native = model_in_one_stage()
    progress.show(len(STAGES) + 1)
    return [*found, Row("embedded model in one stage", machine, "s", "native, one thread", native, MOST_NATIVE_RUNS * native)]


def rows_of(stage: Stage) -> list[Row]:
    steps, plain_seconds = plain_run(stage)
    target = Random(1).randrange(steps * 9 // 10, steps)
    server_played = fastest(server, stage, target)
    challenger_played = fastest(challenger, stage, target, server_played.posted)
    found = [Row(f"{stage.name}: plain run", plain_seconds, "s"), Row(f"{stage.name}: steps", steps, "steps")]
    for side, played in (("server", server_played), ("challenger", challenger_played)):
        limit = MOST_RUNS * plain_seconds if stage.is_limited else None
        found.append(Row(f"{stage.name}: {side}", played.seconds, "s", "plain run", plain_seconds, limit))
        if played.peak_bytes is not None:
            touched = stage.touched_bytes / MEBI
            found.append(Row(f"{stage.name}: {side}'s memory", played.peak_bytes / MEBI, "MiB", "touched", touched, 2.5 * touched + 512))
    return found


def fastest(part: Callable[..., Played], *arguments: object) -> Played:
    def in_own_process() -> Played:
        with multiprocessing.get_context("spawn").Pool(1) as process:
            return process.apply(part, arguments)

    return min((in_own_process() for _ in range(ROUNDS)), key=lambda played: played.seconds)


# One long stage --------------------------------------------------------------------------------------------------------------------


def stage_image() -> Image:
    program = program_of_elf((FOLDER / f"{STAGE}.elf").read_bytes())
    program += bytes(-len(program) % 4)
    return model_of(list(unpack(f"<{len(program) // 4}I", program)))


def plain_run(stage: Stage) -> tuple[int, float]:
    """Steps and seconds of one pass. The code is translated and the memory allocated before, as it is for a player's second pass."""
    machine = Run(stage_image(), stage.request(), stages=1, device="vm").machine
    begin = machine.snapshot()
    seconds = []
    for _ in range(1 + ROUNDS):
        machine.restore(begin)
        machine.begin_stage(0)
        start = time.perf_counter()
        machine.run(STAGE_STEP_LIMIT)
        seconds.append(time.perf_counter() - start)
    if tuple(machine.status) != (HALTED, 0):
        raise CheckFailed(f"the stage ended with {machine.status}")
    return machine.steps, min(seconds)


def server(stage: Stage, target: int) -> Played:
    """Computes what an honest server does: the claim, the opening, the hashes of each round, the witness."""
    start, posted = time.perf_counter(), dict[int, bytes]()
    computation = Computation(stage_image(), stage.request(), 1, device="vm")
    computation.run_hash()
    low, high = 0, computation.opening(0).steps
    while high - low > 1:
        ends = boundaries(low, high)
        posted |= zip(ends[1:-1], computation.hashes(0, low, ends[1:-1]), strict=True)
        low, high = next((low, high) for low, high in pairwise(ends) if low <= target < high)
    computation.witness(0, low)
    return Played(time.perf_counter() - start, peak_bytes(), posted)


def challenger(stage: Stage, target: int, true: dict[int, bytes]) -> Played:
    """Computes what an honest challenger does: the true result, the false part of each round, the witness. true: hashes by step"""
    start = time.perf_counter()
    computation = Computation(stage_image(), stage.request(), 1, device="vm")
    computation.run_hash()
    low, high = 0, computation.opening(0).steps
    while high - low > 1:
        ends = boundaries(low, high)
        posted = [true[end] if end <= target else bytes(32) for end in ends[1:-1]]
        part = computation.false_part(0, low, ends[1:-1], posted)
        low, high = ends[part], ends[part + 1]
    if low != target:
        raise CheckFailed(f"the challenger found step {low} where step {target} is wrong")
    computation.witness(0, low)
    return Played(time.perf_counter() - start, peak_bytes(), {})


def boundaries(low: int, high: int) -> list[int]:
    return Segment(INSTRUCTIONS, low, high, b"", b"").boundaries(K)


def peak_bytes() -> int | None:
    """The most memory that this process has held; None if the system does not tell this of a single process."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
    return 1024 * int(lines["VmHWM"].split()[0])


# A model in one stage --------------------------------------------------------------------------------------------------------------


def model_in_one_stage() -> tuple[float, float]:
    """Seconds of a run of the embedded model in the machine and natively; each is the second run."""
    image = resolve(DEFAULT_MODEL).image
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "single.opml"
        build_llama(checkpoint_of_image(image), text_of(image), path, shipped_program(), single_phase=True)
        single = Image(path)
        request = TextRequest((single.header.bos_token,), NEW_TOKENS).pack()

        def seconds(device: Device) -> tuple[float, bytes]:
            run = Run(single, request, device=device)
            start = time.perf_counter()
            run.run_all()
            return time.perf_counter() - start, run.run_hash()

        (_, first), (_, second) = seconds("vm"), seconds("cpu")
        if first != second:
            raise CheckFailed("machine and native code disagree about the embedded model")
        return seconds("vm")[0], seconds("cpu")[0]
