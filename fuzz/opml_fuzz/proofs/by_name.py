"""Proves a statement by its name, which can be sent to another process: z3 works on one core."""

import resource
import sys

from attrs import evolve

from opml_fuzz.proofs.game.game_prover import prove_game
from opml_fuzz.proofs.induction import prove_rule
from opml_fuzz.proofs.prover import prove
from opml_fuzz.proofs.second_solver import recheck
from opml_fuzz.proofs.step.bytecode_prover import prove_bytecode
from opml_fuzz.proofs.verdict import Verdict
from opml_fuzz.statements.bytecode import BytecodeStatement
from opml_fuzz.statements.catalogue import EVERY
from opml_fuzz.statements.game_bytecode import GameStatement
from opml_fuzz.statements.statement import Statement


def prove_by_name(name: str, keeps: bool = False, rechecks: bool = False) -> Verdict:
    """Proves the statement of that name. keeps: whether the verdict has all queries; rechecks: whether a second solver is asked them"""
    verdict = prove_any(name, keeps or rechecks)
    if rechecks:
        verdict = evolve(verdict, recheck=recheck(verdict.queries), queries=verdict.queries if keeps else ())
    return evolve(verdict, peak_bytes=peak_bytes())


def prove_any(name: str, keeps: bool) -> Verdict:
    """Proves a statement of any kind."""
    statement = EVERY[name]
    if isinstance(statement, BytecodeStatement):
        return prove_bytecode(statement, keeps=keeps)
    if isinstance(statement, GameStatement):
        return prove_game(statement, keeps=keeps)
    return prove(statement, keeps=keeps) if isinstance(statement, Statement) else prove_rule(statement, keeps=keeps)


def peak_bytes() -> int:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
