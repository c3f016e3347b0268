"""Parameters: what a deployment fixes, and the bounds under which an honest side cannot lose.

The bounds tie the rules (times, bonds) to the assumptions behind them (censorship, delay, effort, gas). The defaults satisfy them.

*Source*: spec §5.9.
"""

from attrs import fields, frozen

from opml_spec.dispute.narrowing import most_nodes
from opml_spec.errors import BadParameters

YEAR = 365 * 24 * 60 * 60
"""Seconds that no time of the game reaches. (= 31536000)"""

MOST_PARTS = 64
WEI_LIMIT = 1 << 128  # no amount of money reaches it
TIME_LIMIT = 1 << 39  # no claim closes so late, in seconds since 1970

GAS_FLOORS = {"gas_post": 50_000, "gas_open": 50_000, "gas_choose": 20_000, "gas_arbitrate": 100_000}
GAS_CHOOSE_CEILING = 4 * 20_000
"""Four fresh storage words, which a choice certainly writes: what is refunded was spent. (= 80000)"""


@frozen
class Parameters:
    """The rules of one deployment, in the order in which the contract takes them. Times are seconds, money is wei."""

    k: int = 32
    """Parts into which a segment is cut."""
    share_numerator: int = 1
    """Of a lost bond the share φ is paid out …"""
    share_denominator: int = 2
    """… and the rest burned."""
    window: int = 172_800
    """W: how long a claim can be challenged."""
    server_time: int = 129_600
    """T_server: how late the server may be, in all, along one path."""
    challenger_time: int = 172_800
    """T_challenger: how long the challengers may take, in all, along one path."""
    priority: int = 660
    """P: how long after an answer only the node's opener may choose."""
    grace: int = 129_600
    """How long a claim that could be finalised waits for it."""
    effort: int = 600
    """E: to compute one answer or one choice."""
    censorship: int = 86_400
    """C: how long, in all, a side can be kept from the chain."""
    inclusion: int = 60
    """d: from sending to inclusion."""
    detect: int = 3_600
    """T_detect: until a validator has seen a claim."""
    claims_at_once: int = 10
    """m: false claims that a validator can fight at once."""
    min_bond: int = 2 * 10**18
    """B_min: the least bond of a request's claims."""
    node_bond: int = 125 * 10**15
    """B_node: the bond of a choice."""
    second_price: int = 10**12
    """What a second in the line of a model costs."""
    gas_post: int = 150_000
    gas_open: int = 200_000
    gas_choose: int = 80_000
    """The marginal gas of a choice in a batch."""
    gas_arbitrate: int = 300_000
    gas_price_cap: int = 200 * 10**9
    """Up to this base fee the gas of choices is refunded."""

    def share(self, wei: int) -> int:
        """φ of an amount, rounded down."""
        return wei * self.share_numerator // self.share_denominator

    @property
    def most_nodes(self) -> int:
        """R: no path is longer."""
        return most_nodes(self.k)

    @property
    def hold(self) -> int:
        """How long after it closes a pending claim may keep a fee back: its tree has ended by then, if it is one path."""
        return self.server_time + self.challenger_time + self.most_nodes * self.effort + self.grace

    def root_bond(self, claim_bond: int) -> int:
        """B_root: what it takes to challenge a claim with this bond."""
        return max(self.node_bond, claim_bond // 8)

    def node_bonds(self, claim_bond: int, nodes: int) -> int:
        """The sum of the bonds of a claim's nodes."""
        return self.root_bond(claim_bond) + (nodes - 1) * self.node_bond if nodes else 0

    def check(self) -> None:
        """Refuses parameters under which an honest side could lose."""
        broken = [name for name, holds in self.bounds().items() if not holds]
        if broken:
            raise BadParameters(", ".join(broken))

    def bounds(self) -> dict[str, bool]:
        """Each bound of spec §5.9, and whether it holds."""
        values = {each.name: getattr(self, each.name) for each in fields(Parameters)}
        times = ("window", "server_time", "challenger_time", "priority", "grace", "effort", "censorship", "inclusion", "detect")
        small = ("share_denominator", "claims_at_once", *GAS_FLOORS)
        ranges = {
            "k": 2 <= self.k <= MOST_PARTS,
            "share": self.share_numerator >= 1 and 2 * self.share_numerator <= self.share_denominator,
            "times": all(0 <= values[name] < YEAR for name in times) and min(self.window, self.effort, self.inclusion) > 0,
            "counts": self.claims_at_once >= 1 and all(values[name] < 1 << 32 for name in small),
            "prices": 1 <= self.second_price < 1 << 64 and 1 <= self.gas_price_cap < 1 << 64,
            "bonds": 0 <= self.min_bond < WEI_LIMIT and 0 <= self.node_bond < WEI_LIMIT,
            "gas": all(values[name] >= floor for name, floor in GAS_FLOORS.items()) and self.gas_choose <= GAS_CHOOSE_CEILING,
        }
        if not all(ranges.values()):
            return ranges
        choice = self.priority + self.inclusion + self.claims_at_once * self.effort
        path_gas = self.most_nodes * (self.gas_choose + self.gas_arbitrate)
        move_gas = max(self.gas_post, self.gas_open, self.gas_arbitrate)
        return {
            "window": self.window >= self.censorship + self.inclusion + self.detect,
            "server_time": self.server_time >= self.censorship + self.most_nodes * self.inclusion,
            "challenger_time": self.challenger_time >= self.censorship + (self.most_nodes - 1) * choice,
            "priority": self.priority >= self.inclusion + self.effort,
            "grace": self.grace >= self.censorship + self.inclusion + self.effort,
            "min_bond": self.share(self.min_bond) >= path_gas * self.gas_price_cap,
            "node_bond": self.share(self.node_bond) >= move_gas * self.gas_price_cap,
        }
