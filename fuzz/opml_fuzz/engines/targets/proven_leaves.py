"""A memory of a few leaves with all nodes of its tree above them, for thousands of steps from the same memory.

A root and a proof are looked up, so a witness costs no hash. A step that stores hashes only the paths of what it stored.

*Source*: spec §2.2 and §2.5.
"""

from collections.abc import Mapping

from opml_min.machine.hashing import HEIGHT, ZERO, keccak256
from opml_min.machine.sparse import SparseMemory
from opml_min.machine.witness import siblings_after_update


class ProvenLeaves(SparseMemory):
    """A memory whose leaves can be proven."""

    def __init__(self, leaves: Mapping[int, bytes]) -> None:
        super().__init__(dict(leaves))
        self._levels = [self.leaves]
        for height in range(HEIGHT):
            level, zero = self._levels[-1], ZERO[height]
            parents = {index >> 1 for index in level}
            above = {parent: keccak256(level.get(2 * parent, zero) + level.get(2 * parent + 1, zero)) for parent in parents}
            self._levels.append(above)

    def leaf(self, index: int) -> bytes:
        return self.leaves.get(index, ZERO[0])

    def proof(self, leaf_index: int) -> list[bytes]:
        return [level.get(leaf_index >> height ^ 1, ZERO[height]) for height, level in enumerate(self._levels[:HEIGHT])]

    def root(self) -> bytes:
        return self._levels[HEIGHT].get(0, ZERO[HEIGHT])

    def root_with(self, stored: Mapping[int, bytes]) -> bytes:
        """Computes the root if these leaves, one or two, were different."""
        if not stored:
            return self.root()
        *first, last = stored
        siblings = siblings_after_update(self, last, first[0], stored[first[0]]) if first else self.proof(last)
        node = stored[last]
        for height, sibling in enumerate(siblings):
            node = keccak256(sibling + node if last >> height & 1 else node + sibling)
        return node


class Storing(SparseMemory):
    """What a step does to a memory that stays as it is."""

    def __init__(self, memory: ProvenLeaves) -> None:
        super().__init__({})
        self._memory = memory

    def load(self, address: int, size: int) -> int:
        return self._memory.load(address, size)

    def store(self, address: int, data: bytes) -> None:
        for index in (address // 32, (address + len(data) - 1) // 32):
            self.leaves[index] = self._memory.leaf(index)
        super().store(address, data)
