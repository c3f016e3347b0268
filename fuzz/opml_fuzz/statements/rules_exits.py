"""Rules about exits: every state has one by time alone. Nothing that is locked stays locked because somebody does nothing.

*Source*: spec §5.4, §5.6, §5.7 and §5.12, invariant 5.
"""

from typing import Any

from attrs import evolve
from opml_spec.dispute.narrowing import Phase, Segment
from opml_spec.dispute.objects import ClaimStatus, Message, Node, NodeState, seal
from opml_spec.dispute.parameters import Parameters
from opml_spec.hashing import keccak256

from opml_fuzz.statements.rules_acts import perform
from opml_fuzz.statements.rules_court import (
    CLAIM_ID,
    MOVES,
    OPENER,
    REQUEST_ID,
    SERVER,
    STRANGER,
    any_claim,
    any_clock,
    any_parameters,
    any_request,
    court_of,
    is_not,
    lost_or_not,
    others,
    path_of,
    said,
)
from opml_fuzz.statements.world import Rule, World

NODE_ID = b"n" * 32
OTHER_ID = b"o" * 32


def claim_ends(world: World, k: int) -> None:
    """A pending claim with an open node falls by a timeout; one without expires; before that, it can be finalised if it is well sealed.

    With a claim that falls or expires its server has lost, then or before."""
    parameters, request = any_parameters(world, k), any_request(world, pending=world.number("pending", 1))
    carry, now = world.hash("carry"), world.number("now", 1)
    run_hash = keccak256(carry + bytes([1]))
    claim, lost = any_claim(world, sealed=seal(run_hash, SERVER)), lost_or_not(world)
    if world.choice((True, False)):
        clock = any_clock(world)
        segment = Segment(world.choice(tuple(Phase)), world.number("lo"), world.number("hi"), world.hash("agreed"), world.hash("disputed"))
        node = Node(CLAIM_ID, OPENER, path_of(world, world.choice((True, False))), segment, clock, world.number("price"))
        world.assume((claim.open_nodes >= 1) & (claim.nodes >= 1))
        court = court_of(world, parameters, {NODE_ID: node}, claim, request, server_lost_at=lost)
        world.assume(now > clock.due + clock.server_left)
        after = perform(world, court, "timeout", Message(STRANGER, now), NODE_ID)
        world.show("a node that is late for good times out", after is not None)
        if after is not None:
            ended = after.claims[CLAIM_ID]
            world.show("the claim falls there", ended.status is ClaimStatus.REJECTED and ended.fell_at == NODE_ID)
            world.show("its server has lost", after.server_lost_at[SERVER] == lost.get(SERVER, now))
        return
    world.assume(claim.open_nodes == 0)
    court = court_of(world, parameters, {}, claim, request, server_lost_at=lost)
    last = max(claim.closes_at, claim.settles_at)
    if world.choice((True, False)):
        world.assume(now > last + parameters.grace)
        after = perform(world, court, "expire", Message(STRANGER, now), CLAIM_ID)
        world.show("a claim that nobody finalised expires", after is not None and after.claims[CLAIM_ID].status is ClaimStatus.REJECTED)
        world.show("its server has lost", after is not None and after.server_lost_at[SERVER] == lost.get(SERVER, now))
        return
    same = world.choice((None, run_hash))
    request = evolve(request, run_hash=same, result=None if same is None else OTHER_ID)
    court = evolve(court, requests={REQUEST_ID: request, **others(world)})
    world.assume((now >= claim.closes_at) & (now > claim.settles_at))
    after = perform(world, court, "finalise", Message(STRANGER, now), CLAIM_ID, carry, 1, 0, b"")
    is_final = after is not None and after.claims[CLAIM_ID].status is ClaimStatus.FINAL
    world.show("a claim without open nodes that settled becomes final", is_final)
    early = world.number("early", 1)
    world.assume(early <= last + parameters.censorship + parameters.inclusion + parameters.effort)
    expired = perform(world, court, "expire", Message(STRANGER, early), CLAIM_ID)
    world.show("it does not expire while its server can be kept from finalising it", expired is None)


def fee_leaves(world: World, k: int) -> None:
    """A fee that is not paid can be awarded or passed on, or given back, once nobody may hold it any more.

    While there is a result and the fee is not paid, `next_award` is not beyond the claim that set the result: so the walk gets there."""
    parameters, status = any_parameters(world, k), world.choice(tuple(ClaimStatus))
    result_hash, now = world.hash("result_hash"), world.number("now", 1)
    claim = any_claim(world, status=status, sealed=seal(world.hash("run_hash"), SERVER))
    has_result = world.choice((True, False))
    request = any_request(world, run_hash=result_hash if has_result else None, result=OTHER_ID if has_result else None)
    result_index = world.number("result_index")
    is_result = has_result and status is ClaimStatus.FINAL and world.choice((True, False))
    if is_result:
        request = evolve(request, result=CLAIM_ID)
        world.assume(result_index == claim.index)
    elif has_result:
        world.assume(result_index != claim.index)
    world.assume((request.next_award <= result_index) if has_result else True)
    court = court_of(world, parameters, {}, claim, request)
    message = Message(STRANGER, now)
    if not has_result:
        held_until = max(request.deadline, request.checked_at) + parameters.window + parameters.hold
        is_free = (now > request.deadline) & ((request.pending == 0) | (now > held_until))
        after = perform(world, court, "reclaim", message, REQUEST_ID)
        world.show("a fee without a result goes back once nobody holds it", is_free if after is not None else is_not(is_free))
        world.show("it is paid then", after is None or after.requests[REQUEST_ID].fee_paid)
        world.show("no fee is awarded without a result", perform(world, court, "award", message, CLAIM_ID) is None)
        return
    world.show("no fee goes back after a result", perform(world, court, "reclaim", message, REQUEST_ID) is None)
    after = perform(world, court, "award", message, CLAIM_ID)
    is_turn = (claim.index == request.next_award) & (status is not ClaimStatus.PENDING or holds_no_more(world, court, now))
    world.show("it is a claim's turn if it is the next and holds no more", is_turn if after is not None else is_not(is_turn))
    if after is not None:
        then = after.requests[REQUEST_ID]
        world.show("the walk does not pass the result", then.fee_paid or then.next_award <= result_index)
        return
    world.assume((claim.index == request.next_award) & (now > claim.closes_at + parameters.hold))
    world.show("the next claim is awarded the fee, or passed over, in the end", False)


def holds_no_more(world: World, court: Any, now: Any) -> Any:
    """Whether a pending claim does not claim the result, or its time to hold the fee is over."""
    claim, request = court.claims[CLAIM_ID], court.requests[REQUEST_ID]
    return (claim.sealed != seal(request.run_hash, SERVER)) | (now > claim.closes_at + court.parameters.hold)


def hold_is_long_enough(world: World, k: int) -> None:
    """A claim with a tree of one path, and nothing owed before, ends before its hold does: then it can still be finalised in time."""
    parameters, claim = any_parameters(world, k), any_claim(world)
    nodes = parameters.most_nodes
    limit = claim.closes_at + parameters.server_time + parameters.challenger_time + nodes * parameters.effort
    end = limit + parameters.grace
    world.show("its end is within the hold", end <= claim.closes_at + parameters.hold)
    world.reach("hold")


def node_waits_for_one_side(world: World, k: int) -> None:
    """At an open node exactly one of answer and timeout is legal, at a posted one exactly one of choice and too late; never too early."""
    parameters, now, earlier = any_parameters(world, k), world.number("now", 1), world.number("earlier", 1)
    clock, claim = any_clock(world), any_claim(world, sealed=seal(world.hash("run_hash"), SERVER))
    world.assume((claim.open_nodes >= 1) & (earlier <= now))
    lost = lost_or_not(world)
    segment = Segment(Phase.STAGES, 0, 2, world.hash("agreed"), claim.sealed)
    node = Node(CLAIM_ID, OPENER, (), segment, clock, 0)
    court = court_of(world, parameters, {NODE_ID: node}, claim, any_request(world), server_lost_at=lost)
    answer = (NODE_ID, segment, world.hash("inner"), world.hash("run_hash"))
    answered = perform(world, court, "post", Message(SERVER, now), *answer)
    late = perform(world, court, "timeout", Message(STRANGER, now), NODE_ID)
    world.show("exactly one of answer and timeout", (answered is None) != (late is None))
    if SERVER not in lost:
        world.show("in time means by due and server_left", (now <= clock.due + clock.server_left) == (answered is not None))
    else:
        due = min(clock.due, max(clock.since, lost[SERVER]) + parameters.effort)
        world.show("a server that lost is due E after that", (now <= due + clock.server_left) == (answered is not None))
    if answered is not None:
        world.show("an answer is never too early", perform(world, court, "post", Message(SERVER, earlier), *answer) is not None)
        left = answered.nodes[NODE_ID].clock
        world.show("no time below zero", implies_left(clock, left))
        posted = answered.nodes[NODE_ID]
        world.assume(clock.challengers_left >= 0)
        then = world.number("then", 1)
        world.assume(then >= now)
        choice = (NODE_ID, posted.segment, posted.posted, world.choice((0, 1)))
        sender = world.choice((OPENER, STRANGER))
        chosen = perform(world, answered, "choose", Message(sender, then, parameters.node_bond), *choice)
        begins = max(now, claim.closes_at)
        is_first = sender == OPENER or then >= now + parameters.priority
        in_time = then <= begins + clock.challengers_left
        world.show("a choice is legal exactly while the challengers have time", (chosen is not None) == (is_first and bool(in_time)))
        world.show("the claim does not settle before", answered.claims[CLAIM_ID].settles_at >= begins + clock.challengers_left)
        again = perform(world, answered, "post", Message(SERVER, then), *answer)
        world.show("each node is answered once", again is None)
        if chosen is not None:
            repeated = perform(world, chosen, "choose", Message(sender, then, parameters.node_bond), *choice)
            world.show("each part is chosen once", repeated is None)


def implies_left(before: Any, after: Any) -> Any:
    return (after.server_left >= 0) & (after.server_left <= before.server_left)


def decided_once(world: World, name: str) -> None:
    """A move needs a pending claim and a node that waits for it; a claim is decided once."""
    status, waits = world.choice(tuple(ClaimStatus)), NodeState.POSTED if name == "choose" else NodeState.OPEN
    state = world.choice(tuple(NodeState)) if status is ClaimStatus.PENDING else waits
    claim = any_claim(world, status=status, sealed=seal(world.hash("run_hash"), SERVER))
    phase, length = world.choice(tuple(Phase)), world.choice((1, 2))
    segment = Segment(phase, 0, length, world.hash("agreed"), world.hash("disputed"))
    posted = world.hash("posted") if state is NodeState.POSTED else b""
    node = Node(CLAIM_ID, OPENER, path_of(world, False), segment, any_clock(world), 0, state, posted)
    request = any_request(world, pending=world.number("pending", 1))
    court = court_of(world, Parameters(k=2), {NODE_ID: node}, claim, request)
    message = Message(world.choice((SERVER, STRANGER)), world.number("now", 1), world.number("value"))
    ends: dict[str, tuple[Any, ...]] = {"challenge": (), "expire": (), "finalise": (world.hash("carry"), world.choice((0, 1)), 0, b"")}
    where = (CLAIM_ID, *ends[name]) if name in ends else (NODE_ID, *said(world, name, 2, node))
    if perform(world, court, name, message, *where) is not None:
        world.show("the claim is pending", status is ClaimStatus.PENDING)
        world.show("the node waits for this", name in ends or state is waits)
        world.show("what is posted has parts", name != "post" or length > 1)
        world.show("what is opened is one stage", name != "open" or (phase == Phase.STAGES and length == 1))
        world.show("what is executed is one instruction", name != "arbitrate" or (phase == Phase.INSTRUCTIONS and length == 1))


RULES = (
    Rule(
        "rules.decided_once",
        "no claim is decided twice; a move needs a pending claim, and a node and a segment that wait for it",
        decided_once,
        {(name,): {name} for name in (*MOVES, "challenge", "expire", "finalise")},
    ),
    Rule(
        "rules.claim_ends",
        "a pending claim falls, becomes final or expires, by time alone",
        claim_ends,
        {(2,): {"timeout", "expire", "finalise"}},
    ),
    Rule(
        "rules.fee_leaves",
        "a fee is awarded or goes back, by time alone, and never to a later claim while an earlier one may hold it",
        fee_leaves,
        {(2,): {"award", "reclaim"}},
    ),
    Rule(
        "rules.hold",
        "a claim with one path ends within its hold (k = 2, 32)",
        hold_is_long_enough,
        {case: {"hold"} for case in ((2,), (32,))},
    ),
    Rule(
        "rules.one_side",
        "at each instant exactly one side can act at a node; nobody is too early, and nothing is done twice",
        node_waits_for_one_side,
        {(2,): {"post", "timeout", "choose"}},
    ),
)
