"""Proves a statement by its name, which can be sent to another process: z3 works on one core."""

from opml_fuzz.proofs.game.game_prover import prove_game
from opml_fuzz.proofs.induction import prove_rule
from opml_fuzz.proofs.prover import prove
from opml_fuzz.proofs.step.bytecode_prover import prove_bytecode
from opml_fuzz.proofs.verdict import Verdict
from opml_fuzz.statements.bytecode import BytecodeStatement
from opml_fuzz.statements.catalogue import EVERY
from opml_fuzz.statements.game_bytecode import GameStatement
from opml_fuzz.statements.statement import Statement


def prove_by_name(name: str, keeps: bool = False) -> Verdict:
    """Proves the statement of that name."""
    statement = EVERY[name]
    if isinstance(statement, BytecodeStatement):
        return prove_bytecode(statement, keeps=keeps)
    if isinstance(statement, GameStatement):
        return prove_game(statement, keeps=keeps)
    return prove(statement) if isinstance(statement, Statement) else prove_rule(statement)


def keeping(name: str) -> Verdict:
    return prove_by_name(name, keeps=True)
