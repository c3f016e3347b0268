"""Mutants of what is proved: `opml-prove --mutants N`. One place is broken, and some statement about the bytecode must be refuted.

Broken are, one at a time: what an instruction of the specification does, a constant or an error of the specification, an expression of the
contract's source (compiled anew), and N random bytes of the compiled code. A mutant is refuted by a witness on which both worlds really
differ, and on which they agree without the mutation: it is printed as a test. A proof that merely fails is counted apart. What survives
shows what the statements do not say. A byte in code that no call executes or reads is told apart: the proofs of all statements about the
committed code, in which every call has its place, never come there, so no call can notice. So is one of which all is proved with
another value, too, if the reason is known.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from random import Random
from textwrap import indent
from time import monotonic
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from attrs import asdict, evolve, frozen
from opml_spec import errors
from opml_spec.machine import decode, memory, state, step, witness
from opml_spec.machine.instructions import INSTRUCTIONS, loads_stores, system
from opml_spec.machine.step import LAST_PC
from opml_spec.machine.witness import make_witness

from evm_arbiter.chain import Artefact, Reverted
from opml_fuzz.commands.output import Progress, print_json
from opml_fuzz.engines.bytecode import EmbeddedEvm, fastest
from opml_fuzz.engines.specification import SpecWitness
from opml_fuzz.errors import FuzzError
from opml_fuzz.fuzzing.compiled_mutants import compiled
from opml_fuzz.fuzzing.mutants import CONTRACT
from opml_fuzz.fuzzing.workers import results_in_order
from opml_fuzz.machine.states import random_state
from opml_fuzz.statements.bytecode import TEST_NAME
from opml_fuzz.statements.catalogue import BYTECODE

if TYPE_CHECKING:
    from opml_fuzz.proofs.evm.code import Code

EARLY = ("prefix", "lui", "access_read", "access_write", "illegal", "calldata", "jalr", "bne", "ld", "sd", "add", "rem", "ecall")
"""Statements that most mutants break, so they are tried first."""

FEW = 25  # instructions, of 65: what more of them execute, nearly all do
SAMPLED = 12  # steps of each instruction

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


STILL_EQUAL = {
    75: "where to return to from `codec.fail`, which never returns",
    2816: "below what no index may be, and none is ever negative",
    2835: "where to jump to if an index is out of its range, which none ever is",
}
"""Bytes of the committed code of which all is proved with another value, too, and why."""


@frozen
class Defect:
    """A defect. `entered` breaks the specification while it lasts; `artefact` makes wrong bytecode; `first` is what it should break.

    byte: the place of a byte that is another in the deployed code"""

    name: str
    entered: Callable[[], AbstractContextManager[Any]]
    artefact: Callable[[], Artefact | None]
    first: tuple[str, ...] = EARLY
    byte: int | None = None


@frozen
class Judgement:
    """What became of a mutant. detail: the statement that decides, or why none does; test: what fails on the mutant alone"""

    name: str
    result: str  # refuted, failed, survived, equal
    detail: str
    test: str = ""


RESULTS = {"survived": "survived", "failed": "not proved and not refuted", "equal": "equal for a known reason"}
"""What is said of those that are not refuted."""


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
        yield Defect(f"bytecode: byte {at} xor {change:#04x}", nullcontext, partial(with_byte, at, change), byte=at)


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


@cache
def traces() -> "dict[str, Code]":
    """The committed code once for each instruction, with the places that one step of it executes."""
    from opml_fuzz.proofs.evm.calldata import Known
    from opml_fuzz.proofs.evm.code import Code
    from opml_fuzz.proofs.evm.hashes import Hashes
    from opml_fuzz.proofs.evm.machine import Machine
    from opml_fuzz.proofs.evm.path import Path
    from opml_fuzz.proofs.step.bytecode_prover import committed
    from opml_fuzz.proofs.step.counterexample import executing as state_executing
    from opml_fuzz.proofs.step.equivalence import word_of

    found = {}
    for row in INSTRUCTIONS:
        rng, code = Random(row.name), Code(committed().code.data)
        witness = make_witness(state_executing(rng, random_state(rng), word_of(row.mask, row.match)).state())
        Machine(code, Known(committed().contract.calldata("step", witness)), Hashes()).run(Path(0))
        found[row.name] = code
    return found


@cache
def sampled() -> dict[str, tuple[bytes, ...]]:
    """Draws witnesses of steps of each instruction, while nothing is broken."""
    from opml_fuzz.proofs.step.counterexample import executing as state_executing
    from opml_fuzz.proofs.step.equivalence import word_of

    found = {}
    for row in INSTRUCTIONS:
        rng, word = Random(row.name), word_of(row.mask, row.match)
        found[row.name] = tuple(make_witness(state_executing(rng, random_state(rng), word).state()) for _ in range(SAMPLED))
    return found


def differing(mutant: Defect, artefact: Artefact | None) -> tuple[str, ...]:
    """Executes sampled steps on both sides; returns the instructions that differ, unless too many do for it to be their own doing."""
    ours, theirs, count = SpecWitness(), fastest(EmbeddedEvm(artefact)), Counter[str]()
    witnesses = sampled()
    with mutant.entered():
        for name, steps in witnesses.items():
            count[name] = sum(ours.execute(witness) != theirs.execute(witness) for witness in steps)
    found = tuple(name for name, number in count.most_common() if number)
    return found if len(found) <= FEW else ()


@cache
def executing(byte: int) -> tuple[str, ...]:
    """The instructions of which one step uses this byte of the code; if these are many, the statements that most mutants break."""
    found = tuple(name for name, code in traces().items() if code.is_used(byte))
    return found if len(found) <= FEW else EARLY


@cache
def used() -> "dict[str, Code]":
    """The committed code once for each statement, with all places that its calls execute or read: those that its proof comes to."""
    from opml_fuzz.proofs.step.arbiter import deployed
    from opml_fuzz.proofs.step.bytecode_prover import prove_bytecode

    found = {}
    for statement in BYTECODE.values():
        bytecode = deployed()
        verdict = prove_bytecode(statement, bytecode)
        if verdict.result != "proved":
            raise FuzzError(f"{statement.name} is not proved without a mutation: {verdict.detail}")
        found[statement.subject] = bytecode.code
    return found


def with_byte(at: int, change: int) -> Artefact:
    """The artefact with another byte in its runtime code."""
    artefact = Artefact.load("arbiter")
    code = bytearray(artefact.creation_bytecode)
    code[place_of_runtime()[0] + at] ^= change
    return evolve(artefact, creation_bytecode=bytes(code))


def judged(random_bytes: int, number: int) -> Judgement:
    """Tries the statements until one is refuted. Whatever a mutant's counterexample is, without the mutation it must be none."""
    mutant = list(mutants(random_bytes))[number]
    judgement = refuted(mutant)
    if judgement.test:
        try:
            execute_test(judgement.test)
        except AssertionError:
            return evolve(judgement, result="failed", detail=f"{judgement.detail}: both worlds differ without the mutation, too")
    return judgement


def refuted(mutant: Defect) -> Judgement:
    """Tries the statements on a mutant."""
    from opml_fuzz.proofs.step.arbiter import deployed
    from opml_fuzz.proofs.step.bytecode_prover import prove_bytecode

    artefact, failed = mutant.artefact(), ""
    try:
        bytecode = deployed(artefact)
    except Reverted as error:
        return Judgement(mutant.name, "failed", f"{type(error).__name__} in the constructor: there is no call to differ on")
    likely = mutant.first if mutant.byte is None else executing(mutant.byte)
    first = dict.fromkeys((*differing(mutant, artefact), *likely, *EARLY))
    for subject in (*first, *(one.subject for one in BYTECODE.values() if one.subject not in first)):
        if mutant.byte is not None and subject not in first and not may_be_noticed(mutant.byte, bytecode.code):
            return Judgement(mutant.name, "equal", "no call executes it or reads it")
        with mutant.entered():
            verdict = prove_bytecode(BYTECODE[f"bytecode.{subject}"], bytecode)
        if verdict.result == "counterexample" and TEST_NAME in verdict.detail:  # what z3 found may have no witness
            return Judgement(mutant.name, "refuted", subject, verdict.detail)
        if verdict.result != "proved":
            failed = failed or f"{subject}: {verdict.detail}"
    if not failed and mutant.byte in STILL_EQUAL:
        return Judgement(mutant.name, "equal", f"all is proved of it: {STILL_EQUAL[mutant.byte]}")
    return Judgement(mutant.name, "failed" if failed else "survived", failed)


def may_be_noticed(byte: int, changed: "Code") -> bool:
    """Tells whether any call executes or reads a byte, or goes elsewhere where it is another."""
    return any(code.is_used(byte) or not code.executes_alike(changed) for code in used().values())


def execute_test(test: str) -> None:
    """Executes a test as it is printed."""
    names: dict[str, Any] = {}
    exec(compile(test, "a counterexample", "exec"), names)  # a text that `proofs/step/counterexample.py` made
    names[TEST_NAME]()


def run(random_bytes: int, jobs: int, is_json: bool) -> int:
    """Tries all mutants and prints the result for each; 0 if none survived."""
    begin, count, progress = monotonic(), len(list(mutants(random_bytes))), Progress()
    details = list[Judgement]()
    with results_in_order(partial(judged, random_bytes), range(count), min(jobs, count)) as judgements:
        for one in judgements:
            details.append(one)
            progress.end()
            if not is_json:
                print(f"{one.result:10}{one.name}  [{one.detail.splitlines()[0] if one.detail else ''}]", flush=True)
                if one.test:
                    print(indent(one.test.strip(), "    "), flush=True)
            progress.show(f"{len(details)} of {count}")
    progress.end()
    results = Counter(one.result for one in details)
    if is_json:
        survivors = [one.name for one in details if one.result == "survived"]
        print_json({"mutants": [asdict(one) for one in details], "refuted": results["refuted"], "survivors": survivors})
    else:
        print(f"\n{in_words(details)}; {(monotonic() - begin) / 60:.1f} minutes")
    return 1 if results["survived"] else 0


def in_words(details: list[Judgement]) -> str:
    """The score, in one line: of all, and of each kind of mutant."""
    results = Counter(one.result for one in details)
    kinds = Counter(one.name.partition(":")[0] for one in details)
    found = Counter(one.name.partition(":")[0] for one in details if one.result == "refuted")
    different = len(details) - results["equal"]
    parts = [f"{results['refuted']} of {different} refuted ({100 * results['refuted'] / max(different, 1):.1f} %)"]
    parts += [f"{results[result]} {words}" for result, words in RESULTS.items() if results[result]]
    return f"{', '.join(parts)} — " + ", ".join(f"{kind} {found[kind]} of {number}" for kind, number in kinds.items())
