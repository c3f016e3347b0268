"""One step of the machine. It is total: whatever the state, there is exactly one next state.

*Source*: spec §2.1.
"""

from opml_spec.machine.decode import decode
from opml_spec.machine.memory import ENTRY, TEXT_BYTES
from opml_spec.machine.state import Cause, Kind, MachineState

INSTRUCTION_BYTES = 4
LAST_PC = ENTRY + TEXT_BYTES - INSTRUCTION_BYTES  # (= 0x40_0fff_fffc)


def step(state: MachineState) -> MachineState:
    """The next state: fetch, decode, execute. A machine that does not run stays as it is."""
    if state.status.kind != Kind.RUNNING:
        return state
    if state.pc % INSTRUCTION_BYTES:
        return state.trap(Cause.INSTRUCTION_ADDRESS_MISALIGNED)
    if not ENTRY <= state.pc <= LAST_PC:
        return state.trap(Cause.INSTRUCTION_ACCESS_FAULT)
    word = state.memory.load(state.pc, INSTRUCTION_BYTES)
    instruction = decode(word)
    if instruction is None:
        return state.trap(Cause.ILLEGAL_INSTRUCTION)
    return instruction.execute(state, instruction.operands(word))
