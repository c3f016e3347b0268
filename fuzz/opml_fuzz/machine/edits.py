"""Edits: the one thing that is changed in a valid witness, as data, so that it can be done again to a simpler witness.

A witness is the state and then the accesses. A *part* is the state (0) or one of the accesses (1, 2, 3). A place is a part and an offset.

*Source*: spec §2.5.
"""

from collections.abc import Iterator
from itertools import pairwise

from attrs import evolve, frozen
from opml_spec.machine.merkle import ZERO

STATE_BYTES, LEAF_BYTES, SENT_BYTES, HASH_BYTES = 297, 32, 5, 32
KIND_AT, ROOT_AT = 256, 265
END = -1  # as a part: behind the last access
NAMES = ("cut", "add", "put", "flip", "send", "omit", "swap", "repeat")


def accesses(witness: bytes) -> list[int]:
    """Finds where each access begins, as far as the bytes tell."""
    starts, at = [], STATE_BYTES
    while at + LEAF_BYTES + SENT_BYTES <= len(witness):
        starts.append(at)
        sent = int.from_bytes(witness[at + LEAF_BYTES : at + LEAF_BYTES + SENT_BYTES], "big")
        at += LEAF_BYTES + SENT_BYTES + HASH_BYTES * sent.bit_count()
    return starts


@frozen
class Edit:
    """One change. `name` is one of NAMES; `offset` is a number of bytes, but of `send` and `omit` the height of a sibling."""

    name: str
    part: int = END
    offset: int = 0
    data: bytes = b""

    def apply(self, witness: bytes) -> bytes:
        """Changes a witness; one that lacks the part stays as it is."""
        starts = [0, *accesses(witness), len(witness)]
        if not END <= self.part < len(starts) - 1:
            return witness
        at = starts[self.part] + self.offset
        match self.name:
            case "cut":
                return witness[:at]
            case "add":
                return witness + self.data
            case "put":
                return witness[:at] + self.data + witness[at + len(self.data) :]
            case "flip":
                return witness[:at] + bytes([witness[at] ^ self.data[0]]) + witness[at + 1 :] if at < len(witness) else witness
            case "send" | "omit":
                return self._with_sibling(witness, starts[self.part] + LEAF_BYTES)
            case "swap" if len(starts) > self.part + 2:
                first, second, end = starts[self.part : self.part + 3]
                return witness[:first] + witness[second:end] + witness[first:second] + witness[end:]
            case "repeat":
                return witness + witness[at:]
        return witness

    def _with_sibling(self, witness: bytes, at: int) -> bytes:
        height = self.offset
        sent = int.from_bytes(witness[at : at + SENT_BYTES], "big")
        place = at + SENT_BYTES + HASH_BYTES * (sent & (1 << height) - 1).bit_count()
        if (self.name == "send") == bool(sent >> height & 1):
            return witness
        flipped = witness[:at] + (sent ^ 1 << height).to_bytes(SENT_BYTES, "big") + witness[at + SENT_BYTES : place]
        return flipped + (self.data or ZERO[height]) + witness[place:] if self.name == "send" else flipped + witness[place + HASH_BYTES :]

    def simpler(self) -> Iterator["Edit"]:
        """Yields edits that change less, or change it to something plainer."""
        plain = {"add": b"\0", "flip": b"\1", "send": b""}.get(self.name, self.data)
        if plain != self.data:
            yield evolve(self, data=plain)
        if self.name in ("send", "omit", "cut", "flip") and self.offset:
            yield evolve(self, offset=0)
        if self.part > 1:
            yield evolve(self, part=1)
        if self.name == "put" and self.data != bytes(len(self.data)):
            yield evolve(self, data=bytes(len(self.data)))
            yield evolve(self, data=self.data[:1].ljust(len(self.data), b"\0"))

    def __str__(self) -> str:
        place = "the end" if self.part == END else f"byte {self.offset} of {f'access {self.part}' if self.part else 'the state'}"
        match self.name:
            case "cut":
                return f"cut off at {place}"
            case "add":
                return f"{len(self.data)} bytes added"
            case "put":
                return f"{self.data.hex()} put at {place}"
            case "flip":
                return f"{self.data.hex()} flipped at {place}"
            case "send":
                return f"sibling {self.offset} of access {self.part} sent: {self.data.hex() or 'the zero subtree'}"
            case "omit":
                return f"sibling {self.offset} of access {self.part} left out"
            case "swap":
                return f"accesses {self.part} and {self.part + 1} exchanged"
        return f"repeated from access {self.part} on"


def simpler_bytes(witness: bytes) -> Iterator[bytes]:
    """Yields witnesses with less in them: cut off at an access, with fewer siblings, with zeros for registers, leaves and hashes."""
    starts = accesses(witness)
    yield from (witness[:at] for at in (0, STATE_BYTES, *starts) if at < len(witness))
    for part, at in enumerate(starts, 1):
        sent = int.from_bytes(witness[at + LEAF_BYTES : at + LEAF_BYTES + SENT_BYTES], "big")
        yield from (Edit("omit", part, height).apply(witness) for height in range(8 * SENT_BYTES) if sent >> height & 1)
    words = [*range(0, KIND_AT, 8), *range(KIND_AT + 1, ROOT_AT, 8)]
    siblings_at, ends = LEAF_BYTES + SENT_BYTES, pairwise([*starts, len(witness)])
    hashes = [at for start, end in ends for at in (start, *range(start + siblings_at, end, HASH_BYTES))]
    for at, size in (*((at, 8) for at in words), (KIND_AT, 1), (ROOT_AT, HASH_BYTES), *((at, HASH_BYTES) for at in hashes)):
        if any(witness[at : at + size]):
            yield witness[:at] + bytes(len(witness[at : at + size])) + witness[at + size :]
