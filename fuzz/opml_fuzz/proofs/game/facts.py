"""What z3 is told beside the conditions of a path: facts that hold on every path of one proof.

They are instances of what holds of every court (`invariants.py`), of arithmetic (`arithmetic.py`), and of hashes: two hashes are equal
exactly if their preimages are, and none is zero.
"""

from collections.abc import Sequence
from typing import Any

import z3

from opml_fuzz.proofs.evm.hashes import HASH_BYTES, Hashes
from opml_fuzz.proofs.evm.pieces import Pieces, cut, length, pairs, value
from opml_fuzz.proofs.game.open_bytes import open_end, same_end
from opml_fuzz.proofs.symbols import DIVISION, PRODUCT


class Facts:
    """A growing list of facts, and the solvers that are told each of them. long: facts for whoever needs them

    Facts about a product or a quotient are worth telling only where it occurs."""

    def __init__(self) -> None:
        self.known: list[Any] = []
        self.long: list[Any] = []
        self.given: list[tuple[Any, Any]] = []  # what holds on every path of this proof, and `true`
        self.solvers: list[Any] = []
        self.names: dict[int, Any] = {}  # what they stand for, which is a fact
        self.subjects: dict[int, Any] = {}  # of each fact: the product or quotient that it is about
        self.occurring: dict[int, tuple[Any, frozenset[int]]] = {}
        self.fields: dict[int, tuple[Any, frozenset[int]]] = {}

    def give(self, *conditions: Any) -> None:
        """Tells what this proof assumes on every path: facts that hold under these conditions are told without them."""
        for one in conditions:
            if z3.is_and(one):
                self.give(*one.children())
            else:
                self.given.append((one, z3.BoolVal(True)))

    def learn(self, *facts: Any, about: Any = None) -> None:
        for fact in facts:
            simple = z3.simplify(z3.substitute(fact, *self.given), ctrl_c=False)
            if z3.is_true(simple) or simple.get_id() in self.subjects:
                continue
            self.subjects[simple.get_id()] = about
            self.known.append(simple)
            for solver in self.solvers:
                solver.add(simple)

    def define(self, name: Any, meaning: Any) -> None:
        """Learns what a name stands for. Solvers that stand are not told: for most of their questions that is of no importance."""
        self.names[name.get_id()] = meaning
        fact = name == meaning
        self.subjects[fact.get_id()] = name
        self.known.append(fact)

    def relevant(self, *formulas: Any, defined: bool = True) -> list[Any]:
        """The formulas, and the facts that may matter to whether they hold together. defined: what names stand for, too"""
        occurring = frozenset[int]().union(*map(self.products_in, formulas)) - (frozenset() if defined else self.names.keys())
        subjects = ((fact, self.subjects[fact.get_id()]) for fact in self.known)
        return [*(fact for fact, about in subjects if about is None or about.get_id() in occurring), *formulas]

    def near(self, fields: frozenset[int], *formulas: Any, defined: bool = True) -> list[Any]:
        """The formulas, and those of the facts that may matter which speak of some of these fields."""
        facts = self.relevant(*formulas, defined=defined)[: -len(formulas)]
        return [*(fact for fact in facts if self.fields_in(fact) & fields), *formulas]

    def products_in(self, term: Any) -> frozenset[int]:
        """Finds the products, quotients and names that occur in a term, or in what a name stands for."""
        key = term.get_id()
        if key not in self.occurring:
            is_product = z3.is_app(term) and term.decl().name() in (PRODUCT.name(), DIVISION.name())
            own = frozenset((key,)) if is_product or key in self.names else frozenset[int]()
            parts = [self.names[key]] if key in self.names else term.children()
            self.occurring[key] = term, own.union(*map(self.products_in, parts))
        return self.occurring[key][1]

    def fields_in(self, term: Any) -> frozenset[int]:
        """Finds the fields of objects, and other unknown words, that occur in a term: not those that only say whose field it is."""
        key = term.get_id()
        if key not in self.fields:
            is_unknown = z3.is_app(term) and term.decl().kind() == z3.Z3_OP_UNINTERPRETED
            is_field = is_unknown and term.decl().name() not in (PRODUCT.name(), DIVISION.name())
            found = frozenset((key,)) if is_field else frozenset[int]().union(*map(self.fields_in, term.children()))
            self.fields[key] = term, found
        return self.fields[key][1]

    def tell(self, solver: Any) -> None:
        """Tells a solver all facts, those to come as well."""
        solver.add(*self.known)
        self.solvers.append(solver)


class DistinctHashes(Hashes):
    """Hashes that are equal exactly if their preimages are."""

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        self.facts = facts
        self.compared: list[tuple[Any, Pieces]] = []

    def digest(self, preimage: Pieces) -> Any:
        known = len(self.by_preimage)
        name = super().digest(preimage)
        if len(self.by_preimage) > known and not is_slot(preimage):
            self.facts.learn(name != 0)
            for other, its in self.compared:
                same, suffices = same_bytes(its, preimage)
                self.facts.learn((name == other) == same if suffices else z3.Implies(name == other, same))
            self.compared.append((name, preimage))
        return name


def same_bytes(left: Pieces, right: Pieces) -> tuple[Any, bool]:
    """A condition that holds if two sequences of bytes are the same, and whether they are the same if it holds."""
    left, right = sorted((left, right), key=lambda one: open_end(one) is not None)
    first, second = open_end(left), open_end(right)
    if first is second:
        return (equal(left, right) if length(left) == length(right) else z3.BoolVal(False)), True
    assert second is not None
    least, size = length(right), length(left)
    ends = second.length + least == (size if first is None else first.length + size)
    if first is not None:
        return ends, False
    if size < least:
        return z3.BoolVal(False), True
    return z3.And(ends, equal(cut(left, 0, least), right[:-1])), size == least


def same_data(ours: Pieces, theirs: Pieces) -> Any:
    """The condition that the data of two events are the same: those of the specification, and those that the contract logged."""
    ends = open_end(ours), open_end(theirs)
    if (ends[0] is None) != (ends[1] is None):
        same, suffices = same_bytes(ours, theirs)
        return same if suffices else z3.BoolVal(False)
    is_same = equal(ours, theirs) if length(ours) == length(theirs) else z3.BoolVal(False)
    return z3.And(is_same, same_end(*ends))


def is_slot(preimage: Pieces) -> bool:
    """Tells whether it is the preimage of a place in storage: the slot of a mapping and a key."""
    first = value(cut(preimage, 0, HASH_BYTES))
    return length(preimage) == 2 * HASH_BYTES and isinstance(first, int) and first < 1 << 16


def conjunction(conditions: Sequence[Any]) -> Any:
    """All of them; the one itself if it is alone, since SMT-LIB knows no `and` of one."""
    return conditions[0] if len(conditions) == 1 else z3.And(list(conditions))


def equal(left: Pieces, right: Pieces) -> Any:
    """The condition that two sequences of bytes of the same length are equal."""
    return z3.And([of_size(one, size) == of_size(other, size) for one, other, size in pairs(left, right)])


def of_size(term: Any, size: int) -> Any:
    return z3.BitVecVal(term, 8 * size) if isinstance(term, int) else term
