"""The test vectors as questions to a target, each with the answer that the vector has.

Vectors of steps, programs, memories and operations can be asked. Those of arithmetic, Merkle proofs, whole runs and acts at court have no
question in the protocol.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opml_fuzz.errors import InputError
from opml_fuzz.machine import target_question as ask
from opml_fuzz.machine.target_question import STATE_BYTES, Question
from opml_fuzz.vectors.notation import Json
from opml_fuzz.vectors.tree import FILES, PAGE


def cases_in(folder: Path) -> dict[str, list[Json]]:
    """Reads the files of a tree of vectors that are there, by name."""
    found = {}
    for name in FILES:
        try:
            cases = json.loads((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise InputError(f"cannot read {folder / name}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{folder / name} is no JSON: {str(error)[:100]}") from error
        if not isinstance(cases, list):
            raise InputError(f"{folder / name} is no list of cases")
        found[name] = cases
    if not found:
        raise InputError(f"there are no test vectors in {folder}; `opml-fuzz vectors write DIR` writes them, with a {PAGE.name}")
    return found


def questions_of(name: str, case: Any) -> list[tuple[Question, list[str]]]:
    """Returns the questions that a case of this file asks, each with its answer. Raises InputError for what is no case."""
    try:
        return list(_questions(name, case["pre"], case.get("post"), case.get("error")))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{name} has a case that is none: {type(error).__name__} {str(error)[:100]}") from error


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
        case "operations/fixed.json" | "operations/float.json":
            yield ask.stage(ask.memory_of(pre["memory"]), pre["stage"]), [f"exit code {post['exit_code']}", post["carry_root"]]
