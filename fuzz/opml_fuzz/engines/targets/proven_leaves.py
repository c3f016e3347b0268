"""A memory of a few leaves with all nodes of its tree above them, for thousands of steps from the same memory.

A root and a proof are looked up, so a witness costs no hash. Steps that store hash only the paths of what they stored.

*Source*: spec §2.2 and §2.5.
"""

from collections.abc import Mapping

from opml_min.machine.hashing import HEIGHT, ZERO, keccak256
from opml_min.machine.sparse import SparseMemory

LEAF = 32  # bytes


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
        """Computes the root if these leaves were different."""
        nodes = dict(stored)
        for level, zero in zip(self._levels[:HEIGHT], ZERO, strict=False):
            pairs = {index >> 1: [level.get(index & -2, zero), level.get(index | 1, zero)] for index in nodes}
            for index, node in nodes.items():
                pairs[index >> 1][index & 1] = node
            nodes = {parent: keccak256(left + right) for parent, (left, right) in pairs.items()}
        return nodes.get(0, self.root())


class Storing(SparseMemory):
    """What some steps do to a memory that stays as it is: the leaves that are different."""

    def __init__(self, memory: ProvenLeaves) -> None:
        super().__init__({})
        self._memory = memory

    def load(self, address: int, size: int) -> int:
        touched = address // LEAF, (address + size - 1) // LEAF
        if self.leaves.keys().isdisjoint(touched):
            return self._memory.load(address, size)
        self._take(touched)
        return super().load(address, size)

    def store(self, address: int, data: bytes) -> None:
        self._take((address // LEAF, (address + len(data) - 1) // LEAF))
        super().store(address, data)

    def _take(self, indices: tuple[int, int]) -> None:
        for index in indices:
            self.leaves.setdefault(index, self._memory.leaf(index))
