"""The loop: batch after batch, on as many processes as there are processors, until time is up or two engines disagree.

Each process makes its engines once.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from itertools import count
from multiprocessing import active_children, get_context
from multiprocessing.util import _run_finalizers  # type: ignore[attr-defined]  # what a worker does at its ordinary end
from signal import SIG_BLOCK, SIG_IGN, SIG_SETMASK, SIG_UNBLOCK, SIGINT, SIGTERM, pthread_sigmask, signal
from typing import Any, TypeVar

from attrs import field, frozen

from opml_fuzz.engines.room import EngineRoom
from opml_fuzz.fuzzing.asking import run_batch
from opml_fuzz.fuzzing.difference import Difference

ENDING = (SIGINT, SIGTERM)
END_SECONDS = 5.0  # for a worker that was told to end

T = TypeVar("T")
MakeRoom = Callable[[str | None], EngineRoom]


@frozen
class RunReport:
    """The result of a run of the fuzzer."""

    seed: int
    cases: int
    court_acts: int
    seconds: float
    differences: tuple[Difference, ...] = field(factory=tuple)

    def to_json(self) -> dict[str, Any]:
        differences = [{**difference.to_json(), "program": difference.program} for difference in self.differences]
        counts = {"seed": self.seed, "cases": self.cases, "court_acts": self.court_acts}
        return {**counts, "seconds": round(self.seconds, 2), "differences": differences}


@frozen
class Done:
    """The result of one batch."""

    cases: int
    court_acts: int
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
    return Done(cases, room.all.courts.accepted - accepted_before, tuple(differences))


def leave_signals_to_the_first_process() -> None:
    """Ignores Ctrl-C in a worker, which is told to end by SIGTERM; it then ends a target, too."""
    signal(SIGINT, SIG_IGN)
    signal(SIGTERM, lambda number, frame: _end_worker())
    pthread_sigmask(SIG_UNBLOCK, ENDING)


def _end_worker() -> None:
    _run_finalizers()
    os._exit(128 + SIGTERM)


@contextmanager
def ended_with_this_process(pool: ProcessPoolExecutor) -> Iterator[None]:
    """Ends the workers at once if an exception ends this process."""
    others = set(active_children())
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        workers = set(active_children()) - others
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join(END_SECONDS)
            worker.kill()
        raise


def submitted(pool: ProcessPoolExecutor, work: Callable[..., T], *arguments: Any) -> "Future[T]":
    """Submits work. A worker that this starts hears no signal before it has said what it does about signals."""
    before = pthread_sigmask(SIG_BLOCK, ENDING)
    try:
        return pool.submit(work, *arguments)
    finally:
        pthread_sigmask(SIG_SETMASK, before)


def fuzz_on_all(
    make_room: MakeRoom, seed: int, seconds: float, target: str | None, show: Callable[[int, float], None] | None = None
) -> RunReport:
    """Runs batch after batch on all processors; stops after the first difference.

    make_room: the function that a process calls, with the target's command line, to make its engines; seconds: counted from when the
    engines are made; a target may take half of them for an answer"""
    done, number = list[Done](), count()
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ProcessPoolExecutor(workers, get_context("spawn"), leave_signals_to_the_first_process) as pool, ended_with_this_process(pool):
        for made in [submitted(pool, make_engines, make_room, target) for _ in range(workers)]:
            made.result()
        begin = time.monotonic()
        given, running = (make_room, target, seconds / 2, begin + seconds), set[Future[Done]]()
        while not any(one.differences for one in done) and time.monotonic() - begin < seconds:
            running |= {submitted(pool, run_batch_in_process, seed, next(number), *given) for _ in range(workers + 1 - len(running))}
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            done += [future.result() for future in ready]
            if show:
                show(sum(one.cases for one in done), time.monotonic() - begin)
        done += [future.result() for future in running if not future.cancel()]
    differences = {difference.title: difference for one in done for difference in one.differences}
    cases, accepted = sum(one.cases for one in done), sum(one.court_acts for one in done)
    return RunReport(seed, cases, accepted, time.monotonic() - begin, tuple(differences.values()))
