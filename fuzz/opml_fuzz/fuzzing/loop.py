"""The loop: batch after batch, on as many processes as there are processors, until time is up or two engines disagree.

Each process makes its engines once.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from fractions import Fraction
from functools import cache
from itertools import count
from math import floor
from typing import Any

from attrs import field, frozen

from opml_fuzz.engines.room import EngineRoom
from opml_fuzz.fuzzing.asking import run_batch
from opml_fuzz.fuzzing.batches import share_of_sweep
from opml_fuzz.fuzzing.difference import Difference
from opml_fuzz.fuzzing.workers import submitted, workers

MakeRoom = Callable[[str | None], EngineRoom]


@frozen
class RunReport:
    """The result of a run of the fuzzer."""

    seed: int
    cases: int
    court_acts: int
    seconds: float
    sweep: Fraction
    """Which part of the sweep was tried: 1 is all of it."""
    differences: tuple[Difference, ...] = field(factory=tuple)

    def to_json(self) -> dict[str, Any]:
        differences = [{**difference.to_json(), "program": difference.program} for difference in self.differences]
        counts = {"seed": self.seed, "cases": self.cases, "court_acts": self.court_acts, "sweep": floor(1000 * self.sweep) / 1000}
        return {**counts, "seconds": round(self.seconds, 2), "differences": differences}


@frozen
class Done:
    """The result of one batch."""

    cases: int
    court_acts: int
    sweep: Fraction
    differences: tuple[Difference, ...]


@cache
def room_of_process(make_room: MakeRoom, target: str | None) -> EngineRoom:
    """Makes the engines of this process, the first time."""
    return make_room(target)


def make_engines(make_room: MakeRoom, target: str | None) -> None:
    """Makes the engines of a worker process."""
    room_of_process(make_room, target)


def run_batch_in_process(seed: int, number: int, make_room: MakeRoom, target: str | None, patience: float, until: float) -> Done:
    """Runs a batch in a worker process."""
    room = room_of_process(make_room, target)
    room.limit_waiting(patience, until)
    accepted_before = room.all.courts.accepted
    cases, differences = run_batch(seed, number, room, until)
    return Done(cases, room.all.courts.accepted - accepted_before, share_of_sweep(number, cases), tuple(differences))


def fuzz_on_all(
    make_room: MakeRoom, seed: int, seconds: float, target: str | None, show: Callable[[int, float], None] | None = None
) -> RunReport:
    """Runs batch after batch on all processors; stops after the first difference.

    make_room: the function that a process calls, with the target's command line, to make its engines; seconds: counted from when the
    engines are made; a target may take half of them for an answer"""
    done, number = list[Done](), count()
    processes = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with workers(processes) as pool:
        for made in [submitted(pool, make_engines, make_room, target) for _ in range(processes)]:
            made.result()
        begin = time.monotonic()
        given, running = (make_room, target, seconds / 2, begin + seconds), set[Future[Done]]()
        while not any(one.differences for one in done) and time.monotonic() - begin < seconds:
            running |= {submitted(pool, run_batch_in_process, seed, next(number), *given) for _ in range(processes + 1 - len(running))}
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            done += [future.result() for future in ready]
            if show:
                show(sum(one.cases for one in done), time.monotonic() - begin)
        done += [future.result() for future in running if not future.cancel()]
    differences = {difference.title: difference for one in done for difference in one.differences}
    cases, accepted = sum(one.cases for one in done), sum(one.court_acts for one in done)
    sweep = sum((one.sweep for one in done), Fraction(0))
    return RunReport(seed, cases, accepted, time.monotonic() - begin, sweep, tuple(differences.values()))
