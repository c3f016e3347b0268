"""A whole dispute, both sides of it, for the tests of the game contract.

Only the hashes that a contract ever looks into are real: those around the one stage that is opened and the one step that is executed.
All others are arbitrary, as they may be for a contract that does not know them. The segment and the posted hashes are read from
the last event, as a player would that was thrown away after its last move.
"""

from attrs import define
from evm_machine import HALTED, Machine, Memory, i_type, machine, witness

from evm_arbiter.chain import Chain, keccak256
from evm_arbiter.court import ANYONE, Court
from evm_arbiter.objects import Moved, Segment
from evm_arbiter.parameters import Parameters

REQUEST, OUTPUT = 0x80_0000_0000, 0x80_1000_0000
FEE = 7_000_003  # wei
ADDI = i_type(0x13, 0, 5)


def run_hash(carry: bytes, status: int = 0) -> bytes:
    return keccak256(carry + bytes([status]))


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
    """One claim about `stage_count` stages, and a game that goes to step `step` of stage `stage`."""

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
    request_id: bytes = b""
    claim_id: bytes = b""
    game_id: bytes = b""

    @property
    def requester(self) -> str:
        return self.court.accounts[0]

    @property
    def server(self) -> str:
        return self.court.accounts[1]

    @property
    def challenger(self) -> str:
        return self.court.accounts[2]

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

    def boundary(self, phase: int, at: int) -> bytes:
        """What the server says at a boundary."""
        stage_hashes = {self.stage: run_hash(self.start_carry, self.start_status), self.stage + 1: self.next_run_hash}
        claimed = self.after_hash or self.before.then(3, self.before.x.get(1, 0) + 5).hash()
        step_hashes = {self.step: self.before.hash(), self.step + 1: claimed, self.steps: self.final.hash()}
        known = stage_hashes if phase == 1 else step_hashes
        return known.get(at) or keccak256(b"boundary %d %d" % (phase, at))

    def asked(self, server: str = ANYONE, deadline: int | None = None) -> "Dispute":
        """The model is registered and the request made."""
        model_id = self.court.register(quarter(self.model, 1), quarter(self.model, 3), sender=self.requester)
        deadline = self.court.now + 1000 if deadline is None else deadline
        self.request_id = self.court.request(model_id, self.stage_count, DATA, deadline, server, sender=self.requester, value=FEE)
        return self

    def claimed(self, final_hash: bytes | None = None) -> "Dispute":
        bond = self.court.parameters.server_bond_wei
        self.claim_id = self.court.claim(self.request_id, final_hash or self.boundary(1, self.stage_count), sender=self.server, value=bond)
        return self

    def challenged(self, challenger: str | None = None) -> "Dispute":
        bond = self.court.parameters.challenger_bond_wei
        self.game_id = self.court.challenge(self.claim_id, sender=challenger or self.challenger, value=bond)
        return self

    def started(self) -> "Dispute":
        return self.asked().claimed().challenged()

    def last(self) -> tuple[Segment, bytes]:
        """The segment and the posted hashes."""
        for event in reversed(self.court.events()):
            if isinstance(event, Moved) and event.game_id == self.game_id:
                return event.segment, event.hashes
        request, claim = self.court.request_of(self.request_id), self.court.claim_of(self.claim_id)
        return Segment(1, 0, request.stage_count, request.first_run_hash, claim.run_hash, 0), b""

    def inner_hashes(self) -> bytes:
        """What the server posts about the segment."""
        segment, _ = self.last()
        length = segment.hi - segment.lo
        parts = min(self.court.parameters.k, length)
        return b"".join(self.boundary(segment.phase, segment.lo + part * length // parts) for part in range(1, parts))

    def part(self) -> int:
        """The one with the disputed stage or step in it."""
        segment, hashes = self.last()
        length, parts, target = segment.hi - segment.lo, len(hashes) // 32 + 1, self.stage if segment.phase == 1 else self.step
        return max(part for part in range(parts) if segment.lo + part * length // parts <= target)

    def post(self) -> None:
        self.court.post(self.game_id, self.last()[0], self.inner_hashes(), sender=self.server)

    def choose(self) -> None:
        self.court.choose(self.game_id, *self.last(), self.part(), sender=self.court.game_of(self.game_id).challenger)

    def narrow(self) -> "Dispute":
        """Down to one stage or one step."""
        while self.last()[0].hi - self.last()[0].lo > 1:
            self.post()
            self.choose()
        return self

    def open(self, **changes: object) -> "Dispute":
        """The server opens the stage."""
        values = {
            "start_carry": self.start_carry, "start_status": self.start_status, "steps": self.steps, "final_state": self.final.encode(),
            "left_root": left_of(self.final.memory), "final_carry": carry_of(self.final.memory), **changes,
        }  # fmt: skip
        self.court.open(self.game_id, self.last()[0], *values.values(), sender=self.server)  # type: ignore[arg-type]
        return self

    def arbitrate(self, evidence: bytes | None = None) -> None:
        self.court.arbitrate(self.game_id, self.last()[0], evidence or witness(self.before), sender=self.court.accounts[9])

    def timeout(self, sender: str | None = None) -> None:
        self.court.timeout(self.game_id, *self.last(), sender=sender or self.court.accounts[9])


def new_court(k: int = 4) -> Court:
    return Court(Chain(), Parameters(k=k, effort_seconds=60))
