"""Integer computation on the low 32 bits (a *word*); the result is sign-extended to 64."""

from opml_spec.machine.alu import computes
from opml_spec.words import bits, signed


@computes("imm[11:0]          rs1 000 rd 0011011 addiw")
@computes("0000000        rs2 rs1 000 rd 0111011 addw")
def addw(a: int, b: int) -> int:
    return signed(a + b, 32)


@computes("0100000        rs2 rs1 000 rd 0111011 subw")
def subw(a: int, b: int) -> int:
    return signed(a - b, 32)


@computes("0000000 shamt[4:0] rs1 001 rd 0011011 slliw")
@computes("0000000        rs2 rs1 001 rd 0111011 sllw")
def sllw(a: int, b: int) -> int:
    return signed(a << bits(b, 4, 0), 32)


@computes("0000000 shamt[4:0] rs1 101 rd 0011011 srliw")
@computes("0000000        rs2 rs1 101 rd 0111011 srlw")
def srlw(a: int, b: int) -> int:
    return signed(bits(a, 31, 0) >> bits(b, 4, 0), 32)


@computes("0100000 shamt[4:0] rs1 101 rd 0011011 sraiw")
@computes("0100000        rs2 rs1 101 rd 0111011 sraw")
def sraw(a: int, b: int) -> int:
    return signed(a, 32) >> bits(b, 4, 0)
