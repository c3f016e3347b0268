"""The edits that lead from one witness to another, so that a forged witness can be made simpler and be told in words.

The first byte that differs says what was done there: a sibling sent or left out, some bytes changed, the end cut off or something added.
Whichever of these makes the witnesses agree furthest is taken, and so on from there.

*Source*: spec §2.5.
"""

from collections.abc import Iterator

from opml_spec.machine.merkle import DEPTH

from opml_fuzz.machine.edits import HASH_BYTES, LEAF_BYTES, SENT_BYTES, Edit, accesses
from opml_fuzz.machine.wrong_witnesses import cut, place

MOST_EDITS = 3


def edits_between(witness: bytes, forged: bytes) -> tuple[Edit, ...] | None:
    """Finds edits that turn the first witness into the second one; None if that takes more or others."""
    edits = list[Edit]()
    while witness != forged and len(edits) < MOST_EDITS:
        done = [(each, each.apply(witness)) for each in first_edits(witness, forged)]
        edit, witness = max(done, key=lambda each: (each[1] == forged, agreeing(each[1], forged)))
        edits.append(edit)
    return tuple(edits) if witness == forged else None


def agreeing(witness: bytes, forged: bytes) -> int:
    """Counts the bytes up to the first that differs."""
    both = min(len(witness), len(forged))
    different = int.from_bytes(witness[:both], "big") ^ int.from_bytes(forged[:both], "big")
    return both - (different.bit_length() + 7) // 8


def first_edits(witness: bytes, forged: bytes) -> Iterator[Edit]:
    """Yields what may have been done where the witnesses first differ."""
    at = agreeing(witness, forged)
    if at == len(witness):
        yield Edit("add", data=forged[at:])
        return
    yield cut(witness, at)
    if at == len(forged):
        return
    part, offset = place(witness, at)
    changed = [i for i in range(at, min(at + HASH_BYTES, len(witness), len(forged))) if witness[i] != forged[i]]
    if len(changed) == 1:
        yield Edit("flip", part, offset, bytes([witness[at] ^ forged[at]]))
    yield Edit("put", part, offset, forged[at : changed[-1] + 1])
    if part and LEAF_BYTES <= offset < LEAF_BYTES + SENT_BYTES:
        start = accesses(witness)[part - 1] + LEAF_BYTES
        before, after = (int.from_bytes(each[start : start + SENT_BYTES], "big") for each in (witness, forged))
        height = (before ^ after).bit_length() - 1
        first = start + SENT_BYTES + HASH_BYTES * (before & (1 << height) - 1).bit_count()
        if after >> height & 1 and height < DEPTH:
            yield Edit("send", part, height, forged[first : first + HASH_BYTES])
        elif before >> height & 1:
            yield Edit("omit", part, height)
