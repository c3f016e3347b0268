"""How a claim ends by time alone, who gets the fee, and what leaves: each act with its errors in the order of the page."""

from typing import Any

import pytest
from opml_spec.dispute import acts
from opml_spec.dispute.ends import result_of
from opml_spec.dispute.honest import finalising
from opml_spec.dispute.objects import ClaimStatus, child_id, claim_id, seal
from opml_spec.dispute.result import Outcome
from opml_spec.errors import NoResult, UnknownRequest
from opml_spec.hashing import keccak256
from opml_spec.machine.merkle import hash_of
from opml_spec.runs.run import RunState, RunStatus
from spec_dispute import (
    BOND,
    CHALLENGER,
    FEE,
    PARAMETERS,
    PUPPET,
    REQUESTER,
    ROOT_BOND,
    SERVER,
    START_TIME,
    STRANGER,
    UNKNOWN,
    Table,
)

LINE = 8 * 7  # seconds of work, and the price of one
FAILED = RunState(bytes(32), RunStatus.FAILED)  # needs no output to be finalised
SHARE = BOND // 3


def end_as_failed(table: Table, server: bytes = SERVER) -> tuple[Any, ...]:
    return "finalise", claim_id(table.request_id, server, seal(FAILED.run_hash, server)), bytes(32), 1, b"", b""


def test_finalise() -> None:
    table = Table()
    told = table.trace()
    table.asked().claimed(told.run_hash)
    table.now = table.claim.closes_at - 1
    table.challenged()
    name, (claim, carry, status, output, proof) = finalising(table.claim_id, told).name, finalising(table.claim_id, told).arguments
    bad = (name, claim, UNKNOWN, status, output, proof + b"\0")
    table.refused(203, name, UNKNOWN, *bad[2:])
    table.refused(212, *bad)
    table.now += 1
    table.refused(213, *bad)
    table.answered(told)
    table.now = table.claim.settles_at
    table.refused(245, *bad)
    table.now += 1
    for wrong in ((UNKNOWN, status), (carry, 1), (carry, 2), (carry, 255)):
        table.refused(227, name, claim, *wrong, output, proof + b"\0")
    table.refused(227, name, claim, carry, status, output[:-1], proof + b"\0")
    table.refused(106, name, claim, carry, status, output, proof + b"\0")
    table.refused(105, name, claim, carry, status, output[:-1] + b"!", proof)
    table.act(name, claim, carry, status, output, proof)
    request = table.court.requests[table.request_id]
    assert (request.result, request.run_hash, request.outcome) == (claim, told.run_hash, Outcome.OK)
    assert request.output_hash == keccak256(output)
    assert (request.fee_paid, request.fee_left, request.pending) == (True, 0, 0)
    assert table.claim.status is ClaimStatus.FINAL
    assert table.credit(SERVER) == BOND + FEE + ROOT_BOND // 3
    assert table.court.ledger.burned == LINE + ROOT_BOND - ROOT_BOND // 3
    assert table.court.ledger.locked == 0
    table.refused(210, *bad)
    table.refused(210, "expire", claim)
    table.refused(210, "challenge", claim, value=ROOT_BOND)


def test_node_bonds_of_a_final_claim() -> None:
    table = Table()
    told = table.trace()
    table.asked().claimed(told.run_hash).challenged().answered(told).chosen(0).chosen(2)
    for part in (0, 2):
        table.answered(told, child_id(table.root, part))
    table.finalised(told)
    bonds = ROOT_BOND + 2 * PARAMETERS.node_bond
    assert table.credit(SERVER) == BOND + FEE + bonds // 3
    assert table.court.ledger.burned == LINE + bonds - bonds // 3


def test_another_result_is_refused() -> None:
    """Once there is a result, a claim of another run is refused before its output is looked at."""
    table = Table()
    told = table.trace()
    table.asked().claimed(told.run_hash).claimed(FAILED.run_hash, PUPPET)
    false = end_as_failed(table, PUPPET)
    table.now = table.claim.closes_at
    table.play(finalising(claim_id(table.request_id, SERVER, seal(told.run_hash, SERVER)), told), STRANGER)
    table.refused(227, *false[:3], 0, b"", b"")
    table.refused(246, *false[:-1], b"?")
    table.now += PARAMETERS.grace + 1
    table.act("expire", table.claim_id)
    assert table.credit(REQUESTER) == SHARE


def test_expire() -> None:
    table = Table().asked().claimed(UNKNOWN)
    table.now = table.claim.closes_at + PARAMETERS.grace
    table.refused(203, "expire", UNKNOWN)
    table.refused(247, "expire", table.claim_id)
    table.now += 1
    table.act("expire", table.claim_id)
    request = table.court.requests[table.request_id]
    assert (table.claim.status, table.claim.fell_at, request.pending) == (ClaimStatus.REJECTED, None, 0)
    assert table.court.ledger.credited == {REQUESTER: SHARE}
    assert table.court.ledger.burned == LINE + BOND - SHARE
    table.refused(210, "expire", table.claim_id)


def test_expire_after_a_dispute() -> None:
    """A true claim that nobody finalises: the openers get their bonds back, and nothing else."""
    table = Table(basefee=2)
    told = table.trace()
    table.asked().claimed(told.run_hash).challenged()
    table.now = table.claim.closes_at + PARAMETERS.grace + 1
    table.refused(213, "expire", table.claim_id)
    table.court, table.now = Table().court, START_TIME
    table.asked().claimed(told.run_hash).challenged().answered(told).chosen(0, sender=CHALLENGER)
    table.answered(told, child_id(table.root, 0))
    table.now = table.claim.settles_at + PARAMETERS.grace
    table.refused(247, "expire", table.claim_id)
    table.now += 1
    table.act("expire", table.claim_id)
    table.collected()
    assert table.court.ledger.credited == {REQUESTER: SHARE, CHALLENGER: ROOT_BOND + PARAMETERS.node_bond}
    assert table.court.ledger.locked == FEE


def test_the_fee_goes_to_the_final_claim_of_lowest_index() -> None:
    """The first to finalise sets the result; the first to claim gets the fee."""
    table = Table().asked()
    first, second, third = SERVER, PUPPET, STRANGER
    ids = [table.claimed(FAILED.run_hash, server).claim_id for server in (first, second, third)]
    table.refused(203, "award", UNKNOWN)
    table.refused(248, "award", ids[0])
    table.now = table.claim.closes_at
    table.act(*end_as_failed(table, second))
    assert table.court.requests[table.request_id].result == ids[1]
    assert table.credit(second) == BOND
    for each in ids:
        table.refused(248, "award", each)  # the first is held back for, the others wait
    table.act(*end_as_failed(table, third))
    table.act(*end_as_failed(table, first))
    assert table.court.ledger.credited == {first: BOND + FEE, second: BOND, third: BOND}
    for each in ids:
        table.refused(248, "award", each)


def test_false_claims_do_not_hold_the_fee_back() -> None:
    """Pending or rejected, they are passed over in order; so is a true one that fell."""
    table = Table().asked()
    fell = table.claimed(FAILED.run_hash, CHALLENGER).claim_id
    table.challenged()
    false = table.claimed(UNKNOWN, PUPPET).claim_id
    copied = table.claimed(FAILED.run_hash, SERVER).claim.sealed
    table.act("claim", table.request_id, copied, 1 << 60, sender=STRANGER, value=table.stake)
    true = table.claimed(FAILED.run_hash, REQUESTER).claim_id
    table.now = table.claim.closes_at
    table.act(*end_as_failed(table, REQUESTER))
    table.refused(248, "award", false)
    table.refused(248, "award", fell)
    table.act("timeout", next(iter(table.court.nodes)))
    table.act("award", fell)
    table.act("award", false)
    assert table.court.claims[false].status is ClaimStatus.PENDING
    table.refused(248, "award", true)
    table.act(*end_as_failed(table, SERVER))
    assert table.credit(SERVER) == BOND + FEE
    table.refused(248, "award", claim_id(table.request_id, STRANGER, copied))
    assert table.court.ledger.credited[REQUESTER] == BOND


def test_award_pays_a_claim_that_was_final_before_its_turn() -> None:
    table = Table().asked()
    false = table.claimed(UNKNOWN, PUPPET).claim_id
    true = table.claimed(FAILED.run_hash).claim_id
    table.now = table.claim.closes_at
    table.act(*end_as_failed(table))
    assert table.credit(SERVER) == BOND
    table.refused(248, "award", true)
    table.act("award", false)
    table.refused(248, "award", false)
    table.act("award", true)
    assert table.credit(SERVER) == BOND + FEE


def test_reclaim() -> None:
    table = Table().asked(deadline=START_TIME + 5_000)
    table.claimed(UNKNOWN)
    table.now = START_TIME + 5_001
    table.refused(202, "reclaim", UNKNOWN)
    table.refused(230, "reclaim", table.request_id)  # a claim is pending
    table.act("expire", table.claim_id)
    table.now -= 1
    table.refused(230, "reclaim", table.request_id)  # another may come
    table.now += 1
    table.act("reclaim", table.request_id, sender=STRANGER)
    assert table.credit(REQUESTER) == SHARE + FEE
    table.refused(230, "reclaim", table.request_id)
    assert table.court.ledger.locked == 0
    untouched = Table().asked()
    untouched.now += 501
    untouched.act("reclaim", untouched.request_id)
    assert untouched.credit(REQUESTER) == FEE  # it never joined the line
    final = Table().asked().claimed(FAILED.run_hash)
    final.now = final.claim.closes_at
    final.act(*end_as_failed(final))
    final.refused(230, "reclaim", final.request_id)


def test_a_pending_claim_holds_the_fee_only_so_long() -> None:
    """The server of a true claim stalls its own tree: the fee goes on to the next, and the stalled claim gets none when it ends."""
    table = Table().asked()
    table.claimed(FAILED.run_hash, PUPPET).challenged(PUPPET)
    stalled = table.claim_id
    table.claimed(FAILED.run_hash, SERVER)
    table.now = table.claim.closes_at
    table.act(*end_as_failed(table, SERVER))
    table.now = table.court.claims[stalled].closes_at + PARAMETERS.hold
    table.refused(248, "award", stalled)
    table.now += 1
    table.act("award", stalled)
    table.act("award", table.claim_id)
    assert table.credit(SERVER) == BOND + FEE
    table.refused(248, "award", stalled)


@pytest.mark.parametrize("late", [0, 2_000])
def test_a_pending_claim_delays_reclaim_only_so_long(late: int) -> None:
    """No claim of the request can close later than W after its deadline, and after its turn in the line."""
    table = Table().asked(deadline=START_TIME + late)
    table.claimed(UNKNOWN).challenged(PUPPET)
    table.now = START_TIME + max(late, 8) + PARAMETERS.window + PARAMETERS.hold
    table.refused(230, "reclaim", table.request_id)
    table.now += 1
    table.act("reclaim", table.request_id)
    assert table.credit(REQUESTER) == FEE
    table.refused(230, "reclaim", table.request_id)
    table.act("timeout", table.root)
    assert table.court.requests[table.request_id].pending == 0


def test_a_fee_that_waits_for_its_award_is_not_reclaimed() -> None:
    """Nothing is pending any more, but there is a result whose claim has not been walked to."""
    table = Table().asked()
    fell = table.claimed(UNKNOWN, PUPPET).claim_id
    table.claimed(FAILED.run_hash)
    table.now = table.claim.closes_at
    table.act(*end_as_failed(table))
    table.now += PARAMETERS.grace + 1
    table.act("expire", fell)
    assert table.court.requests[table.request_id].pending == 0
    table.refused(230, "reclaim", table.request_id)
    table.act("award", fell)
    table.refused(230, "reclaim", table.request_id)
    table.act("award", table.claim_id)
    assert table.credit(SERVER) == BOND + FEE


def test_withdraw_to() -> None:
    table = Table().asked().claimed(FAILED.run_hash)
    table.refused(231, "withdraw_to", STRANGER, sender=SERVER)
    table.now = table.claim.closes_at
    table.act(*end_as_failed(table))
    table.refused(231, "withdraw_to", SERVER)
    table.act("withdraw_to", STRANGER, sender=SERVER)
    assert table.court.ledger.paid_out == BOND + FEE
    table.refused(231, "withdraw_to", SERVER, sender=SERVER)


def test_result_of() -> None:
    table = Table().asked().claimed(FAILED.run_hash)
    with pytest.raises(UnknownRequest):
        result_of(table.court, UNKNOWN)
    with pytest.raises(NoResult):
        result_of(table.court, table.request_id)
    table.now = table.claim.closes_at
    table.act(*end_as_failed(table))
    assert result_of(table.court, table.request_id) == (Outcome.FAILED, None, table.claim_id)


def test_a_run_with_output() -> None:
    table = Table()
    told = table.trace()
    table.asked().claimed(told.run_hash).finalised(told)
    outcome, output_hash, _ = result_of(table.court, table.request_id)
    leaves = [(1).to_bytes(8, "little") * 2 + bytes(16)]
    memory = told.stages[-1][-1].memory
    leaves.append(memory.load_bytes(0x80_1000_0020, 4) + bytes(28))
    assert (outcome, output_hash) == (Outcome.OK, keccak256(b"".join(leaves)))
    assert hash_of(told.runs[-1].carry) == hash_of(memory.subtree(34, 1))


def test_acts_are_the_functions_of_the_contract() -> None:
    assert len(acts.ACTS) == 15
    assert set(acts.ACTS) >= acts.PAYABLE
