"""The court: arbiter and game deployed on a chain. Every move is a method, every event a value.

Methods have the names and arguments of the contract's interface, and `sender` (and `value`, in wei) as keywords. A move that creates an
object returns its id. A refused move changes nothing and raises `Refused`, with the number and the name of its error.

*Source*: spec §5.3, §5.4, §5.8.
"""

from collections.abc import Callable
from typing import Any

from attrs import astuple, frozen

from evm_arbiter import objects
from evm_arbiter.chain import Artefact, Chain, Contract, Receipt, Reverted
from evm_arbiter.errors import ArbiterError
from evm_arbiter.objects import Claim, ClaimStatus, Event, Game, GameStatus, Request, Segment, Totals, fields
from evm_arbiter.parameters import Parameters

ANYONE = "0x" + 40 * "0"  # the server of a request that any server may claim
ERRORS = {
    101: "WITNESS_TRUNCATED", 102: "STATE_UNDECODABLE", 103: "WITNESS_BITMAP", 104: "WITNESS_ZERO_SIBLING",
    105: "WITNESS_ROOT", 106: "WITNESS_TRAILING", 201: "UNKNOWN_MODEL", 202: "UNKNOWN_REQUEST", 203: "UNKNOWN_CLAIM",
    204: "UNKNOWN_GAME", 205: "WRONG_VALUE", 206: "STAGE_COUNT", 207: "REQUEST_TOO_LONG", 208: "DEADLINE",
    209: "NOT_THE_SERVER", 210: "CLAIM_NOT_PENDING", 211: "WINDOW_CLOSED", 212: "WINDOW_OPEN", 213: "GAMES_OPEN",
    214: "GAME_OVER", 215: "STALE_POSITION", 216: "NOT_YOUR_TURN", 217: "OUT_OF_TIME", 218: "NOT_OUT_OF_TIME",
    219: "WRONG_MOVE", 220: "WRONG_COUNT", 221: "NO_SUCH_PART", 222: "WRONG_START", 223: "STEP_COUNT",
    224: "STILL_RUNNING", 225: "WRONG_END", 226: "WRONG_STATE", 227: "WRONG_OUTPUT", 228: "NOTHING_TO_COLLECT",
    229: "NOT_THE_REQUESTER", 230: "NOT_ALL_FAILED", 231: "NOTHING_TO_WITHDRAW", 232: "PARAMETERS", 233: "PAYMENT_FAILED",
}  # fmt: skip  # Source: spec §2.5 and §0.6
UNKNOWN_REQUEST, UNKNOWN_CLAIM, UNKNOWN_GAME = 202, 203, 204


class Refused(ArbiterError):
    """The contract refused a move; `number` and `name` say with which error."""

    def __init__(self, number: int) -> None:
        self.number, self.name = number, ERRORS[number]
        super().__init__(f"{self.name} ({number})")


@frozen
class Transaction:
    """One accepted move and what it cost."""

    move: str
    sender: str
    gas_used: int  # by the whole transaction, under Prague rules


class Court:
    """Arbiter and game on a chain, deployed by the constructor."""

    def __init__(self, chain: Chain | None = None, parameters: Parameters | None = None, game: Artefact | None = None) -> None:
        """game: what to deploy instead of the committed bytecode"""
        self.chain = chain or Chain()
        self.parameters = parameters or Parameters()
        self.transactions: list[Transaction] = []
        self._events: list[Event] = []
        deployer = self.chain.accounts[-1]
        self.arbiter: Contract = self.chain.deploy(Artefact.load("arbiter"), sender=deployer)
        try:
            arguments = (self.arbiter.address, astuple(self.parameters))
            self.game: Contract = self.chain.deploy(game or Artefact.load("game"), *arguments, sender=deployer)
        except Reverted as refusal:
            raise _named(refusal) from refusal

    # the chain

    @property
    def accounts(self) -> tuple[str, ...]:
        """The addresses that have money."""
        return self.chain.accounts

    @property
    def now(self) -> int:
        return self.chain.now

    def set_time(self, time: int) -> None:
        self.chain.set_time(time)

    def balance(self, address: str) -> int:
        """What an address owns outside the contract, in wei."""
        return self.chain.balance(address)

    def events(self, since: int = 0) -> tuple[Event, ...]:
        """All events from number `since` on, oldest first; the next one will have number `since + len(...)`."""
        return tuple(self._events[since:])

    def snapshot(self) -> tuple[Any, int, int]:
        """Remembers the chain and the events so far, for `restore`."""
        return self.chain.snapshot(), len(self._events), len(self.transactions)

    def restore(self, snapshot: tuple[Any, int, int]) -> None:
        state, events, transactions = snapshot
        self.chain.restore(state)
        del self._events[events:], self.transactions[transactions:]

    # moves before and after games

    def register(self, model_root: bytes, state_root: bytes, *, sender: str) -> bytes:
        """Makes a model known; returns its id."""
        return self._new("model_id", "register", model_root, state_root, sender=sender)

    def request(self, model_id: bytes, stage_count: int, data: bytes, deadline: int, server: str, *, sender: str, value: int) -> bytes:
        """Asks for a run and locks the fee; returns the request's id."""
        return self._new("request_id", "request", model_id, stage_count, data, deadline, server, sender=sender, value=value)

    def claim(self, request_id: bytes, run_hash: bytes, *, sender: str, value: int) -> bytes:
        """Claims the run hash against a bond; returns the claim's id."""
        return self._new("claim_id", "claim", request_id, run_hash, sender=sender, value=value)

    def challenge(self, claim_id: bytes, *, sender: str, value: int) -> bytes:
        """Opens a game about a claim against a bond; returns the game's id."""
        return self._new("game_id", "challenge", claim_id, sender=sender, value=value)

    def finalise(self, claim_id: bytes, carry: bytes, status: int, output: bytes, proof: bytes, *, sender: str) -> None:
        """Ends a claim that nobody rejected, with the output and its proof."""
        self._move("finalise", claim_id, carry, status, output, proof, sender=sender)

    def collect(self, game_id: bytes, *, sender: str) -> None:
        """Credits the challenger of a won or voided game."""
        self._move("collect", game_id, sender=sender)

    def reclaim(self, request_id: bytes, *, sender: str) -> None:
        """Credits the requester with the fee of a request without a final claim."""
        self._move("reclaim", request_id, sender=sender)

    def withdraw_to(self, to: str, *, sender: str) -> None:
        """Pays out all that the sender is owed."""
        self._move("withdraw_to", to, sender=sender)

    # moves of a game

    def post(self, game_id: bytes, segment: Segment, hashes: bytes, *, sender: str) -> None:
        """Posts the server's hashes at the inner boundaries of the segment, 32 bytes each."""
        self._move("post", game_id, astuple(segment), hashes, sender=sender)

    def choose(self, game_id: bytes, segment: Segment, hashes: bytes, part: int, *, sender: str) -> None:
        """Chooses the part to go on with: the challenger agrees with its first hash, not with its last. hashes: the posted ones"""
        self._move("choose", game_id, astuple(segment), hashes, part, sender=sender)

    def open(
        self, game_id: bytes, segment: Segment, start_carry: bytes, start_status: int, steps: int, final_state: bytes, left_root: bytes,
        final_carry: bytes, *, sender: str,
    ) -> None:  # fmt: skip
        """Opens the one stage left: the server says how many steps it takes and in which machine state it ends."""
        arguments = (start_carry, start_status, steps, final_state, left_root, final_carry)
        self._move("open", game_id, astuple(segment), *arguments, sender=sender)

    def arbitrate(self, game_id: bytes, segment: Segment, witness: bytes, *, sender: str) -> None:
        """Has the arbiter execute the one instruction left; anybody may."""
        self._move("arbitrate", game_id, astuple(segment), witness, sender=sender)

    def timeout(self, game_id: bytes, segment: Segment, hashes: bytes, *, sender: str) -> None:
        """Ends a game in which the side on turn has used up its time; anybody may."""
        self._move("timeout", game_id, astuple(segment), hashes, sender=sender)

    # what the contract stores

    def request_of(self, request_id: bytes) -> Request:
        return Request.unpacked(*self._known("requests", request_id, UNKNOWN_REQUEST))

    def claim_of(self, claim_id: bytes) -> Claim:
        fixed = self.parameters
        share_wei = fixed.server_bond_wei * fixed.share_numerator // fixed.share_denominator
        return Claim.unpacked(share_wei, *self._known("claims", claim_id, UNKNOWN_CLAIM))

    def game_of(self, game_id: bytes) -> Game:
        return Game.unpacked(*self._known("games", game_id, UNKNOWN_GAME))

    def claim_status(self, claim_id: bytes) -> ClaimStatus:
        return self.claim_of(claim_id).status

    def game_status(self, game_id: bytes) -> GameStatus:
        return self.game_of(game_id).status

    def balance_of(self, address: str) -> int:
        """What `withdraw_to` would pay to an address, in wei."""
        return fields(self.game.call("accounts", address), 64)[1]

    def totals(self) -> Totals:
        """The contract's totals of money."""
        locked, burned = fields(self.game.call("held"), 128)
        deposits, paid_out = fields(self.game.call("flow"), 128)
        return Totals(deposits, locked, burned, paid_out)

    def _known(self, mapping: str, identity: bytes, unknown: int) -> Any:
        stored = self.game.call(mapping, identity)
        if all(word in (0, bytes(32), ANYONE) for word in stored):
            raise Refused(unknown)
        return stored

    def _move(self, move: str, *arguments: Any, sender: str, value: int = 0) -> Receipt:
        try:
            receipt = self.game.transact(move, *arguments, sender=sender, value=value).or_raise()
        except Reverted as refusal:
            raise _named(refusal) from refusal
        self.transactions.append(Transaction(move, sender, receipt.gas_used))
        for log in receipt.logs:
            values: dict[str, Any] = {name: Segment(*value) if name == "segment" else value for name, value in log.values.items()}
            kind: Callable[..., Event] = getattr(objects, log.name)
            self._events.append(kind(**values))
        return receipt

    def _new(self, what: str, move: str, *arguments: Any, sender: str, value: int = 0) -> bytes:
        identity: bytes = self._move(move, *arguments, sender=sender, value=value).logs[0].values[what]
        return identity


def _named(refusal: Reverted) -> Reverted | Refused:
    """Turns a revert with a number into `Refused`; one without a number (a call that the ABI forbids) stays as it is."""
    return refusal if refusal.number is None else Refused(refusal.number)
