"""Money: what each end of a claim pays, to the wei, and where it does not go.

Amounts are computed here from the page's formulas. Conservation over random plays is tested in `test_evm_game_plays`.
"""

from pathlib import Path

import pytest
import vyper
from attrs import evolve
from evm_dispute import BOND, DATA, FEE, Dispute, new_court, run_hash

from evm_arbiter.chain import Artefact, Contract
from evm_arbiter.court import ANYONE, Court, Refused
from evm_arbiter.objects import (
    Answered,
    Awarded,
    Books,
    Burned,
    Claimed,
    Collected,
    Credited,
    Event,
    Expired,
    Fallen,
    Finalised,
    NodeState,
    Opened,
    PassedOver,
    Reclaimed,
    Withdrawn,
)
from evm_arbiter.parameters import ETHER, GWEI, Parameters, root_bond, share_of

FIXED = new_court().parameters
ROOT_BOND, NODE_BOND = root_bond(FIXED, BOND), FIXED.node_bond
CARRY = b"\7" * 32  # of a failed run, which ends without output
PRICES = (10 * GWEI, 7, 0, 500 * GWEI, 3 * GWEI, GWEI, 2 * GWEI)  # wei for gas, as nodes are opened; one is above the cap


def money(court: Court, move: int) -> list[Event]:
    """The events from number `move` on."""
    return list(court.events(move))


def failed_claim(**changes: object) -> Dispute:
    return Dispute(new_court(), last_run_hash=run_hash(CARRY, 1), **changes)  # type: ignore[arg-type]


def finalise(dispute: Dispute) -> None:
    dispute.court.finalise(dispute.claim_id, CARRY, 1, b"", b"", sender=dispute.court.accounts[9])


def grown(depth: int) -> tuple[Dispute, list[tuple[bytes, int]]]:
    """A tree with two nodes at each depth below the root, one of them on the path, each opened at another price: ids and prices."""
    dispute = Dispute(new_court(), stage_count=4**5, stage=4**5 - 1)
    court = dispute.court
    court.set_base_fee(PRICES[0])
    dispute.started()
    opened = [(dispute.node_id, PRICES[0])]
    for level in range(1, depth):
        dispute.post()
        court.set_time(court.now + FIXED.priority)
        for part in (0, 3):
            price = PRICES[(2 * level + part) % len(PRICES)]
            court.set_base_fee(price)
            child = evolve(dispute)
            child.choose(part, sender=court.accounts[3 + level % 2])
            opened.append((child.node_id, min(price, FIXED.gas_price_cap)))
        dispute.node_id = child.node_id
    return dispute, opened


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("beside", [False, True])
def test_a_fall_at_each_depth(depth: int, beside: bool) -> None:
    """The way shares φ of the bond, all others get their gas as far as the rest reaches, and everybody its bond; the rest burns."""
    if beside and depth == 1:
        return  # beside the root there is nothing
    dispute, opened = grown(depth)
    court, ids = dispute.court, [node_id for node_id, _ in opened]
    fell_at = ids[-2] if beside else ids[-1]
    way = {ids[0], fell_at, *(ids[2 * level] for level in range(1, depth - 1))}
    node = court.node_of(fell_at)
    court.set_time(node.due + node.server_left + 1)
    before, mark = court.books(), len(court.events())
    court.timeout(fell_at, sender=court.accounts[9])
    prices = sum(price for _, price in opened)
    share = share_of(FIXED, BOND) // depth
    pool = BOND - depth * share
    gas = min(FIXED.gas_choose, pool // prices)
    claim = court.claim_of(dispute.claim_id)
    assert (claim.prices, claim.nodes, claim.fell_at) == (prices, len(opened), fell_at)
    assert money(court, mark) == [Fallen(dispute.claim_id, fell_at, court.now), Burned(dispute.claim_id, pool - gas * prices)]
    assert court.request_of(dispute.request_id).pending == 0
    total = before.burned + pool - gas * prices
    for number in (len(opened) - 1, *range(len(opened) - 1)):  # the order changes nothing
        node_id, price = opened[number]
        mark, bond = len(court.events()), ROOT_BOND if number == 0 else NODE_BOND
        court.collect(node_id, sender=court.accounts[9])
        credited = bond + (share if node_id in way else gas * price)
        burned = [Burned(node_id, gas * price)] if node_id in way and gas * price else []
        assert money(court, mark) == [Collected(node_id), *burned, Credited(court.node_of(node_id).opener, node_id, credited)]
        total += gas * price if node_id in way else 0
        with pytest.raises(Refused, match="NOTHING_TO_COLLECT"):
            court.collect(node_id, sender=dispute.challenger)
    assert court.books() == Books(before.deposits, FEE, total, 0)


def test_refunds_are_cut_when_the_rest_of_the_bond_does_not_reach() -> None:
    """`gas` is then below G_choose, the same for all: here for 64 nodes at a price at which the bond would pay for 56."""
    court = new_court(64, gas_price_cap=10**12, min_bond=10 * ETHER, node_bond=ETHER)
    fixed = court.parameters
    court.set_base_fee(10**12)
    dispute = Dispute(court, stage_count=64, bond=fixed.min_bond).started()
    dispute.post()
    for part in range(63):
        child = evolve(dispute)
        child.choose(part)
    node = court.node_of(child.node_id)
    court.set_time(node.due + node.server_left + 1)
    child.timeout()
    gas = (10 * ETHER - 2 * (5 * ETHER // 2)) // (64 * 10**12)
    assert gas == 78_125 < fixed.gas_choose
    for event in court.events():
        if isinstance(event, Opened):
            court.collect(event.node_id, sender=court.accounts[9])
    won = 2 * (5 * ETHER // 2) + 62 * gas * 10**12
    assert court.account_of(dispute.challenger).credited == root_bond(fixed, fixed.min_bond) + 63 * ETHER + won
    assert court.books().locked == FEE


@pytest.mark.parametrize("nodes", [0, 1, 2, 4])
def test_a_final_claim(nodes: int) -> None:
    """The bond and φ of all node bonds to the server, then the fee; one claim needs no `award`."""
    dispute = failed_claim(stage_count=64).asked().claimed()
    court = dispute.court
    if nodes:
        dispute.challenged()
        dispute.post()
        for part in range(nodes - 1):
            child = evolve(dispute)
            child.choose(part)
            child.post()
    court.set_time(max(court.claim_of(dispute.claim_id).closes_at, court.claim_of(dispute.claim_id).settles_at + 1))
    staked = ROOT_BOND + (nodes - 1) * NODE_BOND if nodes else 0
    mark = len(court.events())
    finalise(dispute)
    expected: list[Event] = [Finalised(dispute.claim_id, dispute.request_id, 1, dispute.run_hash, b"")]
    expected += [Burned(dispute.claim_id, staked - share_of(FIXED, staked))] if nodes else []
    expected += [Credited(dispute.server, dispute.claim_id, BOND + share_of(FIXED, staked)), Awarded(dispute.claim_id, dispute.request_id),
                 Credited(dispute.server, dispute.claim_id, FEE)]  # fmt: skip
    assert money(court, mark) == expected
    request = court.request_of(dispute.request_id)
    assert (request.fee_paid, request.fee_left, request.next_award, request.pending) == (True, 0, 0, 0)
    assert court.books().locked == 0


def test_an_expired_claim() -> None:
    """φ of the bond to the requester, whose request it wasted; openers get their bonds and nothing else."""
    dispute = failed_claim().asked().claimed()
    court = dispute.court
    court.set_base_fee(10 * GWEI)
    dispute.challenged()
    dispute.post()
    child = evolve(dispute, stage=0)
    settles_at = court.claim_of(dispute.claim_id).settles_at
    court.set_time(settles_at + FIXED.grace + 1)
    mark = len(court.events())
    court.expire(dispute.claim_id, sender=court.accounts[9])
    paid = share_of(FIXED, BOND)
    assert money(court, mark) == [
        Expired(dispute.claim_id, court.now), Burned(dispute.claim_id, BOND - paid), Credited(dispute.requester, dispute.request_id, paid),
    ]  # fmt: skip
    assert not any(court.claim_of(dispute.claim_id).fell_at)
    mark = len(court.events())
    court.collect(child.node_id, sender=court.accounts[9])
    assert money(court, mark) == [Collected(child.node_id), Credited(dispute.challenger, child.node_id, ROOT_BOND)]
    mark = len(court.events())
    court.reclaim(dispute.request_id, sender=court.accounts[9])
    assert money(court, mark) == [Reclaimed(dispute.request_id), Credited(dispute.requester, dispute.request_id, FEE)]
    assert court.books().locked == 0


@pytest.mark.parametrize("falls", [False, True])
def test_the_fee_walks_to_the_final_claim_of_lowest_index(falls: bool) -> None:
    """Past claims that fell and pending ones of other runs, but not past one that claims the result."""
    dispute = failed_claim().asked()
    court = dispute.court
    false = evolve(dispute, last_run_hash=b"\1" * 32)
    fallen = evolve(false).claimed().challenged()
    pending = evolve(dispute, last_run_hash=b"\2" * 32).claimed()
    slow, quick = evolve(dispute, server_number=3).claimed(), evolve(dispute, server_number=6).claimed()
    node = court.node_of(fallen.node_id)
    court.set_time(node.due + node.server_left + 1)
    fallen.timeout()
    court.set_time(court.claim_of(quick.claim_id).closes_at - 1)
    if falls:
        slow.challenged()
    court.set_time(court.now + 1)
    finalise(quick)
    assert court.account_of(quick.server).credited == BOND
    mark = len(court.events())
    for claim in (fallen, pending):
        court.award(claim.claim_id, sender=court.accounts[9])
    assert money(court, mark) == [PassedOver(claim.claim_id, dispute.request_id) for claim in (fallen, pending)]
    for claim in (fallen, pending, slow, quick):
        with pytest.raises(Refused, match="NOTHING_TO_AWARD"):
            court.award(claim.claim_id, sender=court.accounts[9])
    if not falls:
        mark = len(court.events())
        finalise(slow)  # pays the fee itself
        assert money(court, mark)[-2:] == [Awarded(slow.claim_id, dispute.request_id), Credited(slow.server, slow.claim_id, FEE)]
        return
    node = court.node_of(slow.node_id)
    court.set_time(node.due + node.server_left + 1)
    slow.timeout()
    mark = len(court.events())
    court.award(slow.claim_id, sender=court.accounts[9])
    court.award(quick.claim_id, sender=court.accounts[9])
    assert money(court, mark) == [
        PassedOver(slow.claim_id, dispute.request_id), Awarded(quick.claim_id, dispute.request_id),
        Credited(quick.server, quick.claim_id, FEE),
    ]  # fmt: skip


def test_no_event_tells_of_nothing() -> None:
    """A later claim pays nothing for the line, and of a claim without nodes nothing burns."""
    dispute = failed_claim().asked()
    court, later = dispute.court, evolve(dispute, server_number=3)
    for claim, expected in ((dispute, [Claimed, Burned]), (later, [Claimed])):
        mark = len(court.events())
        claim.claimed()
        assert [type(event) for event in money(court, mark)] == expected
    court.set_time(court.claim_of(later.claim_id).closes_at)
    mark = len(court.events())
    finalise(later)
    assert [type(event) for event in money(court, mark)] == [Finalised, Credited]


@pytest.mark.parametrize("stage_count", [1, 1_000, 1_001, 2**24])
def test_the_first_claim_pays_for_the_line_and_an_honest_one_earns_it_back(stage_count: int) -> None:
    """The least fee that a request may bring is what the line costs; it stays whole."""
    dispute = Dispute(new_court(), stage_count, last_run_hash=run_hash(CARRY, 1))
    court = dispute.court
    model_id = court.register(b"\1" * 32, b"\2" * 32, 1_000, sender=dispute.requester)
    price = -(-stage_count // 1_000) * FIXED.second_price
    dispute.request_id = court.request(model_id, stage_count, DATA, court.now, BOND, ANYONE, sender=dispute.requester, value=price)
    before, mark = court.balance(dispute.server), len(court.events())
    dispute.claimed()
    assert money(court, mark)[1:] == [Burned(dispute.request_id, price)]
    assert court.balance(dispute.server) == before - BOND - price
    assert court.request_of(dispute.request_id).fee_left == price
    assert court.books() == Books(BOND + 2 * price, BOND + price, price, 0)
    court.set_time(court.claim_of(dispute.claim_id).closes_at)
    finalise(dispute)
    assert court.account_of(dispute.server).credited == BOND + price
    assert court.books() == Books(BOND + 2 * price, 0, price, 0)


def test_a_rejected_claim_leaves_the_request_open_for_the_next() -> None:
    dispute = Dispute(new_court()).asked(deadline=new_court().now + 10**6).claimed().challenged()
    court, node = dispute.court, dispute.court.node_of(dispute.node_id)
    court.set_time(node.due + node.server_left + 1)
    dispute.timeout()
    evolve(dispute, last_run_hash=b"\1" * 32).claimed()
    request = court.request_of(dispute.request_id)
    assert (request.pending, request.claims, request.fee_left) == (1, 2, FEE)


@pytest.mark.parametrize("lie", [False, True])
def test_arbitration_pays_nobody_at_once(lie: bool) -> None:
    dispute = Dispute(new_court(), after_hash=bytes(32) if lie else None).started().played()
    court = dispute.court
    assert [court.account_of(account).credited for account in court.accounts] == 10 * [0]
    last = [event for event in court.events() if isinstance(event, Fallen | Answered)][-1]
    assert isinstance(last, Fallen) if lie else last.state is NodeState.ANSWERED


def test_the_dispute_in_numbers_of_the_page() -> None:
    """The table of spec §5.13, line by line, in gwei."""
    court = Court(parameters=Parameters())
    court.set_base_fee(10 * GWEI)
    start, another, anybody = court.now, court.accounts[5], court.accounts[9]
    dispute = Dispute(court, stage_count=3, stage=1, steps=20, step=5, after_hash=bytes(32), bond=9 * ETHER)
    validator = dispute.challenger

    def line(time: int, *gwei: int) -> None:
        books, credits = court.books(), (court.account_of(who).credited for who in (validator, another))
        assert (court.now, *(wei // GWEI for wei in (books.locked, *credits, books.burned))) == (start + time, *gwei)

    model_id = court.register(b"\1" * 32, dispute.model.levels()[33][3], 2_500_000, sender=dispute.requester)
    fee = 10**6 * GWEI
    dispute.request_id = court.request(model_id, 3, b"", start + 1_000, 9 * ETHER, ANYONE, sender=dispute.requester, value=fee)
    line(0, 1_000_000, 0, 0, 0)
    court.set_time(start + 100)
    dispute.claimed()
    line(100, 9_001_000_000, 0, 0, 8_000)
    assert court.claim_of(dispute.claim_id).closes_at == start + 172_908
    court.set_time(start + 1_100)
    dispute.challenged()
    line(1_100, 10_126_000_000, 0, 0, 8_000)
    root = dispute.node_id
    assert court.node_of(root).due == start + 1_700
    court.set_time(start + 1_600)
    dispute.post()
    line(1_600, 10_126_000_000, 0, 0, 8_000)
    court.set_time(start + 1_900)
    dispute.choose()
    stage = dispute.node_id
    line(1_900, 10_251_000_000, 0, 0, 8_000)
    assert (court.node_of(stage).due, court.node_of(stage).server_left) == (start + 2_500, 129_600)
    court.set_time(start + 2_400)
    other = evolve(dispute, node_id=root)
    other.choose(2, sender=another)
    line(2_400, 10_376_000_000, 0, 0, 8_000)
    assert court.node_of(other.node_id).due == start + 3_100
    court.set_time(start + 2_800)
    dispute.open()
    line(2_800, 10_376_000_000, 0, 0, 8_000)
    assert court.node_of(stage).server_left == 129_300
    court.set_time(start + 3_000)
    dispute.choose()
    line(3_000, 10_501_000_000, 0, 0, 8_000)
    assert (court.node_of(dispute.node_id).due, court.node_of(dispute.node_id).server_left) == (start + 3_700, 129_300)
    court.set_time(start + 3_100)
    dispute.arbitrate()
    line(3_100, 6_004_200_000, 0, 0, 4_496_808_000)
    for node_id in (root, stage, dispute.node_id):
        court.collect(node_id, sender=anybody)
    line(3_100, 126_800_000, 5_875_000_000, 0, 4_499_208_000)
    court.collect(other.node_id, sender=anybody)
    line(3_100, 1_000_000, 5_875_000_000, 125_800_000, 4_499_208_000)


# Receivers that are contracts


@pytest.fixture
def attacked() -> tuple[Court, Contract]:
    """A contract whose request came to nothing, so that it has the fee to withdraw; others have money here too."""
    court = new_court()
    source = (Path(__file__).parent / "contracts" / "thief.vy").read_text()
    compiled = vyper.compile_code(source, output_formats=["abi", "bytecode"])
    artefact = Artefact("thief", compiled["abi"], bytes.fromhex(compiled["bytecode"].removeprefix("0x")))
    thief = court.chain.deploy(artefact, court.game.address, sender=court.accounts[4])
    dispute = Dispute(court).asked().claimed()  # nine ether of other people's money
    thief.transact("ask", dispute.model_id, court.now, BOND, sender=court.accounts[4], value=ETHER).or_raise()
    court.set_time(court.now + 1)
    thief.transact("take_back", sender=court.accounts[4]).or_raise()
    assert court.account_of(thief.address).credited == ETHER
    return court, thief


def test_withdrawing_again_while_being_paid_gets_nothing(attacked: tuple[Court, Contract]) -> None:
    court, thief = attacked
    thief.transact("steal", True, sender=court.accounts[4]).or_raise()
    assert thief.call("attempts") == 1
    assert thief.call("successes") == 0
    assert court.balance(thief.address) == ETHER
    assert (court.account_of(thief.address).credited, court.books().paid_out) == (0, ETHER)
    assert court.balance(court.game.address) == court.books().locked + court.books().burned


def test_a_refused_payment_leaves_the_credit(attacked: tuple[Court, Contract]) -> None:
    court, thief = attacked
    receipt = thief.transact("steal", False, sender=court.accounts[4])
    assert receipt.error == 233  # PAYMENT_FAILED
    assert (court.account_of(thief.address).credited, court.books().paid_out) == (ETHER, 0)


def test_credit_can_be_sent_elsewhere() -> None:
    dispute = Dispute(new_court()).asked()
    court, requester = dispute.court, dispute.requester
    court.set_time(court.now + 1001)
    court.reclaim(dispute.request_id, sender=court.accounts[9])
    before, mark, to = court.balance(court.accounts[8]), len(court.events()), court.accounts[8]
    court.withdraw_to(to, sender=requester)
    assert court.balance(to) - before == FEE
    assert money(court, mark) == [Withdrawn(requester, to, FEE)]
    account = court.account_of(requester)
    assert (account.requests, account.credited) == (1, 0)  # the nonce stays


def test_money_sent_without_an_act_is_refused() -> None:
    court = new_court()
    outcome = court.chain.node.transact(bytes.fromhex(court.accounts[0][2:]), bytes.fromhex(court.game.address[2:]), b"", 1, court.now)
    assert not outcome.success
