"""What a target was asked before: the few questions after which it answers a later one wrongly that alone it answers rightly.

The target is started anew for every try. Questions are left out as long as the last one is still answered wrongly: first all but the
latest few, since a target mostly remembers the question right before, then any others.

*Source*: Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002).
"""

import time
from collections.abc import Callable, Sequence
from math import inf

from opml_fuzz.engines.protocol import OutOfTime, Target
from opml_fuzz.machine.simpler import parts
from opml_fuzz.machine.target_question import Question

MOST_SECONDS = 10.0


def asked_before(questions: Sequence[Question], right: list[str], target: Target, until: float = inf) -> tuple[Question, ...]:
    """Returns those that are needed, with the last question; none if that is answered rightly even after all, or if there is no time.

    right: the right answer to the last question"""
    *earlier, last = questions
    end = min(until, time.monotonic() + MOST_SECONDS)

    def is_wrong(before: Sequence[Question]) -> bool:
        if time.monotonic() >= end:
            return False
        target.begin_anew()
        return target.ask([*before, last])[-1] != right

    try:
        if not is_wrong(earlier):
            return ()
        latest = (earlier[-count:] for count in (1, 2, 4, 8, 16, 32, 64) if count < len(earlier))
        needed = fewest(next(filter(is_wrong, latest), earlier), is_wrong)
    except OutOfTime:
        return ()
    return (*needed, last)


def fewest(earlier: Sequence[Question], is_wrong: Callable[[Sequence[Question]], bool]) -> Sequence[Question]:
    """Leaves out halves, quarters and so on, at last single questions, until none can be spared."""
    fewer: Sequence[Question] | None = earlier
    while fewer is not None:
        earlier = fewer
        tries = ([each for i, each in enumerate(earlier) if i not in left_out] for left_out in parts(range(len(earlier))))
        fewer = next((kept for kept in tries if is_wrong(kept)), None)
    return earlier
