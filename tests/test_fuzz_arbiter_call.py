"""The game's call of the arbiter, in the symbolic EVM: only `step`, with exactly the witness of the game's call, gets an answer."""

from typing import Any

import pytest
import z3
from opml_fuzz.proofs.evm.calldata import Argument
from opml_fuzz.proofs.evm.code import Code
from opml_fuzz.proofs.evm.memory import Memory, Region
from opml_fuzz.proofs.game.arbiter_call import (
    AFTER,
    BEFORE,
    IS_VALID,
    NUMBER,
    STEP,
    Arbiter,
    answer_size,
    copy_answer,
    executed,
)
from opml_fuzz.proofs.game.equivalence import REFUSED, same_number
from opml_fuzz.proofs.game.machine import GamePath
from opml_fuzz.proofs.game.numbers import unknown_error
from opml_fuzz.proofs.game.open_bytes import OpenBytes, open_bytes, padded
from opml_fuzz.proofs.unsupported import Unsupported
from opml_fuzz.statements.game_bytecode import OF_WITNESS, OK
from opml_spec.errors import SpecError

ADDRESS, AT, ROOM = 0xA4B1, 0x100, 96
HEAD = STEP + (32).to_bytes(32, "big")
ANY_ERROR: Any = unknown_error(OF_WITNESS, NUMBER).number
GIVEN = open_bytes("given", ROOM)
OTHER = open_bytes("other", ROOM)


class Asking:
    """A machine, as far as a call looks at it: the call stands at 0."""

    code = Code(b"\xfa")

    def prove(self, path: Any) -> Any:
        return proves


def proves(condition: Any) -> bool:
    solver = z3.Solver()
    return bool(solver.check(z3.ULE(GIVEN.length, ROOM), z3.Not(condition)) == z3.unsat)


def sent(head: bytes, given: OpenBytes, at: int = AT) -> Memory:
    """The memory with a call's data."""
    region = Region(at + len(head), z3.simplify(given.length + 32), ROOM + 32, Argument(given.length, given))
    return Memory().store_pieces(at, ((int.from_bytes(head, "big"), len(head)),)).store_region(region)


def test_only_the_witness_of_the_call_is_judged() -> None:
    arbiter = Arbiter(ADDRESS, GIVEN)
    arbiter.check_sent(sent(HEAD, GIVEN), AT, 4 + 64 + ROOM, proves)
    wrong = sent(b"\0\0\0\0" + HEAD[4:], GIVEN), sent(HEAD[:-1] + b"\x40", GIVEN), sent(HEAD, OTHER)
    for memory in (*wrong, sent(HEAD, GIVEN).store(AT + 100, 0)):
        with pytest.raises(Unsupported):
            arbiter.check_sent(memory, AT, 4 + 64 + ROOM, proves)
    with pytest.raises(Unsupported):
        arbiter.check_sent(sent(HEAD, GIVEN), AT, 4 + 32 + ROOM, proves)  # a witness of the longest kind is cut


def test_a_call_goes_on_with_hashes_and_with_an_error() -> None:
    stack = (64, 0x40, 4 + 64 + ROOM, AT, ADDRESS, 0)
    path = GamePath(0, stack=stack, memory=sent(HEAD, GIVEN))
    valid, invalid = Arbiter(ADDRESS, GIVEN).call(path, Asking())
    assert isinstance(valid, GamePath)
    assert isinstance(invalid, GamePath)
    assert (valid.at, valid.stack, invalid.at, invalid.stack) == (1, (1,), 1, (0,))
    assert (answer_size(valid), answer_size(invalid)) == (64, 36)
    for place, hash_ in ((0x40, BEFORE), (0x60, AFTER)):
        assert valid.memory.load(place, proves).eq(hash_)
    assert copy_answer(invalid, 0, 4, 32).load(0, proves).eq(NUMBER)
    both = [z3.And(list(one.conditions)) for one in (valid, invalid)]
    assert proves(both[0] != both[1])
    with pytest.raises(Unsupported):
        copy_answer(invalid, 0, 5, 32)
    with pytest.raises(Unsupported):
        next(Arbiter(ADDRESS + 1, GIVEN).call(path, Asking()))


def test_zeros_behind_a_witness_hide_what_lies_there() -> None:
    memory, (region,) = sent(HEAD, GIVEN), sent(HEAD, GIVEN).regions
    behind, end = z3.simplify(region.at + region.length), region.at + region.room
    padding = z3.simplify(-GIVEN.length & 31)
    for at, is_hidden in ((end, True), (end + 30, True), (end + 31, False)):
        left = padded(memory.store(at, 5), behind, padding, proves)
        assert (at not in left.cells) == is_hidden
    for to, size in ((behind + 1, padding), (behind, GIVEN.length)):
        with pytest.raises(Unsupported):
            padded(memory, to, size, proves)
    with pytest.raises(Unsupported):
        padded(memory.store_region(Region(end, 5, 8, GIVEN)), behind, padding, proves)


def test_both_worlds_get_the_same_answer() -> None:
    given = object()
    assert executed(given, given, lambda condition: bool(condition.eq(IS_VALID)), str) == (str(BEFORE), str(AFTER))
    with pytest.raises(SpecError) as raised:
        executed(given, given, lambda condition: False, str)
    number: Any = raised.value.number
    assert number == OF_WITNESS
    assert number.term.eq(NUMBER)
    with pytest.raises(Unsupported):
        executed(object(), given, lambda condition: True, str)


@pytest.mark.parametrize(
    ("said", "what", "same"),
    [
        (NUMBER, ANY_ERROR, True), (NUMBER, OK, False), (NUMBER, REFUSED, False), (NUMBER, 226, None),
        (226, ANY_ERROR, None), (226, 226, True), (226, 219, False), (226, REFUSED, False),
        (REFUSED, ANY_ERROR, False), (REFUSED, REFUSED, True), (REFUSED, 226, False), (REFUSED, OK, False),
    ],
)  # fmt: skip
def test_the_number_of_a_witness_is_compared(said: Any, what: Any, same: bool | None) -> None:
    """The contract says this number, the specification that: the same, another, or it depends."""
    claim = z3.simplify(same_number(said, what))
    assert (z3.is_true(claim), z3.is_false(claim)) == (same is True, same is False)
