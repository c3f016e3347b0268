"""The state of the machine, its 297 bytes, and its hash.

*Source*: spec §2.1. The causes: The RISC-V Instruction Set Manual, Volume II, "Machine Cause Register (mcause)".
"""

from enum import IntEnum

from attrs import evolve, frozen

from opml_spec.errors import StateUndecodable
from opml_spec.hashing import HASH_BYTES, join, keccak256
from opml_spec.machine.memory import Memory
from opml_spec.words import put, wrap

REGISTERS = 32
WORD_BYTES = 8
PREIMAGE_BYTES = 297  # pc and x1 … x31: 32 · 8, the status 1 + 8, the memory root 32


class Kind(IntEnum):
    """Whether the machine runs, has ended or has trapped."""

    RUNNING = 0
    HALTED = 1
    TRAPPED = 2


class Cause(IntEnum):
    """Why an instruction trapped."""

    INSTRUCTION_ADDRESS_MISALIGNED = 0
    INSTRUCTION_ACCESS_FAULT = 1
    ILLEGAL_INSTRUCTION = 2
    BREAKPOINT = 3
    LOAD_ACCESS_FAULT = 5
    STORE_ACCESS_FAULT = 7
    ENVIRONMENT_CALL = 8


@frozen
class Status:
    """The status of a machine: `value` is 0 for RUNNING, the exit code for HALTED, the cause for TRAPPED."""

    kind: Kind
    value: int = 0


RUNNING = Status(Kind.RUNNING)


@frozen
class MachineState:
    """Everything that a machine is. `x[0]` is 0."""

    pc: int
    x: tuple[int, ...]
    status: Status
    memory: Memory

    def retire(self, pc: int, rd: int = 0, value: int = 0) -> "MachineState":
        """The state after an instruction that completed: the one place where results are wrapped and where x0 stays 0."""
        x = self.x if rd == 0 else put(self.x, rd, (wrap(value),))
        return MachineState(wrap(pc), x, self.status, self.memory)

    def halt(self, exit_code: int) -> "MachineState":
        """The state after the program exits. Only the status changes."""
        return evolve(self, status=Status(Kind.HALTED, exit_code))

    def trap(self, cause: Cause) -> "MachineState":
        """The state after a trap. Only the status changes."""
        return evolve(self, status=Status(Kind.TRAPPED, cause))


def encode(state: MachineState) -> bytes:
    """The preimage of the state hash."""
    words = join(word.to_bytes(WORD_BYTES, "big") for word in (state.pc, *state.x[1:]))
    return words + bytes([state.status.kind]) + state.status.value.to_bytes(WORD_BYTES, "big") + state.memory.root


def decode_state(preimage: bytes) -> MachineState:
    """The state with this preimage; of its memory it knows the root alone."""
    if len(preimage) != PREIMAGE_BYTES:
        raise StateUndecodable(f"{len(preimage)} bytes")
    words, status, root = preimage[: -9 - HASH_BYTES], preimage[-9 - HASH_BYTES : -HASH_BYTES], preimage[-HASH_BYTES:]
    pc, *x = (int.from_bytes(words[i : i + WORD_BYTES], "big") for i in range(0, len(words), WORD_BYTES))
    return MachineState(pc, (0, *x), decode_status(status[0], int.from_bytes(status[1:], "big")), Memory(root))


def decode_status(kind: int, value: int) -> Status:
    """Return the status of that kind and value, if there is one; else raise."""
    match kind:
        case Kind.RUNNING if value == 0:
            return RUNNING
        case Kind.HALTED:
            return Status(Kind.HALTED, value)
        case Kind.TRAPPED if value in tuple(Cause):
            return Status(Kind.TRAPPED, Cause(value))
    raise StateUndecodable(f"status {kind}, {value}")


def state_hash(state: MachineState) -> bytes:
    """The hash that the two sides of a dispute compare."""
    return keccak256(encode(state))
