"""Honest play: what each side knows of a run, and what it does next.

A `Trace` tells a run in full. The true one and one with a lie in it are told by the same function, and are played by the same strategies:
a liar that answers consistently is a server with another trace. Both strategies look only at the court, so whoever plays may be thrown
away and replaced at any time.

*Source*: spec §5.12.
"""

from collections.abc import Callable

from attrs import frozen

from opml_spec.dispute.acts import Act
from opml_spec.dispute.narrowing import Phase, Segment, boundary, inner_boundaries, part_count, split
from opml_spec.dispute.objects import Claim, ClaimStatus, Court, Node, NodeState, child_id, root_id, seal
from opml_spec.dispute.result import MOST_TOKENS, TOKENS_PER_LEAF
from opml_spec.dispute.tree import server_in_time
from opml_spec.machine.memory import CARRY_HEIGHT, IO
from opml_spec.machine.merkle import LEAF_BYTES, ZERO, Pair, hash_of, read, siblings
from opml_spec.machine.merkle import Node as Tree
from opml_spec.machine.state import RUNNING, MachineState, encode, state_hash
from opml_spec.machine.step import step
from opml_spec.machine.witness import SENT_BYTES, make_witness
from opml_spec.model.layout import OUTPUT, WORD_BYTES
from opml_spec.runs.run import RunState, RunStatus, first_state, hand_over, io_quarter, stage_start

Lie = Callable[[MachineState], MachineState]


@frozen
class Trace:
    """A run, told in full: the run states between stages, and the machines of each stage (none if it begins FAILED)."""

    runs: tuple[RunState, ...]
    stages: tuple[tuple[MachineState, ...], ...]

    @property
    def run_hash(self) -> bytes:
        return self.runs[-1].run_hash

    def machine(self, stage: int, at: int) -> MachineState:
        """The machine after so many steps of a stage; one that has ended stays as it is."""
        machines = self.stages[stage]
        return machines[min(at, len(machines) - 1)]

    def hash_at(self, phase: int, stage: int, at: int) -> bytes:
        """The hash at a boundary between stages, or between the instructions of one stage."""
        return self.runs[at].run_hash if phase == Phase.STAGES else state_hash(self.machine(stage, at))


def trace(model: Tree, state: Tree, stage_count: int, data: bytes, lie: Lie | None = None, where: tuple[int, int] = (0, 1)) -> Trace:
    """Tells the true run, or what follows from one lie about the machine `where[1]` steps into stage `where[0]`."""
    runs, stages = [first_state(io_quarter(stage_count, data), state)], []
    for stage in range(stage_count):
        machines = [stage_start(model, runs[-1].carry, stage)] if runs[-1].status == RunStatus.OK else []
        while machines and machines[-1].status == RUNNING:
            after = step(machines[-1])
            machines.append(lie(after) if lie and (stage, len(machines)) == where else after)
        runs.append(hand_over(runs[-1], machines[-1]) if machines else runs[-1])
        stages.append(tuple(machines))
    return Trace(tuple(runs), tuple(stages))


def stage_of(path: tuple[int, ...], stage_count: int, k: int) -> int:
    """The first stage of the node at the end of this path: for one that is narrowed to a stage, or to its instructions, that stage."""
    lo, length = 0, stage_count
    for part in path:
        if length == 1:
            break
        parts = part_count(length, k)
        lo, hi = (boundary(lo, length, parts, j) for j in (part, part + 1))
        length = hi - lo
    return lo


def inner_hashes(told: Trace, segment: Segment, stage: int, k: int) -> bytes:
    """What the trace has at the inner boundaries of a segment."""
    return b"".join(told.hash_at(segment.phase, stage, at) for at in inner_boundaries(segment, k))


# The server ----------------------------------------------------------------------------------------------------------------------


def answer(court: Court, node_id: bytes, told: Trace) -> Act:
    """The server's answer to an open node, from what its trace tells."""
    node, k = court.nodes[node_id], court.parameters.k
    segment, claim = node.segment, court.claims[node.claim_id]
    stage = stage_of(node.path, court.requests[claim.request_id].stage_count, k)
    if segment.length > 1:
        return Act("post", (node_id, segment, inner_hashes(told, segment, stage, k), told.run_hash))
    if segment.phase == Phase.INSTRUCTIONS:
        return Act("arbitrate", (node_id, segment, make_witness(told.machine(stage, segment.lo))))
    return Act("open", (node_id, segment, *opening(told, stage, k), told.run_hash))


def opening(told: Trace, stage: int, k: int) -> tuple[bytes, int, int, bytes, bytes, bytes, bytes]:
    """How a stage begins and ends, and its first inner hashes; from a failed start nothing else is looked at."""
    start, machines = told.runs[stage], told.stages[stage]
    carry = hash_of(start.carry)
    if not machines:
        return carry, start.status, 0, b"", bytes(32), bytes(32), b""
    left, right = (hash_of(machines[-1].memory.subtree(CARRY_HEIGHT, side)) for side in (0, 1))
    steps = len(machines) - 1
    inside = Segment(Phase.INSTRUCTIONS, 0, steps, state_hash(machines[0]), state_hash(machines[-1]))
    return carry, start.status, steps, encode(machines[-1]), left, right, inner_hashes(told, inside, stage, k)


def next_answer(court: Court, claim_id: bytes, told: Trace) -> Act | None:
    """The server's answer to the open node of its claim that is due first: the order in which they were opened."""
    due = [(node.clock.due, node_id) for node_id, node in court.nodes.items() if node.claim_id == claim_id and node.state is NodeState.OPEN]
    pending = court.claims[claim_id].status is ClaimStatus.PENDING
    return answer(court, min(due)[1], told) if due and pending else None


# The validator -------------------------------------------------------------------------------------------------------------------


def is_false(claim: Claim, told: Trace) -> bool:
    """Whether a claim is of another run hash."""
    return claim.sealed != seal(told.run_hash, claim.server)


def next_move(court: Court, claim_id: bytes, told: Trace, me: bytes, now: int) -> Act | None:
    """What brings a false claim closer to its fall; nothing if the claim is true, or somebody else must act first.

    It goes down from the root along nodes whose lower end is true and whose upper end is false. There is always one that is not
    answered.
    """
    claim, parameters = court.claims[claim_id], court.parameters
    if claim.status is not ClaimStatus.PENDING or not is_false(claim, told):
        return None
    node_id = root_id(claim_id)
    if node_id not in court.nodes:
        return Act("challenge", (claim_id,), parameters.root_bond(court.requests[claim.request_id].bond))
    while court.nodes[node_id].state is NodeState.POSTED:
        node = court.nodes[node_id]
        part = false_part(court, node, told)
        if child_id(node_id, part) not in court.nodes:
            mine = node.opener == me or now >= node.clock.since + parameters.priority
            return Act("choose", (node_id, node.segment, node.posted, part), parameters.node_bond) if mine else None
        node_id = child_id(node_id, part)
    return expose(court, node_id, told, now)


def false_part(court: Court, node: Node, told: Trace) -> int:
    """The part with a true lower and a false upper end that bisection finds, by what the trace has there."""
    segment, k = node.segment, court.parameters.k
    stage = stage_of(node.path, court.requests[court.claims[node.claim_id].request_id].stage_count, k)
    ends = [segment.lo, *inner_boundaries(segment, k), segment.hi]
    said = [segment.agreed, *split(node.posted), segment.disputed]
    true, false = 0, len(said) - 1
    while false - true > 1:
        middle = (true + false) // 2
        if told.hash_at(segment.phase, stage, ends[middle]) == said[middle]:
            true = middle
        else:
            false = middle
    return true


def expose(court: Court, node_id: bytes, told: Trace, now: int) -> Act | None:
    """At an open node with a true lower and a false upper end: call the timeout, or execute the one instruction that is left."""
    node = court.nodes[node_id]
    if not server_in_time(court, node, now):
        return Act("timeout", (node_id,))
    if node.segment.phase == Phase.INSTRUCTIONS and node.segment.length == 1:
        return answer(court, node_id, told)
    return None


# The end -------------------------------------------------------------------------------------------------------------------------


def finalising(claim_id: bytes, told: Trace) -> Act:
    """How the server finalises its claim."""
    last = told.runs[-1]
    if last.status == RunStatus.FAILED:
        return Act("finalise", (claim_id, hash_of(last.carry), last.status, b"", b""))
    return Act("finalise", (claim_id, hash_of(last.carry), last.status, *output_of(last.carry)))


def output_of(carry: Tree) -> tuple[bytes, bytes]:
    """The output leaves of a run that ends with this carry, and their proof.

    Leaves behind the output are sent up to the last that is not zero."""
    at = OUTPUT - IO
    count = int.from_bytes(read(carry, CARRY_HEIGHT, at, at + WORD_BYTES), "little")
    leaves = 1 if count > MOST_TOKENS else 1 - -count // TOKENS_PER_LEAF
    height = (leaves - 1).bit_length()
    beside = siblings(Pair(ZERO[CARRY_HEIGHT], carry), height, (1 << CARRY_HEIGHT | at // LEAF_BYTES) >> height)
    sent = {level: each for level, each in enumerate(beside, height) if each != ZERO[level] and level < CARRY_HEIGHT}
    bitmap = sum(1 << level for level in sent).to_bytes(SENT_BYTES, "big")
    subtree = read(carry, CARRY_HEIGHT, at, at + (LEAF_BYTES << height))
    while len(subtree) > LEAF_BYTES * leaves and not any(subtree[-LEAF_BYTES:]):
        subtree = subtree[:-LEAF_BYTES]
    return subtree, bitmap + b"".join(sent.values())
