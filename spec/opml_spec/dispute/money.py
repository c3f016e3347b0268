"""Bonds: a liar loses more than its opponents gain, so colluding with oneself never pays.

Of a lost bond at most the share φ ≤ ½ is paid out, the rest is burned with all rounding. Money moves between five places, and only
`Ledger` moves it: what is deposited is locked, credited to somebody, burned or paid out.

*Source*: spec §5.5 and §5.7.
"""

from collections.abc import Mapping

from attrs import evolve, frozen

from opml_spec.dispute.narrowing import most_rounds
from opml_spec.errors import BadParameters, NothingToWithdraw
from opml_spec.runs.limits import MOST_STAGES, STAGE_STEP_LIMIT

MOST_PARTS = 64


@frozen
class Parameters:
    """What is fixed when the contract is deployed: the rules, then the assumptions under which they are safe."""

    k: int
    share_numerator: int
    share_denominator: int
    window_seconds: int  # W: after a claim, how long it can be challenged
    server_seconds: int  # T_server: of one game
    challenger_seconds: int  # T_challenger
    server_bond_wei: int
    challenger_bond_wei: int
    censorship_seconds: int  # C: so long in all can a side be kept out
    inclusion_seconds: int  # d: from sending to being included
    effort_seconds: int  # E: to compute one move
    games_at_once: int  # n_max: games that the server must be able to answer
    side_gas: int  # G_side: of one side's moves in a whole game
    gas_per_second: int  # Γ: that one sender can get
    game_effort_seconds: int  # E_game: to compute all moves of a game
    machines: int  # M: on which the server computes
    detect_seconds: int  # T_detect: until a validator sees a claim
    recompute_seconds: int  # T_recompute: until it knows whether it is true
    gas_price_cap_wei: int

    @property
    def moves_of_a_side(self) -> int:
        """R: no side makes more moves in a game."""
        return most_rounds(MOST_STAGES, self.k) + most_rounds(STAGE_STEP_LIMIT, self.k) + 2

    @property
    def claim_seconds(self) -> int:
        """D_claim: a claim is decided by then."""
        return self.window_seconds + self.server_seconds + self.challenger_seconds + self.inclusion_seconds

    def share(self, bond_wei: int) -> int:
        """φ of a bond, rounded down."""
        return bond_wei * self.share_numerator // self.share_denominator

    def needed_seconds(self, games: int) -> int:
        """T_side for somebody who plays so many games at once."""
        moves = self.moves_of_a_side * (self.inclusion_seconds + self.effort_seconds)
        load = ceil_divide(self.side_gas, self.gas_per_second) + ceil_divide(self.game_effort_seconds, self.machines)
        return self.censorship_seconds + moves + games * load

    def check(self) -> None:
        """Refuses parameters under which an honest side could lose."""
        gas_wei = self.side_gas * self.gas_price_cap_wei
        watch = self.censorship_seconds + self.inclusion_seconds + self.detect_seconds + self.recompute_seconds
        bounds = {
            "k": 2 <= self.k <= MOST_PARTS,
            "divisors": min(self.share_denominator, self.gas_per_second, self.machines) > 0,
        }
        if all(bounds.values()):
            bounds |= {
                "share": 2 * self.share_numerator <= self.share_denominator,
                "server's time": self.server_seconds >= self.needed_seconds(self.games_at_once),
                "challenger's time": self.challenger_seconds >= self.needed_seconds(1),
                "window": self.window_seconds >= watch,
                "gas of a winner": min(self.share(self.server_bond_wei), self.share(self.challenger_bond_wei)) >= gas_wei,
                "price of many games": self.games_at_once * self.challenger_bond_wei >= self.server_bond_wei,
            }
        broken = [name for name, holds in bounds.items() if not holds]
        if broken:
            raise BadParameters(", ".join(broken))


def ceil_divide(dividend: int, divisor: int) -> int:
    """The quotient, rounded up."""
    return -(-dividend // divisor)


@frozen
class Ledger:
    """Where all money is, in wei. `deposits = locked + Σ credited + burned + paid_out`, always."""

    locked: int = 0
    burned: int = 0
    paid_out: int = 0
    deposits: int = 0
    credited: Mapping[bytes, int] = {}

    def deposit(self, wei: int) -> "Ledger":
        return evolve(self, deposits=self.deposits + wei, locked=self.locked + wei)

    def credit(self, address: bytes, wei: int) -> "Ledger":
        """From locked to somebody, who may pull it."""
        credited = {**self.credited, address: self.credited.get(address, 0) + wei}
        return evolve(self, locked=self.locked - wei, credited=credited)

    def burn(self, wei: int) -> "Ledger":
        return evolve(self, locked=self.locked - wei, burned=self.burned + wei)

    def pay_out(self, address: bytes) -> "Ledger":
        """All that is credited to somebody leaves."""
        wei = self.credited.get(address, 0)
        if wei == 0:
            raise NothingToWithdraw
        return evolve(self, paid_out=self.paid_out + wei, credited={**self.credited, address: 0})

    @property
    def balanced(self) -> bool:
        return self.deposits == self.locked + sum(self.credited.values()) + self.burned + self.paid_out
