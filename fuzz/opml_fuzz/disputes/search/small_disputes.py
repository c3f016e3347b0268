"""Small disputes: one claim about a run of a few stages of three steps, with everything that anybody can do to it.

A liar chooses at each boundary between the truth and the lie, opens stages with made-up final machines, or waits. Whoever wants opens
nodes. Two states are the same if the same can follow from them: then times count from now.

*Source*: 5.1, 5.2 and 5.5.
"""

from collections.abc import Hashable, Iterator, Mapping
from functools import cached_property
from itertools import product
from typing import Any

from attrs import evolve, field, frozen
from opml_spec.dispute.acts import Act, act
from opml_spec.dispute.honest import Trace, stage_of, trace
from opml_spec.dispute.narrowing import Phase, inner_boundaries, rounds, split
from opml_spec.dispute.objects import Claim, ClaimStatus, Court, Node, NodeState, child_id, claim_id, model_id, seal
from opml_spec.dispute.parameters import Parameters
from opml_spec.machine.memory import CARRY_HEIGHT, ENTRY, STATE, Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.machine.state import MachineState, encode, state_hash
from opml_spec.machine.witness import make_witness

REQUESTER, SERVER, VALIDATOR, PUPPET = (bytes([number]) * 20 for number in range(1, 5))
PROGRAM = (0x05D00893, 0x00000513, 0x00000073)  # a7 = 93; a0 = 0; ecall: three steps
STEPS = len(PROGRAM)
BOND = 1 << 40
BASEFEE = 3


@frozen
class Setting:
    """The size of a search. The two budgets are the least that the bounds allow for paths as long as these, plus `spare`."""

    k: int = 2
    stage_count: int = 2
    most_nodes: int = 6
    """Nodes opened in one play."""
    claims_at_once: int = 1
    censorship: int = 1
    server_spare: int = 0
    challenger_spare: int = 0
    lie: tuple[int, int] = (0, 2)
    """Stage, and steps into it."""

    @cached_property
    def parameters(self) -> Parameters:
        """The smallest times that are possible: everything takes a second."""
        path = rounds(self.stage_count, self.k) + rounds(STEPS, self.k) + 1
        choice = 2 + 1 + self.claims_at_once  # P + d + m·E
        return Parameters(
            k=self.k,
            window=self.censorship + 1 + self.claims_at_once,
            server_time=self.censorship + path + self.server_spare,
            challenger_time=self.censorship + (path - 1) * choice + self.challenger_spare,
            priority=2,
            grace=self.censorship + 2,
            effort=1,
            censorship=self.censorship,
            inclusion=1,
            detect=self.claims_at_once,
            claims_at_once=self.claims_at_once,
            min_bond=BOND,
            node_bond=1 << 30,
        )


@frozen
class State:
    """A court at a time, what the honest side owes since when, and how long it can still be kept from the chain."""

    court: Court
    now: int
    owed: Hashable = None
    since: int = 0
    censorship: int = 0


def key(dispute: "Dispute", state: State) -> Hashable:
    """What decides all that can follow: times count from now, and what is past for good counts as just past."""
    court, now, claim = state.court, state.now, dispute.place(state.court)
    if claim.status is not ClaimStatus.PENDING:
        fell = court.nodes[claim.fell_at].path if claim.fell_at else None
        return claim.status, fell, tuple(sorted((node.path, node.opener) for node in court.nodes.values()))
    nodes = tuple(sorted(node_key(dispute, node_id, state) for node_id in court.nodes))
    server_due = max(0, court.server_due.get(SERVER, 0) - now)
    closes, settles = max(0, claim.closes_at - now), max(-1, claim.settles_at - now)
    return nodes, server_due, closes, settles, state.owed, now - state.since, state.censorship


def node_key(dispute: "Dispute", node_id: bytes, state: State) -> tuple[Any, ...]:
    """The part of a node that still matters."""
    node, now, closes_at = state.court.nodes[node_id], state.now, dispute.place(state.court).closes_at
    clock, segment = node.clock, node.segment
    if node.state is NodeState.OPEN:
        late = max(-clock.server_left - 1, clock.due - now)
        return node.path, 1, node.opener, segment.phase, segment.hi, segment.disputed, late, clock.server_left, clock.challengers_left
    if node.state is NodeState.ANSWERED:
        return node.path, 3
    last, start = max(-1, clock.last_choice(closes_at) - now), max(0, clock.start(closes_at) - now)
    reserved = max(0, clock.posted_at + dispute.setting.parameters.priority - now)
    opener = node.opener if reserved else b""
    return node.path, 2, segment.phase, segment.hi, segment.disputed, node.posted, last, start, reserved, opener, clock.server_left


def memory() -> Memory:
    return Memory.from_segments({ENTRY: b"".join(word.to_bytes(4, "little") for word in PROGRAM), STATE: bytes(range(32))})


def change_memory(machine: MachineState) -> MachineState:
    """The lie: a byte of the state quarter."""
    return evolve(machine, memory=machine.memory.store(STATE, 1, 0xFF))


@frozen
class TabledTrace(Trace):
    """A trace whose hashes are looked up: a search asks for each of them many times."""

    table: Mapping[tuple[int, int, int], bytes]

    def hash_at(self, phase: int, stage: int, at: int) -> bytes:
        return self.table[phase, stage, at]


@frozen
class Dispute:
    """One claim, what is true of its run and what its server tells, and the moves that somebody can make."""

    setting: Setting
    truth: Trace
    told: Trace
    claim_id: bytes
    witnesses: Mapping[bytes, bytes]
    """By the hash of the machine's state."""
    memo: dict[Hashable, list[Act]] = field(factory=dict)
    """All answers to a node, which depend on its segment alone."""

    def place(self, court: Court) -> Claim:
        return court.claims[self.claim_id]

    def stage(self, node: Node) -> int:
        return stage_of(node.path, self.setting.stage_count, self.setting.k)

    def answers(self, court: Court, node_id: bytes) -> Iterator[Act]:
        """All answers to a node that a liar can give: at each inner boundary the truth or the lie."""
        node = court.nodes[node_id]
        segment, stage = node.segment, self.stage(node)
        if segment.length > 1:
            for hashes in self.mixed(segment.phase, stage, inner_boundaries(segment, self.setting.k)):
                yield Act("post", (node_id, segment, hashes, self.told.run_hash))
        elif segment.phase == Phase.INSTRUCTIONS:
            if segment.agreed in self.witnesses:
                yield Act("arbitrate", (node_id, segment, self.witnesses[segment.agreed]))
        else:
            yield from self.openings(court, node_id)

    def mixed(self, phase: int, stage: int, places: list[int]) -> Iterator[bytes]:
        """All ways to mix truth and lie at these places."""
        choices = [sorted({told.hash_at(phase, stage, at) for told in (self.truth, self.told)}) for at in places]
        return (b"".join(hashes) for hashes in product(*choices))

    def openings(self, court: Court, node_id: bytes) -> Iterator[Act]:
        """All openings of a stage, with as many steps as it has or only one; a final machine can always be made up."""
        segment = court.nodes[node_id].segment
        disputed = self.told.run_hash if segment.disputed == self.place(court).sealed else segment.disputed
        starts = {told.runs[segment.lo].run_hash: told.runs[segment.lo] for told in (self.truth, self.told)}
        ends = {told.runs[segment.hi].run_hash: told.runs[segment.hi] for told in (self.truth, self.told)}
        carry = ends[disputed].carry
        final = self.truth.stages[segment.lo][-1]
        final = evolve(final, memory=final.memory.set_subtree(CARRY_HEIGHT, 1, carry))
        start = hash_of(starts[segment.agreed].carry)
        left = hash_of(final.memory.subtree(CARRY_HEIGHT, 0))
        for steps in (1, STEPS):
            inside = evolve(segment, phase=Phase.INSTRUCTIONS, lo=0, hi=steps)
            for hashes in self.mixed(Phase.INSTRUCTIONS, segment.lo, inner_boundaries(inside, self.setting.k)):
                rest = (encode(final), left, hash_of(carry), hashes, self.told.run_hash)
                yield Act("open", (node_id, segment, start, 0, steps, *rest))

    def choices(self, court: Court) -> Iterator[Act]:
        """All that anybody can open."""
        parameters = self.setting.parameters
        if len(court.nodes) >= self.setting.most_nodes:
            return
        if not court.nodes:
            yield Act("challenge", (self.claim_id,), parameters.root_bond(BOND))
        for node_id, node in court.nodes.items():
            if node.state is NodeState.POSTED:
                for part in range(len(split(node.posted)) + 1):
                    if child_id(node_id, part) not in court.nodes:
                        yield Act("choose", (node_id, node.segment, node.posted, part), parameters.node_bond)


def begin(setting: Setting, lying: bool) -> tuple[Dispute, State]:
    """A claim, just made."""
    start = memory()
    quarters = start.subtree(33, 1), start.subtree(33, 3)
    truth = tabled(trace(*quarters, setting.stage_count, b""))
    told = tabled(trace(*quarters, setting.stage_count, b"", change_memory, setting.lie)) if lying else truth
    roots = hash_of(quarters[0]), hash_of(quarters[1])
    court = act(Court(setting.parameters), Act("register", (*roots, 1)), REQUESTER, 0)
    asked = Act("request", (model_id(*roots, 1), setting.stage_count, b"", 1, BOND, bytes(20)), 10**15)
    court = act(court, asked, REQUESTER, 0)
    (request,) = court.requests
    sealed = seal(told.run_hash, SERVER)
    court = act(court, Act("claim", (request, sealed, 1 << 60), BOND), SERVER, 0)
    machines = [machine for each in (truth, told) for stage in each.stages for machine in stage]
    witnesses = {state_hash(machine): make_witness(machine) for machine in machines}
    dispute = Dispute(setting, truth, told, claim_id(request, SERVER, sealed), witnesses)
    return dispute, State(court, 0, censorship=setting.censorship)


def tabled(told: Trace) -> TabledTrace:
    """Works out all hashes of a trace."""
    stages = range(len(told.stages))
    places = [(Phase.STAGES, stage, at) for stage in stages for at in range(len(told.runs))]
    places += [(Phase.INSTRUCTIONS, stage, at) for stage in stages for at in range(STEPS + 1)]
    table: dict[tuple[int, int, int], bytes] = {place: told.hash_at(*place) for place in places}
    return TabledTrace(told.runs, told.stages, table)
