"""Witnesses that are wrong in one or two places, so that every error comes up, and also which of two errors is reported.

*Source*: spec §2.5.
"""

from random import Random

from opml_spec.machine.merkle import DEPTH
from opml_spec.machine.witness import make_witness

from opml_fuzz.machine.case import Witness
from opml_fuzz.machine.edits import KIND_AT, LEAF_BYTES, SENT_BYTES, STATE_BYTES, Edit, accesses
from opml_fuzz.machine.start import Start


def random_edit(rng: Random, witness: bytes) -> Edit:
    """Draws one change of a witness that almost always makes it invalid."""
    starts = accesses(witness)
    match rng.randrange(9):
        case 0:
            return cut(witness, rng.choice((rng.randrange(len(witness) + 1), *starts, STATE_BYTES - 1)))
        case 1:
            return Edit("add", data=rng.randbytes(rng.choice((1, 31, 32, 37, 4_000))))
        case 2:
            kind, value = rng.choice((0, 1, 2, 3, 255)), rng.choice((rng.randrange(10), rng.getrandbits(64)))
            return Edit("put", 0, KIND_AT, bytes([kind]) + value.to_bytes(8, "big"))
        case 3 if starts:
            access = rng.choice(starts)
            sent = witness[access + LEAF_BYTES]
            return Edit("put", 1 + starts.index(access), LEAF_BYTES, bytes([sent | 1 << rng.randrange(3, 8)]))
        case 4 | 5 if starts:
            return sibling_edit(rng, witness, rng.choice(starts))
        case 6 if len(starts) > 1:
            return Edit("swap", len(starts) - (0 if rng.random() < 0.5 else 1))
        case 7 if starts:
            return Edit("repeat", 1 + starts.index(rng.choice(starts)))
        case _:
            at = rng.randrange(len(witness)) if witness else 0
            part, offset = place(witness, at)
            return Edit("flip", part, offset, bytes([1 << rng.randrange(8)])) if witness else Edit("add", data=b"\0")


def place(witness: bytes, at: int) -> tuple[int, int]:
    """Finds the part that holds a byte, and the offset there."""
    starts = [0, *accesses(witness)]
    part = max(i for i, start in enumerate(starts) if start <= at)
    return part, at - starts[part]


def cut(witness: bytes, at: int) -> Edit:
    return Edit("cut", *place(witness, min(at, len(witness))))


def sibling_edit(rng: Random, witness: bytes, start: int) -> Edit:
    """Leaves out one sibling, or sends one that was left out: as the zero subtree's root, for which it stands, or as random bytes."""
    at, part = start + LEAF_BYTES, 1 + accesses(witness).index(start)
    sent = int.from_bytes(witness[at : at + SENT_BYTES], "big")
    height = rng.randrange(DEPTH)
    if sent >> height & 1:
        return Edit("omit", part, height)
    return Edit("send", part, height, b"" if rng.random() < 0.7 else rng.randbytes(32))


def with_sibling(rng: Random, witness: bytes, start: int) -> bytes:
    """Changes whether one sibling is sent, of the access that starts there."""
    return sibling_edit(rng, witness, start).apply(witness)


def spoil(rng: Random, witness: bytes) -> bytes:
    """Changes one thing in a witness, almost always so that it becomes invalid."""
    return random_edit(rng, witness).apply(witness)


def spoiled(rng: Random, start: Start) -> Witness:
    """Makes the witness of the next step and spoils it once or twice."""
    witness, edits = make_witness(start.state()), list[Edit]()
    for _ in range(rng.choice((1, 1, 2))):
        edits.append(random_edit(rng, witness))
        witness = edits[-1].apply(witness)
    return Witness(witness, start, tuple(edits))


def wrong_witness(rng: Random, start: Start) -> bytes:
    """Makes the witness of the next step and spoils it once or twice; returns its bytes alone."""
    return spoiled(rng, start).witness
