"""The loop: first the cases that were kept, then batch after batch, on all workers, until time is up or two engines disagree.

Where the workers are does not matter here: in processes of this computer (`workers.py`) or in a cluster (`cluster.py`). Work whose worker
dies is given to another one, alone, so that it is known what kills it; then the campaign goes on without it.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import AbstractContextManager, ExitStack
from fractions import Fraction
from itertools import count, islice
from math import floor
from typing import Any

from attrs import define, field, frozen

from opml_fuzz.fuzzing.difference import Difference
from opml_fuzz.fuzzing.work import Campaign, Done, Work, do, make_engines
from opml_fuzz.fuzzing.workers import submitted
from opml_fuzz.machine.case import Case

KEPT_AT_ONCE = 40  # cases
Crew = Callable[[], AbstractContextManager[tuple[Executor, int]]]
"""Gives workers, and how many there are."""


class WorkerLost(BrokenExecutor):
    """The worker of a piece of work died, and that is known to be this work's doing or its fate alone."""


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
    kept: int = 0
    """Cases from files that were tried."""
    lost: tuple[str, ...] = ()
    """Work that ended its worker."""
    unusable: tuple[str, ...] = ()
    """Why files that should be tried first hold no case: a line for each."""

    def to_json(self) -> dict[str, Any]:
        differences = [{**difference.to_json(), "program": difference.program} for difference in self.differences]
        counts = {"seed": self.seed, "cases": self.cases, "court_acts": self.court_acts, "sweep": floor(1000 * self.sweep) / 1000}
        more = {"kept": self.kept, "lost": list(self.lost), "unusable": list(self.unusable)}
        return {**counts, **more, "seconds": round(self.seconds, 2), "differences": differences}


def pieces(kept: Iterable[tuple[str, Case]]) -> Iterator[Work]:
    """Yields all work: the cases that were kept, then batches without end."""
    cases = iter(kept)
    while some := tuple(islice(cases, KEPT_AT_ONCE)):
        yield Work(0, some)
    yield from map(Work, count())


def processors() -> int:
    """Counts the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fuzz_on_all(
    campaign: Campaign,
    seconds: float,
    crew: Crew,
    kept: Iterable[tuple[str, Case]] = (),
    keep: Callable[[Iterable[Case]], object] = lambda cases: None,
    show: Callable[[int, float], None] = lambda cases, time: None,
) -> RunReport:
    """Runs a campaign; stops after the first difference.

    seconds: counted from when the engines are made; a target may take half of them for an answer; kept: cases to run first, with their
    files; keep: called with the cases that were the first to reach a bin; show: called with the number of cases and the time"""
    with ExitStack() as stack:
        team = Team(crew, stack)
        team.prepare(campaign)
        begin, end = time.monotonic(), time.time() + seconds
        done, lost, work = list[Done](), list[str](), pieces(kept)
        while not any(one.differences for one in done) and time.monotonic() - begin < seconds:
            for piece in islice(work, team.free):
                team.give(piece, campaign, seconds / 2, end)
            for piece, result in team.results():
                if isinstance(result, Done):
                    done.append(result)
                    keep(result.reached)
                else:
                    lost.append(piece.name(campaign.seed))
            show(sum(one.cases for one in done), time.monotonic() - begin)
        rest = list(team.all_results())
        done += [result for _, result in rest if isinstance(result, Done)]
        lost += [piece.name(campaign.seed) for piece, result in rest if not isinstance(result, Done)]
        duration = time.monotonic() - begin
    differences = {difference.title: difference for one in done for difference in one.differences}
    cases, accepted = sum(one.cases for one in done), sum(one.court_acts for one in done)
    sweep, kept_count = sum((one.sweep for one in done), Fraction(0)), sum(one.kept for one in done)
    return RunReport(campaign.seed, cases, accepted, duration, sweep, tuple(differences.values()), kept_count, tuple(lost))


@define
class Team:
    """Workers and the work that they have. After a worker has died, each piece of work that may have been the cause is done alone."""

    _crew: Crew
    _stack: ExitStack
    _given: dict["Future[Done]", tuple[Work, tuple[Any, ...]]] = field(factory=dict)
    _suspects: list[tuple[Work, tuple[Any, ...]]] = field(factory=list)
    _is_suspect: bool = False
    _executor: Executor = field(init=False)
    size: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._executor, self.size = self._stack.enter_context(self._crew())

    def prepare(self, campaign: Campaign) -> None:
        """Lets every worker make its engines."""
        for made in [submitted(self._executor, make_engines, campaign) for _ in range(self.size)]:
            made.result()

    @property
    def free(self) -> int:
        """How many more pieces of work can be given: one more than there are workers is always there; none while suspects are tried."""
        return 0 if self._suspects or self._is_suspect else self.size + 1 - len(self._given)

    def give(self, work: Work, *arguments: Any) -> None:
        self._given[submitted(self._executor, do, work, *arguments)] = work, arguments

    def results(self) -> Iterator[tuple[Work, Done | WorkerLost]]:
        """Waits for some work to end and yields its results."""
        if self._suspects and not self._given:
            work, arguments = self._suspects.pop()
            self.give(work, *arguments)
            self._is_suspect = True
        ready, _ = wait(self._given, return_when=FIRST_COMPLETED)
        alone, self._is_suspect = len(self._given) == 1, False
        broken = list[tuple[Work, tuple[Any, ...]]]()
        for future in ready:
            work, arguments = self._given.pop(future)
            try:
                yield work, future.result()
            except WorkerLost as error:
                yield work, error
            except BrokenExecutor as error:
                broken.append((work, arguments))
                if alone:
                    yield work, WorkerLost(str(error))
        if broken:
            self._executor, self.size = self._stack.enter_context(self._crew())
            self._suspects += [] if alone else [*broken, *self._given.values()]
            self._given.clear()

    def all_results(self) -> Iterator[tuple[Work, Done | WorkerLost]]:
        """Waits for all work that was given."""
        while self._given or self._suspects:
            yield from self.results()
