"""The tree: nodes are opened once, answered once by the server for everybody, and a claim falls at the first one that it fails.

These are the three things that can happen in a tree. What is legal when is the business of the acts; here is what follows.

*Source*: spec §5.4, §5.5 and §5.6.
"""

from collections.abc import Mapping
from typing import TypeVar

from attrs import evolve

from opml_spec.dispute.clocks import Clock, next_due
from opml_spec.dispute.money import Settlement, settle
from opml_spec.dispute.narrowing import Phase, Segment, part_of
from opml_spec.dispute.objects import Claim, ClaimStatus, Court, Message, Node, NodeState, Request, child_id, root_id
from opml_spec.errors import ClaimNotPending, SpecError, UnknownClaim

Thing = TypeVar("Thing")


def known(things: Mapping[bytes, Thing], identity: bytes, error: type[SpecError]) -> Thing:
    """Finds what has this id."""
    if identity not in things:
        raise error
    return things[identity]


def pending_claim(court: Court, claim_id: bytes) -> Claim:
    """The claim, if it is not decided yet."""
    it = known(court.claims, claim_id, UnknownClaim)
    if it.status is not ClaimStatus.PENDING:
        raise ClaimNotPending
    return it


def with_request(court: Court, request_id: bytes, request: Request) -> Court:
    return evolve(court, requests={**court.requests, request_id: request})


def with_claim(court: Court, claim_id: bytes, claim: Claim) -> Court:
    return evolve(court, claims={**court.claims, claim_id: claim})


def with_node(court: Court, node_id: bytes, node: Node) -> Court:
    return evolve(court, nodes={**court.nodes, node_id: node})


def open_root(court: Court, message: Message, claim_id: bytes) -> Court:
    """Opens the root of a claim's tree: the whole run, and until the server's first answer the seal stands for the run hash."""
    claim, parameters = court.claims[claim_id], court.parameters
    request = court.requests[claim.request_id]
    segment = Segment(Phase.STAGES, 0, request.stage_count, request.first_run_hash, claim.sealed)
    due = next_due(court.server_due.get(claim.server, 0), message.now, parameters.effort)
    clock = Clock(due, parameters.server_time, parameters.challenger_time, message.now)
    return open_node(court, message, root_id(claim_id), claim_id, (), segment, clock)


def open_part(court: Court, message: Message, node_id: bytes, part: int) -> Court:
    """Opens a part of a posted node."""
    parent = court.nodes[node_id]
    claim = court.claims[parent.claim_id]
    due = next_due(court.server_due.get(claim.server, 0), message.now, court.parameters.effort)
    clock = parent.clock.child(due, claim.closes_at, message.now)
    segment = part_of(parent.segment, parent.posted, part)
    return open_node(court, message, child_id(node_id, part), parent.claim_id, (*parent.path, part), segment, clock)


def open_node(
    court: Court, message: Message, node_id: bytes, claim_id: bytes, path: tuple[int, ...], segment: Segment, clock: Clock
) -> Court:
    """Locks the opener's bond, counts the node and sets the server's next due time."""
    claim, price = court.claims[claim_id], min(message.basefee, court.parameters.gas_price_cap)
    node = Node(claim_id, message.sender, path, segment, clock, price)
    claim = evolve(claim, nodes=claim.nodes + 1, open_nodes=claim.open_nodes + 1, prices=claim.prices + price)
    court = evolve(court, ledger=court.ledger.deposit(message.value), server_due={**court.server_due, claim.server: clock.due})
    return with_node(with_claim(court, claim_id, claim), node_id, node)


def post_hashes(court: Court, node_id: bytes, segment: Segment, hashes: bytes, now: int) -> Court:
    """The node has this segment and these inner hashes; parts of it may be chosen."""
    node = court.nodes[node_id]
    node = evolve(node, segment=segment, posted=hashes, state=NodeState.POSTED, clock=answered_clock(court, node, now))
    return answered(court, node_id, node, node.clock.last_choice(court.claims[node.claim_id].closes_at))


def close_node(court: Court, node_id: bytes, now: int) -> Court:
    """The server was right, and nothing can follow. The claim does not settle before this, however late it is."""
    node = court.nodes[node_id]
    return answered(court, node_id, evolve(node, state=NodeState.ANSWERED, clock=answered_clock(court, node, now)), now)


def late(court: Court, node: Node, now: int) -> int:
    """By how much the server is late at an open node."""
    return node.clock.late(now, court.server_lost_at.get(court.claims[node.claim_id].server, 0), court.parameters.effort)


def server_in_time(court: Court, node: Node, now: int) -> bool:
    """Whether an answer is legal; if not, a timeout is."""
    return late(court, node, now) <= node.clock.server_left


def answered_clock(court: Court, node: Node, now: int) -> Clock:
    """The node's clock after an answer."""
    return node.clock.answered(now, late(court, node, now))


def answered(court: Court, node_id: bytes, node: Node, settles_at: int) -> Court:
    """One node fewer waits for the server."""
    claim = court.claims[node.claim_id]
    claim = evolve(claim, open_nodes=claim.open_nodes - 1, settles_at=max(claim.settles_at, settles_at))
    return with_node(with_claim(court, node.claim_id, claim), node_id, node)


def fall(court: Court, node_id: bytes, now: int) -> Court:
    """The claim is rejected at this node; its bond becomes what its nodes are to get, and the rest is burned."""
    claim_id = court.nodes[node_id].claim_id
    court = reject(court, claim_id, node_id, now)
    return evolve(court, ledger=court.ledger.burn(settlement(court, court.claims[claim_id]).burned))


def reject(court: Court, claim_id: bytes, node_id: bytes | None, now: int) -> Court:
    """The claim is rejected, at a node or, if it expired, at none. What else its server was asked excuses it no longer."""
    claim = court.claims[claim_id]
    court = evolve(court, server_lost_at={claim.server: now, **court.server_lost_at})
    request = court.requests[claim.request_id]
    court = with_request(court, claim.request_id, evolve(request, pending=request.pending - 1))
    return with_claim(court, claim_id, evolve(claim, status=ClaimStatus.REJECTED, fell_at=node_id))


def settlement(court: Court, claim: Claim) -> Settlement:
    """The amounts that a fallen claim's nodes get."""
    assert claim.fell_at is not None
    bond, depth = court.requests[claim.request_id].bond, court.nodes[claim.fell_at].depth
    return settle(court.parameters, bond, depth, claim.prices)
