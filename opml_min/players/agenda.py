"""The order in which a player does things: answers whose clock runs, then money that comes in, then new risk.

A task is decided only when its turn comes, so what is never reached is never computed. If deciding it fails, the others are decided all the
same; from then on it comes last among its kind. A move that the chain refuses stops nothing either: the driver goes on with the next one,
and at the next head everything is decided anew.
"""

from collections.abc import Callable, Iterable, Iterator

from attrs import define, field, frozen

from opml_min.players.chain import Decision, Move, Wait

MOST_TROUBLES = 1_024


@frozen
class Task:
    """Something to decide, about one request, claim or node."""

    subject: bytes
    decide: Callable[[], Decision]


Group = Callable[[], Iterable[Task]]
"""Tasks of one kind, the most urgent first; made when everything more important is decided."""


@define
class Agenda:
    """Decides tasks in their order, each isolated from the others."""

    troubles: dict[bytes, Exception] = field(factory=dict)  # the tasks that failed last time, and why

    def decisions(self, groups: Iterable[Group]) -> Iterator[Move | Wait]:
        """What to do, in the order in which to try it."""
        for group in groups:
            later = []
            for task in self._tasks(group):
                if task.subject in self.troubles:
                    later.append(task)
                else:
                    yield from self._decide(task)
            for task in later:
                yield from self._decide(task)

    def _tasks(self, group: Group) -> Iterator[Task]:
        """The tasks of a group, up to the first that cannot even be named."""
        try:
            yield from group()
        except Exception as trouble:
            self._note(b"", trouble)

    def _decide(self, task: Task) -> Iterator[Move | Wait]:
        self.troubles.pop(task.subject, None)
        try:
            decision = task.decide()
        except Exception as trouble:  # whatever one request does to its computation, the others go on
            self._note(task.subject, trouble)
            return
        if decision is not None:
            yield decision

    def _note(self, subject: bytes, trouble: Exception) -> None:
        if len(self.troubles) < MOST_TROUBLES:
            self.troubles[subject] = trouble


def first_of(decisions: Iterable[Move | Wait]) -> Decision:
    """The first move among decisions; if there is none, the shortest wait."""
    shortest: Wait | None = None
    for decision in decisions:
        if isinstance(decision, Move):
            return decision
        if shortest is None or decision.until < shortest.until:
            shortest = decision
    return shortest
