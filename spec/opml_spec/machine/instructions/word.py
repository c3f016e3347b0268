"""Integer computation on the low 32 bits (a *word*); the result is sign-extended to 64."""

from opml_spec.machine.alu import computes
from opml_spec.words import bits, signed


@computes("addiw", "imm[11:0]         rs1 000 rd 0011011")
@computes("addw ", "0000000       rs2 rs1 000 rd 0111011")
def addw(a: int, b: int) -> int:
    return signed(a + b, 32)


@computes("subw ", "0100000       rs2 rs1 000 rd 0111011")
def subw(a: int, b: int) -> int:
    return signed(a - b, 32)


@computes("slliw", "0000000 shamt[4:0] rs1 001 rd 0011011")
@computes("sllw ", "0000000       rs2 rs1 001 rd 0111011")
def sllw(a: int, b: int) -> int:
    return signed(a << bits(b, 4, 0), 32)


@computes("srliw", "0000000 shamt[4:0] rs1 101 rd 0011011")
@computes("srlw ", "0000000       rs2 rs1 101 rd 0111011")
def srlw(a: int, b: int) -> int:
    return signed(bits(a, 31, 0) >> bits(b, 4, 0), 32)


@computes("sraiw", "0100000 shamt[4:0] rs1 101 rd 0011011")
@computes("sraw ", "0100000       rs2 rs1 101 rd 0111011")
def sraw(a: int, b: int) -> int:
    return signed(a, 32) >> bits(b, 4, 0)
