"""The attacks that defeated the first edition of the game, run against the contract: none of them pays, and none holds up the honest.

They were: bounties taken by a flash loan in the deciding transaction, fees taken by copying a claim, claims that nobody can open,
conceding to a puppet, and honest servers exhausted by challengers whose bonds all came back.
"""

from pathlib import Path

import pytest
import vyper
from attrs import astuple, evolve
from evm_dispute import BOND, FEE, Dispute, line_price, new_court, run_hash, seal

from evm_arbiter.chain import Artefact, Contract, keccak256
from evm_arbiter.court import Court, Refused
from evm_arbiter.objects import ClaimStatus, Segment
from evm_arbiter.parameters import GWEI, root_bond, share_of

CONTRACTS = Path(__file__).parent / "contracts"
PRICE = 10 * GWEI


def child_of(node_id: bytes, part: int) -> bytes:
    return keccak256(node_id + bytes([part]))


def deployed(court: Court, name: str) -> Contract:
    compiled = vyper.compile_code((CONTRACTS / f"{name}.vy").read_text(), output_formats=["abi", "bytecode"])
    artefact = Artefact(name, compiled["abi"], bytes.fromhex(compiled["bytecode"].removeprefix("0x")))
    return court.chain.deploy(artefact, sender=court.accounts[4])


def two_posted_nodes() -> tuple[Dispute, list[bytes]]:
    """A false claim on its way to fall at the third node, with posted parts to choose at the two above."""
    dispute = Dispute(new_court(64), stage_count=2**14, stage=77)
    dispute.court.set_base_fee(PRICE)
    dispute.started()
    way = [dispute.node_id]
    for _ in range(2):
        dispute.post()
        dispute.choose()
        way.append(dispute.node_id)
    node = dispute.court.node_of(dispute.node_id)
    dispute.court.set_time(node.due + node.server_left + 1)
    return dispute, way


def test_a_hundred_nodes_opened_in_the_deciding_transaction_take_nothing_from_the_way() -> None:
    dispute, way = two_posted_nodes()
    court, fixed = dispute.court, dispute.court.parameters
    targets = [(node_id, *(astuple(last) if isinstance(last, Segment) else last for last in dispute.last(node_id)), *parts)
               for node_id, parts in ((way[0], (1, 57)), (way[1], (20, 64)))]  # fmt: skip  # the way goes by part 0 and then by part 19
    crowd = deployed(court, "crowd")
    loan = 100 * fixed.node_bond
    attacker, before = court.accounts[4], court.balance(court.accounts[4])
    receipt = crowd.transact("attack", court.game.address, targets, way[2], fixed.node_bond, sender=attacker, value=loan)
    assert receipt.or_raise().status
    gained = court.balance(attacker) - before
    assert gained == 100 * PRICE * fixed.gas_choose
    assert gained < receipt.gas_used * PRICE, "collecting the refunds costs more gas than they pay"
    assert court.claim_of(dispute.claim_id).fell_at == way[2]
    for node_id in way:
        court.collect(node_id, sender=court.accounts[9])
    bonds = root_bond(fixed, BOND) + 2 * fixed.node_bond
    assert court.account_of(dispute.challenger).credited == bonds + 3 * (share_of(fixed, BOND) // 3)


def finalise(dispute: Dispute) -> None:
    dispute.court.finalise(dispute.claim_id, b"\7" * 32, 1, b"", b"", sender=dispute.court.accounts[9])


def test_a_copied_claim_earns_nothing() -> None:
    """Not even one that comes first: it cannot become final, does not hold the fee back, and half of its bond burns."""
    honest = Dispute(new_court(), last_run_hash=run_hash(b"\7" * 32, 1)).asked()
    court, copier = honest.court, honest.court.accounts[6]
    sealed = seal(honest.run_hash, honest.server)  # seen in the mempool
    copied = court.claim(honest.request_id, sealed, 2**64 - 1, sender=copier, value=BOND + line_price(court, honest.request_id))
    honest.claimed()
    closes_at = court.claim_of(honest.claim_id).closes_at
    court.set_time(closes_at)
    with pytest.raises(Refused, match="WRONG_OUTPUT"):
        court.finalise(copied, b"\7" * 32, 1, b"", b"", sender=copier)
    finalise(honest)
    fee_left = court.request_of(honest.request_id).fee_left
    assert court.account_of(honest.server).credited == BOND
    court.award(copied, sender=honest.server)  # passed over at once, though pending
    court.award(honest.claim_id, sender=honest.server)
    assert court.account_of(honest.server).credited == BOND + fee_left
    court.set_time(closes_at + court.parameters.grace + 1)
    court.expire(copied, sender=court.accounts[9])
    assert court.account_of(copier).credited == 0
    assert court.account_of(honest.requester).credited == share_of(court.parameters, BOND)
    assert court.books().locked == 0


@pytest.mark.parametrize("challenged", [False, True])
def test_a_claim_that_nobody_can_open_ends(challenged: bool) -> None:
    """Its server cannot show what it sealed: unchallenged it expires, challenged it falls; then the fee goes back."""
    dispute = Dispute(new_court()).asked()
    court = dispute.court
    value = BOND + line_price(court, dispute.request_id)
    dispute.claim_id = court.claim(dispute.request_id, b"\5" * 32, 2**64 - 1, sender=dispute.server, value=value)
    if challenged:
        dispute.challenged()
        with pytest.raises(Refused, match="WRONG_SEAL"):
            dispute.post()
        node = court.node_of(dispute.node_id)
        court.set_time(node.due + node.server_left + 1)
        dispute.timeout()
        court.collect(dispute.node_id, sender=court.accounts[9])
        bond = root_bond(court.parameters, BOND)
        assert court.account_of(dispute.challenger).credited == bond + share_of(court.parameters, BOND)
    else:
        court.set_time(court.claim_of(dispute.claim_id).closes_at + court.parameters.grace + 1)
        court.expire(dispute.claim_id, sender=court.accounts[9])
        assert court.account_of(dispute.requester).credited == share_of(court.parameters, BOND)
    assert court.claim_of(dispute.claim_id).status is ClaimStatus.REJECTED
    before = court.account_of(dispute.requester).credited
    court.reclaim(dispute.request_id, sender=court.accounts[9])
    assert court.account_of(dispute.requester).credited - before == FEE
    assert court.books().locked == 0


def test_conceding_to_a_puppet_costs_the_liar_half_its_bond_and_the_honest_nothing() -> None:
    """The puppet opens the root, and the liar fails a part of the puppet's. The honest get bonds and gas back; the liar gets half."""
    dispute = Dispute(new_court(), stage_count=64, stage=50)
    court, fixed = dispute.court, dispute.court.parameters
    court.set_base_fee(PRICE)
    puppet, honest = court.accounts[7], dispute.challenger
    dispute.asked().claimed().challenged(puppet)
    root = dispute.node_id
    dispute.post()
    court.set_time(court.now + fixed.priority)
    dispute.choose()
    evolved = evolve(dispute, node_id=root)
    evolved.choose(0, sender=puppet)
    dispute.post()
    dispute.choose()
    node = court.node_of(evolved.node_id)
    court.set_time(node.due + node.server_left - 1)
    dispute.answer()
    court.set_time(court.now + 2)
    evolved.timeout()
    assert court.claim_of(dispute.claim_id).fell_at == evolved.node_id
    opened = {event.node_id for event in court.events() if hasattr(event, "opener")}
    for node_id in opened:
        court.collect(node_id, sender=court.accounts[9])
    assert court.account_of(honest).credited == 2 * (fixed.node_bond + PRICE * fixed.gas_choose)
    puppets = root_bond(fixed, BOND) + fixed.node_bond + 2 * (share_of(fixed, BOND) // 2)
    assert court.account_of(puppet).credited == puppets
    burned = court.books().burned - 10**12
    assert burned >= BOND - share_of(fixed, BOND) - 2 * PRICE * fixed.gas_choose


def test_a_true_claim_earns_half_of_all_that_was_staked_against_it() -> None:
    """Whoever opens nodes of a true claim loses them all, whatever their number."""
    dispute = Dispute(new_court(), stage_count=16, last_run_hash=run_hash(b"\7" * 32, 1)).asked().claimed().challenged()
    court, fixed, root = dispute.court, dispute.court.parameters, dispute.node_id
    dispute.post()
    court.set_time(court.now + fixed.priority)
    for part in range(4):
        evolve(dispute).choose(part, sender=court.accounts[5 + part % 2])
    for part in range(4):
        evolve(dispute, node_id=child_of(root, part)).post()
    court.set_time(court.claim_of(dispute.claim_id).settles_at + 1)
    fee = court.request_of(dispute.request_id).fee_left
    finalise(dispute)
    staked = root_bond(fixed, BOND) + 4 * fixed.node_bond
    assert court.account_of(dispute.server).credited == BOND + share_of(fixed, staked) + fee
    assert court.books().burned == staked - share_of(fixed, staked) + 10**12
    assert court.books().locked == 0
