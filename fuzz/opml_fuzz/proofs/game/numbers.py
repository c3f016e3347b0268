"""What the specification's court computes with when nothing is known: amounts, times and counts.

An `Amount` is a `Value` of the step's proofs whose products and quotients are those of `arithmetic.py`. It may be negated before it is
divided: rounding up is written that way.
"""

from collections.abc import Callable
from typing import Any

import z3
from opml_spec.errors import SpecError

from opml_fuzz.proofs.evm.words import BITS
from opml_fuzz.proofs.game.arithmetic import Arithmetic, width, within
from opml_fuzz.proofs.step.machine_symbols import Octets, Value, number
from opml_fuzz.proofs.symbols import Paths
from opml_fuzz.proofs.unsupported import Unsupported

ADDRESS_BYTES, HASH_BYTES = 20, 32


class GamePaths(Paths):
    """The paths through an act, and the arithmetic that both worlds share."""

    arithmetic: Arithmetic

    def each_way(self, function: Callable[[], Any], *assumed: Any) -> list[tuple[list[Any], Any]]:
        """Runs a part of the act on each of its paths, whatever else was decided before; the act goes on as if that had not happened."""
        before, ways = (self.pending, self.decisions, self.conditions), list[tuple[list[Any], Any]]()
        self.pending = [[True for _ in assumed]]
        try:
            while self.pending:
                self.decisions, self.conditions = self.pending.pop(), list(assumed)
                try:
                    result = function()
                except SpecError as error:  # the act would go on as if it had been refused on every path
                    raise Unsupported("a part of an act that is run alone, and refused") from error
                ways.append((self.conditions[len(assumed) :], result))
        finally:
            self.pending, self.decisions, self.conditions = before
        return ways

    def refutes(self, condition: Any, *assumed: Any) -> bool:
        """Tells whether z3 shows that something cannot hold, whatever else was decided before."""
        before, self.conditions = self.conditions, list(assumed)
        try:
            return not self.possible(condition)
        finally:
            self.conditions = before


def is_contrary(one: Any, other: Any) -> bool:
    """Tells by their form whether one condition is that the other does not hold."""
    return any(z3.is_not(a) and bool(a.arg(0).eq(b)) for a, b in ((one, other), (other, one)))


class Amount(Value):
    """A number that is not negative where it is multiplied or divided."""

    __hash__ = None
    paths: GamePaths
    addends: tuple[Any, ...] = ()  # the terms of which it is the sum, if it is known to be one

    def of(self, term: Any) -> Any:
        return amount(term, self.paths)

    def __index__(self) -> int:
        raise Unsupported("a number that must be known")

    def __sub__(self, other: Any) -> Any:
        """The difference: of a sum and a term of it, the others; in as many bits as both need, if `other` is a product and not more."""
        term = self.lift(other)
        for place, its in enumerate(self.addends):
            if its.eq(vector_of(term)):
                return sum(map(self.of, self.addends[:place] + self.addends[place + 1 :]))
        if self.paths.arithmetic.is_product(term) and not self.paths.possible(z3.UGT(term, self.term)):
            bits = max(width(self.term), width(term))
            return self.of(within(self.term - term, bits))
        return super().__sub__(other)

    def __add__(self, other: Any) -> Any:
        """The sum, in no more bits than it needs."""
        if not isinstance(other, int | Value):
            return super().__add__(other)
        addends = self.term, self.lift(other)
        named, plain = self.paths.arithmetic.sum(*addends), addends[0] + addends[1]
        made = self.of(within(plain, width(plain)) if named is None else named)
        if isinstance(made, Amount):
            made.addends = (*self.terms, *(other.terms if isinstance(other, Amount) else (vector_of(addends[1]),)))
        return made

    __radd__ = __add__

    @property
    def terms(self) -> tuple[Any, ...]:
        """Its addends; itself if it is no sum."""
        return self.addends or (self.term,)

    def __neg__(self) -> Any:
        return Negated(self)

    def __mul__(self, other: Any) -> Any:
        return self.of(vector_of(self.paths.arithmetic.product(self.term, self.lift(other))))

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        if (width(self.term) == BITS and self < 0) or other <= 0:
            raise Unsupported("a quotient of numbers that may be negative")
        return self.of(vector_of(self.paths.arithmetic.quotient(self.term, self.lift(other))))

    def __rfloordiv__(self, other: int) -> Any:
        return Amount(z3.BitVecVal(other, self.term.size()), self.paths) // self


class Count(Amount):
    """A number of which no more is taken than it is: what is left has as many bits."""

    def __sub__(self, other: Any) -> Any:
        term = vector_of(self.lift(other))
        if self.paths.possible(z3.UGT(term, self.term)):
            return super().__sub__(other)
        return self.of(within(self.term - term, max(width(self.term), width(term))))


class SegmentEnd(Count):
    """Where a segment begins or ends. Its length has as many bits."""

    def __sub__(self, other: Any) -> Any:
        return super().__sub__(other) if isinstance(other, SegmentEnd) else Amount.__sub__(self, other)


class Negated:
    """A number with a minus before it: −x."""

    def __init__(self, amount: Any) -> None:
        self.amount = amount

    def __mul__(self, other: Any) -> "Negated":
        return Negated(self.amount * other)

    def __floordiv__(self, other: Any) -> "Negated":
        """Rounding −x / d down is rounding x / d up."""
        return Negated((self.amount + (other - 1)) // other)

    def __neg__(self) -> Any:
        return self.amount

    def __rsub__(self, other: Any) -> Any:
        return other + self.amount


class UnknownNumber(str):
    """The number of an error, whichever it is. term: as z3 knows it; the text says whose error it is"""

    term: Any


def unknown_error(said: str, term: Any) -> SpecError:
    """Makes what the specification raises where only z3 knows which error it is."""
    error, number = SpecError(), UnknownNumber(said)
    number.term = term
    error.number = number  # type: ignore[misc, assignment]  # of this error alone
    return error


def vector_of(term: Any) -> Any:
    return z3.BitVecVal(term, 256) if isinstance(term, int) else term


def amount(term: Any, paths: GamePaths) -> Any:
    """Makes a term of 256 bits, or fewer, a number: an int if it is known."""
    made = number(term, paths)
    return Amount(made.term, paths) if isinstance(made, Value) else made


def term_of(value: Any) -> Any:
    """The vector of 256 bits of a number, or of bytes."""
    if isinstance(value, Octets):
        term = value.term
        return z3.simplify(z3.ZeroExt(256 - term.size(), term)) if term.size() < 256 else term
    if isinstance(value, bytes):
        return z3.BitVecVal(int.from_bytes(value, "big"), 256)
    if isinstance(value, Value):
        return value.term
    return z3.BitVecVal(int(value), 256)
