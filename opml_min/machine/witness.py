"""The witness: what somebody who knows only the state hash needs to execute the next step.

*Source*: spec §2.5.
"""

from typing import Protocol

from opml_min.machine import decode
from opml_min.machine.hashing import ZERO, keccak256
from opml_min.machine.interpret import MASK, access_fault, fetch_fault
from opml_min.machine.state import RUNNING, encode_state
from opml_min.memory_map import LEAF_BYTES


class Provable(Protocol):
    """A memory that can prove what its leaves are."""

    def load(self, address: int, size: int) -> int: ...
    def leaf(self, index: int) -> bytes: ...
    def proof(self, leaf_index: int) -> list[bytes]: ...
    def root(self) -> bytes: ...


def encode_access(leaf: bytes, siblings: list[bytes]) -> bytes:
    """`leaf ‖ sent ‖ siblings`, without the siblings that are zero subtrees; bit h of `sent` tells that the one of height h is there."""
    sent = sum(1 << height for height, sibling in enumerate(siblings) if sibling != ZERO[height])
    return leaf + sent.to_bytes(5, "big") + b"".join(sibling for height, sibling in enumerate(siblings) if sent >> height & 1)


def siblings_after_update(memory: Provable, index: int, updated: int, leaf: bytes) -> list[bytes]:
    """The siblings of leaf `index` in the tree in which leaf `updated` has become `leaf`."""
    siblings = memory.proof(index)
    meet = (index ^ updated).bit_length() - 1  # the updated leaf lies below the sibling at this height
    node = leaf
    for height, sibling in enumerate(memory.proof(updated)[:meet]):
        node = keccak256(sibling + node if updated >> height & 1 else node + sibling)
    siblings[meet] = node
    return siblings


def witness(pc: int, x: list[int], status: tuple[int, int], memory: Provable) -> bytes:
    """The state, then the leaves that the next step accesses, with their proofs; nothing is changed."""
    result = encode_state(pc, x, status, memory.root())
    if status[0] != RUNNING or fetch_fault(pc):
        return result
    result += encode_access(memory.leaf(pc // LEAF_BYTES), memory.proof(pc // LEAF_BYTES))
    instruction = decode.decode(memory.load(pc, 4))
    is_store = instruction.kind == decode.STORE
    if not is_store and instruction.kind != decode.LOAD:
        return result
    address, size = (x[instruction.rs1] + instruction.imm) & MASK, decode.ACCESS_BYTES[instruction.operation]
    if access_fault(address, size, is_store):
        return result
    lower, higher = address // LEAF_BYTES, (address + size - 1) // LEAF_BYTES
    result += encode_access(memory.leaf(lower), memory.proof(lower))
    if higher != lower:
        siblings = memory.proof(higher)
        if is_store:
            stored = x[instruction.rs2].to_bytes(8, "little")[: LEAF_BYTES - address % LEAF_BYTES]
            leaf = memory.leaf(lower)[: address % LEAF_BYTES] + stored
            siblings = siblings_after_update(memory, higher, lower, leaf)
        result += encode_access(memory.leaf(higher), siblings)
    return result
