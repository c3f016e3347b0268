"""Proofs about the game, each in a process that has proved nothing before, and the tests that their counterexamples are printed as.

z3's answers depend on what its process was asked before. A rule of the specification can be replaced there by a wrong one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from opml_fuzz.fuzzing.game_mutants import changed
from opml_fuzz.proofs.fresh_processes import fresh_results
from opml_fuzz.proofs.game.game_prover import prove_game
from opml_fuzz.proofs.verdict import Verdict
from opml_fuzz.statements.catalogue import GAME
from opml_fuzz.statements.game_bytecode import TEST_NAME, GameStatement

from evm_arbiter.chain import Artefact

WrongRule = tuple[str, str, str]  # a module of the specification's disputes, an expression of it, and what stands there instead


def proved_alone(name: str, game: Artefact | None = None) -> Verdict:
    return _alone(partial(prove_game, artefact=game), name)


def proved_with(rule: WrongRule, name: str) -> Verdict:
    return _alone(partial(_with, rule), name)


def _with(rule: WrongRule, statement: GameStatement) -> Verdict:
    with changed(*rule):
        return prove_game(statement)


def _alone(prove: Callable[[GameStatement], Verdict], name: str) -> Verdict:
    with fresh_results(prove, [GAME[name]], 1, prove_game.__module__) as (verdict,):
        assert isinstance(verdict, Verdict), verdict
        return verdict


def pasted(verdict: Verdict) -> Callable[[], None]:
    """Returns the test that a counterexample is printed as."""
    names = dict[str, Any]()
    assert verdict.result == "counterexample", verdict
    exec(verdict.detail.partition("\n")[2], names)
    test: Callable[[], None] = names[TEST_NAME]
    return test
