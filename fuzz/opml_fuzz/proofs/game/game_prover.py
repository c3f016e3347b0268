"""Proves the statements about the game's bytecode: by running both worlds on all calls of an entry point."""

import threading
import time
from functools import cache, partial

from evm_arbiter.chain import Artefact
from opml_fuzz.proofs.game.constructor import DeploymentProof
from opml_fuzz.proofs.game.equivalence import Deployed, Proof, deployed
from opml_fuzz.proofs.game.known_deployment import reproducer_of_deployment
from opml_fuzz.proofs.game.replay import reproducer
from opml_fuzz.proofs.questions import Failure, Questions
from opml_fuzz.proofs.stoppable import stoppable
from opml_fuzz.proofs.verdict import Verdict
from opml_fuzz.statements.game_bytecode import CONSTRUCTOR, GameStatement

QUERY_UNITS = 500_000_000
NO_TEST = "There is no test: with real hashes, products and quotients, nothing that z3 found is a call on which both differ."


@cache
def committed() -> Deployed:
    """The game as it is committed, deployed."""
    return deployed()


def prove_game(statement: GameStatement, artefact: Artefact | None = None, keeps: bool = False) -> Verdict:
    """Tries to prove it of the committed game, or of other bytecode. keeps: whether the verdict has all queries, as SMT-LIB"""
    return stoppable(partial(_prove, statement, artefact, keeps))


def _prove(statement: GameStatement, artefact: Artefact | None, keeps: bool, stop: threading.Event) -> Verdict:
    begin, questions = time.monotonic(), Questions(QUERY_UNITS, stop, keeps)
    result, detail = "proved", ""
    try:
        proof: Proof | DeploymentProof
        if statement.subject == CONSTRUCTOR:
            proof = DeploymentProof(artefact, questions)
        else:
            proof = Proof(committed() if artefact is None else deployed(artefact), statement.subject, questions)
        try:
            reached = proof.prove()
        except Failure as failure:
            result, detail = refuted(proof, failure, artefact)
        else:
            if reached != statement.reaches:
                result, detail = "error", f"it ends with {sorted(map(str, reached))}, not with {sorted(map(str, statement.reaches))}"
    except Exception as error:  # what cannot be run on symbols proves nothing
        result, detail = "error", f"{type(error).__name__}: {error}"
    return Verdict(statement.name, result, time.monotonic() - begin, detail, tuple(questions.refuted.queries))


def refuted(proof: Proof | DeploymentProof, failure: Failure, artefact: Artefact | None) -> tuple[str, str]:
    """What a failure is: a counterexample only if there is a call on which both worlds differ when they are run."""
    if isinstance(proof, DeploymentProof):
        test = reproducer_of_deployment(proof, failure, artefact)
    else:
        test = reproducer(proof, failure, artefact)
    if test:
        return "counterexample", f"{failure}\n{test}"
    if failure.result == "counterexample":
        return "unknown", f"{failure}\n{NO_TEST}"
    return failure.result, str(failure)
