"""Going back to any earlier contents of the memory.

A snapshot holds what was written since the one before it, so taking one costs what was touched in between. The contents of a block at a
snapshot are in the nearest snapshot, going back, that holds the block; if none does, nobody had written the block yet: zeros. What was
hashed at the time need not be hashed again: the snapshot holds the blocks' roots, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from opml_min.machine.memory.keccak import Indices
from opml_min.machine.memory.page_set import union


@dataclass(eq=False)
class MemorySnapshot:
    """The writable quarters at one point of a run, as a difference to `before`."""

    before: "MemorySnapshot | None"
    blocks: Indices  # ascending
    contents: npt.NDArray[np.uint8]  # (blocks, 1024)
    roots: npt.NDArray[np.uint8] | None = None  # (blocks, 32), once they are known


def line(snapshot: MemorySnapshot | None) -> list[MemorySnapshot]:
    """The snapshot and all before it, latest first."""
    result = []
    while snapshot is not None:
        result.append(snapshot)
        snapshot = snapshot.before
    return result


def changed_between(a: MemorySnapshot | None, b: MemorySnapshot) -> Indices:
    """All blocks that can differ between two snapshots: those of the snapshots that lie before one of them but not before both."""
    return union([snapshot.blocks for snapshot in set(line(a)) ^ set(line(b))])


def holders(snapshot: MemorySnapshot, blocks: Indices) -> Iterator[tuple[MemorySnapshot | None, Indices, Indices]]:
    """Where the contents of the blocks at the snapshot are: who holds them, which of them, at which places.

    None holds those that nobody had written.
    """
    for holder in line(snapshot):
        if len(blocks) and len(holder.blocks):
            places = np.minimum(np.searchsorted(holder.blocks, blocks), len(holder.blocks) - 1)
            found = holder.blocks[places] == blocks
            yield holder, blocks[found], places[found]
            blocks = blocks[~found]
    yield None, blocks, np.zeros_like(blocks)
