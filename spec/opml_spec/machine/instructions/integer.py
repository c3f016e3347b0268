"""Integer computation on 64 bits."""

from opml_spec.machine.alu import computes
from opml_spec.words import bits, flag, signed


@computes("imm[11:0]          rs1 000 rd 0010011 addi")
@computes("0000000        rs2 rs1 000 rd 0110011 add")
def add(a: int, b: int) -> int:
    return a + b


@computes("0100000        rs2 rs1 000 rd 0110011 sub")
def sub(a: int, b: int) -> int:
    return a - b


@computes("000000 shamt[5:0]  rs1 001 rd 0010011 slli")
@computes("0000000        rs2 rs1 001 rd 0110011 sll")
def sll(a: int, b: int) -> int:
    return a << bits(b, 5, 0)


@computes("imm[11:0]          rs1 010 rd 0010011 slti")
@computes("0000000        rs2 rs1 010 rd 0110011 slt")
def slt(a: int, b: int) -> int:
    return flag(signed(a) < signed(b))


@computes("imm[11:0]          rs1 011 rd 0010011 sltiu")
@computes("0000000        rs2 rs1 011 rd 0110011 sltu")
def sltu(a: int, b: int) -> int:
    return flag(a < b)


@computes("imm[11:0]          rs1 100 rd 0010011 xori")
@computes("0000000        rs2 rs1 100 rd 0110011 xor")
def xor(a: int, b: int) -> int:
    return a ^ b


@computes("000000 shamt[5:0]  rs1 101 rd 0010011 srli")
@computes("0000000        rs2 rs1 101 rd 0110011 srl")
def srl(a: int, b: int) -> int:
    return a >> bits(b, 5, 0)


@computes("010000 shamt[5:0]  rs1 101 rd 0010011 srai")
@computes("0100000        rs2 rs1 101 rd 0110011 sra")
def sra(a: int, b: int) -> int:
    return signed(a) >> bits(b, 5, 0)


@computes("imm[11:0]          rs1 110 rd 0010011 ori")
@computes("0000000        rs2 rs1 110 rd 0110011 or")
def or_(a: int, b: int) -> int:
    return a | b


@computes("imm[11:0]          rs1 111 rd 0010011 andi")
@computes("0000000        rs2 rs1 111 rd 0110011 and")
def and_(a: int, b: int) -> int:
    return a & b
