"""Integer computation on 64 bits."""

from opml_spec.machine.alu import computes
from opml_spec.words import bits, flag, signed


@computes("addi", "imm[11:0]          rs1 000 rd 0010011")
@computes("add ", "0000000        rs2 rs1 000 rd 0110011")
def add(a: int, b: int) -> int:
    return a + b


@computes("sub ", "0100000        rs2 rs1 000 rd 0110011")
def sub(a: int, b: int) -> int:
    return a - b


@computes("slli", "000000 shamt[5:0]  rs1 001 rd 0010011")
@computes("sll ", "0000000        rs2 rs1 001 rd 0110011")
def sll(a: int, b: int) -> int:
    return a << bits(b, 5, 0)


@computes("slti", "imm[11:0]          rs1 010 rd 0010011")
@computes("slt ", "0000000        rs2 rs1 010 rd 0110011")
def slt(a: int, b: int) -> int:
    return flag(signed(a) < signed(b))


@computes("sltiu", "imm[11:0]         rs1 011 rd 0010011")
@computes("sltu ", "0000000       rs2 rs1 011 rd 0110011")
def sltu(a: int, b: int) -> int:
    return flag(a < b)


@computes("xori", "imm[11:0]          rs1 100 rd 0010011")
@computes("xor ", "0000000        rs2 rs1 100 rd 0110011")
def xor(a: int, b: int) -> int:
    return a ^ b


@computes("srli", "000000 shamt[5:0]  rs1 101 rd 0010011")
@computes("srl ", "0000000        rs2 rs1 101 rd 0110011")
def srl(a: int, b: int) -> int:
    return a >> bits(b, 5, 0)


@computes("srai", "010000 shamt[5:0]  rs1 101 rd 0010011")
@computes("sra ", "0100000        rs2 rs1 101 rd 0110011")
def sra(a: int, b: int) -> int:
    return signed(a) >> bits(b, 5, 0)


@computes("ori ", "imm[11:0]          rs1 110 rd 0010011")
@computes("or  ", "0000000        rs2 rs1 110 rd 0110011")
def or_(a: int, b: int) -> int:
    return a | b


@computes("andi", "imm[11:0]          rs1 111 rd 0010011")
@computes("and ", "0000000        rs2 rs1 111 rd 0110011")
def and_(a: int, b: int) -> int:
    return a & b
