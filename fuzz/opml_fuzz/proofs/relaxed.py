"""Formulas about integers, read as formulas about reals: if no reals meet them, no integers do.

cvc5 decides products of reals that it does not decide of integers.

Each number becomes a real, each quotient q of x by d a real with d·q ≤ x ≤ d·q + d - 1, if d is at least 1. That two numbers differ, or
that one is less, becomes that they are 1 apart. All integers that meet the formulas meet these, so that these have no solution shows that
those have none. That these have one shows nothing.

*Source*: Barbosa et al., "cvc5" (2022), for its terms.
"""

from collections.abc import Iterable
from typing import Any

from attrs import define, field


class NotRelaxed(Exception):
    """A formula holds something else than sums, products, quotients and comparisons of integers."""


@define
class Relaxation:
    """Makes formulas about reals of formulas about integers. quotients: what is known of those that were met"""

    cvc5: Any
    terms: Any  # a TermManager of cvc5, which makes every term
    quotients: list[Any] = field(factory=list)
    reals: dict[Any, Any] = field(factory=dict)

    def formulas(self, assertions: Iterable[Any]) -> list[Any]:
        """The assertions about reals, with what is known of their quotients; raises NotRelaxed."""
        return [*[self.formula(one, True) for one in assertions], *self.quotients]

    def formula(self, term: Any, holds: bool) -> Any:
        """What reals meet if a condition on integers holds, or if it does not."""
        kinds, kind = self.cvc5.Kind, term.getKind()
        if kind == kinds.NOT:
            return self.formula(term[0], not holds)
        if kind in (kinds.AND, kinds.OR):
            joined = kind if holds else {kinds.AND: kinds.OR, kinds.OR: kinds.AND}[kind]
            return self.terms.mkTerm(joined, *(self.formula(one, holds) for one in term))
        if kind == kinds.CONST_BOOLEAN:
            return self.terms.mkBoolean(term.getBooleanValue() == holds)
        if kind not in (kinds.LEQ, kinds.GEQ, kinds.LT, kinds.GT, kinds.EQUAL) or not term[0].getSort().isInteger():
            raise NotRelaxed(str(kind))
        left, right = map(self.real, term)
        if kind == kinds.EQUAL:
            if holds:
                return self.terms.mkTerm(kinds.EQUAL, left, right)
            return self.terms.mkTerm(kinds.OR, self.at_most(left, right, -1), self.at_most(right, left, -1))
        if kind in (kinds.GEQ, kinds.GT):
            left, right = right, left
        is_strict = kind in (kinds.LT, kinds.GT)
        return self.at_most(left, right, -1 if is_strict else 0) if holds else self.at_most(right, left, 0 if is_strict else -1)

    def at_most(self, left: Any, right: Any, more: int) -> Any:
        """The condition left ≤ right + more."""
        kinds = self.cvc5.Kind
        return self.terms.mkTerm(kinds.LEQ, left, self.terms.mkTerm(kinds.ADD, right, self.terms.mkReal(more)))

    def real(self, term: Any) -> Any:
        """The real for an integer, the same each time."""
        if term not in self.reals:
            self.reals[term] = self._real(term)
        return self.reals[term]

    def _real(self, term: Any) -> Any:
        kinds, kind = self.cvc5.Kind, term.getKind()
        if kind == kinds.CONST_INTEGER:
            return self.terms.mkReal(term.getIntegerValue())
        if kind == kinds.CONSTANT:
            return self.terms.mkConst(self.terms.getRealSort())
        if kind in (kinds.ADD, kinds.SUB, kinds.MULT, kinds.NEG):
            return self.terms.mkTerm(kind, *map(self.real, term))
        if kind != kinds.INTS_DIVISION:
            raise NotRelaxed(str(kind))
        (x, d), quotient = map(self.real, term), self.terms.mkConst(self.terms.getRealSort())
        product, one = self.terms.mkTerm(kinds.MULT, d, quotient), self.terms.mkReal(1)
        rest = self.at_most(product, x, 0), self.at_most(x, self.terms.mkTerm(kinds.ADD, product, d), -1)
        self.quotients.append(self.terms.mkTerm(kinds.IMPLIES, self.at_most(one, d, 0), self.terms.mkTerm(kinds.AND, *rest)))
        return quotient
