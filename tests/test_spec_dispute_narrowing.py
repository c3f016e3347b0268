"""Narrowing: parts tile a segment, the two ends keep their meaning, and it ends after the stated number of rounds."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.dispute.narrowing import Phase, Segment, boundary, check_posted, most_rounds, narrow, part_count
from opml_spec.errors import NoSuchPart, WrongCount

lengths = st.integers(1, 1 << 32) | st.integers(1, 100)
ks = st.integers(2, 64)


def said(at: int) -> bytes:
    return at.to_bytes(32, "big")


def segment(lo: int, length: int) -> Segment:
    return Segment(Phase.INSTRUCTIONS, lo, lo + length, said(lo), said(lo + length))


def posted(whole: Segment, k: int) -> tuple[bytes, ...]:
    parts = part_count(whole.length, k)
    return tuple(said(boundary(whole.lo, whole.length, parts, j)) for j in range(1, parts))


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
    whole, rounds = segment(lo, length), 0
    while whole.length > 1:
        hashes = posted(whole, k)
        check_posted(whole, hashes, k)
        part = narrow(whole, hashes, data.draw(st.integers(0, len(hashes))))
        assert whole.lo <= part.lo < part.hi <= whole.hi
        assert part == segment(part.lo, part.length)
        whole, rounds = part, rounds + 1
    assert rounds <= most_rounds(length, k)


@given(lengths, ks)
def test_the_longest_way_takes_exactly_the_stated_number_of_rounds(length: int, k: int) -> None:
    whole, rounds = segment(0, length), 0
    while whole.length > 1:
        hashes = posted(whole, k)
        whole = max((narrow(whole, hashes, part) for part in range(len(hashes) + 1)), key=lambda part: part.length)
        rounds += 1
    assert rounds == most_rounds(length, k)
    assert k**rounds >= length
    assert (rounds == 0 or k ** (rounds - 1) < length)


@given(lengths, ks, st.data())
def test_who_names_the_first_disputed_end_still_agrees_below_and_disagrees_above(length: int, k: int, data: st.DataObject) -> None:
    """The invariant: true at `lo`, false at `hi`. So a liar is led to one step that it cannot defend."""
    whole = Segment(Phase.STAGES, 0, length, said(0), b"false")
    while whole.length > 1:
        hashes = tuple(data.draw(st.sampled_from([true, bytes(31) + b"!"])) for true in posted(whole, k))
        parts = [narrow(whole, hashes, part) for part in range(len(hashes) + 1)]
        whole = next(part for part in parts if part.disputed != said(part.hi))
        assert whole.agreed == said(whole.lo)
        assert whole.disputed != said(whole.hi)


@given(st.integers(2, 200), ks, st.integers(-2, 2))
def test_all_inner_hashes_must_be_posted(length: int, k: int, more: int) -> None:
    count = min(k, length) - 1 + more
    if more == 0:
        return
    with pytest.raises(WrongCount):
        check_posted(segment(5, length), (bytes(32),) * max(count, 0), k)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_hash_has_32_bytes(size: int) -> None:
    with pytest.raises(WrongCount):
        check_posted(segment(0, 3), (bytes(32), bytes(size)), 4)


@pytest.mark.parametrize("part", [-1, 3, 255])
def test_only_parts_that_exist_can_be_named(part: int) -> None:
    with pytest.raises(NoSuchPart):
        narrow(segment(0, 3), (bytes(32), bytes(32)), part)


def test_rounds() -> None:
    assert [most_rounds(length, 4) for length in (1, 2, 4, 5, 16, 17)] == [0, 1, 1, 2, 2, 3]
    assert (most_rounds(1 << 24, 32), most_rounds(1 << 32, 32)) == (5, 7)
