"""Sets of page numbers, as ascending arrays."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from opml_min.memory_map import PAGE_BYTES, QUARTER_BYTES, Quarter

QUARTER_PAGES = QUARTER_BYTES // PAGE_BYTES
QUARTER_EDGES = np.arange(len(Quarter) + 1) * QUARTER_PAGES

Indices = npt.NDArray[np.int64]


def union(pieces: Sequence[Indices]) -> Indices:
    """All members of ascending pieces, ascending and distinct."""
    filled = [piece for piece in pieces if len(piece)]
    if len(filled) == 1:
        return filled[0]
    together = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *filled]), kind="stable")  # a stable sort is quick on ascending pieces
    keep = np.ones(len(together), dtype=np.bool_)
    np.not_equal(together[1:], together[:-1], out=keep[1:])
    return together[keep]


class PageSet:
    """A growing set of page numbers that is cheap to add to."""

    def __init__(self) -> None:
        self._pieces: list[Indices] = []
        self._compact_at = 1 << 16

    def add(self, pages: Indices) -> None:
        """Adds pages, which are ascending and distinct."""
        if len(pages):
            self._pieces.append(pages)
        if sum(map(len, self._pieces)) > self._compact_at or len(self._pieces) > 64:
            self._compact_at = 2 * len(self.pages()) + (1 << 16)

    def __bool__(self) -> bool:
        return any(len(piece) for piece in self._pieces)

    def pages(self) -> Indices:
        """The members, ascending."""
        if len(self._pieces) != 1:
            self._pieces = [union(self._pieces)]
        return self._pieces[0]

    def take(self) -> Indices:
        """Empties the set and gives what its members were, ascending."""
        pages = self.pages()
        self._pieces = []
        return pages


class PagesByQuarter:
    """A page set for each quarter of the memory."""

    def __init__(self) -> None:
        self._sets = [PageSet() for _ in Quarter]

    def __getitem__(self, quarter: int) -> PageSet:
        return self._sets[quarter]

    def add(self, pages: Indices) -> None:
        """Adds each page to its quarter's set; `pages` are ascending and distinct."""
        edges = np.searchsorted(pages, QUARTER_EDGES).tolist()
        for pages_of_quarter, (first, end) in zip(self._sets, pairwise(edges), strict=True):
            if first < end:
                pages_of_quarter.add(pages[first:end])

    def take(self, quarters: Sequence[int]) -> Indices:
        """Empties the sets of some quarters, named in ascending order, and gives what their members were, ascending."""
        return np.concatenate([self._sets[quarter].take() for quarter in quarters])
