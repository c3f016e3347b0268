"""Going back to any earlier contents of the memory.

A snapshot holds what was written since the one before it, so taking one costs what was written in between. The contents of a page at a
snapshot are in the nearest snapshot, going back, that holds the page; if none does, the page had not been written and is all
zero. What was hashed at the time need not be hashed again: the snapshot holds the pages' roots, too.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from attrs import define

from opml_min.machine.memory.page_set import Indices, union


@define(eq=False)
class MemorySnapshot:
    """The writable quarters at one point of a run, as a difference to `before`."""

    before: "MemorySnapshot | None"
    pages: Indices  # ascending
    contents: npt.NDArray[np.uint8]  # (pages, 1024)
    roots: npt.NDArray[np.uint8] | None = None  # (pages, 32), once they are known


def line(snapshot: MemorySnapshot | None) -> list[MemorySnapshot]:
    """The snapshot and all before it, latest first."""
    result = []
    while snapshot is not None:
        result.append(snapshot)
        snapshot = snapshot.before
    return result


def changed_between(a: MemorySnapshot | None, b: MemorySnapshot) -> Indices:
    """All pages that can differ between two snapshots: those held by a snapshot that lies before one of them but not before both."""
    return union([snapshot.pages for snapshot in set(line(a)) ^ set(line(b))])


def holders(snapshot: MemorySnapshot, pages: Indices) -> Iterator[tuple[MemorySnapshot | None, Indices, Indices]]:
    """Finds where the contents of pages at a snapshot are kept. Yields a holder, the pages that it holds, and their places in it.

    The holder None has the pages that had never been written.
    """
    for holder in line(snapshot):
        if len(pages) and len(holder.pages):
            places = np.minimum(np.searchsorted(holder.pages, pages), len(holder.pages) - 1)
            found = holder.pages[places] == pages
            yield holder, pages[found], places[found]
            pages = pages[~found]
    yield None, pages, np.zeros_like(pages)
