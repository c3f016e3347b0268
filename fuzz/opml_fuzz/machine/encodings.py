"""The encodings of RV64IM, copied a second time from the manual's listing.

The generator builds its instructions from this copy, and the proofs compare the specification's table with it. So a mistake in that table
shows up, because the generator does not repeat it.

*Source*: The RISC-V Instruction Set Manual, Volume I, "RV32/64G Instruction Set Listings": RV32I, RV64I, RV32M, RV64M; spec §2.3.
"""

import re

from attrs import frozen

LISTING = """
lui    U                0110111    auipc  U                0010111    jal    J                1101111    jalr   I 000            1100111
beq    B 000            1100011    bne    B 001            1100011    blt    B 100            1100011    bge    B 101            1100011
bltu   B 110            1100011    bgeu   B 111            1100011    fence  F 000            0001111
lb     I 000            0000011    lh     I 001            0000011    lw     I 010            0000011    lbu    I 100            0000011
lhu    I 101            0000011    lwu    I 110            0000011    ld     I 011            0000011
sb     S 000            0100011    sh     S 001            0100011    sw     S 010            0100011    sd     S 011            0100011
addi   I 000            0010011    slti   I 010            0010011    sltiu  I 011            0010011    xori   I 100            0010011
ori    I 110            0010011    andi   I 111            0010011    addiw  I 000            0011011
slli   6 001 0000000    0010011    srli   6 101 0000000    0010011    srai   6 101 0100000    0010011
slliw  5 001 0000000    0011011    srliw  5 101 0000000    0011011    sraiw  5 101 0100000    0011011
add    R 000 0000000    0110011    sub    R 000 0100000    0110011    sll    R 001 0000000    0110011    slt    R 010 0000000    0110011
sltu   R 011 0000000    0110011    xor    R 100 0000000    0110011    srl    R 101 0000000    0110011    sra    R 101 0100000    0110011
or     R 110 0000000    0110011    and    R 111 0000000    0110011
addw   R 000 0000000    0111011    subw   R 000 0100000    0111011    sllw   R 001 0000000    0111011    srlw   R 101 0000000    0111011
sraw   R 101 0100000    0111011
mul    R 000 0000001    0110011    mulh   R 001 0000001    0110011    mulhsu R 010 0000001    0110011    mulhu  R 011 0000001    0110011
div    R 100 0000001    0110011    divu   R 101 0000001    0110011    rem    R 110 0000001    0110011    remu   R 111 0000001    0110011
mulw   R 000 0000001    0111011    divw   R 100 0000001    0111011    divuw  R 101 0000001    0111011    remw   R 110 0000001    0111011
remuw  R 111 0000001    0111011
"""  # name, format, funct3, funct7, opcode. Formats 5 and 6 are I with that many bits of shift amount; of F only these fields are fixed
WHOLE_WORDS = {"ecall": 0x00000073, "ebreak": 0x00100073}


@frozen
class Encoding:
    """The words of one instruction: those for which `word & mask == match`."""

    name: str
    format: str
    mask: int
    match: int


def _encodings() -> dict[str, Encoding]:
    table = {name: Encoding(name, "W", 0xFFFFFFFF, word) for name, word in WHOLE_WORDS.items()}
    for name, kind, funct3, funct7, opcode in re.findall(r"(\w+) +(\w) (?:([01]{3}) )?(?:([01]{7}) )? *([01]{5}11)\b", LISTING):
        mask, match = 0x7F, int(opcode, 2)
        if funct3:
            mask, match = mask | 7 << 12, match | int(funct3, 2) << 12
        if funct7:
            free = 1 if kind == "6" else 0  # bit 25 is the highest of a shift amount of six bits
            mask, match = mask | (0x7F >> free << free) << 25, match | int(funct7, 2) << 25
        table[name] = Encoding(name, kind, mask, match)
    return table


ENCODINGS = _encodings()


def assemble(name: str, rd: int = 0, rs1: int = 0, rs2: int = 0, imm: int = 0) -> int:
    """Assembles a word. Fields that the format lacks are ignored, and an immediate is cut to its bits (its high 20 in format U)."""
    encoding = ENCODINGS[name]
    match encoding.format:
        case "R":
            fields = rd << 7 | rs1 << 15 | rs2 << 20
        case "I" | "F":
            fields = rd << 7 | rs1 << 15 | (imm & 0xFFF) << 20
        case "5" | "6":
            fields = rd << 7 | rs1 << 15 | (imm & (31 if encoding.format == "5" else 63)) << 20
        case "S":
            fields = (imm & 31) << 7 | rs1 << 15 | rs2 << 20 | (imm >> 5 & 127) << 25
        case "B":
            fields = (imm >> 11 & 1) << 7 | (imm >> 1 & 15) << 8 | rs1 << 15 | rs2 << 20 | (imm >> 5 & 63) << 25 | (imm >> 12 & 1) << 31
        case "U":
            fields = rd << 7 | imm & 0xFFFFF000
        case "J":
            fields = rd << 7 | (imm >> 12 & 255) << 12 | (imm >> 11 & 1) << 20 | (imm >> 1 & 1023) << 21 | (imm >> 20 & 1) << 31
        case _:
            fields = 0
    return encoding.match | fields


def decoded(word: int) -> Encoding | None:
    """Finds the instruction that a word is, if it is one."""
    return next((one for one in ENCODINGS.values() if word & one.mask == one.match), None)


def immediate_of(kind: str, word: int) -> int:
    """Reads the immediate of a word of this format, with its sign, but for format U."""
    high = word >> 31
    match kind:
        case "I" | "5" | "6":
            return (word >> 20) - (high << 12)
        case "S":
            return (word >> 25 << 5 | word >> 7 & 31) - (high << 12)
        case "B":
            return (word >> 7 & 1) << 11 | (word >> 8 & 15) << 1 | (word >> 25 & 63) << 5 | -high << 12
        case "J":
            return (word >> 12 & 255) << 12 | (word >> 20 & 1) << 11 | (word >> 21 & 1023) << 1 | -high << 20
        case "U":
            return word & 0xFFFFF000
        case _:
            return 0
