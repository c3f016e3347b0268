"""Parameters: every bound is exact, and the page's table of defaults is that of the code."""

import re
from pathlib import Path
from typing import Any

import opml_spec
import pytest
from attrs import evolve, fields
from opml_spec.dispute.parameters import GAS_CHOOSE_CEILING, GAS_FLOORS, YEAR, Parameters
from opml_spec.errors import BadParameters
from spec_dispute import PARAMETERS

PAGE = Path(opml_spec.__path__[0]) / "dispute" / "README.md"


def refused(parameters: Parameters) -> list[str]:
    with pytest.raises(BadParameters) as refusal:
        parameters.check()
    return str(refusal.value.args[0]).split(", ")


def test_the_defaults_and_those_of_the_tests_hold() -> None:
    Parameters().check()
    PARAMETERS.check()


EXACT: list[tuple[dict[str, Any], dict[str, Any], str]] = [  # what holds, what does not, and the name of the bound
    ({"window": 410}, {"window": 409}, "window"),
    ({"server_time": 390}, {"server_time": 389}, "server_time"),
    ({"challenger_time": 2_340}, {"challenger_time": 2_339}, "challenger_time"),
    ({"priority": 30}, {"priority": 29}, "priority"),
    ({"grace": 130}, {"grace": 129}, "grace"),
    ({"min_bond": 31_320_000}, {"min_bond": 31_319_999}, "min_bond"),
    ({"node_bond": 900_000}, {"node_bond": 899_999}, "node_bond"),
    ({"gas_post": 100_000}, {"gas_post": 100_001}, "node_bond"),
    ({"gas_open": 100_000}, {"gas_open": 100_001}, "node_bond"),
    ({"k": 64, "challenger_time": 5_000}, {"k": 65}, "k"),
    ({"k": 2, "challenger_time": 5_000, "server_time": 670, "min_bond": 10**8}, {"k": 1}, "k"),
    ({"share_denominator": 2}, {"share_denominator": 1}, "share"),
    ({}, {"share_numerator": 0}, "share"),
    ({"share_numerator": (1 << 31) - 1, "share_denominator": (1 << 32) - 1}, {"share_denominator": 1 << 32}, "counts"),
    ({}, {"claims_at_once": 0}, "counts"),
    ({"second_price": 1}, {"second_price": 0}, "prices"),
    ({"second_price": (1 << 64) - 1}, {"second_price": 1 << 64}, "prices"),
    ({"gas_price_cap": 1}, {"gas_price_cap": 0}, "prices"),
    ({"min_bond": (1 << 128) - 1}, {"min_bond": 1 << 128}, "bonds"),
    ({"node_bond": (1 << 128) - 1}, {"node_bond": 1 << 128}, "bonds"),
    ({"gas_choose": 20_000}, {"gas_choose": 19_999}, "gas"),
    ({"gas_choose": 80_000, "min_bond": 10**8}, {"gas_choose": 80_001, "min_bond": 10**8}, "gas"),
    ({"gas_post": 50_000}, {"gas_post": 49_999}, "gas"),
    ({"gas_open": 50_000}, {"gas_open": 49_999}, "gas"),
    ({"gas_arbitrate": 100_000}, {"gas_arbitrate": 99_999}, "gas"),
    ({}, {"effort": 0, "priority": 10}, "times"),
    ({}, {"inclusion": 0}, "times"),
    *(({name: YEAR - 1}, {name: YEAR}, "times") for name in ("window", "server_time", "challenger_time", "grace")),
    *(({}, {name: YEAR}, "times") for name in ("priority", "effort", "censorship", "inclusion", "detect")),
    *(({}, {name: -1}, "times") for name in ("censorship", "detect")),
]


@pytest.mark.parametrize(("holds", "broken", "name"), EXACT)
def test_each_bound_is_exact(holds: dict[str, Any], broken: dict[str, Any], name: str) -> None:
    evolve(PARAMETERS, **holds).check()
    assert refused(evolve(PARAMETERS, **holds | broken)) == [name]


def test_more_false_claims_at_once_need_more_time() -> None:
    """Each of the R − 1 choices of a path may wait for one choice in each of the other trees."""
    for m in (1, 2, 60):
        needed = 100 + (PARAMETERS.most_nodes - 1) * (30 + 10 + m * 20)
        evolve(PARAMETERS, claims_at_once=m, challenger_time=needed).check()
        assert refused(evolve(PARAMETERS, claims_at_once=m, challenger_time=needed - 1)) == ["challenger_time"]


def test_the_page_prints_the_defaults() -> None:
    section = PAGE.read_text().split("## 5.9")[1].split("## 5.10")[0]
    printed: dict[str, int] = {}
    for names, values in re.findall(r"^\| ([a-z_, ]+) \|[^|]*\| ([0-9,·^\- ]+) \|", section, re.M):
        numbers = values.split(", ") if ", " in names else [values]
        for name, value in zip(names.split(", "), numbers, strict=True):
            printed[name] = eval(value.replace(",", "").replace("·", "*").replace("^", "**"))
    assert printed == {each.name: each.default for each in fields(Parameters)}
    assert [*printed] == [each.name for each in fields(Parameters)]  # the order of the constructor
    for name, floor in GAS_FLOORS.items():
        assert re.search(rf"^\| {name} \|.*\| {floor:,} …", section, re.M), name
    assert f"… {GAS_CHOOSE_CEILING:,} |" in section
    assert "R = 13" in section
    assert Parameters().most_nodes == 13


def test_the_page_tells_what_it_costs_to_outlast_a_hold() -> None:
    fixed = Parameters()
    nodes = fixed.most_nodes + fixed.grace // fixed.effort
    lost, earned = (nodes * wei / 10**18 for wei in (fixed.node_bond, fixed.share(fixed.node_bond)))
    assert f"{lost:.1f} and {earned:.1f} ether with the defaults" in PAGE.read_text()


def test_the_front_page_tells_the_bounds_and_prices() -> None:
    """The days, minutes and ethers in the README at the top follow from the defaults."""
    fixed, text, day, ether = Parameters(), (PAGE.parents[3] / "README.md").read_text(), 86_400, 10**18
    lost = [bond - fixed.share(bond) for bond in (fixed.root_bond(fixed.min_bond), fixed.node_bond)]
    assert (fixed.window, fixed.server_time + fixed.challenger_time, fixed.grace) == (2 * day, 7 * day // 2, 3 * day // 2)
    assert "can be challenged for two days" in text
    assert "at the latest three and a half days later" in text
    assert "after another day and a half" in text
    assert (fixed.effort, fixed.challenger_time, fixed.claims_at_once) == (600, 2 * day, 10)
    assert f"the least one, {fixed.min_bond // ether} ether, delaying a true claim by up to two days costs {lost[0] / ether} ether" in text
    assert f"Every ten minutes more cost {lost[1] / ether} ether" in text
    assert f"An hour of a model's line costs {3_600 * fixed.second_price / ether} ether" in text
    assert (fixed.inclusion, fixed.censorship) == (60, day)
    assert "within a minute. Nobody is kept out for longer than a day" in text
