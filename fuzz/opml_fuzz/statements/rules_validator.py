"""Rules about the honest validator: while a claim is false there is a front, and whatever anybody does there is one afterwards.

The *front* is a node with a true lower and a false upper end that is OPEN, or POSTED with its first false part free.

*Source*: spec §5.12, invariant 2.
"""

from collections.abc import Callable
from typing import Any

from attrs import evolve
from opml_spec.dispute import honest
from opml_spec.dispute.narrowing import MOST_STAGES, Phase, Segment, part_of
from opml_spec.dispute.objects import ClaimStatus, Court, Message, Node, NodeState, child_id, root_id, seal
from opml_spec.hashing import HASH_BYTES

from opml_fuzz.statements.rules_acts import perform, refused
from opml_fuzz.statements.rules_court import (
    CLAIM_ID,
    MOVES,
    OPENER,
    REQUEST_ID,
    SERVER,
    STRANGER,
    any_claim,
    any_clock,
    any_count,
    any_hashes,
    any_message,
    any_parameters,
    any_request,
    any_segment,
    boundaries,
    court_of,
    has_its_hashes,
    implies,
    lost_or_not,
    node_id_of,
    others,
    path_of,
    said,
)
from opml_fuzz.statements.rules_money import any_books
from opml_fuzz.statements.rules_run import Run
from opml_fuzz.statements.world import Rule, World

ASIDE_ID, OTHER_ID = b"a" * 32, b"o" * 32


def false_court(world: World, k: int, states: tuple[NodeState, ...], **known: Any) -> tuple[Court, Run, bytes, Any, int]:
    """A court with a false claim and its front; also the stage in which this is, and its first false part if it is posted."""
    parameters, stage_count = any_parameters(world, k), world.number("stage_count", 1, MOST_STAGES)
    run = Run(world, world.hash("model_root"), stage_count)
    claim = any_claim(world, nodes=world.number("nodes", 1))
    world.assume(claim.sealed != seal(run.run_hash, SERVER))
    is_root, phase, state = world.choice((True, False)), world.choice(tuple(Phase)), world.choice(states)
    segment = any_segment(world, "", phase, stage_count)
    stage = segment.lo if phase == Phase.STAGES else world.number("stage", 0, MOST_STAGES)
    if is_root and phase == Phase.STAGES:
        world.assume((segment.lo == 0) & (segment.hi == stage_count))
    elif is_root:
        world.assume((segment.lo == 0) & (stage_count == 1) & (stage == 0) & (segment.hi == 1 if state is NodeState.OPEN else True))
    segment = evolve(segment, agreed=run.hash_at(phase, stage, segment.lo))
    if is_root and phase == Phase.STAGES and state is NodeState.OPEN:
        segment = evolve(segment, disputed=claim.sealed)
    else:
        world.assume(segment.disputed != run.hash_at(phase, stage, segment.hi))
    clock, posted, first = any_clock(world), b"", 0
    if state is NodeState.POSTED:
        parts = any_count(world, segment, k)
        posted, first = any_hashes(world, "posted", parts - 1), world.choice(range(parts))
        said_there = [*(posted[HASH_BYTES * at : HASH_BYTES * (at + 1)] for at in range(parts - 1)), segment.disputed]
        for at, end in enumerate(boundaries(segment, parts)[1 : first + 2]):
            true = run.hash_at(phase, stage, end)
            world.assume(said_there[at] == true if at < first else said_there[at] != true)
        world.assume(claim.settles_at >= clock.last_choice(claim.closes_at))
    else:
        world.assume(claim.open_nodes >= 1)
    node = Node(CLAIM_ID, OPENER, path_of(world, is_root, stage), segment, clock, world.number("price"), state, posted)
    request = any_request(world, stage_count=stage_count, first_run_hash=run.run_hash_at(0))
    court = court_of(world, parameters, {node_id_of(is_root): node}, claim, request, **known)
    return court, run, node_id_of(is_root), stage, first


def validator_in_time(world: World, court: Court, node: Node, now: Any) -> None:
    """Assumes that the validator is in time: its choice is still legal."""
    if node.state is NodeState.POSTED:
        world.assume((node.clock.since <= now) & (now <= node.clock.last_choice(court.claims[CLAIM_ID].closes_at)))


def is_front(world: World, court: Court, node: Node, run: Run, stage: Any, now: Any, what: str) -> None:
    """Shows that a node is the front."""
    segment, claim = node.segment, court.claims[CLAIM_ID]
    world.show(f"{what}: it is not answered", node.state is not NodeState.ANSWERED)
    world.show(f"{what}: the lower end is true", segment.agreed == run.hash_at(segment.phase, stage, segment.lo))
    if node.state is NodeState.POSTED or node.path or segment.phase == Phase.INSTRUCTIONS:  # else the seal stands there
        world.show(f"{what}: the upper end is false", segment.disputed != run.hash_at(segment.phase, stage, segment.hi))
    if node.state is NodeState.OPEN:
        world.show(f"{what}: the claim counts it", claim.open_nodes >= 1)
    else:
        last = node.clock.last_choice(claim.closes_at)
        world.show(f"{what}: all hashes are there", has_its_hashes(segment, node.posted, court.parameters.k))
        world.show(f"{what}: its challengers are in time", now <= last)
        world.show(f"{what}: the claim does not settle before", last <= claim.settles_at)


def front_remains(world: World, k: int, name: str) -> None:
    """Whatever anybody does at the front, the claim falls or has a front."""
    lost = others(world) if name == "choose" else lost_or_not(world)  # it is about lateness
    state = NodeState.POSTED if name == "choose" else NodeState.OPEN
    court, run, node_id, stage, first = false_court(world, k, (state,), server_lost_at=lost)
    node, message = court.nodes[node_id], any_message(world, (OPENER, STRANGER) if name == "choose" else (SERVER,))
    validator_in_time(world, court, node, message.now)
    world.assume((node.clock.challengers_left >= 0) & (node.clock.since <= message.now))
    arguments = said(world, name, k, node)
    if name == "open" and node.segment.phase == Phase.STAGES:
        run.begins(stage)
        run.hands_over(stage)
        run.ended(stage, arguments[3])
        run.machine(stage, arguments[3])
    if name == "arbitrate" and node.segment.phase == Phase.INSTRUCTIONS:
        run.goes_on(stage, node.segment.lo)
    after = perform(world, court, name, message, node_id, *arguments)
    if after is None:
        return
    if after.claims[CLAIM_ID].status is ClaimStatus.REJECTED:
        world.reach("it falls")
        world.show("it falls at the front", after.claims[CLAIM_ID].fell_at == node_id)
        return
    world.show("the claim is pending", after.claims[CLAIM_ID].status is ClaimStatus.PENDING)
    if name == "choose" and arguments[-1] == first:
        world.reach("child")
        below = after.nodes[child_id(node_id, first)]
        is_front(world, after, below, run, below.segment.lo if node.segment.phase == Phase.STAGES else stage, message.now, "child")
        world.show("no time is below zero", below.clock.challengers_left >= 0)
    else:
        world.reach(f"{name}: {after.nodes[node_id].state.name}")
        is_front(world, after, after.nodes[node_id], run, stage, message.now, name)


def front_is_left_alone(world: World, k: int, name: str) -> None:
    """Nothing that happens elsewhere changes the front, and the claim becomes neither FINAL nor expired."""
    parameters, claim = any_parameters(world, k), any_claim(world, nodes=world.number("nodes", 1))
    result = world.choice((None, world.hash("result_hash"))) if name in ("award", "reclaim") else None
    request = any_request(world, run_hash=result, result=None if result is None else OTHER_ID)
    state, node_id = world.choice((NodeState.OPEN, NodeState.POSTED)), root_id(CLAIM_ID)
    segment = Segment(Phase.STAGES, 0, request.stage_count, request.first_run_hash, world.hash("run_hash"))
    front = Node(CLAIM_ID, OPENER, (), segment, any_clock(world), 0, state)
    message = any_message(world, (SERVER, STRANGER))
    court = court_of(world, parameters, {node_id: front}, claim, request, ledger=any_books(world, SERVER, STRANGER))
    validator_in_time(world, court, front, message.now)
    world.assume(claim.settles_at >= front.clock.last_choice(claim.closes_at) if state is NodeState.POSTED else True)
    aside_state = world.choice(tuple(NodeState)) if name not in MOVES else NodeState.POSTED if name == "choose" else NodeState.OPEN
    phase = world.choice(tuple(Phase))
    segment = any_segment(world, "aside_", phase, court.requests[REQUEST_ID].stage_count)
    posted = any_hashes(world, "aside_posted", any_count(world, segment, k) - 1) if aside_state is NodeState.POSTED else b""
    aside = Node(CLAIM_ID, STRANGER, path_of(world, False, name="aside_depth"), segment, any_clock(world, "aside_"), 0, aside_state, posted)
    open_there = int(front.state is NodeState.OPEN) + int(aside_state is NodeState.OPEN)
    world.assume(claim.open_nodes >= open_there)
    court = evolve(court, nodes={**court.nodes, ASIDE_ID: aside})
    at: dict[str, Callable[[], tuple[Any, ...]]] = {
        "collect": lambda: (world.choice((node_id, ASIDE_ID)),),
        "challenge": lambda: (CLAIM_ID,),
        "finalise": lambda: (CLAIM_ID, world.hash("carry"), world.choice((0, 1, 2)), 0, b""),
        "expire": lambda: (CLAIM_ID,),
        "award": lambda: (CLAIM_ID,),
        "reclaim": lambda: (REQUEST_ID,),
        "withdraw_to": lambda: (message.sender,),
    }
    arguments = at[name]() if name in at else (ASIDE_ID, *said(world, name, k, aside))
    after = perform(world, court, name, message, *arguments)
    if after is None:
        return
    world.show("it is possible at all", name not in IMPOSSIBLE)
    world.show("the front is untouched", after.nodes[node_id] is front)
    world.show("the node aside is untouched, if it is not about it", after.nodes[ASIDE_ID] is aside or name in MOVES)
    world.show("the claim is untouched, if it is not about it", after.claims[CLAIM_ID] is claim or name in MOVES)
    now = after.claims[CLAIM_ID]
    if now.status is ClaimStatus.REJECTED:
        world.show("it falls at a node", now.fell_at == ASIDE_ID)
        return
    world.show("the claim is pending", now.status is ClaimStatus.PENDING)
    world.show("the claim counts an open front", now.open_nodes >= int(front.state is NodeState.OPEN))
    world.show("the claim does not settle earlier", now.settles_at >= claim.settles_at)
    world.show("the claim closes as before", (now.closes_at == claim.closes_at) & (now.sealed == claim.sealed))


def never_stuck(world: World, k: int) -> None:
    """The honest validator's next move is legal; if it has none, somebody else is to act first. What it exposes falls.

    It walks down from the root. Here the walk has come to the front, whichever node that is, or to the node above it."""
    court, run, node_id, stage, first = false_court(world, k, (NodeState.OPEN, NodeState.POSTED), server_lost_at=lost_or_not(world))
    front, now = court.nodes[node_id], world.number("now", 1)
    node_id = root_id(CLAIM_ID)
    court = evolve(court, nodes={node_id: front, **others(world)})
    validator_in_time(world, court, front, now)
    if front.state is NodeState.POSTED and world.choice((True, False)):
        segment = part_of(front.segment, front.posted, first)
        stage = segment.lo if segment.phase == Phase.STAGES else stage
        front = Node(CLAIM_ID, STRANGER, path_of(world, False, stage, "depth_below"), segment, any_clock(world, "below_"), 0)
        node_id = child_id(node_id, first)
        court = evolve(court, nodes={**court.nodes, node_id: front})
        world.reach("a node above")
    me = world.choice((OPENER, STRANGER))
    if front.segment.phase == Phase.INSTRUCTIONS:
        run.goes_on(stage, front.segment.lo)
    try:
        move = honest.next_move(court, CLAIM_ID, run, me, now)  # type: ignore[arg-type]  # read like a trace
    except StopIteration:
        world.show("it finds a false part", False)
        return
    if move is None:
        posted, parameters = front.state is NodeState.POSTED, court.parameters
        world.reach("it waits")
        if posted:
            world.show("it waits for the opener", (now < front.clock.since + parameters.priority) & (me != front.opener))
        else:
            world.show("it waits for the server, who is in time", now <= front.clock.due + front.clock.server_left)
            single = (front.segment.length == 1) & (front.segment.phase == Phase.INSTRUCTIONS)
            world.show("it executes what it can", implies(single, False))
        return
    after = perform(world, court, move.name, Message(me, now, move.value), *move.arguments)
    world.show(f"{move.name} is legal", after is not None)
    if after is not None and move.name != "choose":
        world.show(f"{move.name} makes the claim fall", after.claims[CLAIM_ID].status is ClaimStatus.REJECTED)


def challenge_opens_the_front(world: World, k: int) -> None:
    """Before a false claim closes it has a front, or a challenge is legal and makes one; until it closes it is not final."""
    court, run, _, _, _ = false_court(world, k, (NodeState.OPEN,))
    now = world.number("now", 1)
    claim = evolve(court.claims[CLAIM_ID], nodes=0, open_nodes=0, prices=0, settles_at=0)
    court = evolve(court, claims={CLAIM_ID: claim, **others(world)}, nodes=others(world))
    parameters, bond = court.parameters, court.parameters.root_bond(court.requests[REQUEST_ID].bond)
    checked_at = world.number("checked_at")
    world.assume(claim.closes_at == checked_at + parameters.window)
    is_seen_in_time = now < checked_at + parameters.detect + parameters.censorship + parameters.inclusion
    world.show("a validator that sees it in time can challenge it", implies(is_seen_in_time, now < claim.closes_at))
    if now >= claim.closes_at:
        late = perform(world, court, "challenge", Message(STRANGER, now, bond), CLAIM_ID)
        world.show("no challenge is legal once it closes", late is None)
        return
    final = perform(world, court, "finalise", Message(SERVER, now), CLAIM_ID, world.hash("carry"), world.choice((0, 1)), 0, b"")
    world.show("it is not final before it closes", final is None)
    world.show("nor expired", perform(world, court, "expire", Message(SERVER, now), CLAIM_ID) is None)
    move = honest.next_move(court, CLAIM_ID, run, STRANGER, now)  # type: ignore[arg-type]  # read like a trace
    world.show("the validator challenges", move is not None and move.name == "challenge")
    assert move is not None
    after = perform(world, court, move.name, Message(STRANGER, now, move.value, world.number("basefee")), *move.arguments)
    world.show("the challenge is legal", after is not None)
    assert after is not None
    is_front(world, after, after.nodes[root_id(CLAIM_ID)], run, 0, now, "root")


IMPOSSIBLE = ("collect", "challenge", "finalise", "expire")  # while the claim is pending and has a front
RULES = (
    Rule(
        "rules.challenge",
        "a claim is not final before it closes; until then a false one has a front or can be challenged, which makes one",
        challenge_opens_the_front,
        {(2,): {"challenge"}},
    ),
    Rule(
        "rules.front",
        "whatever anybody does at the front of a false claim, it falls or has a front, unless the validator is late (k = 2, 3)",
        front_remains,
        {
            (2, "post"): {"post: POSTED"},
            (2, "open"): {"open: POSTED", "open: OPEN", "it falls"},
            (3, "choose"): {"child", "choose: POSTED"},
            **{(2, name): {name, "it falls"} for name in ("arbitrate", "timeout")},
        },
    ),
    Rule(
        "rules.elsewhere",
        "nothing that happens elsewhere changes the front, nor makes a false claim final or expired (k = 2)",
        front_is_left_alone,
        {
            **{(2, name): {refused(name)} for name in IMPOSSIBLE},
            **{(2, name): {name, refused(name)} for name in ("award", "reclaim", "withdraw_to", *MOVES)},
        },
    ),
    Rule(
        "rules.validator_moves",
        "the honest validator's next move is legal, and what it exposes falls; without a move, somebody in time is to act (k = 2, 3)",
        never_stuck,
        {case: {"choose", "arbitrate", "timeout", "it waits", "a node above"} for case in ((2,), (3,))},
    ),
)
