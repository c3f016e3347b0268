"""Narrowing: how a long disagreement becomes a short one.

The two sides agree about the hash at the lower end of a segment and disagree about the one at its upper end. The server posts hashes at
inner boundaries that cut it into k parts; some part must be the first whose end is disputed, and the challenger names it. In that part
the two again agree at the lower end and disagree at the upper end, and it is shorter. Nothing here knows what the hashes are of: the
same rule serves stages and instructions.

*Source*: spec §5.2 and §5.3.
"""

from enum import IntEnum

from attrs import frozen

from opml_spec.errors import NoSuchPart, WrongCount
from opml_spec.hashing import HASH_BYTES


class Phase(IntEnum):
    """What a segment counts."""

    STAGES = 1
    INSTRUCTIONS = 2


@frozen
class Segment:
    """The disagreement that is left: `agreed` is the hash at `lo`, `disputed` the server's hash at `hi`."""

    phase: Phase
    lo: int
    hi: int
    agreed: bytes
    disputed: bytes

    @property
    def length(self) -> int:
        return self.hi - self.lo


def part_count(length: int, k: int) -> int:
    """Into how many parts a segment is cut: every part has length ≥ 1."""
    return min(k, length)


def boundary(lo: int, length: int, parts: int, j: int) -> int:
    """Where part j begins and part j − 1 ends, for j in 0 … parts."""
    return lo + j * length // parts


def check_posted(segment: Segment, posted: tuple[bytes, ...], k: int) -> None:
    """The server must post the hashes at all inner boundaries, no more and no fewer."""
    if [len(each) for each in posted] != [HASH_BYTES] * (part_count(segment.length, k) - 1):
        raise WrongCount(f"{len(posted)} hashes for {segment.length} and k = {k}")


def narrow(segment: Segment, posted: tuple[bytes, ...], part: int) -> Segment:
    """The part that the challenger names."""
    parts = len(posted) + 1
    if not 0 <= part < parts:
        raise NoSuchPart(f"{part} of {parts}")
    hashes = (segment.agreed, *posted, segment.disputed)
    lo, hi = (boundary(segment.lo, segment.length, parts, j) for j in (part, part + 1))
    return Segment(segment.phase, lo, hi, hashes[part], hashes[part + 1])


def most_rounds(length: int, k: int) -> int:
    """ceil(log_k length): after so many rounds of post and choose the length is 1, whatever is chosen."""
    rounds, reach = 0, 1
    while reach < length:
        rounds, reach = rounds + 1, reach * k
    return rounds
