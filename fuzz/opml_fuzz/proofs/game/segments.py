"""Segments, of which the contract stores only hashes: what is known of one when a call names it.

A node has the hash of its segment and of what is posted there. The call of a move brings both along. If their hash is the stored one, they
are the node's, since no two preimages have the same hash. So whoever looks at the node's segment gets that of the call.

*Source*: spec §5.2 and §5.4.
"""

from collections.abc import Callable, Iterator
from typing import Any

import z3
from attrs import frozen
from opml_spec.dispute import narrowing
from opml_spec.dispute.narrowing import Phase, Segment, boundary
from opml_spec.dispute.objects import NodeState
from opml_spec.hashing import HASH_BYTES
from opml_spec.runs.limits import STAGE_STEP_LIMIT

from opml_fuzz.proofs.game.arithmetic import within
from opml_fuzz.proofs.game.invariants import Fields, exists
from opml_fuzz.proofs.game.open_bytes import OpenOctets


ENDS = ("phase", "lo", "hi", "agreed", "disputed")


@frozen(eq=False)
class Named:
    """What a call says of a node. posted: bytes of either kind; hash: the vector that names both"""

    segment: Segment
    posted: Any
    hash: Any

    def is_of(self, node: Fields) -> Any:
        """Whether it is what the node is about."""
        return node.commitment == self.hash


def named(segment: Segment, posted: Any) -> Named:
    return Named(segment, posted, segment.commitment(posted).term)  # type: ignore[attr-defined]


def facts_about(key: Any, it: Named, k: int) -> Iterator[Any]:
    """Yields what holds of a node if it is the one that the call names."""
    node, (lo, hi) = Fields("nodes", key), (number.term for number in (it.segment.lo, it.segment.hi))  # type: ignore[attr-defined]
    phase, length, posted = it.segment.phase.term, within(hi - lo, 64), posted_length(it.posted)  # type: ignore[attr-defined]
    request = Fields("requests", Fields("claims", node.claim_id).request_id)
    most = z3.If(phase == Phase.STAGES, z3.ZeroExt(224, request.stage_count), z3.BitVecVal(STAGE_STEP_LIMIT, 256))
    yield from when(node, key, it, z3.BoolVal(True), z3.Or(phase == Phase.STAGES, phase == Phase.INSTRUCTIONS), z3.ULT(lo, hi), z3.ULE(hi, most))
    yield from when(node, key, it, node.state == NodeState.OPEN, posted == 0)
    parts = z3.If(z3.ULT(length, k), length, z3.BitVecVal(k, 256))
    yield from when(node, key, it, node.state == NodeState.POSTED, z3.UGE(length, 2), posted == HASH_BYTES * (parts - 1))
    is_root = z3.And(node.state == NodeState.OPEN, node.depth == 1)  # a stage was opened there if it counts instructions
    ends = ((it.segment.agreed, request.first_run_hash), (it.segment.disputed, Fields("claims", node.claim_id).sealed))
    whole = z3.And(lo == 0, hi == z3.ZeroExt(224, request.stage_count), *(one.term == other for one, other in ends))  # type: ignore[attr-defined]
    yield from when(node, key, it, is_root, z3.If(phase == Phase.STAGES, whole, length == 1))


def when(node: Fields, key: Any, it: Named, condition: Any, *facts: Any) -> Iterator[Any]:
    yield z3.Implies(z3.And(exists("nodes", key), it.is_of(node), condition), z3.And(*facts))


def posted_length(posted: Any) -> Any:
    return posted.length if isinstance(posted, OpenOctets) else z3.BitVecVal(len(posted), 256)


@frozen
class HiddenSegment(Segment):
    """The segment of a node that was there. show: finds out what it is; hash: that of it and what is posted"""

    show: Callable[[], Segment]
    hash: Any

    def __getattribute__(self, name: str) -> Any:
        if name in ENDS:
            return getattr(object.__getattribute__(self, "show")(), name)
        return object.__getattribute__(self, name)


def hidden_segment(show: Callable[[], Segment], commitment: Any) -> HiddenSegment:
    return HiddenSegment(0, 0, 0, b"", b"", show, commitment)


def part_of(segment: Segment, posted: Any, part: Any) -> Segment:
    """Does what `narrowing.part_of` does, where neither the number of hashes is known nor which of them is wanted."""
    if not isinstance(posted, OpenOctets):
        return narrowing.part_of(segment, posted, part)
    parts = part.of(posted.length) // HASH_BYTES + 1
    lo, hi = (boundary(segment.lo, segment.length, parts, j) for j in (part, part + 1))
    first, last = part == 0, part == parts - 1
    agreed, disputed = (posted.hash_at(place.term) for place in (part - 1, part))
    ends = ((first, segment.agreed, agreed), (last, segment.disputed, disputed))
    return Segment(segment.phase, lo, hi, *(posted.of(((z3.If(here.formula, own.term, its), HASH_BYTES),)) for here, own, its in ends))  # type: ignore[attr-defined, arg-type]
