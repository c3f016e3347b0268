"""The game's constructor is the specification's `deploy`: a wrong contract and a wrong specification each get a counterexample.

That it is proved, `test_fuzz_game_bytecode.py` tests with all other statements.
"""

import os
from random import Random
from threading import Event

import pytest
import z3
from attrs import astuple, evolve
from fuzz_game_proofs import WrongRule, pasted, proved_alone, proved_with
from opml_fuzz.commands.explanation import explained_of_game
from opml_fuzz.fuzzing.compiled_mutants import compiled
from opml_fuzz.fuzzing.game_mutants import changed
from opml_fuzz.proofs.evm.words import BINARY, TOP
from opml_fuzz.proofs.game import known_deployment
from opml_fuzz.proofs.game.constructor import PARTS, DeploymentProof, unsigned
from opml_fuzz.proofs.game.constructor_machine import ProductsOfDeployment, width
from opml_fuzz.proofs.game.game_prover import QUERY_UNITS
from opml_fuzz.proofs.game.known_deployment import differences_of_deployment
from opml_fuzz.proofs.game.parameters_by_k import TablesByK
from opml_fuzz.proofs.questions import Questions
from opml_fuzz.proofs.symbols import DIVISION, PRODUCT
from opml_fuzz.statements.catalogue import GAME
from opml_spec.dispute.acts import deploy
from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import BadParameters

STATEMENT = GAME["game.constructor"]
WRONG = (
    ("K < 2 or K > MAX_K or ", "K < 2 or K > MAX_K + 1 or "),
    ("not arbiter.is_contract or ", ""),
    ("2 * SHARE_NUMERATOR > SHARE_DENOMINATOR", "2 * SHARE_NUMERATOR > SHARE_DENOMINATOR + 1"),
    ("p.window >= p.censorship + p.inclusion + p.detect", "p.window >= p.censorship + p.detect"),
    ("convert(moves - 1, uint256) * choice", "convert(moves - 2, uint256) * choice"),
    ("self._digits(k, STAGE_STEP_LIMIT) + 1", "self._digits(k, STAGE_STEP_LIMIT)"),
    ("max(p.gas_post, max(p.gas_open, p.gas_arbitrate))", "max(p.gas_post, p.gas_arbitrate)"),
    ("    PRIORITY = convert(p.priority, uint256)", "    PRIORITY = convert(p.grace, uint256)"),
    ("PART_BITS = bounds.part_bits(K)", "PART_BITS = bounds.part_bits(K + 1)"),
    ("convert(bounds.longest_path(K), uint256) * EFFORT", "convert(bounds.longest_path(K), uint256) * PRIORITY"),
    ("PARAMETERS: constant(uint256) = 232", "PARAMETERS: constant(uint256) = 231"),
)
IS_NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
CHOSEN = WRONG if IS_NIGHTLY else WRONG[3:4]  # half a minute each, as is a wrong specification


@pytest.mark.parametrize(("right", "wrong"), CHOSEN)
def test_a_wrong_contract_is_found(right: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    game = compiled("game", right, wrong)
    test = pasted(proved_alone(STATEMENT.name, game))
    test()
    monkeypatch.setattr(known_deployment, "committed", lambda: game)
    with pytest.raises(AssertionError):
        test()


WRONG_RULES = (
    ("parameters", "2 * self.share_numerator <= self.share_denominator", "2 * self.share_numerator < self.share_denominator"),
    ("parameters", "self.grace >= self.censorship + self.inclusion + self.effort", "self.grace >= self.censorship + self.effort"),
    ("parameters", "+ self.most_nodes * self.effort + self.grace", "+ self.most_nodes * self.effort"),
)


@pytest.mark.skipif(not IS_NIGHTLY, reason="takes half a minute each: only in the nightly profile")
@pytest.mark.parametrize("rule", WRONG_RULES)
def test_a_wrong_specification_is_found(rule: WrongRule) -> None:
    test = pasted(proved_with(rule, STATEMENT.name))
    with changed(*rule), pytest.raises(AssertionError):
        test()
    test()


# What is known -------------------------------------------------------------------------------------------------------------------------


def around(rng: Random) -> Parameters:
    """The default parameters with one of them at an edge."""
    name = rng.choice([*Parameters.__annotations__])
    it = getattr(Parameters(), name)
    return evolve(Parameters(), **{name: rng.choice((0, 1, it - 1, it + 1, it // 2, 2 * it, 2**32, 31_536_000, 2**64 - 1))})


def is_accepted(rules: Parameters) -> bool:
    try:
        deploy(rules)
    except BadParameters:
        return False
    return True


@pytest.mark.parametrize(("value", "has_code"), [(0, True), (1, True), (0, False)])
def test_a_known_deployment_ends_alike(value: int, has_code: bool) -> None:
    assert differences_of_deployment(astuple(Parameters()), value, has_code) == {}


def test_known_parameters_are_taken_or_refused_alike() -> None:
    rng, taken = Random(3), set[bool]()
    for _ in range(30):
        rules = around(rng)
        taken.add(is_accepted(rules))
        assert differences_of_deployment(astuple(rules)) == {}
    assert taken == {True, False}


def test_the_condition_is_what_the_specification_accepts() -> None:
    """With numbers in place of symbols, and real products and quotients."""
    proof = DeploymentProof(None, Questions(QUERY_UNITS, Event()))
    tables = TablesByK(proof.parameters["k"], PARTS)
    proof.products = ProductsOfDeployment(tables)
    condition = proof.specification(tables).condition
    a, b = (z3.Var(place, z3.BitVecSort(256)) for place in range(2))
    condition = z3.substitute_funs(condition, (DIVISION, z3.UDiv(a, b)), (PRODUCT, a * b))
    rng, taken = Random(4), set[bool]()
    for _ in range(60):
        rules = around(rng)
        numbers = ((it, z3.BitVecVal(getattr(rules, name), it.size())) for name, it in proof.parameters.items())
        assert z3.is_true(z3.simplify(z3.substitute(condition, *numbers))) == is_accepted(rules), rules
        taken.add(is_accepted(rules))
    assert taken == {True, False}


# The parts -----------------------------------------------------------------------------------------------------------------------------


K = z3.BitVec("k", 64)


@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL", "DIV", "LT", "GT", "EQ"])
def test_a_table_is_what_the_word_is_for_each_k(name: str) -> None:
    tables = TablesByK(K, PARTS)
    wide = z3.ZeroExt(192, K)
    for a, b in ((wide, 40), (40, wide), (wide * wide, wide + 1)):
        found = tables.binary(name, a, b)
        for k in (2, 3, 39, 40, 41, 64):
            first, second = (it if isinstance(it, int) else tables.value(it, k) for it in (a, b))
            assert (found if isinstance(found, int) else tables.value(found, k)) == int(BINARY[name][0](first, second)) % TOP
    assert tables.binary(name, wide, z3.BitVec("other", 256)) is None


def test_tables_tell_which_conditions_contradict() -> None:
    tables = TablesByK(K, PARTS)
    other = z3.BitVec("other", 256) == 1
    assert not tables.contradict((z3.UGE(K, 60), z3.ULE(K, 60), other))
    assert tables.contradict((z3.UGE(K, 60), z3.ULT(K, 60), other))
    assert tables.contradict((z3.UGE(K, 65),))


def test_a_comparison_needs_no_sign_where_nothing_is_negative() -> None:
    rng = Random(5)
    x, y = z3.BitVec("x", 64), z3.BitVec("y", 256)
    few = z3.ZeroExt(192, x)
    for limit in (0, 1, 31_536_000, 1 << 64, (1 << 64) - 1):
        for one in (few < limit, few <= limit, few > limit, few >= limit, z3.Not(few < limit), z3.And(few >= limit, y < few), y < limit):
            one = z3.simplify(one)
            for _ in range(20):
                number = rng.choice((0, limit, limit - 1, rng.getrandbits(64)))
                numbers = (x, z3.BitVecVal(number, 64)), (y, z3.BitVecVal(rng.getrandbits(256), 256))
                left, right = (z3.simplify(z3.substitute(it, *numbers)) for it in (one, unsigned(one)))
                assert left.eq(right), (one, numbers)


def test_no_number_is_wider_than_its_form_says() -> None:
    rng = Random(6)
    x, y = (z3.simplify(z3.ZeroExt(192, z3.BitVec(name, 64))) for name in "xy")
    for term in (x + y, 57 * x, x + y + 5 * y, z3.If(x == 1, x + y, y)):
        for _ in range(50):
            numbers = ((z3.BitVec(name, 64), z3.BitVecVal((1 << 64) - 1 - rng.randrange(3), 64)) for name in "xy")
            assert z3.simplify(z3.substitute(term, *numbers)).as_long().bit_length() <= width(z3.simplify(term)) < 80


def test_the_statement_is_explained() -> None:
    text = explained_of_game(STATEMENT)
    assert "PARAMETERS (232)" in text
    assert all(one in text for one in STATEMENT.assumes)
