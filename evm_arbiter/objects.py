"""What stands in the contract and what it tells: models, requests, claims, nodes of dispute trees, money, events.

Addresses are lower-case hex strings, hashes and ids 32 bytes, money wei, times seconds. Fields have the names and the order of the
contract's interface; for an unknown id every field is zero.

*Source*: spec §5.1, §5.2 and §5.11.
"""

from enum import IntEnum

from attrs import field, frozen


@frozen
class Segment:
    """What a node is about now; with the posted hashes it is the preimage of the commitment."""

    phase: int  # 1 stages, 2 instructions
    lo: int
    hi: int
    agreed: bytes  # at lo
    disputed: bytes  # at hi, what the server says


class ClaimStatus(IntEnum):
    PENDING = 0
    FINAL = 1
    REJECTED = 2


class NodeState(IntEnum):
    """Whose move it is at a node. `NONE` is what the view gives for an unknown id."""

    NONE = 0
    OPEN = 1  # the server owes an answer
    POSTED = 2  # parts may be chosen
    ANSWERED = 3  # nothing can follow


class Outcome(IntEnum):
    """How the result of a request reads out."""

    OK = 0
    FAILED = 1
    UNREADABLE = 2


@frozen
class Model:
    """What `Court.model_of` returns."""

    model_root: bytes
    state_root: bytes
    stage_microseconds: int  # what one stage takes a validator
    busy_until: int  # when all work in its line is checked


@frozen
class Request:
    """What `Court.request_of` returns."""

    model_id: bytes
    stage_count: int
    first_run_hash: bytes
    deadline: int
    fee_left: int  # the whole fee until it is paid, then zero
    bond: int  # of each claim
    requester: str
    server: str  # the only one that may claim; zero: anyone
    checked_at: int  # when a validator has the run; zero until the first claim
    claims: int
    pending: int
    next_award: int  # index of the claim that is next to get the fee or be passed over
    fee_paid: bool
    result: bytes  # id of the first final claim; zero if none
    run_hash: bytes  # of the result
    outcome: Outcome = field(converter=Outcome)
    output_hash: bytes  # keccak256 of its output leaves; zero if it failed or is unreadable


@frozen
class Claim:
    """What `Court.claim_of` returns."""

    request_id: bytes
    server: str
    sealed: bytes  # keccak256 of the run hash and the server
    index: int  # among the claims of the request
    closes_at: int
    settles_at: int  # when the last part that is posted so far can no longer be chosen
    open_nodes: int
    nodes: int
    prices: int  # sum of the prices of its nodes
    status: ClaimStatus = field(converter=ClaimStatus)
    fell_at: bytes  # the node; zero if it did not fall


@frozen
class TreeNode:
    """What `Court.node_of` returns."""

    claim_id: bytes
    opener: str
    depth: int  # of the root 1
    path: int  # the parts chosen from the root down, as one number
    commitment: bytes
    state: NodeState = field(converter=NodeState)
    due: int
    server_left: int
    challengers_left: int
    since: int  # when it came into this state
    price: int  # of gas, when it was opened
    collected: bool


@frozen
class Account:
    """What `Court.account_of` returns."""

    requests: int  # how many it made
    credited: int  # what `withdraw_to` would pay it
    due: int  # as a server: when the last of its nodes is due
    lost_at: int  # as a server: when the first of its claims was rejected; zero before


@frozen
class Books:
    """Where all the money is: deposits = locked + credited (the sum over all accounts) + burned + paid_out."""

    deposits: int
    locked: int
    burned: int
    paid_out: int


@frozen
class Result:
    """What `Court.result_of` returns."""

    outcome: Outcome = field(converter=Outcome)
    output_hash: bytes
    claim_id: bytes


# Events


@frozen
class Registered:
    model_id: bytes
    model_root: bytes
    state_root: bytes
    stage_microseconds: int


@frozen
class Requested:
    request_id: bytes
    model_id: bytes
    requester: str
    stage_count: int
    deadline: int
    fee: int
    bond: int
    server: str
    data: bytes


@frozen
class Claimed:
    claim_id: bytes
    request_id: bytes
    server: str
    sealed: bytes
    index: int
    checked_at: int
    closes_at: int


@frozen
class Opened:
    """A node was opened, by `challenge` or `choose`."""

    node_id: bytes
    claim_id: bytes
    opener: str
    parent_id: bytes  # of a root zero
    part: int
    segment: Segment
    since: int
    due: int
    server_left: int
    challengers_left: int
    price: int


@frozen
class Answered:
    """A node after `post`, `open`, or an `arbitrate` that the server survives."""

    node_id: bytes
    claim_id: bytes
    state: NodeState = field(converter=NodeState)
    segment: Segment
    hashes: bytes
    since: int  # when the node came into this state
    server_left: int
    settles_at: int  # of the claim


@frozen
class Fallen:
    """A claim was rejected at this node."""

    claim_id: bytes
    node_id: bytes
    at: int  # the time


@frozen
class Expired:
    """A claim was rejected without a node."""

    claim_id: bytes
    at: int  # the time


@frozen
class Finalised:
    claim_id: bytes
    request_id: bytes
    outcome: Outcome = field(converter=Outcome)
    run_hash: bytes
    output: bytes


@frozen
class Collected:
    node_id: bytes


@frozen
class Awarded:
    """The fee went to this claim."""

    claim_id: bytes
    request_id: bytes


@frozen
class PassedOver:
    """The fee does not go to this claim."""

    claim_id: bytes
    request_id: bytes


@frozen
class Reclaimed:
    request_id: bytes


@frozen
class Credited:
    account: str
    subject: bytes  # claim, node or request
    amount: int


@frozen
class Burned:
    subject: bytes  # request, claim or node
    amount: int


@frozen
class Withdrawn:
    account: str
    to: str
    amount: int


Event = (
    Registered | Requested | Claimed | Opened | Answered | Fallen | Expired | Finalised | Collected | Awarded | PassedOver | Reclaimed
    | Credited | Burned | Withdrawn
)  # fmt: skip
