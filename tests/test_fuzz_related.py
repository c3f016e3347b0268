"""Related runs: each relation holds for every implementation, is written down and read again, and shows defects that all have alike."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.engines.room import EngineRoom
from opml_fuzz.engines.specification import SpecProgram, SpecState, related_ends
from opml_fuzz.fuzzing.changed_code import changed
from opml_fuzz.fuzzing.difference import compare, read
from opml_fuzz.fuzzing.reproducer import program_text
from opml_fuzz.fuzzing.shrinking import shrink
from opml_fuzz.machine.case import from_json
from opml_fuzz.machine.related import related
from opml_fuzz.machine.relation import Related

CASES = 40


@pytest.fixture(scope="module")
def room() -> EngineRoom:
    return engine_room()


def cases(seed: str) -> list[Related]:
    return [case for number in range(CASES) for case in related(Random(f"{seed}/{number}"))]


def test_all_relations_come_up_and_hold_everywhere(room: EngineRoom) -> None:
    seen = Counter[tuple[str, bool]]()
    for case in cases("hold"):
        assert compare(case, room.most) is None, case.to_json()
        start, other = related_ends(case)
        assert (start == other) == (case.relation == "cut")
        seen[case.relation, case.steps == 1] += 1
    assert seen.keys() >= {("beside", True), ("beside", False), ("moved", True), ("moved", False), ("cut", False)}


@given(st.integers())
def test_the_second_run_of_the_specification_ends_as_the_relation_says(seed: int) -> None:
    for case in related(Random(seed)):
        assert SpecProgram().run(case.other, (case.other_steps,))[0] == related_ends(case)[1]


def test_a_case_is_written_and_read_again() -> None:
    for case in cases("written")[:20]:
        assert from_json(case.to_json()) == case
        compile(program_text(case), "reproducer", "exec")


OPERANDS, LOADED = "instruction.operands(word)", 'int.from_bytes(data[offset : offset + size], "little")'
BLIND = (
    ("depends on the place of the text", "opml_spec.machine.step", OPERANDS, f"{OPERANDS[:-1]} ^ (state.pc >> 5 & 1) << 7)"),
    ("depends on memory elsewhere", "opml_spec.machine.memory", LOADED, f"{LOADED} ^ (self.root[0] & 1 if size == 8 else 0)"),
)


@pytest.mark.parametrize(("name", "module", "right", "wrong"), BLIND)
def test_a_defect_that_all_have_is_seen(name: str, module: str, right: str, wrong: str, room: EngineRoom, tmp_path: Path) -> None:
    """Only the specification is asked: it disagrees with itself, and no other implementation is needed to see it."""
    alone = evolve(room.most, of_witnesses=(), of_states=(SpecState(),), of_programs=(SpecProgram(),))
    with changed(module, right, wrong):
        found = next(difference for case in cases("blind") if (difference := compare(case, alone)))
        smaller = shrink(found, alone, most_tries=40)
    assert compare(found.case, alone) is None
    assert isinstance(found.case, Related)
    assert isinstance(smaller.case, Related)
    assert sum(map(bool, smaller.case.start.x)) <= sum(map(bool, found.case.start.x))
    assert "two runs" in smaller.title
    assert read(smaller.write(tmp_path)) == smaller.case
