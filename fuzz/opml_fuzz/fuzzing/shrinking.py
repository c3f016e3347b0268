"""Shrinking: from a case that shows a difference to one that a person would have chosen to show it.

A program is first begun later, as little before the step in which it goes wrong as shows it. Then whatever a case offers as simpler is
tried, the boldest variants first, and each that still shows a difference is taken. After such a success the search goes on from the same
place in the list and comes back to its beginning only at the end, because what did not matter before rarely does now. Every variant is
asked about once.

Hypothesis shrinks the choices from which a case was drawn, and so only what it drew itself. These cases come from a sweep, from files and
from other processes, too; the strategies of `opml_fuzz.strategies` do use its shrinking.

*Source*: Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002).
"""

import json
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import zip_longest
from math import inf
from typing import Any

from attrs import asdict, evolve
from opml_spec.errors import SpecError
from opml_spec.machine.merkle import DEPTH, LEAF_BYTES, Node, Pair
from opml_spec.machine.state import MachineState
from opml_spec.machine.step import step

from opml_fuzz.engines.protocol import Answers, OutOfTime
from opml_fuzz.engines.room import Engines
from opml_fuzz.fuzzing.deadline import stopped_at
from opml_fuzz.fuzzing.difference import Difference, compare
from opml_fuzz.fuzzing.fewer_acts import renamed
from opml_fuzz.machine.case import Acts, Case, Program
from opml_fuzz.machine.replay_limits import Limited, is_within_limits
from opml_fuzz.machine.start import Leaves, Start
from opml_fuzz.machine.training_case import TrainingStages
from opml_fuzz.models.random_training import stage_alone

TARGET, CONTRACT = "target", "contract"
NUMBER = re.compile(r"[0-9a-f]{64}|\d+(?= steps)")  # a hash, or how many steps were executed
MOST_TRIES, MOST_SECONDS = 1_500, 15.0  # per difference
MOST_STEPS = 3  # of a program that a person reads
EARLIER = (4, 5, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256)  # steps before the end of a program that must be longer


def shrink(difference: Difference, engines: Engines, until: float = inf, most_tries: int = MOST_TRIES) -> Difference:
    """Makes the case simpler as long as the same engines disagree alike, at most to the moment `until` of the monotonic clock."""
    few, end = of_each_camp(difference, engines), min(until, time.monotonic() + MOST_SECONDS)
    search = Search(few, end, most_tries)
    try:
        again = compare(difference.case, few, end)
        if again is None:
            return difference
        search.kinds, search.best = kinds_of_answers(again), again
        smaller = search.simplest(search.begun_later(again))
        if (later := search.begun_later(smaller)) is not smaller:
            search.simplest(later)
    except OutOfTime:
        pass
    smallest = search.best or difference
    with suppress(OutOfTime):
        return compare(smallest.case, engines, until) or smallest
    return smallest


def of_each_camp(difference: Difference, engines: Engines) -> Engines:
    """Chooses one engine for each answer, the first one that gives it: the rest would say the same and take time."""
    names = {tuple(answer): name for name, answer in reversed(difference.answers.items())}.values()
    asked = asdict(engines, recurse=False).items()
    kept: dict[str, Any] = {kind: tuple(e for e in each if e.name in names) for kind, each in asked if isinstance(each, tuple)}
    if not any(name.startswith(TARGET) for name in names):
        kept["target"] = None
    if not any(name.startswith(CONTRACT) for name in names):
        kept["courts"] = engines.courts.without_contract()
    return evolve(engines, **kept)


def kinds_of_answers(difference: Difference) -> dict[str, set[str]]:
    """Tells who gives a hash, who which error and who no answer: a simpler case must not show another difference than this one.

    Of stages in a row only the first that differ count."""
    answers = difference.answers
    if isinstance(difference.case, TrainingStages):
        wrong = first_wrong_stage(answers)
        answers = {name: answer[wrong : wrong + 1] for name, answer in answers.items()}
    return {name: {NUMBER.sub("", each).partition(":")[0] for each in answer} for name, answer in answers.items()}


def first_wrong_stage(answers: Answers) -> int:
    """Returns the place of the first answers that are not all the same, or that not all give."""
    rows = zip_longest(*answers.values())
    return next((place for place, row in enumerate(rows) if len(set(row)) > 1), 0)


class Search:
    """A search for a simpler case of a difference. `best` is the simplest one so far; `kinds`, what its answers must be."""

    def __init__(self, engines: Engines, until: float, most_tries: int) -> None:
        self._engines, self._until, self._left = engines, until, most_tries
        self._asked = set[str]()
        self.kinds: dict[str, set[str]] = {}
        self.best: Difference | None = None

    def shows(self, case: Case) -> Difference | None:
        """Asks about a case, unless it was asked about before."""
        name = json.dumps(case.to_json())
        if name in self._asked or self._left <= 0 or (isinstance(case, Limited) and not is_within_limits(case)):
            return None
        self._asked.add(name)
        self._left -= 1
        found = compare(case, self._engines, self._until)
        if found is None or kinds_of_answers(found) != self.kinds:
            return None
        self.best = found
        return found

    def begun_later(self, difference: Difference) -> Difference:
        """Begins a long program just before the step in which it goes wrong, and leaves one stage of many, if it still goes wrong."""
        cases: Iterable[Case]
        match difference.case:
            case Program():
                cases = later_starts(difference.case, self._engines, self._until)
            case TrainingStages(count=count) if count > 1:
                with stopped_at(self._until):
                    cases = [stage_alone(difference.case, first_wrong_stage(difference.answers))]
            case _:
                return difference
        return next((found for case in cases if (found := self.shows(case))), difference)

    def simplest(self, difference: Difference) -> Difference:
        """Goes through the variants until a whole round has brought nothing."""
        brought_something = True
        while brought_something and self._left > 0:
            brought_something, place = False, 0
            while found := self.first_from(difference.case, place):
                place, difference = found
                brought_something = True
        return difference

    def first_from(self, case: Case, place: int) -> tuple[int, Difference] | None:
        """Finds the first variant from this place on that shows a difference; acts have a place of their own in mind."""
        variants: Iterable[Case] = case.simpler()
        for at, variant in enumerate(variants):
            if isinstance(case, Acts) and isinstance(variant, Acts):
                if found := self.shows(renamed(case, variant)):
                    return at, found
            elif at >= place and (found := self.shows(variant)):
                return at, found
        return None


def later_starts(program: Program, engines: Engines, until: float) -> Iterator[Program]:
    """Yields the program begun just before the step in which it goes wrong, with one stop or two soon after, then begun earlier.

    What went wrong earlier may not have shown then: a write to x0 is seen when x0 is read."""
    wrong_at = first_wrong_step(program, engines, until) if program.stops[-1] > MOST_STEPS else None
    if wrong_at is None:
        return
    for steps in range(1, min(wrong_at, MOST_STEPS) + 1):
        start = after(program.start, wrong_at - steps)
        if start is not None:
            yield from (Program(start, (stop,)) for stop in range(steps, MOST_STEPS + 1))
    for steps in EARLIER:
        if steps < wrong_at and (start := after(program.start, wrong_at - steps)) is not None:
            yield Program(start, (steps,))


def first_wrong_step(program: Program, engines: Engines, until: float = inf) -> int | None:
    """Finds a number of steps after which the engines disagree, though they agree one step before; None if they never disagree.

    Each number of steps is a run of its own, because translated code goes other ways if it is stopped more often."""

    def is_wrong(stop: int) -> bool:
        return compare(evolve(program, stops=(stop,)), engines, until) is not None

    high = next((stop for stop in program.stops if is_wrong(stop)), None)
    if high is None:
        return None
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_wrong(middle) else (middle, high)
    return high


def after(start: Start, steps: int) -> Start | None:
    """Executes steps by the specification; None if it raises."""
    try:
        state = start.state()
        for _ in range(steps):
            state = step(state)
        return written_out(state)
    except (SpecError, ArithmeticError, LookupError, ValueError, TypeError):  # a broken specification may raise anything
        return None


def written_out(state: MachineState) -> Start:
    """Writes a state out, with each leaf that is not zero."""
    leaves = dict(_leaves(state.memory.tree, DEPTH, 0))
    return Start(state.pc, tuple(state.x), Leaves(leaves), int(state.status.kind), state.status.value)


def _leaves(node: Node, height: int, index: int) -> Iterator[tuple[int, bytes]]:
    if isinstance(node, Pair):
        yield from _leaves(node.left, height - 1, 2 * index)
        yield from _leaves(node.right, height - 1, 2 * index + 1)
    elif height == 0 and node != bytes(LEAF_BYTES):
        yield index, node
