"""Outputs with more leaves than a result needs, which are accepted as long as the last of them is not zero.

*Source*: spec §5.8.
"""

from opml_spec.machine.memory import CARRY_HEIGHT, IO
from opml_spec.machine.merkle import LEAF_BYTES, ZERO, Node, Pair, read, siblings
from opml_spec.machine.witness import SENT_BYTES
from opml_spec.model.layout import OUTPUT

AT = OUTPUT - IO


def output_leaves(carry: Node, leaves: int) -> tuple[bytes, bytes]:
    """The first leaves of an output, and their proof."""
    height = (leaves - 1).bit_length()
    beside = siblings(Pair(ZERO[CARRY_HEIGHT], carry), height, (1 << CARRY_HEIGHT | AT // LEAF_BYTES) >> height)
    sent = {level: each for level, each in enumerate(beside, height) if each != ZERO[level] and level < CARRY_HEIGHT}
    bitmap = sum(1 << level for level in sent).to_bytes(SENT_BYTES, "big")
    return read(carry, CARRY_HEIGHT, AT, AT + LEAF_BYTES * leaves), bitmap + b"".join(sent.values())
