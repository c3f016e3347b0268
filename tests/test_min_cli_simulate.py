"""`opml simulate`: no false result becomes final, nobody honest loses, attackers pay what the page says, and equal seeds play the same."""

import json
from typing import Any

import pytest
from attrs import evolve

from evm_arbiter.court import Court
from evm_arbiter.objects import Claimed, Expired, Fallen, Opened
from opml_min.cli import main
from opml_min.cli.demo.play import shared_computations
from opml_min.cli.demo.scene import scene_of
from opml_min.cli.simulate import ETHER, NEW_TOKENS
from opml_min.cli.simulate.arena import FEE_WEI, STAGE_MICROSECONDS, Arena, Terms
from opml_min.cli.simulate.attackers import Garbler
from opml_min.cli.simulate.attacks import ATTACKS, _line_lie
from opml_min.cli.simulate.damage import Damage, Quiet, damage
from opml_min.cli.simulate.table import COLUMNS, page_prices, table
from opml_min.model.resolve import resolve
from opml_min.players.chain import hold

QUICK = ("delay", "own-delay", "withheld", "stalled", "line", "pumping", "junk-first", "griefing", "copying")


@pytest.fixture(scope="module")
def damages() -> dict[str, Damage]:
    """One claim and two validators, as small as it gets."""
    court, compute, found = Court(), shared_computations(), {}
    scene, before, quiet = scene_of(resolve("embedded"), NEW_TOKENS), court.snapshot(), None
    for name in ("none", *QUICK):
        court.restore(before)
        arena = Arena.made(court, Terms(20 * ETHER, 2, 1, 7), scene, compute, name)
        arena.attackers = [] if name == "none" else ATTACKS[name].seats(arena)
        arena.run()
        if quiet is None:
            quiet = Quiet.measured(arena)
        else:
            found[name] = damage(name, arena, quiet)
    return found


@pytest.mark.parametrize("name", QUICK)
def test_attack_gains_nothing(name: str, damages: dict[str, Damage]) -> None:
    each = damages[name]
    assert each.false_finals == each.honest_loss == each.unanswered == 0
    assert 0 < each.staked <= 20 * ETHER
    assert each.lost + FEE_WEI >= each.page_price > 0  # an attacker that is the server earns the fee
    assert each.honest_shortfall < each.lost // 100


def first_claim(requests: int) -> int:
    """What the first claims of so many requests cost beside their bonds."""
    work = -(-scene_of(resolve("embedded"), NEW_TOKENS).stage_count * STAGE_MICROSECONDS // 10**6)
    return requests * work * Court().parameters.second_price


def test_delay_costs_what_the_page_prints(damages: dict[str, Damage]) -> None:
    printed = page_prices(Court().parameters)
    stranger, own, line = damages["delay"], damages["own-delay"], damages["line"]
    assert stranger.page_price == own.page_price - first_claim(1) == printed["first_wei"]
    assert stranger.lost == 2 * stranger.page_price  # the server has the other half
    assert stranger.delay_hours == pytest.approx(printed["first_hours"], abs=0.2)
    assert own.delay_hours > stranger.delay_hours  # its own clock comes on top
    assert line.lost == line.page_price
    assert line.page_price / printed["line_hour_wei"] == pytest.approx(line.delay_hours, abs=0.1)


def test_a_claim_that_is_given_up_buys_no_time_for_another(damages: dict[str, Damage]) -> None:
    """With the purse's nodes the other claim was due a day later; E and T_server after the fall it falls, too."""
    each, parameters = damages["pumping"], Court().parameters
    assert each.false_claims == 2
    assert each.staked > 19 * ETHER
    assert each.stalled_hours == pytest.approx((parameters.effort + parameters.server_time) / 3_600, abs=0.6)


def test_a_claim_that_expires_buys_no_time_for_another() -> None:
    """Its 150 nodes made the other one due long after its opening; E and T_server after it expired that one falls."""
    slow = evolve(Court().parameters, effort=3_600, priority=3_660, grace=90_060, challenger_time=174_240, claims_at_once=1)
    scene = scene_of(resolve("embedded"), NEW_TOKENS)
    arena = Arena.made(Court(parameters=slow), Terms(24 * ETHER, 2, 1, 1), scene, shared_computations(), "expiring")
    arena.attackers = ATTACKS["expiring"].seats(arena)
    arena.attackers[0].most = 150  # type: ignore[attr-defined]
    arena.attackers[1].parts = 149  # type: ignore[attr-defined]
    arena.run()
    events = [event for _, event in arena.happened]
    (expired,), (fallen,) = ([event for event in events if isinstance(event, kind)] for kind in (Expired, Fallen))
    (root,) = (event for event in events if isinstance(event, Opened) and event.node_id == fallen.node_id)
    assert sum(isinstance(event, Opened) and event.claim_id == expired.claim_id for event in events) == 150
    assert root.due > expired.at + 20 * slow.effort
    assert fallen.at == expired.at + slow.effort + slow.server_time + 1


def test_a_stalled_claim_holds_the_fee_for_hold_and_the_result_not_at_all(damages: dict[str, Damage]) -> None:
    each, parameters = damages["stalled"], Court().parameters
    assert each.delay_hours < 0.1
    assert each.fee_hours == pytest.approx(hold(parameters) / 3_600, abs=0.1)
    assert each.server_earned == FEE_WEI


def test_a_junk_first_claim_costs_the_honest_server_nothing(damages: dict[str, Damage]) -> None:
    each = damages["junk-first"]
    assert (each.false_claims, each.server_earned) == (1, FEE_WEI)
    assert each.delay_hours == each.fee_hours == 0


def test_what_waits_in_line_is_recomputed_in_its_order_and_in_time() -> None:
    """A false claim follows three true ones, each of which takes the validator an hour."""
    scene, hour = scene_of(resolve("embedded"), NEW_TOKENS), 3_600
    arena = Arena.made(Court(), Terms(20 * ETHER, 2, 1, 1), scene, shared_computations(), "line", -(-hour * 10**6 // scene.stage_count))
    arena.attackers = _line_lie(3, arena)
    arena.run()
    claims = {event.claim_id: (at, event.closes_at) for at, event in arena.happened if isinstance(event, Claimed)}
    (challenged,) = (event for _, event in arena.happened if isinstance(event, Opened) and event.opener == arena.validator.address
                     and not any(event.parent_id))  # fmt: skip
    first = min(at for at, _ in claims.values())
    assert first + 4 * hour <= challenged.since <= first + 5 * hour < claims[challenged.claim_id][1]
    assert damage("line", arena, Quiet([None], [None], 0, 0)).false_finals == 0


def test_griefing_costs_the_honest_validator_gas_only(damages: dict[str, Damage]) -> None:
    each = damages["griefing"]
    assert each.false_claims == 1
    assert each.validator_earned > 0  # the refunds
    assert 0 < each.honest_shortfall < each.honest_gas


def test_purse_is_never_exceeded() -> None:
    """A purse of seven ether pays three of ten false claims."""
    court = Court()
    arena = Arena.made(court, Terms(7 * ETHER, 2, 1, 1), scene_of(resolve("embedded"), NEW_TOKENS), shared_computations(), "poor")
    arena.attackers = [arena.setup.seat(Garbler, "liar", claims=10, noise=bytes(32))]
    arena.run()
    assert arena.most_staked_wei == 6 * ETHER + first_claim(1)
    assert sum(type(event).__name__ == "Fallen" for _, event in arena.happened) == 3


@pytest.mark.parametrize("name", ["lie", "false-claims"])
def test_false_result_is_seen(name: str) -> None:
    """Without a validator who is awake a lie becomes final, and the count says so."""
    court = Court()
    arena = Arena.made(court, Terms(3 * ETHER, 2, 1, 1), scene_of(resolve("embedded"), NEW_TOKENS), shared_computations(), name)
    arena.attackers = ATTACKS[name].seats(arena)
    arena.validator.groups = lambda: iter(())  # type: ignore[method-assign]
    arena.run()
    found = damage(name, arena, Quiet([None], [None], 0, 0))
    assert (found.false_finals, found.false_claims) == (1, 1)
    assert "1 of 1" in table([found], court.parameters)


def test_ratios() -> None:
    """Half of an ether for an ether, and four hours of delay for an ether."""
    lost = Damage("x", 0, ETHER, 0, 0, 0, 2.0, 4.0, 0, 0.0, 0.0, 1, 1, ETHER // 2, ETHER // 4, ETHER // 4, 0, 0, 0)
    assert lost.griefing(lost.honest_loss) == 0.5
    assert lost.per_hour == ETHER // 4
    assert tuple(show(lost) for name, show in COLUMNS if name in ("griefed per lost", "false final")) == ("0.5 · 0.75 · 0.25", "1 of 1")


def run(capsys: pytest.CaptureFixture[str], *options: str) -> Any:
    assert main(["simulate", "--claims", "1", "--validators", "2", *options]) == 0
    return capsys.readouterr().out


def test_command_is_deterministic(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (run(capsys, "--attack", "copying", "--json") for _ in range(2))
    assert first == second
    assert json.loads(first)["attacks"][0]["false_finals"] == 0


def test_bad_options(capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--validators", "1"], ["--validators", "7"], ["--claims", "9"]):
        assert main(["simulate", *options]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
