"""Sets of block numbers, as ascending arrays."""

from collections.abc import Sequence

import numpy as np

from opml_min.machine.memory.keccak import Indices


def union(pieces: Sequence[Indices]) -> Indices:
    """All members of ascending pieces, ascending and distinct."""
    filled = [piece for piece in pieces if len(piece)]
    if len(filled) == 1:
        return filled[0]
    together = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *filled]), kind="stable")  # which is quick on ascending pieces
    keep = np.ones(len(together), dtype=np.bool_)
    np.not_equal(together[1:], together[:-1], out=keep[1:])
    return together[keep]


class BlockSet:
    """A growing set of block numbers that is cheap to add to."""

    def __init__(self) -> None:
        self._pieces: list[Indices] = []
        self._compact_at = 1 << 16

    def add(self, blocks: Indices) -> None:
        """`blocks` are ascending and distinct."""
        if len(blocks):
            self._pieces.append(blocks)
        if sum(map(len, self._pieces)) > self._compact_at or len(self._pieces) > 64:
            self._compact_at = 2 * len(self.blocks()) + (1 << 16)

    def __bool__(self) -> bool:
        return any(len(piece) for piece in self._pieces)

    def blocks(self) -> Indices:
        """The members, ascending."""
        if len(self._pieces) != 1:
            self._pieces = [union(self._pieces)]
        return self._pieces[0]

    def take(self) -> Indices:
        """The members, ascending; the set is empty afterwards."""
        blocks = self.blocks()
        self._pieces = []
        return blocks
