"""Narrowing: parts tile a segment, the two ends keep their meaning, and it ends after the stated number of rounds."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from opml_spec.dispute.narrowing import Phase, Segment, boundary, inner_boundaries, most_nodes, part_count, part_of, rounds, split
from opml_spec.hashing import keccak256
from opml_spec.runs.run import STAGE_STEP_LIMIT

lengths = st.integers(1, 1 << 32) | st.integers(1, 100)
ks = st.integers(2, 64)


def said(at: int) -> bytes:
    return at.to_bytes(32, "big")


def segment(lo: int, length: int) -> Segment:
    return Segment(Phase.INSTRUCTIONS, lo, lo + length, said(lo), said(lo + length))


def posted(whole: Segment, k: int) -> bytes:
    return b"".join(map(said, inner_boundaries(whole, k)))


@given(st.integers(0, 1 << 40), lengths, ks)
def test_parts_tile_the_segment_and_none_is_empty(lo: int, length: int, k: int) -> None:
    parts = part_count(length, k)
    ends = [boundary(lo, length, parts, j) for j in range(parts + 1)]
    assert (ends[0], ends[-1]) == (lo, lo + length)
    sizes = {high - low for low, high in itertools.pairwise(ends)}
    assert sizes <= {length // parts, -(-length // parts)}
    assert min(sizes) >= 1
    assert ends[1] - lo == length // parts  # rounded down: the first part is never the longer one


@given(st.integers(0, 1 << 40), lengths, ks, st.data())
def test_the_hashes_at_both_ends_are_those_of_these_places(lo: int, length: int, k: int, data: st.DataObject) -> None:
    whole, choices = segment(lo, length), 0
    while whole.length > 1:
        part = part_of(whole, posted(whole, k), data.draw(st.integers(0, part_count(whole.length, k) - 1)))
        assert whole.lo <= part.lo < part.hi <= whole.hi
        assert part == segment(part.lo, part.length)
        whole, choices = part, choices + 1
    assert choices <= rounds(length, k)


@given(lengths, ks)
def test_the_longest_way_takes_exactly_the_stated_number_of_rounds(length: int, k: int) -> None:
    whole, choices = segment(0, length), 0
    while whole.length > 1:
        parts = range(part_count(whole.length, k))
        whole = max((part_of(whole, posted(whole, k), part) for part in parts), key=lambda part: part.length)
        choices += 1
    assert choices == rounds(length, k)
    assert k**choices >= length
    assert choices == 0 or k ** (choices - 1) < length


@given(lengths, ks, st.data())
def test_who_names_the_first_disputed_end_still_agrees_below_and_disagrees_above(length: int, k: int, data: st.DataObject) -> None:
    """The invariant: true at `lo`, false at `hi`. So a liar is led to one step that it cannot defend."""
    false = b"\xff" * 32
    whole = Segment(Phase.STAGES, 0, length, said(0), false)
    while whole.length > 1:
        hashes = [data.draw(st.sampled_from([true, false])) for true in split(posted(whole, k))]
        parts = [part_of(whole, b"".join(hashes), part) for part in range(len(hashes) + 1)]
        whole = next(part for part in parts if part.disputed != said(part.hi))
        assert whole.agreed == said(whole.lo)
        assert whole.disputed != said(whole.hi)


def test_the_cut_of_a_thousand() -> None:
    whole = segment(0, 1_000)
    assert inner_boundaries(whole, 32)[:3] == [31, 62, 93]
    assert len(inner_boundaries(whole, 32)) == 31
    assert inner_boundaries(segment(5, 1), 32) == []


def test_commitment() -> None:
    whole = Segment(2, 3, 258, said(1), said(2))
    assert whole.commitment(said(7)) == keccak256(b"\2" + bytes(7) + b"\3" + bytes(6) + b"\1\2" + said(1) + said(2) + said(7))
    assert whole.commitment(b"") == keccak256(b"\2" + bytes(7) + b"\3" + bytes(6) + b"\1\2" + said(1) + said(2))


def test_rounds_and_nodes() -> None:
    assert [rounds(length, 4) for length in (1, 2, 4, 5, 16, 17)] == [0, 1, 1, 2, 2, 3]
    assert (rounds(1 << 24, 32), rounds(STAGE_STEP_LIMIT, 32)) == (5, 7)
    assert [most_nodes(k) for k in (2, 4, 32, 64)] == [57, 29, 13, 11]
