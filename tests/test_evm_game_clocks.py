"""Clocks: at each instant exactly one of the move and the timeout is legal, and nobody's time runs in the other's turn."""

import random
from collections.abc import Callable

import pytest
from evm_dispute import Dispute, new_court
from hypothesis import given, settings
from hypothesis import strategies as st

from evm_arbiter.court import Refused
from evm_arbiter.objects import ClaimStatus, GameStatus
from evm_arbiter.parameters import Parameters

SERVER_TIME, CHALLENGER_TIME = Parameters().server_seconds, Parameters().challenger_seconds


def refusal(move: Callable[[], object]) -> str | None:
    try:
        move()
    except Refused as refused:
        return refused.name
    return None


def to_post() -> Dispute:
    return Dispute(new_court()).started()


def to_choose() -> Dispute:
    dispute = to_post()
    dispute.post()
    return dispute


def to_open() -> Dispute:
    return to_post().narrow()


def to_arbitrate() -> Dispute:
    return to_open().open().narrow()


TURNS = [(to_post, "post"), (to_choose, "choose"), (to_open, "open"), (to_arbitrate, "arbitrate")]


@pytest.mark.parametrize(("prepare", "move"), TURNS, ids=[move for _, move in TURNS])
def test_exactly_one_of_move_and_timeout_is_legal(prepare: Callable[[], Dispute], move: str) -> None:
    dispute = prepare()
    court, game = dispute.court, dispute.court.game_of(dispute.game_id)
    left = game.challenger_left if move == "choose" else game.server_left
    before = court.snapshot()
    for waited in (0, 1, left // 2, left - 1, left, left + 1, left + 2, 10 * left):
        in_time = waited <= left
        court.restore(before)
        court.set_time(game.turn_start + waited)
        assert refusal(dispute.timeout) == ("NOT_OUT_OF_TIME" if in_time else None)
        court.restore(before)
        court.set_time(game.turn_start + waited)
        assert refusal(getattr(dispute, move)) == (None if in_time else "OUT_OF_TIME")


@given(st.integers(0, 2**32))
@settings(max_examples=5)
def test_a_move_costs_its_own_side_the_time_since_the_last_one(seed: int) -> None:
    """Down to zero, which is still enough for a move in the same block."""
    chance = random.Random(seed)
    dispute = to_post()
    court = dispute.court
    left = {"server": SERVER_TIME, "challenger": CHALLENGER_TIME}
    while court.game_status(dispute.game_id) is GameStatus.OPEN:
        segment, hashes = dispute.last()
        side = "challenger" if hashes else "server"
        waited = chance.choice((0, min(1, left[side]), chance.randrange(left[side] // 2 + 1), left[side]))
        court.set_time(court.now + waited)
        left[side] -= waited
        if segment.hi - segment.lo > 1:
            (dispute.choose if hashes else dispute.post)()
        elif segment.phase == 1:
            dispute.open()
        else:
            dispute.arbitrate()
        game = court.game_of(dispute.game_id)
        assert (game.server_left, game.challenger_left, game.turn_start) == (left["server"], left["challenger"], court.now)
    assert game.status is GameStatus.SERVER_WON


def test_a_timeout_never_expires_and_touches_no_clock() -> None:
    dispute = to_choose()
    court, before = dispute.court, dispute.court.game_of(dispute.game_id)
    court.set_time(court.now + 100 * CHALLENGER_TIME)
    dispute.timeout()
    after = court.game_of(dispute.game_id)
    assert (after.server_left, after.challenger_left, after.turn_start) == (before.server_left, before.challenger_left, before.turn_start)
    assert (after.status, court.claim_status(dispute.claim_id)) == (GameStatus.SERVER_WON, ClaimStatus.PENDING)


def test_the_side_on_turn_loses_by_timeout() -> None:
    dispute = to_post()
    dispute.court.set_time(dispute.court.now + SERVER_TIME + 1)
    dispute.timeout(sender=dispute.challenger)
    assert dispute.court.game_status(dispute.game_id) is GameStatus.CHALLENGER_WON
    assert dispute.court.claim_status(dispute.claim_id) is ClaimStatus.REJECTED


def test_games_have_clocks_of_their_own() -> None:
    """What one challenger does or fails to do takes no time off another one's game."""
    dispute = Dispute(new_court()).asked().claimed()
    court, games = dispute.court, {}
    for number in (2, 3):
        dispute.challenged(court.accounts[number])
        games[number] = dispute.game_id
    court.set_time(court.now + 1000)
    dispute.game_id = games[2]
    dispute.post()
    assert court.game_of(games[2]).server_left == SERVER_TIME - 1000
    assert court.game_of(games[3]).server_left == SERVER_TIME


def test_window() -> None:
    """The last second to challenge is the one before the first to finalise."""
    dispute = Dispute(new_court(), start_status=1).asked()
    dispute.claimed(dispute.boundary(1, dispute.stage + 1))
    court = dispute.court
    end = court.claim_of(dispute.claim_id).claimed_at + court.parameters.window_seconds

    def finalise() -> None:
        court.finalise(dispute.claim_id, dispute.start_carry, 1, b"", b"", sender=dispute.server)

    court.set_time(end - 1)
    before = court.snapshot()
    assert refusal(finalise) == "WINDOW_OPEN"
    assert refusal(dispute.challenged) is None
    court.restore(before)
    court.set_time(end)
    assert refusal(dispute.challenged) == "WINDOW_CLOSED"
    assert refusal(finalise) is None
