"""Decoding: which instruction a word is, and how it is written in assembly.

A word is the one row of the table that it matches; if none, it is illegal.

*Source*: The RISC-V Instruction Set Manual, Volume I, "Instruction Set Listings",
and "RISC-V Assembly Programmer's Handbook" (register names).
"""

from opml_spec.machine.instructions import INSTRUCTIONS
from opml_spec.machine.table import Instruction

REGISTER_NAMES = (
    *("zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1"),
    *(f"a{i}" for i in range(8)),
    *(f"s{i}" for i in range(2, 12)),
    *(f"t{i}" for i in range(3, 7)),
)


def decode(word: int) -> Instruction | None:
    """The instruction, or None if the word is illegal."""
    for instruction in INSTRUCTIONS:
        if word & instruction.mask == instruction.match:
            return instruction
    return None


def disassemble(word: int) -> str:
    """The word in assembly language; jump and branch targets as distances."""
    instruction = decode(word)
    if instruction is None:
        return f".word {word:#010x}"
    op = instruction.operands(word)
    rd, rs1, rs2 = (REGISTER_NAMES[number] for number in (op.rd, op.rs1, op.rs2))
    text = instruction.syntax.format(rd=rd, rs1=rs1, rs2=rs2, imm=op.imm, upper=hex(op.imm >> 12 & 0xFFFFF))
    return f"{instruction.name} {text}".strip()
