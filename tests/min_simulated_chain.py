"""A chain on which the specification is the contract, for players under more attacks than the embedded EVM can carry in a test's time.

It keeps what a contract would store, and the log of its events. Logs can be withheld, and the chain can be set back. `HashRun` is a run
that is nothing but hashes: it fails at its end, so that it can be finalised without an output.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from opml_spec.dispute import objects as spec
from opml_spec.dispute.acts import Act, act, deploy
from opml_spec.dispute.narrowing import Segment as SpecSegment
from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import SpecError
from opml_spec.runs.run import first_state, io_quarter

from opml_min.machine.hashing import keccak256
from opml_min.model.staged_run import FAILED, OK, RunState
from opml_min.players.chain import Move, Segment, bytes20
from opml_min.players.computation import Computation, Result

ETHER = 10**18
START = 1_750_000_000
BLOCK_SECONDS = 12
ACCOUNTS = tuple(f"0x{number:040x}" for number in range(1, 41))
NO_HASH = bytes(32)


class Registered(NamedTuple):
    model_id: bytes
    model_root: bytes
    state_root: bytes
    stage_microseconds: int


class Requested(NamedTuple):
    request_id: bytes
    model_id: bytes
    requester: str
    stage_count: int
    deadline: int
    fee: int
    bond: int
    server: str
    data: bytes


class Claimed(NamedTuple):
    claim_id: bytes
    request_id: bytes
    server: str
    sealed: bytes
    index: int
    closes_at: int


class Opened(NamedTuple):
    node_id: bytes
    claim_id: bytes
    opener: str
    parent_id: bytes
    part: int
    segment: Any
    since: int
    due: int
    server_left: int
    challengers_left: int


class Answered(NamedTuple):
    node_id: bytes
    claim_id: bytes
    state: int
    segment: Any
    hashes: bytes
    since: int
    server_left: int
    settles_at: int


class Fallen(NamedTuple):
    claim_id: bytes
    node_id: bytes
    at: int


class Expired(NamedTuple):
    claim_id: bytes
    at: int


class Finalised(NamedTuple):
    claim_id: bytes
    request_id: bytes
    run_hash: bytes


class Collected(NamedTuple):
    node_id: bytes


class Awarded(NamedTuple):
    claim_id: bytes
    request_id: bytes


class PassedOver(NamedTuple):
    claim_id: bytes
    request_id: bytes


class Reclaimed(NamedTuple):
    request_id: bytes


class SimulatedChain:
    """Everything that a player reads, and `send`."""

    def __init__(self, parameters: Parameters | None = None) -> None:
        self.parameters = parameters or Parameters()
        self.court = deploy(self.parameters)
        self.now = START
        self.accounts = ACCOUNTS
        self.log: list[Any] = []
        self.balances = dict.fromkeys(ACCOUNTS, 10**6 * ETHER)
        self.is_withheld: Callable[[Any], bool] | None = None

    # What players read ---------------------------------------------------------------------------------------------------

    def events(self, since: int = 0) -> Sequence[Any]:
        if self.is_withheld is None:
            return self.log[since:]
        return [event for event in self.log if not self.is_withheld(event)][since:]

    def balance(self, address: str) -> int:
        return self.balances[address]

    def model_of(self, model_id: bytes) -> Any:
        return self.court.models[model_id]

    def request_of(self, request_id: bytes) -> Any:
        return self.court.requests[request_id]

    def claim_of(self, claim_id: bytes) -> Any:
        return self.court.claims[claim_id]

    def node_of(self, node_id: bytes) -> Any:
        node = self.court.nodes.get(node_id)
        if node is None:
            return SimpleNamespace(state=0, commitment=NO_HASH)
        bits, path = (self.parameters.k - 1).bit_length(), 0
        for part in node.path:
            path = path << bits | part
        return SimpleNamespace(
            state=node.state, commitment=node.commitment, depth=node.depth, path=path, opener="0x" + node.opener.hex(),
            since=node.clock.since, due=node.clock.due, server_left=node.clock.server_left, challengers_left=node.clock.challengers_left,
        )  # fmt: skip

    def account_of(self, address: str) -> Any:
        return SimpleNamespace(credited=self.court.ledger.credited.get(bytes20(address), 0))

    # What happens ---------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        return self.court, self.now, len(self.log), dict(self.balances)

    def restore(self, snapshot: Any) -> None:
        self.court, self.now, count, balances = snapshot
        del self.log[count:]
        self.balances = dict(balances)

    def send(self, sender: str, move: Move) -> str | None:
        """Does what a move says; the name of the error that refuses it."""
        if self.balances[sender] < move.value:
            return "UNAFFORDABLE"
        before = self.court
        arguments = [SpecSegment(*told_segment(each)) if isinstance(each, Segment) else each for each in move.arguments]
        if move.name in ("request", "withdraw_to"):
            arguments[-1] = bytes20(arguments[-1])
        try:
            self.court = act(before, Act(move.name, tuple(arguments), move.value), bytes20(sender), self.now)
        except SpecError as refusal:
            return refusal.name if isinstance(getattr(refusal, "name", None), str) else type(refusal).__name__
        self.balances[sender] += self.court.ledger.paid_out - before.ledger.paid_out - move.value
        self.log += getattr(self, f"_after_{move.name}")(before, arguments, "0x" + bytes20(sender).hex())
        return None

    def _after_register(self, before: Any, arguments: Any, sender: str) -> list[Any]:
        return [Registered(spec.model_id(*arguments), *arguments)]

    def _after_request(self, before: Any, arguments: Any, sender: str) -> list[Any]:
        request_id, made = next(reversed(self.court.requests.items()))
        model_id, stage_count, data, deadline, bond, server = arguments
        return [Requested(request_id, model_id, sender, stage_count, deadline, made.fee_left, bond, "0x" + server.hex(), data)]

    def _after_claim(self, before: Any, arguments: Any, sender: str) -> list[Any]:
        claim_id, made = next(reversed(self.court.claims.items()))
        return [Claimed(claim_id, made.request_id, sender, made.sealed, made.index, made.closes_at)]

    def _after_challenge(self, before: Any, arguments: Any, sender: str) -> list[Any]:
        return [self._opened(spec.root_id(arguments[0]), NO_HASH, 0)]

    def _after_choose(self, before: Any, arguments: Any, sender: str) -> list[Any]:
        return [self._opened(spec.child_id(arguments[0], arguments[3]), arguments[0], arguments[3])]

    def _opened(self, node_id: bytes, parent_id: bytes, part: int) -> Opened:
        node = self.court.nodes[node_id]
        clock = (node.clock.since, node.clock.due, node.clock.server_left, node.clock.challengers_left)
        return Opened(node_id, node.claim_id, "0x" + node.opener.hex(), parent_id, part, node.segment, *clock)

    def _after_post(self, before: Any, arguments: Any, sender: str) -> list[Any]:
        node = self.court.nodes[arguments[0]]
        claim = self.court.claims[node.claim_id]
        if claim.fell_at is not None:
            return [Fallen(node.claim_id, arguments[0], self.now)]
        told = (node.segment, node.posted, node.clock.since, node.clock.server_left)
        return [Answered(arguments[0], node.claim_id, int(node.state), *told, claim.settles_at)]

    _after_open = _after_arbitrate = _after_timeout = _after_post

    def _after_finalise(self, before: Any, arguments: Any, sender: str) -> list[Any]:
        claim = self.court.claims[arguments[0]]
        request = self.court.requests[claim.request_id]
        events: list[Any] = [Finalised(arguments[0], claim.request_id, request.run_hash or NO_HASH)]
        if request.fee_paid and not before.requests[claim.request_id].fee_paid:
            events.append(Awarded(arguments[0], claim.request_id))
        return events

    def _after_expire(self, before: Any, arguments: Any, sender: str) -> list[Any]:
        return [Expired(arguments[0], self.now)]

    def _after_collect(self, before: Any, arguments: Any, sender: str) -> list[Any]:
        return [Collected(arguments[0])]

    def _after_award(self, before: Any, arguments: Any, sender: str) -> list[Any]:
        request_id = self.court.claims[arguments[0]].request_id
        kind = Awarded if self.court.requests[request_id].fee_paid else PassedOver
        return [kind(arguments[0], request_id)]

    def _after_reclaim(self, before: Any, arguments: Any, sender: str) -> list[Any]:
        return [Reclaimed(arguments[0])]

    def _after_withdraw_to(self, before: Any, arguments: Any, sender: str) -> list[Any]:
        return []


def told_segment(segment: Segment) -> tuple[int, int, int, bytes, bytes]:
    return segment.phase, segment.lo, segment.hi, segment.agreed, segment.disputed


MODEL_ROOT, STATE_ROOT = keccak256(b"model"), keccak256(b"state")


class HashRun:
    """A run whose states are hashes of the request and the number of stages. Only stages can be asked about."""

    made = 0

    def __init__(self, image: Any, data: bytes, stage_count: int, lies_from: int | None = None) -> None:
        HashRun.made += 1
        self.data, self.stage_count, self.lies_from = data, stage_count, lies_from
        self._first = first_state(io_quarter(stage_count, data), STATE_ROOT)

    def run_state(self, stages: int) -> Any:
        if stages == 0:
            return SimpleNamespace(hash=lambda: self._first.run_hash)
        is_lie = self.lies_from is not None and stages >= self.lies_from
        carry = keccak256(self.data + stages.to_bytes(8, "big") + (b"lie" if is_lie else b""))
        return RunState(carry, FAILED if stages == self.stage_count else OK)

    def run_hash(self) -> bytes:
        return bytes(self.run_state(self.stage_count).hash())

    def hash_at(self, stage: int | None, point: int) -> bytes:
        assert stage is None
        return bytes(self.run_state(point).hash())

    def hashes(self, stage: int | None, begin: int, points: Sequence[int]) -> list[bytes]:
        return [self.hash_at(stage, point) for point in points]

    false_part, _is_true = Computation.false_part, Computation._is_true

    def held_bytes(self) -> int:
        return 0

    def result(self) -> Result:
        state = self.run_state(self.stage_count)
        return Result(state.carry_root, state.status)
