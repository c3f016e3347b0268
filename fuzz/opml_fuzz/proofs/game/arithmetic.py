"""Products and quotients of unknown words: one unknown function each, for both worlds, with facts about those that occur.

z3 would multiply and divide 256 bits one by one. Instead it is told what follows from the definitions, for each product and quotient that
occurs: how large they can be, that a product divided by a factor gives the other one, and that g · d ≤ x if g ≤ x // d. The statements
`facts` say so of integers; `tests/test_fuzz_arithmetic_facts.py` proves each fact as it is told.
"""

from typing import Any

import z3

from opml_fuzz.proofs.evm.words import BITS, Word, reduced, vector
from opml_fuzz.proofs.game.facts import Facts
from opml_fuzz.proofs.symbols import DIVISION, PRODUCT

HALF = BITS // 2


def width(term: Any) -> int:
    """How many bits a term has at most, by its form."""
    if isinstance(term, int):
        return term.bit_length()
    if z3.is_bv_value(term):
        return int(term.as_long().bit_length())
    if z3.is_app_of(term, z3.Z3_OP_CONCAT):
        first, *rest = term.children()
        size = sum(one.size() for one in rest)
        return size + width(first) if width(first) else width(z3.Concat(*rest)) if len(rest) > 1 else width(rest[0])
    if z3.is_app_of(term, z3.Z3_OP_ITE):
        return max(width(one) for one in term.children()[1:])
    return int(term.size())


class Arithmetic:
    """All products and quotients of one proof."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.products: list[tuple[Any, Any, Any]] = []
        self.quotients: list[tuple[Any, Any, Any]] = []
        self.known: dict[tuple[str, int, int], Any] = {}

    def product(self, a: Word, b: Word) -> Word:
        """The product, cut to 256 bits."""
        if isinstance(a, int) and isinstance(b, int):
            return a * b % (1 << BITS)
        a, b = (b, a) if isinstance(a, int) else (a, b)
        a, b = vector(a), b if isinstance(b, int) else vector(b)
        if not isinstance(b, int) and a.get_id() > b.get_id():
            a, b = b, a
        if isinstance(b, int) and b & (b - 1) == 0:
            return reduced(a * b)
        key = "product", a.get_id(), -b - 1 if isinstance(b, int) else b.get_id()
        if key not in self.known:
            term = PRODUCT(a, vector(b))
            self.known[key] = term
            self.learn_product(term, a, vector(b))
        return self.known[key]

    def learn_product(self, term: Any, a: Any, b: Any) -> None:
        self.products.append((term, a, b))
        small = z3.And(bounded(a, HALF), bounded(b, HALF))
        self.facts.learn(z3.Implies(z3.Or(a == 0, b == 0), term == 0))
        for one, other in ((a, b), (b, a)):
            self.facts.learn(
                z3.Implies(one == 1, term == other),
                z3.Implies(z3.And(small, one != 0), self.quotient(term, one) == other),
                z3.Implies(z3.And(small, one != 0), z3.ULE(other, term)),
            )
            if width(one) <= HALF:
                self.facts.learn(z3.Implies(bounded(other, HALF - 1), bounded(term, width(one) + HALF - 1)))
        if width(a) + width(b) < BITS:
            self.facts.learn(bounded(term, width(a) + width(b)))
        for quotient, x, d in self.quotients:
            self.compare(quotient, x, d, term, a, b)

    def quotient(self, x: Word, d: Word) -> Word:
        """The quotient, rounded down, of a divisor that is not 0."""
        if isinstance(d, int) and d & (d - 1) == 0:
            return reduced(z3.LShR(vector(x), d.bit_length() - 1))
        if isinstance(x, int) and isinstance(d, int):
            return x // d
        x, d = vector(x), vector(d)
        key = "quotient", x.get_id(), d.get_id()
        if key not in self.known:
            term = DIVISION(x, d)
            self.known[key] = term
            self.quotients.append((term, x, d))
            self.facts.learn(z3.Implies(d != 0, z3.ULE(term, x)), z3.Implies(d == 1, term == x), z3.Implies(d == 2, term == z3.LShR(x, 1)))
            for product, a, b in self.products:
                self.compare(term, x, d, product, a, b)
        return self.known[key]

    def compare(self, quotient: Any, x: Any, d: Any, product: Any, a: Any, b: Any) -> None:
        """g · d ≤ x if g ≤ x // d."""
        for divisor, other in ((a, b), (b, a)):
            if divisor.eq(d):
                self.facts.learn(z3.Implies(z3.And(d != 0, z3.ULE(other, quotient)), z3.ULE(product, x)))


def bounded(term: Any, bits: int) -> Any:
    return z3.ULT(term, 1 << bits)
