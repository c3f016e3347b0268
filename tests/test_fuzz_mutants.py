"""Mutants: each is broken while it is entered and whole afterwards; one of each kind is killed, and one that changes nothing lives."""

from contextlib import AbstractContextManager, nullcontext

import pytest
from opml_fuzz.engines.engines import EngineRoom, engine_room
from opml_fuzz.fuzzing.mutants import CONTRACT, GAME, Mutant, is_killed, mutants, replaced
from opml_spec.machine import decode

from evm_arbiter.compile import sources
from opml_min.machine import interpret
from opml_min.machine.translator import operations

SECONDS = 60.0  # far more than it takes
MUTANTS = {mutant.name: mutant for mutant in mutants()}
KILLED = (
    "spec: sraw does",
    "opml_min, interpreter: sltu does",
    "opml_min, translator: remuw does",
    "contract: funct7 &= 126",
    "game: if chosen > 0",
)


@pytest.fixture(scope="module")
def room() -> EngineRoom:
    return engine_room()


def whole() -> tuple[object, ...]:
    tables = (interpret.ARITHMETIC, interpret.COMPARISONS, operations.ARITHMETIC, operations.CONDITIONS)
    return decode.INSTRUCTIONS, *map(dict, tables)  # type: ignore[attr-defined]  # the name is looked up there at each step


def test_there_are_enough_of_each() -> None:
    kinds = [name.partition(":")[0] for name in MUTANTS]
    counts = {kind: kinds.count(kind) for kind in kinds}
    assert counts["spec"] >= 60
    assert counts["opml_min, interpreter"] == counts["opml_min, translator"] >= 34
    assert counts["contract"] == len(CONTRACT) >= 25
    assert counts["game"] == len(GAME) >= 15


@pytest.mark.parametrize("prefix", KILLED)
def test_killed(prefix: str, room: EngineRoom) -> None:
    before = whole()
    (mutant,) = [one for name, one in MUTANTS.items() if name.startswith(prefix)]
    assert is_killed(mutant, room, 1, SECONDS), mutant.name
    assert whole() == before


def test_what_changes_nothing_survives(room: EngineRoom) -> None:
    def unbroken(room: EngineRoom) -> AbstractContextManager[EngineRoom]:
        return nullcontext(room)

    assert not is_killed(Mutant("nothing", unbroken), room, 1, 1.0)


def test_the_contracts_have_what_is_replaced() -> None:
    for name, changes in (("arbiter", CONTRACT), ("game", GAME)):
        for right, wrong in changes:
            texts = replaced(name, right, wrong)  # which refuses what does not stand there once
            assert texts != {path: sources()[path] for path in texts}, right
