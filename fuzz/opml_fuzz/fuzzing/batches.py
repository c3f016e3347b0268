"""Batches: a few hundred cases that one process makes in a row. Batch n of seed s has the same cases on every machine.

One batch in eight is about disputes. Each of the others has steps, witnesses, programs and related runs. The steps and witnesses of
the first ones are the sweep, which is the same for every seed; after it they are left to chance, as all others always are.
"""

from collections.abc import Iterator
from random import Random

from attrs import astuple

from opml_fuzz.disputes.deployments import tight_parameters
from opml_fuzz.machine.case import Case, Deployment, Disputes, Step, Witness
from opml_fuzz.machine.counted_loops import counted_loop
from opml_fuzz.machine.programs import gallery, loop
from opml_fuzz.machine.related import related
from opml_fuzz.machine.states import random_state
from opml_fuzz.machine.wrong_witnesses import wrong_witness
from opml_fuzz.sweep.order import BATCHES, sweep
from opml_fuzz.sweep.translated import translated

STEPS, WRONG_WITNESSES, LOOPS, COUNTED_LOOPS = 160, 32, 2, 2  # cases per batch after the sweep; a gallery has about as many again
COURT_EVERY, ACTS, DEPLOYMENTS = 8, 400, 30  # one batch in 8 goes to court, which takes a quarter of the time; acts per such batch
SWEEP_ENDS = BATCHES * COURT_EVERY // (COURT_EVERY - 1) + 1
"""The first batch after the sweep. (= 103)"""


def batch(seed: int, number: int) -> Iterator[Case]:
    """Yields the cases of the batch of this number."""
    rng = Random(f"{seed}/{number}")
    if goes_to_court(number):
        yield Disputes(f"{seed}/{number}", ACTS)
        for _ in range(DEPLOYMENTS):
            yield Deployment(astuple(tight_parameters(rng)))
        return
    about_the_machine = number - (number + COURT_EVERY - 2) // COURT_EVERY
    if about_the_machine < BATCHES:
        yield from sweep(about_the_machine)
        yield from translated(about_the_machine)
    else:
        for _ in range(STEPS):
            yield Step(random_state(rng))
        for _ in range(WRONG_WITNESSES):
            yield Witness(wrong_witness(rng, random_state(rng)))
    yield from gallery(rng)
    for _ in range(LOOPS):
        yield loop(rng)
    for _ in range(COUNTED_LOOPS):
        yield counted_loop(rng)
    yield from related(rng)


def goes_to_court(number: int) -> bool:
    """Tells whether the batch of this number is about disputes."""
    return number % COURT_EVERY == 1
