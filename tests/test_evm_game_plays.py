"""Random plays: after every act the money is all there, and the events alone give every field that is stored.

*Conservation*: deposits = locked + credited + burned + paid out; what is locked is what requests, claims and nodes are still owed.
"""

import random
from collections import Counter
from typing import TypeVar

from attrs import evolve
from evm_dispute import BOND, Dispute, new_court, run_hash, seal
from evm_event_log import EventLog

from evm_arbiter.court import Court, Refused
from evm_arbiter.objects import ClaimStatus, NodeState
from evm_arbiter.parameters import GWEI, root_bond, share_of

CARRIES = (b"\7" * 32, b"\5" * 32)  # of the runs that servers claim, all failed ones, so that the end needs no output


def locked(court: Court, log: EventLog) -> int:
    """What is owed, by the page's formulas."""
    fixed = court.parameters
    total = sum(request.fee_left for request in log.requests.values() if not request.fee_paid)
    total += sum(log.requests[claim.request_id].bond for claim in log.claims.values() if claim.status is ClaimStatus.PENDING)
    for node in log.nodes.values():
        claim = log.claims[node.claim_id]
        bond = log.requests[claim.request_id].bond
        if claim.status is ClaimStatus.FINAL or node.collected:
            continue
        total += root_bond(fixed, bond) if node.depth == 1 else fixed.node_bond
        if claim.status is ClaimStatus.REJECTED and any(claim.fell_at):
            end = log.nodes[claim.fell_at]
            share = share_of(fixed, bond) // end.depth
            pool = bond - end.depth * share
            gas = min(fixed.gas_choose, pool // claim.prices) if claim.prices else fixed.gas_choose
            shift = (fixed.k - 1).bit_length() * (end.depth - node.depth)
            on_the_way = node.depth <= end.depth and end.path >> max(0, shift) == node.path
            total += gas * node.price + (share if on_the_way else 0)
    return total


def check(court: Court) -> None:
    """Everything that is stored, against the events."""
    log = EventLog(court.parameters, court.events())
    assert {model_id: court.model_of(model_id) for model_id in log.models} == log.models
    for request_id, request in log.requests.items():
        assert evolve(court.request_of(request_id), first_run_hash=bytes(32)) == request
    assert {claim_id: court.claim_of(claim_id) for claim_id in log.claims} == log.claims
    assert {node_id: court.node_of(node_id) for node_id in log.nodes} == log.nodes
    assert {address: court.account_of(address) for address in court.accounts} == {a: log.accounts[a] for a in court.accounts}
    books = court.books()
    assert books == log.books
    assert books.deposits == books.locked + sum(account.credited for account in log.accounts.values()) + books.burned + books.paid_out
    assert books.locked == locked(court, log)
    assert court.balance(court.game.address) == books.deposits - books.paid_out


ACTS = {  # how often each is tried
    "ask": 2, "claim": 6, "challenge": 5, "answer": 25, "choose": 15, "timeout": 3, "finalise": 4, "expire": 2, "collect": 5, "award": 4,
    "reclaim": 2, "leave": 1, "price": 1, "wait": 8,
}  # fmt: skip
T = TypeVar("T")


def pick(chance: random.Random, things: dict[T, bool]) -> T | None:
    """One of these: mostly one that is promising, if there is one."""
    promising = [thing for thing, hope in things.items() if hope]
    return chance.choice(promising if promising and chance.randrange(8) else list(things)) if things else None


def random_act(court: Court, dispute: Dispute, chance: random.Random) -> None:
    """Something that somebody could try now; most of it is legal."""
    act = chance.choices(list(ACTS), list(ACTS.values()))[0]
    log = EventLog(court.parameters, court.events())
    requests, claims = log.requests, log.claims
    who = pick(chance, {address: act != "leave" or log.accounts[address].credited > 0 for address in court.accounts[:8]})
    at = evolve(dispute, server_number=chance.choice((1, 3)), last_run_hash=run_hash(chance.choice(CARRIES), 1))
    hopes = {
        "claim": lambda request: not any(request.result) and request.deadline >= court.now,
        "reclaim": lambda request: not any(request.result) and request.deadline < court.now and not request.pending,
        "award": lambda claim: any(requests[claim.request_id].result) and requests[claim.request_id].next_award == claim.index,
        "challenge": lambda claim: claim.status is ClaimStatus.PENDING and not claim.nodes and claim.closes_at > court.now,
        "finalise": lambda claim: claim.status is ClaimStatus.PENDING and not claim.open_nodes and claim.closes_at <= court.now,
        "expire": lambda claim: claim.status is ClaimStatus.PENDING and not claim.open_nodes and claim.closes_at <= court.now,
        "answer": lambda node: node.state is NodeState.OPEN and claims[node.claim_id].status is ClaimStatus.PENDING,
        "timeout": lambda node: node.state is NodeState.OPEN and claims[node.claim_id].status is ClaimStatus.PENDING,
        "choose": lambda node: node.state is NodeState.POSTED and claims[node.claim_id].status is ClaimStatus.PENDING,
        "collect": lambda node: not node.collected and claims[node.claim_id].status is ClaimStatus.REJECTED,
    }
    of_what = {"claim": requests, "reclaim": requests} | dict.fromkeys(("award", "challenge", "finalise", "expire"), claims)
    things = of_what.get(act, log.nodes)
    thing = pick(chance, {key: act not in hopes or hopes[act](value) for key, value in things.items()})
    node = None
    if things is requests:
        at.request_id = thing
    elif things is claims and thing:
        at.claim_id, at.request_id = thing, claims[thing].request_id
    elif thing:
        at.node_id, node = thing, log.nodes[thing]
        claim = claims[node.claim_id]
        at.server_number = court.accounts.index(claim.server)
        runs = [run_hash(carry, 1) for carry in CARRIES]
        at.last_run_hash = next(run for run in runs if seal(run, claim.server) == claim.sealed)
    match act:
        case "ask":
            evolve(at, bond=BOND + chance.randrange(99)).asked(deadline=court.now + chance.randrange(900_000))
        case "claim":
            at.bond = log.requests[at.request_id].bond
            at.claimed()
        case "challenge" if at.claim_id:
            at.bond = log.requests[log.claims[at.claim_id].request_id].bond
            at.challenged(who)
        case "answer" if node:
            at.after_hash = chance.choice((None, bytes(32)))
            at.answer()
        case "choose" if node:
            at.choose(chance.choice((at.part(), chance.randrange(3))), sender=chance.choice((who, node.opener, node.opener)))
        case "timeout" if node:
            at.timeout()
        case "finalise" if at.claim_id:
            court.finalise(at.claim_id, chance.choice(CARRIES), 1, b"", b"", sender=who)
        case "expire" if at.claim_id:
            court.expire(at.claim_id, sender=who)
        case "collect" if node:
            court.collect(at.node_id, sender=who)
        case "award" if at.claim_id:
            court.award(at.claim_id, sender=who)
        case "reclaim":
            court.reclaim(at.request_id, sender=who)
        case "leave":
            court.withdraw_to(chance.choice(court.accounts), sender=who)
        case "price":
            court.set_base_fee(chance.choice((0, 7, 10 * GWEI, 300 * GWEI)))
        case "wait":
            court.set_time(court.now + chance.choice((1, 60, 200, 200, 1000, 50_000, 173_000)))


def test_no_wei_is_lost_or_made_and_events_tell_everything() -> None:
    accepted = Counter[str]()
    states = Counter[NodeState]()
    for seed in range(5):
        chance = random.Random(seed)
        court = new_court(2)
        dispute = Dispute(court, stage_count=3, stage=1, steps=3, step=1)
        dispute.asked(deadline=court.now + 900_000)
        for _ in range(250):
            before = court.books()
            try:
                random_act(court, dispute, chance)
            except Refused:
                assert court.books() == before
            else:
                check(court)
        accepted.update(transaction.move for transaction in court.transactions)
        states.update(node.state for node in EventLog(court.parameters, court.events()).nodes.values())
    assert len(accepted) == 15, accepted  # a play in which some act is never accepted shows too little
    assert len(states) == 3, states
