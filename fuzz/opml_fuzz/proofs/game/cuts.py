"""Cuts: what both worlds compute at length gets one name, so that z3 compares the two computations once, not at each end of each path.

These are by how much a server is late, what of a fallen claim's bond nobody gets, and where the bonds of a final claim's nodes go. The
specification's paths through them are joined: each is one number, a choice of what the paths give. Where the bytecode makes a sum or a
difference, z3 is asked whether this is certainly the same number. Only then does it get the name. So a place that is missed makes a proof
harder, and none can be a wrong one.

Whatever z3 is told of names holds of what they stand for. So a question may leave out what that is: it is then harder to refute.

*Source*: spec §5.5 and §5.6.
"""

from collections.abc import Callable, Iterator
from typing import Any

import z3
from attrs import evolve, field, frozen

from opml_fuzz.proofs.evm.words import Word, reduced, vector
from opml_fuzz.proofs.game.arithmetic import excess, width
from opml_fuzz.proofs.game.facts import Facts
from opml_fuzz.proofs.game.numbers import Amount, GamePaths, amount, is_contrary, vector_of
from opml_fuzz.proofs.unsupported import Unsupported

Prove = Callable[[Any], bool]


class Excess(Amount):
    """By how much one number is more than another, or 0. operands: the two"""

    operands: tuple[Any, Any]


@frozen(eq=False)
class Cut:
    """A name and what it stands for. terms: the two words of which it is the excess, if it is one"""

    name: Any
    meaning: Any
    terms: tuple[Any, Any] | None = None
    given: tuple[Any, ...] = field(default=(), kw_only=True)  # kept, so that nothing else gets the ids of these


class Cuts:
    """The cuts of one proof."""

    def __init__(self, paths: GamePaths, facts: Facts) -> None:
        self.paths, self.facts = paths, facts
        self.made: dict[tuple[Any, ...], Cut] = {}
        self.exact: dict[int, tuple[Any, Any]] = {}  # names and meanings of those that are known by their form

    def excess(self, what: str, function: Callable[..., Any], *given: Any) -> Any:
        """The excess that a function returns, under a name, whichever path it takes. It must not raise. what: which function that is"""
        return self.once(what, given, lambda: self.joined_excess(self.paths.each_way(lambda: function(*given))))

    def number(self, what: str, function: Callable[..., Any], most: Any, positive: Any, *given: Any) -> Any:
        """The number that a function returns, under a name, whichever path it takes. It must not raise.

        what: which function that is; most: what it is not above, if its form does not show it; positive: a number that is not zero wherever
        the act asks for this one"""
        assumed = positive.term != 0
        if self.paths.possible(z3.Not(assumed)):
            raise Unsupported("a cut where it is not shown that it may be made")

        def cut() -> Cut:
            ways = self.paths.each_way(lambda: function(*given), assumed)
            made = self.cut(joined([(conditions, it.term) for conditions, it in ways]))
            if most is None:
                return made
            if not self.paths.refutes(z3.UGT(made.meaning, most.term), assumed):
                raise Unsupported("a cut whose bound is not shown")
            self.facts.learn(z3.Implies(assumed, z3.ULE(made.name, most.term)))
            return made

        return self.once(what, given, cut)

    def once(self, what: str, given: tuple[Any, ...], cut: Callable[[], Cut]) -> Any:
        """The name; the cut is made only if there is none for this function and these arguments yet."""
        key = what, *(one if isinstance(one, int) else (one.term.get_id(),) for one in given)
        if key not in self.made:
            self.made[key] = evolve(cut(), given=given)
        return amount(self.made[key].name, self.paths)

    def joined_excess(self, ways: list[tuple[list[Any], Any]]) -> Cut:
        if not all(isinstance(it, Excess) and it.operands[0].eq(ways[0][1].operands[0]) for _, it in ways):
            raise Unsupported("a cut of something else than the excess of one number over others")
        larger, smaller = ways[0][1].operands[0], joined([(conditions, it.operands[1]) for conditions, it in ways])
        return self.cut(vector(reduced(excess(larger, smaller))), (larger, smaller))

    def cut(self, meaning: Any, terms: tuple[Any, Any] | None = None) -> Cut:
        """Gives a name to a word, and tells z3 what it stands for."""
        bits = width(meaning)
        bare = z3.BitVec(f"cut{len(self.made)}", bits)
        self.facts.define(bare, z3.simplify(z3.Extract(bits - 1, 0, meaning)))
        return Cut(z3.simplify(z3.ZeroExt(meaning.size() - bits, bare)), meaning, terms)

    def name(self, meaning: Any) -> Any:
        """Gives a name to a word that both worlds write in this form."""
        meaning = z3.simplify(meaning, ctrl_c=False)
        if meaning.get_id() not in self.exact:
            name = z3.BitVec(f"exact{len(self.exact)}", meaning.size())
            self.facts.define(name, meaning)
            self.exact[meaning.get_id()] = name, meaning
        return self.exact[meaning.get_id()][0]

    def known(self, word: Word) -> Word:
        """The name of a word that has the form of its meaning; else the word."""
        return word if isinstance(word, int) else self.exact.get(word.get_id(), (word,))[0]

    # In the bytecode -------------------------------------------------------------------------------------------------------------

    def name_of_excess(self, larger: Any, smaller: Any, prove: Prove) -> Any:
        """The name of an excess, if it certainly is one that has a name: the smaller words are the same, or neither is smaller."""
        for it in self.made.values():
            if it.terms is not None and larger.eq(it.terms[0]):
                _, its = it.terms
                if prove(z3.Or(smaller == its, z3.And(z3.ULE(larger, smaller), z3.ULE(larger, its)))):
                    return it.name
        return None

    def name_of(self, word: Word, prove: Prove) -> Word:
        """The name of a word, if it certainly is what a name stands for, and is made of the same fields; else the word."""
        if isinstance(word, int) or z3.is_bool(word):
            return word
        numbers = (it for it in self.made.values() if it.terms is None and self.made_of(it.meaning) == self.made_of(word))
        return next((it.name for it in numbers if prove(same(word, it.meaning))), word)

    def made_of(self, word: Any) -> tuple[frozenset[int], frozenset[int]]:
        return self.facts.fields_in(word), self.facts.products_in(word)


def joined(ways: list[tuple[list[Any], Any]]) -> Any:
    """The term that is that of the way whose conditions hold."""

    def choice(ways: list[tuple[list[Any], Any]], at: int) -> Any:
        if len(ways) == 1:
            return vector_of(ways[0][1])
        first = ways[0][0][at]
        yes, no = ([way for way in ways if way[0][at].eq(first) is holds] for holds in (True, False))
        if not all(is_contrary(first, way[0][at]) for way in no):
            raise Unsupported("a cut that decides something else when it is run again")
        return z3.If(first, choice(yes, at + 1), choice(no, at + 1)) if no else choice(yes, at + 1)

    return z3.simplify(choice(ways, 0), ctrl_c=False)


SEEN_THROUGH = (z3.Z3_OP_CONCAT, z3.Z3_OP_BADD, z3.Z3_OP_BMUL, z3.Z3_OP_EXTRACT)


def same(one: Any, other: Any) -> Any:
    """A condition that implies that two words are the same: of the choices in either, those hold together that lead to the same sums."""
    mine, its = list(alternatives(one)), list(alternatives(other))
    return z3.And([z3.Not(z3.And(*some, *others, term != another)) for some, term in mine for others, another in its])


def alternatives(term: Any) -> Iterator[tuple[list[Any], Any]]:
    """Yields what a word can be, with the conditions under which it is that: no choice is left in its sums, and these are sorted."""
    term = z3.simplify(term, sort_sums=True, ctrl_c=False)
    chosen = choice_in(term)
    if chosen is None:
        yield [], term
        return
    condition, *both = chosen.children()
    for holds, one in zip((condition, z3.Not(condition)), both, strict=True):
        yield from (([holds, *more], it) for more, it in alternatives(z3.substitute(term, (chosen, one))))


def choice_in(term: Any) -> Any:
    """A choice that is a part of a word, or None."""
    if z3.is_app_of(term, z3.Z3_OP_ITE):
        return term
    parts = term.children() if term.decl().kind() in SEEN_THROUGH else ()
    return next((found for one in parts if (found := choice_in(one)) is not None), None)
