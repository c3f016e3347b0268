"""Whole disputes on real machines: a small program, what an honest party and a liar tell of it, and a court to settle it in."""

from typing import Any

import pytest
from attrs import Factory, define, evolve
from opml_spec.dispute.acts import Act, act, deploy
from opml_spec.dispute.claims import line_price
from opml_spec.dispute.honest import Lie, Trace, answer, finalising, next_answer, next_move, trace
from opml_spec.dispute.objects import Claim, ClaimStatus, Court, Node, NodeState, claim_id, model_id, root_id, seal
from opml_spec.dispute.parameters import Parameters
from opml_spec.dispute.tree import settlement
from opml_spec.errors import SpecError
from opml_spec.machine.memory import STATE, Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.machine.state import MachineState
from opml_spec.machine.step import ENTRY

REQUESTER, SERVER, CHALLENGER, PUPPET, STRANGER = (bytes([number]) * 20 for number in range(1, 6))
NOBODY = bytes(20)
UNKNOWN = bytes(32)
START_TIME = 1_000_000
DATA = b"what is it that we disagree about?"
FEE = 7_003
BOND = 40_000_000
STAGE_MICROSECONDS = 2_500_000

PARAMETERS = Parameters(
    k=4,
    share_numerator=1,
    share_denominator=3,
    window=1_000,
    server_time=400,
    challenger_time=2_340,
    priority=30,
    grace=150,
    effort=20,
    censorship=100,
    inclusion=10,
    detect=300,
    claims_at_once=2,
    min_bond=32_000_000,
    node_bond=900_001,
    second_price=7,
    gas_post=50_000,
    gas_open=50_000,
    gas_choose=20_000,
    gas_arbitrate=100_000,
    gas_price_cap=3,
)
ROOT_BOND = PARAMETERS.root_bond(BOND)

TEXT = (
    0x00300313,  # addi t1, zero, 3
    0x02631313,  # slli t1, t1, 38       the state quarter
    0x00150393,  # addi t2, a0, 1        once more than the stage's number
    0x01E33283,  # ld t0, 30(t1)         from two leaves
    0x00728293,  # addi t0, t0, 7
    0xFFF38393,  # addi t2, t2, -1
    0xFE039CE3,  # bne t2, zero, -8
    0x00533F23,  # sd t0, 30(t1)         to two leaves
    0x00801E37,  # lui t3, 0x801
    0x010E1E13,  # slli t3, t3, 16       the output
    0x00100E93,  # addi t4, zero, 1
    0x01DE3023,  # sd t4, 0(t3)          one token
    0x01DE3423,  # sd t4, 8(t3)          done
    0x025E2023,  # sw t0, 32(t3)
    0x05D00893,  # addi a7, zero, 93
    0x00000513,  # addi a0, zero, 0
    0x00000073,  # ecall
)
HALT = (0x05D00893, 0x00000513, 0x00000073)
TRAP = (0x00100073,)  # ebreak: a stage of one step


def memory_of(*text: int) -> Memory:
    """The memory of a model that is this program and some state."""
    return Memory.from_segments({ENTRY: b"".join(word.to_bytes(4, "little") for word in text), STATE: bytes(range(64))})


def wrong_register(state: MachineState) -> MachineState:
    """A lie: the register that everything goes through is off by one."""
    return evolve(state, x=(*state.x[:5], state.x[5] ^ 1, *state.x[6:]))


def wrong_memory(state: MachineState) -> MachineState:
    return evolve(state, memory=state.memory.store(STATE, 8, 1))


@define
class Table:
    """A court, the time, and one request. After each act everything that must always hold is checked."""

    memory: Memory = Factory(lambda: memory_of(*TEXT))
    stages: int = 3
    parameters: Parameters = PARAMETERS
    now: int = START_TIME
    basefee: int = 0
    court: Court = Factory(lambda self: deploy(self.parameters), takes_self=True)
    request_id: bytes = b""
    claim_id: bytes = b""

    @property
    def model_id(self) -> bytes:
        model_root, state_root = (hash_of(self.memory.subtree(33, quarter)) for quarter in (1, 3))
        return model_id(model_root, state_root, STAGE_MICROSECONDS)

    def act(self, name: str, *arguments: Any, sender: bytes = STRANGER, value: int = 0) -> None:
        self.play(Act(name, arguments, value), sender)

    def play(self, what: Act | None, sender: bytes) -> None:
        assert what is not None
        before = self.court.ledger
        self.court = act(self.court, what, sender, self.now, self.basefee)
        after = self.court.ledger
        assert after.deposits == before.deposits + what.value
        assert after.burned >= before.burned
        assert after.paid_out >= before.paid_out
        check(self.court)

    def refused(self, number: int, name: str, *arguments: Any, sender: bytes = STRANGER, value: int = 0) -> None:
        """The act is refused with this number, and nothing changes."""
        before = self.court
        with pytest.raises(SpecError) as refusal:
            self.act(name, *arguments, sender=sender, value=value)
        assert refusal.value.number == number, f"{name}: {refusal.value}"
        assert self.court == before

    def trace(self, lie: Lie | None = None, where: tuple[int, int] = (0, 1)) -> Trace:
        model, state = (self.memory.subtree(33, quarter) for quarter in (1, 3))
        return trace(model, state, self.stages, DATA, lie, where)

    def asked(self, server: bytes = NOBODY, deadline: int = START_TIME + 500, fee: int = FEE, bond: int = BOND) -> "Table":
        roots = (hash_of(self.memory.subtree(33, quarter)) for quarter in (1, 3))
        self.act("register", *roots, STAGE_MICROSECONDS, sender=REQUESTER)
        self.act("request", self.model_id, self.stages, DATA, deadline, bond, server, sender=REQUESTER, value=fee)
        self.request_id = [*self.court.requests][-1]
        return self

    def claimed(self, run_hash: bytes, server: bytes = SERVER) -> "Table":
        sealed = seal(run_hash, server)
        self.act("claim", self.request_id, sealed, self.now + 10_000_000, sender=server, value=self.stake)
        self.claim_id = claim_id(self.request_id, server, sealed)
        return self

    def challenged(self, challenger: bytes = CHALLENGER) -> "Table":
        self.act("challenge", self.claim_id, sender=challenger, value=self.root_bond)
        return self

    def answered(self, told: Trace, node_id: bytes | None = None) -> "Table":
        """The server answers a node, the root if none is named."""
        self.play(answer(self.court, node_id or self.root, told), self.claim.server)
        return self

    def chosen(self, part: int, node_id: bytes | None = None, sender: bytes = CHALLENGER) -> "Table":
        parent = node_id or self.root
        node = self.court.nodes[parent]
        self.act("choose", parent, node.segment, node.posted, part, sender=sender, value=self.parameters.node_bond)
        return self

    @property
    def stake(self) -> int:
        """What the next claim of the request must bring."""
        asked = self.court.requests[self.request_id]
        return asked.bond + line_price(self.court, asked)

    @property
    def root_bond(self) -> int:
        return self.parameters.root_bond(self.court.requests[self.claim.request_id].bond)

    @property
    def claim(self) -> Claim:
        return self.court.claims[self.claim_id]

    @property
    def root(self) -> bytes:
        return root_id(self.claim_id)

    def node(self, node_id: bytes | None = None) -> Node:
        return self.court.nodes[node_id or self.root]

    def credit(self, who: bytes) -> int:
        return self.court.ledger.credited.get(who, 0)

    def fight(self, told: Trace, truth: Trace, validator: bytes = CHALLENGER) -> None:
        """The server tells its trace and the validator the truth, until the claim has fallen."""
        while self.claim.status is ClaimStatus.PENDING:
            answering = next_answer(self.court, self.claim_id, told)
            move = next_move(self.court, self.claim_id, truth, validator, self.now)
            if move is not None:
                self.play(move, validator)
            elif answering is not None:
                self.play(answering, self.claim.server)
            else:
                self.now += 1

    def finalised(self, told: Trace) -> "Table":
        """Finalises the claim as soon as that is legal."""
        self.now = max(self.now, self.claim.closes_at, self.claim.settles_at + 1)
        self.play(finalising(self.claim_id, told), STRANGER)
        return self

    def collected(self) -> "Table":
        """All nodes of the claim, by a stranger."""
        for node_id, node in self.court.nodes.items():
            if node.claim_id == self.claim_id and not node.collected:
                self.act("collect", node_id)
        return self


def locked_for(court: Court, claim: Claim) -> int:
    """What must be locked for a claim, told from its nodes alone."""
    parameters, bond = court.parameters, court.requests[claim.request_id].bond
    nodes = [node for node in court.nodes.values() if court.claims[node.claim_id] is claim and not node.collected]
    bonds = sum(parameters.node_bond if node.path else parameters.root_bond(bond) for node in nodes)
    if claim.status is ClaimStatus.PENDING:
        return bond + bonds
    if claim.status is ClaimStatus.FINAL:
        return 0
    if claim.fell_at is None:
        return bonds
    settled, at = settlement(court, claim), court.nodes[claim.fell_at]
    return bonds + sum(node.price * settled.gas + (settled.share if node.on_the_way_to(at) else 0) for node in nodes)


def check(court: Court) -> None:
    """What holds in every state: conservation, the counters, and the shape of each tree."""
    ledger, parameters = court.ledger, court.parameters
    assert ledger.balanced
    assert ledger.locked == sum(it.fee_left for it in court.requests.values()) + sum(locked_for(court, it) for it in court.claims.values())
    assert min(ledger.locked, ledger.burned, ledger.paid_out, *ledger.credited.values(), 0) == 0
    for identity, claim in court.claims.items():
        nodes = [node for node in court.nodes.values() if node.claim_id == identity]
        assert (claim.nodes, claim.prices) == (len(nodes), sum(node.price for node in nodes))
        assert claim.open_nodes == sum(node.state is NodeState.OPEN for node in nodes)
        for node in nodes:
            check_node(court, claim, node)
    for identity, request in court.requests.items():
        claims = [claim for claim in court.claims.values() if claim.request_id == identity]
        assert (request.claims, request.pending) == (len(claims), sum(claim.status is ClaimStatus.PENDING for claim in claims))
        assert (request.result is not None) == any(claim.status is ClaimStatus.FINAL for claim in claims)
    assert all(node.depth <= parameters.most_nodes for node in court.nodes.values())


def check_node(court: Court, claim: Claim, node: Node) -> None:
    clock, parameters = node.clock, court.parameters
    assert 0 <= clock.server_left <= parameters.server_time
    assert 0 <= clock.challengers_left <= parameters.challenger_time
    assert node.segment.length >= 1
    if node.state is NodeState.POSTED:
        assert claim.settles_at >= clock.last_choice(claim.closes_at)
