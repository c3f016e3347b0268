"""Bonds: the bounds on parameters at their exact limits, and where all money goes."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.dispute.acts import Collect, deploy
from opml_spec.dispute.game import Choose, Post
from opml_spec.dispute.money import Ledger, Parameters, ceil_divide
from opml_spec.errors import BadParameters, NothingToWithdraw
from spec_dispute import CHALLENGER, PARAMETERS, PUPPET, SERVER, TEXT, Table, account, call_timeout, memory_of

LYING = bytes(32)  # the run hash of somebody who does not care
TRUTH = account(memory_of(*TEXT), 3)


def test_the_bounds_are_those_of_the_text() -> None:
    assert PARAMETERS.moves_of_a_side == 12 + 16 + 2
    waiting, load = 100 + 30 * (10 + 20), 15 + 9  # C + R(d + E); ceil(150/10) + ceil(60/7)
    assert PARAMETERS.needed_seconds(1) == waiting + load
    assert PARAMETERS.needed_seconds(10) == waiting + 10 * load
    assert PARAMETERS.claim_seconds == 1_000 + 2_000 + 1_500 + 10
    assert (ceil_divide(6, 3), ceil_divide(7, 3), ceil_divide(0, 3)) == (2, 3, 0)
    assert deploy(PARAMETERS).parameters == PARAMETERS


TIGHT = evolve(
    PARAMETERS, server_seconds=1_240, challenger_seconds=1_024, server_bond_wei=9_000, challenger_bond_wei=900, gas_price_cap_wei=2
)  # each bound holds with nothing to spare

BREAKS = {
    "k": [{"k": 1}, {"k": 65}],
    "divisors": [{"share_denominator": 0}, {"gas_per_second": 0}, {"machines": 0}],
    "share": [{"share_numerator": 2, "share_denominator": 3}, {"share_numerator": 501, "share_denominator": 1001}],
    "server's time": [{"server_seconds": 1_239}],
    "challenger's time": [{"challenger_seconds": 1_023}],
    "window": [{"window_seconds": 999}, {"detect_seconds": 301}, {"recompute_seconds": 591}],
    "gas of a winner": [{"challenger_bond_wei": 899, "server_bond_wei": 8_990}, {"gas_price_cap_wei": 3}],
    "price of many games": [{"server_bond_wei": 9_001}],
}


@pytest.mark.parametrize(("name", "change"), [(name, change) for name, changes in BREAKS.items() for change in changes])
def test_every_bound_is_checked_at_its_border(name: str, change: dict[str, int]) -> None:
    TIGHT.check()
    with pytest.raises(BadParameters, match="232 PARAMETERS") as refused:
        deploy(evolve(TIGHT, **change))
    assert name in str(refused.value)


def test_the_largest_k_and_share_are_allowed() -> None:
    evolve(PARAMETERS, k=64, share_numerator=1, share_denominator=2).check()
    evolve(PARAMETERS, k=2, server_seconds=10_000, challenger_seconds=10_000).check()


@given(st.integers(0, 10**24), st.integers(0, 50), st.integers(1, 100))
def test_at_most_half_a_bond_is_paid_out(bond: int, numerator: int, denominator: int) -> None:
    parameters: Parameters = evolve(PARAMETERS, share_numerator=min(numerator, denominator // 2), share_denominator=denominator)
    share = parameters.share(bond)
    assert 2 * share <= bond
    assert share * denominator <= bond * parameters.share_numerator < (share + 1) * denominator


def test_the_ledger() -> None:
    ledger = Ledger().deposit(100).credit(CHALLENGER, 30).burn(20)
    assert (ledger.locked, ledger.burned, ledger.credited, ledger.deposits) == (50, 20, {CHALLENGER: 30}, 100)
    paid = ledger.credit(CHALLENGER, 1).pay_out(CHALLENGER)
    assert (paid.locked, paid.paid_out, paid.credited) == (49, 31, {CHALLENGER: 0})
    assert ledger.balanced
    assert paid.balanced
    assert not evolve(paid, burned=21).balanced
    for nobody in (CHALLENGER, SERVER):
        with pytest.raises(NothingToWithdraw):
            paid.pay_out(nobody)


def test_a_lost_challenge_pays_the_server_its_share_and_burns_the_rest() -> None:
    table = Table().asked().claimed(TRUTH.run_hash).challenged()
    table.play(Post((bytes(32),) * 2), SERVER)
    call_timeout(table, 1_501)
    ledger = table.court.ledger
    assert (ledger.credited, ledger.burned) == ({SERVER: 333}, 1_001 - 333)
    claim = table.court.claims[table.claim_id]
    assert (claim.open_games, claim.weight) == (0, 0)


def post_and_choose(table: Table, game_id: bytes, challenger: bytes) -> None:
    table.play(Post((bytes(32),) * 2), SERVER, game_id)
    table.play(Choose(0), challenger, game_id)


def test_a_lost_bond_is_split_by_accepted_moves_over_won_and_voided_games() -> None:
    """Who made a puppet win first gets no more than for its own moves."""
    table = Table().asked().claimed(LYING).challenged(CHALLENGER)
    honest = table.game_id
    post_and_choose(table, honest, CHALLENGER)
    puppets = [table.challenged(PUPPET).game_id for _ in range(2)]
    lost = table.challenged(PUPPET).game_id  # the server answers it, and the puppet runs out of time
    table.play(Post((bytes(32),) * 2), SERVER, lost)
    call_timeout_of(table, lost, 1_501)
    assert table.court.claims[table.claim_id].weight == 2 + 1 + 1
    call_timeout_of(table, puppets[0], 500)  # the server concedes to its puppet
    claim, ledger = table.court.claims[table.claim_id], table.court.ledger
    unit = 10_000 // 3 // 4
    assert table.court.unit(claim) == unit == 833
    assert ledger.burned == (1_001 - 333) + (10_000 - 4 * unit)
    for game_id, sender in ((honest, CHALLENGER), (puppets[1], SERVER), (puppets[0], PUPPET)):
        table.act(Collect(game_id), sender)  # anybody may; it goes to the challenger
    assert table.court.ledger.credited == {SERVER: 333, CHALLENGER: 1_001 + 2 * unit, PUPPET: 2 * (1_001 + unit)}
    assert table.court.ledger.locked == 7_003  # the fee


def call_timeout_of(table: Table, game_id: bytes, seconds: int) -> None:
    table.game_id = game_id
    call_timeout(table, seconds)


@given(st.integers(0, 3), st.integers(0, 3))
def test_a_liar_that_challenges_itself_still_loses(before: int, after: int) -> None:
    """At least (1 − φ) of its bond, with any number of puppets."""
    table = Table().asked().claimed(LYING)
    games = [table.challenged(SERVER).game_id for _ in range(before)]
    games.append(table.challenged(CHALLENGER).game_id)
    games += [table.challenged(SERVER).game_id for _ in range(after)]
    for game_id in games[:before]:
        post_and_choose(table, game_id, SERVER)
    call_timeout_of(table, games[-1], 2_001)
    for game_id in games:
        table.act(Collect(game_id))
    back = table.court.ledger.credited.get(SERVER, 0)
    put_in = 10_000 + 1_001 * (before + after)
    assert put_in - back >= 10_000 - PARAMETERS.share(10_000)
    assert table.court.ledger.credited[CHALLENGER] > 1_001
