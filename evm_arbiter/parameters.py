"""What a deployment fixes: how segments are cut, times, bonds, prices, and the assumptions that they rest on.

The defaults are for claims about a language model's answers: days for people to wake up, bonds that cover the gas of a whole dispute.

*Source*: spec/opml_spec/dispute/README.md, 5.9. The gas figures are measured in evm_arbiter/README.md.
"""

from attrs import frozen

DAY = 86_400  # seconds
ETHER = 10**18  # wei
GWEI = 10**9  # wei


@frozen
class Parameters:
    """What a deployment fixes. The constructor of the contract checks them against each other (5.9)."""

    k: int = 32  # parts of a segment. Source: the table in evm_arbiter/README.md
    share_numerator: int = 1  # φ: of a lost bond, this share is paid out ...
    share_denominator: int = 2  # ... and the rest burned
    window: int = 2 * DAY  # W, in seconds: how long a claim can be challenged
    server_time: int = 36 * 3_600  # T_server, in seconds: how late the server may be, in all, on a path
    challenger_time: int = 2 * DAY  # T_challenger, in seconds: how long the challengers may take, in all, on a path
    priority: int = 660  # P, in seconds: while a posted node belongs to its opener
    grace: int = 36 * 3_600  # seconds from when a claim could be final until it expires
    effort: int = 600  # E, in seconds: for an answer or a choice
    censorship: int = DAY  # C, in seconds: how long, in all, a side can be kept from the chain
    inclusion: int = 60  # d, in seconds: from sending to inclusion
    detect: int = 3_600  # T_detect, in seconds: until a validator has seen a claim
    claims_at_once: int = 10  # m: false claims that a validator can fight at once
    min_bond: int = 2 * ETHER  # B_min: what a request must ask of each claim, at least
    node_bond: int = ETHER // 8  # B_node
    second_price: int = 10**12  # wei burned for each second of work in a model's line
    gas_post: int = 150_000  # G_post: what an answer costs the server, at most ...
    gas_open: int = 200_000  # G_open
    gas_choose: int = 80_000  # G_choose: ... and a choice at least, which is what is refunded
    gas_arbitrate: int = 300_000  # G_arbitrate
    gas_price_cap: int = 200 * GWEI  # above it the payable shares no longer cover the gas


def share_of(parameters: Parameters, amount: int) -> int:
    """The part of a lost bond that is paid out, φ(amount)."""
    return amount * parameters.share_numerator // parameters.share_denominator


def root_bond(parameters: Parameters, bond: int) -> int:
    """What it costs to challenge a claim with this bond, B_root."""
    return max(parameters.node_bond, bond // 8)
