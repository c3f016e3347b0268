"""Clocks: they run along paths, and waiting for one's turn costs no time.

The server has a due time at each node: the more nodes are opened against it, the later the next one is due. Only what it is late by is
taken off its time. A server that lost a claim gets no more time for having been asked much, since it may have asked itself.
The challengers' time runs from an answer, but never before the claim could be finalised anyway. At each instant exactly one of "answer"
and "timeout" is legal at an open node, and exactly one of "choose" and "too late" at a posted one.

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
    since: int
    """When the node came into its state: it was opened, or answered."""

    def late(self, now: int, lost_at: int, effort: int) -> int:
        """By how much the server is late. `lost_at` is when the first of its claims was rejected, 0 if none was."""
        due = min(self.due, max(self.since, lost_at) + effort) if lost_at else self.due
        return max(0, now - due)

    def answered(self, now: int, late: int) -> "Clock":
        """The clock after an answer that was late by so much, and in time."""
        return evolve(self, server_left=self.server_left - late, since=now)

    def start(self, closes_at: int) -> int:
        """When the challengers' time begins to run, at a posted node."""
        return max(self.since, closes_at)

    def last_choice(self, closes_at: int) -> int:
        """The latest time at which a part may be chosen."""
        return self.start(closes_at) + self.challengers_left

    def child(self, due: int, closes_at: int, now: int) -> "Clock":
        """The clock of a node that is opened below this one."""
        return Clock(due, self.server_left, self.challengers_left - max(0, now - self.start(closes_at)), now)
