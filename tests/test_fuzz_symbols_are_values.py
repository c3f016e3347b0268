"""What Python does with bytes, numbers and tables, symbols do too, or they end the proof.

Each of these once let something wrong be proved.
"""

from threading import Event
from typing import Any

import pytest
import z3
from attrs import evolve
from opml_fuzz.fuzzing.changed_code import changed
from opml_fuzz.proofs.evm.code import Code
from opml_fuzz.proofs.evm.memory import Memory
from opml_fuzz.proofs.game.arithmetic import Arithmetic
from opml_fuzz.proofs.game.cuts import Cuts
from opml_fuzz.proofs.game.equivalence import Proof, deployed
from opml_fuzz.proofs.game.facts import DistinctHashes, Facts
from opml_fuzz.proofs.game.game_prover import QUERY_UNITS, prove_game
from opml_fuzz.proofs.game.machine import Block, GameMachine, GamePath
from opml_fuzz.proofs.game.numbers import GamePaths
from opml_fuzz.proofs.game.storage import Storage
from opml_fuzz.proofs.game.tables import OpenTable
from opml_fuzz.proofs.game.wire import Given
from opml_fuzz.proofs.induction import prove_rule
from opml_fuzz.proofs.prover import prove
from opml_fuzz.proofs.questions import Questions
from opml_fuzz.proofs.step.bytecode_prover import prove_bytecode
from opml_fuzz.proofs.step.machine_symbols import Octets, UnknownWitness, Unread, number
from opml_fuzz.proofs.strings import String
from opml_fuzz.proofs.symbols import Paths
from opml_fuzz.proofs.unsupported import Unsupported
from opml_fuzz.statements import rounding
from opml_fuzz.statements.catalogue import BYTECODE, GAME, RULES, STATEMENTS
from opml_fuzz.statements.statement import Integer, Statement, Word

BYTE = {
    "STOP": 0x00, "CALLDATALOAD": 0x35, "MSTORE": 0x52, "JUMP": 0x56, "JUMPI": 0x57, "GAS": 0x5A, "JUMPDEST": 0x5B, "LOG1": 0xA1,
    "LOG2": 0xA2, "CALL": 0xF1, "RETURN": 0xF3,
}  # fmt: skip


def result_of(holds: Any, variable: Any) -> str:
    return prove(Statement("x", "", {"v": variable}, holds)).result


# Numbers ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", [Word(8), Integer(0, 9)])
def test_a_symbol_is_found_in_no_set_unseen(variable: Any) -> None:
    """A set compares what has the same hash. A symbol may be 3 and has another."""
    assert result_of(lambda v: v not in {3}, variable) == "error"
    assert result_of(lambda v: {3: False}.get(v, True), variable) == "error"
    assert result_of(lambda v: v not in (3,), variable) == "counterexample"
    assert result_of(lambda v: {(v > 3) | (v < 2): 1}, variable) == "error"


def test_a_condition_is_joined_with_conditions() -> None:
    """True & 2 is 0."""
    assert result_of(lambda v: (v >= 0) & 2, Word(8)) == "error"
    assert result_of(lambda v: (v >= 0) & (v | 2), Word(8)) == "error"
    assert result_of(lambda v: (v >= 0) & 1 & True, Word(8)) == "proved"


def test_what_is_proved_holds_for_the_plain_numbers_that_z3_names() -> None:
    """A vector has 256 bits, a number of Python as many as it needs."""
    assert result_of(lambda v: ((v | 1) << 255) < 0, Word(1)) == "error"


def test_nothing_is_shifted_by_less_than_nothing() -> None:
    """Where only some values shift by a negative number, the others do not hide them."""
    assert result_of(lambda v: True if v < 60 else (1 << (62 - v)) >= 0, Word(6)) == "error"
    assert result_of(lambda v: True if v < 60 else v >> (62 - v) >= 0, Word(6)) == "error"
    assert result_of(lambda v: (v << (63 - v)) >= 0, Word(6)) == "proved"


def test_a_statement_without_cases_proves_nothing() -> None:
    assert prove(Statement("x", "", {"v": Word(8)}, lambda v: False, cases=())).result == "error"
    assert prove_rule(evolve(RULES["rules.share"], cases={})).result == "error"
    assert prove_rule(evolve(RULES["rules.share"], cases={(): set()})).result == "error"


@pytest.mark.parametrize("shift", [1, 40, 63, 64])
def test_a_kernel_that_overflows_is_found(shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With numbers of any size it rounds right; in 64 bits it does not, and there are no shifts by 64."""
    monkeypatch.setattr(rounding, "FAST_ROUND_SHIFT", lambda v, s: v + (1 << s - 1) >> s)
    place = rounding.SHIFTS.index((shift,))
    only = evolve(STATEMENTS["rounding.fast"], cases=rounding.SHIFTS[place : place + 1])
    assert prove(only).result == "counterexample"


# Bytes -----------------------------------------------------------------------------------------------------------------------------------


def test_bytes_have_no_more_places_than_they_are_long() -> None:
    octets = Octets(((z3.BitVec("some", 256), 32),), Paths())
    assert octets[-1].term.eq(octets[31].term)
    for at in (32, 40, -33):
        with pytest.raises(IndexError):
            octets[at]
    with pytest.raises(Unsupported):
        octets[::-1]
    with pytest.raises(Unsupported):
        String([(z3.Int("one"), 1), (z3.Int("other"), 1)], Paths())[::-1]  # type: ignore[arg-type]


def test_no_more_is_read_than_is_left_of_a_witness() -> None:
    """Real bytes give fewer then."""
    paths = Paths()
    length = z3.ZeroExt(248, z3.BitVec("length", 8))
    witness = UnknownWitness(number(length, paths), paths)
    witness.name(0, ((z3.BitVec("first", 256), 32),))

    def read(least: int) -> Any:
        return list(paths.explore(lambda: Unread(0, witness)[:32], [z3.UGE(length, least)]))

    assert len(read(32)) == 1
    paths.solver.reset()
    with pytest.raises(Unsupported):
        read(31)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("decode_status(status[0],", "decode_status(status[9],"), ("preimage[-HASH_BYTES:]\n", "preimage[-HASH_BYTES::3]\n")],
)
def test_a_state_that_is_read_elsewhere_is_found(right: str, wrong: str) -> None:
    with changed("opml_spec.machine.state", right, wrong):
        assert prove_bytecode(BYTECODE["bytecode.fence"]).result == "counterexample"
    assert prove_bytecode(BYTECODE["bytecode.fence"]).result == "proved"


# The court -------------------------------------------------------------------------------------------------------------------------------


def test_a_number_that_is_0_has_no_entry() -> None:
    paths = Paths()
    amount = number(z3.ZeroExt(248, z3.BitVec("amount", 8)), paths)
    table = OpenTable(paths, lambda key: amount, 0)
    assert sorted(result for _, result in paths.explore(lambda: 7 in table)) == [False, True]
    with pytest.raises(KeyError):
        list(paths.explore(lambda: table[7]))
    assert len(list(paths.explore(lambda: table.get(7, 0)))) == 1


def test_a_server_that_was_never_asked_is_thought_of() -> None:
    right = "claim.sealed)\n    due = next_due(court.server_due.get(claim.server, 0)"
    with changed("opml_spec.dispute.tree", right, right.replace(".get(claim.server, 0)", "[claim.server]")):
        assert prove_game(GAME["game.challenge"]).result == "error"


@pytest.mark.parametrize("wrong", ["fee_paid=True", "fee_left=5, fee_paid=True"])
def test_a_fee_that_is_left_although_it_is_paid_is_found(wrong: str) -> None:
    """The contract does not store it: it follows from what it stores."""
    with changed("opml_spec.dispute.ends", "fee_left=0, fee_paid=True", wrong):
        verdict = prove_game(GAME["game.reclaim"])
    assert verdict.result == "counterexample"
    assert verdict.detail.startswith("fee_left")


# Paths that meet -------------------------------------------------------------------------------------------------------------------------


def program(*parts: int | str) -> bytes:
    return b"".join(bytes([0x5F + 1, part]) if isinstance(part, int) else bytes([BYTE[part]]) for part in parts)


def ends_of(code: bytes) -> list[Any]:
    """Runs code whose data is one unknown word; its memory is zero at first."""
    facts, word = Facts(), z3.BitVec("word", 256)
    questions = Questions(QUERY_UNITS, Event())
    machine = GameMachine(
        Code(code), Given(((word, 32),), 0), facts, DistinctHashes(facts), Arithmetic(facts), Block(1, 2, 3), questions,
        Cuts(GamePaths(counts=True), facts),
    )  # fmt: skip
    memory = Memory().store_pieces(0, ((0, 128),))
    return machine.run(GamePath(0, memory=memory, storage=Storage(lambda kind, key: None)))


def either(one: tuple[Any, ...], other: tuple[Any, ...]) -> bytes:
    """Does one thing if the word is not 0, else the other; then goes on at the same place."""
    head = len(program(0, "CALLDATALOAD", 0, "JUMPI"))
    second = head + len(program(*other, 0, "JUMP"))
    meet = second + len(program("JUMPDEST", *one))
    return program(0, "CALLDATALOAD", second, "JUMPI", *other, meet, "JUMP", "JUMPDEST", *one, "JUMPDEST", "STOP")


def pay(to: int, amount: int, answer: int = 0, gas: int | str = "GAS") -> tuple[Any, ...]:
    return (answer, 0, 0, 0, amount, to, gas, "CALL", 96, "MSTORE")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pay(7, 5), pay(8, 5)),  # another address
        (pay(7, 5), pay(7, 6)),  # another amount
        ((9, 64, 0, "LOG1"), (9, 32, 0, "LOG1")),  # as many zeros again
        ((9, 32, 0, "LOG1"), (0, 9, 0, 0, "LOG2")),  # the zeros as a topic
    ],
)
def test_paths_that_paid_or_logged_different_things_stay_apart(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert len(ends_of(either(one, one))) == 1
    first, second = (end.path for end in ends_of(either(one, other)))
    (its,), (others,) = (path.payments or path.events for path in (first, second))
    assert (its.to, its.amount) != (others.to, others.amount) if first.payments else (its.topics, its.data) != (others.topics, others.data)


@pytest.mark.parametrize("paying", [pay(7, 5, answer=32), pay(7, 5, gas=200)])
def test_a_payment_that_stores_an_answer_or_holds_back_gas_proves_nothing(paying: tuple[Any, ...]) -> None:
    assert len(ends_of(program(*pay(7, 5), "STOP"))) == 1
    with pytest.raises(Unsupported):
        ends_of(program(*paying, "STOP"))


def test_gas_is_never_the_same_twice() -> None:
    (end,) = ends_of(program("GAS", "GAS", "STOP"))
    first, second = end.path.stack
    assert not first.eq(second)


def test_the_parameters_are_those_of_the_deployment() -> None:
    proof = Proof(deployed(), "register", Questions(QUERY_UNITS, Event()))
    court = proof.world.court()
    with pytest.raises(Unsupported):
        proof.world.written(evolve(court, parameters=evolve(court.parameters, window=1)))
