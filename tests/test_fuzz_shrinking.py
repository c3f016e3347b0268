"""Shrinking: whatever shows a defect, a person could have written what is left: one instruction, round numbers, one edit, few ops."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from random import Random

import pytest
from attrs import evolve
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.engines.model_runs import SpecModels
from opml_fuzz.engines.room import EngineRoom
from opml_fuzz.engines.specification import SpecProgram, SpecState, SpecWitness
from opml_fuzz.fuzzing import shrinking
from opml_fuzz.fuzzing.batches import SWEEP_ENDS, batch, theme
from opml_fuzz.fuzzing.difference import Difference, compare
from opml_fuzz.fuzzing.kinds import KINDS
from opml_fuzz.fuzzing.mutants import mutants
from opml_fuzz.fuzzing.shrinking import first_wrong_step, shrink, written_out
from opml_fuzz.machine.case import Case, Deployment, Program, Step, Witness, edited
from opml_fuzz.machine.edits import NAMES, Edit, accesses
from opml_fuzz.machine.encodings import assemble, decoded
from opml_fuzz.machine.model_case import FloatOperation, OneStage, WholeRun, header_of
from opml_fuzz.machine.numbers import ENTRY
from opml_fuzz.machine.programs import loop
from opml_fuzz.machine.relation import Related
from opml_fuzz.machine.simpler import CHOSEN, DATA_AT, complexity, is_fetchable, plainer_instruction, simpler_numbers, word_at
from opml_fuzz.machine.start import Leaves, Start
from opml_fuzz.machine.states import random_state
from opml_fuzz.machine.wrong_witnesses import spoiled
from opml_fuzz.models.random_models import random_operation, random_run, random_stage
from opml_fuzz.sweep.point import PATTERN, point
from opml_spec.machine.state import state_hash
from opml_spec.machine.step import step
from opml_spec.model.operations.fixed import Add

from opml_min.machine import interpret

MACHINE = [number for number in range(SWEEP_ENDS, SWEEP_ENDS + 24) if theme(number, KINDS) == "machine"]


@pytest.fixture(scope="module")
def room() -> EngineRoom:
    return engine_room()


@pytest.fixture(autouse=True)
def time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left must not depend on how busy the machine is."""
    monkeypatch.setattr(shrinking, "MOST_SECONDS", 300.0)


def random_cases(kind: type[Case]) -> Iterator[Case]:
    return (case for number in MACHINE for case in batch(7, number) if isinstance(case, kind))


def smallest(cases: Iterator[Case], room: EngineRoom) -> Difference:
    """The first case that shows a difference, shrunk."""
    difference = next(found for case in cases if (found := compare(case, room.most)))
    return shrink(difference, room.most)


def assert_a_person_could_have_written(start: Start) -> None:
    assert start.pc == ENTRY
    assert start.kind == 0
    assert all(value in CHOSEN or value in DATA_AT or complexity(value) < 20 for value in start.x), list(map(hex, start.x))
    assert sum(map(bool, start.x)) <= 2
    assert not any(start.x[4:])
    assert sum(map(any, start.leaves.by_index.values())) <= 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("spec: sraw does what mul does", Step),
        ("opml_min, interpreter: mulhsu does what mulhu does", Step),
        ("spec: lbu does what lhu does", Step),
        ("opml_min, translator: divuw does what remw does", Program),
        ("opml_min, interpreter: bltu does what bgeu does", Program),
    ],
)
def test_a_defect_of_the_machine(name: str, kind: type[Case], room: EngineRoom) -> None:
    (mutant,) = (mutant for mutant in mutants() if mutant.name == name)
    with mutant.broken(room) as broken:
        case = smallest(random_cases(kind), broken).case
    assert isinstance(case, Step | Program)
    assert_a_person_could_have_written(case.start)
    if isinstance(case, Program):
        assert case.stops[-1] <= 3
        assert sum(case.start.leaves.memory.load(ENTRY + 4 * i, 4) != 0 for i in range(64)) <= 3


def test_a_long_program_is_begun_where_it_goes_wrong(room: EngineRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(interpret.ARITHMETIC, "and", interpret.ARITHMETIC["or"])
    long = (loop(Random(seed)) for seed in range(100))
    difference = next(found for case in long if case.stops[-1] > 20 and (found := compare(case, room.most)))
    assert isinstance(difference.case, Program)
    at = first_wrong_step(difference.case, room.most)
    assert at is not None
    assert compare(evolve(difference.case, stops=(at,)), room.most)
    assert at == 1 or not compare(evolve(difference.case, stops=(at - 1,)), room.most)
    case = shrink(difference, room.most).case
    assert isinstance(case, Program)
    assert case.stops[-1] <= 3
    assert_a_person_could_have_written(case.start)


class ForgetsThatX0IsZero:
    """Runs as the specification does, until BNE is executed some time after ADDI with x0 as its rd: no state in between is wrong."""

    name = "forgets"

    def run(self, start: Start, stops: tuple[int, ...]) -> list[str]:
        state, wrote, wrong_from = start.state(), False, stops[-1] + 1
        for executed in range(stops[-1]):
            one = decoded(word := word_at(start, state.pc)) if is_fetchable(state.pc) and not state.status.kind else None
            wrote |= one is not None and one.name == "addi" and word >> 7 & 31 == 0
            if wrote and one is not None and one.name == "bne":
                wrong_from = executed + 1
                break
            state = step(state)
        right = SpecProgram().run(start, stops)
        return [*("00" * 32 if stop >= wrong_from else said for stop, said in zip(stops, right, strict=False)), *right[len(stops) :]]


def test_what_shows_only_later_is_left_with_two_instructions(room: EngineRoom) -> None:
    broken = evolve(room.most, of_programs=(SpecProgram(), ForgetsThatX0IsZero()))
    found = (compare(loop(Random(seed)), broken) for seed in range(200))
    case = shrink(next(each for each in found if each and isinstance(each.case, Program) and each.case.stops[-1] > 20), broken).case
    assert isinstance(case, Program)
    assert case.stops == (2,)
    assert_a_person_could_have_written(case.start)


def lenient(accepts: int) -> Callable[[bytes], str]:
    """A witness engine that takes a witness with one error for one with no error."""
    engine = SpecWitness()
    return lambda witness: "00" * 32 if (answer := engine.execute(witness)) == f"error {accepts}" else answer


class Lenient:
    name = "lenient"

    def __init__(self, accepts: int) -> None:
        self.execute = lenient(accepts)


@pytest.mark.parametrize("error", [101, 103, 104, 105, 106])
def test_a_wrong_witness_is_left_with_one_edit(error: int, room: EngineRoom) -> None:
    broken = evolve(room.most, of_witnesses=(SpecWitness(), Lenient(error)))
    case = smallest((spoiled(rng, random_state(rng)) for rng in [Random(5)] * 3_000), EngineRoom(broken, broken)).case
    assert isinstance(case, Witness)
    assert len(case.edits) == 1
    assert case.start is not None
    assert case.start.pc in (ENTRY, 0, 2)
    assert sum(map(bool, case.start.x)) <= 1
    assert SpecWitness().execute(case.witness) == f"error {error}"


def test_a_witness_of_unknown_origin_loses_bytes(room: EngineRoom) -> None:
    broken = evolve(room.most, of_witnesses=(SpecWitness(), Lenient(103)))
    rng = Random(6)
    unknown = (Witness(spoiled(rng, random_state(rng)).witness) for _ in range(3_000))
    case = smallest(unknown, EngineRoom(broken, broken)).case
    assert isinstance(case, Witness)
    assert sum(map(bool, case.witness)) < 60


def test_a_difference_stays_the_same_one(room: EngineRoom) -> None:
    """An engine with two defects: shrinking the rare one does not lead to the frequent one."""

    class Twice:
        name = "twice"

        def execute(self, witness: bytes) -> str:
            if len(witness) < 300:
                return "raised IndexError: too short"
            return "00" * 32 if witness[8:16] != bytes(8) else SpecWitness().execute(witness)

    broken = evolve(room.most, of_witnesses=(SpecWitness(), Twice()))
    rng = Random(1)
    witnesses = (edited(random_state(rng), ()) for _ in range(200))
    difference = next(found for case in witnesses if (found := compare(case, broken)) and found.answers["twice"] == ["00" * 32])
    assert shrink(difference, broken).answers["twice"] == ["00" * 32]


# Models ------------------------------------------------------------------------------------------------------------------------------


def test_a_run_of_a_model_is_left_with_the_op_that_matters(room: EngineRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few others may be left that prepare what it needs."""

    def twice(self: Add, memory, position):  # type: ignore[no-untyped-def]
        return right(self, right(self, memory, position), position)

    right = Add.execute
    broken = evolve(room.most, of_models=tuple(engine for engine in room.most.of_models if engine.name != "opml_min, native"))
    rng = Random(6)
    monkeypatch.setattr(Add, "execute", twice)
    for make in (random_run, random_stage):
        cases = (make(rng) for _ in range(200))
        case = smallest(cases, EngineRoom(broken, broken)).case
        assert isinstance(case, WholeRun | OneStage)
        assert header_of(case.memory).ops <= 4
        assert (case.until if isinstance(case, WholeRun) else 1) <= 4


def test_variants_of_models_are_models() -> None:
    """What is left is a case again: it survives JSON, and the specification answers it."""
    rng = Random(2)
    for make in (random_operation, random_stage, random_run):
        case = make(rng)
        for variant in islice(case.simpler(), 5):
            assert type(variant).from_json(variant.to_json()) == variant
            assert SpecModels().answer(variant)


class Astray:
    name = "astray"

    def run(self, start: Start, stops: Sequence[int]) -> list[str]:
        return ["astray"] * len(stops)


def test_runs_that_are_no_longer_related_are_not_tried(room: EngineRoom) -> None:
    """Without its address the load would read what differs between the two memories."""
    start = point("", assemble("ld", 2, 1), {1: 1 << 12, 5: 7}).start
    other = evolve(start, leaves=Leaves({**start.leaves.by_index, 0: PATTERN}))
    case = Related("beside", start, other, 1, 1)
    assert [variant.holds() for variant in case.simpler()] == [False, True]
    broken = evolve(room.most, of_states=(SpecState(), Astray()))
    difference = compare(case, broken)
    assert difference
    assert shrink(difference, broken).case == next(variant for variant in case.simpler() if variant.holds())


# Parts -------------------------------------------------------------------------------------------------------------------------------


def test_simpler_numbers_are_simpler_and_there_is_an_end() -> None:
    for value in (*CHOSEN, 0x8765_4321_DEAD_BEEF, 77, 1 << 40, (1 << 64) - 77):
        others = list(simpler_numbers(value))
        assert all(complexity(other) < complexity(value) for other in others)
        assert others or value == 0


@pytest.mark.parametrize("name", ["sraiw", "srai", "slli"])
@pytest.mark.parametrize("amount", [28, 16, 1])
def test_a_shift_is_only_shrunk_to_a_smaller_one(name: str, amount: int) -> None:
    """A negative amount is none; as one it would be a large amount, and shrinking would go in a circle."""
    start = point("", assemble(name, 3, 1, imm=amount), {1: 5}).start
    left = {word_at(simpler, simpler.pc) for simpler in plainer_instruction(start)}
    assert left == {assemble(name, 3, 1, imm=smaller) for smaller in (0, 1, 4, 8, 16) if smaller < amount}


def test_bits_of_a_fence_that_mean_nothing_are_left_out() -> None:
    start = point("", 0xFFCA890F).start
    assert assemble("fence") in {word_at(simpler, simpler.pc) & ~0xFFF00000 for simpler in plainer_instruction(start)}


def test_simpler_deployments_come_closer_to_the_default() -> None:
    some = Deployment(tuple(range(20)))
    assert len(next(iter(some.simpler())).parameters) == 20
    assert all(variant != some for variant in some.simpler())


def test_simpler_float_operations() -> None:
    some = FloatOperation("f32_add", (0x7F800001, 0x40490FDB), "RUP")
    assert next(some.simpler()) == evolve(some, rounding="RNE")
    assert FloatOperation("f32_add", (0, 0x40490FDB), "RUP") in some.simpler()
    assert list(FloatOperation("f32_add", (0, 0)).simpler()) == []


@pytest.mark.parametrize("name", NAMES)
def test_each_edit_does_what_it_says(name: str) -> None:
    right = edited(random_state(Random(3)), ()).witness
    assert len(accesses(right)) >= 1
    edit = Edit(name, 1, 3, b"\1")
    changed = edit.apply(right)
    assert (changed == right) == ((name == "swap" and len(accesses(right)) == 1) or (name == "omit" and not right[297 + 36] >> 3 & 1))
    assert str(edit)
    assert Edit(name, 7, 0, b"\1").apply(right) == right


def test_a_state_that_is_written_out_is_the_same() -> None:
    rng = Random(4)
    for _ in range(30):
        state = step(random_state(rng).state())
        assert state_hash(written_out(state).state()) == state_hash(state)
