"""Numbers that stand for all numbers: they go through ordinary Python code and come out as formulas.

A `Symbol` behaves like an int. What it cannot be is a Python truth value: when code asks whether `a < b`, both answers are tried, one
after the other, and each run goes on under that assumption (`paths`). So a predicate is written once, as plain Python, and the
specification's own functions run inside it, branches and all; sampled it gets ints, proved it gets symbols.

Integers are of one of two kinds. `Number` has z3's unbounded integers: for sums, divisions, inequalities. `Vector` has a two's complement
of 256 bits: for shifts and bitwise logic. It stands for an integer as long as that is within ±2^255, which inputs of 64 bits and their
products are. Division of vectors is an unknown function: equal operands give equal quotients, and nothing else is known. So are products,
at first (`unknown_products`): what is proved without knowing them is proved.

*Source*: King, "Symbolic Execution and Program Testing" (1976).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import z3

VECTOR_BITS = 256
DIVISION = z3.Function("division", *3 * [z3.BitVecSort(VECTOR_BITS)])
"""The quotient of two numbers that are not negative."""

PRODUCT = z3.Function("product", *3 * [z3.BitVecSort(VECTOR_BITS)])
"""The product, where it need not be known; z3 multiplies bit by bit."""

FEASIBLE_MILLISECONDS = 500


class Paths:
    """The ways through a function, depth first. `decisions` are the answers given so far, `conditions` what they assume."""

    current: "Paths | None" = None

    def __init__(self, assumptions: Sequence[z3.BoolRef]) -> None:
        self.solver = z3.Solver()
        self.solver.set("timeout", FEASIBLE_MILLISECONDS)
        self.solver.add(*assumptions)
        self.assumptions = assumptions
        self.pending: list[list[bool]] = [[]]
        self.decisions: list[bool] = []
        self.conditions: list[z3.BoolRef] = []

    def decide(self, condition: z3.BoolRef) -> bool:
        """The answer on this path. What cannot be is not tried."""
        condition = z3.simplify(condition)
        if z3.is_true(condition) or z3.is_false(condition):
            return bool(z3.is_true(condition))
        place = len(self.conditions)
        if place == len(self.decisions):
            can_hold, can_fail = self.possible(condition), self.possible(z3.Not(condition))
            if can_hold and can_fail:
                self.pending.append([*self.decisions, False])
            self.decisions.append(can_hold)
        self.conditions.append(condition if self.decisions[place] else z3.Not(condition))
        return self.decisions[place]

    def possible(self, condition: z3.BoolRef) -> bool:
        """Unless z3 can show quickly that it is not."""
        return bool(self.solver.check(*self.conditions, condition) != z3.unsat)


def paths(function: Callable[[], Any], assumptions: Sequence[z3.BoolRef] = ()) -> Iterator[tuple[list[z3.BoolRef], Any]]:
    """Each way through the function: what it assumes, and its result."""
    explored = Paths(assumptions)
    while explored.pending:
        explored.decisions, explored.conditions = explored.pending.pop(), []
        Paths.current = explored
        try:
            result = function()
        finally:
            Paths.current = None
        yield [*assumptions, *explored.conditions], result


class Truth:
    """Whether something holds."""

    def __init__(self, formula: z3.BoolRef) -> None:
        self.formula = formula

    def __bool__(self) -> bool:
        if Paths.current is None:
            raise TypeError("a symbol has no truth value outside of `paths`")
        return Paths.current.decide(self.formula)

    def __eq__(self, other: object) -> Any:
        return Truth(self.formula == formula(other))

    def __and__(self, other: Any) -> "Truth":
        return Truth(z3.And(self.formula, formula(other)))

    def __or__(self, other: Any) -> "Truth":
        return Truth(z3.Or(self.formula, formula(other)))

    __rand__, __ror__ = __and__, __or__

    def __hash__(self) -> int:
        return hash(self.formula)


def formula(result: Any) -> z3.BoolRef:
    """What a predicate gave, as a formula."""
    return result.formula if isinstance(result, Truth) else z3.BoolVal(bool(result))


class Symbol:
    """An integer; the subclasses say how z3 holds it."""

    def __init__(self, term: Any) -> None:
        self.term = term

    def lift(self, other: Any) -> Any:
        """The other operand as a term of the same kind."""
        return other.term if isinstance(other, Symbol) else int(other)

    def of(self, term: Any) -> Any:
        return type(self)(term)

    def __add__(self, other: Any) -> Any:
        return self.of(self.term + self.lift(other))

    def __sub__(self, other: Any) -> Any:
        return self.of(self.term - self.lift(other))

    def __mul__(self, other: Any) -> Any:
        return self.of(self.term * self.lift(other))

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: Any) -> Any:
        return self.of(self.lift(other) - self.term)

    def __neg__(self) -> Any:
        return self.of(-self.term)

    def __abs__(self) -> Any:
        return -self if self < 0 else self

    def __eq__(self, other: object) -> Any:
        return Truth(self.term == self.lift(other))

    def __ne__(self, other: object) -> Any:
        return Truth(self.term != self.lift(other))

    def __lt__(self, other: Any) -> Any:
        return Truth(self.term < self.lift(other))

    def __le__(self, other: Any) -> Any:
        return Truth(self.term <= self.lift(other))

    def __gt__(self, other: Any) -> Any:
        return Truth(self.term > self.lift(other))

    def __ge__(self, other: Any) -> Any:
        return Truth(self.term >= self.lift(other))

    def __hash__(self) -> int:
        return hash(self.term)

    def __bool__(self) -> bool:
        return bool(self != 0)


class Number(Symbol):
    """Unbounded."""

    def __floordiv__(self, other: Any) -> Any:
        if other <= 0:
            raise NotImplementedError("z3 floors only when it divides by something positive")
        return self.of(self.term / self.lift(other))

    def __mod__(self, other: Any) -> Any:
        if other <= 0:
            raise NotImplementedError("z3's remainder is the floor's only for a positive divisor")
        return self - other * (self // other)

    def __rfloordiv__(self, other: Any) -> Any:
        return Number(z3.IntVal(other)) // self


class Vector(Symbol):
    """256 bits in two's complement."""

    unknown_products = False

    def __mul__(self, other: Any) -> Any:
        if Vector.unknown_products and isinstance(other, Vector):
            return self.of(PRODUCT(self.term, other.term))
        return super().__mul__(other)

    def __and__(self, other: Any) -> Any:
        return self.of(self.term & self.lift(other))

    def __or__(self, other: Any) -> Any:
        return self.of(self.term | self.lift(other))

    def __xor__(self, other: Any) -> Any:
        return self.of(self.term ^ self.lift(other))

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Any:
        return self.of(~self.term)

    def __lshift__(self, other: Any) -> Any:
        return self.of(self.term << self.lift(other))

    def __rlshift__(self, other: Any) -> Any:
        return self.of(z3.BitVecVal(other, VECTOR_BITS) << self.term)

    def __rshift__(self, other: Any) -> Any:
        return self.of(self.term >> self.lift(other))

    def __mod__(self, other: int) -> Any:
        if not isinstance(other, int) or other & (other - 1):
            raise NotImplementedError("of a vector only by a power of two")
        return self & (other - 1)

    def __floordiv__(self, other: Any) -> Any:
        if isinstance(other, int):
            other = self.of(z3.BitVecVal(other, VECTOR_BITS))
        if self < 0 or other <= 0:
            raise NotImplementedError("of vectors only what is not negative")
        return self.of(DIVISION(self.term, other.term))
