"""Small disputes: one server's claims about runs of a few stages of three steps, with everything that anybody can do to them.

A liar chooses at each boundary between the truth and the lie, opens stages with made-up final machines, or waits. Whoever wants opens
nodes. A second claim is of another request. Two states are the same if the same can follow from them: then times count from now.

*Source*: 5.1, 5.2 and 5.5.
"""

from collections.abc import Hashable, Iterator, Mapping
from functools import cached_property
from itertools import product
from typing import Any

from attrs import evolve, field, frozen
from opml_spec.dispute.acts import Act, act
from opml_spec.dispute.honest import Trace, answer, stage_of, trace
from opml_spec.dispute.narrowing import Phase, inner_boundaries, rounds, split
from opml_spec.dispute.objects import ClaimStatus, Court, Node, NodeState, child_id, model_id, root_id, seal
from opml_spec.dispute.parameters import Parameters
from opml_spec.machine.memory import CARRY_HEIGHT, ENTRY, STATE, Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.machine.state import MachineState, encode, state_hash
from opml_spec.machine.witness import make_witness

from opml_fuzz.disputes.moments import due

REQUESTER, SERVER, VALIDATOR, PUPPET = (bytes([number]) * 20 for number in range(1, 5))
PROGRAM = (0x05D00893, 0x00000513, 0x00000073)  # a7 = 93; a0 = 0; ecall: three steps
STEPS = len(PROGRAM)
BOND = 1 << 40
FEE = 10**15
BASEFEE = 3
START = 1


@frozen
class Setting:
    """The size of a search. The two budgets are the least that the bounds allow for paths as long as these, plus `spare`."""

    k: int = 2
    stage_count: int = 2
    claims: int = 1
    """The server's; if it lies, the validator fights the first `claims_at_once`."""
    most_nodes: int = 6
    """Nodes opened by the adversary in one play."""
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
    """A court at a time, what the validator owes in each claim since when, and how long the honest side can still be censored."""

    court: Court
    now: int
    owed: tuple[tuple[Hashable, int], ...] = ()
    censorship: int = 0


def key(dispute: "Dispute", state: State) -> Hashable:
    """What decides all that can follow: times count from now, and what is past for good counts as just past."""
    court, now = state.court, state.now
    claims = tuple(claim_key(dispute, state, number) for number in range(len(dispute.claims)))
    has_lost = SERVER in court.server_lost_at
    server_due = 0 if has_lost else max(0, court.server_due.get(SERVER, 0) - now)
    return claims, has_lost, server_due, state.censorship


def claim_key(dispute: "Dispute", state: State, number: int) -> Hashable:
    """The part of a claim that still matters; of a decided one only money moves, which is checked when it is decided."""
    court, now, claim = state.court, state.now, state.court.claims[dispute.claims[number]]
    if claim.status is not ClaimStatus.PENDING:
        return claim.status
    nodes = tuple(sorted(node_key(dispute, node, state) for node in court.nodes.values() if court.claims[node.claim_id] is claim))
    owed, since = state.owed[number] if number < len(state.owed) else (None, now)
    settles_at = max(claim.closes_at, claim.settles_at)
    expires = 0 if claim.open_nodes else max(-1, settles_at + dispute.setting.parameters.grace - now)
    return nodes, max(0, claim.closes_at - now), max(-1, claim.settles_at - now), expires, owed, now - since


def node_key(dispute: "Dispute", node: Node, state: State) -> tuple[Any, ...]:
    """The part of a node that still matters."""
    now, clock, segment = state.now, node.clock, node.segment
    closes_at = state.court.claims[node.claim_id].closes_at
    if node.state is NodeState.OPEN:
        late = max(-clock.server_left - 1, due(state.court, node) - now)
        return node.path, 1, node.opener, segment.phase, segment.hi, segment.disputed, late, clock.server_left, clock.challengers_left
    if node.state is NodeState.ANSWERED:
        return node.path, 3
    last, start = max(-1, clock.last_choice(closes_at) - now), max(0, clock.start(closes_at) - now)
    reserved = max(0, clock.since + dispute.setting.parameters.priority - now)
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
    """The claims, what is true of their runs and what their server tells, and the moves that somebody can make."""

    setting: Setting
    truth: Trace
    told: Trace
    claims: tuple[bytes, ...]
    witnesses: Mapping[bytes, bytes]
    """By the hash of the machine's state."""
    memo: dict[Hashable, list[Act]] = field(factory=dict)
    """All answers to a node, which depend on its segment alone."""

    @property
    def fought(self) -> tuple[bytes, ...]:
        """The claims that the validator fights, if they are false."""
        return self.claims[: self.setting.claims_at_once]

    def is_decided(self, court: Court, claims: tuple[bytes, ...]) -> bool:
        return all(court.claims[each].status is not ClaimStatus.PENDING for each in claims)

    def stage(self, node: Node) -> int:
        return stage_of(node.path, self.setting.stage_count, self.setting.k)

    def answers(self, court: Court, node_id: bytes) -> list[Act]:
        """All answers to a node that a liar can give; in a claim that nobody fights only what it tells anyway."""
        node = court.nodes[node_id]
        if (node_id, node.segment) not in self.memo:
            is_fought = node.claim_id in self.fought
            self.memo[node_id, node.segment] = list(self.all_answers(court, node_id)) if is_fought else [answer(court, node_id, self.told)]
        return self.memo[node_id, node.segment]

    def all_answers(self, court: Court, node_id: bytes) -> Iterator[Act]:
        """Mixes at each inner boundary the truth or the lie."""
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
        disputed = self.told.run_hash if segment.disputed == court.claims[court.nodes[node_id].claim_id].sealed else segment.disputed
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
        """All that the adversary can open."""
        parameters = self.setting.parameters
        if sum(node.opener == PUPPET for node in court.nodes.values()) >= self.setting.most_nodes:
            return
        yield from (Act("challenge", (each,), parameters.root_bond(BOND)) for each in self.claims if root_id(each) not in court.nodes)
        for node_id, node in court.nodes.items():
            if node.state is NodeState.POSTED:
                for part in range(len(split(node.posted)) + 1):
                    if child_id(node_id, part) not in court.nodes:
                        yield Act("choose", (node_id, node.segment, node.posted, part), parameters.node_bond)


def begin(setting: Setting, lying: bool) -> tuple[Dispute, State]:
    """The claims, just made."""
    start = memory()
    quarters = start.subtree(33, 1), start.subtree(33, 3)
    truth = tabled(trace(*quarters, setting.stage_count, b""))
    told = tabled(trace(*quarters, setting.stage_count, b"", change_memory, setting.lie)) if lying else truth
    roots = hash_of(quarters[0]), hash_of(quarters[1])
    court = act(Court(setting.parameters), Act("register", (*roots, 1)), REQUESTER, START)
    model, sealed = model_id(*roots, 1), seal(told.run_hash, SERVER)
    for _ in range(setting.claims):
        court = act(court, Act("request", (model, setting.stage_count, b"", START, BOND, bytes(20)), FEE), REQUESTER, START)
        price = court.models[model].work(setting.stage_count) * setting.parameters.second_price
        court = act(court, Act("claim", ([*court.requests][-1], sealed, 1 << 39), BOND + price), SERVER, START)
    machines = [machine for each in (truth, told) for stage in each.stages for machine in stage]
    witnesses = {state_hash(machine): make_witness(machine) for machine in machines}
    return Dispute(setting, truth, told, (*court.claims,), witnesses), State(court, START, censorship=setting.censorship)


def tabled(told: Trace) -> TabledTrace:
    """Works out all hashes of a trace."""
    stages = range(len(told.stages))
    places = [(Phase.STAGES, stage, at) for stage in stages for at in range(len(told.runs))]
    places += [(Phase.INSTRUCTIONS, stage, at) for stage in stages for at in range(STEPS + 1)]
    table: dict[tuple[int, int, int], bytes] = {place: told.hash_at(*place) for place in places}
    return TabledTrace(told.runs, told.stages, table)
