"""Money: a liar loses more than anybody gains, so conceding to oneself never pays.

Money moves between five places, and only `Ledger` moves it: what is deposited is locked, credited to somebody, burned or paid out.
Of a lost bond at most the share φ ≤ ½ goes to the nodes that decided; out of the rest the other openers get the gas of their choices.
`Settlement` states those amounts. They depend on nothing that happens after the fall, so the order of collecting changes nothing.

*Source*: spec §5.6.
"""

from collections.abc import Mapping

from attrs import evolve, frozen

from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import NothingToWithdraw


@frozen
class Ledger:
    """Where all money is, in wei. `deposits = locked + Σ credited + burned + paid_out`, always."""

    locked: int = 0
    burned: int = 0
    paid_out: int = 0
    deposits: int = 0
    credited: Mapping[bytes, int] = {}

    def deposit(self, wei: int) -> "Ledger":
        """Locks what came with an act."""
        return evolve(self, deposits=self.deposits + wei, locked=self.locked + wei)

    def credit(self, address: bytes, wei: int) -> "Ledger":
        """Moves locked money to somebody, who may pull it."""
        if wei == 0:
            return self
        credited = {**self.credited, address: self.credited.get(address, 0) + wei}
        return evolve(self, locked=self.locked - wei, credited=credited)

    def burn(self, wei: int) -> "Ledger":
        """Moves locked money to nobody, for ever."""
        return evolve(self, locked=self.locked - wei, burned=self.burned + wei)

    def pay_out(self, address: bytes) -> "Ledger":
        """Pays all that is credited to somebody."""
        wei = self.credited.get(address, 0)
        if wei == 0:
            raise NothingToWithdraw
        rest = {holder: credit for holder, credit in self.credited.items() if holder != address}
        return evolve(self, paid_out=self.paid_out + wei, credited=rest)

    @property
    def balanced(self) -> bool:
        return self.deposits == self.locked + sum(self.credited.values()) + self.burned + self.paid_out


@frozen
class Settlement:
    """What becomes of the bond of a claim that fell."""

    share: int
    """Each node on the way to where it fell gets this."""
    gas: int
    """Each other node gets its price times this."""
    burned: int
    """Burned at once; the refunds of the nodes on the way are burned when these are collected."""


def settle(parameters: Parameters, bond: int, depth: int, prices: int) -> Settlement:
    """The settlement of a bond, if the claim fell at a node of this depth and its nodes have these prices in all."""
    share = parameters.share(bond) // depth
    pool = bond - depth * share
    gas = min(parameters.gas_choose, pool // prices) if prices else parameters.gas_choose
    return Settlement(share, gas, pool - gas * prices)
