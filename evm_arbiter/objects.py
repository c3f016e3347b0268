"""What stands in the contract and what it tells: segments, requests, claims, games, money, events.

Addresses are lower-case hex strings, hashes and ids 32 bytes, money wei, times seconds.

*Source*: spec/README.md, 6.1 and 6.9.
"""

from enum import IntEnum

from attrs import field, frozen


@frozen
class Segment:
    """What a game is about now; with the posted hashes it is the preimage of the position."""

    phase: int  # 1 stages, 2 instructions
    lo: int
    hi: int
    agreed: bytes
    disputed: bytes
    turn: int


class ClaimStatus(IntEnum):
    PENDING = 0
    FINAL = 1
    REJECTED = 2


class GameStatus(IntEnum):
    OPEN = 0
    SERVER_WON = 1
    CHALLENGER_WON = 2
    COLLECTED = 3


class Outcome(IntEnum):
    """How the result of a request reads out."""

    OK = 0
    FAILED = 1
    UNREADABLE = 2


@frozen
class Request:
    """`request_of`."""

    model_root: bytes
    first_run_hash: bytes
    stage_count: int
    deadline: int
    fee: int
    requester: str
    server: str
    pending_claims: int
    fee_reclaimed: bool
    result: bytes  # id of the first final claim; zero if none
    output_hash: bytes  # keccak256 of its output leaves; zero if it failed or is unreadable


@frozen
class Claim:
    """`claim_of`."""

    request_id: bytes
    run_hash: bytes
    server: str
    claimed_at: int
    status: ClaimStatus = field(converter=ClaimStatus)
    open_games: int
    weight: int  # accepted moves of the challengers of its open games; of won and voided ones once it is rejected
    unit: int  # wei for each of these moves, once it is rejected


@frozen
class Game:
    """`game_of`."""

    claim_id: bytes
    challenger: str
    position: bytes  # of a game that moves decided: zero
    server_left: int
    challenger_left: int
    turn_start: int
    moves: int  # of the challenger
    status: GameStatus = field(converter=GameStatus)


@frozen
class Totals:
    """Where all the money is: deposits = locked + credited (the sum of `balance_of`) + burned + paid_out."""

    deposits: int
    locked: int
    burned: int
    paid_out: int


@frozen
class Registered:
    model_id: bytes
    model_root: bytes
    state_root: bytes


@frozen
class Requested:
    request_id: bytes
    model_id: bytes
    requester: str
    stage_count: int
    deadline: int
    fee: int
    server: str
    data: bytes


@frozen
class Claimed:
    claim_id: bytes
    request_id: bytes
    server: str
    run_hash: bytes


@frozen
class Challenged:
    game_id: bytes
    claim_id: bytes
    challenger: str


@frozen
class Moved:
    game_id: bytes
    segment: Segment  # after the move
    hashes: bytes  # posted and not yet answered


@frozen
class Decided:
    game_id: bytes
    claim_id: bytes
    server_won: bool


@frozen
class Finalised:
    claim_id: bytes
    request_id: bytes
    outcome: Outcome = field(converter=Outcome)
    output: bytes


Event = Registered | Requested | Claimed | Challenged | Moved | Decided | Finalised
