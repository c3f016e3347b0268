"""Witnesses that are not the valid one: each error number, and which of two errors is reported."""

import pytest
from attrs import evolve
from evm_machine import (
    ECALL_TRAP,
    ENTRY,
    HALTED,
    IO,
    M64,
    RUNNING,
    STATE,
    TRAPPED,
    ZERO,
    Machine,
    Memory,
    deploy_arbiter,
    i_type,
    machine,
    r_type,
    s_type,
    witness,
)

from evm_arbiter.chain import Contract, Reverted

TRUNCATED, UNDECODABLE, BITMAP, ZERO_SIBLING, ROOT, TRAILING = range(101, 107)
STATE_BYTES = 297
ADD = machine(r_type(0x33, 0, 0), {1: 1, 2: 2}, memory=Memory().write(ENTRY + 64, b"text").write(STATE, b"state"))


@pytest.fixture(scope="module")
def arbiter() -> Contract:
    return deploy_arbiter()


def check_error(arbiter: Contract, text: bytes, number: int) -> None:
    with pytest.raises(Reverted) as caught:
        arbiter.call("step", text)
    assert caught.value.number == number


def store() -> tuple[Machine, Memory, bytes]:
    """A store into two leaves, with its witness."""
    before = machine(s_type(0x23, 3, 0), {1: IO + 28, 2: M64}, memory=ADD.memory)
    after = before.memory.write(IO + 28, b"\xff" * 8)
    return before, after, witness(before, [IO + 28, IO + 35], after)


def test_truncated_anywhere(arbiter: Contract) -> None:
    for text in (witness(ADD), store()[2]):
        for length in {0, 1, 296, 297, 328, 329, 333, 334, 365, len(text) - 33, len(text) - 32, len(text) - 1, *range(300, len(text), 61)}:
            check_error(arbiter, text[:length], TRUNCATED)


@pytest.mark.parametrize("beyond", [b"\0", b"\1", bytes(32), bytes(3000)])
def test_left_over_bytes(arbiter: Contract, beyond: bytes) -> None:
    halted = evolve(ADD, kind=HALTED, value=3)
    unfetchable = evolve(ADD, pc=0)
    illegal = machine(0)
    for text in (witness(ADD), witness(illegal), store()[2], halted.encode(), unfetchable.encode()):
        check_error(arbiter, (text + beyond)[:3769], TRAILING)


def test_a_stopped_machine_stays_as_it_is(arbiter: Contract) -> None:
    causes = [(TRAPPED, cause) for cause in (0, 1, 2, 3, 5, 7, 8)]
    for kind, value in [(HALTED, 0), (HALTED, 1), (HALTED, M64), *causes]:
        before = evolve(ADD, kind=kind, value=value)
        assert arbiter.call("step", before.encode()) == (before.hash(), before.hash())
    check_error(arbiter, witness(evolve(ADD, kind=TRAPPED, value=ECALL_TRAP)), TRAILING)


@pytest.mark.parametrize(
    ("kind", "value"),
    [(RUNNING, 1), (RUNNING, 1 << 63), (3, 0), (255, 0), *((TRAPPED, v) for v in (4, 6, 9, 10, 256, 258, 1 << 32, M64))],
)
def test_undecodable_status(arbiter: Contract, kind: int, value: int) -> None:
    state = evolve(ADD, kind=kind, value=value).encode()
    check_error(arbiter, state, UNDECODABLE)
    check_error(arbiter, state + b"left over", UNDECODABLE)
    check_error(arbiter, state[:296], TRUNCATED)


def test_bitmap_beyond_the_depth(arbiter: Contract) -> None:
    text = bytearray(witness(ADD))
    for byte, bits in ((329, 0x08), (329, 0x80)):
        wrong = bytearray(text)
        wrong[byte] |= bits
        check_error(arbiter, bytes(wrong), BITMAP)
        check_error(arbiter, bytes(wrong[:334]), BITMAP)  # before any sibling is read
        check_error(arbiter, bytes(wrong[:333]), TRUNCATED)


def resend(text: bytes, start: int, height: int, sibling: bytes) -> bytes:
    """The access at `start`, with one more sibling sent."""
    sent = int.from_bytes(text[start + 32 : start + 37], "big")
    assert not sent >> height & 1
    place = start + 37 + 32 * (sent & ((1 << height) - 1)).bit_count()
    bitmap = (sent | 1 << height).to_bytes(5, "big")
    return text[: start + 32] + bitmap + text[start + 37 : place] + sibling + text[place:]


@pytest.mark.parametrize("height", [0, 2, 17, 32])
def test_a_zero_sibling_may_not_be_sent(arbiter: Contract, height: int) -> None:
    text = resend(witness(ADD), STATE_BYTES, height, ZERO[height])
    check_error(arbiter, text, ZERO_SIBLING)
    check_error(arbiter, text[:-1], ZERO_SIBLING)  # which comes before the end of the bytes


def test_zero_of_another_height_is_only_a_wrong_sibling(arbiter: Contract) -> None:
    check_error(arbiter, resend(witness(ADD), STATE_BYTES, 5, ZERO[4]), ROOT)
    check_error(arbiter, resend(witness(ADD), STATE_BYTES, 5, ZERO[0]), ROOT)


def test_every_byte_of_the_path_counts(arbiter: Contract) -> None:
    text = witness(ADD)
    for place in (265, 296, 297, 328, 334, 365, len(text) - 1):
        wrong = bytearray(text)
        wrong[place] ^= 1
        check_error(arbiter, bytes(wrong), ROOT)
    check_error(arbiter, text[:328] + b"\1" + text[329:-1], TRUNCATED)  # truncation is met before the root is


def test_a_sibling_that_is_not_sent_is_missed(arbiter: Contract) -> None:
    text = witness(ADD)
    sent = int.from_bytes(text[329:334], "big")
    lowest = sent & -sent
    check_error(arbiter, text[:329] + (sent ^ lowest).to_bytes(5, "big") + text[366:], ROOT)


def test_the_second_leaf_of_a_store_is_against_the_updated_root(arbiter: Contract) -> None:
    before, after, good = store()
    assert arbiter.call("step", good) == (before.hash(), before.then(memory=after).hash())
    check_error(arbiter, witness(before, [IO + 28, IO + 35]), ROOT)  # against the old one
    check_error(arbiter, witness(before, [IO + 35, IO + 28], after), ROOT)  # the higher address first


def test_a_load_with_the_leaf_of_another_address(arbiter: Contract) -> None:
    before = machine(i_type(0x03, 3, 0), {1: IO + 8}, memory=ADD.memory.write(IO, b"a" * 32 + b"b" * 32))
    check_error(arbiter, witness(before, [IO + 32]), ROOT)
    check_error(arbiter, witness(before, [IO + 8, IO + 32]), TRAILING)
    check_error(arbiter, witness(before), TRUNCATED)


def test_the_longest_witness_has_every_sibling(arbiter: Contract) -> None:
    leaves = {}
    for address in (0, ENTRY, IO, STATE - 1, STATE):
        leaves |= {address // 32 ^ 1 << height: bytes([height + 1]) * 32 for height in range(33)}
    before = machine(s_type(0x23, 3, 0), {1: STATE - 4, 2: M64}, memory=Memory(leaves))
    after = before.memory.write(STATE - 4, b"\xff" * 8)
    text = witness(before, [STATE - 4, STATE + 3], after)
    assert len(text) == 3768
    assert arbiter.call("step", text) == (before.hash(), before.then(memory=after).hash())
    check_error(arbiter, text + b"\0", TRAILING)
