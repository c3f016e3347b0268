"""A piece of work: some cases that were kept, or a batch; and what a worker makes of it, wherever it is.

A worker makes its engines once. They may be used only by the thread that made them, and by one thread of a process at a time.
"""

import time
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from threading import Lock, get_ident

from attrs import field, frozen

from opml_fuzz.engines.room import EngineRoom
from opml_fuzz.fuzzing.asking import in_full_and_once, run_batch, run_cases
from opml_fuzz.fuzzing.batches import share_of_sweep
from opml_fuzz.fuzzing.corpus import Collector
from opml_fuzz.fuzzing.difference import Difference
from opml_fuzz.fuzzing.explaining import explained
from opml_fuzz.fuzzing.kinds import KINDS, ignore
from opml_fuzz.machine.case import Case

MakeRoom = Callable[[str | None], EngineRoom]

_one_at_a_time = Lock()


@frozen
class Campaign:
    """What a campaign is about. make_room: makes the engines of a worker, with the target's command line; collects: for a corpus"""

    make_room: MakeRoom
    seed: int
    target: str | None = None
    kinds: frozenset[str] = KINDS
    collects: bool = False


@frozen
class Work:
    """Cases that were kept, each with the name of its file, or without any the batch of that number."""

    number: int
    kept: tuple[tuple[str, Case], ...] = ()

    def name(self, seed: int) -> str:
        if self.kept:
            (first, _), *_, (last, _) = (*self.kept, self.kept[-1])
            return f"the cases from {first} to {last}" if len(self.kept) > 1 else first
        return f"seed {seed}, batch {self.number}"


@frozen
class Done:
    """The result of a piece of work. reached: the cases that this worker has seen as the first to reach a bin"""

    cases: int
    court_acts: int
    sweep: Fraction
    differences: tuple[Difference, ...]
    kept: int = 0
    reached: tuple[Case, ...] = field(factory=tuple)


@cache
def room_of_thread(make_room: MakeRoom, target: str | None, thread: int) -> EngineRoom:
    """Makes the engines of a thread, the first time."""
    return make_room(target)


@cache
def collector_of_process() -> Collector:
    return Collector()


def make_engines(campaign: Campaign) -> None:
    """Makes the engines of a worker."""
    with _one_at_a_time:
        room_of_thread(campaign.make_room, campaign.target, get_ident())


def do(work: Work, campaign: Campaign, patience: float, end: float) -> Done:
    """Does a piece of work in a worker, at most to the time `end`, in seconds since 1970; an answer of a target may take `patience`."""
    until = time.monotonic() + end - time.time()
    with _one_at_a_time:
        room = room_of_thread(campaign.make_room, campaign.target, get_ident())
        room.limit_waiting(patience, until)
        accepted_before, collector = room.all.courts.accepted, collector_of_process()
        if work.kept:
            cases, found = run_cases((case for _, case in work.kept), room, until)
            different, sweep = in_full_and_once(found, room, until), Fraction(0)
        else:
            watch = collector if campaign.collects else ignore
            cases, different = run_batch(campaign.seed, work.number, room, until, campaign.kinds, watch)
            sweep = share_of_sweep(work.number, cases, campaign.kinds)
        origin = work.name(campaign.seed)
        told = tuple(explained(difference, room.all, origin, until) for difference in different)
        accepted = room.all.courts.accepted - accepted_before
    return Done(cases, accepted, sweep, told, cases if work.kept else 0, collector.take())
