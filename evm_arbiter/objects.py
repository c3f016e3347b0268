"""What the contract stores and emits: segments, requests, claims, games, money and events.

Addresses are lower-case hex strings, hashes and ids 32 bytes, money wei, times seconds.

*Source*: spec §5.1 and §5.8.
"""

from enum import IntEnum

from attrs import field, frozen


def fields(word: int, *widths: int) -> list[int]:
    """Splits a storage word into fields, from bit 0 up; the last field takes the remaining bits."""
    values = []
    for width in widths:
        values.append(word & ((1 << width) - 1))
        word >>= width
    return [*values, word]


def address(number: int) -> str:
    """The address in a field of 160 bits."""
    return f"0x{number:040x}"


@frozen
class Segment:
    """What a game is about now. The commitment is a hash of it and of the posted hashes."""

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
    """How the output of a run reads."""

    OK = 0
    FAILED = 1
    UNREADABLE = 2


@frozen
class Request:
    """A request, as the contract stores it."""

    model_root: bytes
    first_run_hash: bytes
    stage_count: int
    deadline: int
    fee: int
    requester: str
    server: str
    pending_claims: int
    fee_reclaimed: bool
    result: bytes  # the id of the first final claim; zero if there is none
    output_hash: bytes  # keccak256 of its output leaves; zero if it failed or is unreadable

    @classmethod
    def unpacked(
        cls, model_root: bytes, first_run_hash: bytes, asked: int, standing: int, fee: int, result: bytes, output_hash: bytes
    ) -> "Request":
        """Unpacks the words of the contract's `requests`, where their layout is explained."""
        requester, deadline, stage_count = fields(asked, 160, 64)
        server, pending_claims, fee_reclaimed = fields(standing, 160, 64)
        return cls(
            model_root, first_run_hash, stage_count, deadline, fee, address(requester), address(server), pending_claims,
            bool(fee_reclaimed), result, output_hash,
        )  # fmt: skip


@frozen
class Claim:
    """A claim, as the contract stores it."""

    request_id: bytes
    run_hash: bytes
    server: str
    claimed_at: int
    status: ClaimStatus
    open_games: int
    challenger_moves: int  # accepted ones, in all open games; once the claim is rejected, in all won and voided ones
    wei_per_move: int  # what one challenger move earns, once the claim is rejected; zero before

    @classmethod
    def unpacked(cls, share_wei: int, request_id: bytes, run_hash: bytes, standing: int, claimed_at: int) -> "Claim":
        """Unpacks the words of the contract's `claims`. share_wei: what a server's lost bond pays out"""
        server, status, open_games, challenger_moves = fields(standing, 160, 8, 40)
        wei_per_move = share_wei // challenger_moves if status == ClaimStatus.REJECTED else 0
        return cls(request_id, run_hash, address(server), claimed_at, ClaimStatus(status), open_games, challenger_moves, wei_per_move)


@frozen
class Game:
    """A game, as the contract stores it."""

    claim_id: bytes
    challenger: str
    commitment: bytes  # zero once a move has decided the game
    server_left: int
    challenger_left: int
    turn_start: int
    moves: int  # of the challenger
    status: GameStatus

    @classmethod
    def unpacked(cls, claim_id: bytes, challenger: str, commitment: bytes, clock: int) -> "Game":
        """Unpacks the words of the contract's `games`."""
        turn_start, server_left, challenger_left, moves, status = fields(clock, 64, 64, 64, 16)
        return cls(claim_id, challenger, commitment, server_left, challenger_left, turn_start, moves, GameStatus(status))


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
