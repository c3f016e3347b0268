"""The arbiter's deployed bytecode is the specification: every statement sampled and proved, and what is wrong is found.

A wrong contract, a wrong specification, one wrong byte and a wrong place in the bytecode must each make a proof fail, and a counterexample
must be a witness on which both really differ.
"""

import ast
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random
from threading import Event
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest
import z3
from attrs import evolve
from opml_fuzz.commands import bytecode_mutants
from opml_fuzz.commands import prove as command
from opml_fuzz.commands.bytecode_mutants import Judgement, execute_test
from opml_fuzz.engines.bytecode import EmbeddedEvm, fastest
from opml_fuzz.engines.protocol import WitnessEngine
from opml_fuzz.engines.specification import SpecWitness
from opml_fuzz.fuzzing.compiled_mutants import compiled
from opml_fuzz.machine.instructions import put_word
from opml_fuzz.machine.start import Leaves, Start
from opml_fuzz.machine.states import random_state
from opml_fuzz.machine.wrong_witnesses import spoil
from opml_fuzz.proofs import ledger
from opml_fuzz.proofs.evm.code import Code
from opml_fuzz.proofs.questions import Failure, Questions
from opml_fuzz.proofs.step import arbiter, bytecode_prover
from opml_fuzz.proofs.step.arbiter import STATE_BYTES, Bytecode
from opml_fuzz.proofs.step.bytecode_prover import attempt, committed, prove_bytecode
from opml_fuzz.proofs.step.lemma import Lemma
from opml_fuzz.proofs.unsupported import Unsupported
from opml_fuzz.proofs.verdict import Verdict
from opml_fuzz.statements.catalogue import BYTECODE, EVERY, RULES, STATEMENTS
from opml_fuzz.statements.statement import Statement
from opml_spec import words
from opml_spec.machine import decode, witness
from opml_spec.machine.instructions import INSTRUCTIONS
from opml_spec.machine.memory import ENTRY
from opml_spec.machine.witness import make_witness

from evm_arbiter.chain import Artefact, Reverted, keccak256

NEVER = Event()
ROWS = {row.name: row for row in INSTRUCTIONS}
LEDGER = Path(__file__).resolve().parent.parent / "fuzz" / "LEDGER.md"


# Every statement ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BYTECODE)
def test_a_statement_is_proved(name: str) -> None:
    assert prove_bytecode(BYTECODE[name]).result == "proved"


def state_for(subject: str, rng: Random) -> Start:
    """A state that a statement is about."""
    start = random_state(rng)
    if subject not in ROWS:
        return start
    row, pc = ROWS[subject], ENTRY + 4 * rng.randrange(1 << 26)
    leaves = dict(start.leaves.by_index)
    put_word(leaves, pc, rng.getrandbits(32) & ~row.mask | row.match)
    return Start(pc, start.x, Leaves(leaves))


@pytest.mark.parametrize("name", [name for name in BYTECODE if name != "bytecode.calldata"])
def test_a_statement_holds_on_samples(name: str, engines: tuple[WitnessEngine, WitnessEngine]) -> None:
    for seed in range(12):
        rng = Random(f"{name} {seed}")
        given = make_witness(state_for(BYTECODE[name].subject, rng).state())
        given = spoil(rng, given) if seed % 3 == 2 else given
        ours, theirs = (engine.execute(given) for engine in engines)
        assert ours == theirs, given.hex()


@pytest.fixture(scope="module")
def engines() -> tuple[WitnessEngine, WitnessEngine]:
    return SpecWitness(), fastest(EmbeddedEvm())


def test_the_statements_are_about_all_calls() -> None:
    subjects = {one.subject for one in BYTECODE.values()}
    assert subjects == {"calldata", "access_read", "access_write", "prefix", "illegal", *ROWS}
    assert set(EVERY) >= set(BYTECODE)


def test_assumptions_of_which_z3_knows_nothing_are_a_failure() -> None:
    a, b = z3.BitVecs("a b", 128)
    hard = [z3.UGT(a, 1), z3.UGT(b, 1), z3.ULT(a, 1 << 63), z3.ULT(b, 1 << 63), a * b == (1 << 89) - 1]
    with pytest.raises(Failure) as failure:
        Questions(100_000, NEVER).are_possible(hard)
    assert failure.value.result == "unknown"
    with pytest.raises(Failure, match="nothing is admitted"):
        Questions(10_000_000, NEVER).are_possible([a == 1, a == 2])


# What a call may look like -----------------------------------------------------------------------------------------------------------


def answer(data: bytes, value: int = 0, bytecode: arbiter.Bytecode | None = None) -> bytes | None:
    """What the committed contract answers, or another; the data of a revert, None for success."""
    contract = (bytecode or committed()).contract
    chain = contract.chain
    outcome = chain.node.transact(bytes.fromhex(chain.accounts[0][2:]), bytes.fromhex(contract.address[2:]), data, value, chain.now)
    return None if outcome.success else outcome.output


def error(number: int) -> bytes:
    return keccak256(b"OpmlError(uint256)")[:4] + number.to_bytes(32, "big")


def test_what_is_cut_short_reads_as_zeros() -> None:
    """The argument is wherever its offset points, and zeros follow the end of the data: that is the witness which is judged."""
    contract = committed().contract
    given = make_witness(random_state(Random(3)).state())
    data = contract.calldata("step", given)
    assert answer(data) is None
    assert answer(data[:36] + bytes(31) + bytes([1]) + data[36:]) == error(101)  # a length word of 1: one byte is a witness too
    moved = data[:4] + (64).to_bytes(32, "big") + bytes(32) + data[36:]
    assert answer(moved) is None
    for end in (36, 68, 100, 68 + 250, 68 + len(given) - 1):
        length = int.from_bytes(data[36:68][: max(end - 36, 0)].ljust(32, b"\0"), "big")
        judged = data[68:end][:length].ljust(length, b"\0") if length <= arbiter.WITNESS_BYTES else b""
        expected = SpecWitness().execute(judged)
        found = answer(data[:end])
        assert found == (error(int(expected.removeprefix("error "))) if expected.startswith("error") else None)
    far = data[:4] + (1 << 255).to_bytes(32, "big") + data[36:]
    assert answer(far) == error(101)  # no length, no bytes


def test_refused_without_data() -> None:
    contract = committed().contract
    data = contract.calldata("step", make_witness(random_state(Random(3)).state()))
    for refused in (b"", data[:3], b"\0" + data[1:], data[:35], data[:36] + (arbiter.WITNESS_BYTES + 1).to_bytes(32, "big") + data[68:]):
        assert answer(refused) == b""
    assert answer(data, value=1) == b""
    with pytest.raises(Reverted):
        contract.call("step", bytes(arbiter.WITNESS_BYTES + 1))


# What is wrong is found --------------------------------------------------------------------------------------------------------------


def refuted(verdict: Verdict, bytecode: Bytecode | None = None) -> str:
    """The proof fails, and its counterexample is a test that fails on the mutant; returns the test. bytecode: the mutant, if it is one"""
    assert verdict.result == "counterexample"
    names: dict[str, Any] = {}
    exec(verdict.detail, names)
    if bytecode is not None:
        names["test_a_step_that_differs"]()  # passes on the original
        names["EmbeddedEvm"] = partial(EmbeddedEvm, bytecode.contract.artefact)
    with pytest.raises(AssertionError):
        names["test_a_step_that_differs"]()
    return verdict.detail


@pytest.mark.parametrize(
    ("right", "wrong", "subject"),
    [
        ("(ua if funct7 == BASE else sa) >> amount", "ua >> amount", "sraw"),
        ("if old != root:", "if old != root and sent == 0:", "access_read"),
        ("if sibling == zero:", "if sibling == zero and bit > 1:", "access_write"),
        ("if pc & 3 != 0:", "if pc & 1 != 0:", "prefix"),
        ("funct3 > 6 or ", "", "illegal"),
        ("high >= ENTRY and low < MODEL_END", "low >= ENTRY and low < MODEL_END", "sd"),
        ("if rd == 0:", "if rd == 32:", "addi"),
    ],
)
def test_a_wrong_contract_is_found(right: str, wrong: str, subject: str) -> None:
    mutant = arbiter.deployed(compiled("arbiter", right, wrong))
    refuted(prove_bytecode(BYTECODE[f"bytecode.{subject}"], mutant), mutant)


LOOKS = ("len(msg.data) < 10000", "keccak256(slice(msg.data, 0, 4)) != root", "block.number > 0", "msg.gas > 0", "msg.sender != self")
CHOSEN = LOOKS if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else LOOKS[:2]  # seconds each


@pytest.mark.parametrize("condition", CHOSEN)
def test_an_access_that_looks_at_its_call_is_not_proved(condition: str) -> None:
    """In `access` only its arguments may matter: a condition on the call, or on the chain, would be a back door."""
    bytecode = arbiter.deployed(compiled("arbiter", "if old != root:", f"if old != root and {condition}:"))
    with pytest.raises(Unsupported):
        attempt("access_read", bytecode, Questions(bytecode_prover.QUERY_UNITS, NEVER))


def test_a_back_door_for_long_calls_opens() -> None:
    """Behind the argument of a call there may be anything; whoever looks at it accepts a witness that has no root."""
    given = make_witness(random_state(Random(3)).state())
    wrong = given[:STATE_BYTES] + bytes([given[STATE_BYTES] ^ 1]) + given[STATE_BYTES + 1 :]
    assert SpecWitness().execute(wrong).startswith("error")
    opened = arbiter.deployed(compiled("arbiter", "if old != root:", "if old != root and len(msg.data) < 10000:"))
    for bytecode, is_accepted in ((committed(), False), (opened, True)):
        data = bytecode.contract.calldata("step", wrong)
        assert (answer(data + bytes(10_000), bytecode=bytecode) is None) == is_accepted
        assert answer(data, bytecode=bytecode) is not None


@contextmanager
def exchanged(name: str, other: str) -> Iterator[None]:
    """The instruction does what the other one does."""
    table: Any = decode
    rows = table.INSTRUCTIONS
    table.INSTRUCTIONS = tuple(evolve(row, execute=ROWS[other].execute) if row.name == name else row for row in rows)
    try:
        yield
    finally:
        table.INSTRUCTIONS = rows


@pytest.mark.parametrize(("name", "other"), [("slt", "sltu"), ("lb", "lbu"), ("divw", "divuw"), ("bge", "bgeu"), ("sw", "sh")])
def test_a_wrong_specification_is_found(name: str, other: str) -> None:
    with exchanged(name, other):
        test = refuted(prove_bytecode(BYTECODE[f"bytecode.{name}"]))
    execute_test(test)


def test_a_wrong_error_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(witness, "WitnessTrailing", witness.WitnessTruncated)
        test = refuted(prove_bytecode(BYTECODE["bytecode.fence"]))
    execute_test(test)


def test_a_wrong_byte_is_found() -> None:
    """The bitmap is read without its highest bit."""
    artefact = Artefact.load("arbiter")
    code = artefact.creation_bytecode
    mask = code.index(bytes([0x64]) + b"\xff" * 5)  # PUSH5: the 40 bits of the bitmap
    wrong = arbiter.deployed(evolve(artefact, creation_bytecode=code[: mask + 1] + b"\x7f" + code[mask + 2 :]))
    refuted(prove_bytecode(BYTECODE["bytecode.access_read"], wrong), wrong)


def test_a_wrong_place_in_the_bytecode_proves_nothing() -> None:
    """A frame that lies elsewhere, or a cut where another value is stored, makes the proof fail."""
    right = committed()
    for step in (-32, 32, 64):

        class Elsewhere(arbiter.Bytecode):
            frame = evolve(right.frame, start=right.frame.start + step)

        with pytest.raises(Exception):  # noqa: B017, PT011
            Lemma(Elsewhere(right.contract, right.code), True, Questions(bytecode_prover.QUERY_UNITS, NEVER)).prove()

    swapped = {0: right.cuts[0], 1: right.cuts[2], 2: right.cuts[1]}

    class Exchanged(arbiter.Bytecode):
        cuts = swapped

    with pytest.raises(Failure):
        attempt("sub", Exchanged(right.contract, right.code), Questions(bytecode_prover.QUERY_UNITS, NEVER))


def test_what_admits_nothing_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import z3

    monkeypatch.setattr(bytecode_prover.equivalence, "fetched", lambda pc: z3.BoolVal(False))
    assert prove_bytecode(BYTECODE["bytecode.add"]).result == "error"


def test_small_functions_of_the_specification() -> None:
    assert words.put((0, 1, 2, 3), 1, (7, 8)) == (0, 7, 8, 3)
    assert words.put(b"abcd", 0, b"") == b"abcd"


# Mutants of the command ----------------------------------------------------------------------------------------------------------------


def changed_at(code: Code, at: int) -> Code:
    return Code(code.data[:at] + bytes([code.data[at] ^ 0x80]) + code.data[at + 1 :])


def test_a_byte_that_nobody_executes_or_reads_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step reads the immutables at the end; a call that is refused reads nothing. A byte that turns what follows into data counts."""
    bytecode = arbiter.deployed()
    last = len(bytecode.code.data) - 1
    attempt("calldata", bytecode, Questions(bytecode_prover.QUERY_UNITS, NEVER))
    assert bytecode.code.is_used(0)
    assert not bytecode.code.is_used(last)
    assert bytecode_mutants.traces()["add"].is_used(last)
    assert not bytecode.code.executes_alike(changed_at(bytecode.code, 0))
    assert bytecode.code.executes_alike(changed_at(bytecode.code, last))
    places = sorted(bytecode.code.executed)
    before = Code(bytes(3) + bytecode.code.data)
    before.executed.update(at + 3 for at in places)
    assert before.executes_alike(Code(b"\1" + before.data[1:]))
    assert not before.executes_alike(Code(bytes(2) + b"\x60" + before.data[3:]))  # PUSH1 takes the first instruction for its operand
    monkeypatch.setattr(bytecode_mutants, "EARLY", ())
    monkeypatch.setattr(bytecode_mutants, "used", lambda: {"calldata": bytecode.code})
    dead = next(at for at in range(last) if not bytecode.code.is_used(at) and not bytecode_mutants.executing(at))
    mutant = bytecode_mutants.Defect("x", nullcontext, partial(bytecode_mutants.with_byte, dead, 1), byte=dead)
    assert bytecode_mutants.refuted(mutant).result == "equal"


def test_where_sampled_steps_differ_is_looked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks one instruction shows there; what breaks nearly all shows nothing of any."""
    xor = next(mutant for mutant in bytecode_mutants.mutants(0) if mutant.name == "spec: xor does what srl does")
    assert bytecode_mutants.differing(xor, None) == ("xor",)
    with monkeypatch.context() as patched:
        patched.setattr(witness, "state_hash", lambda state: bytes(32))
        assert bytecode_mutants.differing(evolve(xor, entered=nullcontext), None) == ()


def test_bytecode_that_never_ends_is_a_difference() -> None:
    """Its load of a leaf comes back to where it began."""
    endless = bytecode_mutants.Defect("x", nullcontext, partial(bytecode_mutants.with_byte, 4541, 0x34))
    assert "lb" in bytecode_mutants.differing(endless, endless.artefact())


def test_what_is_proved_of_a_wrong_byte_is_equal_for_a_known_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bytecode_mutants, "EARLY", ("calldata",))
    monkeypatch.setattr(bytecode_mutants, "BYTECODE", {"bytecode.calldata": BYTECODE["bytecode.calldata"]})
    monkeypatch.setattr(bytecode_mutants, "executing", lambda byte: ())
    for at, reason in bytecode_mutants.STILL_EQUAL.items():
        mutant = bytecode_mutants.Defect("x", nullcontext, partial(bytecode_mutants.with_byte, at, 1), byte=at)
        judgement = bytecode_mutants.refuted(mutant)
        assert (judgement.result, judgement.detail) == ("equal", f"all is proved of it: {reason}")
    monkeypatch.setattr(bytecode_mutants, "STILL_EQUAL", {})
    assert bytecode_mutants.refuted(mutant).result == "survived"


def test_what_z3_finds_without_a_witness_refutes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = Verdict("bytecode.x", "counterexample", 0.0, "[pc = 3]")
    monkeypatch.setattr(bytecode_prover, "prove_bytecode", lambda *given: verdict)
    mutant = next(bytecode_mutants.mutants(0))
    assert bytecode_mutants.refuted(mutant).result == "failed"


def test_what_differs_without_the_mutation_is_no_counterexample(monkeypatch: pytest.MonkeyPatch) -> None:
    judgement = Judgement("x", "refuted", "add", "def test_a_step_that_differs() -> None:\n    assert False")
    monkeypatch.setattr(bytecode_mutants, "refuted", lambda mutant: judgement)
    assert bytecode_mutants.judged(0, 0).result == "failed"


def test_explanations(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("sraiw", "sd", "bytecode.prefix"):
        assert command.main(["--explain", name]) == 0
    text = capsys.readouterr().out
    assert "0100000 ..... ..... 101 ..... 0011011" in text
    assert "across two" in text
    assert text.count("(102)") == 1  # only a witness that comes to no instruction may hold an undecodable state
    for name, shown in {
        "jalr": "12-bit immediate", "srai": "6-bit shift amount", "sraiw": "5-bit shift amount", "divw": "Division by zero",
        "ecall": "any 64-bit values", "bytecode.access_write": "35 heights", "bytecode.calldata": "knows nothing of calls",
    }.items():  # fmt: skip
        assert command.main(["--explain", name]) == 0
        text = capsys.readouterr().out
        assert shown in text
        assert "\n\n\n" not in text
    assert command.main(["--explain", "nonsense"]) == 2


def used_by(function: Any) -> Iterator[Any]:
    """What a function names, and what those functions of its module name that it names."""
    module, waiting, seen = vars(import_module(function.__module__)), [function.__code__], set[str]()
    while waiting:
        code = waiting.pop()
        waiting.extend(each for each in code.co_consts if isinstance(each, CodeType))
        for name in {*code.co_names} & {*module} - seen:
            seen.add(name)
            yield module[name]
            if isinstance(module[name], FunctionType) and module[name].__module__ == function.__module__:
                waiting.append(module[name].__code__)


def test_the_ledger_knows_what_each_statement_is_about() -> None:
    """What a statement uses of the implementations is in files that the page hashes, under the name of the chapter."""
    assert {name.partition(".")[0] for name in EVERY} == {chapter for subject in ledger.SUBJECTS for chapter in subject.chapters}
    for name, statement in {**STATEMENTS, **RULES}.items():
        chapter = name.partition(".")[0]
        hashed = {file for subject in ledger.SUBJECTS if chapter in subject.chapters for file in subject.files}
        for it in used_by(statement.holds if isinstance(statement, Statement) else statement.play):
            home = it.__name__ if isinstance(it, ModuleType) else getattr(it, "__module__", None) or ""
            if home.startswith(("opml_spec.", "opml_min.")) and isinstance(it, ModuleType | FunctionType | type):
                assert Path(str(import_module(home).__file__)) in hashed, (name, home)


ONLY_OF_WHAT_FAILS = ("counterexample", "replay", "known_court", "known_world", "known_values")
"""Modules that make tests of what is not proved: what they import proves nothing."""
NOT_IN_THE_PAGE = ("evm_arbiter.", "opml_fuzz.errors", "opml_min.cache_folder", "opml_fuzz.disputes.answers", "opml_fuzz.machine.")
"""The chain on which the bytecode is deployed, of which the page has the hash; what is raised; where caches lie; fuzzing."""


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, or whose names it imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{one.name}" for one in node.names))


def test_the_ledger_knows_all_that_proves() -> None:
    """Whoever changes a statement, an assumption or the prover, or what any of them imports, must prove everything anew."""
    hashed = {file for subject in ledger.SUBJECTS for file in subject.files}
    waiting, seen = ["opml_fuzz.proofs.by_name"], set[str]()
    while waiting:
        name = waiting.pop()
        spec = None if name in seen else find_spec(name)
        seen.add(name)
        if spec is None or spec.origin is None or name.endswith(ONLY_OF_WHAT_FAILS):
            continue
        file = Path(spec.origin)
        assert file in hashed or file.name == "__init__.py" or name.startswith(NOT_IN_THE_PAGE), name
        is_ours = name.startswith(("opml_spec", "opml_fuzz.proofs", "opml_fuzz.statements", "opml_fuzz.disputes.wire"))
        waiting += [one for one in imported(file) if is_ours and one.startswith(("opml_", "evm_arbiter")) and is_module(one)]
    assert {"opml_spec.words", "opml_fuzz.proofs.game.invariants", "opml_fuzz.statements.world", "opml_fuzz.disputes.wire.views"} <= seen


def is_module(name: str) -> bool:
    parent = name.rpartition(".")[0]
    return not parent or (hasattr(import_module(parent), "__path__") and find_spec(name) is not None)


def test_a_changed_file_changes_the_hash(tmp_path: Path) -> None:
    for name, text in (("one.py", "1"), ("two.py", "2")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    subject = ledger.Subject("x", tmp_path, ("*.py", "one.py"), ())
    before = subject.fingerprint
    assert len(subject.files) == 2
    (tmp_path / "two.py").write_text("3", encoding="utf-8")
    assert subject.fingerprint != before


def test_the_ledger_fits() -> None:
    """The page in the repository is the one that a run over all statements writes now, but for the seconds."""
    verdicts = [Verdict(name, "proved", 0.0) for name in EVERY]
    assert ledger.without_seconds(LEDGER.read_text(encoding="utf-8")) == ledger.without_seconds(ledger.page(verdicts))
