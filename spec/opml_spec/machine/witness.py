"""The witness: the bytes with which anybody can execute one step without having the memory.

It is the state, then each leaf that the step touches, in that order, with its Merkle proof. To make a witness, run the step and record
the leaves; to check one, run the step and read them. The step is one and the same function; only the memory under it differs.

*Source*: spec §2.5.
"""

from attrs import define, evolve, field, frozen

from opml_spec.errors import WitnessBitmap, WitnessRoot, WitnessTrailing, WitnessTruncated, WitnessZeroSibling
from opml_spec.hashing import HASH_BYTES
from opml_spec.machine import merkle
from opml_spec.machine.memory import Memory
from opml_spec.machine.merkle import DEPTH, LEAF_BYTES, ZERO, Node
from opml_spec.machine.state import PREIMAGE_BYTES, MachineState, decode_state, encode, state_hash
from opml_spec.machine.step import step

SENT_BYTES = 5  # a bit for each of the 35 siblings


def encode_access(leaf: bytes, siblings: tuple[bytes, ...]) -> bytes:
    """`leaf ‖ sent ‖ siblings`, without the siblings that are zero subtrees."""
    sent = [height for height in range(DEPTH) if siblings[height] != ZERO[height]]
    bitmap = sum(1 << height for height in sent)
    return leaf + bitmap.to_bytes(SENT_BYTES, "big") + b"".join(siblings[height] for height in sent)


@frozen
class RecordingMemory(Memory):
    """A memory that records each access."""

    accesses: list[bytes] = field(factory=list, eq=False)

    def leaf(self, index: int) -> bytes:
        leaf = super().leaf(index)
        self.accesses.append(encode_access(leaf, self.siblings(index)))
        return leaf


def make_witness(state: MachineState) -> bytes:
    """The witness of the next step."""
    memory = RecordingMemory(state.memory.tree)
    step(evolve(state, memory=memory))
    return encode(state) + b"".join(memory.accesses)


@define
class WitnessReader:
    """A witness that is being read from left to right."""

    rest: bytes
    siblings: tuple[bytes, ...] = ()  # on the path of the leaf that was last read, lowest first

    def take(self, count: int) -> bytes:
        """Read that many bytes."""
        if len(self.rest) < count:
            raise WitnessTruncated(f"{len(self.rest)} bytes left, {count} wanted")
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def access(self, index: int, root: bytes) -> bytes:
        """The next leaf, proven to be the one of that index under that root."""
        leaf = self.take(LEAF_BYTES)
        sent = int.from_bytes(self.take(SENT_BYTES), "big")
        if sent >> DEPTH:
            raise WitnessBitmap(f"{sent:#x}")
        self.siblings = tuple(self.sibling(height, sent) for height in range(DEPTH))
        if merkle.hash_of(merkle.graft(leaf, index, self.siblings)) != root:
            raise WitnessRoot(f"leaf {index:#x}")
        return leaf

    def sibling(self, height: int, sent: int) -> bytes:
        """Read the sibling of that height if it was sent; else it is a zero subtree."""
        if not sent >> height & 1:
            return ZERO[height]
        sibling = self.take(HASH_BYTES)
        if sibling == ZERO[height]:
            raise WitnessZeroSibling(f"height {height}")
        return sibling


@frozen
class WitnessMemory(Memory):
    """A memory of which only the root is known, until the witness shows a leaf."""

    reader: WitnessReader = field(kw_only=True, eq=False)

    def leaf(self, index: int) -> bytes:
        return self.reader.access(index, self.root)

    def set_subtree(self, height: int, index: int, node: Node) -> "WitnessMemory":
        return evolve(self, tree=merkle.graft(node, index, self.reader.siblings[height:]))


def execute_witness(witness: bytes) -> tuple[bytes, bytes]:
    """Execute the step of a witness: the hashes of the state before and after. Raise the first error of the witness."""
    reader = WitnessReader(witness)
    before = decode_state(reader.take(PREIMAGE_BYTES))
    after = step(evolve(before, memory=WitnessMemory(before.memory.tree, reader=reader)))
    if reader.rest:
        raise WitnessTrailing(f"{len(reader.rest)} bytes")
    return state_hash(before), state_hash(after)
