"""What holds of the objects in every court that was reached by acts: the assumptions of the statements about the game.

Each is stated for the object of one id, and instantiated for each id that occurs in a proof.

*Source*: spec §5.1 to §5.4; `contracts/game.vy`, which relies on most of them.
"""

from collections.abc import Callable, Iterator
from typing import Any

import z3
from opml_spec.dispute.narrowing import MOST_STAGES
from opml_spec.dispute.objects import ClaimStatus, NodeState
from opml_spec.dispute.parameters import TIME_LIMIT
from opml_spec.dispute.result import Outcome
from opml_spec.runs.run import RunStatus

from opml_fuzz.proofs.evm.hashes import HASH_BYTES, Hashes
from opml_fuzz.proofs.game.layout import WIDTHS, function
from opml_fuzz.proofs.game.storage import NO_KEY

ADDRESS_BYTES, NUMBER_BYTES = 20, 8


class Fields:
    """The fields of one object."""

    def __init__(self, kind: str, key: Any) -> None:
        self.kind, self.key = kind, key

    def __getattr__(self, name: str) -> Any:
        return function(self.kind, name)(self.key)


def unset(it: Fields, *kept: str) -> Any:
    """All fields are zero."""
    return z3.And([getattr(it, name) == 0 for name in WIDTHS[it.kind] if name not in kept])


def exists(kind: str, key: Any) -> Any:
    """Whether there is an object of that id: a field that then is not zero."""
    return z3.simplify(getattr(Fields(kind, key), PRESENT[kind]) != 0)


PRESENT = {"models": "stage_microseconds", "requests": "stage_count", "claims": "closes_at", "nodes": "claim_id"}


def of_model(key: Any, hashes: Hashes, now: Any) -> Iterator[Any]:
    it = Fields("models", key)
    yield z3.If(exists("models", key), z3.ULT(it.stage_microseconds, 1 << 32), unset(it))


def of_request(key: Any, hashes: Hashes, now: Any) -> Iterator[Any]:
    it, there = Fields("requests", key), exists("requests", key)
    yield z3.Or(there, unset(it))
    yield z3.Implies(there, z3.And(z3.ULE(it.stage_count, MOST_STAGES), exists("models", it.model_id)))
    yield z3.And(z3.ULE(it.fee_paid, 1), z3.ULE(it.outcome, 1 + max(Outcome)), (it.claims == 0) == (it.checked_at == 0))
    yield z3.If(it.outcome == 0, z3.And(it.result == 0, it.run_hash == 0), z3.And(it.result != 0, it.run_hash != 0))
    yield (it.output_hash != 0) == (it.outcome == 1 + Outcome.OK)


def of_claim(key: Any, hashes: Hashes, now: Any) -> Iterator[Any]:
    it, there = Fields("claims", key), exists("claims", key)
    yield z3.Or(there, unset(it))
    request = Fields("requests", it.request_id)
    yield z3.Implies(there, z3.And(exists("requests", it.request_id), request.checked_at != 0, z3.ULT(it.index, request.claims)))
    yield z3.And(z3.ULE(it.status, max(ClaimStatus)), z3.ULT(it.closes_at, TIME_LIMIT))
    is_pending = z3.And(there, it.status == ClaimStatus.PENDING)
    yield z3.Implies(is_pending, z3.And(request.pending != 0, z3.ULE(request.bond, Fields("held", NO_KEY).locked)))
    yield z3.Implies(it.status != ClaimStatus.REJECTED, it.end_depth == 0)
    yield z3.Implies(z3.ULE(it.end_depth, 1), it.end_path == 0)
    root = hashes.digest(((key, HASH_BYTES),))
    yield (it.nodes != 0) == exists("nodes", root)


def of_node(key: Any, hashes: Hashes, now: Any) -> Iterator[Any]:
    it, there = Fields("nodes", key), exists("nodes", key)
    yield z3.Or(there, unset(it))
    yield z3.Implies(there, z3.And(key != 0, exists("claims", it.claim_id), Fields("claims", it.claim_id).nodes != 0))
    yield z3.Implies(there, z3.And(it.state != 0, z3.ULE(it.state, max(NodeState)), z3.ULE(it.collected, 1), it.depth != 0))
    yield z3.Implies(z3.And(there, it.state == NodeState.OPEN), Fields("claims", it.claim_id).open_nodes != 0)
    yield z3.ULE(z3.ZeroExt(256 - it.since.size(), it.since), now)
    is_root = key == hashes.digest(((it.claim_id, HASH_BYTES),))
    yield z3.Implies(there, z3.And((it.depth == 1) == is_root, z3.Implies(it.depth == 1, it.path == 0)))


def of_books(key: Any, hashes: Hashes, now: Any) -> Iterator[Any]:
    """What was deposited is locked, credited, burned or paid out."""
    held, gone = Fields("held", key), Fields("gone", key)
    locked, burned, paid_out, deposits = (z3.ZeroExt(2, one) for one in (held.locked, gone.burned, gone.paid_out, held.deposits))
    yield z3.ULE(locked + burned + paid_out, deposits)


def of_account(key: Any, hashes: Hashes, now: Any) -> Iterator[Any]:
    lost_at = Fields("accounts", key).lost_at
    yield z3.ULE(z3.ZeroExt(256 - lost_at.size(), lost_at), now)


FIRST_CARRY = z3.Function("requests.first_carry", *2 * [z3.BitVecSort(256)])
"""The carry with which a request begins."""


def of_beginning(key: Any, hashes: Hashes) -> Any:
    """A request begins well: its first run hash is that of a carry and OK. Only `open` needs this, and z3 has no use for a hash more."""
    begins = hashes.digest(((FIRST_CARRY(key), HASH_BYTES), (RunStatus.OK.value, 1)))
    return z3.Implies(exists("requests", key), Fields("requests", key).first_run_hash == begins)


NUMBER = z3.Function("requests.number", z3.BitVecSort(256), z3.BitVecSort(64))
"""How many requests the requester had made before this one."""

CONTENT_BYTES = 164
CONTENT = z3.Function("requests.content", z3.BitVecSort(256), z3.BitVecSort(8 * CONTENT_BYTES))
"""What a request says, as its id is made of it."""


def of_identity(key: Any, hashes: Hashes) -> Any:
    """A request's id is made of its requester and of how many requests that had made before. Only `request` needs this."""
    it, number = Fields("requests", key), NUMBER(key)
    name = hashes.digest(((it.requester, ADDRESS_BYTES), (number, NUMBER_BYTES), (CONTENT(key), CONTENT_BYTES)))
    made = Fields("accounts", z3.ZeroExt(96, it.requester)).requests
    return z3.Implies(exists("requests", key), z3.And(key == name, z3.ULT(number, z3.ZeroExt(32, made))))


OUTCOME = z3.Function("runs.outcome", z3.BitVecSort(256), z3.BitVecSort(8))
"""The outcome of a run that ends with this run hash."""


def of_outcome(key: Any, hashes: Hashes) -> Any:
    """The outcome of a request is that of the run hash with which it was answered. Only `finalise`, which may answer again, needs this."""
    it = Fields("requests", key)
    return z3.Implies(it.outcome != 0, it.outcome == 1 + OUTCOME(it.run_hash))


def of_stake(key: Any, burned: Any, paid: Any, whole: Any, name: Callable[[Any], Any] = z3.simplify) -> Iterator[Any]:
    """While a claim with nodes is pending, its bond, theirs and what is left of the fee are locked. Only `finalise` needs this.

    It is told in the order in which they move: z3 does not put sums of 128 bits in another order. burned: what is burned of the nodes'
    bonds; paid: what the server gets beside the fee, with `whole` as it is computed; name: names what is left, or credited, after each"""
    it, pending = Fields("claims", key), is_pending(key)
    request, account = Fields("requests", it.request_id), Fields("accounts", z3.ZeroExt(96, it.server))
    locked, gone, credited = Fields("held", NO_KEY).locked, Fields("gone", NO_KEY).burned, account.credited
    burned, paid = (z3.Extract(locked.size() - 1, 0, one) for one in (burned, paid))
    left = name(locked - burned)
    at_last, got = name(left - paid), name(credited + paid)
    fee_fits = z3.And(z3.ULE(request.fee, at_last), z3.ULE(request.fee, ~got))
    for fact in (
        whole == z3.ZeroExt(whole.size() - paid.size(), paid), z3.ULE(burned, locked), z3.ULE(burned, ~gone), z3.ULE(paid, left),
        z3.ULE(paid, ~credited), z3.Implies(request.fee_paid == 0, fee_fits),
        z3.ULE(left, locked), z3.ULE(at_last, left), z3.ULE(credited, got),  # these follow
    ):  # fmt: skip
        yield z3.Implies(z3.And(it.nodes != 0, pending), fact)


def is_pending(key: Any) -> Any:
    return z3.And(exists("claims", key), Fields("claims", key).status == ClaimStatus.PENDING)


OF_REQUESTS: dict[str, Callable[[Any, Hashes], Any]] = {"request": of_identity, "finalise": of_outcome}
"""What else is told of each request in the proof about an entry point."""

INVARIANTS: dict[str, Callable[[Any, Hashes, Any], Iterator[Any]]] = {
    "models": of_model, "requests": of_request, "claims": of_claim, "nodes": of_node, "accounts": of_account,
    "held": of_books, "gone": of_books,
}  # fmt: skip
