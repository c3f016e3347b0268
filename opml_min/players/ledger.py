"""The events of a chain, read once each, and the index made from them.

Each time, the last events are read again. If they are not those that were read before, the chain was reorganised: what is gone is taken
back, and what came in its place is read. If storage contradicts the index, everything is read anew.
"""

from collections import deque
from typing import Any

from opml_min.players.chain import Chain
from opml_min.players.index import Index
from opml_min.players.journal import DEPTH

OVERLAP = 256  # events that are read again


class Ledger:
    """An index that follows a chain."""

    def __init__(self, chain: Chain, is_mine: Any) -> None:
        self._chain, self._is_mine = chain, is_mine
        self._doubted: tuple[int, int] | None = None
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
            known = [self._last[at] for at in range(len(self._last) - overlap, len(self._last))]
            kept = next((at for at, event in enumerate(known) if at >= len(events) or events[at] != event), overlap)
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
        """Reads everything anew, because storage contradicts what was read; once for as long as nothing changes."""
        state = (self._chain.now, self._count)
        if self._doubted != state:
            self._doubted = state
            self._reset()
            self.follow()
