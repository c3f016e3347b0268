"""Objects: models, requests, claims and nodes, how they are named, and the court that holds them all.

An id is a hash of what it names, so a reorganisation of the chain cannot make one mean something else. A claim is sealed: without the
server's address in it, it could be copied by somebody who did not compute the run.

*Source*: spec §5.1 and §5.2.
"""

from collections.abc import Mapping
from enum import IntEnum

from attrs import field, frozen

from opml_spec.dispute.clocks import Clock
from opml_spec.dispute.money import Ledger
from opml_spec.dispute.narrowing import Segment
from opml_spec.dispute.parameters import Parameters
from opml_spec.dispute.result import Outcome
from opml_spec.hashing import keccak256

ANYONE = bytes(20)  # as the server of a request
MICROSECONDS = 1_000_000  # of a second


class ClaimStatus(IntEnum):
    """A claim leaves PENDING once."""

    PENDING = 0
    FINAL = 1
    REJECTED = 2


class NodeState(IntEnum):
    """What a node waits for."""

    OPEN = 1  # the server's answer
    POSTED = 2  # choices of its parts
    ANSWERED = 3  # nothing


@frozen
class Model:
    """A model is its two roots and the time that a stage takes."""

    model_root: bytes
    state_root: bytes
    stage_microseconds: int
    busy_until: int = 0
    """The end of the line: when all requests with a claim can have been recomputed on one machine."""

    def work(self, stage_count: int) -> int:
        """The seconds that it takes to recompute a run, rounded up."""
        return -(-stage_count * self.stage_microseconds // MICROSECONDS)


@frozen
class Request:
    """A run that somebody pays for."""

    model_id: bytes
    stage_count: int
    first_run_hash: bytes
    """Where the run begins; the court computes it."""
    deadline: int
    fee_left: int
    """The fee until it is paid, then 0."""
    bond: int
    """What each claim stakes."""
    requester: bytes
    server: bytes
    """The only one that may claim, or `ANYONE`."""
    checked_at: int = 0
    """When its turn in the model's line ends; 0 until the first claim."""
    claims: int = 0
    pending: int = 0
    next_award: int = 0
    """The index of the claim that gets the fee, or is passed over, next."""
    fee_paid: bool = False
    result: bytes | None = None
    """The first final claim."""
    run_hash: bytes | None = None
    outcome: Outcome | None = None
    output_hash: bytes | None = None


@frozen
class Claim:
    """A server's word for how a run ends, with a bond."""

    request_id: bytes
    server: bytes
    sealed: bytes
    index: int
    """The claims that the request had before."""
    closes_at: int
    """From then on it cannot be challenged."""
    settles_at: int = 0
    """Until then a part may still be chosen somewhere."""
    open_nodes: int = 0
    nodes: int = 0
    prices: int = 0
    """The sum of the prices of its nodes."""
    status: ClaimStatus = ClaimStatus.PENDING
    fell_at: bytes | None = None
    """The node that the server failed."""


@frozen
class Node:
    """A disputed segment of a claim. The contract keeps the commitment instead of segment and posted hashes."""

    claim_id: bytes
    opener: bytes
    path: tuple[int, ...]
    """The parts chosen from the root down to here."""
    segment: Segment
    clock: Clock
    price: int
    """The base fee when it was opened, up to the cap."""
    state: NodeState = NodeState.OPEN
    posted: bytes = b""
    """The inner hashes, one after the other."""
    collected: bool = False

    @property
    def commitment(self) -> bytes:
        """What a move must name: it makes sure that both sides mean the same thing."""
        return self.segment.commitment(self.posted)

    @property
    def depth(self) -> int:
        """The number of nodes from the root to here."""
        return 1 + len(self.path)

    def on_the_way_to(self, other: "Node") -> bool:
        """Whether the other node, of the same claim, is this one or below it."""
        return other.path[: len(self.path)] == self.path


@frozen
class Message:
    """Who acts, when, with how much money, and what gas costs in this block."""

    sender: bytes
    now: int
    value: int = 0
    basefee: int = 0


@frozen
class Court:
    """All that the contract stores."""

    parameters: Parameters
    models: Mapping[bytes, Model] = {}
    requests: Mapping[bytes, Request] = {}
    claims: Mapping[bytes, Claim] = {}
    nodes: Mapping[bytes, Node] = {}
    requests_made: Mapping[bytes, int] = {}
    """By requester: the nonce of its next request."""
    server_due: Mapping[bytes, int] = {}
    """By server: when the last node opened against it is due."""
    server_lost_at: Mapping[bytes, int] = {}
    """By server: when the first of its claims was rejected."""
    ledger: Ledger = field(factory=Ledger)


def model_id(model_root: bytes, state_root: bytes, stage_microseconds: int) -> bytes:
    """Names a model."""
    return keccak256(model_root + state_root + stage_microseconds.to_bytes(8, "big"))


def request_id(requester: bytes, nonce: int, request: Request, data: bytes) -> bytes:
    """Names a request that is new, so that its whole fee is left."""
    numbers = request.stage_count.to_bytes(8, "big") + request.deadline.to_bytes(8, "big")
    money = request.fee_left.to_bytes(32, "big") + request.bond.to_bytes(32, "big")
    return keccak256(requester + nonce.to_bytes(8, "big") + request.model_id + numbers + money + request.server + keccak256(data))


def seal(run_hash: bytes, server: bytes) -> bytes:
    """Hides a run hash from everybody who does not know it, and binds it to one server."""
    return keccak256(run_hash + server)


def claim_id(request_id: bytes, server: bytes, sealed: bytes) -> bytes:
    """Names a claim."""
    return keccak256(request_id + server + sealed)


def root_id(claim_id: bytes) -> bytes:
    """Names the root of a claim's tree."""
    return keccak256(claim_id)


def child_id(node_id: bytes, part: int) -> bytes:
    """Names a part of a node."""
    return keccak256(node_id + part.to_bytes(1, "big"))
