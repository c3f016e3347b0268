"""Jumps and branches. If the target is not a multiple of 4, the jump itself traps and rd is not written."""

from collections.abc import Callable

from opml_spec.machine.formats import Operands
from opml_spec.machine.state import Cause, MachineState
from opml_spec.machine.table import add_row
from opml_spec.words import flag, signed, wrap

Target = Callable[[int, int, int], int]
Condition = Callable[[int, int], int]


def jump(state: MachineState, target: int, rd: int = 0) -> MachineState:
    """Go to the target, and write the address of the next instruction to rd."""
    if target % 4:
        return state.trap(Cause.INSTRUCTION_ADDRESS_MISALIGNED)
    return state.retire(target, rd, state.pc + 4)


def jumps(row: str, syntax: str) -> Callable[[Target], Target]:
    """Make the function below, of pc, register rs1 and immediate, give the target."""

    def enter(meaning: Target) -> Target:
        def execute(state: MachineState, op: Operands) -> MachineState:
            return jump(state, meaning(state.pc, state.x[op.rs1], op.imm), op.rd)

        add_row(row, syntax, execute, meaning)
        return meaning

    return enter


def branches(row: str) -> Callable[[Condition], Condition]:
    """Make the function below, of registers rs1 and rs2, give 1 if the branch is taken."""

    def enter(meaning: Condition) -> Condition:
        def execute(state: MachineState, op: Operands) -> MachineState:
            taken = meaning(state.x[op.rs1], state.x[op.rs2])
            return jump(state, state.pc + op.imm) if taken else state.retire(state.pc + 4)

        add_row(row, "{rs1}, {rs2}, {imm}", execute, meaning)
        return meaning

    return enter


@jumps("imm[20|10:1|11|19:12] rd 1101111 jal", "{rd}, {imm}")
def jal(pc: int, a: int, imm: int) -> int:
    return pc + imm


@jumps("imm[11:0] rs1 000 rd 1100111 jalr", "{rd}, {imm}({rs1})")
def jalr(pc: int, a: int, imm: int) -> int:
    return wrap(a + imm) & ~1


@branches("imm[12|10:5] rs2 rs1 000 imm[4:1|11] 1100011 beq")
def beq(a: int, b: int) -> int:
    return flag(a == b)


@branches("imm[12|10:5] rs2 rs1 001 imm[4:1|11] 1100011 bne")
def bne(a: int, b: int) -> int:
    return flag(a != b)


@branches("imm[12|10:5] rs2 rs1 100 imm[4:1|11] 1100011 blt")
def blt(a: int, b: int) -> int:
    return flag(signed(a) < signed(b))


@branches("imm[12|10:5] rs2 rs1 101 imm[4:1|11] 1100011 bge")
def bge(a: int, b: int) -> int:
    return flag(signed(a) >= signed(b))


@branches("imm[12|10:5] rs2 rs1 110 imm[4:1|11] 1100011 bltu")
def bltu(a: int, b: int) -> int:
    return flag(a < b)


@branches("imm[12|10:5] rs2 rs1 111 imm[4:1|11] 1100011 bgeu")
def bgeu(a: int, b: int) -> int:
    return flag(a >= b)
