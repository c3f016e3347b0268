"""A whole dispute, both sides of it, for the tests of the game contract.

Only the hashes that a contract ever looks into are real: those around the one stage that is opened and the one step that is executed.
All others are arbitrary, as they may be for a contract that does not know them. The segment and the posted hashes are read from
the last event about a node, as a player would that was thrown away after its last move.
"""

from collections.abc import Callable

from attrs import define
from evm_machine import HALTED, ZERO, Machine, Memory, i_type, machine, witness

from evm_arbiter.chain import Chain, keccak256
from evm_arbiter.court import ANYONE, Court, Refused
from evm_arbiter.objects import Answered, NodeState, Opened, Segment
from evm_arbiter.parameters import ETHER, Parameters, root_bond

REQUEST, OUTPUT = 0x80_0000_0000, 0x80_1000_0000
STAGE_MICROSECONDS = 1_000
FEE = ETHER // 50 + 3  # wei; for up to 20,000 seconds of work
BOND = 9 * ETHER + 5  # wei
ADDI = i_type(0x13, 0, 5)


def run_hash(carry: bytes, status: int = 0) -> bytes:
    return keccak256(carry + bytes([status]))


def proof_of(memory: Memory, leaves: int) -> tuple[bytes, bytes]:
    """The first leaves from OUTPUT and their proof up to the carry."""
    levels, sent, siblings = memory.levels(), 0, b""
    first = OUTPUT // 32
    for height in range((leaves - 1).bit_length(), 34):
        sibling = levels[height].get(first >> height ^ 1, ZERO[height])
        if sibling != ZERO[height]:
            sent |= 1 << height
            siblings += sibling
    return b"".join(memory.leaves.get(first + i, bytes(32)) for i in range(leaves)), sent.to_bytes(5, "big") + siblings


def line_price(court: Court, request_id: bytes) -> int:
    """What a claim of this request brings beside its bond: the price of the line if it is the first, in wei."""
    request = court.request_of(request_id)
    if request.checked_at:
        return 0
    work = -(-request.stage_count * court.model_of(request.model_id).stage_microseconds // 10**6)
    return work * court.parameters.second_price


def hold(court: Court) -> int:
    """How long after its end a pending claim may hold the fee, in seconds: spec §5.7."""
    fixed = court.parameters
    longest_path = 1 + sum(next(n for n in range(99) if fixed.k**n >= count) for count in (2**24, 2**32))
    return fixed.server_time + fixed.challenger_time + longest_path * fixed.effort + fixed.grace


def refusal(move: Callable[[], object]) -> str | None:
    """The name of the error that a move is refused with; None if it is accepted."""
    try:
        move()
    except Refused as refused:
        return refused.name
    return None


def seal(run_hash: bytes, server: str) -> bytes:
    return keccak256(run_hash + bytes.fromhex(server[2:]))


def carry_of(memory: Memory) -> bytes:
    """The right half of the memory root."""
    return memory.levels()[34].get(1) or keccak256(ZERO_QUARTER + ZERO_QUARTER)


def left_of(memory: Memory) -> bytes:
    return memory.levels()[34].get(0) or keccak256(ZERO_QUARTER + ZERO_QUARTER)


def request_memory(stage_count: int, data: bytes) -> Memory:
    """The io quarter of a request."""
    return Memory().write(REQUEST, stage_count.to_bytes(8, "little") + len(data).to_bytes(8, "little") + bytes(16) + data)


def quarter(memory: Memory, number: int) -> bytes:
    return memory.levels()[33].get(number, ZERO_QUARTER)


def zero_root(height: int) -> bytes:
    return bytes(32) if height == 0 else keccak256(2 * zero_root(height - 1))


ZERO_QUARTER = zero_root(33)
MODEL = machine(ADDI, memory=Memory().write(0xC0_0000_0000, b"state"))
FINAL = Machine(kind=HALTED, memory=MODEL.memory)
DATA = b"what is it that we disagree about?"


@define
class Dispute:
    """One claim about `stage_count` stages, and a path in its tree that goes to step `step` of stage `stage`."""

    court: Court
    stage_count: int = 6
    stage: int = 3
    steps: int = 100
    step: int = 41
    before: Machine = MODEL  # the machine before that step
    after_hash: bytes | None = None  # what the server says the step leads to; None: what it really does
    model: Memory = MODEL.memory  # its model and state quarters are registered
    start_status: int = 0
    final: Machine = FINAL  # the machine at the end of the stage
    bond: int = BOND
    last_run_hash: bytes | None = None  # what the server claims; None: arbitrary, but the end of the stage if that is the last one
    challenger: str = ""  # who opens nodes; at first account 2
    server_number: int = 1  # the account that claims and answers
    model_id: bytes = b""
    request_id: bytes = b""
    claim_id: bytes = b""
    node_id: bytes = b""  # where the path is now

    def __attrs_post_init__(self) -> None:
        self.challenger = self.challenger or self.court.accounts[2]

    @property
    def requester(self) -> str:
        return self.court.accounts[0]

    @property
    def server(self) -> str:
        return self.court.accounts[self.server_number]

    @property
    def start_carry(self) -> bytes:
        if self.step == 0:
            return carry_of(self.before.memory)
        if self.stage == 0:
            return keccak256(quarter(request_memory(self.stage_count, DATA), 2) + quarter(self.model, 3))
        return keccak256(b"start carry")

    @property
    def next_run_hash(self) -> bytes:
        """After the stage that is opened."""
        if self.start_status or (self.final.kind, self.final.value) != (HALTED, 0):
            return run_hash(self.start_carry, 1)
        return run_hash(carry_of(self.final.memory))

    @property
    def run_hash(self) -> bytes:
        """What the server claims."""
        return self.last_run_hash or self.boundary(1, self.stage_count)

    def boundary(self, phase: int, at: int) -> bytes:
        """What the server says at a boundary."""
        stage_hashes = {self.stage: run_hash(self.start_carry, self.start_status), self.stage + 1: self.next_run_hash}
        claimed = self.after_hash or self.before.then(3, self.before.x.get(1, 0) + 5).hash()
        step_hashes = {self.step: self.before.hash(), self.step + 1: claimed, self.steps: self.final.hash()}
        known = stage_hashes if phase == 1 else step_hashes
        return known.get(at) or keccak256(b"boundary %d %d" % (phase, at))

    def asked(self, server: str = ANYONE, deadline: int | None = None) -> "Dispute":
        """The model is registered and the request made."""
        court, roots = self.court, (quarter(self.model, 1), quarter(self.model, 3))
        self.model_id = court.register(*roots, STAGE_MICROSECONDS, sender=self.requester)
        deadline = court.now + 1000 if deadline is None else deadline
        asked = (self.model_id, self.stage_count, DATA, deadline, self.bond, server)
        self.request_id = court.request(*asked, sender=self.requester, value=FEE)
        return self

    def claimed(self, server: str | None = None) -> "Dispute":
        """By the server if no other is named; the answers are the server's."""
        server = server or self.server
        value = self.bond + line_price(self.court, self.request_id)
        self.claim_id = self.court.claim(self.request_id, seal(self.run_hash, server), 2**64 - 1, sender=server, value=value)
        return self

    def challenged(self, challenger: str | None = None) -> "Dispute":
        value = root_bond(self.court.parameters, self.bond)
        self.node_id = self.court.challenge(self.claim_id, sender=challenger or self.challenger, value=value)
        return self

    def started(self) -> "Dispute":
        return self.asked().claimed().challenged()

    def last(self, node_id: bytes | None = None) -> tuple[Segment, bytes]:
        """The segment and the posted hashes of a node; of the present one if none is named."""
        for event in reversed(self.court.events()):
            if isinstance(event, Answered) and event.node_id == (node_id or self.node_id):
                return event.segment, event.hashes
            if isinstance(event, Opened) and event.node_id == (node_id or self.node_id):
                return event.segment, b""
        raise AssertionError("nothing was told about this node")

    @property
    def state(self) -> NodeState:
        return self.court.node_of(self.node_id).state

    def hashes_between(self, phase: int, lo: int, hi: int) -> bytes:
        """What the server has at the inner boundaries."""
        parts = min(self.court.parameters.k, hi - lo)
        return b"".join(self.boundary(phase, lo + part * (hi - lo) // parts) for part in range(1, parts))

    def inner_hashes(self) -> bytes:
        """What the server posts about the segment."""
        segment, _ = self.last()
        return self.hashes_between(segment.phase, segment.lo, segment.hi)

    def part(self) -> int:
        """The one with the disputed stage or step in it; the first of a node beside the path."""
        segment, hashes = self.last()
        length, parts, target = segment.hi - segment.lo, len(hashes) // 32 + 1, self.stage if segment.phase == 1 else self.step
        return max((part for part in range(parts) if segment.lo + part * length // parts <= target), default=0)

    def post(self) -> None:
        self.court.post(self.node_id, self.last()[0], self.inner_hashes(), self.run_hash, sender=self.server)

    def choose(self, part: int | None = None, sender: str | None = None) -> None:
        """Opens a part's node, the one of the path if none is named, and goes there."""
        chosen = self.part() if part is None else part
        money = self.court.parameters.node_bond
        self.node_id = self.court.choose(self.node_id, *self.last(), chosen, sender=sender or self.challenger, value=money)

    def answer(self) -> None:
        """What the server owes at the node."""
        segment, _ = self.last()
        if segment.hi - segment.lo > 1:
            self.post()
        elif segment.phase == 1:
            self.open()
        else:
            self.arbitrate()

    def narrow(self) -> "Dispute":
        """Down to a node that is about one stage or one step, and OPEN."""
        while True:
            if self.state is NodeState.POSTED:
                self.choose()
            elif self.last()[0].hi - self.last()[0].lo > 1:
                self.post()
            else:
                return self

    def opening(self) -> dict[str, object]:
        """The arguments of `open` after the segment."""
        return {
            "start_carry": self.start_carry, "start_status": self.start_status, "steps": self.steps, "final_state": self.final.encode(),
            "left_root": left_of(self.final.memory), "final_carry": carry_of(self.final.memory),
            "hashes": self.hashes_between(2, 0, self.steps), "run_hash": self.run_hash,
        }  # fmt: skip

    def open(self, **changes: object) -> "Dispute":
        """The server opens the stage."""
        values = {**self.opening(), **changes}
        self.court.open(self.node_id, self.last()[0], *values.values(), sender=self.server)  # type: ignore[arg-type]
        return self

    def arbitrate(self, evidence: bytes | None = None) -> None:
        self.court.arbitrate(self.node_id, self.last()[0], evidence or witness(self.before), sender=self.court.accounts[9])

    def timeout(self, sender: str | None = None) -> None:
        self.court.timeout(self.node_id, sender=sender or self.court.accounts[9])

    def played(self) -> "Dispute":
        """From the challenge down to the arbiter's verdict."""
        self.narrow().open().narrow().arbitrate()
        return self


def new_court(k: int = 4, **changes: int) -> Court:
    return Court(Chain(), Parameters(**{"k": k, **SMALL, **changes}))


SMALL = {"effort": 60, "priority": 120, "inclusion": 30, "claims_at_once": 2, "min_bond": 9 * ETHER}  # so that small k are legal too
