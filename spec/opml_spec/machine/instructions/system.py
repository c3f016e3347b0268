"""FENCE, which has nothing to order on one hart; ECALL, which ends the program; EBREAK, which traps."""

from opml_spec.machine.formats import Operands
from opml_spec.machine.state import Cause, MachineState
from opml_spec.machine.table import add_row

A0 = 10
A7 = 17
EXIT = 93  # the number of the system call; Linux, include/uapi/asm-generic/unistd.h


def fence(state: MachineState, op: Operands) -> MachineState:
    return state.retire(state.pc + 4)


def ecall(state: MachineState, op: Operands) -> MachineState:
    return state.halt(state.x[A0]) if state.x[A7] == EXIT else state.trap(Cause.ENVIRONMENT_CALL)


def ebreak(state: MachineState, op: Operands) -> MachineState:
    return state.trap(Cause.BREAKPOINT)


add_row("imm[11:0]    rs1   000 rd    0001111 fence", "", fence)
add_row("000000000000 00000 000 00000 1110011 ecall", "", ecall)
add_row("000000000001 00000 000 00000 1110011 ebreak", "", ebreak)
