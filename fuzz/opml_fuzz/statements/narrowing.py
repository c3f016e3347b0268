"""Statements about narrowing: every part has a length ≥ 1, the disagreement survives each round, and it ends after ceil(log_k L) rounds.

*Source*: spec §5.2, §5.12.
"""

from typing import Any

from opml_spec.dispute.narrowing import Phase, Segment, boundary, part_count, part_of, rounds
from opml_spec.hashing import HASH_BYTES

from opml_fuzz.statements.statement import Integer, Statement

LONGEST = 1 << 32  # STAGE_STEP_LIMIT; runs are shorter
FLAGS = 7
CUT = {"lo": Integer(0), "length": Integer(2), "j": Integer(0)}
SOME_K = ((2,), (3,), (8,), (16,), (64,))
TRUE, FALSE = 1, 0  # stand for a hash: is it that of the true run?


def is_part(k: Any, lo: Any, length: Any, j: Any) -> Any:
    return j < part_count(length, k)


def parts_cover(k: int, lo: Any, length: Any, j: Any) -> Any:
    """Part 0 begins at lo, the last part ends at hi, each part ends where the next begins, and each has a length ≥ 1."""
    parts = part_count(length, k)
    begin, end = boundary(lo, length, parts, j), boundary(lo, length, parts, j + 1)
    return (boundary(lo, length, parts, 0) == lo) & (boundary(lo, length, parts, parts) == lo + length) & (end - begin >= 1)


def shrinks(k: int, lo: Any, length: Any, j: Any, bound: Any) -> Any:
    """A segment at most k·bound long becomes one at most `bound` long."""
    parts = part_count(length, k)
    return boundary(lo, length, parts, j + 1) - boundary(lo, length, parts, j) <= bound


def fits(k: int, lo: Any, length: Any, j: Any, bound: Any) -> Any:
    return (j < part_count(length, k)) & (length <= k * bound)


def rounds_are_logarithm(k: int, length: Any) -> Any:
    """The number of rounds is the least r with k^r ≥ length."""
    count = rounds(length, k)
    enough = k**count >= length
    return enough if count == 0 else enough & (k ** (count - 1) < length)


def one_round_less(k: int, lo: Any, length: Any, j: Any) -> bool:
    parts = part_count(length, k)
    part = boundary(lo, length, parts, j + 1) - boundary(lo, length, parts, j)
    return rounds(part, k) <= rounds(length, k) - 1


class Posted:
    """Posted hashes that are flags: a slice of 32 bytes is a flag."""

    def __init__(self, flags: tuple[Any, ...]) -> None:
        self.flags = flags

    def __len__(self) -> int:
        return HASH_BYTES * len(self.flags)

    def __getitem__(self, at: slice) -> Any:
        return self.flags[at.start // HASH_BYTES]


def part_with(segment: Segment, flags: tuple[Any, ...], part: int) -> Any:
    """The part of a segment whose posted hashes are these flags."""
    posted: Any = Posted(flags)
    return part_of(segment, posted, part)


def segment(lo: Any, length: Any, agreed: int, disputed: int) -> Any:
    """Makes a segment whose hashes are flags."""
    ends: Any = (agreed, disputed)
    return Segment(Phase.STAGES, lo, lo + length, *ends)


def honest_challenger(parts: int, lo: Any, length: Any, *flags: Any) -> Any:
    """A challenger that names the first part with a false end gets a part with a true beginning, inside the segment."""
    posted = flags[: parts - 1]
    part = next(j for j, flag in enumerate((*posted, FALSE)) if flag == FALSE)
    after = part_with(segment(lo, length, TRUE, FALSE), posted, part)
    return (after.agreed == TRUE) & (after.disputed == FALSE) & (lo <= after.lo) & (after.lo < after.hi) & (after.hi <= lo + length)


def honest_server(parts: int, lo: Any, length: Any, *flags: Any) -> bool:
    """A server that posts true hashes keeps true ends, whichever part is named."""
    before = segment(lo, length, TRUE, TRUE)
    named = [part_with(before, (TRUE,) * (parts - 1), part) for part in range(parts)]
    return all(after.agreed == TRUE and after.disputed == TRUE for after in named)


def long_enough(parts: int, lo: Any, length: Any, *_: Any) -> Any:
    return length >= parts


CUTS = {"lo": Integer(0), "length": Integer(2), **{f"true_{j}": Integer(0, 1) for j in range(1, FLAGS + 1)}}
PARTS = tuple((parts,) for parts in range(2, FLAGS + 2))
STATEMENTS = (
    Statement(
        "narrowing.parts", "the parts cover the segment, each of length ≥ 1", CUT, parts_cover, is_part, tuple((k,) for k in range(2, 65))
    ),
    Statement(
        "narrowing.shrinks",
        "a segment of at most k·b becomes one of at most b, so r rounds do for k^r",
        {**CUT, "bound": Integer(1)},
        shrinks,
        fits,
        tuple((k,) for k in range(2, 65)),
    ),
    Statement("narrowing.logarithm", "rounds is ceil(log_k L)", {"length": Integer(1, LONGEST)}, rounds_are_logarithm, cases=SOME_K),
    Statement(
        "narrowing.rounds",
        "each round reduces the number of rounds that remain",
        {"lo": Integer(0), "length": Integer(2, LONGEST), "j": Integer(0)},
        one_round_less,
        is_part,
        SOME_K,
    ),
    Statement("narrowing.challenger", "honest challengers keep agreed true, disputed false", CUTS, honest_challenger, long_enough, PARTS),
    Statement("narrowing.server", "an honest server keeps both ends true", CUTS, honest_server, long_enough, PARTS),
)
