"""Statements about clocks: at each instant exactly one of answer and timeout is legal, and nobody spends what another has.

They are about the acts themselves, on a court with one claim and one node: `post`, `choose`, `timeout` and `finalise` as they run.

*Source*: spec §5.4, §5.5.
"""

from typing import Any

from opml_spec.dispute import ends, moves
from opml_spec.dispute.clocks import Clock, next_due
from opml_spec.dispute.money import Ledger
from opml_spec.dispute.narrowing import Phase, Segment
from opml_spec.dispute.objects import Claim, ClaimStatus, Court, Message, Model, Node, NodeState, Request, child_id, root_id, seal
from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import NodesOpen, NotOutOfTime, OutOfTime, Unsettled, WindowOpen, WrongOutput

from opml_fuzz.statements.statement import Integer, Statement

SERVER, OPENER, REQUESTER = b"s" * 20, b"o" * 20, b"q" * 20
MODEL_ID, REQUEST_ID, CLAIM_ID = b"m" * 32, b"r" * 32, b"c" * 32
CARRY = b"y" * 32
RUN_HASH = b"h" * 32
NODE_ID = root_id(CLAIM_ID)
RULES = Parameters(k=4)
PARTS = 4
HASHES = b"".join(bytes([number]) * 32 for number in range(1, PARTS))
TIME = Integer(0)
OPEN = {"due": TIME, "server_left": TIME, "since": TIME, "lost_at": TIME, "now": TIME}
UNLOST = {"due": TIME, "server_left": TIME, "since": TIME, "now": TIME}
POSTED = {"since": TIME, "challengers_left": TIME, "closes_at": TIME, "now": TIME}


def court_with(clock: Clock, state: NodeState, closes_at: Any = 0, settles_at: Any = 0, lost_at: Any = 0) -> Court:
    """Makes a court with one claim whose root has this clock, and money enough for all that follows. lost_at: 0 if the server never lost"""
    request = Request(MODEL_ID, 100, b"f" * 32, 0, 0, RULES.min_bond, REQUESTER, SERVER, claims=1, pending=1)
    is_open = int(state is NodeState.OPEN)
    claim = Claim(REQUEST_ID, SERVER, seal(RUN_HASH, SERVER), 0, closes_at, settles_at, is_open, 1)
    segment = Segment(Phase.STAGES, 0, 100, b"f" * 32, claim.sealed if is_open else RUN_HASH)
    node = Node(CLAIM_ID, OPENER, (), segment, clock, 0, state, b"" if is_open else HASHES)
    ledger = Ledger(locked=10 * RULES.min_bond, deposits=10 * RULES.min_bond)
    things = {"models": {MODEL_ID: Model(b"p" * 32, b"d" * 32, 1)}, "requests": {REQUEST_ID: request}, "claims": {CLAIM_ID: claim}}
    servers = {"server_due": {SERVER: clock.due}, "server_lost_at": {SERVER: lost_at} if lost_at else {}}
    return Court(RULES, **things, **servers, nodes={NODE_ID: node}, ledger=ledger)  # type: ignore[arg-type]  # each of its own kind


def answered(court: Court, now: Any) -> Court | None:
    """The court after the server's answer; None if its time is up."""
    try:
        return moves.post(court, Message(SERVER, now), NODE_ID, court.nodes[NODE_ID].segment, HASHES, RUN_HASH)
    except OutOfTime:
        return None


def timed_out(court: Court, now: Any) -> Court | None:
    """The court after a timeout; None if it is too early."""
    try:
        return moves.timeout(court, Message(REQUESTER, now), NODE_ID)
    except NotOutOfTime:
        return None


def chosen(court: Court, now: Any) -> Court | None:
    """The court after the opener's choice of a part; None if the challengers' time is up."""
    node = court.nodes[NODE_ID]
    try:
        return moves.choose(court, Message(OPENER, now, RULES.node_bond), NODE_ID, node.segment, node.posted, 1)
    except OutOfTime:
        return None


def can_be_finalised(court: Court, now: Any) -> bool:
    """Whether time and tree allow to finalise; what the run put out comes later."""
    try:
        ends.finalise(court, Message(REQUESTER, now), CLAIM_ID, CARRY, 2, b"", b"")
    except (WindowOpen, NodesOpen, Unsettled):
        return False
    except WrongOutput:  # so all that comes before it is as it must be
        return True
    return True


def exactly_one(due: Any, server_left: Any, since: Any, lost_at: Any, now: Any) -> bool:
    court = court_with(Clock(due, server_left, 0, since), NodeState.OPEN, lost_at=lost_at)
    return (answered(court, now) is None) != (timed_out(court, now) is None)


def own_time(due: Any, server_left: Any, since: Any, lost_at: Any, now: Any) -> Any:
    """An answer costs the server what it is late, the challengers nothing. After a loss it is late E after that and the opening."""
    after = answered(court_with(Clock(due, server_left, 77, since), NodeState.OPEN, lost_at=lost_at), now)
    if after is None:
        return True
    clock, late = after.nodes[NODE_ID].clock, max(0, now - due)
    if lost_at > 0:
        late = max(late, min(now - since, now - lost_at) - RULES.effort)
    return (clock.server_left == server_left - late) & (clock.server_left >= 0) & (clock.challengers_left == 77) & (clock.since == now)


def in_time_costs_nothing(due: Any, server_left: Any, since: Any, now: Any) -> Any:
    after = answered(court_with(Clock(due, server_left, 0, since), NodeState.OPEN), now)
    return after is not None and after.nodes[NODE_ID].clock.server_left == server_left


def never_hastened(due: Any, server_left: Any, since: Any, now: Any) -> bool:
    """A server that never lost may be late by all that is left, however much it is asked."""
    return answered(court_with(Clock(due, server_left, 0, since), NodeState.OPEN), now) is not None


def no_excuse(due: Any, server_left: Any, since: Any, lost_at: Any, now: Any) -> bool:
    """A server that lost is out of time when it is late by all that is left, E after its loss and after the opening."""
    return timed_out(court_with(Clock(due, server_left, 0, since), NodeState.OPEN, lost_at=lost_at), now) is not None


def timeout_stays(due: Any, server_left: Any, since: Any, lost_at: Any, now: Any) -> bool:
    """A timeout makes the claim fall at the node, and once it is legal it stays legal. The time of the first loss is kept."""
    court = court_with(Clock(due, server_left, 0, since), NodeState.OPEN, lost_at=lost_at)
    after = timed_out(court, now)
    if after is None:
        return True
    claim, first = after.claims[CLAIM_ID], lost_at if lost_at > 0 else now
    lost = bool(after.server_lost_at[SERVER] == first)
    return lost and claim.status is ClaimStatus.REJECTED and claim.fell_at == NODE_ID and timed_out(court, now + 1) is not None


def choosers_time(since: Any, challengers_left: Any, closes_at: Any, now: Any) -> Any:
    """A choice is legal as long as the challengers have time, which does not run before the window closes; a child gets what is left."""
    court = court_with(Clock(0, 55, challengers_left, since), NodeState.POSTED, closes_at)
    used = max(0, now - max(since, closes_at))
    after = chosen(court, now)
    if after is None:
        return used > challengers_left
    child = after.nodes[child_id(NODE_ID, 1)].clock
    inherited = (child.challengers_left == challengers_left - used) & (child.server_left == 55)
    return (used <= challengers_left) & inherited & (child.since == now)


def open_is_not_final(due: Any, server_left: Any, since: Any, lost_at: Any, now: Any) -> bool:
    return not can_be_finalised(court_with(Clock(due, server_left, 0, since), NodeState.OPEN, lost_at=lost_at), now)


def choice_is_not_final(due: Any, challengers_left: Any, closes_at: Any, settles_at: Any, now: Any, later: Any) -> bool:
    """After an answer, the claim cannot be finalised while a part of the node may still be chosen."""
    before = court_with(Clock(due, 0, challengers_left, 0), NodeState.OPEN, closes_at, settles_at)
    after = answered(before, now)
    return after is None or chosen(after, later) is None or not can_be_finalised(after, later)


def settled_once(due: Any, challengers_left: Any, closes_at: Any, settles_at: Any, now: Any, later: Any) -> Any:
    """An answer never brings the end of a claim closer."""
    after = answered(court_with(Clock(due, 0, challengers_left, 0), NodeState.OPEN, closes_at, settles_at), now)
    return True if after is None else after.claims[CLAIM_ID].settles_at >= settles_at


def turns_come_one_by_one(server_due: Any, now: Any, effort: Any) -> Any:
    """Each node that is opened gives the server its effort again, beyond all that it was asked before."""
    due = next_due(server_due, now, effort)
    return (due >= now + effort) & (due >= server_due + effort)


def in_time(due: Any, server_left: Any, since: Any, now: Any) -> Any:
    return now <= due


def late_by_what_is_left(due: Any, server_left: Any, since: Any, now: Any) -> Any:
    return now <= due + server_left


def late_after_loss(due: Any, server_left: Any, since: Any, lost_at: Any, now: Any) -> Any:
    return (lost_at > 0) & (now > since + RULES.effort + server_left) & (now > lost_at + RULES.effort + server_left)


def time_goes_on(due: Any, challengers_left: Any, closes_at: Any, settles_at: Any, now: Any, later: Any) -> Any:
    return later >= now


ANSWER = {"due": TIME, "challengers_left": TIME, "closes_at": TIME, "settles_at": TIME, "now": TIME, "later": TIME}
OPENING = {"server_due": TIME, "now": TIME, "effort": TIME}
STATEMENTS = (
    Statement("clocks.exactly_one", "at an open node exactly one of answer and timeout is legal", OPEN, exactly_one),
    Statement("clocks.own_time", "an answer costs the server what it is late, and the challengers none", OPEN, own_time),
    Statement("clocks.in_time", "without a loss an answer by the due time is legal and free", UNLOST, in_time_costs_nothing, in_time),
    Statement("clocks.unhastened", "a server that never lost has all its time", UNLOST, never_hastened, late_by_what_is_left),
    Statement("clocks.no_excuse", "a server that lost has E after that and each opening, and its time", OPEN, no_excuse, late_after_loss),
    Statement("clocks.timeout", "a timeout makes the claim fall there, and does not expire; the first loss is kept", OPEN, timeout_stays),
    Statement("clocks.choice", "challengers' time begins with answer and closing; a child gets what is left", POSTED, choosers_time),
    Statement("clocks.open", "no claim is finalised while a node is open", OPEN, open_is_not_final),
    Statement("clocks.settled", "no claim is finalised while a part may be chosen", ANSWER, choice_is_not_final, time_goes_on),
    Statement("clocks.later", "an answer never brings the end closer", ANSWER, settled_once),
    Statement("clocks.due", "each opening gives the server its effort again", OPENING, turns_come_one_by_one),
)
