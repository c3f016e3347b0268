"""Mutants of what is proved: `opml-prove --mutants N`. One place is broken, and some statement about the bytecode must be refuted.

Broken are, one at a time: what an instruction of the specification does, a constant or an error of the specification, an expression of the
contract's source (compiled anew), and N random bytes of the compiled code. A mutant is refuted by a witness on which both worlds really
differ; a proof that merely fails is counted apart. What survives shows what the statements do not say.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from random import Random
from typing import Any
from unittest.mock import patch

from attrs import evolve, frozen
from opml_spec import errors
from opml_spec.machine import decode, memory, state, step, witness
from opml_spec.machine.instructions import INSTRUCTIONS, loads_stores, system
from opml_spec.machine.step import LAST_PC

from evm_arbiter.chain import Artefact, Reverted
from opml_fuzz.commands.output import Progress, print_json
from opml_fuzz.fuzzing.compiled_mutants import compiled
from opml_fuzz.fuzzing.mutants import CONTRACT
from opml_fuzz.fuzzing.workers import results_in_order
from opml_fuzz.statements.catalogue import BYTECODE

EARLY = ("prefix", "access_read", "access_write", "illegal", "calldata", "jalr", "lui", "bne", "ld", "sd", "add", "rem", "ecall")
"""Statements that most mutants break, so they are tried first."""

CONSTANTS: tuple[tuple[Any, str, Any, str], ...] = (
    (step, "LAST_PC", LAST_PC + 4, "prefix"),
    (step, "LAST_PC", LAST_PC - 4, "fence"),
    (step, "ENTRY", memory.ENTRY + 4, "fence"),
    (step, "INSTRUCTION_BYTES", 2, "prefix"),
    (system, "EXIT", 94, "ecall"),
    (system, "A7", 16, "ecall"),
    (system, "A0", 11, "ecall"),
    (loads_stores, "MEMORY_BYTES", memory.MEMORY_BYTES + 1, "lb"),
    (loads_stores, "MEMORY_BYTES", memory.MEMORY_BYTES - 1, "lb"),
    (loads_stores, "MODEL", memory.MODEL + 1, "sb"),
    (loads_stores, "MODEL", memory.MODEL - 1, "sb"),
    (loads_stores, "IO", memory.IO - 1, "sb"),
    (loads_stores, "IO", memory.IO + 1, "sb"),
    (witness, "WitnessTrailing", errors.WitnessTruncated, "fence"),
    (witness, "WitnessTruncated", errors.WitnessTrailing, "prefix"),
    (witness, "WitnessBitmap", errors.WitnessRoot, "access_read"),
    (witness, "WitnessRoot", errors.WitnessBitmap, "access_read"),
    (witness, "WitnessZeroSibling", errors.WitnessRoot, "access_read"),
    (state, "StateUndecodable", errors.WitnessTruncated, "prefix"),
)
"""Names of the specification, wrong values for them, and what they should break."""


@frozen
class Defect:
    """A defect. `entered` breaks the specification while it lasts; `artefact` makes wrong bytecode; `first` is what it should break."""

    name: str
    entered: Callable[[], AbstractContextManager[Any]]
    artefact: Callable[[], Artefact | None]
    first: tuple[str, ...] = EARLY


def no_artefact() -> Artefact | None:
    return None


def mutants(random_bytes: int) -> Iterator[Defect]:
    """Yields all mutants."""
    by_format: dict[str, list[str]] = {}
    for row in INSTRUCTIONS:
        by_format.setdefault(row.format, []).append(row.name)
    for names in by_format.values():
        for name, other in zip(names, names[1:] + names[:1], strict=True):
            if meaning(name) != meaning(other):
                yield Defect(f"spec: {name} does what {other} does", partial(exchanged, name, other), no_artefact, (name,))
    for where, name, value, first in CONSTANTS:
        shown = value.__name__ if isinstance(value, type) else hex(value)
        yield Defect(f"spec: {where.__name__}.{name} is {shown}", partial(patch.object, where, name, value), no_artefact, (first,))
    for right, wrong in CONTRACT:
        name = f"contract: {' '.join(right.split())} → {' '.join(wrong.split())}"
        yield Defect(name, nullcontext, partial(compiled, "arbiter", right, wrong))
    rng = Random(1)
    for _ in range(random_bytes):
        at, change = rng.randrange(runtime_bytes()), rng.randrange(1, 256)
        yield Defect(f"bytecode: byte {at} xor {change:#04x}", nullcontext, partial(with_byte, at, change))


def meaning(name: str) -> Any:
    """What the specification executes, if another instruction has the very same, as ADDI and ADD have."""
    (row,) = (row for row in INSTRUCTIONS if row.name == name)
    return row.meaning or row.execute


@contextmanager
def exchanged(name: str, other: str) -> Iterator[None]:
    (execute,) = (row.execute for row in INSTRUCTIONS if row.name == other)
    with patch.object(decode, "INSTRUCTIONS", tuple(evolve(row, execute=execute) if row.name == name else row for row in INSTRUCTIONS)):
        yield


@cache
def place_of_runtime() -> tuple[int, int]:
    """Where the runtime code begins in the creation code, and how long it is without immutables."""
    from opml_fuzz.proofs.step.arbiter import deployed

    runtime, creation = deployed().code.data, Artefact.load("arbiter").creation_bytecode
    size = max(size for size in range(32, len(runtime), 16) if runtime[:size] in creation)
    return creation.index(runtime[:size]), size


def runtime_bytes() -> int:
    return place_of_runtime()[1]


def with_byte(at: int, change: int) -> Artefact:
    """The artefact with another byte in its runtime code."""
    artefact = Artefact.load("arbiter")
    code = bytearray(artefact.creation_bytecode)
    code[place_of_runtime()[0] + at] ^= change
    return evolve(artefact, creation_bytecode=bytes(code))


def judged(random_bytes: int, number: int) -> tuple[str, str, str]:
    """Tries the statements until one is refuted: the mutant's name, the result that decides, and the statement."""
    from opml_fuzz.proofs.step.bytecode_prover import prove_bytecode

    mutant = list(mutants(random_bytes))[number]
    subjects = dict.fromkeys((*mutant.first, *(one.subject for one in BYTECODE.values())))
    failed = ""
    artefact = mutant.artefact()
    with mutant.entered():
        for subject in subjects:
            try:
                verdict = prove_bytecode(BYTECODE[f"bytecode.{subject}"], artefact)
            except Reverted as error:  # it cannot even be deployed
                return mutant.name, "refuted", f"{type(error).__name__} in the constructor"
            if verdict.result == "counterexample":
                return mutant.name, "refuted", subject
            if verdict.result != "proved":
                failed = failed or f"{subject}: {verdict.detail}"
    return mutant.name, "failed" if failed else "survived", failed


def run(random_bytes: int, jobs: int, is_json: bool) -> int:
    """Tries all mutants and prints the result for each; 0 if none survived."""
    count, progress = len(list(mutants(random_bytes))), Progress()
    results, details = Counter[str](), list[dict[str, str]]()
    with results_in_order(partial(judged, random_bytes), range(count), min(jobs, count)) as judgements:
        for number, (name, result, what) in enumerate(judgements):
            results[result] += 1
            details.append({"name": name, "result": result, "detail": what})
            progress.end()
            if not is_json:
                print(f"{result:10}{name}  [{what.splitlines()[0] if what else ''}]", flush=True)
            progress.show(f"{number + 1} of {count}")
    progress.end()
    if is_json:
        survivors = [one["name"] for one in details if one["result"] == "survived"]
        print_json({"mutants": details, "refuted": results["refuted"], "survivors": survivors})
    else:
        rest = (f"{number} {result}" for result, number in results.items() if result != "refuted")
        print(f"\n{results['refuted']} of {count} refuted", *rest, sep=", ")
    return 1 if results["survived"] else 0
