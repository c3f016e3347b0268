"""Words: every field of every encoding flipped, every opcode, the words between instructions, and machines that do not run.

*Source*: spec §2.1 and §2.3.
"""

from collections.abc import Iterator
from itertools import product

from attrs import evolve

from opml_fuzz.machine.encodings import ENCODINGS, assemble
from opml_fuzz.machine.instructions import A7, EXIT
from opml_fuzz.machine.numbers import TOP
from opml_fuzz.machine.states import CAUSES
from opml_fuzz.sweep.point import Point, point

STATE = {1: 0x40_0000_1000, 2: 5, 3: 7}
REGISTERS, NO_REGISTERS = (3, 1, 2), (0, 0, 0)
FUNCT7 = (0, 1, 0x20)
"""Those of the instructions."""

LARGE = ((1 << 32) + EXIT, (1 << 63) + EXIT, EXIT + 256, EXIT - 1, EXIT + 1, 0, TOP - 1)


def flipped() -> Iterator[Point]:
    """Yields each instruction with each of its fixed bits flipped: what is illegal, and what is another instruction."""
    for name, encoding in ENCODINGS.items():
        word = assemble(name, 3, 1, 2, 16)
        yield point(f"{name}.cp_fixed_bits", word, STATE)
        for bit in range(32):
            if encoding.mask >> bit & 1:
                yield point(f"{name}.cp_fixed_bits", word ^ 1 << bit, STATE)


def fields() -> Iterator[Point]:
    """Yields every major opcode with every funct3, and those with instructions that only funct7 tells apart with every funct7.

    Where x0 stands for all registers, nothing is written, and an illegal word may pass for a hint."""
    for opcode, funct3, registers in product(range(128), range(8), (REGISTERS, NO_REGISTERS)):
        yield point("decode.cp_opcode_funct3", assemble_raw(opcode, funct3, 0, registers), STATE)
    for opcode, funct3, funct7 in product((0x33, 0x3B, 0x13, 0x1B), range(8), range(128)):
        yield point("decode.cp_funct7", assemble_raw(opcode, funct3, funct7, REGISTERS), STATE)
        if min((funct7 ^ known).bit_count() for known in FUNCT7) < 2:
            yield point("decode.cp_funct7", assemble_raw(opcode, funct3, funct7, NO_REGISTERS), STATE)
    for word in (0, 0xFFFFFFFF, 0x00010001, 0x8330000F, 0x0100000F, 0x0FF0000F, 0x0000100F, 0xFFFFFF8F):
        yield point("decode.cp_words", word, STATE)


def assemble_raw(opcode: int, funct3: int, funct7: int, registers: tuple[int, int, int]) -> int:
    """Assembles fields that need not be an instruction's. registers: rd, rs1, rs2"""
    rd, rs1, rs2 = registers
    return opcode | rd << 7 | funct3 << 12 | rs1 << 15 | rs2 << 20 | funct7 << 25


def system() -> Iterator[Point]:
    """Yields ECALL with what decides its meaning, and the system words beside it: other environments', CSRs, EBREAK with registers."""
    for number, code in product((EXIT, *LARGE), (0, 1, 255, 256, 1 << 32, TOP - 1)):
        yield point("ecall.cr_a7_a0", assemble("ecall"), {A7: number, 10: code})
    for word in (0x00200073, 0x10200073, 0x30200073, 0x10500073, 0x12000073, 0x7B200073, 0x00100073):
        yield point("system.cp_words", word, STATE)
    for word, bit in product((0x00000073, 0x00100073), range(7, 32)):
        yield point("system.cp_fields", word ^ 1 << bit, STATE | {A7: EXIT})
    for bit in range(7, 32):
        yield point("fence.cp_fields", 0x0FF0000F ^ 1 << bit, STATE)


def not_running() -> Iterator[Point]:
    """Yields machines that have ended or trapped, on instructions that would change them."""
    running = point("status.cp_not_running", assemble("addi", 3, 1, imm=1), STATE)
    for kind, value in (*((1, code) for code in (0, 1, 255, 1 << 32, TOP - 1)), *((2, cause) for cause in CAUSES)):
        yield evolve(running, start=evolve(running.start, kind=kind, value=value))
        yield evolve(running, start=evolve(running.start, kind=kind, value=value, pc=2))
