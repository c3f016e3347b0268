"""Rules about the honest server: what it posted is true, so nothing that anybody does makes its claim fall, and it is never stuck.

*Source*: spec §5.12, invariants 1 and 5.
"""

from typing import Any

from attrs import evolve
from opml_spec.dispute import honest
from opml_spec.dispute.narrowing import MOST_STAGES, Phase, Segment
from opml_spec.dispute.objects import ClaimStatus, Court, Message, Node, NodeState, child_id, seal
from opml_spec.runs.limits import STAGE_STEP_LIMIT

from opml_fuzz.statements.rules_acts import perform, refused
from opml_fuzz.statements.rules_court import (
    CLAIM_ID,
    OPENER,
    SERVER,
    STRANGER,
    any_claim,
    any_clock,
    any_count,
    any_parameters,
    any_request,
    boundaries,
    court_of,
    joined,
    node_id_of,
    path_of,
    said,
)
from opml_fuzz.statements.rules_run import Run
from opml_fuzz.statements.world import Rule, World


def true_court(world: World, k: int, states: tuple[NodeState, ...]) -> tuple[Court, Run, bytes, Any]:
    """A court in which the server posted nothing but the truth, one of its nodes, and the stage in which this is."""
    parameters, stage_count = any_parameters(world, k), world.number("stage_count", 1, MOST_STAGES)
    run = Run(world, world.hash("model_root"), stage_count)
    is_root, phase, state = world.choice((True, False)), world.choice(tuple(Phase)), world.choice(states)
    stage = world.number("stage")
    lo, hi = (world.number(end, 0, (1 << 64) - 1) for end in ("lo", "hi"))
    if phase == Phase.STAGES:
        world.assume((lo < hi) & (hi <= stage_count) & (stage == lo))
        world.assume(((lo == 0) & (hi == stage_count)) if is_root else True)
    else:
        world.assume((lo < hi) & (hi <= STAGE_STEP_LIMIT) & (stage < stage_count))
        world.assume((stage_count == 1) & (stage == 0) & (lo == 0) if is_root else True)
        world.assume(hi == 1 if is_root and state is NodeState.OPEN else True)
    claim = any_claim(world, sealed=seal(run.run_hash, SERVER))
    segment = Segment(phase, lo, hi, run.hash_at(phase, stage, lo), run.hash_at(phase, stage, hi))
    posted: Any = b""
    if state is NodeState.POSTED:
        parts = any_count(world, segment, k)
        posted = joined(run.hash_at(phase, stage, at) for at in boundaries(segment, parts)[1:-1])
    elif is_root and phase == Phase.STAGES:
        segment = evolve(segment, disputed=claim.sealed)
    world.assume(claim.open_nodes >= 1 if state is NodeState.OPEN else True)
    node = Node(CLAIM_ID, OPENER, path_of(world, is_root, stage), segment, any_clock(world), world.number("price"), state, posted)
    request = any_request(world, stage_count=stage_count, first_run_hash=run.run_hash_at(0))
    node_id = node_id_of(is_root)
    court = court_of(world, parameters, {node_id: node}, claim, request)
    return court, run, node_id, stage


def is_true(world: World, node: Node, run: Run, stage: Any, k: int, what: str) -> None:
    """Shows that both ends of a node are true, and all hashes that are posted in it."""
    segment = node.segment
    world.show(f"{what}: the lower end is true", segment.agreed == run.hash_at(segment.phase, stage, segment.lo))
    if node.path or segment.phase == Phase.INSTRUCTIONS or node.state is NodeState.POSTED:  # else it may be the seal
        world.show(f"{what}: the upper end is true", segment.disputed == run.hash_at(segment.phase, stage, segment.hi))
    if node.state is NodeState.OPEN and not node.path and segment.phase == Phase.INSTRUCTIONS:
        world.show(f"{what}: the instructions of a root are posted, if they are more than one", segment.length == 1)
    if node.state is NodeState.POSTED:
        parts = len(node.posted) // 32 + 1
        inner = joined(run.hash_at(segment.phase, stage, at) for at in boundaries(segment, parts)[1:-1])
        world.show(f"{what}: the posted hashes are true", node.posted == inner)


def answer_is_legal(world: World, k: int) -> None:
    """At an open node the honest answer is legal as long as the server is in time; it leaves only truths, and no timeout is legal."""
    court, run, node_id, stage = true_court(world, k, (NodeState.OPEN,))
    node = court.nodes[node_id]
    if node.segment.phase == Phase.INSTRUCTIONS:
        run.goes_on(stage, node.segment.lo)
    run.begins(stage)
    run.hands_over(stage)
    answer = honest.answer(court, node_id, run)  # type: ignore[arg-type]  # read like a trace
    now = world.number("now", 1)
    world.assume(now <= node.clock.due + node.clock.server_left)
    message = Message(SERVER, now)
    after = perform(world, court, answer.name, message, *answer.arguments)
    world.show(f"the honest {answer.name} is accepted", after is not None)
    assert after is not None
    world.show("the claim does not fall", after.claims[CLAIM_ID].status is ClaimStatus.PENDING)
    world.reach(f"{answer.name}: {after.nodes[node_id].state.name}")
    is_true(world, after.nodes[node_id], run, stage, k, answer.name)
    world.show("no timeout is legal in time", perform(world, court, "timeout", Message(STRANGER, now), node_id) is None)


def stays_true(world: World, k: int, name: str) -> None:
    """Whatever others do at a node of an honest server, its claim falls only by a timeout, and what is opened has two true ends."""
    court, run, node_id, stage = true_court(world, k, tuple(NodeState))
    node = court.nodes[node_id]
    sender = world.choice((OPENER, STRANGER))  # for the server itself this is a choice or an instruction like any other
    message = Message(sender, world.number("now", 1), world.number("value"), world.number("basefee"))
    if node.segment.phase == Phase.INSTRUCTIONS:
        run.goes_on(stage, node.segment.lo)
    arguments = said(world, name, k, node)
    after = perform(world, court, name, message, node_id, *arguments)
    if after is None:
        return
    world.show("nobody else can answer for the server", name not in ("post", "open"))
    world.show("it falls by no instruction", after.claims[CLAIM_ID].status is ClaimStatus.PENDING)
    is_true(world, after.nodes[node_id], run, stage, k, name)
    if name == "choose":
        child = after.nodes[child_id(node_id, arguments[-1])]
        world.reach("child")
        below = child.segment.lo if node.segment.phase == Phase.STAGES else stage
        is_true(world, child, run, below, k, "child")


RULES = (
    Rule(
        "rules.server_answers",
        "an honest server can answer every open node until its time is up, with nothing but the truth (k = 2, 3)",
        answer_is_legal,
        {case: {"post: POSTED", "open: POSTED", "open: OPEN", "open: ANSWERED", "arbitrate: ANSWERED"} for case in ((2,), (3,))},
    ),
    Rule(
        "rules.server_stays_true",
        "whatever others do, nodes of an honest server have two true ends, and its claim falls by no instruction (k = 2, 3)",
        stays_true,
        {(2, "post"): {refused("post")}, (2, "open"): {refused("open")}, (3, "choose"): {"child"}, (2, "arbitrate"): {"arbitrate"}},
    ),
)
