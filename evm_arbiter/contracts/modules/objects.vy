#pragma version 0.4.3
"""
@title Objects: what goes into the game and comes out of it, apart from numbers and hashes
@notice Segments, which moves name; models, requests, claims, nodes, accounts and books, as views return them; events. Order and names of
        the fields are those of the interface.
        Source: spec §5.11.
"""

from modules import bounds

# Room for one byte (hashes: one hash) more than any legal argument, so that too long ones are refused by name.
MAX_REQUEST_BYTES: constant(uint256) = 16384
POSTED_BYTES: constant(uint256) = 32 * bounds.MAX_K
MAX_OUTPUT_LEAVES: constant(uint256) = 1024
OUTPUT_BYTES: constant(uint256) = 32 * MAX_OUTPUT_LEAVES + 1


struct Segment:
    phase: uint8
    lo: uint64
    hi: uint64
    agreed: bytes32
    disputed: bytes32


struct Model:
    model_root: bytes32
    state_root: bytes32
    stage_microseconds: uint64
    busy_until: uint64


struct Request:
    model_id: bytes32
    stage_count: uint64
    first_run_hash: bytes32
    deadline: uint64
    fee_left: uint128
    bond: uint128
    requester: address
    server: address
    checked_at: uint64
    claims: uint32
    pending: uint32
    next_award: uint32
    fee_paid: bool
    result: bytes32
    run_hash: bytes32
    outcome: uint8
    output_hash: bytes32


struct Claim:
    request_id: bytes32
    server: address
    sealed: bytes32
    index: uint32
    closes_at: uint64
    settles_at: uint64
    open_nodes: uint32
    nodes: uint32
    prices: uint128
    status: uint8
    fell_at: bytes32


struct Node:
    claim_id: bytes32
    opener: address
    depth: uint8
    path: uint128
    commitment: bytes32
    state: uint8
    due: uint64
    server_left: uint64
    challengers_left: uint64
    since: uint64
    price: uint64
    collected: bool


struct Account:
    requests: uint64
    credited: uint128
    due: uint64
    lost_at: uint64


struct Books:
    deposits: uint128
    locked: uint128
    burned: uint128
    paid_out: uint128


event Registered:
    model_id: indexed(bytes32)
    model_root: bytes32
    state_root: bytes32
    stage_microseconds: uint64


event Requested:
    request_id: indexed(bytes32)
    model_id: indexed(bytes32)
    requester: indexed(address)
    stage_count: uint64
    deadline: uint64
    fee: uint256
    bond: uint256
    server: address
    data: Bytes[MAX_REQUEST_BYTES + 1]


event Claimed:
    claim_id: indexed(bytes32)
    request_id: indexed(bytes32)
    server: indexed(address)
    sealed: bytes32
    index: uint32
    checked_at: uint64
    closes_at: uint64


event Opened:
    node_id: indexed(bytes32)
    claim_id: indexed(bytes32)
    opener: indexed(address)
    parent_id: bytes32
    part: uint8
    segment: Segment
    since: uint64
    due: uint64
    server_left: uint64
    challengers_left: uint64
    price: uint64


event Answered:
    node_id: indexed(bytes32)
    claim_id: indexed(bytes32)
    state: uint8
    segment: Segment
    hashes: Bytes[POSTED_BYTES]
    since: uint64
    server_left: uint64
    settles_at: uint64


event Fallen:
    claim_id: indexed(bytes32)
    node_id: indexed(bytes32)
    at: uint64


event Expired:
    claim_id: indexed(bytes32)
    at: uint64


event Finalised:
    claim_id: indexed(bytes32)
    request_id: indexed(bytes32)
    outcome: uint8
    run_hash: bytes32
    output: Bytes[OUTPUT_BYTES]


event Collected:
    node_id: indexed(bytes32)


event Awarded:
    claim_id: indexed(bytes32)
    request_id: indexed(bytes32)


event PassedOver:
    claim_id: indexed(bytes32)
    request_id: indexed(bytes32)


event Reclaimed:
    request_id: indexed(bytes32)


event Credited:
    account: indexed(address)
    subject: indexed(bytes32)
    amount: uint256


event Burned:
    subject: indexed(bytes32)
    amount: uint256


event Withdrawn:
    account: indexed(address)
    to: address
    amount: uint256
