"""Going back to any earlier contents of the memory.

A snapshot holds what was written since the one before it, so taking one costs what was touched in between. The contents of a block at a
snapshot are in the nearest snapshot, going back, that holds the block; if none does, nobody had written the block yet: zeros.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from opml_min.machine.keccak import BLOCK_BYTES, Indices


@dataclass(frozen=True, eq=False)
class MemorySnapshot:
    """The writable quarters at one point of a run, as a difference to `before`."""

    before: "MemorySnapshot | None"
    blocks: Indices  # ascending
    contents: npt.NDArray[np.uint8]  # (blocks, 1024)


def line(snapshot: MemorySnapshot | None) -> list[MemorySnapshot]:
    """The snapshot and all before it, latest first."""
    result = []
    while snapshot is not None:
        result.append(snapshot)
        snapshot = snapshot.before
    return result


def union(pieces: Sequence[Indices]) -> Indices:
    """All members of ascending pieces, ascending and distinct."""
    together = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *pieces]), kind="stable")  # which is quick on ascending pieces
    keep = np.ones(len(together), dtype=np.bool_)
    np.not_equal(together[1:], together[:-1], out=keep[1:])
    return together[keep]


def changed_between(a: MemorySnapshot | None, b: MemorySnapshot) -> Indices:
    """All blocks that can differ between two snapshots: those of the snapshots that lie before one of them but not before both."""
    return union([snapshot.blocks for snapshot in set(line(a)) ^ set(line(b))])


def contents_at(snapshot: MemorySnapshot, blocks: Indices) -> npt.NDArray[np.uint8]:
    """(blocks, 1024): what the blocks held at the snapshot."""
    contents = np.zeros((len(blocks), BLOCK_BYTES), dtype=np.uint8)
    missing = np.arange(len(blocks))
    for earlier in line(snapshot):
        if len(missing) and len(earlier.blocks):
            place = np.minimum(np.searchsorted(earlier.blocks, blocks[missing]), len(earlier.blocks) - 1)
            found = earlier.blocks[place] == blocks[missing]
            contents[missing[found]] = earlier.contents[place[found]]
            missing = missing[~found]
    return contents
