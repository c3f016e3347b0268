"""Money: how the bond of a fallen claim is divided, to the last wei, and that it does not depend on the order of collecting."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.dispute.money import Ledger, settle
from opml_spec.dispute.objects import ClaimStatus, child_id
from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import NothingToWithdraw
from spec_dispute import BOND, CHALLENGER, PARAMETERS, PUPPET, ROOT_BOND, SERVER, STRANGER, UNKNOWN, Table

NODE_BOND = PARAMETERS.node_bond
bonds = st.integers(0, (1 << 128) - 1)


@given(bonds, st.integers(1, 57), st.integers(0, 1 << 100), st.integers(1, 1 << 20), st.integers(2, 1 << 20))
def test_a_bond_is_divided_exactly(bond: int, depth: int, prices: int, numerator: int, more: int) -> None:
    """All three parts together never exceed the bond, and at least half of it does not go to the way down."""
    parameters = evolve(PARAMETERS, share_numerator=numerator, share_denominator=numerator + max(numerator, more))
    settled = settle(parameters, bond, depth, prices)
    assert settled.share == bond * numerator // parameters.share_denominator // depth
    assert settled.share * depth + settled.gas * prices + settled.burned == bond
    assert min(settled.share, settled.gas, settled.burned) >= 0
    assert 2 * settled.share * depth <= bond
    assert settled.gas <= parameters.gas_choose
    if prices and settled.gas < parameters.gas_choose:
        assert settled.burned < prices  # no wei more could be refunded evenly


@given(bonds, st.integers(0, 1000))
def test_the_bond_of_the_root(bond: int, nodes: int) -> None:
    root = PARAMETERS.root_bond(bond)
    assert root == max(NODE_BOND, bond // 8)
    assert PARAMETERS.node_bonds(bond, nodes) == sum([root, *[NODE_BOND] * (nodes - 1)][:nodes])


def test_the_ledger() -> None:
    ledger = Ledger().deposit(10).credit(SERVER, 4).burn(3).credit(SERVER, 1).credit(PUPPET, 0)
    assert ledger == Ledger(locked=2, burned=3, paid_out=0, deposits=10, credited={SERVER: 5})
    assert ledger.pay_out(SERVER) == Ledger(locked=2, burned=3, paid_out=5, deposits=10, credited={})
    for who in (PUPPET, STRANGER):
        with pytest.raises(NothingToWithdraw):
            ledger.pay_out(who)
    assert ledger.balanced
    assert not evolve(ledger, burned=4).balanced


def fallen(basefee: int = 0, wide: int = 3) -> Table:
    """A claim that fell two nodes below the root; `wide` parts of the root were opened, the one on the way first."""
    table = Table(basefee=basefee)
    told = table.trace()
    table.asked().claimed(told.run_hash).challenged().answered(told)
    table.now += PARAMETERS.priority
    for part in range(wide):
        table.chosen(part, sender=PUPPET if part else CHALLENGER)
    at = child_id(table.root, 0)
    table.answered(told, at).chosen(1, at)
    at = child_id(at, 1)
    table.now = table.node(at).clock.due + PARAMETERS.server_time + 1
    table.act("timeout", at)
    assert table.claim.fell_at == at
    return table


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("basefee", [0, 1, 3, 1_000])
def test_a_fall(basefee: int, backwards: bool) -> None:
    table, price = fallen(basefee), min(basefee, 3)
    share = BOND // 3 // 3
    before = table.court.ledger.burned
    nodes = list(table.court.nodes)
    for node_id in reversed(nodes) if backwards else nodes:
        table.act("collect", node_id)
        table.refused(228, "collect", node_id)
    assert table.credit(CHALLENGER) == ROOT_BOND + 2 * NODE_BOND + 3 * share
    assert table.credit(PUPPET) == 2 * (NODE_BOND + price * 20_000)
    assert table.court.ledger.burned - before == 3 * price * 20_000  # of the nodes on the way
    assert table.court.ledger.locked == table.court.requests[table.request_id].fee_left


def test_refunds_reach_as_far_as_the_bond_does() -> None:
    """A bond that is too small for all gas is divided by price; nothing is left over."""
    parameters = evolve(PARAMETERS, min_bond=31_320_000, gas_price_cap=3)
    settled = settle(parameters, 1_000, 1, 20)
    assert (settled.share, settled.gas, settled.burned) == (333, 33, 7)
    assert settle(parameters, 1_000, 1, 668) == settle(parameters, 1_000, 1, 1 << 90) == evolve(settled, gas=0, burned=667)


def test_collect_is_for_rejected_claims() -> None:
    table = Table()
    told = table.trace()
    table.asked().claimed(told.run_hash).challenged().answered(told)
    table.refused(204, "collect", UNKNOWN)
    table.refused(228, "collect", table.root)
    table.finalised(told)
    assert table.claim.status is ClaimStatus.FINAL
    table.refused(228, "collect", table.root)


def test_the_defaults_pay_a_winner_for_the_longest_path() -> None:
    """One who plays every node of the way gets more than its gas at the cap, whatever the bond."""
    parameters = Parameters()
    r = parameters.most_nodes
    share = settle(parameters, parameters.min_bond, r, 0).share * r
    assert share + r >= r * (parameters.gas_choose + parameters.gas_arbitrate) * parameters.gas_price_cap
