"""How a batch of cases is put to the engines, and what becomes of the differences: asked once more, in full, and shrunk."""

import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from math import inf

from attrs import evolve

from opml_fuzz.engines.protocol import OutOfTime
from opml_fuzz.engines.room import EngineRoom, Engines
from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.asked_before import asked_before
from opml_fuzz.fuzzing.batches import batch
from opml_fuzz.fuzzing.difference import Difference, compare
from opml_fuzz.fuzzing.kinds import KINDS, Watch, ignore
from opml_fuzz.fuzzing.shrinking import shrink
from opml_fuzz.fuzzing.target_batches import OURS, run_target_batch
from opml_fuzz.machine.case import Case
from opml_fuzz.machine.target_question import Question

MOST_DIFFERENCES = 3  # per batch: a defect shows in many cases


def run_batch(
    seed: int, number: int, room: EngineRoom, until: float = inf, kinds: Collection[str] = KINDS, watch: Watch = ignore
) -> tuple[int, list[Difference]]:
    """Runs a batch; returns the number of cases, and the first difference of each title, shrunk. Ends soon after the moment `until`.

    If there is a target, the batch is one for it, and most questions are put to nobody else."""
    if room.answering is not None:
        cases, found = run_target_batch(seed, number, room, until, kinds, watch)
    else:
        cases, found = run_cases(batch(seed, number, kinds), room, until, watch)
    return cases, in_full_and_once(found, room, until)


def in_full_and_once(found: list[Difference], room: EngineRoom, until: float) -> list[Difference]:
    """Asks again about the first differences, shrinks them, and returns one of each title."""
    smallest = [in_full(difference, room.all, until) for difference in found[:MOST_DIFFERENCES]]
    return list({difference.title: difference for difference in smallest}.values())


def run_cases(drawn: Iterable[Case], room: EngineRoom, until: float = inf, watch: Watch = ignore) -> tuple[int, list[Difference]]:
    """Compares the answers to each case; returns the number of cases, and the first difference of each title."""
    cases, found = 0, dict[str, Difference]()
    with suppress(OutOfTime):
        for case in drawn:
            watch(case)
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
        if engines.target is not None and difference.asked:
            needed = asked_before(difference.asked, difference.answers[OURS], engines.target, until)
            return difference.that_does_not_come_again(needed)
        return difference.that_does_not_come_again()
    return evolve(difference, asked=())


def asked_again(case: Case, questions: Sequence[Question], room: EngineRoom) -> Difference | None:
    """Puts all questions to a target that has just been started; None if it answers the last one, which is about the case, rightly."""
    target, answering = room.all.target, room.answering
    assert target is not None
    assert answering is not None
    last = questions[-1]
    right = next((right for question, right in answering.questions(case, target.knows) if question == last), None)
    if right is None:
        raise InputError("the last question of the replay file is not about its case, or the target does not know it")
    target.begin_anew()
    answer = target.ask(questions)[-1]
    return None if answer == right else Difference(case, {OURS: right, f"target, {last.kind}": answer}, False, asked=tuple(questions))
