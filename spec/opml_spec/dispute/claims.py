"""Requests: a model is registered, somebody pays for a run on it, and servers claim how it ends.

A request waits in the line of its model from its first claim on, so that one machine can recompute every run before its claims close.

*Source*: spec §5.1 and §5.3.
"""

from attrs import evolve

from opml_spec.dispute import objects
from opml_spec.dispute.narrowing import MOST_STAGES
from opml_spec.dispute.objects import ANYONE, Claim, Court, Message, Model, Request
from opml_spec.dispute.parameters import TIME_LIMIT, WEI_LIMIT, YEAR
from opml_spec.dispute.tree import known, with_claim, with_request
from opml_spec.errors import (
    AlreadyFinal,
    BondRange,
    ClaimExists,
    Deadline,
    FeeRange,
    NotTheServer,
    RequestTooLong,
    StageCount,
    StageTime,
    TooLate,
    TooMuchWork,
    UnknownModel,
    UnknownRequest,
    WrongValue,
)
from opml_spec.model.layout import MAX_REQUEST_BYTES
from opml_spec.runs.run import first_state, io_quarter


def register(court: Court, message: Message, model_root: bytes, state_root: bytes, stage_microseconds: int) -> Court:
    """Makes a model known. Doing it again changes nothing, least of all the line."""
    if not 1 <= stage_microseconds < 1 << 32:
        raise StageTime
    identity = objects.model_id(model_root, state_root, stage_microseconds)
    if identity in court.models:
        return court
    return evolve(court, models={**court.models, identity: Model(model_root, state_root, stage_microseconds)})


def request(
    court: Court, message: Message, model_id: bytes, stage_count: int, data: bytes, deadline: int, bond: int, server: bytes
) -> Court:
    """Asks for a run and locks its fee. The court itself computes where the run begins."""
    model, parameters, fee = known(court.models, model_id, UnknownModel), court.parameters, message.value
    if not 1 <= stage_count <= MOST_STAGES:
        raise StageCount
    if len(data) > MAX_REQUEST_BYTES:
        raise RequestTooLong
    if not message.now <= deadline <= message.now + YEAR:
        raise Deadline
    if not parameters.min_bond <= bond < WEI_LIMIT:
        raise BondRange
    if model.work(stage_count) > YEAR:
        raise TooMuchWork
    if not model.work(stage_count) * parameters.second_price <= fee < WEI_LIMIT:
        raise FeeRange
    first = first_state(io_quarter(stage_count, data), model.state_root).run_hash
    nonce = court.requests_made.get(message.sender, 0)
    asked = Request(model_id, stage_count, first, deadline, fee, bond, message.sender, server)
    court = evolve(court, ledger=court.ledger.deposit(fee), requests_made={**court.requests_made, message.sender: nonce + 1})
    return with_request(court, objects.request_id(message.sender, nonce, asked, data), asked)


def claim(court: Court, message: Message, request_id: bytes, sealed: bytes, latest: int) -> Court:
    """Stakes the request's bond on a sealed run hash. The first claim puts the request into the model's line, and pays for that."""
    asked = known(court.requests, request_id, UnknownRequest)
    price = line_price(court, asked)
    if message.value != asked.bond + price:
        raise WrongValue
    if message.now > asked.deadline:
        raise Deadline
    if asked.server not in (ANYONE, message.sender):
        raise NotTheServer
    if asked.result is not None:
        raise AlreadyFinal
    claim_id = objects.claim_id(request_id, message.sender, sealed)
    if claim_id in court.claims:
        raise ClaimExists
    if asked.claims == 0:
        court = join_line(court, request_id, message.now)
        asked = court.requests[request_id]
    closes_at = max(message.now, asked.checked_at) + court.parameters.window
    if closes_at > latest or closes_at >= TIME_LIMIT:
        raise TooLate
    court = with_claim(court, claim_id, Claim(request_id, message.sender, sealed, asked.claims, closes_at))
    court = with_request(court, request_id, evolve(asked, claims=asked.claims + 1, pending=asked.pending + 1))
    return evolve(court, ledger=court.ledger.deposit(message.value).burn(price))


def line_price(court: Court, asked: Request) -> int:
    """Returns what the next claim of a request pays for the line: the first one all of it, the others nothing."""
    return 0 if asked.claims else court.models[asked.model_id].work(asked.stage_count) * court.parameters.second_price


def join_line(court: Court, request_id: bytes, now: int) -> Court:
    """Gives the request its time on the one machine that recomputes this model's runs."""
    asked = court.requests[request_id]
    model = court.models[asked.model_id]
    checked_at = max(now, model.busy_until) + model.work(asked.stage_count)
    court = evolve(court, models={**court.models, asked.model_id: evolve(model, busy_until=checked_at)})
    return with_request(court, request_id, evolve(asked, checked_at=checked_at))
