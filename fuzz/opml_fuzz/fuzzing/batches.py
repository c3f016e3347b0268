"""Batches: a few hundred cases that one process makes in a row. Batch n of seed s has the same cases on every machine.

One batch in eight is about disputes. Each of the others has steps, witnesses, programs and related runs. The steps and witnesses of the
first ones are the sweep, which is the same for every seed; after it they are left to chance, as all others always are. Then another batch
in eight is about floats, operations, stages and whole runs of models, and another one about training. If only some kinds of cases are
wanted, a batch without any of them is about those.
"""

from collections.abc import Callable, Collection, Iterator
from fractions import Fraction
from functools import partial
from random import Random

from attrs import astuple

from opml_fuzz.disputes.deployments import at_limits, tight_parameters
from opml_fuzz.engines.model_runs import guest_stages
from opml_fuzz.fuzzing.kinds import ABOUT_MODELS, ABOUT_THE_MACHINE, ABOUT_TRAINING, AT_COURT, KINDS, kind_of
from opml_fuzz.fuzzing.recipe_runs import recipe_run
from opml_fuzz.machine.case import Case, Deployment, Disputes, Step
from opml_fuzz.machine.counted_loops import counted_loop
from opml_fuzz.machine.programs import gallery, loop
from opml_fuzz.machine.random_floats import random_float_operation
from opml_fuzz.machine.related import related
from opml_fuzz.machine.states import random_state
from opml_fuzz.machine.wrong_witnesses import spoiled
from opml_fuzz.models.corner_models import corner_operations, corner_runs
from opml_fuzz.models.corner_training import corner_training
from opml_fuzz.models.edge_draws import edge_draws
from opml_fuzz.models.random_models import random_operation, random_run, random_stage
from opml_fuzz.models.random_training import random_training_operation, random_training_stages, refused_request
from opml_fuzz.models.refused_models import images_at_bounds, images_at_edges, images_at_ranges, moved_operation, random_image
from opml_fuzz.models.refused_training import random_training_tape, tapes_at_bounds, tapes_at_edges, tapes_that_just_fit
from opml_fuzz.sweep.order import BATCHES, share, sweep
from opml_fuzz.sweep.programs import programs

STEPS, WRONG_WITNESSES, LOOPS, COUNTED_LOOPS = 160, 32, 2, 2  # cases per batch after the sweep; a gallery has about as many again
COURT_EVERY, ACTS, DEPLOYMENTS = 8, 400, 30  # one batch in 8 goes to court, which takes a quarter of the time; acts per such batch
FLOATS, OPERATIONS, MOVED, STAGES, RUNS, IMAGES, MODELS_AT = 200, 24, 6, 6, 3, 30, 5  # cases per batch about models, its number among eight
TRAINING_OPERATIONS, TRAINING_TAPES, SHARING_TAPES, REFUSED_REQUESTS = 40, 60, 10, 6  # cases per batch about training
TRAINING_AT, TRAINING_CORNERS_EVERY = 3, 7  # its number among eight; such batches until all corners of training were asked about
LOADERS_EVERY = 7  # batches: all models at the end of what a loader takes, one in seven about models
CORNERS_EVERY = 3  # batches about models: all corner operations; as many as there are corner runs: all of those
SWEEP_ENDS = BATCHES * COURT_EVERY // (COURT_EVERY - 1) + 1
"""The first batch after the sweep. (= 103)"""

COURT_BATCHES = SWEEP_ENDS // COURT_EVERY + 1
"""Batches before it that go to court. (= 13)"""


def batch(seed: int, number: int, kinds: Collection[str] = KINDS) -> Iterator[Case]:
    """Yields the cases of the batch of this number, of these kinds only."""
    rng = Random(f"{seed}/{number}")
    match theme(number, kinds):
        case "court":
            yield from about_disputes(seed, number, rng, kinds)
        case "models":
            yield from about_models(number, rng, kinds)
        case "training":
            yield from about_training(number, rng)
        case _:
            yield from (case for case in about_the_machine(number, rng) if kind_of(case) in kinds)


def theme(number: int, kinds: Collection[str]) -> str:
    """Tells what the batch of this number is about."""
    after_sweep = {MODELS_AT: "models", TRAINING_AT: "training"} if number >= SWEEP_ENDS else {}
    usual = "court" if goes_to_court(number) else after_sweep.get(number % COURT_EVERY, "machine")
    themes = {"machine": ABOUT_THE_MACHINE, "court": AT_COURT, "models": ABOUT_MODELS, "training": ABOUT_TRAINING}
    wanted = [name for name, its_kinds in themes.items() if not set(its_kinds).isdisjoint(kinds)]
    return usual if usual in wanted else wanted[number % len(wanted)]


def about_disputes(seed: int, number: int, rng: Random, kinds: Collection[str]) -> Iterator[Case]:
    if "court" in kinds:
        yield Disputes(f"{seed}/{number}", ACTS)
    if "deployment" in kinds:
        if number < SWEEP_ENDS and goes_to_court(number):
            yield from (Deployment(astuple(each)) for each in at_limits(number // COURT_EVERY, COURT_BATCHES))
        for _ in range(DEPLOYMENTS):
            yield Deployment(astuple(tight_parameters(rng)))


def about_models(number: int, rng: Random, kinds: Collection[str]) -> Iterator[Case]:
    makers: tuple[tuple[str, int, Callable[[Random], Case]], ...] = (
        *(("float", FLOATS, random_float_operation), ("op", OPERATIONS, random_operation)),
        *(("op", MOVED, moved_operation), ("stage", STAGES, partial(random_stage, run_stages=guest_stages))),
        *(("model", RUNS, random_run), ("model", IMAGES, random_image)),
    )
    for kind, count, make in makers:
        if kind in kinds:
            yield from (make(rng) for _ in range(count))
    if "op" in kinds:
        yield from edge_draws(rng, rng.random() < 0.5)
        yield from corner_operations()[number % CORNERS_EVERY :: CORNERS_EVERY]
    if "model" in kinds:
        yield corner_runs()[number % len(corner_runs())]
        if number % LOADERS_EVERY == 0:
            yield from (*images_at_ranges(), *images_at_edges(), *images_at_bounds())


def about_training(number: int, rng: Random) -> Iterator[Case]:
    makers: tuple[tuple[int, Callable[[Random], Case]], ...] = (
        *((TRAINING_OPERATIONS, random_training_operation), (TRAINING_TAPES, random_training_tape)),
        *((SHARING_TAPES, random_training_stages), (REFUSED_REQUESTS, refused_request)),
    )
    for count, make in makers:
        yield from (make(rng) for _ in range(count))
    yield from corner_training()[number % TRAINING_CORNERS_EVERY :: TRAINING_CORNERS_EVERY]
    if number % TRAINING_CORNERS_EVERY == 0:
        yield from tapes_at_bounds()
        yield from tapes_at_edges()
        yield from tapes_that_just_fit()
    yield recipe_run(rng, number)


def about_the_machine(number: int, rng: Random) -> Iterator[Case]:
    part = part_of_sweep(number)
    if part is not None:
        yield from sweep(part)
        yield from programs(part)
    else:
        for _ in range(STEPS):
            yield Step(random_state(rng))
        for _ in range(WRONG_WITNESSES):
            yield spoiled(rng, random_state(rng))
    yield from gallery(rng)
    for _ in range(LOOPS):
        yield loop(rng)
    for _ in range(COUNTED_LOOPS):
        yield counted_loop(rng)
    yield from related(rng)


def share_of_sweep(number: int, cases: int, kinds: Collection[str] = KINDS) -> Fraction:
    """Tells which part of the whole sweep the first cases of the batch of this number are; none if only a part of it is wanted."""
    part = part_of_sweep(number)
    return Fraction(0) if part is None or not {"step", "witness"} <= set(kinds) else share(part, cases)


def part_of_sweep(number: int) -> int | None:
    """Tells which part of the sweep the batch of this number has; none if it goes to court or comes later."""
    if number >= SWEEP_ENDS or goes_to_court(number):
        return None
    return number - (number + COURT_EVERY - 2) // COURT_EVERY  # without the earlier ones that go to court


def goes_to_court(number: int) -> bool:
    """Tells whether the batch of this number is about disputes."""
    return number % COURT_EVERY == 1
