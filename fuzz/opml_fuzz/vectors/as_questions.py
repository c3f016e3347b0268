"""The test vectors as questions to a target, each with the answer that the vector has.

Vectors of steps, programs, memories, operations and courts can be asked. Those of arithmetic, Merkle proofs and whole runs have no question
in the protocol. A file of acts is one question, since an act depends on those before it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from opml_fuzz.disputes.answers import with_payment
from opml_fuzz.errors import InputError
from opml_fuzz.machine import target_question as ask
from opml_fuzz.machine.court_answer import DEPLOYED, court_texts, error_text
from opml_fuzz.machine.target_question import STATE_BYTES, Question
from opml_fuzz.vectors.notation import Json
from opml_fuzz.vectors.tree import FILES, PAGE

MOST_FILE_BYTES = 1 << 26


@frozen
class Asked:
    """A question with its answer. names: of the case, or of a deployment and all acts after it"""

    names: list[str]
    question: Question
    right: list[str]


def cases_in(folder: Path) -> dict[str, list[Json]]:
    """Reads the files of a tree of vectors that are there, by name."""
    found = {}
    for name in FILES:
        file = folder / name
        if not file.exists():
            continue
        if not file.is_file() or file.stat().st_size > MOST_FILE_BYTES:
            raise InputError(f"{file} is not a regular file of at most {MOST_FILE_BYTES >> 20} MiB")
        try:
            cases = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"cannot read {file}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file} is no JSON: {str(error)[:100]}") from error
        if not isinstance(cases, list):
            raise InputError(f"{file} is no list of cases")
        found[name] = cases
    if not found:
        raise InputError(f"there are no test vectors in {folder}; `opml-fuzz vectors write DIR` writes them, with a {PAGE.name}")
    return found


def questions_in(name: str, cases: list[Any]) -> list[Asked]:
    """Returns the questions that the cases of this file ask. Raises InputError if one of them is no case."""
    found, case = list[Asked](), None
    try:
        if name.startswith("court/") and any("post" in case and case["post"] for case in cases):
            return [_acts(cases)]
        for case in cases:
            found += [Asked([str(case.get("name"))], *each) for each in _questions(name, case["pre"], case.get("post"), case.get("error"))]
        for each in found:
            if not isinstance(each.right, list) or not all(isinstance(text, str) for text in each.right):
                raise TypeError(f"what is right is no text: {each.right!r}")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{name} has a case that is none: {type(error).__name__} {str(error)[:100]}") from error
    return found


def _acts(cases: list[Any]) -> Asked:
    """Asks a whole file of acts, of which the first case is the deployment."""
    deployment, *acts = cases
    answers = [with_payment(case["post"]) if "post" in case else {"error": case["error"]} for case in acts]
    question = ask.court(deployment["pre"]["parameters"], [case["pre"] for case in acts])
    return Asked([str(case["name"]) for case in cases], question, court_texts(answers))


def _questions(name: str, pre: Json, post: Any, error: int | None) -> Iterator[tuple[Question, list[str]]]:
    match name:
        case "machine/wrong_witnesses.json" | "machine/forged_witnesses.json":
            yield ask.execute(bytes.fromhex(pre["witness"])), [f"error {error}"]
        case "machine/steps.json" | "machine/corners.json":
            witness, memory, after = bytes.fromhex(pre["witness"]), ask.memory_of(pre["memory"]), [post["post_hash"]]
            yield ask.execute(witness), after
            yield ask.step(witness[:STATE_BYTES], memory), after
            yield ask.make_witness(witness[:STATE_BYTES], memory), [pre["witness"]]
        case "machine/programs.json":
            yield ask.run(bytes.fromhex(pre["state"]), ask.memory_of(pre["memory"]), pre["stops"]), post["hashes"]
        case "merkle/roots.json":
            yield ask.root(ask.memory_of(pre["memory"])), [post["root"]]
        case "operations/fixed.json" | "operations/float.json" | "operations/training.json":
            code, carry = post["exit_code"], post["carry_root"]
            about = ask.training_stage if "training" in name else ask.stage
            yield about(ask.memory_of(pre["memory"]), pre["stage"]), [f"exit code {code}", *([] if code else [carry])]
        case "court/parameters.json":
            yield ask.court(pre["parameters"], []), [DEPLOYED if error is None else error_text(error)]
