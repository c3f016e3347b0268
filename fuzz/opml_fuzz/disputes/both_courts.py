"""Two courts side by side: every call goes to the specification and to the contract, then everything visible is compared.

*Source*: spec §5.2, §5.8.
"""

from typing import Any

from attrs import astuple, evolve, frozen
from opml_spec.dispute.acts import (
    Act,
    Ask,
    Challenge,
    ClaimStatus,
    Collect,
    Court,
    Finalise,
    MakeClaim,
    Play,
    Reclaim,
    Register,
    Withdraw,
    act,
    deploy,
)
from opml_spec.dispute.game import Arbitrate, Choose, GameStatus, Open, Post, Timeout
from opml_spec.dispute.money import Parameters
from opml_spec.errors import SpecError
from opml_spec.hashing import HASH_BYTES, keccak256

from evm_arbiter.chain import Artefact, Chain, Reverted
from evm_arbiter.court import Court as Contract
from evm_arbiter.court import Refused
from evm_arbiter.objects import Decided, Finalised, Moved, Segment
from evm_arbiter.parameters import Parameters as ContractParameters
from opml_fuzz.errors import FuzzError

NOBODY = bytes(20)
KINDS = ("games", "claims", "requests")
PARAMETERS = Parameters(
    k=3,
    share_numerator=2,
    share_denominator=5,
    window_seconds=1_000,
    server_seconds=2_500,
    challenger_seconds=1_500,
    server_bond_wei=10_007,
    challenger_bond_wei=1_009,
    censorship_seconds=100,
    inclusion_seconds=10,
    effort_seconds=20,
    games_at_once=10,
    side_gas=150,
    gas_per_second=10,
    game_effort_seconds=60,
    machines=7,
    detect_seconds=300,
    recompute_seconds=590,
    gas_price_cap_wei=2,
)
"""Short times, and bonds that no share divides evenly."""


class CourtsDiffer(FuzzError):
    """After a call, the two courts differ in their answer or in what they show. said: what is seen, in either court"""

    def __init__(self, what: str, spec: Any, contract: Any) -> None:
        self.said = f"{what}: {spec}", f"{what}: {contract}"
        super().__init__(f"{what}: specification {spec}, contract {contract}")


@frozen
class Call:
    """A call of the contract's interface; addresses are 20 bytes."""

    move: str
    arguments: tuple[Any, ...]
    sender: bytes
    value: int = 0


def position(game_id: bytes, segment: Segment, hashes: bytes = b"") -> bytes:
    """Computes the hash by which a call names the state of the game that it answers."""
    numbers = bytes([segment.phase]) + segment.lo.to_bytes(8, "big") + segment.hi.to_bytes(8, "big")
    return keccak256(game_id + numbers + segment.agreed + segment.disputed + keccak256(hashes) + segment.turn.to_bytes(8, "big"))


def cut(hashes: bytes) -> tuple[bytes, ...]:
    """Cuts bytes into hashes; the last one may be too short."""
    return tuple(hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES))


def act_of(call: Call) -> Act:
    """Translates a call into the specification's act."""
    match call.move, call.arguments:
        case "register", arguments:
            return Register(*arguments)
        case "request", arguments:
            return Ask(*arguments)
        case "claim", arguments:
            return MakeClaim(*arguments)
        case "challenge", (claim_id,):
            return Challenge(claim_id)
        case "post", (game_id, segment, hashes):
            return Play(game_id, position(game_id, segment), Post(cut(hashes)))
        case "choose", (game_id, segment, hashes, part):
            return Play(game_id, position(game_id, segment, hashes), Choose(part))
        case "open", (game_id, segment, *opening):
            return Play(game_id, position(game_id, segment), Open(*opening))
        case "arbitrate", (game_id, segment, witness):
            return Play(game_id, position(game_id, segment), Arbitrate(witness))
        case "timeout", (game_id, segment, hashes):
            return Play(game_id, position(game_id, segment, hashes), Timeout())
        case "finalise", arguments:
            return Finalise(*arguments)
        case "collect", (game_id,):
            return Collect(game_id)
        case "reclaim", (request_id,):
            return Reclaim(request_id)
        case _, (to,):
            return Withdraw(to)
    raise FuzzError(f"no such call: {call.move}")


class BothCourts:
    """The specification's court (a value, `spec`) and the contract on its chain, given the same calls.

    game: other bytecode than the committed game contract"""

    def __init__(self, game: Artefact | None = None) -> None:
        self.spec: Court = deploy(PARAMETERS)
        self.contract = Contract(Chain(), ContractParameters(*astuple(PARAMETERS)), game)
        self.people = tuple(bytes.fromhex(account[2:]) for account in self.contract.accounts[:6])

    @property
    def now(self) -> int:
        return self.contract.now

    def call(self, call: Call) -> str:
        """Makes a call at both courts and returns their common answer: `ok`, `ok` with the new id, or the error. Raises `CourtsDiffer`."""
        before, events = self.spec, len(self.contract.events())
        answers = self.ask_specification(call), self.ask_contract(call)
        if answers[0] != answers[1]:
            raise CourtsDiffer(f"answer to {call}", *answers)
        self.compare_books()
        for kind in KINDS:
            for identity, thing in getattr(self.spec, kind).items():
                if getattr(before, kind).get(identity) is not thing or identity in call.arguments:
                    self.same(f"{kind} {identity.hex()}", *getattr(self, f"see_{kind}")(identity))
        for event in self.contract.events(events):
            self.compare_event(event)
        return answers[0]

    def ask_specification(self, call: Call) -> str:
        before = self.spec
        try:
            self.spec = act(before, act_of(call), call.sender, self.now, call.value)
        except SpecError as error:
            return f"{error.number} {error.name}"
        if call.move == "register":
            return f"ok {keccak256(b''.join(call.arguments)).hex()}"
        new = [identity for kind in KINDS for identity in getattr(self.spec, kind).keys() - getattr(before, kind)]
        return " ".join(["ok", *(identity.hex() for identity in new)])

    def ask_contract(self, call: Call) -> str:
        arguments = list(call.arguments)
        if call.move in ("request", "withdraw_to"):
            arguments[-1] = "0x" + arguments[-1].hex()  # an address
        value = {"value": call.value} if call.move in ("request", "claim", "challenge") else {}
        try:
            new = getattr(self.contract, call.move)(*arguments, sender="0x" + call.sender.hex(), **value)
        except Refused as refused:
            return f"{refused.number} {refused.name}"
        except Reverted as reverted:
            return str(reverted)
        return "ok" if new is None else f"ok {new.hex()}"

    # everything visible

    def same(self, what: str, spec: Any, contract: Any) -> None:
        if spec != contract:
            raise CourtsDiffer(what, spec, contract)

    def compare_books(self) -> None:
        ledger, totals = self.spec.ledger, self.contract.totals()
        self.same("money", (ledger.deposits, ledger.locked, ledger.burned, ledger.paid_out), astuple(totals))
        self.same("balanced", ledger.balanced, True)
        for person in self.people:
            self.same("credit", ledger.credited.get(person, 0), self.contract.balance_of("0x" + person.hex()))

    def compare_everything(self) -> None:
        for kind in KINDS:
            for identity in getattr(self.spec, kind):
                self.same(f"{kind} {identity.hex()}", *getattr(self, f"see_{kind}")(identity))

    def see_games(self, game_id: bytes) -> tuple[Any, Any]:
        """Shows a game in both courts; its position only while it is open."""
        spec, contract = self.spec.games[game_id], self.contract.game_of(game_id)
        open_game = spec.status is GameStatus.OPEN
        clock = (spec.clock.server_seconds, spec.clock.challenger_seconds, spec.clock.turn_start, spec.moves, spec.status.value)
        seen = evolve(contract, commitment=contract.commitment if open_game else b"")
        return (spec.claim_id, "0x" + spec.challenger.hex(), spec.position if open_game else b"", *clock), astuple(seen)

    def see_claims(self, claim_id: bytes) -> tuple[Any, Any]:
        spec = self.spec.claims[claim_id]
        unit = self.spec.unit(spec) if spec.status is ClaimStatus.REJECTED else 0
        standing = (spec.claimed_at, spec.status.value, spec.open_games, spec.weight, unit)
        return (spec.request_id, spec.run_hash, "0x" + spec.server.hex(), *standing), astuple(self.contract.claim_of(claim_id))

    def see_requests(self, request_id: bytes) -> tuple[Any, Any]:
        spec = self.spec.requests[request_id]
        asked = (self.spec.models[spec.model_id].model_root, spec.first_run_hash, spec.stages, spec.deadline, spec.fee_wei)
        standing = ("0x" + spec.requester.hex(), "0x" + spec.server.hex(), spec.pending_claims, spec.fee_is_back)
        result = (spec.result or bytes(32), spec.output_hash or bytes(32))
        return (*asked, *standing, *result), astuple(self.contract.request_of(request_id))

    def compare_event(self, event: Any) -> None:
        """Checks that an event shows what the specification's court holds."""
        match event:
            case Moved():
                game = self.spec.games[event.game_id]
                shown = astuple(event.segment)
                self.same("move", (*astuple(game.segment), game.turn, b"".join(game.posted)), (*shown, event.hashes))
            case Decided():
                status = GameStatus.SERVER_WON if event.server_won else GameStatus.CHALLENGER_WON
                self.same("verdict", self.spec.games[event.game_id].status, status)
            case Finalised():
                request = self.spec.requests[event.request_id]
                if request.result == event.claim_id:
                    self.same("outcome", request.outcome, event.outcome)
                    self.same("output", request.output_hash, keccak256(event.output) if event.output else None)
