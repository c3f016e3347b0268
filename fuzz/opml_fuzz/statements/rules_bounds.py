"""Rules about bounds: how deep a tree gets, where its nodes lie, how long a claim lasts, and that the clocks of an honest side are enough.

*Source*: spec §5.2, §5.5, §5.9 and §5.12, invariant 3.
"""

from typing import Any

from attrs import evolve
from opml_spec.dispute.narrowing import MOST_STAGES, Phase, Segment, rounds
from opml_spec.dispute.objects import ClaimStatus, Court, Message, Node, NodeState, child_id, root_id, seal
from opml_spec.hashing import HASH_BYTES
from opml_spec.runs.limits import STAGE_STEP_LIMIT

from opml_fuzz.statements.rules_acts import perform
from opml_fuzz.statements.rules_court import (
    CLAIM_ID,
    OPENER,
    REQUEST_ID,
    SERVER,
    STRANGER,
    any_claim,
    any_clock,
    any_count,
    any_hashes,
    any_parameters,
    any_request,
    court_of,
    lost_or_not,
    others,
    path_of,
    said,
    stretch,
)
from opml_fuzz.statements.world import Rule, World

NODE_ID = b"n" * 32


def depth_is_bounded(world: World, k: int) -> None:
    """A child of a node that is at most k·b long is at most b long. So what is at most k^r long has r rounds, each one deeper.

    A node at depth D with r rounds left lies on no path longer than D + r, and the instructions of a stage have rounds of their own."""
    phase = world.choice(tuple(Phase))
    request = any_request(world)
    most = MOST_STAGES if phase == Phase.STAGES else STAGE_STEP_LIMIT
    lo, hi = world.number("lo", 0, most), world.number("hi", 0, most)
    bound = world.number("bound", 1)
    world.assume((lo + 2 <= hi) & (hi - lo <= k * bound) & (hi <= (request.stage_count if phase == Phase.STAGES else most)))
    segment = Segment(phase, lo, hi, world.hash("agreed"), world.hash("disputed"))
    posted = any_hashes(world, "posted", any_count(world, segment, k) - 1)
    path = path_of(world, world.choice((True, False)))
    node = Node(CLAIM_ID, OPENER, path, segment, any_clock(world), 0, NodeState.POSTED, posted)
    court = court_of(world, any_parameters(world, k), {NODE_ID: node}, any_claim(world), request)
    part = world.choice(range(k))
    message = Message(OPENER, world.number("now", 1), court.parameters.node_bond)
    after = perform(world, court, "choose", message, NODE_ID, segment, posted, part)
    if after is None:
        return
    child = after.nodes[child_id(NODE_ID, part)]
    world.show("the child is one deeper", child.depth == node.depth + 1)
    world.show("the child has one round less", child.segment.length <= bound)
    world.show("the child lies inside", (lo <= child.segment.lo) & (child.segment.lo < child.segment.hi) & (child.segment.hi <= hi))
    world.show("the child counts the same things", child.segment.phase == phase)
    if part == 0:
        world.show("it begins where its parent does", child.segment.lo == lo)
        world.show("with the same hash", child.segment.agreed == segment.agreed)
    if part == len(posted) // HASH_BYTES:
        world.show("the last part ends where its parent does", child.segment.hi == hi)
        world.show("with the same hash", child.segment.disputed == segment.disputed)


def whole_is_bounded(world: World, k: int) -> None:
    """A root has at most log 2^24 rounds, and the instructions of a stage at most log 2^32: with the stage itself these are R nodes."""
    parameters = any_parameters(world, k)
    claim, request = any_claim(world), any_request(world)
    court = court_of(world, parameters, {}, claim, request)
    bond = parameters.root_bond(request.bond)
    after = perform(world, court, "challenge", Message(STRANGER, world.number("now", 1), bond), CLAIM_ID)
    if after is not None:
        root, stages, instructions = after.nodes[root_id(CLAIM_ID)], rounds(MOST_STAGES, k), rounds(STAGE_STEP_LIMIT, k)
        world.show("the root has the whole run", (root.segment.length <= k**stages) & (root.segment.lo == 0) & (root.depth == 1))
        world.show("R is the nodes of the longest path", parameters.most_nodes == root.depth + stages + instructions)
        world.show("it begins where the request does", root.segment.agreed == request.first_run_hash)
        world.show("it ends with the seal", root.segment.disputed == claim.sealed)
    stage = world.number("lo", 0, MOST_STAGES)
    segment = Segment(Phase.STAGES, stage, stage + 1, world.hash("agreed"), world.hash("disputed"))
    node = Node(CLAIM_ID, OPENER, path_of(world, False), segment, any_clock(world), 0)
    court = evolve(court, nodes={NODE_ID: node, **others(world)})
    opened = perform(world, court, "open", Message(SERVER, world.number("now", 1)), NODE_ID, *said(world, "open", k, node))
    if opened is None or opened.claims[CLAIM_ID].status is ClaimStatus.REJECTED:
        return
    if opened.nodes[NODE_ID].state is not NodeState.ANSWERED:
        inside = opened.nodes[NODE_ID].segment
        world.show("the instructions are a stage's", (inside.phase == Phase.INSTRUCTIONS) & (inside.lo == 0) & (inside.hi >= 1))
        world.show("a stage is no longer than its limit", inside.hi <= k ** rounds(STAGE_STEP_LIMIT, k))
        world.show("the node stays as deep", opened.nodes[NODE_ID].depth == node.depth)


# Time ----------------------------------------------------------------------------------------------------------------------------


def used(court: Court, node: Node) -> Any:
    """What both sides have used of their time on the path to a node."""
    parameters, clock = court.parameters, node.clock
    return parameters.server_time - clock.server_left + parameters.challenger_time - clock.challengers_left


def time_is_bounded(world: World, name: str) -> None:
    """Every node's due time or start is at most `closes_at + S + E·n` after what was used on its path, n the nodes opened so far.

    S is what the server owed when it claimed: `max(0, server.due − now)`. For a node that came into its state when m nodes were opened, it
    is also known that `server.due ≤ max(latest, closes_at + S + used + E·m) + E·(n − m)`, `latest` being the time of the last act."""
    k = 2
    parameters, claim = any_parameters(world, k), any_claim(world, sealed=seal(world.hash("true_hash"), SERVER))
    effort, latest, now = parameters.effort, world.number("latest", 1), world.number("now", 1)
    opened, opened_then, owed = world.number("opened"), world.number("opened_then"), world.number("owed")
    world.assume((latest <= now) & (opened_then <= opened))
    base = claim.closes_at + owed
    lost = lost_or_not(world)
    court = court_of(world, parameters, {}, claim, any_request(world), server_lost_at=lost)
    server_due, queue = court.server_due[SERVER], world.number("queue")  # queue = E·n, then = E·m
    then = world.number("queue_then")
    world.assume((then <= queue) & (queue - then >= 0))
    if name == "challenge":
        world.assume((claim.nodes == 0) & (server_due <= max(latest, base) + queue))
        message = Message(STRANGER, now, parameters.root_bond(court.requests[REQUEST_ID].bond))
        after = perform(world, court, "challenge", message, CLAIM_ID)
        if after is None:
            return
        node = after.nodes[root_id(CLAIM_ID)]
        world.show("the root is due in time", node.clock.due <= base + queue + effort + used(after, node))
        world.show("its path has used nothing", used(after, node) == 0)
        world.show("the server's due", after.server_due[SERVER] <= max(now, base + queue + effort))
        return
    state = NodeState.POSTED if name == "choose" else NodeState.OPEN
    phase = Phase.INSTRUCTIONS if name == "arbitrate" else Phase.STAGES
    segment = Segment(phase, 0, 1 if name in ("open", "arbitrate") else 2, world.hash("agreed"), world.hash("disputed"))
    posted = any_hashes(world, "posted", 1) if state is NodeState.POSTED else b""
    clock = any_clock(world)
    world.assume((clock.server_left <= parameters.server_time) & (clock.challengers_left <= parameters.challenger_time))
    node = Node(CLAIM_ID, OPENER, stretch(world.number("depth", 1)), segment, clock, 0, state, posted)
    court = evolve(court, nodes={NODE_ID: node, **others(world)})
    path = used(court, node)
    begins = clock.start(claim.closes_at) if state is NodeState.POSTED else clock.due
    world.assume((begins <= base + then + path) & (clock.since <= latest))
    world.assume(server_due <= max(latest, base + path + then) + (queue - then))
    world.assume((claim.open_nodes >= 1) if state is NodeState.OPEN else True)
    limit = base + queue + parameters.server_time + parameters.challenger_time
    world.assume((claim.settles_at <= limit) & (clock.server_left >= 0) & (clock.challengers_left >= 0))
    if name == "timeout":
        world.assume(now > limit)
        after = perform(world, court, "timeout", Message(STRANGER, now), NODE_ID)
        world.show("beyond the limit a timeout is legal", after is not None)
        return
    if name == "other":
        world.reach("other")
        due = max(now, server_due) + effort
        world.show("the server's due, after any other node was opened", due <= max(now, base + path + then) + (queue + effort - then))
        return
    message = Message(SERVER, now) if name in ("post", "open") else Message(STRANGER, now, world.number("value"))
    after = perform(world, court, name, message, NODE_ID, *said(world, name, k, node))
    if after is None or after.claims[CLAIM_ID].status is ClaimStatus.REJECTED:
        return
    if name == "choose":
        child = next(each for each_id, each in after.nodes.items() if each_id not in court.nodes)
        mine, more, end = used(after, child), effort, child.clock.due
        world.show("a child is due in time", end <= base + queue + more + mine)
        world.show("a child has the server's time of its parent", child.clock.server_left == clock.server_left)
        world.show("its challengers have no more", child.clock.challengers_left <= clock.challengers_left)
        world.show("the server's due", after.server_due[SERVER] <= max(now, base + mine + queue + more))
        return
    answered = after.nodes[NODE_ID]
    if answered.state is NodeState.OPEN:
        world.show("an opening with one instruction leaves the clock as it is", answered.clock == clock)
        return
    mine = used(after, answered)
    world.show("an answer takes no time from the challengers", answered.clock.challengers_left == clock.challengers_left)
    world.show("the challengers' time begins in time", max(now, claim.closes_at) <= base + queue + mine)
    world.show("the server's due", server_due <= max(now, base + mine + queue))
    world.show("the claim settles in time", after.claims[CLAIM_ID].settles_at <= limit)
    world.show("nor before the answer", after.claims[CLAIM_ID].settles_at >= (now if answered.state is NodeState.ANSWERED else 0))


# The clocks of honest sides ------------------------------------------------------------------------------------------------------


def server_has_time(world: World, k: int) -> None:
    """A server that was kept from the chain for at most C in all, and needs at most d for each answer, can answer at every depth.

    On a path of D nodes it has used at most `c + D·d`, where c is how long it was kept; so there is time up to depth R."""
    parameters = any_parameters(world, k)
    depth = world.choice(range(1, parameters.most_nodes + 1))
    kept, clock = world.number("kept"), any_clock(world)
    world.assume(kept <= parameters.censorship)
    world.assume(clock.server_left >= parameters.server_time - kept - (depth - 1) * parameters.inclusion)
    claim = any_claim(world, open_nodes=world.number("open_nodes", 1))
    segment = Segment(Phase.STAGES, 0, 2, world.hash("agreed"), world.hash("disputed"))
    node = Node(CLAIM_ID, OPENER, stretch(depth - 1), segment, clock, 0)
    court = court_of(world, parameters, {NODE_ID: node}, claim, any_request(world))
    more, now = world.number("kept_now"), world.number("now", 1)
    world.assume((kept + more <= parameters.censorship) & (now <= clock.due + parameters.inclusion + more))
    world.show("no timeout is legal", perform(world, court, "timeout", Message(STRANGER, now), NODE_ID) is None)
    after = perform(world, court, "post", Message(SERVER, now), NODE_ID, segment, world.hash("inner"), world.hash("run_hash"))
    world.show("an answer is legal", after is not None)
    assert after is not None
    left = after.nodes[NODE_ID].clock.server_left
    world.show("what is left is enough", left >= parameters.server_time - (kept + more) - depth * parameters.inclusion)


def challengers_have_time(world: World, k: int) -> None:
    """A validator that was kept from the chain for at most C in all, and needs P + d + m·E for each choice, can choose at any depth.

    Down to a node at depth D it has used at most `c + (D − 1)·(P + d + m·E)`. A node that has parts lies above another, so D < R."""
    parameters = any_parameters(world, k)
    depth = world.choice(range(1, parameters.most_nodes))
    choice = parameters.priority + parameters.inclusion + parameters.claims_at_once * parameters.effort
    kept, more, clock, claim = world.number("kept"), world.number("kept_now"), any_clock(world), any_claim(world)
    world.assume(clock.challengers_left >= parameters.challenger_time - kept - (depth - 1) * choice)
    segment = Segment(Phase.STAGES, 0, k, world.hash("agreed"), world.hash("disputed"))
    posted = any_hashes(world, "posted", k - 1)
    node = Node(CLAIM_ID, OPENER, stretch(depth - 1), segment, clock, 0, NodeState.POSTED, posted)
    court = court_of(world, parameters, {NODE_ID: node}, claim, any_request(world))
    now = world.number("now", 1)
    world.assume((kept + more <= parameters.censorship) & (now <= clock.start(claim.closes_at) + choice + more))
    sender = world.choice((OPENER, STRANGER))
    world.assume(now >= clock.since + (0 if sender == OPENER else parameters.priority))
    early = world.number("early", 1)
    world.assume(early < clock.since + parameters.inclusion + parameters.effort)
    other = perform(world, court, "choose", Message(STRANGER, early, parameters.node_bond), NODE_ID, segment, posted, 0)
    world.show("nobody else chooses before the opener can have chosen", other is None)
    after = perform(world, court, "choose", Message(sender, now, parameters.node_bond), NODE_ID, segment, posted, 0)
    world.show("a choice is legal", after is not None)
    assert after is not None
    left = after.nodes[child_id(NODE_ID, 0)].clock.challengers_left
    world.show("what is left is enough", left >= parameters.challenger_time - (kept + more) - depth * choice)
    fresh = after.nodes[child_id(NODE_ID, 0)].clock
    world.show("this is what the server is asked by then", after.server_due[SERVER] == fresh.due)
    world.show("the server has its effort", fresh.due >= now + parameters.effort)
    world.show("and beyond all that it was asked before", fresh.due >= court.server_due[SERVER] + parameters.effort)


TIMED = ("challenge", "post", "open", "arbitrate", "choose", "other", "timeout")
RULES = (
    Rule(
        "rules.depth",
        "each choice leads one node deeper, into its parent, with one round less (k = 2, 3, 5, all lengths)",
        depth_is_bounded,
        {case: {"choose"} for case in ((2,), (3,), (5,))},
    ),
    Rule(
        "rules.longest_path",
        "a root and the instructions of a stage have so many rounds that no path is longer than R (k = 2, 3)",
        whole_is_bounded,
        {case: {"challenge", "open"} for case in ((2,), (3,))},
    ),
    Rule(
        "rules.time",
        "a claim can be ended T_server + T_challenger + what its server owed + E for each node after it closes",
        time_is_bounded,
        {(name,): {name} for name in TIMED},
    ),
    Rule(
        "rules.server_time",
        "with C of censorship in all and d for each answer, an honest server is in time at every depth (k = 2, 32)",
        server_has_time,
        {case: {"post"} for case in ((2,), (32,))},
    ),
    Rule(
        "rules.challenger_time",
        "with C of censorship in all and P + d + m·E for each choice, an honest validator is in time at every depth (k = 2, 32)",
        challengers_have_time,
        {case: {"choose"} for case in ((2,), (32,))},
    ),
)
