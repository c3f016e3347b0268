"""The events of a chain, read once each, and the index made from them.

Each time, the last events are read again. If they are not those that were read before, the chain was reorganised: what is gone is taken
back, and what came in its place is read. If storage contradicts the index, everything is read anew.
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any

from opml_min.players.chain import Chain
from opml_min.players.index import Index
from opml_min.players.journal import DEPTH

OVERLAP = 256  # events that are read again
DOUBT_SECONDS = 120  # between two times of reading everything anew


class Ledger:
    """An index that follows a chain."""

    def __init__(self, chain: Chain, is_mine: Any) -> None:
        self._chain, self._is_mine = chain, is_mine
        self._doubted_at = -DOUBT_SECONDS
        self._reset()

    def _reset(self) -> None:
        self.index = Index(self._is_mine)
        self._count = 0  # events read
        self._last: deque[Any] = deque(maxlen=DEPTH)

    def follow(self) -> Index:
        """Reads what is new."""
        overlap = min(OVERLAP, len(self._last))
        while True:
            since = self._count - overlap
            events = self._chain.events(since)
            known = list(islice(self._last, len(self._last) - overlap, None))
            kept = _equal(known, events)
            if kept or not overlap:
                break
            if overlap == len(self._last):  # all that can be taken back is gone
                self._reset()
            overlap = min(2 * overlap, len(self._last))
        for _ in range(overlap - kept):
            self._last.pop()
            self._count -= 1
            self.index.undo()
        for event in events[kept:]:
            self.index.apply(event)
            self._last.append(event)
            self._count += 1
        return self.index

    def doubt(self) -> None:
        """Reads everything anew, because storage contradicts what was read; now and then, if that does not help."""
        if self._chain.now >= self._doubted_at + DOUBT_SECONDS:
            self._doubted_at = self._chain.now
            self._reset()
            self.follow()


def _equal(known: list[Any], events: Sequence[Any]) -> int:
    """How many of the known events are still there, counted from the first."""
    if list(events[: len(known)]) == known:
        return len(known)
    return next(at for at, event in enumerate(known) if at >= len(events) or events[at] != event)
