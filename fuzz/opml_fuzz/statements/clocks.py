"""Statements about clocks: at each instant exactly one of move and timeout is legal, and neither side spends the other's time.

This excludes a known defect of such clocks: the overtime of one side is subtracted from the other's time.

*Source*: spec §5.3.
"""

from typing import Any

from opml_spec.dispute.clocks import Clock
from opml_spec.dispute.game import Choose, Game, GameStatus, Post, Timeout, apply
from opml_spec.dispute.money import Parameters
from opml_spec.dispute.narrowing import Phase, Segment
from opml_spec.errors import NotOutOfTime, OutOfTime

from opml_fuzz.statements.statement import Integer, Statement

SERVER, CHALLENGER = b"s" * 20, b"c" * 20
PARTS = 4
HASHES = tuple(bytes([i]) * 32 for i in range(PARTS + 1))
RULES = Parameters(PARTS, 1, 2, *16 * (1,))  # only k matters
TURNS = (("server",), ("challenger",))
CLOCK = {"server_seconds": Integer(0), "challenger_seconds": Integer(0), "turn_start": Integer(0), "now": Integer(0)}


def game(turn: str, clock: Clock) -> Game:
    """Makes a game in the middle of narrowing, at that side's turn."""
    segment = Segment(Phase.STAGES, 0, 100, HASHES[0], HASHES[-1])
    posted = HASHES[1:-1] if turn == "challenger" else ()
    return Game(b"g" * 32, b"c" * 32, SERVER, CHALLENGER, b"m" * 32, RULES, segment, clock, posted)


def after_move(turn: str, clock: Clock, now: Any) -> Game | None:
    """Plays a valid move of the side whose turn it is; None if its time is up."""
    before = game(turn, clock)
    move, sender = (Choose(0), CHALLENGER) if turn == "challenger" else (Post(HASHES[1:-1]), SERVER)
    try:
        return apply(before, move, sender, before.position, now)
    except OutOfTime:
        return None


def after_timeout(turn: str, clock: Clock, now: Any) -> Game | None:
    """Plays the timeout; None if it is too early."""
    before = game(turn, clock)
    try:
        return apply(before, Timeout(), b"x" * 20, before.position, now)
    except NotOutOfTime:
        return None


def exactly_one(turn: str, server: Any, challenger: Any, turn_start: Any, now: Any) -> bool:
    clock = Clock(server, challenger, turn_start)
    return (after_move(turn, clock, now) is None) != (after_timeout(turn, clock, now) is None)


def own_time(turn: str, server: Any, challenger: Any, turn_start: Any, now: Any) -> Any:
    """A move costs the mover the time it used, at most what it had, and the other side nothing; then that side's turn begins."""
    after = after_move(turn, Clock(server, challenger, turn_start), now)
    if after is None:
        return True
    clock = after.clock
    own, other = (clock.server_seconds, clock.challenger_seconds)[:: 1 if turn == "server" else -1]
    own_before, other_before = (server, challenger)[:: 1 if turn == "server" else -1]
    return (other == other_before) & (own == own_before - (now - turn_start)) & (own >= 0) & (clock.turn_start == now)


def timeout_decides(turn: str, server: Any, challenger: Any, turn_start: Any, now: Any) -> bool:
    """A timeout decides against the side whose turn it is, and once it is legal it stays legal."""
    clock = Clock(server, challenger, turn_start)
    after = after_timeout(turn, clock, now)
    lost = GameStatus.CHALLENGER_WON if turn == "server" else GameStatus.SERVER_WON
    return after is None or (after.status is lost and after_timeout(turn, clock, now + 1) is not None)


def time_goes_on(turn: str, server: Any, challenger: Any, turn_start: Any, now: Any) -> Any:
    return now >= turn_start


STATEMENTS = (
    Statement("clocks.exactly_one", "at each instant exactly one of move and timeout is legal", CLOCK, exactly_one, time_goes_on, TURNS),
    Statement("clocks.own_time", "a move costs the mover the time it used, and the other side none", CLOCK, own_time, time_goes_on, TURNS),
    Statement("clocks.timeout", "the side on turn loses by a timeout, which does not expire", CLOCK, timeout_decides, time_goes_on, TURNS),
)
