"""Draws at an edge: seeds that splitmix64 turns into the last number that draws a token and the first that draws the next."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opml_fuzz.engines.model_runs import SpecModels
from opml_fuzz.fuzzing.changed_code import changed
from opml_fuzz.fuzzing.target_batches import target_batch
from opml_fuzz.machine.model_case import OneStage
from opml_fuzz.models.edge_draws import LIKELY, draws_that_show_weights, edge_draws, seed_of
from opml_spec.arithmetic import elementary
from opml_spec.arithmetic.elementary import EXP2_Q30
from opml_spec.machine.memory import Memory
from opml_spec.model.layout import OUTPUT, OUTPUT_TOKENS
from opml_spec.model.operations import fixed
from opml_spec.model.stage import run_stage

WRONG = (
    ("reached > threshold", "reached >= threshold"),
    (">> 64\n", ">> 64 | 1\n"),
    ("(random * sum(weights)) >> 64", "(random * (sum(weights) + 1)) >> 64"),
)


def drawn(cases: list[OneStage]) -> list[int]:
    """The tokens that the specification draws; -1 where it fails."""
    tokens = list[int]()
    for case in cases:
        try:
            after, _ = run_stage(Memory.from_segments(case.memory), case.stage)
        except StopIteration:  # no sum of weights is reached
            tokens.append(-1)
            continue
        tokens.append(after.load(OUTPUT_TOKENS + 4 * (after.load(OUTPUT, 8) - 1), 4))
    return tokens


@given(st.integers(0, (1 << 64) - 1), st.integers(0, 1 << 20))
def test_splitmix64_runs_backwards(number: int, position: int) -> None:
    assert fixed.splitmix64(seed_of(number, position), position) == number


@pytest.mark.parametrize("is_float", [False, True])
def test_both_sides_of_an_edge_and_both_ends(is_float: bool) -> None:
    last, following, first, highest = drawn(list(edge_draws(Random(1), is_float)))
    assert LIKELY.index(following) == LIKELY.index(last) + 1
    assert (first, highest) == (LIKELY[0], LIKELY[-1])


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("is_float", [False, True])
def test_a_draw_that_is_off_by_one_is_noticed(is_float: bool, wrong: tuple[str, str]) -> None:
    cases = [case for seed in range(3) for case in edge_draws(Random(seed), is_float)]
    right = drawn(cases)
    with changed("opml_spec.model.operations.fixed", *wrong):
        assert drawn(cases) != right


@pytest.mark.parametrize("place", range(len(EXP2_Q30)))
@pytest.mark.parametrize("by", [1, -1])
def test_a_coefficient_that_is_off_by_one_is_noticed(place: int, by: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = list(draws_that_show_weights(Random(1)))
    right = drawn(cases)
    monkeypatch.setattr(elementary, "EXP2_Q30", tuple(each + by * (k == place) for k, each in enumerate(EXP2_Q30)))
    assert drawn(cases) != right


@pytest.mark.parametrize("seed", [1, 2])
def test_the_first_batch_finds_it_for_every_seed(seed: int) -> None:
    cases = list(target_batch(seed, 0, None, frozenset({"stage"}), {"op"}))  # type: ignore[arg-type]  # witnesses are not needed
    right = [SpecModels().answer(case) for case in cases]
    with changed("opml_spec.model.operations.fixed", *WRONG[0]):
        assert [SpecModels().answer(case) for case in cases] != right
