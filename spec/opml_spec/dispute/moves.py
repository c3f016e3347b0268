"""Moves: what can be done in the tree of a claim.

Somebody opens the root; the server answers each node once; anybody chooses parts; one instruction is executed, or the server is late.

*Source*: spec §5.4 and §5.5.
"""

from attrs import evolve

from opml_spec.dispute.narrowing import Phase, Segment, part_count
from opml_spec.dispute.objects import Court, Message, Node, NodeState, child_id, seal
from opml_spec.dispute.opening import open_stage, start_of
from opml_spec.dispute.tree import close_node, fall, known, open_part, open_root, pending_claim, post_hashes, server_in_time, with_node
from opml_spec.errors import (
    NoSuchPart,
    NotOutOfTime,
    NotTheOpener,
    NotTheServer,
    OutOfTime,
    PartChosen,
    RootExists,
    StaleCommitment,
    UnknownClaim,
    UnknownNode,
    WindowClosed,
    WrongCount,
    WrongMove,
    WrongSeal,
    WrongState,
    WrongTurn,
    WrongValue,
)
from opml_spec.hashing import HASH_BYTES
from opml_spec.machine.witness import execute_witness
from opml_spec.runs.run import RunStatus


def node_in(court: Court, node_id: bytes, state: NodeState) -> Node:
    """The node, if its claim is pending and it waits for this kind of move."""
    node = known(court.nodes, node_id, UnknownNode)
    pending_claim(court, node.claim_id)
    if node.state is not state:
        raise WrongTurn
    return node


def open_node_as(court: Court, node_id: bytes, segment: Segment) -> Node:
    """The node, if the server owes an answer to exactly this segment."""
    node = node_in(court, node_id, NodeState.OPEN)
    if segment.commitment(b"") != node.commitment:
        raise StaleCommitment
    return node


def servers_node(court: Court, message: Message, node_id: bytes, segment: Segment) -> Node:
    """The node, if the sender owes it an answer to this segment and is in time."""
    node = open_node_as(court, node_id, segment)
    if message.sender != court.claims[node.claim_id].server:
        raise NotTheServer
    if not server_in_time(court, node, message.now):
        raise OutOfTime
    return node


def unsealed(court: Court, node: Node, run_hash: bytes) -> Segment:
    """The node's segment; in the first answer to a root, with the run hash in the place of the seal."""
    claim = court.claims[node.claim_id]
    if node.path:
        return node.segment
    if seal(run_hash, claim.server) != claim.sealed:
        raise WrongSeal
    return evolve(node.segment, disputed=run_hash)


def check_count(court: Court, length: int, hashes: bytes) -> None:
    """Refuses anything but one hash for each inner boundary."""
    if len(hashes) != HASH_BYTES * (part_count(length, court.parameters.k) - 1):
        raise WrongCount(f"{len(hashes)} bytes for {length}")


def challenge(court: Court, message: Message, claim_id: bytes) -> Court:
    """Opens the root of a claim's tree."""
    disputed = known(court.claims, claim_id, UnknownClaim)
    if message.value != court.parameters.root_bond(court.requests[disputed.request_id].bond):
        raise WrongValue
    pending_claim(court, claim_id)
    if message.now >= disputed.closes_at:
        raise WindowClosed
    if disputed.nodes:
        raise RootExists
    return open_root(court, message, claim_id)


def post(court: Court, message: Message, node_id: bytes, segment: Segment, hashes: bytes, run_hash: bytes) -> Court:
    """Answers a long segment with the hashes at its inner boundaries."""
    node = servers_node(court, message, node_id, segment)
    if segment.length < 2:
        raise WrongMove
    disputed = unsealed(court, node, run_hash)
    check_count(court, segment.length, hashes)
    return post_hashes(court, node_id, disputed, hashes, message.now)


def open(
    court: Court,
    message: Message,
    node_id: bytes,
    segment: Segment,
    start_carry: bytes,
    start_status: int,
    steps: int,
    final_state: bytes,
    left_root: bytes,
    final_carry: bytes,
    hashes: bytes,
    run_hash: bytes,
) -> Court:
    """Answers a single stage: exchanges its two run states for two machine states, and posts the first hashes between them."""
    node = servers_node(court, message, node_id, segment)
    if segment.phase != Phase.STAGES or segment.length != 1:
        raise WrongMove
    disputed = unsealed(court, node, run_hash)
    start = start_of(disputed, start_carry, start_status)
    if start.status is RunStatus.FAILED:
        stays = disputed.agreed == disputed.disputed
        return close_node(court, node_id, message.now) if stays else fall(court, node_id, message.now)
    model = court.models[court.requests[court.claims[node.claim_id].request_id].model_id]
    inside = open_stage(disputed, start, model.model_root, steps, final_state, left_root, final_carry)
    check_count(court, inside.length, hashes)
    if inside.length == 1:
        return with_node(court, node_id, evolve(node, segment=inside))
    return post_hashes(court, node_id, inside, hashes, message.now)


def choose(court: Court, message: Message, node_id: bytes, segment: Segment, hashes: bytes, part: int) -> Court:
    """Opens the first part whose end the sender disputes."""
    node = known(court.nodes, node_id, UnknownNode)
    if message.value != court.parameters.node_bond:
        raise WrongValue
    node_in(court, node_id, NodeState.POSTED)
    if segment.commitment(hashes) != node.commitment:
        raise StaleCommitment
    if message.now < node.clock.since + court.parameters.priority and message.sender != node.opener:
        raise NotTheOpener
    if message.now > node.clock.last_choice(court.claims[node.claim_id].closes_at):
        raise OutOfTime
    if not 0 <= part < part_count(segment.length, court.parameters.k):
        raise NoSuchPart
    if child_id(node_id, part) in court.nodes:
        raise PartChosen
    return open_part(court, message, node_id, part)


def arbitrate(court: Court, message: Message, node_id: bytes, segment: Segment, witness: bytes) -> Court:
    """Executes the one instruction that is left, for whoever brings its witness."""
    node = open_node_as(court, node_id, segment)
    if not server_in_time(court, node, message.now):
        raise OutOfTime
    if segment.phase != Phase.INSTRUCTIONS or segment.length != 1:
        raise WrongMove
    before, after = execute_witness(witness)
    if before != segment.agreed:
        raise WrongState
    return close_node(court, node_id, message.now) if after == segment.disputed else fall(court, node_id, message.now)


def timeout(court: Court, message: Message, node_id: bytes) -> Court:
    """The server did not answer a node in time."""
    if server_in_time(court, node_in(court, node_id, NodeState.OPEN), message.now):
        raise NotOutOfTime
    return fall(court, node_id, message.now)
