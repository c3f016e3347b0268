"""Deep trees: the longest paths that there may be, through a run of 2^24 stages of which one takes up to 2^32 steps.

Nobody can tell such a run in full. But a court sees only hashes, so the server posts those of run states that were made up, and opens a
stage with a machine state that was made up, too. Between instructions all its hashes are of one real state. So the path ends with a witness
of that state, or with the server's silence. Then those who opened nodes collect.

*Source*: spec §5.2, §5.4 and §5.6.
"""

from collections.abc import Iterator

from opml_spec.dispute.narrowing import MOST_STAGES, Phase, inner_boundaries, part_count, part_of
from opml_spec.dispute.objects import ClaimStatus, Node, NodeState, child_id, root_id
from opml_spec.hashing import keccak256
from opml_spec.machine.memory import Memory
from opml_spec.machine.merkle import Pair
from opml_spec.machine.state import RUNNING, Kind, MachineState, Status, encode, state_hash
from opml_spec.machine.witness import make_witness
from opml_spec.runs.limits import STAGE_STEP_LIMIT
from opml_spec.runs.run import RunState, RunStatus

from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.claiming import claimed
from opml_fuzz.disputes.moments import due
from opml_fuzz.disputes.players import Players
from opml_fuzz.disputes.tellings import ERRORS, telling

DATA = b""  # of the request
LEFT = keccak256(b"left half")  # root of the half of memory that no stage hands over
FAILED_OF, FAILED_AT = 4, 3  # one made-up run state in four has failed
STEPS = (STAGE_STEP_LIMIT, STAGE_STEP_LIMIT, STAGE_STEP_LIMIT - 1, (1 << 31) + 1, 70_000, 300, 3)
LEANS, LEANING = (0, -1), 0.6  # to the first parts or the last, so that numbers of every length come up; how often such a part is chosen
ELSEWHERE, SILENT = 0.15, 0.3  # how often a second part of a node is chosen; how often the server does not bring the last witness
COLLECTED = 6  # nodes anywhere, and as many of the deepest


def deep_tree(players: Players) -> Iterator[Call]:
    """Yields calls, each of which must be made at the players' court before the next one is drawn."""
    court = players.court
    models = [each for each in players.models if each in court.models]
    if not models:
        return
    model = min(models, key=lambda each: court.models[each].work(MOST_STAGES))
    claims = yield from claimed(players, model, MOST_STAGES, DATA, made_up(MOST_STAGES).run_hash, players.people[:1])
    for claim in claims:
        yield players.challenge(claim)
        yield from path_down(players, claim, real_state(players.models[model]))
        yield from collected(players, claim)


def path_down(players: Players, claim: bytes, machine: MachineState) -> Iterator[Call]:
    """Answers and chooses down to the end of one path. machine: what the server says that the machine is at any instruction"""
    node_id, rng = root_id(claim), players.rng
    lean = rng.choice(LEANS)
    while (node := players.court.nodes.get(node_id)) and players.court.claims[claim].status is ClaimStatus.PENDING:
        if node.state is NodeState.POSTED:
            if rng.random() < ELSEWHERE:
                yield players.choice(node_id, node, chosen(players, node, lean), node.opener)
            part = chosen(players, node, lean)
            if child_id(node_id, part) not in players.court.nodes:
                yield players.choice(node_id, node, part, node.opener)
            node_id = child_id(node_id, part)
        elif node.segment.phase == Phase.INSTRUCTIONS and node.segment.length == 1 and rng.random() < SILENT:
            players.now = max(players.now, due(players.court, node) + node.clock.server_left) + 1
            yield players.call("timeout", node_id)
        else:
            yield answer(players, node_id, node, machine)
            if players.court.nodes[node_id] is node:  # it was refused: the stage may not end so
                return


def chosen(players: Players, node: Node, lean: int) -> int:
    """Draws a part: among stages one that begins late enough that its first run state is a made-up one, and has not failed."""
    segment, k = node.segment, players.court.parameters.k
    parts = [*range(part_count(segment.length, k))]
    if segment.phase == Phase.STAGES:
        ends = [part_of(segment, node.posted, part) for part in parts]
        parts = [part for part in parts if ends[part].hi > 1 and (ends[part].length > 1 or ends[part].lo % FAILED_OF != FAILED_AT)] or parts
    part: int = parts[lean] if players.rng.random() < LEANING else players.rng.choice(parts)
    return part


def answer(players: Players, node_id: bytes, node: Node, machine: MachineState) -> Call:
    """Posts made-up hashes, opens a stage, or brings the witness of the one real state."""
    segment, k, server = node.segment, players.court.parameters.k, players.people[0]
    end = made_up(MOST_STAGES).run_hash
    if segment.length > 1:
        at_stages = segment.phase == Phase.STAGES
        hashes = (made_up(at).run_hash if at_stages else state_hash(machine) for at in inner_boundaries(segment, k))
        return players.call("post", node_id, segment, b"".join(hashes), end, sender=server)
    if segment.phase == Phase.INSTRUCTIONS:
        return players.call("arbitrate", node_id, segment, make_witness(machine))
    start, after, steps = made_up(segment.lo), made_up(segment.hi), players.rng.choice(STEPS)
    last = MachineState(pc=0, x=(0,) * 32, memory=Memory(Pair(LEFT, after.carry)), status=last_status(players, after.status, steps))
    ends, inside = (encode(last), LEFT, after.carry), state_hash(machine) * (part_count(steps, k) - 1)
    return players.call("open", node_id, segment, start.carry, start.status, steps, *ends, inside, end, sender=server)


def last_status(players: Players, status: RunStatus, steps: int) -> Status:
    """Draws how a stage ends in which a run goes on, or fails."""
    if status is RunStatus.OK:
        return Status(Kind.HALTED, 0)
    ways = [Status(Kind.HALTED, players.rng.choice(ERRORS)), Status(Kind.TRAPPED, 2)]
    return players.rng.choice([*ways, RUNNING] if steps == STAGE_STEP_LIMIT else ways)


def made_up(boundary: int) -> RunState:
    """Makes up the run state after so many stages."""
    has_failed = boundary % FAILED_OF == FAILED_AT
    carry = keccak256(b"made up" + (boundary - has_failed).to_bytes(8, "big"))  # of the last stage that did not fail
    return RunState(carry, RunStatus.FAILED if has_failed else RunStatus.OK)


def real_state(number: int) -> MachineState:
    """A machine at an instruction of a model."""
    return telling(number, 1, DATA, 0).machine(0, 1)


def collected(players: Players, claim: bytes) -> Iterator[Call]:
    """Collects for some nodes of a claim, if it has fallen."""
    nodes = [each for each, node in players.court.nodes.items() if node.claim_id == claim]
    if players.court.claims[claim].status is ClaimStatus.REJECTED:
        deepest = sorted(nodes, key=lambda each: len(players.court.nodes[each].path))[-COLLECTED:]
        for each in (*players.rng.sample(nodes, min(len(nodes), COLLECTED)), *deepest):
            yield players.call("collect", each)
