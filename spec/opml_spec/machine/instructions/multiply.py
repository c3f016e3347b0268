"""Multiplication and division. The manual's special cases of division follow from `quotient(n, 0) = −1` and from wrapping."""

from opml_spec.machine.alu import computes
from opml_spec.words import bits, quotient, remainder, signed


@computes("0000001 rs2 rs1 000 rd 0110011 mul")
def mul(a: int, b: int) -> int:
    return a * b


@computes("0000001 rs2 rs1 001 rd 0110011 mulh")
def mulh(a: int, b: int) -> int:
    return signed(a) * signed(b) >> 64


@computes("0000001 rs2 rs1 010 rd 0110011 mulhsu")
def mulhsu(a: int, b: int) -> int:
    return signed(a) * b >> 64


@computes("0000001 rs2 rs1 011 rd 0110011 mulhu")
def mulhu(a: int, b: int) -> int:
    return a * b >> 64


@computes("0000001 rs2 rs1 100 rd 0110011 div")
def div(a: int, b: int) -> int:
    return quotient(signed(a), signed(b))


@computes("0000001 rs2 rs1 101 rd 0110011 divu")
def divu(a: int, b: int) -> int:
    return quotient(a, b)


@computes("0000001 rs2 rs1 110 rd 0110011 rem")
def rem(a: int, b: int) -> int:
    return remainder(signed(a), signed(b))


@computes("0000001 rs2 rs1 111 rd 0110011 remu")
def remu(a: int, b: int) -> int:
    return remainder(a, b)


@computes("0000001 rs2 rs1 000 rd 0111011 mulw")
def mulw(a: int, b: int) -> int:
    return signed(a * b, 32)


@computes("0000001 rs2 rs1 100 rd 0111011 divw")
def divw(a: int, b: int) -> int:
    return signed(quotient(signed(a, 32), signed(b, 32)), 32)


@computes("0000001 rs2 rs1 101 rd 0111011 divuw")
def divuw(a: int, b: int) -> int:
    return signed(quotient(bits(a, 31, 0), bits(b, 31, 0)), 32)


@computes("0000001 rs2 rs1 110 rd 0111011 remw")
def remw(a: int, b: int) -> int:
    return signed(remainder(signed(a, 32), signed(b, 32)), 32)


@computes("0000001 rs2 rs1 111 rd 0111011 remuw")
def remuw(a: int, b: int) -> int:
    return signed(remainder(bits(a, 31, 0), bits(b, 31, 0)), 32)
