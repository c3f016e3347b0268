"""Batches for a target: thousands of questions of which we know the answers, put to it many at a time.

The sweep has the same numbers as without a target. In all other batches each state comes with many variants of its registers, and one case
in nine is a forged witness. One case in two hundred is put to our implementations, too, and so are related runs.

One batch in eight begins with acts at court, operations and stages, if the target knows such questions; every batch is about them, if it
knows no others.
"""

import re
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from math import inf
from random import Random

from attrs import astuple, evolve

from opml_fuzz.disputes.deployments import tight_parameters
from opml_fuzz.disputes.sequences import draw_acts
from opml_fuzz.engines.model_runs import guest_stages
from opml_fuzz.engines.protocol import NO_ANSWER, Answering, OutOfTime, Target
from opml_fuzz.engines.room import EngineRoom
from opml_fuzz.fuzzing.batches import goes_to_court, part_of_sweep
from opml_fuzz.fuzzing.difference import Difference, compare
from opml_fuzz.fuzzing.kinds import ABOUT_THE_MACHINE, KINDS, Watch, askable, ignore, kind_of
from opml_fuzz.fuzzing.recipe_runs import recipe_stage
from opml_fuzz.machine.case import Acts, Case, Deployment, Step, Witness
from opml_fuzz.machine.court_answer import first_different
from opml_fuzz.machine.edits import Edit
from opml_fuzz.machine.model_case import OneStage
from opml_fuzz.machine.programs import gallery, loop
from opml_fuzz.machine.related import related
from opml_fuzz.machine.relation import Related
from opml_fuzz.machine.start import Start
from opml_fuzz.machine.states import random_state
from opml_fuzz.machine.target_question import RUN
from opml_fuzz.machine.training_case import TrainingStages
from opml_fuzz.machine.variants import variants
from opml_fuzz.machine.wrong_witnesses import random_edit
from opml_fuzz.models.corner_models import corner_operations
from opml_fuzz.models.corner_training import corner_training
from opml_fuzz.models.edge_draws import edge_draws
from opml_fuzz.models.random_models import corner_operation, random_operation, random_stage
from opml_fuzz.models.random_training import random_training_operation, refused_request
from opml_fuzz.sweep.order import sweep
from opml_fuzz.sweep.programs import programs

STATES, VARIANTS, FORGED, LOOPS = 64, 24, 3, 2  # per batch; variants and forged witnesses per state
ROUNDS = 2  # in a batch that is not about the machine
ACTS, AT_EDGES, DEPLOYMENTS, OPERATIONS, STAGES_OF_RUNS = 200, (0, 60, 120), 8, 4, 4  # per round; acts, how many at edges of time
CORNERS, CORNERS_EVERY = 8, 17  # corner operations per round; rounds until all of them were asked about
TRAINING, REFUSED, TRAINING_CORNERS, TRAINING_CORNERS_EVERY = 12, 2, 26, 41  # per round; rounds until all corners were asked
OURS = "opml"  # who gives the right answers
AT_ONCE = 100  # cases that are asked about before an answer is looked at
FEW_AT_ONCE = 16  # likewise, not about the machine: such questions may take a second each
ALSO_OURS_EVERY = 200  # cases, beginning with another one in each batch: 200 acts at court take seconds on the slowest EVM
BESIDE_THE_MACHINE = (Acts, Deployment, OneStage, TrainingStages)
NUMBER = re.compile(r"\d+ ")  # of acts, in a title


def target_batch(seed: int, number: int, answering: Answering, knows: frozenset[str], kinds: Collection[str] = KINDS) -> Iterator[Case]:
    """Yields the cases of the batch of this number, of those kinds about which a target with this knowledge can be asked."""
    wanted = askable(kinds, knows)
    others = wanted.difference(ABOUT_THE_MACHINE)
    if goes_to_court(number) or wanted == others:
        yield from beside_the_machine(seed, number, others)
    if wanted != others:
        yield from (case for case in about_the_machine(seed, number, answering, RUN in knows) if kind_of(case) in wanted)


def beside_the_machine(seed: int, number: int, kinds: Collection[str]) -> Iterator[Case]:
    """Yields acts, deployments, operations and stages in turn, so that each comes soon; at last a stage of a training run."""
    rng = Random(f"target/{seed}/{number}")
    for place in range(ROUNDS):
        if "court" in kinds:
            yield from (draw_acts(f"target/{seed}/{number}/{place}/{late}", ACTS - late, late) for late in AT_EDGES)
        if "deployment" in kinds:
            yield from (Deployment(astuple(tight_parameters(rng))) for _ in range(DEPLOYMENTS))
        if "op" in kinds:
            yield from (draw(rng) for draw in (random_operation, corner_operation) for _ in range(OPERATIONS))
            yield from edge_draws(rng, is_float=place % 2 == 1)
            yield from corner_operations()[(ROUNDS * number + place) % CORNERS_EVERY :: CORNERS_EVERY]
        if "stage" in kinds:
            yield from (random_stage(rng, guest_stages) for _ in range(STAGES_OF_RUNS))
        if "training" in kinds:
            yield from (random_training_operation(rng) for _ in range(TRAINING))
            yield from (refused_request(rng) for _ in range(REFUSED))
            yield from corner_training()[(ROUNDS * number + place) % TRAINING_CORNERS_EVERY :: TRAINING_CORNERS_EVERY]
    if "training" in kinds:
        yield recipe_stage(rng, number)


def about_the_machine(seed: int, number: int, answering: Answering, with_programs: bool) -> Iterator[Case]:
    rng = Random(f"target/{seed}/{number}")
    part = part_of_sweep(number)
    if part is not None:
        yield from sweep(part)
        if with_programs:
            yield from programs(part)
    else:
        for _ in range(STATES):
            start = random_state(rng)
            yield from map(Step, variants(rng, start, VARIANTS))
            for _ in range(FORGED):
                yield forged(rng, start, answering.witness(start))
    if with_programs:
        yield from gallery(rng)
        for _ in range(LOOPS):
            yield loop(rng)
    yield from related(rng)


def forged(rng: Random, start: Start, witness: bytes) -> Witness:
    """Spoils the witness of a state once or twice."""
    edits = list[Edit]()
    for _ in range(rng.choice((1, 1, 2))):
        edits.append(random_edit(rng, witness))
        witness = edits[-1].apply(witness)
    return Witness(witness, start, tuple(edits))


def run_target_batch(
    seed: int, number: int, room: EngineRoom, until: float = inf, kinds: Collection[str] = KINDS, watch: Watch = ignore
) -> tuple[int, list[Difference]]:
    """Asks the questions of a batch up to the first wrong answers; returns the number of cases and what is wrong, by title."""
    target, answering = room.most.target, room.answering
    assert target is not None
    assert answering is not None
    cases, found = 0, dict[str, Difference]()
    drawn = target_batch(seed, number, answering, target.knows, kinds)
    with suppress(OutOfTime):
        while not found and time.monotonic() < until and (first := next(drawn, None)):
            at_once = FEW_AT_ONCE if isinstance(first, BESIDE_THE_MACHINE) else AT_ONCE
            some = [first, *islice(drawn, at_once - 1)]
            for case in some:
                watch(case)
            wrong = set[int]()
            for place, difference in ask_target(some, target, answering):
                wrong.add(place)
                found.setdefault(NUMBER.sub("", difference.title), difference)
            also_ours = [i for i, each in enumerate(some) if (i + cases + number) % ALSO_OURS_EVERY == 0 or isinstance(each, Related)]
            cases += len(some)
            for case in (some[i] for i in also_ours if i not in wrong):
                if other := compare(case, room.most, until):
                    found.setdefault(other.title, other)
    return cases, list(found.values())


def ask_target(cases: list[Case], target: Target, answering: Answering) -> Iterator[tuple[int, Difference]]:
    """Asks a target all that it knows about these cases; yields the wrong answers, each with the place of its case."""
    asked = [(at, *each) for at, case in enumerate(cases) for each in answering.questions(case, target.knows)]
    answers = target.ask([question for _, question, _ in asked])
    for place, ((at, question, right), answer) in enumerate(zip(asked, answers, strict=False)):
        if answer != right:
            up_to_here = tuple(question for _, question, _ in asked[: place + 1])
            shown = up_to_the_wrong_act(cases[at], right, answer)
            yield at, Difference(shown, {OURS: right, f"target, {question.kind}": answer}, asked=up_to_here)


def up_to_the_wrong_act(case: Case, right: list[str], answer: list[str]) -> Case:
    """Leaves out the acts after the first that was answered wrongly; without an answer there is none."""
    if not isinstance(case, Acts) or answer[0].startswith(NO_ANSWER):
        return case
    return evolve(case, acts=case.acts[: first_different(right, answer)])
