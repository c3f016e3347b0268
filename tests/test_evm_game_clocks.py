"""Clocks: at each instant exactly one of the answer and the timeout is legal, and nobody's time runs while it waits for the other.

The expected times are computed here from the page's formulas, from what was stored before the act.
"""

import random

import pytest
from attrs import evolve
from evm_dispute import STAGE_MICROSECONDS, Dispute, new_court, refusal, run_hash
from evm_many_nodes import busy, concede, due_of, junk
from hypothesis import given, settings
from hypothesis import strategies as st

from evm_arbiter.objects import ClaimStatus, NodeState

FIXED = new_court().parameters
E = FIXED.effort


def to_post() -> Dispute:
    return Dispute(new_court()).started()


@pytest.mark.parametrize("answer", ["post", "open", "arbitrate"])
@pytest.mark.parametrize("late", [0, 1000])
@pytest.mark.parametrize("lost", [False, True])
def test_exactly_one_of_answer_and_timeout_is_legal(answer: str, late: int, lost: bool) -> None:
    """Also below a node that was answered late, where less is left; and for a server that lost a claim and was asked much."""
    court = new_court()
    if lost:
        concede(junk(court, 2).narrow())
        busy(court)
    dispute = Dispute(court, stage_count=100, stage=77).started()
    court.set_time(due_of(dispute) + late)
    dispute.post()
    busy(court)
    dispute.choose()
    if answer != "post":
        dispute.narrow()
    if answer == "arbitrate":
        dispute.open().narrow()
    node, due, before = court.node_of(dispute.node_id), due_of(dispute), court.snapshot()
    assert (due < node.due) == (due == node.since + E) == lost
    left = node.server_left
    assert left == FIXED.server_time - late
    for waited in (0, 1, left // 2, left - 1, left, left + 1, 10 * left):
        late_for = "NOT_OUT_OF_TIME" if waited <= left else None, None if waited <= left else "OUT_OF_TIME"
        for move, error in zip((dispute.timeout, getattr(dispute, answer)), late_for, strict=True):
            court.restore(before)
            court.set_time(due + waited)
            assert refusal(move) == error


@pytest.mark.parametrize("early", [True, False])
def test_the_challengers_time_runs_from_the_later_of_the_answer_and_the_end_of_the_window(early: bool) -> None:
    dispute = Dispute(new_court(), stage_count=100, stage=77).asked().claimed()
    court, claim = dispute.court, dispute.court.claim_of(dispute.claim_id)
    if not early:
        court.set_time(claim.closes_at - 1)
    dispute.challenged()
    court.set_time(court.now + 500)
    dispute.post()
    start = max(court.now, claim.closes_at)
    assert court.node_of(dispute.node_id).since == court.now
    assert court.claim_of(dispute.claim_id).settles_at == start + FIXED.challenger_time
    before = court.snapshot()
    for used in (None, 0, 1, FIXED.challenger_time - 1, FIXED.challenger_time, FIXED.challenger_time + 1):
        court.restore(before)
        if used is not None:
            court.set_time(start + used)
        if used == FIXED.challenger_time + 1:
            assert refusal(dispute.choose) == "OUT_OF_TIME"
            continue
        child = evolve(dispute)
        child.choose()
        assert court.node_of(child.node_id).challengers_left == FIXED.challenger_time - (used or 0)
        assert court.node_of(child.node_id).server_left == court.node_of(dispute.node_id).server_left


@given(st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_both_budgets_are_those_of_a_whole_path(seed: int) -> None:
    """Down to zero, which is still enough for an answer by the due time and a choice in the same block."""
    chance = random.Random(seed)
    dispute = Dispute(new_court(), stage_count=100, stage=77).started()
    court, closes_at = dispute.court, dispute.court.claim_of(dispute.claim_id).closes_at
    server_left, challengers_left = FIXED.server_time, FIXED.challenger_time
    while (node := court.node_of(dispute.node_id)).state is not NodeState.ANSWERED:
        assert (node.server_left, node.challengers_left) == (server_left, challengers_left)
        if node.state is NodeState.POSTED:
            start = max(node.since, closes_at)
            used = chance.choice((0, min(1, challengers_left), chance.randrange(challengers_left // 2 + 1), challengers_left))
            court.set_time(max(court.now, start + used if chance.randrange(3) else court.now))
            challengers_left -= max(0, court.now - start)
            due = court.account_of(dispute.server).due
            dispute.choose()
            assert court.node_of(dispute.node_id).due == max(court.now, due) + E
        else:
            late = chance.choice((0, min(1, server_left), chance.randrange(server_left // 2 + 1), server_left))
            court.set_time(max(court.now, node.due + late if chance.randrange(3) else court.now))
            settles_at, opens = court.claim_of(dispute.claim_id).settles_at, dispute.last()[0].phase == 1
            dispute.answer()
            server_left -= max(0, court.now - node.due)
            after = court.node_of(dispute.node_id)
            follows = max(court.now, closes_at) + challengers_left if after.state is NodeState.POSTED else court.now
            assert court.claim_of(dispute.claim_id).settles_at == max(settles_at, follows)
            assert opens or after.state in (NodeState.POSTED, NodeState.ANSWERED)
            assert after.since == court.now
            assert after.due == node.due


def test_the_server_has_time_for_all_that_it_is_asked() -> None:
    """Over all its claims: each node is due E after the one before, and nothing moves a due time later."""
    court = new_court()
    first, second = Dispute(court).asked().claimed(), Dispute(court).asked().claimed()
    assert first.request_id != second.request_id
    start = court.now
    first.challenged()
    second.challenged()
    assert [court.node_of(dispute.node_id).due - start for dispute in (first, second)] == [E, 2 * E]
    first.post()
    root = evolve(first)
    dues = []
    for part in range(4):
        child = evolve(root)
        child.choose(part)
        dues.append(court.node_of(child.node_id).due - start)
    assert dues == [3 * E, 4 * E, 5 * E, 6 * E]
    assert court.account_of(first.server).due == start + 6 * E
    assert court.node_of(second.node_id).due == start + 2 * E
    court.set_time(start + 10 * E)
    other = evolve(second)
    other.claimed(court.accounts[6])
    other.challenged()
    assert court.node_of(other.node_id).due == court.now + E  # another server's line
    second.post()
    assert court.node_of(second.node_id).server_left == FIXED.server_time - 8 * E
    second.choose()
    assert court.node_of(second.node_id).due == court.now + E  # the line was idle


def test_a_posted_node_is_its_openers_at_first() -> None:
    dispute = to_post()
    court, other = dispute.court, dispute.court.accounts[7]
    court.set_time(court.now + 10)
    dispute.post()
    before = court.snapshot()
    for waited in (0, 1, FIXED.priority - 1, FIXED.priority):
        court.restore(before)
        court.set_time(court.now + waited)
        assert refusal(lambda: evolve(dispute).choose(0, sender=other)) == ("NOT_THE_OPENER" if waited < FIXED.priority else None)
        assert refusal(lambda: evolve(dispute).choose(1)) is None


def failed_claim() -> Dispute:
    return Dispute(new_court(), last_run_hash=run_hash(b"\7" * 32, 1)).asked().claimed()


def test_window() -> None:
    """The last second to challenge is the one before the first to finalise."""
    dispute = failed_claim()
    court, end = dispute.court, dispute.court.claim_of(dispute.claim_id).closes_at
    work = -(-dispute.stage_count * STAGE_MICROSECONDS // 10**6)
    assert end == court.now + work + FIXED.window

    def finalise() -> None:
        court.finalise(dispute.claim_id, b"\7" * 32, 1, b"", b"", sender=dispute.server)

    court.set_time(end - 1)
    before = court.snapshot()
    assert refusal(finalise) == "WINDOW_OPEN"
    assert refusal(dispute.challenged) is None
    court.restore(before)
    court.set_time(end)
    assert refusal(dispute.challenged) == "WINDOW_CLOSED"
    assert refusal(finalise) is None


def test_no_claim_is_final_in_the_block_of_its_last_answer() -> None:
    """An answer after which nothing can follow still settles only when its block is over; so does `expire`."""
    later = Dispute(new_court(server_time=31_000_000), last_run_hash=run_hash(b"\7" * 32, 1)).started().narrow().open().narrow()
    court, claim = later.court, later.court.claim_of(later.claim_id)
    court.set_time(claim.settles_at + FIXED.grace + 100)
    later.arbitrate()
    assert court.claim_of(later.claim_id).settles_at == court.now
    assert refusal(lambda: court.finalise(later.claim_id, b"\7" * 32, 1, b"", b"", sender=later.server)) == "UNSETTLED"
    assert refusal(lambda: court.expire(later.claim_id, sender=later.server)) == "NOT_EXPIRED"
    court.set_time(court.now + 1)
    assert refusal(lambda: court.finalise(later.claim_id, b"\7" * 32, 1, b"", b"", sender=later.server)) is None


def test_the_line_of_a_model() -> None:
    """A request joins once, at its first claim; who claims a second time waits no longer, and other models have other lines."""
    court = new_court()
    slow = 10**9  # microseconds a stage
    model_id = court.register(b"\1" * 32, b"\2" * 32, slow, sender=court.accounts[0])
    other_id = court.register(b"\1" * 32, b"\2" * 32, slow + 1, sender=court.accounts[0])
    work, price, bond = 3000, 3000 * FIXED.second_price, FIXED.min_bond
    asked = [court.request(model_id, 3, b"", court.now + 9000, bond, "0x" + 40 * "0", sender=court.accounts[0], value=2 * price)
             for _ in range(3)]  # fmt: skip
    other = court.request(other_id, 3, b"", court.now + 9000, bond, "0x" + 40 * "0", sender=court.accounts[0], value=2 * price)
    start, forever, server = court.now, 2**64 - 1, court.accounts[1]
    assert court.model_of(model_id).busy_until == 0
    first = court.claim(asked[1], b"\1" * 32, forever, sender=server, value=bond + price)
    second = court.claim(asked[0], b"\1" * 32, forever, sender=server, value=bond + price)
    assert [court.claim_of(claim).closes_at - start - FIXED.window for claim in (first, second)] == [work, 2 * work]
    assert (court.model_of(model_id).busy_until, court.model_of(other_id).busy_until) == (start + 2 * work, 0)
    latest = start + 3 * work + FIXED.window - 1
    assert refusal(lambda: court.claim(asked[2], b"\1" * 32, latest, sender=server, value=bond + price)) == "TOO_LATE"
    court.set_time(start + work + 5)
    again = court.claim(asked[0], b"\2" * 32, forever, sender=server, value=bond)
    assert court.claim_of(again).closes_at == start + 2 * work + FIXED.window
    again = court.claim(asked[1], b"\2" * 32, forever, sender=server, value=bond)
    assert court.claim_of(again).closes_at == court.now + FIXED.window
    elsewhere = court.claim(other, b"\1" * 32, forever, sender=server, value=bond + price + FIXED.second_price)
    assert court.claim_of(elsewhere).closes_at == court.now + work + 1 + FIXED.window  # a millionth of a second a stage more
    requests = [court.request_of(request) for request in (*asked, other)]
    assert [request.checked_at for request in requests] == [start + 2 * work, start + work, 0, court.now + work + 1]
    assert [request.fee_left for request in requests] == 4 * [2 * price], "whoever claims first pays for the line"
    assert court.books().burned == 3 * price + FIXED.second_price
    assert [request.claims for request in requests] == [2, 2, 0, 1]
    court.register(b"\1" * 32, b"\2" * 32, slow, sender=server)
    assert court.model_of(model_id).busy_until == start + 2 * work


def test_a_timeout_changes_no_clock() -> None:
    dispute = to_post().narrow()
    court, before = dispute.court, dispute.court.node_of(dispute.node_id)
    court.set_time(court.now + 100 * FIXED.server_time)
    dispute.timeout()
    assert court.node_of(dispute.node_id) == before
    assert court.claim_of(dispute.claim_id).status is ClaimStatus.REJECTED
