"""The contract's Merkle trees: the io root of a request, and the proof of the output that ends a claim.

Roots and proofs come from the naive tree of `evm_machine`, which folds all leaves of the whole memory.
"""

import pytest
from attrs import evolve
from evm_dispute import (
    BOND,
    FEE,
    OUTPUT,
    REQUEST,
    ZERO_QUARTER,
    Dispute,
    carry_of,
    line_price,
    new_court,
    proof_of,
    quarter,
    request_memory,
    run_hash,
    seal,
)
from evm_machine import ZERO, Memory

from evm_arbiter.chain import keccak256
from evm_arbiter.court import ANYONE, Court, Refused
from evm_arbiter.objects import Finalised, Outcome, Requested, Result

STATE_LEAF = 0xC0_0000_0040


@pytest.fixture(scope="module")
def court() -> Court:
    return new_court()


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 64, 95, 96, 97, 1000, 8161, 16384])
@pytest.mark.parametrize("stage_count", [1, 2**24])
def test_the_contract_computes_the_io_root(court: Court, length: int, stage_count: int) -> None:
    data = bytes((7 * i + length) % 255 + 1 for i in range(length))
    alice, server = court.accounts[0], court.accounts[3]
    model_id = court.register(b"\1" * 32, b"\2" * 32, 1_000, sender=alice)
    before = len(court.events())
    request_id = court.request(model_id, stage_count, data, court.now, BOND, server, sender=alice, value=FEE)
    carry = keccak256(quarter(request_memory(stage_count, data), 2) + b"\2" * 32)
    assert court.request_of(request_id).first_run_hash == run_hash(carry)
    assert court.events(before) == (Requested(request_id, model_id, alice, stage_count, court.now, FEE, BOND, server, data),)


def test_ids_are_those_of_the_page(court: Court) -> None:
    """In the id of a request the nonce counts the requests of its requester alone."""
    alice = court.accounts[7]
    for stage_microseconds in (1, 2**32 - 1):
        model_id = court.register(b"\1" * 32, b"\2" * 32, stage_microseconds, sender=alice)
        assert model_id == keccak256(b"\1" * 32 + b"\2" * 32 + stage_microseconds.to_bytes(8, "big"))
    model_id = court.register(b"\1" * 32, b"\2" * 32, 1_000, sender=alice)
    who, deadline = bytes.fromhex(alice[2:]), court.now + 5
    for nonce, server in enumerate((ANYONE, alice)):
        request_id = court.request(model_id, 3, b"data", deadline, BOND, server, sender=alice, value=FEE)
        numbers = (3).to_bytes(8, "big") + deadline.to_bytes(8, "big") + FEE.to_bytes(32, "big") + BOND.to_bytes(32, "big")
        content = model_id + numbers + bytes.fromhex(server[2:]) + keccak256(b"data")
        assert request_id == keccak256(who + nonce.to_bytes(8, "big") + content)
        assert court.account_of(alice).requests == nonce + 1
        value = BOND + line_price(court, request_id)
        claim_id = court.claim(request_id, b"\3" * 32, 2**64 - 1, sender=alice, value=value)
        assert claim_id == keccak256(request_id + who + b"\3" * 32)


def test_the_id_of_a_request_counts_requests_alone() -> None:
    """What its requester is credited, and owes as a server, stands in the same word."""
    dispute = Dispute(new_court(), server_number=0).started()
    court, who = dispute.court, dispute.requester
    court.set_time(court.node_of(dispute.node_id).due + court.parameters.server_time + 1)
    dispute.timeout()
    court.set_time(max(court.now, court.request_of(dispute.request_id).deadline + 1))
    court.reclaim(dispute.request_id, sender=who)
    account = court.account_of(who)
    assert (account.requests, account.credited, account.due, account.lost_at) == (1, FEE, court.node_of(dispute.node_id).due, court.now)
    again = court.request(dispute.model_id, 3, b"data", court.now, BOND, ANYONE, sender=who, value=FEE)
    numbers = b"".join(number.to_bytes(size, "big") for number, size in ((3, 8), (court.now, 8), (FEE, 32), (BOND, 32)))
    content = dispute.model_id + numbers + bytes(20) + keccak256(b"data")
    assert again == keccak256(bytes.fromhex(who[2:]) + (1).to_bytes(8, "big") + content)
    assert court.account_of(who) == evolve(account, requests=2)


def output_memory(count: int, tokens: int, state: bool = True) -> Memory:
    """An output of which `tokens` are written, in a memory with some request and some state."""
    text = b"".join((token + 1).to_bytes(4, "little") for token in range(tokens))
    memory = request_memory(5, b"some request").write(OUTPUT, count.to_bytes(8, "little") + b"\1" + bytes(23) + text)
    return memory.write(STATE_LEAF, b"cache") if state else memory


@pytest.fixture(scope="module")
def base() -> Dispute:
    """A court; each claim below is about a request of its own."""
    return Dispute(new_court())


def finalised(base: Dispute, memory: Memory, output: bytes, proof: bytes) -> Finalised:
    """The claim that the run ends in this memory is made and finalised."""
    court = base.court
    dispute = evolve(base, last_run_hash=run_hash(carry_of(memory))).asked().claimed()
    court.set_time(court.claim_of(dispute.claim_id).closes_at)
    court.finalise(dispute.claim_id, carry_of(memory), 0, output, proof, sender=court.accounts[9])
    (event,) = [event for event in court.events() if isinstance(event, Finalised) and event.claim_id == dispute.claim_id]
    output_hash = keccak256(event.output) if event.outcome is Outcome.OK else bytes(32)
    request = court.request_of(dispute.request_id)
    assert court.result_of(dispute.request_id) == Result(event.outcome, output_hash, dispute.claim_id)
    assert (request.result, request.run_hash, request.outcome, request.output_hash) == (
        dispute.claim_id, dispute.run_hash, event.outcome, output_hash,
    )  # fmt: skip
    assert event.run_hash == dispute.run_hash
    return event


def refusal(base: Dispute, memory: Memory, output: bytes, proof: bytes) -> str:
    with pytest.raises(Refused) as refused:
        finalised(base, memory, output, proof)
    return refused.value.name


@pytest.mark.parametrize("count", [0, 1, 8, 9, 16, 17, 64, 1000, 4096])
@pytest.mark.parametrize("state", [True, False])
def test_an_output_of_any_length(base: Dispute, count: int, state: bool) -> None:
    memory, needed = output_memory(count, count, state), 1 + (count + 7) // 8
    event = finalised(base, memory, *proof_of(memory, needed))
    assert (event.outcome, event.output) == (Outcome.OK, proof_of(memory, needed)[0])


@pytest.mark.parametrize("leaves", [3, 4, 5, 512, 1023, 1024])
def test_more_leaves_than_needed_end_in_one_that_is_not_zero(base: Dispute, leaves: int) -> None:
    """The result is made of the needed ones alone."""
    memory = output_memory(9, 8 * (leaves - 1))
    event = finalised(base, memory, *proof_of(memory, leaves))
    assert event.output == proof_of(memory, 3)[0]
    shorter = output_memory(9, 8 * (leaves - 2))
    if leaves > 3:
        assert refusal(base, shorter, *proof_of(shorter, leaves)) == "WRONG_OUTPUT"


def test_fewer_leaves_than_needed(base: Dispute) -> None:
    memory = output_memory(9, 9)
    assert refusal(base, memory, *proof_of(memory, 2)) == "WRONG_OUTPUT"


def test_an_impossible_count_is_unreadable(base: Dispute) -> None:
    for count in (4097, 2**64 - 1):
        memory = output_memory(count, 8)
        assert refusal(base, memory, *proof_of(memory, 2)) == "WRONG_OUTPUT"
        event = finalised(base, memory, *proof_of(memory, 1))
        assert (event.outcome, event.output) == (Outcome.UNREADABLE, b"")


def test_no_output_at_all(base: Dispute) -> None:
    memory = request_memory(5, b"some request").write(STATE_LEAF, b"cache")
    assert finalised(base, memory, *proof_of(memory, 1)).output == bytes(32)


def test_an_output_alone_in_memory_needs_no_sibling(base: Dispute) -> None:
    memory = Memory().write(OUTPUT, (3).to_bytes(8, "little") + bytes(24) + b"\1" * 12)
    output, proof = proof_of(memory, 2)
    assert proof == bytes(5)
    assert finalised(base, memory, output, proof).output == output


@pytest.mark.parametrize("length", [0, 31, 33, 32 * 1024 + 1])
def test_output_is_one_to_1024_whole_leaves(base: Dispute, length: int) -> None:
    assert refusal(base, output_memory(9, 9), bytes(length), b"") == "WRONG_OUTPUT"


def test_a_proof_is_canonical(base: Dispute) -> None:
    """Every error of a witness, and the count before all of them."""
    memory = output_memory(9, 10)
    output, proof = proof_of(memory, 3)
    sent, siblings = int.from_bytes(proof[:5], "big"), proof[5:]

    def altered(bits: int, more: bytes = siblings) -> bytes:
        return bits.to_bytes(5, "big") + more

    wrong = output[:-1] + b"!"
    assert refusal(base, memory, output, proof[:4]) == "WITNESS_TRUNCATED"
    assert refusal(base, memory, output, proof[:-1]) == "WITNESS_TRUNCATED"
    assert refusal(base, memory, wrong, altered(sent | 1 << 34)) == "WITNESS_BITMAP"
    assert refusal(base, memory, wrong, altered(sent | 1 << 1)) == "WITNESS_BITMAP"  # below the subtree of the leaves
    assert refusal(base, memory, wrong, altered(sent | 1 << 2, ZERO[2] + siblings + b"!")) == "WITNESS_ZERO_SIBLING"
    assert refusal(base, memory, wrong, proof + b"!") == "WITNESS_ROOT"
    assert refusal(base, memory, output, altered(sent & ~(1 << 33), siblings)) == "WITNESS_ROOT"
    assert refusal(base, memory, output[:64], proof[:4]) == "WRONG_OUTPUT"
    assert refusal(base, memory, output, bytes(5 + 32 * 34 + 1)) == "WITNESS_ROOT"  # no sibling is sent, and one byte too many
    assert refusal(base, memory, output, proof + b"!") == "WITNESS_TRAILING"
    finalised(base, memory, output, proof)


def test_the_first_final_claim_is_the_result() -> None:
    """A second one of the same run becomes final too; one of another run cannot, not even with a proof of its output."""
    court = new_court()
    memory, other = output_memory(9, 9), output_memory(8, 8)
    first = Dispute(court, last_run_hash=run_hash(carry_of(memory))).asked().claimed()
    second, false = evolve(first), evolve(first, last_run_hash=run_hash(carry_of(other)))
    second.claimed(court.accounts[3])
    false.claimed()
    court.set_time(court.claim_of(first.claim_id).closes_at)
    for dispute in (second, first):
        court.finalise(dispute.claim_id, carry_of(memory), 0, *proof_of(memory, 3), sender=court.accounts[9])
        assert court.result_of(first.request_id) == Result(Outcome.OK, keccak256(proof_of(memory, 3)[0]), second.claim_id)
    with pytest.raises(Refused, match="OTHER_RESULT"):
        court.finalise(false.claim_id, carry_of(other), 0, *proof_of(other, 2), sender=court.accounts[9])
    assert court.request_of(first.request_id).pending == 1


def test_the_seal_fits_one_server_only() -> None:
    """Whoever copies a seal cannot finalise, though it learns the run."""
    dispute = Dispute(new_court(), last_run_hash=run_hash(b"\7" * 32, 1)).asked()
    court, copier = dispute.court, dispute.court.accounts[6]
    value = BOND + line_price(court, dispute.request_id)
    copy = court.claim(dispute.request_id, seal(dispute.run_hash, dispute.server), 2**64 - 1, sender=copier, value=value)
    court.set_time(court.claim_of(copy).closes_at)
    with pytest.raises(Refused, match="WRONG_OUTPUT"):
        court.finalise(copy, b"\7" * 32, 1, b"", b"", sender=copier)


def test_a_failed_run_has_a_result() -> None:
    dispute = Dispute(new_court(), last_run_hash=run_hash(b"\7" * 32, 1)).asked().claimed()
    court = dispute.court
    court.set_time(court.claim_of(dispute.claim_id).closes_at)
    court.finalise(dispute.claim_id, b"\7" * 32, 1, b"", b"", sender=dispute.server)
    assert Finalised(dispute.claim_id, dispute.request_id, Outcome.FAILED, dispute.run_hash, b"") in court.events()
    assert court.result_of(dispute.request_id) == Result(Outcome.FAILED, bytes(32), dispute.claim_id)


def test_request_and_output_do_not_overlap() -> None:
    assert REQUEST + 32 + 16384 <= OUTPUT
    assert ZERO[33] == ZERO_QUARTER
