"""`opml bench dispute`: what a dispute over one long stage costs an honest player, measured against running the stage once.

The stage is a program that makes over 3 · 10^9 steps and touches 64 MiB. An honest player of either side learns the result, and then is
asked for hashes at the boundaries of segments that shrink to one step, late in the stage, at which the other side lies. Which
segments those are depends on nothing but that step, so the other side need not be computed. Players run in processes of their own, for
the sake of their peak memory; of three rounds the fastest counts, as it does for the plain run. Contracts are not included: `opml bench
gas` measures them.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from struct import unpack
from typing import NamedTuple

from opml_min.bench_programs.build import FOLDER, STAGE
from opml_min.cli.bench import Row
from opml_min.cli.output import Progress
from opml_min.machine import HALTED
from opml_min.model.build import build_llama
from opml_min.model.errors import CheckFailed
from opml_min.model.image import Image
from opml_min.model.layout import STAGE_STEP_LIMIT, TextRequest
from opml_min.model.program import program_of_elf, shipped_program
from opml_min.model.reference import checkpoint_of_image
from opml_min.model.resolve import DEFAULT_MODEL, resolve, text_of
from opml_min.model.run import Device, Run
from opml_min.players.chain import INSTRUCTIONS, Segment
from opml_min.players.cheats.borders import model_of
from opml_min.players.computation import Computation

K = 32  # parts of a segment
NEW_TOKENS = 100
REQUEST = b"!"
TOUCHED_BYTES = (1 << 26) + (1 << 12)  # by the program: two regions of the state quarter
MOST_RUNS = 4  # a player, in plain runs of the stage
MOST_NATIVE_RUNS = 10  # a run in the machine, in native ones
ROUNDS = 3
MEBI = 1 << 20


class Played(NamedTuple):
    """What one player's part took."""

    seconds: float
    peak_bytes: int | None  # None where the system does not tell it


def rows() -> list[Row]:
    progress = Progress("runs", 4)
    steps, plain_seconds = plain_run()
    progress.show(1)
    target = Random(1).randrange(steps * 9 // 10, steps)
    found = [Row("plain run of the stage", plain_seconds, "s"), Row("its steps", steps, "steps")]
    for number, (side, part) in enumerate((("server", server), ("challenger", challenger))):
        played = min(in_own_process(part, target, steps) for _ in range(ROUNDS))
        found.append(Row(f"honest {side}", played.seconds, "s", "plain run", plain_seconds, MOST_RUNS * plain_seconds))
        if played.peak_bytes is not None:
            limit = 2.5 * TOUCHED_BYTES / MEBI + 512
            found.append(Row(f"honest {side}: peak memory", played.peak_bytes / MEBI, "MiB", "touched", TOUCHED_BYTES / MEBI, limit))
        progress.show(2 + number)
    machine, native = model_in_one_stage()
    progress.show(4)
    return [*found, Row("embedded model in one stage", machine, "s", "native, one thread", native, MOST_NATIVE_RUNS * native)]


def in_own_process(part: Callable[[int, int], Played], target: int, steps: int) -> Played:
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(part, (target, steps))


# One stage of 10^9 steps -----------------------------------------------------------------------------------------------------------


def stage_image() -> Image:
    program = program_of_elf((FOLDER / f"{STAGE}.elf").read_bytes())
    program += bytes(-len(program) % 4)
    return model_of(list(unpack(f"<{len(program) // 4}I", program)))


def plain_run() -> tuple[int, float]:
    """Steps and seconds, with translated code at hand and the memory given by the system, as a player has them at its second pass."""
    machine = Run(stage_image(), REQUEST, stages=1, device="vm").machine
    begin = machine.snapshot()
    seconds = []
    for _ in range(ROUNDS):
        machine.restore(begin)
        machine.begin_stage(0)
        start = time.perf_counter()
        machine.run(STAGE_STEP_LIMIT)
        seconds.append(time.perf_counter() - start)
    if tuple(machine.status) != (HALTED, 0):
        raise CheckFailed(f"the stage ended with {machine.status}")
    return machine.steps, min(seconds)


def server(target: int, steps: int) -> Played:
    """Claims, opens the stage, posts hashes, has the step executed."""
    return measured(lambda computation: (computation.run_hash(), computation.opening(0)), target, steps)


def challenger(target: int, steps: int) -> Played:
    """Learns what should have been claimed, compares hashes, has the step executed."""
    return measured(lambda computation: computation.run_hash(), target, steps)


def measured(begin: Callable[[Computation], object], target: int, steps: int) -> Played:
    start = time.perf_counter()
    computation = Computation(stage_image(), REQUEST, 1, device="vm")
    begin(computation)
    segment = Segment(INSTRUCTIONS, 0, steps, b"", b"", 0)
    while segment.length > 1:
        ends = segment.boundaries(K)
        computation.hashes(0, ends[0], ends[1:-1])
        low, high = next((low, high) for low, high in pairwise(ends) if low <= target < high)
        segment = Segment(INSTRUCTIONS, low, high, b"", b"", 0)
    computation.witness(0, segment.lo)
    return Played(time.perf_counter() - start, peak_bytes())


def peak_bytes() -> int | None:
    """The most memory that this process has held; None where the system does not tell it for this process alone."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return 1024 * int(lines["VmHWM"].split()[0])


# A model in one stage --------------------------------------------------------------------------------------------------------------


def model_in_one_stage() -> tuple[float, float]:
    """Seconds of the embedded model's run in the machine and natively, either the second time."""
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
