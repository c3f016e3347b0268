"""Clocks: at each instant exactly one of a move and the timeout is legal, and nobody's time is spent by the other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.dispute.clocks import Clock, Side
from opml_spec.dispute.game import GameStatus, Post, Timeout
from opml_spec.errors import GameOver, NotOutOfTime, OutOfTime, SpecError
from spec_dispute import (
    CHALLENGER,
    PARAMETERS,
    SERVER,
    START_TIME,
    STRANGER,
    TEXT,
    Duel,
    account,
    call_timeout,
    duel,
    memory_of,
    wrong_register,
)

TRUTH = account(memory_of(*TEXT), 3)
LYING = account(memory_of(*TEXT), 3, wrong_register, (1, 6))
seconds = st.integers(0, 10_000)
BUDGET = {Side.SERVER: PARAMETERS.server_seconds, Side.CHALLENGER: PARAMETERS.challenger_seconds}


def fresh() -> Duel:
    return duel(LYING, truth=TRUTH)


@given(seconds, seconds, seconds, seconds, st.sampled_from(Side))
def test_spending(server: int, challenger: int, start: int, wait: int, side: Side) -> None:
    clock, now = Clock(server, challenger, start), start + wait
    assert clock.in_time(side, now) == (wait <= clock.left(side))
    after = clock.spend(side, now)
    assert after.turn_start == now
    assert after.left(side) == clock.left(side) - wait
    for other in set(Side) - {side}:
        assert after.left(other) == clock.left(other)


@given(st.lists(st.sampled_from([0, 1, 7, 199, 400]), max_size=16), st.data())
def test_exactly_one_of_move_and_timeout_is_legal(waits: list[int], data: st.DataObject) -> None:
    """At any time in any position; and a timeout never expires."""
    match = fresh()
    table = match.table
    for wait in waits:
        table.now += wait
        if not table.game.clock.in_time(table.game.on_turn, table.now):
            break
        match.move()
        if table.game.status is not GameStatus.OPEN:
            return
    side = table.game.on_turn
    border = table.game.clock.turn_start + table.game.clock.left(side)
    table.now = max(table.now, border + data.draw(st.sampled_from([-1, 0, 1, 2, 10**9])))
    in_time, before = table.now <= border, table.court
    legal = []
    for name, attempt, refusal in (("move", match.move, OutOfTime), ("timeout", lambda: table.play(Timeout(), STRANGER), NotOutOfTime)):
        table.court = before
        try:
            attempt()
            legal.append(name)
        except refusal:
            assert table.court == before
    assert legal == ["move" if in_time else "timeout"]


def test_a_timeout_changes_no_clock() -> None:
    match = fresh()
    match.move()
    clock = match.table.game.clock
    call_timeout(match.table, BUDGET[Side.CHALLENGER] + 1)
    assert match.table.game.clock == clock


@pytest.mark.parametrize("loser", Side)
def test_who_runs_out_of_time_loses_whatever_is_true(loser: Side) -> None:
    match = fresh()
    if loser is Side.CHALLENGER:
        match.move()
    match.table.now += BUDGET[loser]
    for sender in (SERVER, CHALLENGER, STRANGER):
        with pytest.raises(NotOutOfTime):
            match.table.play(Timeout(), sender)
    call_timeout(match.table, 1)
    assert match.table.game.status is (GameStatus.CHALLENGER_WON if loser is Side.SERVER else GameStatus.SERVER_WON)
    with pytest.raises(GameOver):
        call_timeout(match.table, 1)


def test_the_last_second_counts_and_time_adds_up_over_moves() -> None:
    match = fresh()
    table = match.table
    for wait in (1, 2, 0, 5, 8):  # post, choose, open, post, choose
        table.now += wait
        match.move()
    assert table.game.clock == Clock(2_000 - (1 + 0 + 5), 1_500 - (2 + 8), START_TIME + 16)
    table.now += table.game.clock.server_seconds
    match.move()
    assert table.game.clock.server_seconds == 0
    table.now += 3
    match.move()
    assert table.game.on_turn is Side.SERVER
    with pytest.raises(NotOutOfTime):
        table.play(Timeout(), STRANGER)
    match.move()  # in the same second, with nothing left
    assert table.game.status is not GameStatus.OPEN


def test_a_game_knows_no_clock_but_its_own() -> None:
    """Another game's moves and its end spend nothing here."""
    match = fresh()
    first = match.table.game_id
    clock = match.table.game.clock
    match.table.challenged(STRANGER)
    other = Duel(match.table, LYING, LYING)
    other.play(lambda game: game.turn == 6)
    match.table.now += 100
    call_timeout(match.table, 2_000)
    assert match.table.court.games[first].clock == clock


def test_opening_and_arbitration_run_on_the_servers_clock() -> None:
    """Also when somebody else brings the witness."""
    match = fresh()
    match.play(lambda game: game.segment.length == 1)
    match.table.now += 11
    match.move()
    assert match.table.game.clock.server_seconds == 2_000 - 11
    match.play(lambda game: game.segment.length == 1)
    verdict = match.next_move()
    match.table.now += 2_000 - 11
    before = match.table.court
    match.table.play(verdict, STRANGER)
    assert match.table.game.clock.server_seconds == 0
    match.table.court = before
    match.table.now += 1
    with pytest.raises(OutOfTime):
        match.table.play(verdict, STRANGER)
    with pytest.raises(SpecError, match="217 OUT_OF_TIME"):
        match.table.play(Post(()), SERVER)
