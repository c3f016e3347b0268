"""Numbers that stand for all numbers: they go through ordinary Python code and come out as formulas.

A `Symbol` behaves like an int, but it has no truth value. When code asks whether `a < b`, both answers are tried, one after the other, and
each run goes on under that assumption (`Paths.explore`). So a predicate is written once, as plain Python, and the specification's own
functions run inside it, branches included: sampled it gets ints, proved it gets symbols.

There are two kinds of integer. A `Number` is one of z3's unbounded integers: for sums, divisions, inequalities. A `Vector` is a two's
complement, mostly of 256 bits: for shifts and bitwise logic. It stands for an integer within ±2^255, which 64-bit inputs and their products
are. Division of vectors, but by a power of two, is an unknown function: equal operands give equal quotients, and nothing more is known.
Products can be treated the same way, which is faster. What is proved for any such function holds for real products too.

*Source*: King, "Symbolic Execution and Program Testing" (1976).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import z3

from opml_fuzz.proofs.unsupported import Unsupported

VECTOR_BITS = 256
DIVISION = z3.Function("division", *3 * [z3.BitVecSort(VECTOR_BITS)])
"""The quotient of two numbers, neither of them negative."""

PRODUCT = z3.Function("product", *3 * [z3.BitVecSort(VECTOR_BITS)])
"""The product, where it need not be known (z3 multiplies bit by bit)."""

FEASIBLE_MILLISECONDS = 500
FEASIBLE_UNITS = 50_000_000
"""How much z3 may work where the same answer is needed on every machine, in its own units (`rlimit`)."""


def ignore(formulas: Sequence[Any]) -> None:
    pass


class Paths:
    """The paths through a function of symbols, depth first. Every symbol belongs to one such exploration.

    `decisions` are the answers on the path being run, and `conditions` what they assume.
    knows_products: whether z3 is told what the product of two vectors is; refuted: gets what z3 showed to be impossible;
    counts: whether z3 stops at a decision after some work, not after some time"""

    def __init__(self, knows_products: bool = True, refuted: Callable[[Sequence[Any]], None] = ignore, counts: bool = False) -> None:
        self.knows_products, self.refuted = knows_products, refuted
        self.solver = z3.Solver()
        self.solver.set(*(("rlimit", FEASIBLE_UNITS) if counts else ("timeout", FEASIBLE_MILLISECONDS)))
        self.solver.set("ctrl_c", False)
        self.is_running = False
        self.pending: list[list[bool]] = []
        self.decisions: list[bool] = []
        self.conditions: list[z3.BoolRef] = []

    def explore(self, function: Callable[[], Any], assumptions: Sequence[z3.BoolRef] = ()) -> Iterator[tuple[list[z3.BoolRef], Any]]:
        """Runs the function on each of its paths; yields what the path assumes, and the result."""
        self.solver.add(*assumptions)
        self.pending = [[]]
        while self.pending:
            self.decisions, self.conditions, self.is_running = self.pending.pop(), [], True
            try:
                result = function()
            finally:
                self.is_running = False
            yield [*assumptions, *self.conditions], result

    def decide(self, condition: z3.BoolRef) -> bool:
        """Answers for the path being run. An answer that cannot hold is not tried."""
        if not self.is_running:
            raise TypeError("a symbol has no truth value outside of `explore`")
        condition = z3.simplify(condition, ctrl_c=False)
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
        """Tells whether the condition may hold here: false only if z3 quickly shows that it cannot."""
        if self.solver.check(*self.conditions, condition) != z3.unsat:
            return True
        self.refuted([*self.solver.assertions(), *self.conditions, condition])
        return False


class Truth:
    """A condition on symbols. Asked for its truth value, it lets its exploration decide."""

    def __init__(self, formula: z3.BoolRef, paths: Paths) -> None:
        self.formula, self.paths = formula, paths

    def __bool__(self) -> bool:
        return self.paths.decide(self.formula)

    def __int__(self) -> int:
        return int(bool(self))

    def __eq__(self, other: object) -> Any:
        return Truth(self.formula == formula(other), self.paths)

    def __and__(self, other: Any) -> "Truth":
        return Truth(z3.And(self.formula, formula(flag(other))), self.paths)

    def __or__(self, other: Any) -> "Truth":
        return Truth(z3.Or(self.formula, formula(flag(other))), self.paths)

    __rand__, __ror__ = __and__, __or__

    def __hash__(self) -> int:
        raise Unsupported("a condition is looked up by its hash")


def formula(result: Any) -> z3.BoolRef:
    """Makes the result of a predicate, a truth value or a condition, a formula."""
    return result.formula if isinstance(result, Truth) else z3.BoolVal(bool(result))


def flag(other: Any) -> Any:
    """Returns what is joined with a condition, if it is one: of another number, Python would take the lowest bit."""
    if not isinstance(other, Truth) and not (isinstance(other, int) and other in (0, 1)):
        raise Unsupported(f"a condition is joined with {type(other).__name__}")
    return other


class Symbol:
    """An integer, either kind."""

    def __init__(self, term: Any, paths: Paths) -> None:
        self.term, self.paths = term, paths

    def lift(self, other: Any) -> Any:
        """Makes the other operand a term of the same kind."""
        return other.term if isinstance(other, Symbol) else int(other)

    def of(self, term: Any) -> Any:
        return type(self)(term, self.paths)

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
        return Truth(self.term == self.lift(other), self.paths)

    def __ne__(self, other: object) -> Any:
        return Truth(self.term != self.lift(other), self.paths)

    def __lt__(self, other: Any) -> Any:
        return Truth(self.term < self.lift(other), self.paths)

    def __le__(self, other: Any) -> Any:
        return Truth(self.term <= self.lift(other), self.paths)

    def __gt__(self, other: Any) -> Any:
        return Truth(self.term > self.lift(other), self.paths)

    def __ge__(self, other: Any) -> Any:
        return Truth(self.term >= self.lift(other), self.paths)

    def __hash__(self) -> int:
        """Ends the proof: a set or a dict compares only what has the same hash, so it would take a symbol for none of its keys."""
        raise Unsupported("a symbol is looked up by its hash")

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __bool__(self) -> bool:
        return bool(self != 0)


class Number(Symbol):
    """An unbounded integer."""

    def lift(self, other: Any) -> Any:
        return other.term if isinstance(other, Symbol) else constant(int(other))

    def __floordiv__(self, other: Any) -> Any:
        if other <= 0:
            raise Unsupported("z3 rounds down only if the divisor is positive")
        if z3.is_idiv(self.term) and z3.is_int_value(self.term.arg(1)) and isinstance(other, int):
            return self.of(self.term.arg(0) / (self.term.arg(1).as_long() * other))  # rounded down twice is rounded down once
        return self.of(self.term / self.lift(other))

    def __mod__(self, other: Any) -> Any:
        if other <= 0:
            raise Unsupported("z3's remainder is that of rounding down only if the divisor is positive")
        return self - other * (self // other)

    def __rfloordiv__(self, other: Any) -> Any:
        return Number(z3.IntVal(other), self.paths) // self

    def __lshift__(self, other: int) -> Any:
        return self * (1 << other)

    def __rshift__(self, other: int) -> Any:
        return self // (1 << other)

    def __and__(self, other: Any) -> Any:
        if not isinstance(other, int) or other < 0 or other & (other + 1):
            raise Unsupported("of a number, only the lowest bits can be kept")
        return self % (other + 1)

    __rand__ = __and__


@cache
def constant(value: int) -> Any:
    """A known number, made once: the plays of a rule ask for the same ones on thousands of paths."""
    return z3.IntVal(value)


class Vector(Symbol):
    """An integer in 256 bits of two's complement."""

    def __mul__(self, other: Any) -> Any:
        if not self.paths.knows_products and isinstance(other, Vector):
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
        return self.of(self.term << self.lift(shift_count(other)))

    def __rlshift__(self, other: Any) -> Any:
        return self.of(z3.BitVecVal(other, self.term.size()) << shift_count(self).term)

    def __rshift__(self, other: Any) -> Any:
        return self.of(self.term >> self.lift(shift_count(other)))

    def __rrshift__(self, other: Any) -> Any:
        return self.of(z3.BitVecVal(other, self.term.size()) >> shift_count(self).term)

    def __mod__(self, other: Any) -> Any:
        if not isinstance(other, int) or other & (other - 1):
            raise Unsupported("the remainder of a vector is defined only for powers of two")
        return self & (other - 1)

    def __floordiv__(self, other: Any) -> Any:
        if isinstance(other, int) and other > 0 and other & (other - 1) == 0:
            return self >> (other.bit_length() - 1)
        if isinstance(other, int):
            other = self.of(z3.BitVecVal(other, VECTOR_BITS))
        if self < 0 and other < 0:
            return -self // -other
        if self < 0 or other <= 0:
            raise Unsupported("division of vectors is defined only where no sign makes it round down or up")
        return self.of(DIVISION(self.term, other.term))


def shift_count(count: Any) -> Any:
    """Returns by how much is shifted, which is not negative: Python raises, where z3 would shift everything out."""
    if count < 0:
        raise ValueError("negative shift count")
    return count
