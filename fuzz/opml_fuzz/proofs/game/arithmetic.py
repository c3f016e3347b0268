"""Products and quotients of unknown words: one unknown function each, for both worlds, with facts about those that occur.

z3 would multiply and divide 256 bits one by one. Instead it is told what follows from the definitions, for each product and quotient that
occurs: how large they can be, that a product divided by a factor gives the other one, and that g · d ≤ x if g ≤ x // d. The statements
`facts` say so of integers; `tests/test_fuzz_arithmetic_facts.py` proves each fact as it is told.
"""

from collections.abc import Iterator
from typing import Any

import z3

from opml_fuzz.proofs.evm.words import BITS, Word, choice, reduced, vector
from opml_fuzz.proofs.game.facts import Facts
from opml_fuzz.proofs.symbols import DIVISION, PRODUCT

HALF = BITS // 2
DEPTH_BITS = 8

SUM = z3.Function("sum", *3 * [z3.BitVecSort(BITS)])
"""A sum that is one word for z3, which is told what it is."""

EASY_ONES = 2
"""z3 multiplies by a constant with so many ones itself: that is one addition."""


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
    if z3.is_app_of(term, z3.Z3_OP_BADD):
        return min(sum((1 << width(one)) - 1 for one in term.children()).bit_length(), int(term.size()))
    return int(term.size())


def within(term: Any, bits: int) -> Any:
    """The term, which has at most so many bits, in a form that shows it."""
    return z3.simplify(z3.ZeroExt(BITS - bits, z3.Extract(bits - 1, 0, term))) if 0 < bits < BITS else term


def least(a: Any, b: Any) -> Word:
    """The smaller of two words. If one of them is known, the form of the other shows that it has no more bits."""
    a, b = (b, a) if isinstance(b, int) else (a, b)
    most = a.bit_length() if isinstance(a, int) else BITS
    return choice(z3.ULT(vector(a), vector(b)), a, reduced(within(vector(b), min(most, width(b)))))


def excess(a: Any, b: Any) -> Any:
    """By how much one word is more than another, or 0: a difference in no more bits than the words have."""
    bits = max(width(a), width(b))
    return z3.If(z3.ULE(a, b), z3.BitVecVal(0, BITS), within(a - b, bits))


def upper_parts(path: Any, depth: Any, upper_depth: Any, part_bits: int) -> Any:
    """The path of a node's ancestor, which is less deep. It has the form in which the contract computes it: z3 compares no shifts."""
    below = z3.Extract(DEPTH_BITS - 1, 0, depth) - z3.Extract(DEPTH_BITS - 1, 0, upper_depth)
    return z3.simplify(z3.LShR(path, part_bits * z3.simplify(z3.ZeroExt(BITS - DEPTH_BITS, below))))


def difference(term: Any) -> tuple[Any, Any] | None:
    """The two words of which a term is the difference, if it is one of words that are not negative."""
    if not z3.is_app_of(term, z3.Z3_OP_BADD) or term.num_args() != 2:
        return None
    for a, b in (term.children(), term.children()[::-1]):
        if z3.is_app_of(b, z3.Z3_OP_BMUL) and b.num_args() == 2 and z3.is_bv_value(b.arg(0)) and b.arg(0).as_long() == (1 << BITS) - 1:
            return (a, b.arg(1)) if max(width(a), width(b.arg(1))) < BITS else None
    return None


def choices(word: Word) -> tuple[Any, Word, Word] | None:
    """The condition and the two words, of a word that is one of two, maybe with zeros before it."""
    if isinstance(word, int):
        return None
    zeros, inner = 0, word
    if z3.is_app_of(word, z3.Z3_OP_CONCAT) and word.num_args() == 2 and z3.is_bv_value(word.arg(0)) and word.arg(0).as_long() == 0:
        zeros, inner = word.arg(0).size(), word.arg(1)
    if z3.is_bool(inner) or not z3.is_app_of(inner, z3.Z3_OP_ITE):
        return None
    condition, *both = inner.children()
    yes, no = (reduced(z3.ZeroExt(zeros, one)) for one in both)
    return condition, yes, no


class Arithmetic:
    """All products and quotients of one proof. Those of a choice are the choice of those. names_sums: whether sums get names, too"""

    def __init__(self, facts: Facts) -> None:
        self.facts, self.names_sums = facts, False
        self.products: list[tuple[Any, Any, Any, Any]] = []
        self.quotients: list[tuple[Any, Any, Any, Any]] = []
        self.known: dict[tuple[str, int, int], Any] = {}

    def product(self, a: Word, b: Word) -> Word:
        """The product, cut to 256 bits."""
        if isinstance(a, int) and isinstance(b, int):
            return a * b % (1 << BITS)
        for one, other in ((a, b), (b, a)):
            if (chosen := choices(one)) is not None:
                condition, yes, no = chosen
                return choice(condition, self.product(yes, other), self.product(no, other))
        a, b = (b, a) if isinstance(a, int) else (a, b)
        a, b = vector(a), b if isinstance(b, int) else vector(b)
        if not isinstance(b, int) and a.get_id() > b.get_id():
            a, b = b, a
        if isinstance(b, int) and b & (b - 1) == 0:
            return reduced(a * b)
        if isinstance(b, int) and b.bit_count() == EASY_ONES:
            easy = reduced(a * b)
            if not any(easy.eq(other) for other, *_ in self.products):
                self.products.append((easy, a, vector(b), easy))
            return easy
        key = "product", a.get_id(), -b - 1 if isinstance(b, int) else b.get_id()
        if key not in self.known:
            bare = PRODUCT(a, vector(b))
            x = self.divided(a, vector(b))
            term = within(bare, min(width(a) + width(b), BITS if x is None else width(x)))
            self.known[key] = term
            if x is not None:
                self.facts.learn(z3.ULE(term, x), about=bare)
            self.facts.learn(bare == term, about=bare)
            if not isinstance(b, int):
                self.facts.learn(bare == PRODUCT(b, a), about=bare)
            self.learn_product(term, a, vector(b), bare)
        return self.known[key]

    def is_product(self, term: Any) -> bool:
        """Tells whether it is a product, or a choice of products."""
        chosen = choices(term)
        if chosen is not None:
            return any(map(self.is_product, chosen[1:]))
        return not isinstance(term, int) and any(term.eq(product) for product, *_ in self.products)

    def divided(self, a: Any, b: Any) -> Any:
        """What was divided if one factor is the quotient by the other, or its lower bits; then the product is not more. Else None."""
        for term, x, d, _ in self.quotients:
            for factor, other in ((a, b), (b, a)):
                if other.eq(d) and within(term, min(width(factor), width(term))).eq(factor):
                    return x
        return None

    def learn_product(self, term: Any, a: Any, b: Any, bare: Any) -> None:
        self.products.append((term, a, b, bare))
        small = z3.And(bounded(a, HALF), bounded(b, HALF))
        self.facts.learn(z3.Implies(z3.Or(a == 0, b == 0), term == 0), about=bare)
        for one, other in ((a, b), (b, a)):
            self.facts.learn(
                z3.Implies(one == 1, term == other),
                z3.Implies(z3.And(small, one != 0), z3.ULE(other, term)),
                about=bare,
            )
            if width(one) <= HALF:
                self.facts.learn(z3.Implies(bounded(other, HALF - 1), bounded(term, width(one) + HALF - 1)), about=bare)
        for divided in self.quotients:
            self.compare(*divided, term, a, b, bare)

    def quotient(self, x: Word, d: Word) -> Word:
        """The quotient, rounded down, of a divisor that is not 0."""
        if isinstance(d, int) and d & (d - 1) == 0:
            return reduced(z3.LShR(vector(x), d.bit_length() - 1))
        if isinstance(x, int) and isinstance(d, int):
            return x // d
        if (chosen := choices(x)) is not None:
            condition, yes, no = chosen
            return choice(condition, self.quotient(yes, d), self.quotient(no, d))
        x, d = vector(x), vector(d)
        for factor, other in self.factors(x):
            if factor.eq(d) and width(factor) + width(other) <= BITS:
                return reduced(other)
        key = "quotient", x.get_id(), d.get_id()
        if key not in self.known:
            bare = DIVISION(x, d)
            term = within(bare, width(x))
            self.known[key] = term
            self.facts.learn(z3.Implies(d != 0, bare == term), about=bare)
            self.quotients.append((term, x, d, bare))
            simple = z3.Implies(d == 1, term == x), z3.Implies(d == 2, term == z3.LShR(x, 1))
            self.facts.learn(z3.Implies(d != 0, z3.ULE(term, x)), *simple, about=bare)
            for multiplied in self.products:
                self.compare(term, x, d, bare, *multiplied)
        return self.known[key]

    def sum(self, a: Word, b: Word) -> Word | None:
        """The sum of a quotient and another word, under a name if sums get names: z3 then subtracts one word, not two. Else None"""
        for one, other in ((a, b), (b, a)):
            if not self.names_sums or isinstance(one, int) or not any(one.eq(term) for term, *_ in self.quotients):
                continue
            if (chosen := choices(other)) is not None:
                condition, *both = chosen
                yes, no = (self.sum(one, it) for it in both)
                return None if yes is None or no is None else choice(condition, yes, no)
            made = vector(one) + vector(other)
            if width(made) < BITS:
                bare = SUM(one, vector(other))
                term = within(bare, width(made))
                self.facts.learn(bare == term, bare == within(made, width(made)))
                return reduced(term)
        return None

    def factors(self, x: Any) -> Iterator[tuple[Any, Any]]:
        """Yields each factor of a product, with the other one."""
        for term, a, b, _ in self.products:
            if term.eq(x):
                yield from ((a, b), (b, a))

    def compare(self, quotient: Any, x: Any, d: Any, divided: Any, product: Any, a: Any, b: Any, multiplied: Any) -> None:
        """g · d ≤ x if g ≤ x // d; and a · b // d ≤ b if a ≤ d."""
        for divisor, other in ((a, b), (b, a)):
            if divisor.eq(d):
                self.facts.learn(z3.Implies(z3.And(d != 0, z3.ULE(other, quotient)), z3.ULE(product, x)), about=multiplied)
            if product.eq(x):
                small = z3.And(bounded(a, HALF), bounded(b, HALF))
                self.facts.learn(z3.Implies(z3.And(small, d != 0, z3.ULE(divisor, d)), z3.ULE(quotient, other)), about=divided)
                if divisor.eq(d):
                    self.facts.learn(z3.Implies(z3.And(small, d != 0), quotient == other), about=divided)


def bounded(term: Any, bits: int) -> Any:
    return z3.ULT(term, 1 << bits)
