"""The Merkle tree over the memory, kept up to date block by block.

Nodes of height 5 (roots of 1 KiB blocks) and up to height 33 (the quarters) are kept in one array a height, addressed directly: node i
of height h sits at place i. The arrays are reserved address space, so they take memory only where something was written, and
32 zero bytes there say "nobody wrote below": the node is `zero[h]`. Below height 5 nothing is kept; a block is 31 hashes, about 2 µs.
"""

import numpy as np
import numpy.typing as npt

from opml_min.machine.memory.address_space import reserve_table
from opml_min.machine.memory.keccak import BLOCK_HEIGHT, Indices, hash_blocks, hash_nodes, keccak256
from opml_min.machine.memory.page_set import union

HEIGHT = 35
QUARTER_HEIGHT = 33
LOOKED_AT_AT_ONCE = 1 << 11  # blocks (= 2 MiB), which stay in the cache

Nodes = npt.NDArray[np.uint8]  # (nodes, 32)


def zero_subtrees() -> list[bytes]:
    """`zero[0]` = 32 zero bytes, `zero[j + 1] = H(zero[j], zero[j])`, up to the whole memory."""
    zero = [bytes(32)]
    for _ in range(HEIGHT):
        zero.append(keccak256(zero[-1] + zero[-1]))
    return zero


ZERO = zero_subtrees()


def parents_of(indices: Indices) -> Indices:
    """The distinct parents of ascending indices, ascending."""
    parents = indices >> 1
    keep = np.empty(len(parents), dtype=np.bool_)
    keep[:1] = True
    np.not_equal(parents[1:], parents[:-1], out=keep[1:])
    return parents[keep]


def roots_of(contents: npt.NDArray[np.uint8]) -> Nodes:
    """(blocks, 32): the roots of blocks that are not in the memory; zeros for a block of zeros. contents: (blocks, 1024)."""
    roots = np.zeros((len(contents), 32), dtype=np.uint8)
    places = np.arange(len(contents))
    written = places[~_zero_among(contents.view(np.uint64), places)]
    hash_blocks(int(contents.ctypes.data), int(roots.ctypes.data), written)
    return roots


def _zero_among(words: npt.NDArray[np.uint64], blocks: Indices) -> npt.NDArray[np.bool_]:
    """Which of the blocks are all zero, as after going back to a time before they were written. words: (blocks, 128)."""
    zero: npt.NDArray[np.bool_] = words[blocks, 0] == 0
    maybe = np.flatnonzero(zero)
    for first in range(0, len(maybe), LOOKED_AT_AT_ONCE):
        piece = maybe[first : first + LOOKED_AT_AT_ONCE]
        zero[piece] = ~words[blocks[piece]].any(axis=1)
    return zero


class Tree:
    """Heights 5 to 33 over a memory."""

    def __init__(self, blocks: npt.NDArray[np.uint8]) -> None:
        """blocks: (blocks, 1024), the memory itself."""
        self._words = blocks.view(np.uint64)
        self._memory_address = int(blocks.ctypes.data)
        self._nodes: list[Nodes] = []  # [height - 5]
        for height in range(BLOCK_HEIGHT, QUARTER_HEIGHT + 1):
            count = 1 << (HEIGHT - height)
            self._nodes.append(np.frombuffer(reserve_table(32 * count), dtype=np.uint8).reshape(count, 32))
        self._addresses = [int(nodes.ctypes.data) for nodes in self._nodes]

    def update(self, blocks: Indices, joined: Indices) -> None:
        """Hashes anew what depends on these blocks, and on those that have their roots already (each ascending, distinct)."""
        indices = np.ascontiguousarray(blocks)
        zero = _zero_among(self._words, indices)
        self._nodes[0][indices[zero]] = 0
        hash_blocks(self._memory_address, self._addresses[0], indices[~zero])
        self.join(union([indices, joined]))

    def block_roots(self, blocks: Indices) -> Nodes:
        """(blocks, 32): as of the last `update`; zeros where nobody wrote."""
        return self._nodes[0][blocks]

    def put_block_roots(self, blocks: Indices, roots: Nodes) -> None:
        """What `update` would find out about these blocks, which are to be joined."""
        self._nodes[0][blocks] = roots

    def join(self, blocks: Indices) -> None:
        """Hashes anew what lies above these blocks (ascending, distinct)."""
        indices = np.ascontiguousarray(blocks)
        for level in range(1, len(self._nodes) if len(blocks) else 0):
            indices = parents_of(indices)
            hash_nodes(self._addresses[level - 1], self._addresses[level], ZERO[BLOCK_HEIGHT + level - 1], indices)

    def forget(self, blocks: Indices) -> None:
        """These blocks, which are all that was written in a quarter, count as never written."""
        indices = blocks
        for nodes in self._nodes if len(blocks) else []:
            nodes[indices] = 0
            indices = parents_of(indices)

    def node(self, height: int, index: int) -> bytes:
        """A node of height 5 to 33, as of the last `update`."""
        stored = self._nodes[height - BLOCK_HEIGHT][index].tobytes()
        return ZERO[height] if stored == ZERO[0] else stored
