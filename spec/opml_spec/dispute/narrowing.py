"""Narrowing: how a long disagreement becomes a short one.

Somebody agrees with the server about the hash at the lower end of a segment and disagrees about the one at its upper end. The server
posts the hashes at the inner boundaries of up to k parts. Some part is the first whose end is disputed: there the lower end is agreed,
the upper end is not, and it is shorter. The rule does not depend on what the hashes are of: it serves stages and instructions.

*Source*: spec §5.2.
"""

from enum import IntEnum

from attrs import frozen

from opml_spec.hashing import HASH_BYTES, keccak256
from opml_spec.runs.limits import STAGE_STEP_LIMIT

MOST_STAGES = 1 << 24
"""Stages of the longest run. (= 16777216)"""


class Phase(IntEnum):
    """What a segment counts."""

    STAGES = 1
    INSTRUCTIONS = 2


@frozen
class Segment:
    """A disagreement: `agreed` is the hash at `lo`, `disputed` the server's hash at `hi`."""

    phase: int
    lo: int
    hi: int
    agreed: bytes
    disputed: bytes

    @property
    def length(self) -> int:
        return self.hi - self.lo

    def commitment(self, posted: bytes) -> bytes:
        """The hash by which a move names this segment together with the hashes posted in it."""
        numbers = self.phase.to_bytes(1, "big") + self.lo.to_bytes(8, "big") + self.hi.to_bytes(8, "big")
        return keccak256(numbers + self.agreed + self.disputed + posted)


def part_count(length: int, k: int) -> int:
    """The number of parts into which a segment is cut; every part has length ≥ 1."""
    return min(k, length)


def boundary(lo: int, length: int, parts: int, j: int) -> int:
    """Where part j begins and part j − 1 ends, for j in 0 … parts."""
    return lo + j * length // parts


def inner_boundaries(segment: Segment, k: int) -> list[int]:
    """Where the server must post hashes."""
    parts = part_count(segment.length, k)
    return [boundary(segment.lo, segment.length, parts, j) for j in range(1, parts)]


def split(posted: bytes) -> list[bytes]:
    """The posted hashes, one by one."""
    return [posted[at : at + HASH_BYTES] for at in range(0, len(posted), HASH_BYTES)]


def part_of(segment: Segment, posted: bytes, part: int) -> Segment:
    """One part of a segment whose inner hashes are posted."""
    hashes = [segment.agreed, *split(posted), segment.disputed]
    lo, hi = (boundary(segment.lo, segment.length, len(hashes) - 1, j) for j in (part, part + 1))
    return Segment(segment.phase, lo, hi, hashes[part], hashes[part + 1])


def rounds(length: int, k: int) -> int:
    """ceil(log_k length): after so many choices the length is 1, whatever is chosen."""
    count, reach = 0, 1
    while reach < length:
        count, reach = count + 1, reach * k
    return count


def most_nodes(k: int) -> int:
    """R: the nodes of the longest path. Where stages become instructions the node stays, so there is one node more than choices."""
    return rounds(MOST_STAGES, k) + rounds(STAGE_STEP_LIMIT, k) + 1
