"""IEEE 754 as z3 defines it: floats of any format, exact results rounded once in any of the five directions.

Statements about floats compare the specification's bits with these. The definition is that of SMT-LIB's theory of floating point, which
does not say which NaN a NaN is; here it is the canonical one.

*Source*: Brain, Tinelli, Rümmer, Wahl, "An Automatable Formal Semantics for IEEE-754 Floating-Point Arithmetic" (2015).
"""

from collections.abc import Iterator
from typing import Any

import z3

from opml_fuzz.proofs.symbols import Paths, Truth, Vector
from opml_fuzz.statements.statement import Float

ROUNDING = {"RNE": z3.RNE(), "RTZ": z3.RTZ(), "RDN": z3.RTN(), "RUP": z3.RTP(), "RMM": z3.RNA()}


def vector_bits(kind: Float) -> int:
    """A width that holds every float of the format in units of the smallest, and its double."""
    return (1 << kind.exponent_bits) + kind.fraction_bits + 8


class IeeeFloat:
    """A number of the theory, and its `bits` where they are given: a symbol, or an int if there is no exploration."""

    def __init__(self, term: Any, kind: Float, paths: Paths | None, bits: Any = None) -> None:
        self.term, self.kind, self.paths, self.bits = term, kind, paths, bits

    @classmethod
    def of_bits(cls, bits: Any, kind: Float, paths: Paths | None) -> "IeeeFloat":
        """The float with these bits, an int or z3's."""
        term = z3.fpBVToFP(z3.BitVecVal(bits, kind.bits) if isinstance(bits, int) else bits, sort_of(kind))
        symbol = bits if paths is None else Vector(z3.ZeroExt(vector_bits(kind) - kind.bits, bits), paths)
        return cls(term, kind, paths, symbol)

    def every(self) -> Iterator["IeeeFloat"]:
        """All floats of the format."""
        return map(self.with_bits, range(1 << self.kind.bits))

    def with_bits(self, bits: int) -> "IeeeFloat":
        """The float of the same format with these bits."""
        return IeeeFloat.of_bits(bits, self.kind, None)

    def truth(self, condition: Any) -> Any:
        """The condition, or whether it is true."""
        return Truth(condition, self.paths) if self.paths else z3.is_true(z3.simplify(condition))

    def of(self, term: Any) -> "IeeeFloat":
        return IeeeFloat(term, self.kind, self.paths)

    def add(self, other: "IeeeFloat", mode: str) -> "IeeeFloat":
        return self.of(z3.fpAdd(ROUNDING[mode], self.term, other.term))

    def sub(self, other: "IeeeFloat", mode: str) -> "IeeeFloat":
        return self.of(z3.fpSub(ROUNDING[mode], self.term, other.term))

    def mul(self, other: "IeeeFloat", mode: str) -> "IeeeFloat":
        return self.of(z3.fpMul(ROUNDING[mode], self.term, other.term))

    def div(self, other: "IeeeFloat", mode: str) -> "IeeeFloat":
        return self.of(z3.fpDiv(ROUNDING[mode], self.term, other.term))

    def fma(self, other: "IeeeFloat", third: "IeeeFloat", mode: str) -> "IeeeFloat":
        return self.of(z3.fpFMA(ROUNDING[mode], self.term, other.term, third.term))

    def sqrt(self, mode: str) -> "IeeeFloat":
        return self.of(z3.fpSqrt(ROUNDING[mode], self.term))

    def of_integer(self, value: Any, width: int, mode: str) -> "IeeeFloat":
        """The float of this format for a signed integer of that width."""
        word = z3.BitVecVal(value, width) if isinstance(value, int) else z3.Extract(width - 1, 0, value.term)
        return self.of(z3.fpSignedToFP(ROUNDING[mode], word, sort_of(self.kind)))

    def to_integer(self, width: int, mode: str, result: Any) -> Any:
        """Whether this signed integer of that width is the float rounded: the nearest one if out of range, the largest for NaN."""
        least, most = -(1 << (width - 1)), (1 << (width - 1)) - 1
        rounded = z3.fpRoundToIntegral(ROUNDING[mode], self.term)
        word = z3.BitVecVal(result, width) if isinstance(result, int) else z3.Extract(width - 1, 0, result.term)
        inside = z3.fpToSBV(z3.RTZ(), rounded, z3.BitVecSort(width))
        low, high = (z3.FPVal(bound, sort_of(self.kind)) for bound in (least, -least))
        expected = z3.If(z3.Or(z3.fpIsNaN(rounded), rounded >= high), most, z3.If(rounded < low, least, inside))
        return self.truth(word == expected)

    def has(self, bits: Any) -> Any:
        """Whether these are the bits of the float, those of the canonical NaN if it is none."""
        word = z3.BitVecVal(bits, self.kind.bits) if isinstance(bits, int) else z3.Extract(self.kind.bits - 1, 0, bits.term)
        high_is_zero = True if isinstance(bits, int) else z3.Extract(bits.term.size() - 1, self.kind.bits, bits.term) == 0
        nan = ((2 << self.kind.exponent_bits) - 1) << (self.kind.fraction_bits - 1)
        same = z3.If(z3.fpIsNaN(self.term), word == nan, z3.fpBVToFP(word, sort_of(self.kind)) == self.term)
        return self.truth(z3.And(high_is_zero, same))

    def equal(self, other: "IeeeFloat") -> Any:
        return self.truth(z3.fpEQ(self.term, other.term))

    def less(self, other: "IeeeFloat") -> Any:
        return self.truth(z3.fpLT(self.term, other.term))

    def at_most(self, other: "IeeeFloat") -> Any:
        return self.truth(z3.fpLEQ(self.term, other.term))


def sort_of(kind: Float) -> Any:
    return z3.FPSort(kind.exponent_bits, kind.fraction_bits + 1)
