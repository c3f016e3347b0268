"""What a deployment fixes: rules, times and bonds, and the assumptions behind them.

The defaults suit claims about a language model's answer: days for people to react, and bonds that cover the gas of a whole game.

*Source*: spec §5.7. The gas figures are in MEASUREMENTS.md.
"""

from attrs import frozen

DAY = 86_400  # seconds
ETHER = 10**18  # wei
GWEI = 10**9  # wei


@frozen
class Parameters:
    """The arguments of a deployment. The contract's constructor checks them against each other (spec §5.7)."""

    k: int = 32  # parts of a segment. Source: the whole games in MEASUREMENTS.md, of which k = 32 costs least
    share_numerator: int = 1  # this share of a lost bond is paid out ...
    share_denominator: int = 2  # ... and the rest burned
    window_seconds: int = 3 * DAY  # W: the challenge period of a claim
    server_seconds: int = 2 * DAY  # T_server: the server's time in a game
    challenger_seconds: int = 2 * DAY  # T_challenger
    server_bond_wei: int = 10 * ETHER
    challenger_bond_wei: int = ETHER
    censorship_seconds: int = DAY  # C: how long in total a party may be kept from the chain
    inclusion_seconds: int = 60  # d: from sending to inclusion
    effort_seconds: int = 600  # E: computing one move
    games_at_once: int = 64  # n_max: games that a server must be able to answer
    side_gas: int = 1_500_000  # G_side: what one side of the longest game uses, rounded up
    gas_per_second: int = 1_000_000  # Γ: a third of main net's in 2025 (36,000,000 every 12 s)
    game_effort_seconds: int = 3_600  # E_game: computing for one game
    machines: int = 16  # M: computers that work in parallel
    detect_seconds: int = 3_600  # T_detect: until a validator sees a claim
    recompute_seconds: int = DAY  # T_recompute: until it has the run
    gas_price_cap_wei: int = 200 * GWEI  # above this price the shares paid out no longer cover the gas
