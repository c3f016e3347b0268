"""How a batch of cases is put to the engines, and what becomes of the differences: asked once more, in full, and shrunk."""

import time
from contextlib import suppress
from math import inf

from opml_fuzz.engines.protocol import OutOfTime
from opml_fuzz.engines.room import EngineRoom, Engines
from opml_fuzz.fuzzing.batches import batch
from opml_fuzz.fuzzing.difference import Difference, compare
from opml_fuzz.fuzzing.shrinking import shrink
from opml_fuzz.fuzzing.target_batches import run_target_batch

MOST_DIFFERENCES = 3  # per batch: a defect shows in many cases


def run_batch(seed: int, number: int, room: EngineRoom, until: float = inf) -> tuple[int, list[Difference]]:
    """Runs a batch; returns the number of cases, and the first difference of each title, shrunk. Ends soon after the moment `until`.

    If there is a target, the batch is one for it, and most questions are put to nobody else."""
    if room.answering is not None:
        cases, found = run_target_batch(seed, number, room, until)
    else:
        cases, found = run_own_batch(seed, number, room, until)
    smallest = [in_full(difference, room.all, until) for difference in found[:MOST_DIFFERENCES]]
    return cases, list({difference.title: difference for difference in smallest}.values())


def run_own_batch(seed: int, number: int, room: EngineRoom, until: float) -> tuple[int, list[Difference]]:
    """Compares our implementations with each other."""
    cases, found = 0, dict[str, Difference]()
    with suppress(OutOfTime):
        for case in batch(seed, number):
            if difference := compare(case, room.for_case(cases + 1), until):
                found.setdefault(difference.title, difference)
            cases += 1
            if time.monotonic() > until:
                break
    return cases, list(found.values())


def in_full(difference: Difference, engines: Engines, until: float) -> Difference:
    """Asks all engines about the case, if there is time for it, a target as if it had just been started; then shrinks it.

    A difference that does not come again is marked: it depends on what was asked before, or on chance."""
    if engines.target is not None:
        engines.target.begin_anew()
    with suppress(OutOfTime):
        again = compare(difference.case, engines, until)
        if again is not None:
            return shrink(again, engines, until)
        if engines.target is not None:
            return difference.that_does_not_come_again()
    return difference
