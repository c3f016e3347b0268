"""Proves the statements about the game's bytecode: by running both worlds on all calls of an entry point."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import z3

from evm_arbiter.chain import Artefact
from opml_fuzz.proofs.game.case_split import DIVISIONS, Divide, undivided
from opml_fuzz.proofs.game.constructor import DeploymentProof
from opml_fuzz.proofs.game.equivalence import AboutCalls, Deployed, Proof, deployed
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
    begin, asked = time.monotonic(), list[Questions]()

    def questions() -> Questions:
        asked.append(Questions(QUERY_UNITS, stop, keeps))
        return asked[-1]

    try:
        result, detail = in_all_cases(statement, artefact, questions)
    except Exception as error:  # what cannot be run on symbols proves nothing
        result, detail = "error", f"{type(error).__name__}: {error}"
    queries = {query: None for one in asked for query in one.refuted.queries}
    return Verdict(statement.name, result, time.monotonic() - begin, detail, tuple(queries))


def in_all_cases(statement: GameStatement, artefact: Artefact | None, questions: Callable[[], Questions]) -> tuple[str, str]:
    """Proves one case after the other; the first that is not proved decides. Some proof must meet each end that the statement names."""
    reached = set[Any]()
    for proof in proofs(statement, artefact, questions):
        try:
            reached |= proof.prove()
        except Failure as failure:
            return refuted(proof, failure, artefact)
    if reached != statement.reaches:
        return "error", f"it ends with {sorted(map(str, reached))}, not with {sorted(map(str, statement.reaches))}"
    return "proved", ""


def proofs(statement: GameStatement, artefact: Artefact | None, questions: Callable[[], Questions]) -> Iterator[Proof | DeploymentProof]:
    """Yields the proof of each case, and shows that no case is missing."""
    if statement.subject == CONSTRUCTOR:
        yield DeploymentProof(artefact, questions())
        return
    game, divide = committed() if artefact is None else deployed(artefact), DIVISIONS.get(statement.name, undivided)
    whole = Proof(game, statement.subject, questions())
    division = divide(whole)
    whole.questions.prove((division.scope,), z3.Or(division.cases))
    for number in range(len(division.cases)):
        yield Proof(game, statement.subject, questions(), partial(in_case, divide, number))


def in_case(divide: Divide, number: int, proof: Proof) -> AboutCalls:
    division = divide(proof)
    return AboutCalls((division.cases[number],), division.remembers)


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
