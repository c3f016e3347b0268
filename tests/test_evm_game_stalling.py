"""The attacks that defeated the second edition of the game, run against the contract: nothing honest is held up or pays for a liar.

They were: claims stalled by the nodes of a claim that is conceded, fees held by stalled claims, a fee that burns for somebody else's first
claim, and a claim that closes after the last time that fits its fields.
"""

import pytest
from attrs import evolve
from evm_dispute import BOND, FEE, Dispute, hold, new_court, run_hash
from evm_many_nodes import answered_tree, concede, junk, whole_tree

from evm_arbiter.court import Refused
from evm_arbiter.objects import ClaimStatus
from evm_arbiter.parameters import root_bond, share_of


def finalise(dispute: Dispute) -> None:
    dispute.court.finalise(dispute.claim_id, b"\7" * 32, 1, b"", b"", sender=dispute.court.accounts[9])


def test_nodes_of_a_conceded_claim_give_a_liar_no_time() -> None:
    """A liar lets a claim fall of which a puppet had opened 85 nodes: their bonds come back. Its other claim is due all the same."""
    court = new_court()
    fixed, validator, puppet = court.parameters, court.accounts[2], court.accounts[7]
    pump = junk(court, 64, challenger=puppet)
    nodes = whole_tree(pump)
    false = Dispute(court, last_run_hash=b"\1" * 32).started()
    assert court.node_of(false.node_id).due == court.now + (len(nodes) + 1) * fixed.effort == court.now + 86 * fixed.effort
    concede(evolve(pump, node_id=nodes[-1]))
    end = court.now + fixed.effort + fixed.server_time
    court.set_time(end)
    with pytest.raises(Refused, match="NOT_OUT_OF_TIME"):
        false.timeout(validator)
    court.set_time(end + 1)
    false.timeout(validator)

    again = evolve(false).asked().claimed().challenged()  # and nodes that are opened after the fall help no more
    whole_tree(junk(court, 64, challenger=puppet))
    late = evolve(false).asked().claimed().challenged()
    assert court.node_of(late.node_id).due > court.now + 85 * fixed.effort
    court.set_time(court.now + fixed.effort + fixed.server_time + 1)
    again.timeout(validator)
    late.timeout(validator)


def test_nodes_of_an_expired_claim_give_a_liar_no_time() -> None:
    """A liar answers 177 nodes of its puppet and shows no result: the claim expires, and their bonds come back. Its other claim is due."""
    court = new_court(16, **SLOW)
    fixed, validator, puppet = court.parameters, court.accounts[2], court.accounts[7]
    pump = Dispute(court, stage_count=512, challenger=puppet).started()
    nodes = answered_tree(pump, 177)
    court.set_time(court.claim_of(pump.claim_id).settles_at + fixed.grace + 1)
    false = Dispute(court, last_run_hash=b"\1" * 32).started()
    assert court.node_of(false.node_id).due > court.now + 38 * fixed.effort
    court.expire(pump.claim_id, sender=puppet)
    for node_id in nodes:
        court.collect(node_id, sender=puppet)
    assert court.account_of(puppet).credited == root_bond(fixed, BOND) + 176 * fixed.node_bond
    end = court.now + fixed.effort + fixed.server_time
    court.set_time(end)
    with pytest.raises(Refused, match="NOT_OUT_OF_TIME"):
        false.timeout(validator)
    court.set_time(end + 1)
    false.timeout(validator)


SLOW = {"effort": 3_600, "priority": 3_630, "grace": 90_030, "challenger_time": 240_000}  # in seconds: few nodes stall a claim for long


def stall(claim: Dispute) -> None:
    """A puppet challenges a claim in its last second, after 113 nodes of another claim of its server: it is due far beyond its hold."""
    claim.court.set_time(claim.court.claim_of(claim.claim_id).closes_at - 1)
    whole_tree(junk(claim.court, 96, challenger=claim.challenger))
    claim.challenged()


def to_stall(last_run_hash: bytes) -> Dispute:
    court = new_court(16, **SLOW)
    return Dispute(court, challenger=court.accounts[7], last_run_hash=last_run_hash).asked().claimed()


def test_a_stalled_claim_of_the_result_holds_the_fee_no_longer_than_its_hold() -> None:
    """A liar is the first with a true claim, and does not end it. The server that comes second gets the fee when the hold is over."""
    first = to_stall(run_hash(b"\7" * 32, 1))
    court, second = first.court, evolve(first, server_number=3).claimed()
    stall(first)
    closes_at = court.claim_of(first.claim_id).closes_at
    court.set_time(closes_at)
    finalise(second)
    court.set_time(closes_at + hold(court))
    with pytest.raises(Refused, match="NOT_OUT_OF_TIME"):
        first.timeout()
    with pytest.raises(Refused, match="NOTHING_TO_AWARD"):
        court.award(first.claim_id, sender=second.server)
    court.set_time(court.now + 1)
    court.award(first.claim_id, sender=second.server)
    court.award(second.claim_id, sender=second.server)
    assert court.account_of(second.server).credited == BOND + FEE
    first.post()  # it may still end, but for its bond and the share of what was staked against it alone
    court.set_time(court.claim_of(first.claim_id).settles_at + 1)
    finalise(first)
    assert court.account_of(first.server).credited == BOND + share_of(court.parameters, root_bond(court.parameters, BOND))


def test_a_stalled_false_claim_holds_the_fee_no_longer_than_its_hold() -> None:
    """The requester gets it back while the claim is pending still."""
    false = to_stall(b"\1" * 32)
    court, request = false.court, false.court.request_of(false.request_id)
    stall(false)
    court.set_time(max(request.deadline, request.checked_at) + court.parameters.window + hold(court))
    with pytest.raises(Refused, match="NOT_OUT_OF_TIME"):
        false.timeout()
    with pytest.raises(Refused, match="NOT_ALL_FAILED"):
        court.reclaim(false.request_id, sender=false.requester)
    court.set_time(court.now + 1)
    court.reclaim(false.request_id, sender=false.requester)
    assert court.account_of(false.requester).credited == FEE
    assert court.claim_of(false.claim_id).status is ClaimStatus.PENDING


def test_a_claim_that_becomes_final_after_its_fee_was_reclaimed_gets_no_fee() -> None:
    """It is a result all the same."""
    late = to_stall(run_hash(b"\7" * 32, 1))
    court, request = late.court, late.court.request_of(late.request_id)
    court.set_time(request.deadline + court.parameters.window + hold(court) + 1)
    court.reclaim(late.request_id, sender=late.requester)
    finalise(late)
    assert court.result_of(late.request_id).claim_id == late.claim_id
    assert [court.account_of(who).credited for who in (late.requester, late.server)] == [FEE, BOND]
    with pytest.raises(Refused, match="NOTHING_TO_AWARD"):
        court.award(late.claim_id, sender=late.server)
    with pytest.raises(Refused, match="NOT_ALL_FAILED"):
        court.reclaim(late.request_id, sender=late.requester)


def test_a_junk_first_claim_costs_its_maker_and_not_the_requester() -> None:
    """The longest run: 4.7 hours of line. The requester gets all of its fee back, and half of the bond."""
    dispute = Dispute(new_court(), stage_count=2**24).asked()
    court, fixed, liar = dispute.court, dispute.court.parameters, dispute.court.accounts[6]
    price = 16_778 * fixed.second_price
    before = court.balance(liar)
    claim_id = court.claim(dispute.request_id, b"\5" * 32, 2**64 - 1, sender=liar, value=BOND + price)
    assert (before - court.balance(liar), court.books().burned) == (BOND + price, price)
    court.set_time(court.claim_of(claim_id).closes_at + fixed.grace + 1)
    court.expire(claim_id, sender=court.accounts[9])
    court.reclaim(dispute.request_id, sender=court.accounts[9])
    assert court.account_of(dispute.requester).credited == FEE + share_of(fixed, BOND)
    assert court.account_of(liar).credited == 0


def test_the_last_claim_that_the_contract_takes_ends() -> None:
    """Its window closes a second before 2^39; what follows fits beside the numbers of its nodes."""
    dispute = Dispute(new_court(), last_run_hash=run_hash(b"\7" * 32, 1))
    court, fixed = dispute.court, dispute.court.parameters
    court.set_time(2**39 - 2 - fixed.window)
    dispute.asked().claimed()
    closes_at = court.claim_of(dispute.claim_id).closes_at
    assert closes_at == 2**39 - 1
    court.set_time(closes_at - 1)
    dispute.challenged()
    court.set_time(court.node_of(dispute.node_id).due + fixed.server_time)
    dispute.post()
    claim = court.claim_of(dispute.claim_id)
    assert (claim.settles_at, claim.open_nodes, claim.nodes) == (court.now + fixed.challenger_time, 0, 1)
    court.set_time(claim.settles_at + 1)
    finalise(dispute)
    assert court.claim_of(dispute.claim_id).status is ClaimStatus.FINAL
