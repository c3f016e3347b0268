"""What a player knows from events: the requests on its models, their claims and trees, each to be found without a search.

Requests on other models, and everything about them, are passed over; only who claims there is noted, because a server that loses anywhere
has less time everywhere. So strangers' disputes cost little more than the reading of their events. An event whose id does not fit what it
names is passed over, too. Each event changes the index once, through a journal that can take the change back.

*Source*: spec §5.1, §5.2, §5.5 and §5.11.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from attrs import define, field

from opml_min.players.chain import FINAL, OPEN, PENDING, REJECTED, Segment, child_id, claim_id, root_id
from opml_min.players.journal import Journal


@define(eq=False)
class RequestEntry:
    """A request on one of the player's models."""

    request_id: bytes
    model_id: bytes
    requester: str
    stage_count: int
    deadline: int
    fee: int
    bond: int
    server: str
    data: bytes
    claims: list[bytes] = field(factory=list)  # in the order of their indices
    result: bytes | None = None  # the first final claim
    run_hash: bytes | None = None  # of that claim
    next_award: int = 0
    fee_paid: bool = False


@define(eq=False)
class ClaimEntry:
    """A claim about one of these requests."""

    claim_id: bytes
    request_id: bytes
    server: str
    sealed: bytes
    index: int
    closes_at: int
    settles_at: int = 0
    status: int = PENDING
    fell_at: bytes | None = None
    nodes: dict[bytes, "NodeEntry"] = field(factory=dict)


@define(eq=False)
class NodeEntry:
    """A node of such a claim's tree."""

    node_id: bytes
    claim_id: bytes
    opener: str
    parent_id: bytes
    part: int
    segment: Segment
    since: int  # when it came into its state
    due: int
    server_left: int
    challengers_left: int
    state: int = OPEN
    hashes: bytes = b""  # posted
    collected: bool = False

    @property
    def is_root(self) -> bool:
        return not any(self.parent_id)

    def last_choice(self, closes_at: int) -> int:
        """The last second in which a part of a posted node can be chosen. closes_at: that of the claim"""
        return max(self.since, closes_at) + self.challengers_left


@define
class Index:
    """All that exists on the player's models, and what is still to be done about it."""

    is_mine: Callable[[Any], bool]  # whether a registered model is one of the player's
    models: dict[bytes, int] = field(factory=dict)  # microseconds per stage, by id
    requests: dict[bytes, RequestEntry] = field(factory=dict)
    claims: dict[bytes, ClaimEntry] = field(factory=dict)
    nodes: dict[bytes, NodeEntry] = field(factory=dict)
    unanswered: dict[bytes, RequestEntry] = field(factory=dict)  # requests without result whose fee is not gone
    unpaid: dict[bytes, RequestEntry] = field(factory=dict)  # requests with a result whose fee is not paid
    pending: dict[bytes, ClaimEntry] = field(factory=dict)
    open_nodes: dict[str, dict[bytes, NodeEntry]] = field(factory=lambda: defaultdict(dict))  # by server, in the order of opening
    uncollected: dict[str, dict[bytes, NodeEntry]] = field(factory=lambda: defaultdict(dict))  # by opener
    lost_at: dict[str, int] = field(factory=dict)  # when a server first lost a claim, also if it was about another model
    servers: dict[bytes, str] = field(factory=dict)  # of all pending claims, also of those about other models
    journal: Journal = field(factory=Journal)

    def apply(self, event: Any) -> None:
        """Takes note of an event."""
        self.journal.begin()
        note: Callable[[Any], None] | None = getattr(self, f"_{type(event).__name__.lower()}", None)
        if note is not None:
            note(event)

    def undo(self) -> None:
        """Takes the last event back."""
        self.journal.undo()
        for nodes in self.open_nodes.values():  # what is put back goes to the end of a table
            in_order = sorted(nodes.items(), key=lambda item: item[1].due)
            nodes.clear()
            nodes.update(in_order)

    # One method per event ----------------------------------------------------------------------------------------------------

    def _registered(self, event: Any) -> None:
        if event.model_id not in self.models and self.is_mine(event):
            self.journal.put(self.models, event.model_id, event.stage_microseconds)

    def _requested(self, event: Any) -> None:
        if event.model_id in self.models:
            entry = RequestEntry(
                event.request_id, event.model_id, event.requester, event.stage_count, event.deadline, event.fee, event.bond, event.server,
                event.data,
            )  # fmt: skip
            self.journal.put(self.requests, entry.request_id, entry)
            self.journal.put(self.unanswered, entry.request_id, entry)

    def _claimed(self, event: Any) -> None:
        request = self.requests.get(event.request_id)
        if event.claim_id != claim_id(event.request_id, event.server, event.sealed):
            return
        self.journal.put(self.servers, event.claim_id, event.server)
        if request is not None:
            entry = ClaimEntry(event.claim_id, event.request_id, event.server, event.sealed, event.index, event.closes_at)
            self.journal.put(self.claims, entry.claim_id, entry)
            self.journal.put(self.pending, entry.claim_id, entry)
            self.journal.append(request.claims, entry.claim_id)

    def _opened(self, event: Any) -> None:
        claim = self.claims.get(event.claim_id)
        is_root = not any(event.parent_id)
        if claim is None or event.node_id != (root_id(event.claim_id) if is_root else child_id(event.parent_id, event.part)):
            return
        entry = NodeEntry(
            event.node_id, event.claim_id, event.opener, event.parent_id, event.part, segment_of(event.segment), event.since, event.due,
            event.server_left, event.challengers_left,
        )  # fmt: skip
        self.journal.put(self.nodes, entry.node_id, entry)
        self.journal.put(claim.nodes, entry.node_id, entry)
        self.journal.put(self.open_nodes[claim.server], entry.node_id, entry)
        self.journal.put(self.uncollected[entry.opener], entry.node_id, entry)

    def _answered(self, event: Any) -> None:
        node = self.nodes.get(event.node_id)
        if node is None:
            return
        claim, note = self.claims[node.claim_id], self.journal
        for name, value in (
            ("segment", segment_of(event.segment)), ("hashes", event.hashes), ("state", event.state),
            ("since", event.since), ("server_left", event.server_left),
        ):  # fmt: skip
            note.set(node, name, value)
        note.set(claim, "settles_at", event.settles_at)
        if event.state != OPEN:
            note.drop(self.open_nodes[claim.server], node.node_id)

    def _fallen(self, event: Any) -> None:
        self._reject(event.claim_id, event.at, event.node_id)

    def _expired(self, event: Any) -> None:
        self._reject(event.claim_id, event.at)

    def _reject(self, claim_id: bytes, at: int, node_id: bytes | None = None) -> None:
        server = self.servers.get(claim_id)
        if server is not None and server not in self.lost_at:
            self.journal.put(self.lost_at, server, at)
        claim = self._end(claim_id, REJECTED, node_id)
        if claim is not None:
            self._forget_data(self.requests[claim.request_id])

    def _finalised(self, event: Any) -> None:
        claim = self._end(event.claim_id, FINAL)
        if claim is None:
            return
        for node in claim.nodes.values():
            self.journal.drop(self.uncollected[node.opener], node.node_id)
        request = self.requests[claim.request_id]
        if request.result is None:
            self.journal.set(request, "result", claim.claim_id)
            self.journal.set(request, "run_hash", event.run_hash)
            self.journal.drop(self.unanswered, request.request_id)
            if not request.fee_paid:
                self.journal.put(self.unpaid, request.request_id, request)
        self._forget_data(request)

    def _forget_data(self, request: RequestEntry) -> None:
        """Nobody computes a run about which nothing is left to decide."""
        if request.fee_paid and not any(claim_id in self.pending for claim_id in request.claims):
            self.journal.set(request, "data", b"")

    def _end(self, ended: bytes, status: int, node_id: bytes | None = None) -> ClaimEntry | None:
        """A claim is decided, so that the server owes no more answers."""
        self.journal.drop(self.servers, ended)
        claim = self.claims.get(ended)
        if claim is not None:
            self.journal.set(claim, "status", status)
            self.journal.set(claim, "fell_at", node_id)
            self.journal.drop(self.pending, ended)
            for node in claim.nodes.values():
                self.journal.drop(self.open_nodes[claim.server], node.node_id)
        return claim

    def _collected(self, event: Any) -> None:
        node = self.nodes.get(event.node_id)
        if node is not None:
            self.journal.set(node, "collected", True)
            self.journal.drop(self.uncollected[node.opener], node.node_id)

    def _awarded(self, event: Any) -> None:
        self._fee_is_gone(event.request_id)

    def _reclaimed(self, event: Any) -> None:
        self._fee_is_gone(event.request_id)

    def _fee_is_gone(self, request_id: bytes) -> None:
        request = self.requests.get(request_id)
        if request is not None:
            self.journal.set(request, "fee_paid", True)
            self.journal.drop(self.unanswered, request_id)
            self.journal.drop(self.unpaid, request_id)
            self._forget_data(request)

    def _passedover(self, event: Any) -> None:
        request = self.requests.get(event.request_id)
        if request is not None:
            self.journal.set(request, "next_award", request.next_award + 1)


def segment_of(told: Any) -> Segment:
    """A segment as players have it, from one with the same fields."""
    return Segment(told.phase, told.lo, told.hi, told.agreed, told.disputed)
