"""Training under fuzzing: all agree on ops, runs and tapes; no cell of the table is empty; defects are found, shrunk and told."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from attrs import evolve
from numba import njit
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.engines.room import EngineRoom, Engines
from opml_fuzz.engines.targets.external import External
from opml_fuzz.engines.training_runs import ACCEPTED, GuestTraining, NativeTraining, SpecTraining
from opml_fuzz.fuzzing.asking import in_full
from opml_fuzz.fuzzing.batches import COURT_EVERY, SWEEP_ENDS, TRAINING_AT, TRAINING_CORNERS_EVERY, batch
from opml_fuzz.fuzzing.changed_code import changed
from opml_fuzz.fuzzing.corpus import Corpus, bins, cases_in
from opml_fuzz.fuzzing.difference import Difference, compare, read
from opml_fuzz.fuzzing.explaining import explained
from opml_fuzz.fuzzing.recipe_runs import RECIPES, recipe_run
from opml_fuzz.fuzzing.shrinking import shrink
from opml_fuzz.fuzzing.target_batches import target_batch
from opml_fuzz.machine.case import Case, from_json
from opml_fuzz.machine.training_case import TrainingStages, TrainingTape, numbers_in, training_model
from opml_fuzz.models.corner_training import corner_training, corner_training_of
from opml_fuzz.models.random_training import KINDS, one_training_operation, random_training_stages, refused_request, usual_of
from opml_fuzz.models.refused_training import random_training_tape, tapes_at_bounds, tapes_that_just_fit
from opml_fuzz.models.training_coverage import TrainingTable
from opml_fuzz.models.training_tensors import with_addresses
from opml_spec.training.operations.backward import BackwardSwiGlu, Sum
from opml_spec.training.operations.batch_operation import BatchOperation
from opml_spec.training.operations.forward import ForwardAdd, ForwardMatMul, ForwardRope

from opml_min.model.native.kernels.addressing import int32s
from opml_min.training import plans
from opml_min.training.loader import RANGES
from opml_min.training.operations import TrainingOpcode

ENGINES = SpecTraining(), GuestTraining(), NativeTraining(), NativeTraining(threads=2)
TRAINING = COURT_EVERY * (SWEEP_ENDS // COURT_EVERY + 1) + TRAINING_AT  # the number of a batch about training
THIS_ONE = frozenset({"training"})


@pytest.fixture(scope="module")
def room() -> EngineRoom:
    return engine_room()


def answers(case: Case) -> dict[str, list[str]]:
    return {engine.name: answer for engine in ENGINES if (answer := engine.answer(case)) is not None}


def assert_all_agree(case: TrainingStages, asked: int = len(ENGINES)) -> None:
    given = answers(case)
    assert len(given) == asked
    assert len(set(map(tuple, given.values()))) == 1, (case.operation(case.first), given)


# Nobody is broken ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_op(kind: type[BatchOperation]) -> None:
    """At random, and at a part of its corners, of which a campaign asks all."""
    rng = Random(kind.__name__)
    for case in (*(one_training_operation(rng, kind) for _ in range(8)), *list(corner_training_of(kind))[::5]):
        assert_all_agree(case)


def test_stages_in_a_row_and_requests_that_are_refused() -> None:
    rng = Random(1)
    for _ in range(8):
        assert_all_agree(random_training_stages(rng))
    refused = [refused_request(rng) for _ in range(60)]
    assert {answer[0] for case in refused for answer in [SpecTraining().answer(case)] if answer} >= {"exit 1", "exit 2"}
    for case in refused:
        assert_all_agree(case, len(answers(case)))


def test_the_runs_of_all_recipes_come_in_turn() -> None:
    """One of the cheapest is computed; tests/test_min_training_recipes.py has them all."""
    runs = [recipe_run(Random(1), number) for number in range(len(RECIPES))]
    assert len({tuple(record.opcode for record in run.records) for run in runs}) == len(RECIPES)
    assert_all_agree(recipe_run(Random(2), len(RECIPES) - 1))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_page_that_wrongly_counts_as_unwritten_shows(threads: int) -> None:
    (case,) = (case for case in corner_training_of(ForwardMatMul) if case.operation(case.first).first == 500)  # type: ignore[union-attr]
    assert_all_agree(case)
    with changed("opml_min.training.written", 'op["out"] + 4 * op["first"]', 'op["out"] - 4 * op["first"]'):
        assert NativeTraining(threads).answer(case) != SpecTraining().answer(case)


def test_in_each_update_other_rows_are_written() -> None:
    case = corner_training()[-1]
    assert_all_agree(case)
    with changed("opml_min.training.engine", "depends_on_indices(self._ops[end - 1])", "depends_on_indices(self._ops[end - 2])"):
        assert NativeTraining().answer(case) != SpecTraining().answer(case)
    with changed("opml_min.training.engine", "first = index + 1", "first = index - 1"):
        assert "raised RunsDiffer" in str(NativeTraining(threads=2).answer(case))


def test_tables_that_are_too_long_to_be_looked_at_may_be_valid() -> None:
    """So native code gives no number for its refusal."""
    rope = with_addresses(ForwardRope, usual_of(ForwardRope) | {"period": 1 << 17, "head_size": 1 << 10})
    assert NativeTraining().answer(TrainingTape(training_model([rope.record()], {}))) is None


def test_loaders_agree_on_what_they_refuse() -> None:
    rng, verdicts = Random(2), Counter[str]()
    for case in (*tapes_at_bounds(), *tapes_that_just_fit(), *(random_training_tape(rng) for _ in range(250))):
        given = answers(case)
        assert len(given) == 2
        assert given["spec"] == given["opml_min, native"], case.to_json()
        verdicts[given["spec"][0]] += 1
    assert verdicts.keys() == {ACCEPTED, "error 302", "error 303", "error 305"}


# Coverage and kinds --------------------------------------------------------------------------------------------------------------


def test_no_cell_of_an_op_is_empty_and_one_that_is_left_out_shows() -> None:
    table = TrainingTable()
    for case in corner_training():
        if case.operation(case.first).__class__ in (ForwardMatMul, Sum):
            table.add(case)
    missing = list(table.missing())
    assert {name for name, _, _ in missing}.isdisjoint({"ForwardMatMul", "Sum"})
    assert ("Adam", "cp_saturates", "below") in missing
    assert ("ForwardAdd", "cp_count", "rest") in missing


def test_batches_about_training_bring_every_corner_and_a_target_is_asked_too() -> None:
    numbers = range(TRAINING, TRAINING + COURT_EVERY * TRAINING_CORNERS_EVERY, COURT_EVERY)
    every = {id(case) for case in corner_training()}
    asked = set[int]()
    for number in numbers:
        asked |= {id(case) for case in batch(1, number, THIS_ONE)}
    assert every <= asked
    some = list(target_batch(1, 0, None, frozenset({"training_stage"}), THIS_ONE))  # type: ignore[arg-type]
    assert len(every & {id(case) for case in some}) > 40
    assert all(isinstance(case, TrainingStages) and case.count == 1 for case in some)


def test_cases_are_written_read_and_kept(tmp_path: Path) -> None:
    rng, corpus = Random(3), Corpus(tmp_path)
    cases: list[Case] = [random_training_stages(rng), *(random_training_tape(rng) for _ in range(20))]
    cases += [*(refused_request(rng) for _ in range(9)), *(one_training_operation(rng, kind) for kind in KINDS)]
    for case in cases:
        assert from_json(case.to_json()) == case
        assert from_json(case.to_json()).to_json() == case.to_json()
    assert 40 < corpus.add(cases) <= len(cases)
    assert corpus.add(cases) == 0
    assert len(cases_in(tmp_path).cases) == len(list(tmp_path.iterdir()))
    assert {name.split()[0] for case in cases for name in bins(case)} == {"training"}


# Defects -------------------------------------------------------------------------------------------------------------------------


@njit
def careless_add(base, words, first, end, chunk, scratch, shared):  # type: ignore[no-untyped-def]
    """ADD as the kernel of opml_min, but the most negative number is not reached: a sum saturates one too early."""
    out, x, y = int32s(base, words[0], words[3]), int32s(base, words[1], words[3]), int32s(base, words[2], words[3])
    for i in range(first, end):
        out[i] = min(max(np.int64(x[i]) + np.int64(y[i]), -(1 << 31) + 1), (1 << 31) - 1)


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plans._PLANS, TrainingOpcode.ADD, plans._numbers(careless_add))


def first_difference(cases: Iterator[Case] | tuple[Case, ...], engines: Engines) -> Difference:
    return next(found for case in cases if (found := compare(case, engines)))


@pytest.mark.usefixtures("careless")
def test_a_broken_kernel_is_found_shrunk_explained_and_replayed(room: EngineRoom, tmp_path: Path) -> None:
    difference = first_difference((case for case in corner_training() if isinstance(case.operation(case.first), ForwardAdd)), room.all)
    smallest = explained(shrink(difference, room.all), room.all, "here")
    assert smallest.title == "stage of training, ForwardAdd: spec; opml_min, guest | opml_min, native; opml_min, native, 2 threads"
    case = smallest.case
    assert isinstance(case, TrainingStages)
    operation = case.operation(case.first)
    assert isinstance(operation, ForwardAdd)
    assert (operation.count, case.first, len(case.records)) == (1, 0, 1)
    numbers = [number for span in operation.spans() for _, _, number in numbers_in(span, case.memory[span.address])]
    assert sum(map(bool, numbers)) <= 2
    assert all(number in (0, -(1 << 31), -1) or -number & -number - 1 == 0 for number in numbers), numbers
    (line,) = (line for line in smallest.details if line.startswith("number 0 of out"))
    assert f"{-(1 << 31)} in spec" in line
    assert f"{1 - (1 << 31)} in opml_min, native" in line
    again = compare(read(smallest.write(tmp_path)), room.all)
    assert again is not None
    assert again.answers == smallest.answers


@pytest.mark.usefixtures("careless")
def test_of_a_run_one_stage_remains(room: EngineRoom) -> None:
    """The first four updates of two ops, the second of which is wrong once there is something to add."""
    rng = Random(5)
    runs = (case for case in iter(lambda: random_training_stages(rng), None) if any(r.opcode == TrainingOpcode.ADD for r in case.records))
    smallest = shrink(first_difference(runs, room.all), room.all, most_tries=60)
    assert isinstance(smallest.case, TrainingStages)
    assert smallest.case.count == len(smallest.case.records) == 1


def test_a_lenient_loader_is_found_and_its_tape_has_one_op(room: EngineRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RANGES, "width", (7, 16))
    rng = Random(6)
    difference = first_difference(iter(lambda: random_training_tape(rng), None), room.all)
    smallest = shrink(difference, room.all)
    assert smallest.answers == {"spec": ["error 303"], "opml_min, native": [ACCEPTED]}
    assert isinstance(smallest.case, TrainingTape)
    assert len(smallest.case.memory) == 2
    (words,) = np.frombuffer(next(data for data in smallest.case.memory.values() if len(data) == 128), np.uint64).reshape(-1, 16).tolist()
    assert 16 in words
    done = subprocess.run([sys.executable, "-c", smallest.program], capture_output=True, text=True)
    assert "spec: 303 " in done.stdout, done.stderr
    assert "opml_min: 303 " in done.stdout  # which is not broken there


def test_the_program_of_a_case_runs_alone() -> None:
    case = one_training_operation(Random(7), ForwardMatMul)
    program = Difference(case, {}).program
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    (answer,) = SpecTraining().answer(case) or []
    assert done.stdout.count(answer) == 3


LIAR = """
from opml_spec.machine.memory import CARRY_HEIGHT, Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.training.operations import backward
from opml_spec.training.training_stage import run_training_stage

backward.SIGMOID_ERROR = 1
right = backward.BackwardSwiGlu.execute

class Mine:
    def training_stage(self, memory, stage):
        backward.BackwardSwiGlu.execute = lambda self, memory, update: right(self, memory, update) if self.rows != 1 else memory
        after, exit_code = run_training_stage(Memory.from_segments(memory), stage)
        return exit_code, hash_of(after.subtree(CARRY_HEIGHT, 1))
"""


def test_a_target_that_lies_about_one_op_is_found(room: EngineRoom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves SWIGLU_BACKWARD out if there is one row."""
    from opml_fuzz.engines.targets.right_answers import RightAnswers

    (tmp_path / "liar.py").write_text(LIAR.replace("backward.SIGMOID_ERROR = 1\n", ""))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.syspath_prepend(tmp_path)
    target = External("python:liar:Mine")
    asked = EngineRoom(
        *(evolve(engines, target=target) for engines in (room.all, room.most)),
        answering=RightAnswers(room.most.of_witnesses[0], room.most.of_programs[1], room.most.courts),  # type: ignore[arg-type]
    )
    rng = Random(8)
    wrong = first_difference(iter(lambda: one_training_operation(rng, BackwardSwiGlu), None), asked.most)
    smallest = in_full(wrong, asked.all, float("inf"))
    assert smallest.comes_again
    assert smallest.title.endswith("| target, training_stage")
    operation = smallest.case.operation(0) if isinstance(smallest.case, TrainingStages) else None
    assert isinstance(operation, BackwardSwiGlu)
    assert (operation.rows, operation.length, operation.width) == (1, 1, 15)
    target.close()
