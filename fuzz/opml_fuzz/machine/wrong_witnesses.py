"""Witnesses that are wrong in one or two places, so that every error comes up, and also which of two errors is reported.

*Source*: spec §2.5.
"""

from random import Random

from opml_spec.machine.merkle import DEPTH, ZERO
from opml_spec.machine.witness import make_witness

from opml_fuzz.machine.start import Start

STATE_BYTES, LEAF_BYTES, SENT_BYTES = 297, 32, 5
KIND_AT, ROOT_AT = 256, 265


def accesses(witness: bytes) -> list[int]:
    """Finds where each access begins, as far as the bytes tell."""
    starts, at = [], STATE_BYTES
    while at + LEAF_BYTES + SENT_BYTES <= len(witness):
        starts.append(at)
        sent = int.from_bytes(witness[at + LEAF_BYTES : at + LEAF_BYTES + SENT_BYTES], "big")
        at += LEAF_BYTES + SENT_BYTES + 32 * sent.bit_count()
    return starts


def spoil(rng: Random, witness: bytes) -> bytes:
    """Changes one thing in a witness, almost always so that it becomes invalid."""
    starts = accesses(witness)
    match rng.randrange(9):
        case 0:
            return witness[: rng.choice((rng.randrange(len(witness) + 1), *starts, STATE_BYTES - 1))]
        case 1:
            return witness + rng.randbytes(rng.choice((1, 31, 32, 37, 4_000)))
        case 2:
            kind, value = rng.choice((0, 1, 2, 3, 255)), rng.choice((rng.randrange(10), rng.getrandbits(64)))
            return witness[:KIND_AT] + bytes([kind]) + value.to_bytes(8, "big") + witness[ROOT_AT:]
        case 3 if starts:
            at = rng.choice(starts) + LEAF_BYTES
            return witness[:at] + bytes([witness[at] | 1 << rng.randrange(3, 8)]) + witness[at + 1 :]
        case 4 | 5 if starts:
            return with_sibling(rng, witness, rng.choice(starts))
        case 6 if len(starts) > 1:
            *_, second_last, last = [*starts, len(witness)] if rng.random() < 0.5 else starts
            return witness[:second_last] + witness[last:] + witness[second_last:last]
        case 7 if starts:
            at = rng.choice(starts)
            return witness + witness[at:]
        case _:
            at = rng.randrange(len(witness)) if witness else 0
            return witness[:at] + bytes([witness[at] ^ 1 << rng.randrange(8)]) + witness[at + 1 :] if witness else b"\x00"


def with_sibling(rng: Random, witness: bytes, start: int) -> bytes:
    """Leaves out one sibling, or sends one that was left out: as the zero subtree's root, for which it stands, or as random bytes."""
    at = start + LEAF_BYTES
    sent = int.from_bytes(witness[at : at + SENT_BYTES], "big")
    height = rng.randrange(DEPTH)
    place = at + SENT_BYTES + 32 * (sent & ((1 << height) - 1)).bit_count()
    flipped = (sent ^ 1 << height).to_bytes(SENT_BYTES, "big")
    if sent >> height & 1:
        return witness[:at] + flipped + witness[at + SENT_BYTES : place] + witness[place + 32 :]
    sibling = ZERO[height] if rng.random() < 0.7 else rng.randbytes(32)
    return witness[:at] + flipped + witness[at + SENT_BYTES : place] + sibling + witness[place:]


def wrong_witness(rng: Random, start: Start) -> bytes:
    """Makes the witness of the next step and spoils it once or twice."""
    witness = make_witness(start.state())
    for _ in range(rng.choice((1, 1, 2))):
        witness = spoil(rng, witness)
    return witness
