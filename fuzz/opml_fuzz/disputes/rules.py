"""The parameters that random disputes are played under: short times, bounds that hold with little to spare, and small bonds or huge ones.

*Source*: spec §5.9.
"""

from attrs import evolve
from opml_spec.dispute.parameters import Parameters

DEEP = Parameters(
    k=2,
    share_numerator=2,
    share_denominator=5,
    window=160,
    server_time=170,
    challenger_time=830,
    priority=7,
    grace=110,
    effort=5,
    censorship=100,
    inclusion=1,
    detect=20,
    claims_at_once=1,
    min_bond=40_000_007,
    node_bond=600_011,
    second_price=3,
    gas_post=50_000,
    gas_open=50_001,
    gas_choose=20_000,
    gas_arbitrate=100_000,
    gas_price_cap=2,
)
"""Two parts at each node, so paths are long. No share divides a bond evenly."""

RULES = (
    DEEP,
    evolve(DEEP, k=3, share_numerator=1, share_denominator=3, priority=6, effort=1),
    evolve(DEEP, k=5, share_numerator=1, share_denominator=2, node_bond=5_000_003, claims_at_once=2),
    evolve(
        DEEP,
        k=64,
        share_numerator=499,
        share_denominator=1_000,
        window=900,
        priority=36,
        grace=140,
        effort=35,
        min_bond=7_940_001,
        gas_choose=80_000,
    ),
    evolve(
        DEEP,
        k=4,
        share_numerator=(1 << 31) - 5,
        share_denominator=(1 << 32) - 1,
        min_bond=(1 << 100) + 5,
        node_bond=(1 << 96) + 3,
        second_price=(1 << 63) + 9,
        gas_price_cap=(1 << 63) + 1,
    ),
)
"""Under the last but one, a claim with some thirty nodes can refund less than the whole gas of each, and a server that is asked much has
long. Under the last, no amount of money fits 64 bits, and a bond times the numerator of a share does not fit 128."""

CROWDED_RULES = 3
"""Under which trees get crowded."""
