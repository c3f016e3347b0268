"""The rules of the game: all proved, mutants of the specification refuted, and the world of symbols compared with the real one."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from inspect import getsource
from typing import Any

import pytest
import z3
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from opml_fuzz.fuzzing.game_mutants import changed
from opml_fuzz.fuzzing.rule_mutants import RULE_MUTANTS
from opml_fuzz.proofs import induction
from opml_fuzz.proofs.exploration import Exploration
from opml_fuzz.proofs.induction import prove_rule
from opml_fuzz.proofs.strings import FORMATS, Quantity, String, keccak
from opml_fuzz.proofs.symbolic_world import Rest, SymbolicWorld, greater, less, replaced, state_hash
from opml_fuzz.proofs.unsupported import Unsupported
from opml_fuzz.statements.catalogue import RULES, STATEMENTS
from opml_fuzz.statements.world import Option, Rule, World
from opml_spec import hashing
from opml_spec.dispute import clocks, honest, objects
from opml_spec.dispute.narrowing import Segment
from opml_spec.machine import state as machine
from opml_spec.machine.memory import Memory


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_proved(name: str) -> None:
    verdict = prove_rule(RULES[name])
    assert verdict.result == "proved", verdict


@pytest.mark.parametrize(("module", "right", "wrong", "name", "case"), RULE_MUTANTS[::9])
def test_a_wrong_rule_is_refuted(module: str, right: str, wrong: str, name: str, case: tuple[Any, ...]) -> None:
    """The counterexample is a test that fails as long as the rule is wrong, and passes afterwards."""
    pasted = dict[str, Any]()
    with changed(module, right, wrong):
        verdict = prove_rule(RULES[name].only(case))
        assert verdict.result == "counterexample", verdict
        exec(verdict.detail.partition("\n")[2], pasted)
        with pytest.raises(AssertionError):
            pasted["test_a_rule_that_does_not_hold"]()
    pasted["test_a_rule_that_does_not_hold"]()


def test_a_counterexample_without_a_test_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(induction, "reproducer", lambda *_: "")
    module, right, wrong, name, case = RULE_MUTANTS[0]
    with changed(module, right, wrong):
        assert prove_rule(RULES[name].only(case)).detail.endswith(induction.NO_TEST)


def test_every_mutant_can_be_made_and_names_a_case() -> None:
    for module, right, wrong, name, case in RULE_MUTANTS:
        assert case in RULES[name].cases
        text = getsource(import_module(f"opml_spec.dispute.{module}"))
        assert text.count(right) == 1
        compile(text.replace(right, wrong), module, "exec")


def test_names_and_places() -> None:
    assert len(RULES) >= 20
    assert not {*RULES} & {*STATEMENTS}
    assert all(rule.name == name and rule.says and rule.cases for name, rule in RULES.items())
    assert all(places for rule in RULES.values() for places in rule.cases.values())


# Samples -------------------------------------------------------------------------------------------------------------------------


class SampledWorld(World):
    """A world of plain ints and bytes, with the real Keccak-256."""

    def __init__(self, data: st.DataObject) -> None:
        self.data, self.rest, self.paths = data, Rest(), Exploration()
        self.numbers, self.places = dict[str, int](), set[str]()

    def number(self, name: str, low: int = 0, high: int | None = None) -> int:
        top = 1 << 140 if high is None else high
        return self.numbers.setdefault(name, self.data.draw(st.integers(low, min(top, low + 3)) | st.integers(low, top), label=name))

    def hash(self, name: str) -> bytes:
        return hashing.keccak256(self.number(name, 0, 3).to_bytes(1, "big"))

    def choice(self, options: Sequence[Option]) -> Option:
        return options[self.data.draw(st.integers(0, len(options) - 1))]

    def value(self, name: str, *arguments: Any) -> int:
        return self.number(f"{name}{arguments}", 0, 1)

    def hash_of(self, name: str, *arguments: Any) -> bytes:
        return hashing.keccak256(f"{name}{arguments}".encode())

    def state_hash(self, state: machine.MachineState) -> bytes:
        return machine.state_hash(state)

    def assume(self, condition: Any) -> None:
        assume(condition)

    def show(self, what: str, condition: Any) -> None:
        assert condition, what

    def reach(self, place: str) -> None:
        self.places.add(place)


@pytest.mark.parametrize("name", ["rules.coming", "rules.collect", "rules.leaving", "rules.books_tree", "rules.way"])
@settings(suppress_health_check=[HealthCheck.filter_too_much], deadline=None)
@given(data=st.data())
def test_a_rule_holds_on_samples(name: str, data: st.DataObject) -> None:
    rule, world = RULES[name], SampledWorld(data)
    with replaced(world):  # type: ignore[arg-type]  # it asks for nothing else
        rule.play(world, *world.choice(tuple(rule.cases)))


# The prover ----------------------------------------------------------------------------------------------------------------------


def verdict_of(play: Callable[[World], None], *reaches: str) -> tuple[str, str]:
    verdict = prove_rule(Rule("x", "", play, {(): {*reaches}}))
    return verdict.result, verdict.detail


def test_a_false_rule_gets_its_counterexample() -> None:
    def play(world: World) -> None:
        n = world.number("n", 0, 100)
        if n > 3:
            world.show("small", n * n < 10_000)

    assert verdict_of(play) == ("counterexample", "small: n = 100")


def test_what_nobody_comes_to_proves_nothing() -> None:
    def play(world: World) -> None:
        n = world.number("n")
        world.assume(n < 0)
        world.show("all is well", n == 5)
        world.reach("there")

    assert verdict_of(play, "there") == ("error", "no play comes to there")


def test_what_z3_does_not_find_is_not_come_to() -> None:
    def play(world: World) -> None:
        a, b = world.number("a", 2), world.number("b", 2)
        world.assume(a * b == (1 << 89) - 1)  # a prime
        world.reach("there")

    assert verdict_of(play, "there") == ("error", "no play comes to there")


def test_every_case_must_come_to_its_places() -> None:
    def play(world: World, n: int) -> None:
        if n == 1:
            world.reach("there")

    verdict = prove_rule(Rule("x", "", play, {(1,): {"there"}, (2,): {"there"}}))
    assert (verdict.result, verdict.detail) == ("error", "2, no play comes to there")
    assert prove_rule(Rule("x", "", play, {(1,): {"there"}})).result == "proved"


def test_a_play_that_raises_proves_nothing() -> None:
    assert verdict_of(lambda world: [][world.choice((0, 1))])[0] == "error"


def test_every_path_is_played_once_and_alternatives_too() -> None:
    paths, found = Exploration(), list[tuple[bool, bool, int]]()

    def play() -> None:
        n = Quantity(z3.Int("n"), paths)
        found.append((bool(n > 0), bool(n > 10), paths.branch(2)))
        paths.assume(n != 5)

    assert len(list(paths.plays(play))) == 6
    assert sorted(found) == sorted({(a, b, c) for a in (False, True) for b in (False, True) for c in (0, 1) if a or not b})


def test_what_is_replaced_comes_back() -> None:
    before = [dict(vars(module)) for module in (hashing, clocks, objects, honest, objects.Node)]
    paths = Exploration()
    with replaced(SymbolicWorld(paths, 1_000)):
        assert hashing.sha3 is not before[0]["sha3"]  # type: ignore[attr-defined]
    assert [dict(vars(module)) for module in (hashing, clocks, objects, honest, objects.Node)] == before


# Symbols and the real thing ------------------------------------------------------------------------------------------------------

PIECES = st.lists(st.binary(min_size=1, max_size=4), max_size=5)


def string(paths: Exploration, pieces: list[bytes]) -> String:
    """A string whose pieces are constants, which behaves like these bytes."""
    return String([(z3.IntVal(int.from_bytes(piece, "big")), len(piece)) for piece in pieces], paths)


@given(PIECES, PIECES, st.booleans())
def test_strings_are_joined_cut_and_compared_like_bytes(one: list[bytes], other: list[bytes], is_bytes: bool) -> None:
    paths = Exploration()

    def play() -> None:
        left, right, whole = string(paths, one), b"".join(other) if is_bytes else string(paths, other), b"".join(one + other)
        assert len(left + right) == len(right + left) == len(whole)
        assert left + right == whole
        assert (left + right)[len(left) :] == b"".join(other)
        assert (left + right)[: len(left)] == left
        assert bool(left == b"".join(other)) == (b"".join(one) == b"".join(other))
        assert bool(left != b"".join(other)) == (b"".join(one) != b"".join(other))

    assert len(list(paths.plays(play))) == 1


@given(st.integers(0, (1 << 70) - 1), st.integers(1, 8))
def test_numbers_are_written_like_ints(number: int, width: int) -> None:
    paths = Exploration()

    def play() -> None:
        n = Quantity(z3.IntVal(number), paths)
        if number < 1 << 8 * width:
            assert n.to_bytes(width, "big") == number.to_bytes(width, "big")
        else:
            with pytest.raises(OverflowError):
                n.to_bytes(width, "big")
        assert (n & 255) == number & 255

    assert len(list(paths.plays(play))) == 1


def test_an_unknown_piece_is_not_cut() -> None:
    paths = Exploration()
    unknown = String([(z3.Int("h"), 32)], paths)
    with pytest.raises(Unsupported):
        unknown[:5]
    with pytest.raises(Unsupported):
        unknown == String([(z3.IntVal(1), 1), (z3.IntVal(1), 31)], paths)  # noqa: B015


def test_different_preimages_have_different_hashes() -> None:
    paths, solver = Exploration(), z3.Solver()
    a, b = (String([(z3.Int(name), 32), (z3.Int(f"{name}_server"), 20)], paths) for name in "ab")
    c = String([(z3.Int("c"), 32)], paths)
    known: dict[tuple[int, ...], Any] = {}
    (x, of_x), (y, of_y), (z, of_z) = (keccak(one, known) for one in (a, b, c))
    solver.add(*of_x, *of_y, *of_z, x.term() == y.term())
    assert solver.check(z3.Int("a") != z3.Int("b")) == z3.unsat
    assert solver.check(z3.Int("a_server") != z3.Int("b_server")) == z3.unsat
    assert solver.check(x.term() == z.term()) == z3.unsat
    assert solver.check() == z3.sat


def test_the_formats_are_what_the_specification_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is hashed has a length of the table, whatever it is, so that no two formats have the same."""
    seen = set[int]()
    for module in (objects, hashing):
        monkeypatch.setattr(module, "keccak256", lambda data: seen.add(len(data)) or bytes(32))
    monkeypatch.setattr("opml_spec.dispute.narrowing.keccak256", lambda data: seen.add(len(data)) or bytes(32))
    request = objects.Request(bytes(32), 1, bytes(32), 1, 1, 1, bytes(20), bytes(20))
    objects.model_id(bytes(32), bytes(32), 1), objects.request_id(bytes(20), 0, request, b""), objects.seal(bytes(32), bytes(20))
    objects.claim_id(bytes(32), bytes(20), bytes(32)), objects.root_id(bytes(32)), objects.child_id(bytes(32), 1)
    Segment(1, 0, 1, bytes(32), bytes(32)).commitment(bytes(64))
    assert seen - {0} <= {*FORMATS}
    assert all(sum(widths) == length for length, widths in FORMATS.items())


WORDS = st.lists(st.integers(0, (1 << 64) - 1), min_size=32, max_size=32)


@given(WORDS, st.sampled_from(machine.Kind), st.binary(min_size=32, max_size=32))
def test_the_hash_of_a_state_is_the_specifications(words: list[int], kind: machine.Kind, root: bytes) -> None:
    it = machine.MachineState(words[0], (0, *words[1:]), machine.Status(kind, words[5]), Memory(root))
    assert state_hash(it) == machine.state_hash(it)


@given(st.lists(st.integers(), min_size=1, max_size=4))
def test_greater_and_less_are_max_and_min(values: list[int]) -> None:
    paths = Exploration()
    assert (greater(*values), less(*values)) == (max(values), min(values))

    def play() -> None:
        symbols = [Quantity(z3.IntVal(value), paths) if at % 2 else value for at, value in enumerate(values)]
        assert greater(*symbols) == max(values)
        assert less(*symbols) == min(values)

    assert len(list(paths.plays(partial(play)))) == 1
