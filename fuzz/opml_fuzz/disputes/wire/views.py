"""What the contract's views must return, told from the specification's court, field by field.

*Source*: spec §5.11.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import astuple
from attrs import fields as attrs_of
from opml_spec.dispute.ends import result_of
from opml_spec.dispute.objects import Court
from opml_spec.dispute.parameters import Parameters
from opml_spec.dispute.result import Outcome

View = tuple[str, tuple[bytes, ...]]
"""A view's name and its arguments."""
Fields = tuple[Any, ...]
ZERO = bytes(32)


def model_of(court: Court, identity: bytes) -> Fields:
    return astuple(court.models[identity])


def request_of(court: Court, identity: bytes) -> Fields:
    it = court.requests[identity]
    terms = it.model_id, it.stage_count, it.first_run_hash, it.deadline, it.fee_left, it.bond, it.requester, it.server
    progress = it.checked_at, it.claims, it.pending, it.next_award, it.fee_paid
    return (*terms, *progress, it.result or ZERO, it.run_hash or ZERO, it.outcome or Outcome.OK, it.output_hash or ZERO)


def claim_of(court: Court, identity: bytes) -> Fields:
    it = court.claims[identity]
    tree = it.closes_at, it.settles_at, it.open_nodes, it.nodes, it.prices
    return it.request_id, it.server, it.sealed, it.index, *tree, it.status, it.fell_at or ZERO


def node_of(court: Court, identity: bytes) -> Fields:
    it = court.nodes[identity]
    bits, path = (court.parameters.k - 1).bit_length(), 0
    for part in it.path:
        path = path << bits | part
    times = it.clock.due, it.clock.server_left, it.clock.challengers_left, it.clock.since
    return it.claim_id, it.opener, it.depth, path, it.commitment, it.state, *times, it.price, it.collected


def account_of(court: Court, address: bytes) -> Fields:
    times = court.server_due.get(address, 0), court.server_lost_at.get(address, 0)
    return court.requests_made.get(address, 0), court.ledger.credited.get(address, 0), *times


def books(court: Court) -> Fields:
    ledger = court.ledger
    return ledger.deposits, ledger.locked, ledger.burned, ledger.paid_out


def parameters(court: Court) -> Fields:
    return astuple(court.parameters)


def result(court: Court, identity: bytes) -> Fields:
    outcome, output_hash, claim_id = result_of(court, identity)
    return outcome, output_hash or ZERO, claim_id


FIELDS = {
    "model_of": ("model_root", "state_root", "stage_microseconds", "busy_until"),
    "request_of": (
        *("model_id", "stage_count", "first_run_hash", "deadline", "fee_left", "bond", "requester", "server", "checked_at", "claims"),
        *("pending", "next_award", "fee_paid", "result", "run_hash", "outcome", "output_hash"),
    ),
    "claim_of": (
        *("request_id", "server", "sealed", "index", "closes_at", "settles_at", "open_nodes", "nodes", "prices", "status", "fell_at"),
    ),
    "node_of": (
        *("claim_id", "opener", "depth", "path", "commitment", "state", "due", "server_left", "challengers_left", "since", "price"),
        "collected",
    ),
    "account_of": ("requests", "credited", "due", "lost_at"),
    "books": ("deposits", "locked", "burned", "paid_out"),
    "parameters": tuple(each.name for each in attrs_of(Parameters)),
}
"""The names of the fields of each view."""

OF = {"models": "model_of", "requests": "request_of", "claims": "claim_of", "nodes": "node_of"}
"""The view of each kind of object."""

VIEWS: Mapping[str, Callable[..., Fields]] = {
    "model_of": model_of, "request_of": request_of, "claim_of": claim_of, "node_of": node_of, "account_of": account_of,
    "books": books, "parameters": parameters, "result_of": result,
}  # fmt: skip


def changed(before: Court, after: Court) -> Iterator[View]:
    """Yields the views that may show something else after an act."""
    for kind, view in OF.items():
        old, new = getattr(before, kind), getattr(after, kind)
        if new is not old:
            yield from ((view, (identity,)) for identity, thing in new.items() if old.get(identity) is not thing)
    people = {**before.ledger.credited, **after.ledger.credited, **after.requests_made, **after.server_due, **after.server_lost_at}
    yield from (("account_of", (one,)) for one in people if account_of(before, one) != account_of(after, one))
    yield "books", ()


def every(court: Court, people: tuple[bytes, ...]) -> Iterator[View]:
    """Yields all views of all that there is."""
    for kind, view in OF.items():
        yield from ((view, (identity,)) for identity in getattr(court, kind))
    yield from (("result_of", (identity,)) for identity in court.requests)
    yield from (("account_of", (person,)) for person in people)
    yield from (("books", ()), ("parameters", ()))
