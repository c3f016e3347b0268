"""The strategies: each finds its defect in a foreign implementation, and Hypothesis shrinks it to what a person would have written."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from opml_fuzz import strategies
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.disputes.call import read
from opml_fuzz.disputes.rules import RULES
from opml_fuzz.disputes.sequences import replay
from opml_fuzz.engines.room import EngineRoom
from opml_fuzz.engines.training_runs import SpecTraining
from opml_fuzz.fuzzing.difference import compare
from opml_fuzz.machine.case import Acts, Case, Program, Witness, from_json
from opml_fuzz.machine.encodings import decoded
from opml_fuzz.machine.numbers import ENTRY
from opml_fuzz.machine.simpler import word_at
from opml_fuzz.machine.start import Start
from opml_fuzz.machine.training_case import PLAIN_SETTINGS, SETTINGS, TrainingStages, TrainingTape, operation_in, records_in
from opml_fuzz.models.random_training import MANY_UPDATES, NEAR_VECTORS, USUAL
from opml_spec.dispute.acts import deploy
from opml_spec.errors import SpecError
from opml_spec.machine.state import RUNNING
from opml_spec.machine.step import step
from opml_spec.machine.witness import execute_witness
from opml_spec.model.layout import REQUEST_BYTES
from opml_spec.training.operations.backward import BackwardSwiGlu
from opml_spec.training.operations.batch_operation import Access

FINDING = settings(max_examples=2_000, phases=(Phase.generate, Phase.shrink), derandomize=True, database=None, deadline=None)
SOME = settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
CASES = {
    "steps": strategies.steps(),
    "witnesses": strategies.witnesses(),
    "wrong_witnesses": strategies.wrong_witnesses(),
    "programs": strategies.programs(),
    "binary32_operations": strategies.binary32_operations(),
    "operations": strategies.operations(),
    "stages": strategies.stages(),
    "models": strategies.models(),
    "training_operations": strategies.training_operations(),
    "training_stages": strategies.training_stages(),
    "training_requests": strategies.training_requests(),
    "training_tapes": strategies.training_tapes(),
}


@pytest.fixture(scope="module")
def room() -> EngineRoom:
    return engine_room()


@pytest.mark.parametrize("name", CASES)
def test_all_implementations_agree(name: str, room: EngineRoom) -> None:
    seen = []

    @SOME
    @given(CASES[name])
    def agree(case: Case) -> None:
        seen.append(case)
        assert from_json(case.to_json()) == case
        assert (found := compare(case, room.most)) is None, found

    agree()
    assert len(seen) >= 10


def found(strategy: Any, condition: Callable[[Any], bool]) -> Any:
    return find(strategy, condition, settings=FINDING)


def error_of(case: Witness) -> int:
    try:
        execute_witness(case.witness)
    except SpecError as error:
        return error.number
    return 0


def test_a_state_shrinks_to_its_instruction_at_the_entry() -> None:
    start: Start = found(strategies.states(), lambda start: start.kind == 0 and word_at(start, start.pc) & 0x7F == 0x03)
    assert start.pc == ENTRY
    assert sum(map(bool, start.x)) <= 1
    assert set(start.leaves.by_index) == {ENTRY // 32}


def test_operands_shrink_to_round_ones() -> None:
    def overflows(start: Start) -> bool:
        word = word_at(start, start.pc)
        encoding = decoded(word)
        return encoding is not None and encoding.name == "div" and start.x[word >> 15 & 31] == 1 << 63 and start.x[word >> 20 & 31] > 1

    start = found(strategies.states(strategies.instructions(("div",)), runs=True), overflows)
    assert sorted(value for value in start.x if value) in ([2, 1 << 63], [1 << 63])


@pytest.mark.parametrize("error", [101, 102, 104, 106])
def test_a_wrong_witness_shrinks_to_one_edit(error: int) -> None:
    case: Witness = found(strategies.wrong_witnesses(), lambda case: error_of(case) == error)
    assert len(case.edits) == 1
    assert case.start is not None
    assert sum(map(bool, case.start.x)) <= 1
    assert str(case.edits[0])


def test_a_program_shrinks_by_leaving_out_instructions() -> None:
    def stores_twice(case: Program) -> bool:
        words = [word_at(case.start, ENTRY + 4 * i) for i in range(40)]
        return sum(word & 0x7F == 0x23 for word in words) >= 2

    case: Program = found(strategies.programs(), stores_twice)
    words = [word for i in range(40) if (word := word_at(case.start, ENTRY + 4 * i))]
    assert [word & 0x7F for word in words] == [0x23, 0x23, 0x73]
    assert case.stops == (1,)


def test_programs_end_or_go_on_well() -> None:
    ended = []

    @SOME
    @given(strategies.programs())
    def run(case: Program) -> None:
        state = case.start.state()
        for _ in range(200):
            state = step(state)
        ended.append(state.status != RUNNING)

    run()
    assert sum(ended) > len(ended) // 2


def test_an_op_of_training_shrinks_to_few_rows_and_usual_operands() -> None:
    def is_late(case: TrainingStages) -> bool:
        operation = case.operation(case.first)
        return isinstance(operation, BackwardSwiGlu) and operation.rows > 4 and case.first > 1

    case: TrainingStages = found(strategies.training_operations(), is_late)
    operation = case.operation(case.first)
    assert isinstance(operation, BackwardSwiGlu)
    assert operation.rows in (5, NEAR_VECTORS[0])  # the least, or the first of those that are drawn often
    assert (operation.length, operation.width) == (1, USUAL["width"])
    assert (case.first, case.count, case.records[0].condition) == (2, 1, 0)
    _, updates, *settings = SETTINGS.unpack_from(case.memory[REQUEST_BYTES])
    assert updates in (3, MANY_UPDATES)  # as with rows: a run is short or very long, and which was drawn may stay
    assert tuple(settings) == PLAIN_SETTINGS[2:]


def test_a_tape_shrinks_to_one_op_and_its_fault() -> None:
    case: TrainingTape = found(strategies.training_tapes(), lambda case: SpecTraining().answer(case) == ["error 303"])
    assert len(records_in(case.memory)) == 1


def test_stages_of_training_shrink_to_those_that_share() -> None:
    """The second op reads what the first one wrote. Of up to seven, one more may be left: what Hypothesis tries first depends on all
    modules that are imported."""

    def is_read(case: TrainingStages) -> bool:
        spans = [list(operation.spans()) for operation in map(operation_in, case.records) if operation]
        written = {span.address for span in spans[0] if span.access == Access.WRITE}
        return any(span.address in written for other in spans[1:] for span in other if span.access == Access.READ)

    case: TrainingStages = found(strategies.training_stages(), is_read)
    assert 2 <= len(case.records) <= 3


def test_a_game_shrinks_to_the_acts_that_matter() -> None:
    """A claim needs a model and a request; of up to 40 acts, few others are left.

    How few depends on what else is imported, whose constants Hypothesis draws: 4 to 11 have been seen."""
    case: Acts = found(strategies.games(), lambda game: "claim" in moves(game))
    assert set(moves(case)) == {"register", "request", "claim"}
    assert len(case.acts) <= 12


def moves(game: Acts) -> list[str]:
    """The acts that the specification accepts."""
    court = deploy(RULES[game.rules])
    made = []
    for call in map(read, game.acts):
        with suppress(SpecError):
            court = call.on(court)
            made.append(call.move)
    return made


@SOME
@given(strategies.games(RULES[:2], most_acts=12))
def test_games_are_answered_alike(game: Acts) -> None:
    report = replay(game.rules, game.acts)
    assert report.difference is None
    assert len(report.calls) == len(game.acts) <= 12


