"""Clocks: each side has one time budget for the whole game, and it runs only while that side is on turn.

At each instant exactly one of "move" and "call the timeout" is legal. Nothing that one side does, or fails to do, takes time off the other.

*Source*: spec §5.3.
"""

from enum import Enum

from attrs import evolve, frozen


class Side(Enum):
    """The two players of a game."""

    SERVER = "server"
    CHALLENGER = "challenger"


@frozen
class Clock:
    """Seconds that each side has left, and when the side on turn came on turn."""

    server_seconds: int
    challenger_seconds: int
    turn_start: int

    def left(self, side: Side) -> int:
        return self.server_seconds if side is Side.SERVER else self.challenger_seconds

    def in_time(self, side: Side, now: int) -> bool:
        """Whether `side`, being on turn, may still move; if not, the timeout may be called."""
        return now - self.turn_start <= self.left(side)

    def spend(self, side: Side, now: int) -> "Clock":
        """The clock after a move of `side`, which was in time."""
        left = self.left(side) - (now - self.turn_start)
        if side is Side.SERVER:
            return evolve(self, server_seconds=left, turn_start=now)
        return evolve(self, challenger_seconds=left, turn_start=now)
