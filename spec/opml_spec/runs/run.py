"""Runs and stages: how a model's memory goes from one call of the program to the next.

A run state is the carry (the io and the state quarter) and whether all went well so far. The functions take nodes of the Merkle tree, which
may be mere hashes. So they serve both a player, who has the content, and a contract, which has only roots. A stage *is* what the machine
does (`run_machine`); `run_stage` of the model chapter is what the program should make of it (`run_meaning`).

*Source*: spec §4.1 to §4.3.
"""

from enum import IntEnum

from attrs import field, frozen

from opml_spec.hashing import keccak256
from opml_spec.machine.memory import CARRY_HEIGHT, QUARTER_HEIGHT, Memory
from opml_spec.machine.merkle import ZERO, Node, Pair, hash_of
from opml_spec.machine.start import start_state
from opml_spec.machine.state import RUNNING, Kind, MachineState, Status
from opml_spec.machine.step import step
from opml_spec.model.layout import REQUEST, REQUEST_BYTES, WORD_BYTES
from opml_spec.model.stage import run_stage
from opml_spec.runs.limits import STAGE_STEP_LIMIT

A0 = 10  # the register that holds the stage's number, and the exit code
IO_QUARTER, MODEL_QUARTER, CARRY = 2, 1, 1  # indices of nodes, the last one at CARRY_HEIGHT


class RunStatus(IntEnum):
    """Whether all stages so far have ended well."""

    OK = 0
    FAILED = 1  # for good


@frozen
class RunState:
    """What passes from one stage to the next."""

    carry: Node = field(eq=hash_of)
    status: RunStatus

    @property
    def preimage(self) -> bytes:
        """The 33 bytes that are hashed."""
        return hash_of(self.carry) + bytes([self.status])

    @property
    def run_hash(self) -> bytes:
        """The hash that the two sides of a dispute compare."""
        return keccak256(self.preimage)


def io_quarter(stage_count: int, request: bytes) -> Node:
    """The io quarter that holds a request and nothing else. The contract computes its root itself, so nobody has to be trusted for it."""
    words = stage_count.to_bytes(WORD_BYTES, "little") + len(request).to_bytes(WORD_BYTES, "little")
    return Memory().store_bytes(REQUEST, words).store_bytes(REQUEST_BYTES, request).subtree(QUARTER_HEIGHT, IO_QUARTER)


def first_state(io: Node, state: Node) -> RunState:
    """The run state in which a request begins."""
    return RunState(Pair(io, state), RunStatus.OK)


def stage_memory(model: Node, carry: Node) -> Memory:
    """The memory in which a stage begins: scratch is zero."""
    return Memory(Pair(Pair(ZERO[QUARTER_HEIGHT], model), carry))


def stage_start(model: Node, carry: Node, stage: int) -> MachineState:
    """The machine state in which a stage begins."""
    return start_state(stage_memory(model, carry), registers={A0: stage})


def hand_over(before: RunState, end: MachineState) -> RunState:
    """The run state after a stage whose machine ended in this state; still RUNNING means that it used up its steps."""
    if end.status == Status(Kind.HALTED, 0):
        return RunState(end.memory.subtree(CARRY_HEIGHT, CARRY), RunStatus.OK)
    return RunState(before.carry, RunStatus.FAILED)


def run_machine(model: Node, before: RunState, stage: int, limit: int = STAGE_STEP_LIMIT) -> RunState:
    """The run state after a stage, by definition: what the program makes of it."""
    if before.status == RunStatus.FAILED:
        return before
    machine = stage_start(model, before.carry, stage)
    for _ in range(limit):
        machine = step(machine)
        if machine.status != RUNNING:
            break
    return hand_over(before, machine)


def run_meaning(model: Node, before: RunState, stage: int) -> RunState:
    """The run state after a stage whose program does what the model chapter says."""
    if before.status == RunStatus.FAILED:
        return before
    memory, exit_code = run_stage(stage_memory(model, before.carry), stage)
    if exit_code == 0:
        return RunState(memory.subtree(CARRY_HEIGHT, CARRY), RunStatus.OK)
    return RunState(before.carry, RunStatus.FAILED)
