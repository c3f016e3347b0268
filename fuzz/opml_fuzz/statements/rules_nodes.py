"""Rules about nodes: what happens at one changes nothing that is legal at another, but by the fall of a claim of the same server.

And a tree knows the way to each of its nodes: which nodes lie on it depends on nothing that is opened later.

*Source*: spec §5.4, §5.6 and §5.12, invariant 6.
"""

from typing import Any

from attrs import evolve
from opml_spec.dispute.acts import ACTS
from opml_spec.dispute.narrowing import Phase, Segment
from opml_spec.dispute.objects import ClaimStatus, Court, Message, Node, NodeState
from opml_spec.errors import SpecError
from opml_spec.machine.state import Kind

from opml_fuzz.statements.rules_acts import perform
from opml_fuzz.statements.rules_court import (
    CLAIM_ID,
    MOVES,
    OPENER,
    SERVER,
    STRANGER,
    any_claim,
    any_clock,
    any_hashes,
    any_parameters,
    any_request,
    court_of,
    lost_or_not,
    path_of,
    said_opening,
)
from opml_fuzz.statements.world import Rule, World

HERE_ID, THERE_ID = b"h" * 32, b"t" * 32
OTHER_CLAIM_ID = b"d" * 32
LONGEST = 12


def verdict(court: Court, name: str, message: Message, arguments: tuple[Any, ...]) -> str:
    """The name of the error of an act, or that it is legal."""
    try:
        ACTS[name](court, message, *arguments)
    except SpecError as error:
        return type(error).__name__
    return "legal"


def waiting_for(world: World, name: str, move: str, claim_id: bytes, is_root: bool) -> Node:
    """A node that waits for this move, and whose segment fits it."""
    phase = Phase.INSTRUCTIONS if move == "arbitrate" else Phase.STAGES
    length = 1 if move in ("arbitrate", "open") else 2
    segment = Segment(phase, 0, length, world.hash(f"{name}agreed"), world.hash(f"{name}disputed"))
    posted = any_hashes(world, f"{name}posted", 1) if move == "choose" else b""
    state = NodeState.POSTED if move == "choose" else NodeState.OPEN
    path = path_of(world, is_root, name=f"{name}depth")
    return Node(claim_id, OPENER, path, segment, any_clock(world, name), 0, state, posted)


def nodes_are_independent(world: World, here: str, there: str) -> None:
    """Two moves at two nodes of one server, in one claim or in two: the first does not change the verdict of the second."""
    parameters, claim, request = any_parameters(world, 2), any_claim(world), any_request(world)
    is_other = world.choice((True, False))
    one = waiting_for(world, "", here, CLAIM_ID, False)
    two = waiting_for(world, "there_", there, OTHER_CLAIM_ID if is_other else CLAIM_ID, world.choice((True, False)))
    lost = lost_or_not(world)
    court = court_of(world, parameters, {HERE_ID: one, THERE_ID: two}, claim, request, server_lost_at=lost)
    other = evolve(claim, sealed=world.hash("other_sealed"), closes_at=world.number("other_closes_at"))
    court = evolve(court, claims={**court.claims, OTHER_CLAIM_ID: other})
    sender = SERVER if here in ("post", "open") else OPENER
    message = Message(sender, world.number("now", 1), world.number("value"), world.number("basefee"))
    after = perform(world, court, here, message, HERE_ID, *legal(world, here, one))
    if after is None:
        return
    if after.claims[CLAIM_ID].status is not ClaimStatus.PENDING:
        world.reach("a fall")
        if not is_other or SERVER not in lost:
            return
    sender = SERVER if there in ("post", "open") else STRANGER
    later = Message(sender, world.number("later", 1), world.number("later_value"), 0)
    arguments = (THERE_ID, *legal(world, there, two, "there_"))
    before_it, after_it = (verdict(each, there, later, arguments) for each in (court, after))
    world.show(f"{there} is as legal as before: {before_it}, {after_it}", before_it == after_it)
    world.show("the other node is untouched", after.nodes[THERE_ID] is two)
    world.show("the other claim is untouched", after.claims[OTHER_CLAIM_ID] is other)


def legal(world: World, move: str, node: Node, name: str = "") -> tuple[Any, ...]:
    """Arguments that name the node's segment; what else they say may be anything."""
    match move:
        case "timeout":
            return ()
        case "arbitrate":
            return node.segment, world.hash(f"{name}witness")
        case "choose":
            return node.segment, node.posted, world.choice((0, 1))
        case "post":
            return node.segment, world.hash(f"{name}inner"), world.hash(f"{name}run_hash")
    status = world.choice((0, 1))
    opening = said_opening(world, name, (Kind.HALTED,)) if status == 0 else (0, b"", b"", b"")
    return node.segment, world.hash(f"{name}carry"), status, *opening, world.hash(f"{name}inner"), world.hash(f"{name}run_hash")


def way_is_known(world: World, length: int, target: int) -> None:
    """A node that is opened below another lies on the way to itself and has all that lies on the way to the other on its own way.

    So the nodes on the way to a node are its depth in number, and stay so."""
    part = world.number("part", 0, 255)
    parts = [world.number(f"part_{at}", 0, 255) for at in range(LONGEST)]
    theirs = [world.number(f"their_{at}", 0, 255) for at in range(LONGEST)]
    segment = Segment(Phase.STAGES, 0, 8, world.hash("agreed"), world.hash("disputed"))
    parent = Node(CLAIM_ID, OPENER, tuple(parts[:length]), segment, any_clock(world), 0)
    child = evolve(parent, path=(*parent.path, part))
    other = evolve(parent, path=tuple(theirs[:target]))
    on_the_way = plain_way
    world.show("a node lies on the way to itself", on_the_way(child, child) and on_the_way(other, other))
    same = target == length + 1 and other.path == child.path
    lies_there = same or on_the_way(other, parent)
    world.show("what lies on the way to a child is the child, or on the way to its parent", on_the_way(other, child) == lies_there)
    world.show("a child does not lie on the way to what is not below it", not on_the_way(child, parent))
    world.show("the root lies on every way", on_the_way(evolve(parent, path=()), other))
    world.show("a child is one deeper", child.depth == parent.depth + 1)
    world.reach("way")


plain_way = Node.on_the_way_to  # taken before a proof replaces it for paths of any length

FALLS = ("open", "arbitrate", "timeout")
RULES = (
    Rule(
        "rules.independent",
        "a move at one node changes no verdict on a move at another, but by the fall of a claim of the same server (k = 2)",
        nodes_are_independent,
        {(here, there): {here, *(["a fall"] if here in FALLS else [])} for here in MOVES for there in MOVES},
    ),
    Rule(
        "rules.way",
        "the nodes on the way to a node are those on the way to its parent, and itself (paths of up to 12 parts)",
        way_is_known,
        {(length, target): {"way"} for length in range(LONGEST) for target in range(LONGEST + 1)},
    ),
)
