"""Statements about fees: the first claim pays for the line, the fee is paid whole and once, and no claim holds it up for ever.

How long a tree of one path lasts is shown node by node. While a node is open, its due time or the claim's closing, whichever is later,
and what is left of both sides' time together are at most a *bound*. The root has one, and each further node adds E to it.

*Source*: spec §5.1, §5.3, §5.5 and §5.7.
"""

from typing import Any

from attrs import evolve
from opml_spec.dispute import claims, ends, moves
from opml_spec.dispute.clocks import Clock
from opml_spec.dispute.objects import ClaimStatus, Court, Message, Model, NodeState, claim_id, seal
from opml_spec.dispute.parameters import TIME_LIMIT
from opml_spec.errors import NotAllFailed, NotExpired, NothingToAward, TooLate, WrongValue

from opml_fuzz.statements.clocks import (
    CLAIM_ID,
    MODEL_ID,
    NODE_ID,
    OPENER,
    REQUEST_ID,
    REQUESTER,
    RULES,
    RUN_HASH,
    SERVER,
    TIME,
    answered,
    can_be_finalised,
    chosen,
    court_with,
)
from opml_fuzz.statements.statement import Integer, Statement

OTHER = b"z" * 20
LATER_SEAL = seal(RUN_HASH, OTHER)
NEW_CLAIM = claim_id(REQUEST_ID, OTHER, LATER_SEAL)
BOTH_TIMES = RULES.server_time + RULES.challenger_time
LIMIT = BOTH_TIMES + RULES.most_nodes * RULES.effort  # of a tree of one path, from closing on

# The line ------------------------------------------------------------------------------------------------------------------------


def asked(fee: Any, bond: Any, microseconds: Any, busy_until: Any, deadline: Any, earlier_claims: int) -> Court:
    """Makes a court with a request, and so many claims of it already."""
    court = court_with(Clock(0, 0, 0, 0), NodeState.OPEN)
    request = evolve(court.requests[REQUEST_ID], fee_left=fee, bond=bond, deadline=deadline, server=bytes(20), claims=earlier_claims)
    request = evolve(request, checked_at=busy_until if earlier_claims else 0)
    models = {MODEL_ID: Model(b"p" * 32, b"d" * 32, microseconds, busy_until)}
    return evolve(court, models=models, requests={REQUEST_ID: request})


def line_is_paid_once(earlier: int, fee: Any, bond: Any, microseconds: Any, busy: Any, deadline: Any, value: Any, now: Any) -> Any:
    """A first claim brings bond and price, and the price is burned; a later one brings the bond. The fee stays whole."""
    court = asked(fee, bond, microseconds, busy, deadline, earlier)
    work = court.models[MODEL_ID].work(100)
    price = 0 if earlier else work * RULES.second_price
    try:
        after = claims.claim(court, Message(OTHER, now, value), REQUEST_ID, LATER_SEAL, TIME_LIMIT)
    except WrongValue:
        return value != bond + price
    except TooLate:
        checked_at = busy if earlier else max(now, busy) + work
        return (value == bond + price) & (max(now, checked_at) + RULES.window >= TIME_LIMIT)
    request, made = after.requests[REQUEST_ID], after.claims[NEW_CLAIM]
    money = (value == bond + price) & (request.fee_left == fee) & (after.ledger.burned == price)
    money = money & (after.ledger.locked == court.ledger.locked + bond) & after.ledger.balanced
    closing = (made.closes_at <= max(deadline, request.checked_at) + RULES.window) & (made.closes_at < TIME_LIMIT)
    return money & closing


def before_the_deadline(earlier: int, fee: Any, bond: Any, microseconds: Any, busy: Any, deadline: Any, value: Any, now: Any) -> Any:
    return now <= deadline


# A tree of one path --------------------------------------------------------------------------------------------------------------


def is_bounded(clock: Clock, closes_at: Any, bound: Any) -> Any:
    return (max(clock.due, closes_at) + clock.server_left + clock.challengers_left <= bound) & (clock.server_left >= 0)


def root_is_bounded(server_due: Any, closes_at: Any, now: Any) -> Any:
    """A challenge opens a root with the bound T_server + T_challenger + E from closing on, if the server owes nothing else."""
    court = court_with(Clock(server_due, 0, 0, 0), NodeState.OPEN, closes_at)
    claim = evolve(court.claims[CLAIM_ID], nodes=0, open_nodes=0)
    court = evolve(court, nodes={}, claims={CLAIM_ID: claim})
    after = moves.challenge(court, Message(OPENER, now, RULES.root_bond(RULES.min_bond)), CLAIM_ID)
    return is_bounded(after.nodes[NODE_ID].clock, closes_at, closes_at + BOTH_TIMES + RULES.effort)


def in_the_window(server_due: Any, closes_at: Any, now: Any) -> Any:
    return (now < closes_at) & (server_due <= now)


def path_is_bounded(
    due: Any, server_left: Any, challengers_left: Any, since: Any, lost_at: Any, closes_at: Any, spare: Any, now: Any, waited: Any
) -> Any:
    """An answer comes within the bound, and so does the end of the claim if nothing follows; a child has the bound and E."""
    bound, later = max(due, closes_at) + server_left + challengers_left + spare, now + waited
    after = answered(court_with(Clock(due, server_left, challengers_left, since), NodeState.OPEN, closes_at, lost_at=lost_at), now)
    if after is None:
        return True
    ends_in_time = (now <= bound) & (after.claims[CLAIM_ID].settles_at <= bound)
    below = chosen(after, later)
    if below is None:
        return ends_in_time
    (child,) = (node for node in below.nodes.values() if node.path)
    return ends_in_time & is_bounded(child.clock, closes_at, bound + RULES.effort)


# The hold ------------------------------------------------------------------------------------------------------------------------


def with_result(closes_at: Any, settles_at: Any, fee: Any, status: ClaimStatus) -> Court:
    """Makes a court with a request that has a result, and a claim of that result, with no open nodes, that is next for the fee."""
    court = court_with(Clock(0, 0, 0, 0), NodeState.POSTED, closes_at, settles_at)
    request = evolve(court.requests[REQUEST_ID], fee_left=fee, result=NEW_CLAIM, run_hash=RUN_HASH, claims=2)
    claim = evolve(court.claims[CLAIM_ID], open_nodes=0, status=status)
    ledger = evolve(court.ledger, locked=court.ledger.locked + fee, deposits=court.ledger.deposits + fee)
    return evolve(court, requests={REQUEST_ID: request}, claims={CLAIM_ID: claim}, ledger=ledger)


def awarded(court: Court, now: Any) -> Court | None:
    try:
        return ends.award(court, Message(REQUESTER, now), CLAIM_ID)
    except NothingToAward:
        return None


def hold_ends(closes_at: Any, settles_at: Any, fee: Any, now: Any) -> Any:
    """A pending claim of the result is passed over exactly when its hold is over; by then it could be finalised and can expire."""
    court = with_result(closes_at, settles_at, fee, ClaimStatus.PENDING)
    after = awarded(court, now)
    if after is None:
        return now <= closes_at + RULES.hold
    try:
        ends.expire(court, Message(REQUESTER, now), CLAIM_ID)
    except NotExpired:
        return False
    is_passed_over = after.requests[REQUEST_ID].next_award == 1 and after.ledger == court.ledger
    return is_passed_over and can_be_finalised(court, now - RULES.grace) and now > closes_at + RULES.hold


def settled_in_time(closes_at: Any, settles_at: Any, fee: Any, now: Any) -> Any:
    return settles_at <= closes_at + LIMIT


def award_is_whole(closes_at: Any, settles_at: Any, fee: Any, now: Any) -> Any:
    """A final claim gets the whole fee, at any time, and nobody gets it again."""
    after = awarded(with_result(closes_at, settles_at, fee, ClaimStatus.FINAL), now)
    if after is None or awarded(after, now) is not None:
        return False
    request = after.requests[REQUEST_ID]
    return (after.ledger.credited.get(SERVER, 0) == fee) & (request.fee_left == 0) & after.ledger.balanced & request.fee_paid


def reclaimed(court: Court, now: Any) -> Court | None:
    try:
        return ends.reclaim(court, Message(OTHER, now), REQUEST_ID)
    except NotAllFailed:
        return None


def reclaim_waits(pending: int, deadline: Any, checked_at: Any, fee: Any, now: Any) -> Any:
    """Without a result the requester gets the whole fee back after the deadline; after all holds, even if a claim is pending."""
    court = court_with(Clock(0, 0, 0, 0), NodeState.OPEN)
    request = evolve(court.requests[REQUEST_ID], fee_left=fee, deadline=deadline, checked_at=checked_at, pending=pending)
    ledger = evolve(court.ledger, locked=court.ledger.locked + fee, deposits=court.ledger.deposits + fee)
    after = reclaimed(evolve(court, requests={REQUEST_ID: request}, ledger=ledger), now)
    held_until = max(deadline, checked_at) + RULES.window + RULES.hold if pending else deadline
    if after is None:
        return now <= held_until
    is_whole = (after.ledger.credited.get(REQUESTER, 0) == fee) & after.ledger.balanced
    return is_whole & (now > held_until) & (now > deadline) & (reclaimed(after, now) is None)


WEI = Integer(0)
CLAIMING = {"fee": WEI, "bond": WEI, "microseconds": Integer(1), "busy_until": TIME, "deadline": TIME, "value": WEI, "now": TIME}
PATH = dict.fromkeys(("due", "server_left", "challengers_left", "since", "lost_at", "closes_at", "spare", "now", "waited"), TIME)
HOLDING = {"closes_at": TIME, "settles_at": TIME, "fee": WEI, "now": TIME}
RECLAIMING = {"deadline": TIME, "checked_at": TIME, "fee": WEI, "now": TIME}
STATEMENTS = (
    Statement(
        "fees.line",
        "the first claim pays for the line, once, and the fee stays whole",
        CLAIMING,
        line_is_paid_once,
        before_the_deadline,
        cases=((0,), (1,)),
    ),
    Statement(
        "fees.root",
        "a root begins with the bound T_server + T_challenger + E",
        {"server_due": TIME, "closes_at": TIME, "now": TIME},
        root_is_bounded,
        in_the_window,
    ),
    Statement("fees.path", "a node ends within its bound, and a child adds E to it", PATH, path_is_bounded),
    Statement(
        "fees.hold", "after its hold a claim with one path could be finalised, and is passed over", HOLDING, hold_ends, settled_in_time
    ),
    Statement("fees.award", "a final claim whose turn it is gets the whole fee, once", HOLDING, award_is_whole),
    Statement("fees.reclaim", "a fee without result goes back whole, once, after all holds", RECLAIMING, reclaim_waits, cases=((0,), (1,))),
)
