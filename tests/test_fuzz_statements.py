"""Each statement sampled by Hypothesis, proved by z3, and the prover itself: it must find what is false."""

import json
from threading import Event
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from opml_fuzz.commands import prove as command
from opml_fuzz.proofs.ieee import IeeeFloat
from opml_fuzz.proofs.known_values import NO_TEST, result_if_admitted
from opml_fuzz.proofs.prover import prove, search
from opml_fuzz.proofs.symbols import Number, Paths
from opml_fuzz.statements.catalogue import EVERY, LONG, STATEMENTS
from opml_fuzz.statements.statement import Float, Integer, NotAdmitted, Statement, Variable, Word
from opml_spec.arithmetic.fixed import round_shift


def numbers(variable: Variable) -> st.SearchStrategy[Any]:
    """Values with a liking for powers of two and small numbers."""
    if isinstance(variable, Float):
        return st.integers(0, (1 << variable.bits) - 1).map(lambda bits: IeeeFloat.of_bits(bits, variable, None))
    if isinstance(variable, Word):
        low, high = variable.range
        signs = (1, -1) if variable.is_signed else (1,)
        near = st.builds(
            lambda power, offset, sign: min(max(sign * (1 << power) + offset, low), high),
            st.integers(0, variable.bits), st.integers(-2, 2), st.sampled_from(signs),
        )  # fmt: skip
        return near | st.integers(low, high)
    high = (1 << 64) - 1 if variable.high is None else variable.high
    small = st.integers(max(variable.low, -9), min(high, 9)) if variable.low <= 9 and high >= -9 else st.just(variable.low)
    return st.integers(variable.low, min(high, variable.low + 5)) | small | st.integers(variable.low, high)


NARROW = {"translator.steps", "checks.passes"}  # hardly any sample is what they assume


@pytest.mark.parametrize("name", sorted({*STATEMENTS} - NARROW))
@settings(suppress_health_check=[HealthCheck.filter_too_much])  # how many samples are admitted depends on the constants of all modules
@given(data=st.data())
def test_a_statement_holds_on_samples(name: str, data: st.DataObject) -> None:
    statement = STATEMENTS[name]
    case = data.draw(st.sampled_from(list(statement.cases)))
    values = [data.draw(numbers(variable), label=label) for label, variable in statement.variables.items()]
    if name == "decode.disjoint":  # a random word is hardly ever of this row
        (row,) = case
        values = [values[0] & ~row.mask | row.match]
    holds = result_if_admitted(statement, case, values)
    assume(holds is not None)
    assert holds


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_is_proved(name: str) -> None:
    verdict = prove(STATEMENTS[name])
    assert verdict.result == "proved", verdict


def test_names_and_chapters() -> None:
    assert len(EVERY) >= 100
    assert all(name == statement.name and statement.says for name, statement in STATEMENTS.items())


# The prover ----------------------------------------------------------------------------------------------------------------------


def test_a_false_statement_gets_its_counterexample() -> None:
    false = Statement("x", "", {"v": Word(64)}, lambda v: v != 0x123456789)
    assert prove(false).detail == "v = 4886718345"
    narrow = Statement("x", "", {"n": Integer(0, 100)}, lambda n: n * n < 10_000)
    verdict = prove(narrow)
    assert (verdict.result, verdict.detail) == ("counterexample", "n = 100")


def test_a_wrong_rounding_is_found() -> None:
    """Half down instead of half up differs on the ties alone."""

    def half_down(v: Any) -> Any:
        return (v + 7) >> 4 == round_shift(v, 4)

    verdict = prove(Statement("x", "", {"v": Word(64, is_signed=True)}, half_down))
    assert verdict.result == "counterexample"


def test_what_admits_nothing_proves_nothing() -> None:
    assert prove(Statement("x", "", {"v": Word(8)}, lambda v: v < 0, lambda v: v > 255)).result == "error"


def test_what_z3_does_not_find_is_not_admitted() -> None:
    """That no path is refuted does not mean that some value takes it: z3 must find one, in the time of a query."""
    hard = Statement("x", "", {"a": Word(64), "b": Word(64)}, lambda a, b: True, lambda a, b: (a > 1) & (b > 1) & (a * b == (1 << 89) - 1))
    result, detail = search(hard, (), Paths(), 0.2, Event())
    assert result == "unknown"
    assert detail.startswith("whether any value is admitted")


def test_what_is_admitted_only_by_a_wrong_product_is_not() -> None:
    """Where products are unknown functions z3 finds values for which the assumption does not hold."""
    false = Statement("x", "", {"a": Word(8), "b": Word(8)}, lambda a, b: True, lambda a, b: a * b < 0)
    assert search(false, (), Paths(False), 30.0, Event()) == ("error", "no value is admitted")
    assert prove(false).result == "error"


def test_what_is_never_claimed_proves_nothing() -> None:
    def claims(v: Any) -> bool:
        if v < 256:
            raise NotAdmitted
        return True

    assert prove(Statement("x", "", {"v": Word(8)}, claims)).result == "error"
    assert prove(Statement("x", "", {"v": Word(9)}, claims)).result == "proved"


def test_what_raises_proves_nothing() -> None:
    assert prove(Statement("x", "", {"v": Word(8)}, lambda v: [0][v])).result == "error"


LATE = "if not server_in_time(court, node, message.now):\n        raise OutOfTime\n    return node", "return node"


@pytest.mark.parametrize(
    ("module", "right", "wrong", "name"),
    [
        ("moves", *LATE, "clocks.exactly_one"),
        ("clocks", "self.server_left - late", "self.server_left", "clocks.own_time"),
        ("clocks", "max(self.since, lost_at) + effort", "max(self.since, lost_at)", "clocks.own_time"),
        ("clocks", "if lost_at else self.due", "if True else self.due", "clocks.unhastened"),
        ("clocks", "if lost_at else self.due", "if False else self.due", "clocks.no_excuse"),
        ("tree", "now, **court.server_lost_at}", "now}", "clocks.timeout"),
        ("clocks", "return max(self.since, closes_at)", "return self.since", "clocks.choice"),
        ("tree", "settles_at=max(claim.settles_at, settles_at)", "settles_at=claim.settles_at", "clocks.settled"),
        ("money", "pool - gas * prices", "pool", "money.settlement"),
        ("claims", "ledger.deposit(message.value).burn(price)", "ledger.deposit(message.value)", "fees.line"),
        ("claims", "checked_at=checked_at))", "checked_at=checked_at, fee_left=0))", "fees.line"),
        ("claims", "or closes_at >= TIME_LIMIT", "or closes_at > TIME_LIMIT", "fees.line"),
        ("claims", "or closes_at >= TIME_LIMIT", "or closes_at >= TIME_LIMIT - 1", "fees.line"),
        ("claims", "if closes_at > latest", "if True", "fees.line"),
        ("parameters", "self.most_nodes * self.effort + self.grace", "self.grace", "fees.hold"),
        ("clocks", "max(now, server_due) + effort", "max(now, server_due) + 2 * effort", "fees.path"),
        ("ends", "and now <= claim.closes_at + court.parameters.hold", "", "fees.hold"),
        ("ends", "and message.now <= last_close + parameters.hold", "", "fees.reclaim"),
        ("ends", "wei + settled.share, ledger.burn(node.price * settled.gas)", "wei + settled.share, ledger", "money.fall"),
    ],
)
def test_a_game_with_one_wrong_rule_is_found(module: str, right: str, wrong: str, name: str) -> None:
    from opml_fuzz.fuzzing.game_mutants import changed

    pasted = dict[str, Any]()
    with changed(module, right, wrong):
        verdict = prove(STATEMENTS[name])
        assert verdict.result == "counterexample"
        exec(verdict.detail.partition("\n")[2], pasted)
        with pytest.raises(AssertionError):
            pasted["test_a_statement_that_does_not_hold"]()
    pasted["test_a_statement_that_does_not_hold"]()


def test_numbers_that_break_nothing_refute_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quotient is an unknown function to z3, which may then find numbers for which the statement holds."""
    spurious = Statement("x", "", {"a": Word(64), "b": Word(64)}, lambda a, b: a // b <= a, lambda a, b: b != 0)
    monkeypatch.setitem(STATEMENTS, "x", spurious)
    verdict = prove(spurious)
    assert verdict.result == "unknown"
    assert verdict.detail.endswith(NO_TEST)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('raise WrongOutput("not the claimed run state")', "raise OtherResult"),
        ("message.now < stands.closes_at", "message.now < court.closes_at"),
    ],
)
def test_no_other_error_is_taken_for_the_expected_one(right: str, wrong: str) -> None:
    """`fees.hold` says that a claim could be finalised but for its output. An act that fails in another way shows nothing of that."""
    from opml_fuzz.fuzzing.game_mutants import changed

    with changed("ends", right, wrong):
        assert prove(STATEMENTS["fees.hold"]).result == "error"


def test_every_path_is_taken_once() -> None:
    import z3

    paths = Paths()
    n = Number(z3.Int("n"), paths)
    found = [result for _, result in paths.explore(lambda: (n > 0, bool(n > 0), bool(n > 10), bool(n > 5))[1:])]
    assert sorted(found) == [(False, False, False), (True, False, False), (True, False, True), (True, True, True)]
    with pytest.raises(TypeError, match="outside"):
        bool(n > 0)


# The command ---------------------------------------------------------------------------------------------------------------------


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["money", "clocks.timeout", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["proved"] == 7
    assert printed["failed"] == []
    assert all(one["result"] == "proved" and one["seconds"] >= 0 for one in printed["statements"])


def test_command_with_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["nonsense"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_takes_long_is_a_statement() -> None:
    assert {*LONG} <= {*EVERY}
