"""The memory: 2^40 bytes in four quarters, read and written as little-endian numbers, on top of a Merkle tree.

A memory is a value: `store` gives another one. All accesses go through `leaf` and `set_leaf`, so whoever overrides `leaf` sees exactly what
an instruction touches; witnesses are made and checked that way. The instructions, not the memory, decide which addresses are legal.

*Source*: spec §2.2 and §2.4.
"""

from collections.abc import Mapping
from typing import Self

from attrs import evolve, field, frozen

from opml_spec.errors import MemoryOutside, SegmentOverlap
from opml_spec.machine import merkle
from opml_spec.machine.merkle import DEPTH, LEAF_BYTES, Node
from opml_spec.words import put, wrap

MEMORY_BYTES = 1 << 40
QUARTER_BYTES = 1 << 38
QUARTER_HEIGHT = 33  # the root of a quarter is node (33, 0 … 3)
CARRY_HEIGHT = 34  # the carry root, H(io_root, state_root), is node (34, 1)

SCRATCH = 0x00_0000_0000
MODEL = 0x40_0000_0000
IO = 0x80_0000_0000
STATE = 0xC0_0000_0000

ENTRY = MODEL
"""Address of the program's first instruction. (= 0x40_0000_0000)"""

TEXT_BYTES = 1 << 28
"""Only the first bytes of the model quarter can be fetched; a program is shorter. (= 0x1000_0000)"""


@frozen
class Memory:
    """Bytes by address; two memories are equal iff their roots are."""

    tree: Node = field(default=merkle.ZERO[DEPTH], eq=merkle.hash_of)

    @classmethod
    def from_segments(cls, segments: Mapping[int, bytes]) -> Self:
        """The memory that holds these bytes at these addresses, and zeros everywhere else."""
        memory, free_from = cls(), 0
        for address, data in sorted(segments.items()):
            memory = memory.store_bytes(address, data)
            if address < free_from:
                raise SegmentOverlap(f"at {address:#x}")
            free_from = address + len(data)
        return memory

    @property
    def root(self) -> bytes:
        return merkle.hash_of(self.tree)

    def load(self, address: int, size: int) -> int:
        """The number in `size` bytes; it may begin in one leaf and end in the next."""
        index, offset = divmod(address, LEAF_BYTES)
        data = self.leaf(index)
        if offset + size > LEAF_BYTES:
            data += self.leaf(index + 1)
        return int.from_bytes(data[offset : offset + size], "little")

    def store(self, address: int, size: int, value: int) -> Self:
        """The memory with the low `size` bytes of `value` there. The second leaf is read and written after the first was written."""
        index, offset = divmod(address, LEAF_BYTES)
        data = wrap(value, 8 * size).to_bytes(size, "little")
        here, beyond = data[: LEAF_BYTES - offset], data[LEAF_BYTES - offset :]
        memory = self.overwrite(index, offset, here)
        return memory.overwrite(index + 1, 0, beyond) if beyond else memory

    def load_bytes(self, address: int, size: int) -> bytes:
        """Read any number of bytes at once, as tensors need it; instructions use `load`."""
        return merkle.read(self.tree, DEPTH, inside_bytes(address, size), address + size)

    def store_bytes(self, address: int, data: bytes) -> Self:
        """The memory with any number of bytes there."""
        return evolve(self, tree=merkle.write(self.tree, DEPTH, inside_bytes(address, len(data)), data))

    def overwrite(self, index: int, offset: int, data: bytes) -> Self:
        """The memory with these bytes inside one leaf."""
        return self.set_leaf(index, put(self.leaf(index), offset, data))

    def leaf(self, index: int) -> bytes:
        """The 32 bytes from address `32 · index`."""
        return merkle.hash_of(self.subtree(0, index))  # a leaf is its own hash

    def set_leaf(self, index: int, leaf: bytes) -> Self:
        return self.set_subtree(0, index, leaf)

    def siblings(self, index: int) -> tuple[bytes, ...]:
        """The 35 hashes that prove a leaf, lowest first."""
        return merkle.siblings(self.tree, 0, inside(0, index))

    def subtree(self, height: int, index: int) -> Node:
        """The node of that height and index: the root of a quarter, of the carry, …"""
        return merkle.find(self.tree, height, inside(height, index))

    def set_subtree(self, height: int, index: int, node: Node) -> Self:
        """The memory with another node there. It may be a mere hash, and then nobody can look into it."""
        return evolve(self, tree=merkle.replace(self.tree, height, inside(height, index), node))


def inside_bytes(address: int, size: int) -> int:
    """Return the address if that many bytes from there on are in memory; else raise."""
    if not 0 <= address <= MEMORY_BYTES - size:
        raise MemoryOutside(f"{size} bytes at {address:#x}")
    return address


def inside(height: int, index: int) -> int:
    """Return the index if a node of that height is there; else raise."""
    if not 0 <= index < 1 << (DEPTH - height):
        raise MemoryOutside(f"node {index} at height {height}")
    return index
