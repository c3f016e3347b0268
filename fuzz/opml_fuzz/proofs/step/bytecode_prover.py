"""Proves the statements about the arbiter's bytecode: by the lemma, or by running both worlds on all calls that a statement is about."""

import threading
import time
from functools import cache, partial
from typing import Any

from opml_spec.machine.instructions import INSTRUCTIONS

from opml_fuzz.proofs.questions import Failure, Questions
from opml_fuzz.proofs.step import arbiter, equivalence
from opml_fuzz.proofs.step.arbiter import Bytecode
from opml_fuzz.proofs.step.counterexample import reproducer
from opml_fuzz.proofs.step.lemma import Lemma
from opml_fuzz.proofs.stoppable import stoppable
from opml_fuzz.proofs.verdict import Verdict
from opml_fuzz.statements.bytecode import BytecodeStatement

QUERY_UNITS = 500_000_000


@cache
def committed() -> Bytecode:
    """The arbiter as it is committed, deployed."""
    return arbiter.deployed()


def prove_bytecode(statement: BytecodeStatement, bytecode: Bytecode | None = None, keeps: bool = False) -> Verdict:
    """Tries to prove it of the committed arbiter, or of other bytecode. keeps: whether the verdict has all queries, as SMT-LIB"""
    return stoppable(partial(_prove, statement, bytecode or committed(), keeps))


def _prove(statement: BytecodeStatement, bytecode: Bytecode, keeps: bool, stop: threading.Event) -> Verdict:
    begin, questions = time.monotonic(), Questions(QUERY_UNITS, stop, keeps)
    result, detail, model = "proved", "", None
    try:
        attempt(statement.subject, bytecode, questions)
    except Failure as failure:
        result, detail, model = failure.result, str(failure), failure.model
    except Exception as error:  # what cannot be run on symbols proves nothing
        result, detail, model = "error", f"{type(error).__name__}: {error}", getattr(error, "model", None)
    if result != "proved":
        found = reproducer(model, word_of_subject(statement.subject), bytecode)
        result, detail = ("counterexample", found) if found else (result, detail or str(model))
    return Verdict(statement.name, result, time.monotonic() - begin, detail, tuple(questions.refuted.queries))


def word_of_subject(subject: str) -> Any:
    """The instruction words that a statement is about, with names for what is open; None if it is about no instruction."""
    if subject == "illegal":
        return equivalence.word_of(0, 0)
    return next((equivalence.word_of(row.mask, row.match) for row in INSTRUCTIONS if row.name == subject), None)


def attempt(subject: str, bytecode: Bytecode, questions: Questions) -> None:
    """Proves what a statement says, or raises Failure."""
    match subject:
        case "access_read" | "access_write":
            Lemma(bytecode, subject == "access_write", questions).prove()
        case "calldata":
            equivalence.prove_refusals(bytecode, questions)
        case "prefix":
            equivalence.prove(bytecode, equivalence.of_prefix(), questions)
        case "illegal":
            equivalence.prove(bytecode, equivalence.of_illegal(), questions)
        case _:
            (row,) = (row for row in INSTRUCTIONS if row.name == subject)
            equivalence.prove(bytecode, equivalence.of_row(row), questions)
