"""Mutants: each is broken while it is entered and whole afterwards; one of each kind is killed, and one that changes nothing lives."""

from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from types import CodeType, FunctionType, ModuleType

import pytest
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.engines.room import EngineRoom
from opml_fuzz.fuzzing import game_mutants
from opml_fuzz.fuzzing.compiled_mutants import replaced
from opml_fuzz.fuzzing.mutants import CONTRACT, Mutant, is_killed, mutants
from opml_spec.machine import decode

from evm_arbiter.compile import sources
from opml_min.machine import interpret
from opml_min.machine.translator import operations

SECONDS = 240.0  # of which a quiet machine needs a few; `mutants` allows 60
MUTANTS = {mutant.name: mutant for mutant in mutants()}
KILLED = (
    "spec: sraw does",
    "opml_min, interpreter: sltu does",
    "opml_min, translator: remuw does",
    "contract: amount: uint256",
    "game, contract: if used > (turn",
    "game, contract: and p.priority",
    "game, spec, clocks: max(now",
    "game, spec, clocks: min(self.due",
    "game, spec, ends: held = asked.pending",
    "game, spec, ends: wei += node",
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
    assert counts["game, contract"] == len(game_mutants.CONTRACT) >= 135
    assert sum(count for kind, count in counts.items() if kind.startswith("game, spec")) == len(game_mutants.SPECIFICATION) >= 83


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


@pytest.mark.parametrize(("module", "right", "wrong"), game_mutants.SPECIFICATION)
def test_the_specification_has_what_is_replaced(module: str, right: str, wrong: str) -> None:
    """Some function is another one while a rule is replaced."""
    rules = import_module(f"opml_spec.dispute.{module}")
    before = codes(rules)
    with game_mutants.changed(module, right, wrong):
        assert codes(rules) != before
    assert codes(rules) == before


def codes(module: ModuleType) -> list[CodeType]:
    """The code of all functions, methods and properties of a module."""
    things = [thing for it in vars(module).values() for thing in (it, *(vars(it).values() if isinstance(it, type) else ()))]
    found = [it.fget if isinstance(it, property) else it for it in things]
    return [function.__code__ for function in found if isinstance(function, FunctionType)]


def test_the_contracts_have_what_is_replaced() -> None:
    for name, changes in (("arbiter", CONTRACT), ("game", game_mutants.CONTRACT)):
        for right, wrong in changes:
            texts = replaced(name, right, wrong)  # which refuses what does not stand there once
            assert texts != {path: sources()[path] for path in texts}, right
