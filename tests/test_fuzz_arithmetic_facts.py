"""What the proofs about the game are told of products and quotients is true: each fact, as it is told, is proved on integers."""

from typing import Any

import pytest
import z3
from opml_fuzz.proofs.game.arithmetic import HALF, SUM, Arithmetic, bounded, choices, least, upper_parts, width
from opml_fuzz.proofs.game.facts import Facts
from opml_fuzz.proofs.symbols import DIVISION, PRODUCT

BITS, MILLISECONDS = 256, 30_000
INTEGER: dict[int, Any] = {
    z3.Z3_OP_TRUE: lambda term: z3.BoolVal(True),
    z3.Z3_OP_FALSE: lambda term: z3.BoolVal(False),
    z3.Z3_OP_NOT: lambda term, a: z3.Not(a),
    z3.Z3_OP_AND: lambda term, *parts: z3.And(*parts),
    z3.Z3_OP_OR: lambda term, *parts: z3.Or(*parts),
    z3.Z3_OP_IMPLIES: lambda term, a, b: z3.Implies(a, b),
    z3.Z3_OP_EQ: lambda term, a, b: a == b,
    z3.Z3_OP_ULEQ: lambda term, a, b: a <= b,
    z3.Z3_OP_ULT: lambda term, a, b: a < b,
    z3.Z3_OP_UGEQ: lambda term, a, b: a >= b,
    z3.Z3_OP_UGT: lambda term, a, b: a > b,
    z3.Z3_OP_BLSHR: lambda term, a, b: a / (1 << b.as_long()),
    z3.Z3_OP_EXTRACT: lambda term, a: a / (1 << term.params()[1]) % (1 << term.size()),
    z3.Z3_OP_BNUM: lambda term: z3.IntVal(term.as_long()),
}
"""What an operation of z3 on words means on integers, of its operands' integers."""


def integer(term: Any, words: dict[str, Any]) -> Any:
    """The term with integers for its words. An unknown word becomes an unknown integer below 2^(its width), added to `words`."""
    operands = [integer(one, words) for one in term.children()]
    match term.decl():
        case declaration if declaration.eq(PRODUCT):
            return operands[0] * operands[1] % (1 << BITS)
        case declaration if declaration.eq(DIVISION):
            return operands[0] / operands[1]
        case declaration if declaration.kind() == z3.Z3_OP_CONCAT:
            result = z3.IntVal(0)
            for one, whole in zip(operands, term.children(), strict=True):
                result = result * (1 << whole.size()) + one
            return result
        case declaration if declaration.kind() == z3.Z3_OP_UNINTERPRETED:
            assert not operands
            known = words.setdefault(term.decl().name(), (z3.Int(term.decl().name()), term.size()))
            return known[0]
    return INTEGER[term.decl().kind()](term, *operands)


def contrary(fact: Any) -> Any:
    """Asks whether a fact can fail for some words: z3's answer."""
    words: dict[str, Any] = {}
    claim = integer(z3.simplify(fact), words)
    solver = z3.Solver()
    solver.set("timeout", MILLISECONDS)
    solver.add(*(z3.And(it >= 0, it < 1 << size) for it, size in words.values()), z3.Not(claim))
    return solver.check()


def narrow(name: str, bits: int) -> Any:
    """Any word of so many bits."""
    return z3.simplify(z3.ZeroExt(BITS - bits, z3.BitVec(name, bits)))


def test_every_fact_about_any_words() -> None:
    facts = Facts()
    arithmetic = Arithmetic(facts)
    a, b, x, d = z3.BitVecs("a b x d", BITS)
    both = arithmetic.product(a, b)
    for divisor in (a, b, d):
        arithmetic.quotient(x, divisor)
    arithmetic.quotient(both, d)
    arithmetic.product(a, d)
    arithmetic.product(a, a)
    assert len(facts.known) > 30
    for fact in facts.known:
        assert contrary(fact) == z3.unsat, fact


@pytest.mark.parametrize("bits", [1, 64, HALF - 1, HALF, HALF + 1, 254])
def test_every_fact_about_narrow_words(bits: int) -> None:
    """Around the widths at which a fact is told or not: half a word for one factor, a whole one for both."""
    facts, few = Facts(), narrow("few", bits)
    arithmetic = Arithmetic(facts)
    assert width(few) == bits
    arithmetic.product(few, narrow("all_but_one", BITS - bits - 1))
    arithmetic.product(few, narrow("all", BITS - bits))
    arithmetic.product(few, z3.BitVec("any", BITS))
    arithmetic.product(few, 10**12)
    assert len(facts.known) > 20
    for fact in facts.known:
        assert contrary(fact) == z3.unsat, fact


@pytest.mark.parametrize("bits", [17, 127, 200])
def test_every_fact_about_a_quotient_times_its_divisor(bits: int) -> None:
    """Checks the facts about all bits of the quotient, and about its lower ones."""
    facts = Facts()
    arithmetic = Arithmetic(facts)
    x, d = narrow("x", 200), narrow("d", 50)
    part = z3.simplify(z3.ZeroExt(BITS - bits, z3.Extract(bits - 1, 0, arithmetic.quotient(x, d))))
    product, solver = arithmetic.product(d, part), z3.Solver()
    solver.add(*facts.known)
    assert width(product) == min(200, bits + 50)
    assert solver.check(z3.UGT(product, x)) == z3.unsat
    for fact in facts.known:
        assert contrary(fact) == z3.unsat, fact


def test_the_least_of_two_words() -> None:
    a, solver = z3.BitVec("a", BITS), z3.Solver()
    for one, other in ((a, 80_000), (80_000, a)):
        shown = least(one, other)
        assert width(shown) == 17
        assert solver.check(shown != z3.If(z3.ULT(a, 80_000), a, z3.BitVecVal(80_000, BITS))) == z3.unsat


def test_a_sum_has_a_width() -> None:
    a, b, solver = narrow("a", 39), narrow("b", 56), z3.Solver()
    for term, bits in ((a + b, 57), (a + 600, 40), (a - b, BITS)):
        assert width(z3.simplify(term)) == bits
        assert bits == BITS or solver.check(z3.LShR(term, bits) != 0) == z3.unsat


def test_products_and_quotients_of_a_choice() -> None:
    facts, condition = Facts(), z3.Bool("condition")
    arithmetic = Arithmetic(facts)
    a, b, d = narrow("a", 60), narrow("b", 90), narrow("d", 30)
    either = z3.simplify(z3.If(condition, a, b))
    for rule in (arithmetic.product, arithmetic.quotient):
        chosen = choices(rule(either, d))
        assert chosen is not None
        assert all(one.eq(rule(other, d)) for one, other in zip(chosen[1:], (a, b), strict=True))


def test_a_sum_with_a_name_is_the_sum() -> None:
    facts, condition = Facts(), z3.Bool("condition")
    arithmetic = Arithmetic(facts)
    a, b, quotient = narrow("a", 60), narrow("b", 250), arithmetic.quotient(narrow("x", 200), narrow("d", 50))
    either, known = z3.simplify(z3.If(condition, a, b)), len(facts.known)
    assert arithmetic.sum(either, quotient) is None
    arithmetic.names_sums = True
    assert arithmetic.sum(a, b) is None
    both, solver = z3.Var(0, a.sort()) + z3.Var(1, a.sort()), z3.Solver()
    total = arithmetic.sum(either, quotient)
    assert choices(total) is not None
    assert width(total) == 251
    for fact in facts.known[known:]:
        assert solver.check(z3.Not(z3.substitute_funs(fact, (SUM, both)))) == z3.unsat, fact
    solver.add(*facts.known[known:])
    assert solver.check(total != either + quotient) == z3.unsat
    assert solver.check(total != either + quotient + 1) == z3.sat


def test_the_path_of_an_ancestor() -> None:
    path = z3.BitVecVal(0b_00001_00010_00011, BITS)
    for upper_depth, upper in ((1, 0), (2, 0b_00001), (3, 0b_00001_00010), (4, path.as_long())):
        shown = upper_parts(path, z3.BitVecVal(4, BITS), z3.BitVecVal(upper_depth, BITS), 5)
        assert shown.as_long() == upper


def test_what_is_false_is_not_proved() -> None:
    """Without its conditions a fact is refuted: at 2^256 a product is cut."""
    a, b, x = z3.BitVecs("a b x", BITS)
    term, part = PRODUCT(a, b), DIVISION(x, a)
    for false in (
        z3.Implies(a != 0, z3.ULE(b, term)),
        z3.Implies(a != 0, DIVISION(term, a) == b),
        z3.Implies(z3.And(bounded(a, HALF), bounded(b, HALF)), bounded(term, BITS - 1)),
        z3.Implies(z3.And(a != 0, z3.UGE(b, part)), z3.ULE(term, x)),
        z3.Implies(z3.ULE(b, part), z3.ULE(part, x)),
    ):
        assert contrary(false) == z3.sat, false
