"""Clocks: they run along paths, and waiting for one's turn costs no time.

The server has a due time at each node: the more nodes are opened against it, the later the next one is due. Only what it is late by is
taken off its time. The challengers' time runs from an answer, but never before the claim could be finalised anyway. At each instant
exactly one of "answer" and "timeout" is legal at an open node, and exactly one of "choose" and "too late" at a posted one.

*Source*: spec §5.5.
"""

from attrs import evolve, frozen


def next_due(server_due: int, now: int, effort: int) -> int:
    """When the server must have answered a node that is opened now: a server that is asked much gets time for each question."""
    return max(now, server_due) + effort


@frozen
class Clock:
    """The times of one node. What is left of either side's time is what was left on the path down to here."""

    due: int
    """When the server's answer is due."""
    server_left: int
    """How late it may be."""
    challengers_left: int
    """How long a choice here may take."""
    posted_at: int = 0
    """When the inner hashes were posted."""

    def server_in_time(self, now: int) -> bool:
        """Whether an answer is legal; if not, a timeout is."""
        return now <= self.due + self.server_left

    def answered(self, now: int) -> "Clock":
        """The clock after an answer that was in time."""
        return evolve(self, server_left=self.server_left - max(0, now - self.due))

    def posted(self, now: int) -> "Clock":
        """The clock after an answer with inner hashes."""
        return evolve(self.answered(now), posted_at=now)

    def start(self, closes_at: int) -> int:
        """When the challengers' time begins to run."""
        return max(self.posted_at, closes_at)

    def last_choice(self, closes_at: int) -> int:
        """The latest time at which a part may be chosen."""
        return self.start(closes_at) + self.challengers_left

    def child(self, due: int, closes_at: int, now: int) -> "Clock":
        """The clock of a node that is opened below this one."""
        return Clock(due, self.server_left, self.challengers_left - max(0, now - self.start(closes_at)))
