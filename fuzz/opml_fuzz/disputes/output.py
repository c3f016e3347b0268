"""Outputs with more leaves than a result needs, which are accepted as long as the last of them is not zero; and proofs that are wrong.

*Source*: spec §5.8.
"""

from collections.abc import Iterator

from opml_spec.machine.memory import CARRY_HEIGHT, IO
from opml_spec.machine.merkle import LEAF_BYTES, ZERO, Node, Pair, read, siblings
from opml_spec.machine.witness import SENT_BYTES
from opml_spec.model.layout import OUTPUT

AT = OUTPUT - IO
HASH_BYTES = 32


def output_leaves(carry: Node, leaves: int) -> tuple[bytes, bytes]:
    """The first leaves of an output, and their proof."""
    height = (leaves - 1).bit_length()
    beside = siblings(Pair(ZERO[CARRY_HEIGHT], carry), height, (1 << CARRY_HEIGHT | AT // LEAF_BYTES) >> height)
    sent = {level: each for level, each in enumerate(beside, height) if each != ZERO[level] and level < CARRY_HEIGHT}
    bitmap = sum(1 << level for level in sent).to_bytes(SENT_BYTES, "big")
    return read(carry, CARRY_HEIGHT, AT, AT + LEAF_BYTES * leaves), bitmap + b"".join(sent.values())


def wrong_proofs(proof: bytes, leaves: int) -> Iterator[bytes]:
    """Yields the proof of so many leaves, wrong in each way: longer, shorter, with a sibling of no height, a zero one, or another one."""
    sent, rest, height = int.from_bytes(proof[:SENT_BYTES], "big"), proof[SENT_BYTES:], (leaves - 1).bit_length()
    yield from (proof + b"\0", proof + bytes(HASH_BYTES), proof[:-1], proof[: SENT_BYTES - 1])
    yield from ((sent | 1 << level).to_bytes(SENT_BYTES, "big") + rest for level in (CARRY_HEIGHT, 8 * SENT_BYTES - 1, max(height - 1, 0)))
    zeros = [level for level in range(height, CARRY_HEIGHT) if not sent >> level & 1]
    for level in (*zeros[:1], *zeros[-1:]):
        at = HASH_BYTES * (sent & (1 << level) - 1).bit_count()
        yield (sent | 1 << level).to_bytes(SENT_BYTES, "big") + rest[:at] + ZERO[level] + rest[at:]
    if rest:
        yield proof[:-1] + bytes([proof[-1] ^ 1])
