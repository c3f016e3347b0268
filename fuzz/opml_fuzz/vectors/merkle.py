"""Vectors of Merkle trees: the roots of a memory, proofs of a leaf, and the root after that leaf was overwritten.

*Source*: spec §2.2 and §2.5.
"""

from collections.abc import Iterator
from random import Random

from opml_spec.errors import WitnessTrailing
from opml_spec.machine.memory import MEMORY_BYTES, QUARTER_BYTES, Memory
from opml_spec.machine.merkle import DEPTH, LEAF_BYTES, ZERO, graft, hash_of
from opml_spec.machine.witness import WitnessReader, encode_access

from opml_fuzz.vectors.notation import Json, make_case, memory_text

MEMORIES = 12
LONG = (0x80_0000_0ABC, 13_000), (QUARTER_BYTES - 2_001, 4_207)
"""Address and length of a segment over several pages of 4 KiB, and of one over the border of two quarters."""


def roots(rng: Random) -> Iterator[Json]:
    """Yields memories made of a few segments, then those of a long one."""
    long = [{address: bytes(i * i % 251 for i in range(length))} for address, length in LONG]
    for segments in (*(random_segments(rng, number) for number in range(MEMORIES)), *long):
        memory = Memory.from_segments(segments)
        quarters = [hash_of(memory.subtree(33, quarter)).hex() for quarter in range(4)]
        post = {"root": memory.root.hex(), "carry_root": hash_of(memory.subtree(34, 1)).hex(), "quarter_roots": quarters}
        yield {"name": f"{len(segments)} segments", "pre": {"memory": memory_text(segments)}, "post": post}


def proofs(rng: Random) -> Iterator[Json]:
    """Yields valid proofs, and invalid ones with one thing changed."""
    for number in range(MEMORIES):
        segments = random_segments(rng, number)
        memory = Memory.from_segments(segments)
        index = rng.choice([address // LEAF_BYTES for address in segments] or [0]) ^ rng.choice((0, 0, 1, 1 << 20))
        access = encode_access(memory.leaf(index), memory.siblings(index))
        new_leaf = rng.randbytes(LEAF_BYTES)
        bad = {
            "cut": access[:-1],
            "bit 37": access[:32] + bytes([access[32] | 0x20]) + access[33:],
            "another leaf": bytes([access[0] ^ 1]) + access[1:],
            "a byte more": access + b"\0",
            "no siblings": access[:31],
            "a zero subtree sent": with_zero_subtree(access),
        }
        for name, data in {"valid": access, **(bad if number < 4 else {})}.items():
            yield proof_case(f"leaf {index:#x}, {name}", memory.root, index, data, new_leaf)


def with_zero_subtree(access: bytes) -> bytes:
    """Sends the highest sibling that is a zero subtree, which must not be sent."""
    sent = int.from_bytes(access[32:37], "big")
    height = max(each for each in range(DEPTH) if not sent >> each & 1)
    place = 37 + LEAF_BYTES * (sent & (1 << height) - 1).bit_count()
    return access[:32] + (sent | 1 << height).to_bytes(5, "big") + access[37:place] + ZERO[height] + access[place:]


def proof_case(name: str, root: bytes, index: int, access: bytes, new_leaf: bytes) -> Json:
    def answer() -> Json:
        reader = WitnessReader(access)
        leaf = reader.access(index, root)
        if reader.rest:
            raise WitnessTrailing
        after = graft(new_leaf, index, reader.siblings)
        return {"leaf": leaf.hex(), "root_after": hash_of(after).hex()}

    return make_case(name, {"root": root.hex(), "index": hex(index), "access": access.hex(), "new_leaf": new_leaf.hex()}, answer)


def random_segments(rng: Random, count: int) -> dict[int, bytes]:
    """Draws segments that do not overlap; the first ones lie at the ends of the memory and of a quarter."""
    ends = [0, MEMORY_BYTES - 45, QUARTER_BYTES - 7][:count]
    anywhere = [rng.randrange(1, 1 << 20) * (1 << 19) + rng.randrange(1 << 18) for _ in range(count - len(ends))]
    return {address: rng.randbytes(rng.randrange(1, 45)) for address in sorted({*ends, *anywhere})}
