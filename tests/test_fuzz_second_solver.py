"""A second solver: what is asked of it, how its answers are counted, and that integers taken for reals lose no solution."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from random import Random

import pytest
from attrs import evolve
from opml_fuzz.commands import prove as command
from opml_fuzz.commands import proving
from opml_fuzz.proofs import by_name
from opml_fuzz.proofs.second_solver import Answers, Recheck, ask_cvc5_of_reals, ask_cvc5_once, recheck
from opml_fuzz.proofs.verdict import Verdict


def test_a_second_solver_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["bytecode.lhu", "bytecode.calldata", "--json", "--recheck", "--smt", str(tmp_path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    files = list(tmp_path.glob("*.smt2"))
    assert printed["recheck"]["bitwuzla"]["agreeing"] == len(files) > 20
    assert printed["peak_bytes"] > 1 << 24
    assert recheck(file.read_text() for file in files).bitwuzla.agreeing == len(files)


HARD = """(declare-const a (_ BitVec 64)) (declare-const b (_ BitVec 64)) (assert (bvugt a (_ bv1 64))) (assert (bvugt b (_ bv1 64)))
(assert (= (bvmul ((_ zero_extend 64) a) ((_ zero_extend 64) b)) (_ bv170141183460469231731687303715884105727 128))) (check-sat)"""
PRIME = "(= (* x y) 170141183460469231731687303715884105727)"  # 2^127 − 1
ASKED = {
    "(declare-const x Bool) (assert (and x (not x))) (check-sat)": Answers(agreeing=1),
    "(declare-const x Bool) (assert x) (check-sat)": Answers(disagreeing=1),
    "(declare-const x Real) (assert (> x x)) (check-sat)": Answers(unreadable=1),
    HARD: Answers(undecided=1),
}
ASKED_OF_CVC5 = {
    "(declare-fun x () Int) (assert (> x x)) (check-sat)": Answers(agreeing=1),
    "(declare-fun x () Int) (declare-fun f (Int) Int) (assert (> (f x) x)) (check-sat)": Answers(disagreeing=1),
    "(declare-fun x () Int) (assert (unheard_of x)) (check-sat)": Answers(unreadable=1),
    f"(declare-fun x () Int) (declare-fun y () Int) (assert (> x 1)) (assert (> y 1)) (assert {PRIME})": Answers(undecided=1),
}


def without_seconds(answers: Answers) -> Answers:
    return evolve(answers, slowest=0.0)


@pytest.mark.parametrize("query", ASKED)
def test_what_bitwuzla_says_is_counted(query: str) -> None:
    found = recheck([query], 0.5)
    assert (without_seconds(found.bitwuzla), found.cvc5.count, found.unasked) == (ASKED[query], 0, 0)


@pytest.mark.parametrize("query", ASKED_OF_CVC5)
def test_what_cvc5_says_is_counted(query: str) -> None:
    pytest.importorskip("cvc5")
    found = recheck([query], 0.5, 0.5)
    assert (found.bitwuzla.count, without_seconds(found.cvc5), found.unasked) == (0, ASKED_OF_CVC5[query], 0)


SHARE = """(declare-fun n () Int) (declare-fun d () Int) (declare-fun w () Int) (assert (>= n 0)) (assert (>= w 0)) (assert (>= d 1))
(assert (<= (* 2 n) d)) (assert (not (and (>= (div (* w n) d) 0) (<= (* (div (* w n) d) 2) w)))) (check-sat)"""


@pytest.mark.parametrize("query", [SHARE, "(declare-fun x () Int) (assert (and (< 0 x) (not (>= (* 2 x) 2)))) (check-sat)"])
def test_products_of_integers_are_decided_over_the_reals(query: str) -> None:
    assert ask_cvc5_of_reals(pytest.importorskip("cvc5"), query, 5.0) == "agreeing"


def random_number(rng: Random, values: dict[str, int], depth: int = 3) -> tuple[str, int]:
    """A sum, product or quotient, and its value; what it is divided by may be anything but 0."""
    if not depth or rng.random() < 0.2:
        return rng.choice([*values.items(), *((str(one), one) for one in range(5))])
    (left, x), (right, y) = (random_number(rng, values, depth - 1) for _ in range(2))
    name, value = rng.choice([("+", x + y), ("-", x - y), ("*", x * y), ("div", x // y if y > 0 else -(x // -y) if y else None)])
    return (left, x) if value is None else (f"({name} {left} {right})", value)


def random_condition(rng: Random, values: dict[str, int], depth: int = 2) -> tuple[str, bool]:
    """A condition on such numbers, and whether it holds."""
    if not depth:
        (left, x), (right, y) = (random_number(rng, values) for _ in range(2))
        name, value = rng.choice([("<", x < y), ("<=", x <= y), (">", x > y), (">=", x >= y), ("=", x == y)])
        return f"({name} {left} {right})", value
    (left, is_one), (right, is_other) = (random_condition(rng, values, depth - 1) for _ in range(2))
    options = (f"(and {left} {right})", is_one and is_other), (f"(or {left} {right})", is_one or is_other), (f"(not {left})", not is_one)
    return rng.choice(options)


@pytest.mark.parametrize("seed", range(60))
def test_what_integers_meet_is_not_refuted_over_the_reals(seed: int) -> None:
    rng = Random(seed)
    values = {name: rng.randrange(-9, 10) for name in "xyz"}
    query = " ".join(f"(declare-fun {name} () Int)" for name in values)
    for name, value in values.items():
        query += f" (assert (= {name} {value if value >= 0 else f'(- {-value})'}))"
    for _ in range(5):
        text, holds = random_condition(rng, values)
        query += f" (assert {text})" if holds else f" (assert (not {text}))"
    cvc5 = pytest.importorskip("cvc5")
    assert ask_cvc5_once(cvc5, query, 5.0, {}) == "disagreeing"  # the values above meet it
    assert ask_cvc5_of_reals(cvc5, query, 5.0) != "agreeing"


def test_without_cvc5_queries_about_integers_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cvc5", None)
    found = recheck([*ASKED_OF_CVC5, *ASKED][:6], 0.5)
    assert (found.cvc5.count, found.unasked, found.bitwuzla.count) == (0, len(ASKED_OF_CVC5), 2)


SAID = [
    (Recheck(Answers(1), Answers(1), 1), 0, ("1 queries are about integers",)),
    (Recheck(Answers(1, 1)), 1, ("bitwuzla: it agrees on 1 of 2", "DISAGREES on 1")),
    (Recheck(Answers(1), Answers(undecided=1)), 1, ("cvc5: it agrees on 0 of 1", "does not decide 1 in 20 s")),
    (Recheck(Answers(1), Answers(2, unreadable=3)), 1, ("cvc5: it agrees on 2 of 5", "cannot express 3")),
]


@pytest.mark.parametrize(("said", "code", "words"), SAID)
def test_only_agreement_on_all_that_is_asked_is_well(
    said: Recheck, code: int, words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = Verdict("division.by_zero", "proved", 0.0, recheck=said)
    monkeypatch.setattr(proving, "verdicts_of", lambda *_: nullcontext(iter([verdict])))
    assert command.main(["division.by_zero", "--recheck"]) == code
    out = capsys.readouterr().out
    assert all(word in out for word in words)


def test_what_is_asked_is_kept_of_every_kind_of_statement() -> None:
    for name in ("division.euclid", "translator.add", "rules.hold"):
        assert all("(check-sat)" in query for query in by_name.prove_by_name(name, keeps=True).queries)
        assert by_name.prove_by_name(name, keeps=True).queries
        assert not by_name.prove_by_name(name).queries
