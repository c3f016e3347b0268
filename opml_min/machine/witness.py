"""The witness: what somebody who knows only the state hash needs to execute the next step.

Source: the specification, 1.5.
"""

from opml_min.machine import decode
from opml_min.machine.interpret import MASK, access_fault, fetch_fault
from opml_min.machine.memory.keccak import keccak256
from opml_min.machine.memory.memory import Memory
from opml_min.machine.memory.merkle import ZERO
from opml_min.machine.state import RUNNING, encode_state


def encode_access(leaf: bytes, siblings: list[bytes]) -> bytes:
    """`leaf ‖ sent ‖ the siblings that are no zero subtree`."""
    sent = sum(1 << height for height, sibling in enumerate(siblings) if sibling != ZERO[height])
    return leaf + sent.to_bytes(5, "big") + b"".join(sibling for height, sibling in enumerate(siblings) if sent >> height & 1)


def siblings_after_update(memory: Memory, index: int, updated: int, leaf: bytes) -> list[bytes]:
    """The siblings of leaf `index` in the tree in which leaf `updated` has become `leaf`."""
    siblings = memory.proof(index)
    meet = (index ^ updated).bit_length() - 1  # the updated leaf lies below the sibling at this height
    node = leaf
    for height, sibling in enumerate(memory.proof(updated)[:meet]):
        node = keccak256(sibling + node if updated >> height & 1 else node + sibling)
    siblings[meet] = node
    return siblings


def witness(pc: int, x: list[int], status: tuple[int, int], memory: Memory) -> bytes:
    """State and accesses of the step that comes next; nothing is changed."""
    result = encode_state(pc, x, status, memory.root())
    if status[0] != RUNNING or fetch_fault(pc):
        return result
    result += encode_access(memory.leaf(pc // 32), memory.proof(pc // 32))
    instruction = decode.decode(memory.load(pc, 4))
    is_store = instruction.form == decode.STORE
    if not is_store and instruction.form != decode.LOAD:
        return result
    address, size = (x[instruction.rs1] + instruction.imm) & MASK, decode.ACCESS_BYTES[instruction.operation]
    if access_fault(address, size, is_store):
        return result
    lower, higher = address // 32, (address + size - 1) // 32
    result += encode_access(memory.leaf(lower), memory.proof(lower))
    if higher != lower:
        siblings = memory.proof(higher)
        if is_store:
            stored = x[instruction.rs2].to_bytes(8, "little")[: 32 - address % 32]
            leaf = memory.leaf(lower)[: address % 32] + stored
            siblings = siblings_after_update(memory, higher, lower, leaf)
        result += encode_access(memory.leaf(higher), siblings)
    return result
