"""One step on a memory of a few leaves, for callers that try thousands of unrelated states.

A `Memory` takes long to create; here a dictionary of leaves is the whole memory, and each root is computed from scratch.
"""

from opml_min.machine.hashing import HEIGHT, ZERO, keccak256
from opml_min.machine.interpret import step
from opml_min.machine.state import RUNNING, Status, encode_state
from opml_min.memory_map import LEAF_BYTES


def sparse_root(leaves: dict[int, bytes]) -> bytes:
    """The memory root when these leaves, by index, are all that is not zero."""
    level = leaves
    for height in range(HEIGHT):
        zero = ZERO[height]
        level = {
            parent: keccak256(level.get(2 * parent, zero) + level.get(2 * parent + 1, zero)) for parent in {index >> 1 for index in level}
        }
    return level.get(0, ZERO[HEIGHT])


class SparseMemory:
    """A memory of few leaves; all others are zero."""

    def __init__(self, leaves: dict[int, bytes]) -> None:
        self.leaves = leaves

    def load(self, address: int, size: int) -> int:
        index, offset = address // LEAF_BYTES, address % LEAF_BYTES
        data = self.leaves.get(index, ZERO[0])
        if offset + size > LEAF_BYTES:
            data += self.leaves.get(index + 1, ZERO[0])
        return int.from_bytes(data[offset : offset + size], "little")

    def store(self, address: int, data: bytes) -> None:
        while data:
            index, offset = address // LEAF_BYTES, address % LEAF_BYTES
            leaf, here = self.leaves.get(index, ZERO[0]), data[: LEAF_BYTES - offset]
            self.leaves[index] = leaf[:offset] + here + leaf[offset + len(here) :]
            address, data = address + len(here), data[len(here) :]


def execute_single(pc: int, registers: list[int], status: tuple[int, int], leaves: dict[int, bytes]) -> bytes:
    """The 297 bytes of the state after one step; `registers` begins with x0. The arguments are not changed."""
    x, memory, after = [0, *registers[1:]], SparseMemory(dict(leaves)), Status(*status)
    if status[0] == RUNNING:
        pc, after = step(pc, x, memory)
    return encode_state(pc, x, after, sparse_root(memory.leaves))
