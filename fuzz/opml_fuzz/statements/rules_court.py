"""The court that rules are about: a play names one claim, a few nodes and what belongs to them; the rest is whatever it is.

Ids and addresses are constants: the acts only compare them, so any others would do. Numbers and hashes may be anything that the play does
not rule out. Each table has one more entry, under the key `rest`, for all that is not named; no act may touch it.
"""

from collections.abc import Mapping
from typing import Any

from attrs import evolve, fields, frozen
from opml_spec.dispute.clocks import Clock
from opml_spec.dispute.money import Ledger
from opml_spec.dispute.narrowing import MOST_STAGES, Phase, Segment, boundary
from opml_spec.dispute.objects import ANYONE, Claim, Court, Message, Model, Node, Request, child_id, root_id
from opml_spec.dispute.parameters import TIME_LIMIT, YEAR, Parameters
from opml_spec.hashing import HASH_BYTES
from opml_spec.machine.memory import Memory
from opml_spec.machine.state import Kind, MachineState, Status
from opml_spec.runs.limits import STAGE_STEP_LIMIT

from opml_fuzz.statements.world import World

SERVER, OPENER, REQUESTER, STRANGER = (letter * 20 for letter in (b"s", b"o", b"q", b"x"))
MODEL_ID, REQUEST_ID, CLAIM_ID = (letter * 32 for letter in (b"m", b"r", b"c"))
PARENT_ID = b"p" * 32  # of the node that is not the root
PART = 1
THE_REST = "the rest"
TIMES = ("window", "server_time", "challenger_time", "priority", "grace", "effort", "censorship", "inclusion", "detect")


@frozen
class Stretch:
    """Any number of parts of a path."""

    parts: Any
    stage: Any = 0
    """The first stage of the node to which the path leads."""


@frozen
class Registers:
    """The pc and the registers of a machine, as the number that their bytes make."""

    all: Any


def any_parameters(world: World, k: int) -> Parameters:
    """Parameters that can be deployed, with any times; their money is the default."""
    times = {name: world.number(name, 0, YEAR) for name in (*TIMES, "claims_at_once")}
    parameters = evolve(Parameters(k=k, min_bond=10**20), **times)  # a small k needs large bonds
    for holds in parameters.bounds().values():
        world.assume(holds)
    return parameters


def any_clock(world: World, name: str = "") -> Clock:
    return Clock(*(world.number(f"{name}{field.name}") for field in fields(Clock)))


def any_segment(world: World, name: str, phase: Any, stage_count: Any) -> Segment:
    """A segment inside a run of so many stages, or inside a stage."""
    lo, hi = (world.number(f"{name}{end}", 0, (1 << 64) - 1) for end in ("lo", "hi"))
    world.assume((lo < hi) & (hi <= (stage_count if phase == Phase.STAGES else STAGE_STEP_LIMIT)))
    return Segment(phase, lo, hi, world.hash(f"{name}agreed"), world.hash(f"{name}disputed"))


def any_model(world: World) -> Model:
    return Model(world.hash("model_root"), world.hash("state_root"), world.number("microseconds", 1, (1 << 32) - 1), world.number("busy"))


def any_request(world: World, **known: Any) -> Request:
    """A request of the model, with a claim or more."""
    number = world.number
    request = Request(MODEL_ID, number("stage_count", 1, MOST_STAGES), world.hash("first_run_hash"), number("deadline"), number("fee_left"),
                      number("bond"), REQUESTER, ANYONE, number("checked_at"), number("claims", 1), number("pending"),
                      number("next_award"))  # fmt: skip
    return evolve(request, **known)


def any_claim(world: World, **known: Any) -> Claim:
    number = world.number
    claim = Claim(REQUEST_ID, SERVER, world.hash("sealed"), number("index"), number("closes_at", 0, TIME_LIMIT), number("settles_at"),
                  number("open_nodes"), number("nodes"), number("prices"))  # fmt: skip
    return evolve(claim, **known)


def node_id_of(is_root: bool) -> bytes:
    return root_id(CLAIM_ID) if is_root else child_id(PARENT_ID, PART)


def path_of(world: World, is_root: bool, stage: Any = 0, name: str = "depth") -> tuple[Any, ...]:
    """The path of the root, or of a node below it at any depth."""
    return () if is_root else stretch(world.number(name, 1), stage)


def stretch(parts: Any, stage: Any = 0) -> tuple[Any, ...]:
    """A path of so many parts."""
    return (Stretch(parts, stage),)


def any_hashes(world: World, name: str, count: int) -> Any:
    """So many hashes, one after the other."""
    return joined(world.hash(f"{name}{at}") for at in range(count))


def has_its_hashes(segment: Segment, posted: Any, k: int) -> Any:
    """Whether so many hashes are posted as the segment has inner boundaries."""
    parts, length = len(posted) // HASH_BYTES + 1, segment.length
    return (length >= 2) & (length >= parts) & implies(length >= k, parts == k) & implies(length < k, length == parts)


def implies(condition: Any, conclusion: Any) -> Any:
    """Whether the conclusion holds wherever the condition does."""
    return is_not(condition) | conclusion


def is_not(condition: Any) -> Any:
    """Whether the condition does not hold; on symbols, `not` would ask at once."""
    return condition == False  # noqa: E712


def joined(strings: Any) -> Any:
    whole: Any = b""
    for each in strings:
        whole = whole + each
    return whole


def any_count(world: World, segment: Segment, k: int) -> int:
    """The number of parts of a segment of two or more."""
    parts = world.choice(range(2, k + 1))
    world.assume(segment.length >= k if parts == k else segment.length == parts)
    return parts


def boundaries(segment: Segment, parts: int) -> list[Any]:
    """All boundaries of the parts of a segment, both ends included."""
    return [boundary(segment.lo, segment.length, parts, j) for j in range(parts + 1)]


def others(world: World) -> dict[Any, Any]:
    """All that a table holds beside what is named."""
    return {world.rest: THE_REST}


def court_of(world: World, parameters: Parameters, nodes: Mapping[bytes, Node], claim: Claim, request: Request, **known: Any) -> Court:
    """A court with these, and anything else."""
    rest, credited = others(world), {world.rest: world.number("credited")}
    ledger = Ledger(world.number("locked"), world.number("burned"), world.number("paid_out"), world.number("deposits"), credited)
    server_due = {SERVER: world.number("server_due")}
    tables = {
        "models": {MODEL_ID: any_model(world), **rest},
        "requests": {REQUEST_ID: request, **rest},
        "claims": {CLAIM_ID: claim, **rest},
        "nodes": {**nodes, **rest},
        "requests_made": {REQUESTER: world.number("nonce", 0, (1 << 64) - 1), **rest},
        "server_due": {**server_due, **rest},
        "server_lost_at": rest,
        "ledger": ledger,
    }
    return Court(parameters, **{**tables, **known})


def lost_or_not(world: World) -> dict[Any, Any]:
    """When the server first lost a claim, or that it never did."""
    return {**world.choice(({}, {SERVER: world.number("lost_at", 1)})), **others(world)}


def any_message(world: World, senders: tuple[bytes, ...] = (SERVER, OPENER, STRANGER)) -> Message:
    """Somebody, at any time, with any money."""
    return Message(world.choice(senders), world.number("now", 1), world.number("value"), world.number("basefee"))


def said_segment(world: World, name: str = "said_") -> Segment:
    """What a move says that the segment is."""
    width = (1 << 64) - 1
    numbers = (world.number(f"{name}phase", 0, 255), world.number(f"{name}lo", 0, width), world.number(f"{name}hi", 0, width))
    return Segment(*numbers, world.hash(f"{name}agreed"), world.hash(f"{name}disputed"))


def said_opening(world: World, name: str = "", kinds: tuple[Kind, ...] = tuple(Kind)) -> tuple[Any, ...]:
    """How a stage ends, according to whoever opens it."""
    status = Status(world.choice(kinds), world.number(f"{name}final_value", 0, (1 << 64) - 1))
    registers: Any = Registers(world.number(f"{name}final_registers", 0, (1 << 2048) - 1))
    final = MachineState(0, registers, status, Memory(world.hash(f"{name}final_root")))
    return world.number(f"{name}steps"), final, world.hash(f"{name}left_root"), world.hash(f"{name}final_carry")


MOVES = ("post", "open", "choose", "arbitrate", "timeout")


def said(world: World, move: str, k: int, node: Node, name: str = "") -> tuple[Any, ...]:
    """Any arguments of a move at a node, beside the node's id. A choice with a wrong number of hashes is tried with one too many."""
    if move == "timeout":
        return ()
    segment = said_segment(world, f"{name}said_")
    if move == "arbitrate":
        return segment, world.hash(f"{name}witness")
    if move == "choose":
        posted = len(node.posted) // HASH_BYTES
        count, part = world.choice(((posted + 1, 0), *((posted, part) for part in range(k + 1))))
        return segment, any_hashes(world, f"{name}said_hash", count), part
    if move == "post":
        return segment, any_hashes(world, f"{name}said_hash", world.choice(range(k + 1))), world.hash(f"{name}run_hash")
    start = (world.hash(f"{name}start_carry"), world.choice((0, 1, 2)) if node.segment.phase == Phase.STAGES else 1)
    opening = said_opening(world, name) if start[1] == 0 else (0, b"", b"", b"")  # from another start nothing is looked at
    hashes = any_hashes(world, f"{name}said_hash", world.choice(range(k + 1))) if start[1] == 0 else b""
    return segment, *start, *opening, hashes, world.hash(f"{name}run_hash")
