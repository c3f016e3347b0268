"""The Merkle tree over the memory, kept up to date page by page.

Nodes of height 5 (roots of 1 KiB pages) to 33 (roots of quarters) are kept in one array per height, addressed directly: node i of height
h is element i. The arrays are reserved address space, so they take memory only where something was written, and 32 zero bytes there
mean "never written below": the node is `zero[h]`. Below height 5 nothing is kept; hashing a page takes 31 hashes, about 2 µs.
"""

import numpy as np
import numpy.typing as npt

from opml_min.machine.hashing import HEIGHT, ZERO, keccak256
from opml_min.machine.memory.address_space import reserve_table
from opml_min.machine.memory.keccak import PAGE_HEIGHT, hash_nodes, hash_pages
from opml_min.machine.memory.page_set import Indices, union
from opml_min.memory_map import LEAF_BYTES, PAGE_BYTES

QUARTER_HEIGHT = 33
LOOKED_AT_AT_ONCE = 1 << 11  # pages (= 2 MiB), which stay in the cache

Nodes = npt.NDArray[np.uint8]  # (nodes, 32)


def parents_of(indices: Indices) -> Indices:
    """The distinct parents of ascending indices, ascending."""
    parents = indices >> 1
    keep = np.empty(len(parents), dtype=np.bool_)
    keep[:1] = True
    np.not_equal(parents[1:], parents[:-1], out=keep[1:])
    return parents[keep]


def roots_of(contents: npt.NDArray[np.uint8]) -> Nodes:
    """(pages, 32): the roots of pages given by their contents, (pages, 1024); zeros for a page of zeros."""
    roots = np.zeros((len(contents), 32), dtype=np.uint8)
    places = np.arange(len(contents))
    written = places[~_zero_among(contents.view(np.uint64), places)]
    hash_pages(int(contents.ctypes.data), int(roots.ctypes.data), written)
    return roots


def _zero_among(words: npt.NDArray[np.uint64], pages: Indices) -> npt.NDArray[np.bool_]:
    """Which of the pages are all zero, as after going back to a time before they were written. words: (pages, 128)."""
    zero: npt.NDArray[np.bool_] = words[pages, 0] == 0
    maybe = np.flatnonzero(zero)
    for first in range(0, len(maybe), LOOKED_AT_AT_ONCE):
        piece = maybe[first : first + LOOKED_AT_AT_ONCE]
        zero[piece] = ~words[pages[piece]].any(axis=1)
    return zero


class Tree:
    """Heights 5 to 33 over a memory."""

    def __init__(self, memory: npt.NDArray[np.uint8]) -> None:
        """memory: (pages, 1024)."""
        self._words = memory.view(np.uint64)
        self._memory_address = int(memory.ctypes.data)
        self._nodes: list[Nodes] = []  # [height - 5]
        for height in range(PAGE_HEIGHT, QUARTER_HEIGHT + 1):
            count = 1 << (HEIGHT - height)
            self._nodes.append(np.frombuffer(reserve_table(32 * count), dtype=np.uint8).reshape(count, 32))
        self._addresses = [int(nodes.ctypes.data) for nodes in self._nodes]

    def update(self, pages: Indices, joined: Indices) -> None:
        """Hashes `pages`, then all nodes above them and above `joined`, whose roots are known (each ascending, distinct)."""
        indices = np.ascontiguousarray(pages)
        zero = _zero_among(self._words, indices)
        self._nodes[0][indices[zero]] = 0
        hash_pages(self._memory_address, self._addresses[0], indices[~zero])
        self.join(union([indices, joined]))

    def page_roots(self, pages: Indices) -> Nodes:
        """(pages, 32): the pages' roots as of the last `update`; zeros for pages never written."""
        return self._nodes[0][pages]

    def put_page_roots(self, pages: Indices, roots: Nodes) -> None:
        """Sets roots that are known from elsewhere; the pages are then to be joined."""
        self._nodes[0][pages] = roots

    def join(self, pages: Indices) -> None:
        """Hashes the nodes above these pages (ascending, distinct)."""
        indices = np.ascontiguousarray(pages)
        for level in range(1, len(self._nodes) if len(pages) else 0):
            indices = parents_of(indices)
            hash_nodes(self._addresses[level - 1], self._addresses[level], ZERO[PAGE_HEIGHT + level - 1], indices)

    def forget(self, pages: Indices) -> None:
        """Makes these pages, which must be all that was written in a quarter, count as never written."""
        indices = pages
        for nodes in self._nodes if len(pages) else []:
            nodes[indices] = 0
            indices = parents_of(indices)

    def node(self, height: int, index: int) -> bytes:
        """A node of height 5 to 33, as of the last `update`."""
        stored = self._nodes[height - PAGE_HEIGHT][index].tobytes()
        return ZERO[height] if stored == ZERO[0] else stored

    def siblings(self, leaf_index: int) -> list[bytes]:
        """The siblings on the way from a leaf to its quarter's root, lowest first, as of the last `update`."""
        page, index = divmod(leaf_index, 1 << PAGE_HEIGHT)
        data = self._words[page].tobytes()
        siblings, nodes = [], [data[i : i + LEAF_BYTES] for i in range(0, PAGE_BYTES, LEAF_BYTES)]
        while len(nodes) > 1:
            siblings.append(nodes[index ^ 1])
            nodes = [keccak256(nodes[i] + nodes[i + 1]) for i in range(0, len(nodes), 2)]
            index //= 2
        return siblings + [self.node(height, (leaf_index >> height) ^ 1) for height in range(PAGE_HEIGHT, QUARTER_HEIGHT)]
