"""The chain as players see it: what they read from it, and the moves that they ask somebody to deliver.

Players keep nothing that they can read again. All they need to know of a game is in the events and in the contract's storage.

*Source*: spec §5.1, §5.2 and §5.8.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from attrs import define, field, frozen

STAGES, INSTRUCTIONS = 1, 2  # phases
PENDING, FINAL, REJECTED = 0, 1, 2  # of a claim
OPEN, SERVER_WON, CHALLENGER_WON, COLLECTED = 0, 1, 2, 3  # of a game
ANYONE = "0x" + 40 * "0"  # the server of a request that any server may claim


@frozen
class Segment:
    """What a game is about: the two sides agree on the hash at `lo` and disagree on the one at `hi`."""

    phase: int
    lo: int
    hi: int
    agreed: bytes
    disputed: bytes
    turn: int

    @property
    def length(self) -> int:
        return self.hi - self.lo

    def boundaries(self, k: int) -> list[int]:
        """Cuts the segment into at most k parts: `lo`, the inner boundaries, `hi`."""
        parts = min(k, self.length)
        return [self.lo + part * self.length // parts for part in range(parts + 1)]


class Parameters(Protocol):
    """What a player needs to know of a deployment."""

    @property
    def k(self) -> int: ...
    @property
    def window_seconds(self) -> int: ...
    @property
    def server_bond_wei(self) -> int: ...
    @property
    def challenger_bond_wei(self) -> int: ...


class Chain(Protocol):
    """What a player reads. `Any` stands for objects with the fields of spec/README.md (6.1: request, claim, game; 6.9: events)."""

    @property
    def now(self) -> int: ...
    @property
    def parameters(self) -> Parameters: ...
    def events(self, since: int = 0) -> Sequence[Any]: ...
    @property
    def accounts(self) -> tuple[str, ...]: ...
    def request_of(self, request_id: bytes) -> Any: ...
    def claim_of(self, claim_id: bytes) -> Any: ...
    def game_of(self, game_id: bytes) -> Any: ...
    def balance_of(self, address: str) -> int: ...


@frozen
class Move:
    """A call to the contract, with the name and the arguments of its interface."""

    name: str
    arguments: tuple[Any, ...]
    value: int = 0  # wei


@frozen
class Wait:
    """There is nothing to do before this time, unless somebody else moves."""

    until: int


Decision = Move | Wait | None  # None: nothing to do unless somebody else moves


@define
class Dispute:
    """One game, as the events tell it."""

    game_id: bytes
    claim_id: bytes
    challenger: str
    segment: Segment
    hashes: bytes = b""  # posted hashes that await a choice
    stage: int = 0  # the opened one; meaningful in phase 2
    server_won: bool | None = None  # None: not decided yet

    @property
    def is_servers_turn(self) -> bool:
        return not self.hashes


@define
class EventLog:
    """All events so far, by the id of what they are about."""

    models: dict[bytes, Any] = field(factory=dict)
    requests: dict[bytes, Any] = field(factory=dict)
    claims: dict[bytes, Any] = field(factory=dict)
    disputes: dict[bytes, Dispute] = field(factory=dict)

    @classmethod
    def of(cls, chain: Chain) -> "EventLog":
        """Reads all events of a chain."""
        log = cls()
        for event in chain.events():
            match type(event).__name__:
                case "Registered":
                    log.models[event.model_id] = event
                case "Requested":
                    log.requests[event.request_id] = event
                case "Claimed":
                    log.claims[event.claim_id] = event
                case "Challenged":
                    claim = log.claims[event.claim_id]
                    first = chain.request_of(claim.request_id).first_run_hash
                    whole = Segment(STAGES, 0, log.requests[claim.request_id].stage_count, first, claim.run_hash, 0)
                    log.disputes[event.game_id] = Dispute(event.game_id, event.claim_id, event.challenger, whole)
                case "Moved":
                    dispute, moved = log.disputes[event.game_id], event.segment
                    if moved.phase == INSTRUCTIONS and dispute.segment.phase == STAGES:
                        dispute.stage = dispute.segment.lo
                    dispute.segment = Segment(moved.phase, moved.lo, moved.hi, moved.agreed, moved.disputed, moved.turn)
                    dispute.hashes = event.hashes
                case "Decided":
                    log.disputes[event.game_id].server_won = event.server_won
        return log
