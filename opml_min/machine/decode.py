"""From a 32-bit word to the instruction that it encodes.

An instruction has a *kind* (which operands it has and what it does with the result) and an *operation* (what is computed, compared,
loaded or stored). Register-register and register-immediate arithmetic share their operations: ADDI is `immediate add`.

*Source*: RISC-V Unprivileged ISA, chapter "RV32/64G Instruction Set Listings"; spec §2.3 for what it leaves open.
"""

from functools import lru_cache
from typing import NamedTuple

REGISTER, IMMEDIATE, LOAD, STORE, BRANCH = "register", "immediate", "load", "store", "branch"
JAL, JALR, AUIPC, FENCE, ECALL, EBREAK, ILLEGAL = "jal", "jalr", "auipc", "fence", "ecall", "ebreak", "illegal"


class Instruction(NamedTuple):
    """One decoded word; fields that its kind does not have are 0."""

    kind: str
    operation: str = ""
    rd: int = 0
    rs1: int = 0
    rs2: int = 0
    imm: int = 0


ARITHMETIC: dict[tuple[int, int], list[str | None]] = {  # (opcode, funct7, funct3)
    (0x33, 0x00): ["add", "sll", "slt", "sltu", "xor", "srl", "or", "and"],
    (0x33, 0x20): ["sub", None, None, None, None, "sra", None, None],
    (0x33, 0x01): ["mul", "mulh", "mulhsu", "mulhu", "div", "divu", "rem", "remu"],
    (0x3B, 0x00): ["addw", "sllw", None, None, None, "srlw", None, None],
    (0x3B, 0x20): ["subw", None, None, None, None, "sraw", None, None],
    (0x3B, 0x01): ["mulw", None, None, None, "divw", "divuw", "remw", "remuw"],
}
ARITHMETIC_IMMEDIATE = ["add", None, "slt", "sltu", "xor", None, "or", "and"]  # funct3; the shifts below
SHIFT_IMMEDIATE = {(1, 0x00): "sll", (5, 0x00): "srl", (5, 0x10): "sra"}  # (funct3, inst[31:26])
SHIFT_IMMEDIATE_WORD = {(1, 0x00): "sllw", (5, 0x00): "srlw", (5, 0x20): "sraw"}  # (funct3, inst[31:25])
LOADS = ["lb", "lh", "lw", "ld", "lbu", "lhu", "lwu", None]
STORES = ["sb", "sh", "sw", "sd", None, None, None, None]
BRANCHES = ["beq", "bne", None, None, "blt", "bge", "bltu", "bgeu"]
ACCESS_BYTES = {"lb": 1, "lh": 2, "lw": 4, "ld": 8, "lbu": 1, "lhu": 2, "lwu": 4, "sb": 1, "sh": 2, "sw": 4, "sd": 8}
LOAD_IS_SIGNED = {"lb", "lh", "lw", "ld"}
NOT_AN_INSTRUCTION = Instruction(ILLEGAL)


def signed(value: int, bits: int) -> int:
    """The number that the low `bits` bits mean in two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def immediate_b(word: int) -> int:
    return signed((word >> 31) << 12 | ((word >> 7) & 1) << 11 | ((word >> 25) & 0x3F) << 5 | ((word >> 8) & 0xF) << 1, 13)


def immediate_j(word: int) -> int:
    return signed((word >> 31) << 20 | ((word >> 12) & 0xFF) << 12 | ((word >> 20) & 1) << 11 | ((word >> 21) & 0x3FF) << 1, 21)


@lru_cache(maxsize=1 << 16)
def decode(word: int) -> Instruction:
    """The instruction that a word encodes; ILLEGAL if it encodes none."""
    opcode, rd, funct3 = word & 0x7F, (word >> 7) & 31, (word >> 12) & 7
    rs1, rs2, funct7 = (word >> 15) & 31, (word >> 20) & 31, word >> 25
    immediate_i, immediate_u = signed(word >> 20, 12), signed(word & 0xFFFFF000, 32)
    operation: str | None = None
    match opcode:
        case 0x33 | 0x3B if (opcode, funct7) in ARITHMETIC:
            operation = ARITHMETIC[opcode, funct7][funct3]
            instruction = Instruction(REGISTER, operation or "", rd, rs1, rs2)
        case 0x13 if funct3 in (1, 5):
            operation = SHIFT_IMMEDIATE.get((funct3, word >> 26))
            instruction = Instruction(IMMEDIATE, operation or "", rd, rs1, 0, (word >> 20) & 63)
        case 0x13:
            operation = ARITHMETIC_IMMEDIATE[funct3]
            instruction = Instruction(IMMEDIATE, operation or "", rd, rs1, 0, immediate_i)
        case 0x1B if funct3 in (1, 5):
            operation = SHIFT_IMMEDIATE_WORD.get((funct3, funct7))
            instruction = Instruction(IMMEDIATE, operation or "", rd, rs1, 0, rs2)
        case 0x1B if funct3 == 0:
            return Instruction(IMMEDIATE, "addw", rd, rs1, 0, immediate_i)
        case 0x37:  # LUI adds to zero
            return Instruction(IMMEDIATE, "add", rd, 0, 0, immediate_u)
        case 0x17:
            return Instruction(AUIPC, "", rd, 0, 0, immediate_u)
        case 0x03:
            operation = LOADS[funct3]
            instruction = Instruction(LOAD, operation or "", rd, rs1, 0, immediate_i)
        case 0x23:
            operation = STORES[funct3]
            instruction = Instruction(STORE, operation or "", 0, rs1, rs2, signed(funct7 << 5 | rd, 12))
        case 0x63:
            operation = BRANCHES[funct3]
            instruction = Instruction(BRANCH, operation or "", 0, rs1, rs2, immediate_b(word))
        case 0x6F:
            return Instruction(JAL, "", rd, 0, 0, immediate_j(word))
        case 0x67 if funct3 == 0:
            return Instruction(JALR, "", rd, rs1, 0, immediate_i)
        case 0x0F if funct3 == 0:
            return Instruction(FENCE)
        case _:
            return {0x00000073: Instruction(ECALL), 0x00100073: Instruction(EBREAK)}.get(word, NOT_AN_INSTRUCTION)
    return instruction if operation else NOT_AN_INSTRUCTION
