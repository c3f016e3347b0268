"""The court: arbiter and game deployed on a chain, every move a method, every event a value.

Method names and arguments are those of the contract's interface, with `sender` (and `value`, in wei) as keywords; moves that make an
object return its id. A refused move raises `Refused` with the number and the name of its error and changes nothing.

*Source*: spec §5.3 to §5.8 and §5.11.
"""

from collections.abc import Callable
from typing import Any

from attrs import astuple, frozen

from evm_arbiter import objects
from evm_arbiter.chain import Artefact, Chain, Contract, Receipt, Reverted
from evm_arbiter.errors import ArbiterError
from evm_arbiter.objects import Account, Books, Claim, Event, Model, Request, Result, Segment, TreeNode
from evm_arbiter.parameters import Parameters

ANYONE = "0x" + 40 * "0"  # the server of a request that any server may claim
ERRORS = {
    101: "WITNESS_TRUNCATED", 102: "STATE_UNDECODABLE", 103: "WITNESS_BITMAP", 104: "WITNESS_ZERO_SIBLING", 105: "WITNESS_ROOT",
    106: "WITNESS_TRAILING", 201: "UNKNOWN_MODEL", 202: "UNKNOWN_REQUEST", 203: "UNKNOWN_CLAIM", 204: "UNKNOWN_NODE",
    205: "WRONG_VALUE", 206: "STAGE_COUNT", 207: "REQUEST_TOO_LONG", 208: "DEADLINE", 209: "NOT_THE_SERVER", 210: "CLAIM_NOT_PENDING",
    211: "WINDOW_CLOSED", 212: "WINDOW_OPEN", 213: "NODES_OPEN", 215: "STALE_COMMITMENT", 216: "WRONG_TURN", 217: "OUT_OF_TIME",
    218: "NOT_OUT_OF_TIME", 219: "WRONG_MOVE", 220: "WRONG_COUNT", 221: "NO_SUCH_PART", 222: "WRONG_START", 223: "STEP_COUNT",
    224: "STILL_RUNNING", 225: "WRONG_END", 226: "WRONG_STATE", 227: "WRONG_OUTPUT", 228: "NOTHING_TO_COLLECT", 230: "NOT_ALL_FAILED",
    231: "NOTHING_TO_WITHDRAW", 232: "PARAMETERS", 233: "PAYMENT_FAILED", 234: "STAGE_TIME", 235: "BOND_RANGE", 236: "FEE_RANGE",
    237: "TOO_MUCH_WORK", 238: "ALREADY_FINAL", 239: "CLAIM_EXISTS", 240: "TOO_LATE", 241: "ROOT_EXISTS", 242: "NOT_THE_OPENER",
    243: "PART_CHOSEN", 244: "WRONG_SEAL", 245: "UNSETTLED", 246: "OTHER_RESULT", 247: "NOT_EXPIRED", 248: "NOTHING_TO_AWARD",
    249: "NO_RESULT",
}  # fmt: skip  # Source: spec §0.6


class Refused(ArbiterError):
    """The contract refused a move; `number` and `name` are those of the error."""

    def __init__(self, number: int) -> None:
        self.number, self.name = number, ERRORS[number]
        super().__init__(f"{self.name} ({number})")


@frozen
class Transaction:
    """One accepted move and what it cost."""

    move: str
    sender: str
    gas_used: int  # whole transaction, Prague rules


class Court:
    """Arbiter and game on a chain; deploys them."""

    def __init__(self, chain: Chain | None = None, parameters: Parameters | None = None, game: Artefact | None = None) -> None:
        """game: other bytecode than the committed"""
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

    # the world around it

    @property
    def accounts(self) -> tuple[str, ...]:
        """Addresses with money."""
        return self.chain.accounts

    @property
    def now(self) -> int:
        return self.chain.now

    def set_time(self, time: int) -> None:
        self.chain.set_time(time)

    def set_base_fee(self, wei: int) -> None:
        """The price of gas that the contract reads from now on."""
        self.chain.set_base_fee(wei)

    def balance(self, address: str) -> int:
        """What the address owns outside the contract, in wei."""
        return self.chain.balance(address)

    def events(self, since: int = 0) -> tuple[Event, ...]:
        """All events from number `since` on, oldest first; the next one is `since + len(...)`."""
        return tuple(self._events[since:])

    def snapshot(self) -> tuple[Any, int, int]:
        """The chain and the events so far, for `restore`."""
        return self.chain.snapshot(), len(self._events), len(self.transactions)

    def restore(self, snapshot: tuple[Any, int, int]) -> None:
        state, events, transactions = snapshot
        self.chain.restore(state)
        del self._events[events:], self.transactions[transactions:]

    # models, requests, claims

    def register(self, model_root: bytes, state_root: bytes, stage_microseconds: int, *, sender: str) -> bytes:
        """Makes a model known; its id."""
        return self._new("model_id", "register", model_root, state_root, stage_microseconds, sender=sender)

    def request(
        self, model_id: bytes, stage_count: int, data: bytes, deadline: int, bond: int, server: str, *, sender: str, value: int
    ) -> bytes:
        """Asks for a run and locks the fee; the request's id."""
        return self._new("request_id", "request", model_id, stage_count, data, deadline, bond, server, sender=sender, value=value)

    def claim(self, request_id: bytes, sealed: bytes, latest: int, *, sender: str, value: int) -> bytes:
        """Claims the run's last hash, sealed, against the request's bond (the first claim: and the price of the line); the claim's id."""
        return self._new("claim_id", "claim", request_id, sealed, latest, sender=sender, value=value)

    # moves in the tree

    def challenge(self, claim_id: bytes, *, sender: str, value: int) -> bytes:
        """Opens the root of a claim's tree against a bond; the node's id."""
        return self._new("node_id", "challenge", claim_id, sender=sender, value=value)

    def post(self, node_id: bytes, segment: Segment, hashes: bytes, run_hash: bytes, *, sender: str) -> None:
        """The server's inner hashes of the segment, 32 bytes each; at the root also what it sealed."""
        self._move("post", node_id, astuple(segment), hashes, run_hash, sender=sender)

    def open(
        self, node_id: bytes, segment: Segment, start_carry: bytes, start_status: int, steps: int, final_state: bytes, left_root: bytes,
        final_carry: bytes, hashes: bytes, run_hash: bytes, *, sender: str,
    ) -> None:  # fmt: skip
        """The server's account of the one stage left: its steps, its final machine state, the hashes between its parts."""
        arguments = (start_carry, start_status, steps, final_state, left_root, final_carry, hashes, run_hash)
        self._move("open", node_id, astuple(segment), *arguments, sender=sender)

    def choose(self, node_id: bytes, segment: Segment, hashes: bytes, part: int, *, sender: str, value: int) -> bytes:
        """Opens the node of one part of a posted segment against a bond; `hashes` are the posted ones; the new node's id."""
        return self._new("node_id", "choose", node_id, astuple(segment), hashes, part, sender=sender, value=value)

    def arbitrate(self, node_id: bytes, segment: Segment, witness: bytes, *, sender: str) -> None:
        """Executes the one instruction left; anybody may."""
        self._move("arbitrate", node_id, astuple(segment), witness, sender=sender)

    def timeout(self, node_id: bytes, *, sender: str) -> None:
        """Ends a claim at a node that the server has not answered in time; anybody may."""
        self._move("timeout", node_id, sender=sender)

    # ends of a claim, and its money; anybody may call these, but that `withdraw_to` pays the sender's credit

    def finalise(self, claim_id: bytes, carry: bytes, status: int, output: bytes, proof: bytes, *, sender: str) -> None:
        """Ends a claim that nobody rejected, with the output and its proof."""
        self._move("finalise", claim_id, carry, status, output, proof, sender=sender)

    def expire(self, claim_id: bytes, *, sender: str) -> None:
        """Rejects a claim that nobody finalised in time."""
        self._move("expire", claim_id, sender=sender)

    def collect(self, node_id: bytes, *, sender: str) -> None:
        """Credits the opener of a node of a rejected claim."""
        self._move("collect", node_id, sender=sender)

    def award(self, claim_id: bytes, *, sender: str) -> None:
        """Pays the fee to the claim that is next, or passes it over."""
        self._move("award", claim_id, sender=sender)

    def reclaim(self, request_id: bytes, *, sender: str) -> None:
        """Credits the requester with the fee of a request that came to nothing."""
        self._move("reclaim", request_id, sender=sender)

    def withdraw_to(self, to: str, *, sender: str) -> None:
        """Pays out all that the sender is credited."""
        self._move("withdraw_to", to, sender=sender)

    # what stands in the contract

    def model_of(self, model_id: bytes) -> Model:
        return Model(*self.game.call("model_of", model_id))

    def request_of(self, request_id: bytes) -> Request:
        return Request(*self.game.call("request_of", request_id))

    def claim_of(self, claim_id: bytes) -> Claim:
        return Claim(*self.game.call("claim_of", claim_id))

    def node_of(self, node_id: bytes) -> TreeNode:
        return TreeNode(*self.game.call("node_of", node_id))

    def account_of(self, address: str) -> Account:
        return Account(*self.game.call("account_of", address))

    def books(self) -> Books:
        return Books(*self.game.call("books"))

    def result_of(self, request_id: bytes) -> Result:
        """Refused while there is none."""
        try:
            return Result(*self.game.call("result_of", request_id))
        except Reverted as refusal:
            raise _named(refusal) from refusal

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
    """By the name of its number; as it is if the contract gave none (a call that the ABI forbids)."""
    return refusal if refusal.number is None else Refused(refusal.number)
