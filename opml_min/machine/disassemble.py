"""Instructions in assembly language.

*Source*: RISC-V Assembly Programmer's Manual (register names, operand order).
"""

from opml_min.machine import decode
from opml_min.machine.decode import Instruction

REGISTERS = (
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
    "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
)  # fmt: skip


def disassemble(instruction: Instruction) -> str:
    """Writes an instruction in assembly language, with upper immediates written out: `li` is LUI, or ADDI to zero."""
    kind, operation, imm = instruction.kind, instruction.operation, instruction.imm
    rd, rs1, rs2 = (REGISTERS[number] for number in (instruction.rd, instruction.rs1, instruction.rs2))
    match kind:
        case decode.REGISTER:
            return f"{operation} {rd}, {rs1}, {rs2}"
        case decode.IMMEDIATE if operation == "add" and rs1 == "zero":
            return f"li {rd}, {imm:#x}"
        case decode.IMMEDIATE:
            return f"{_immediate(operation)} {rd}, {rs1}, {imm}"
        case decode.LOAD:
            return f"{operation} {rd}, {imm}({rs1})"
        case decode.STORE:
            return f"{operation} {rs2}, {imm}({rs1})"
        case decode.BRANCH:
            return f"{operation} {rs1}, {rs2}, pc{imm:+d}"
        case decode.JAL:
            return f"jal {rd}, pc{imm:+d}"
        case decode.JALR:
            return f"jalr {rd}, {imm}({rs1})"
        case decode.AUIPC:
            return f"auipc {rd}, {imm >> 12 & 0xFFFFF:#x}"
        case _:
            return kind


def _immediate(operation: str) -> str:
    """The mnemonic with an immediate: slt, sltu → slti, sltiu; addw → addiw."""
    last = operation[-1]
    return f"{operation[:-1]}i{last}" if last in "wu" else f"{operation}i"
