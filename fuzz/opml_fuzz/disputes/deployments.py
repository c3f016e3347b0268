"""Deployments with parameters at the limits of their bounds: specification and contract must accept and refuse the same ones.

*Source*: spec §5.9.
"""

from collections.abc import Iterator
from itertools import islice
from random import Random

from attrs import asdict, evolve
from opml_spec.dispute.acts import deploy
from opml_spec.dispute.parameters import YEAR, Parameters
from opml_spec.errors import SpecError

from evm_arbiter.chain import Artefact
from opml_fuzz.disputes.both_courts import CourtsDiffer
from opml_fuzz.disputes.contract import Contract, Failed
from opml_fuzz.disputes.rules import DEEP

TIMES = ("window", "server_time", "challenger_time", "priority", "grace", "effort", "censorship", "inclusion", "detect")
LIMITS = {
    **dict.fromkeys(TIMES, (YEAR, YEAR - 1, 0, 1)),
    **dict.fromkeys(("share_denominator", "claims_at_once"), (1 << 32, (1 << 32) - 1, 0, 1)),
    **dict.fromkeys(("gas_post", "gas_open", "gas_arbitrate"), (1 << 32, (1 << 32) - 1, 49_999, 50_000, 99_999, 100_000)),
    **dict.fromkeys(("second_price", "gas_price_cap"), ((1 << 64) - 1, 0, 1)),
    **dict.fromkeys(("min_bond", "node_bond"), ((1 << 128) - 1, 0, 1)),
    "k": (2, 64, 65),
    "share_numerator": (0, 1),
    "gas_choose": (19_999, 20_000, 80_000, 80_001),
}
"""Values of a parameter at its own limits."""


def tight_parameters(rng: Random) -> Parameters:
    """Draws parameters for which each bound holds exactly, with one of them at its own limit or moved by one or to 0."""
    numerator, denominator = rng.choice(((1, 2), (2, 5), (1, 3), (499, 1_000), (50, 99), (51, 101), (0, 1)))
    free = evolve(
        DEEP,
        k=rng.choice((2, 3, 4, 7, 32, 63, 64)),
        share_numerator=numerator,
        share_denominator=denominator,
        effort=rng.randrange(1, 50),
        censorship=rng.randrange(200),
        inclusion=rng.randrange(1, 20),
        detect=rng.randrange(50),
        claims_at_once=rng.randrange(1, 9),
        second_price=rng.randrange(1, 9),
        gas_post=rng.choice((50_000, 300_000)),
        gas_open=rng.choice((50_000, 400_000)),
        gas_choose=rng.choice((20_000, 80_000)),
        gas_arbitrate=rng.choice((100_000, 350_000)),
        gas_price_cap=rng.randrange(1, 9),
    )
    if rng.random() < 0.4:
        name = rng.choice(list(LIMITS))
        limit = {name: rng.choice(LIMITS[name])}
        return evolve(exactly(evolve(free, **limit)), **limit)
    tight = exactly(free)
    name = rng.choice(list(asdict(tight)))
    value = getattr(tight, name)
    return evolve(tight, **{name: rng.choice((value, value + 1, max(0, value - 1), max(0, value - 1), 0))})


def at_limits(part: int = 0, parts: int = 1) -> Iterator[Parameters]:
    """Yields parameters for which each bound holds exactly, with every one of them in turn moved by one, or at its own limits.

    part, parts: every so many of them, beginning with that of this number"""
    return islice(_all_at_limits(), part, None, parts)


def _all_at_limits() -> Iterator[Parameters]:
    free = evolve(DEEP, k=7, effort=31, censorship=101, inclusion=11, detect=7, claims_at_once=3)
    tight = exactly(free)
    for name, value in asdict(tight).items():
        yield from (evolve(tight, **{name: moved}) for moved in (value + 1, value - 1) if moved >= 0)
        for limit in LIMITS[name]:
            yield evolve(exactly(evolve(free, **{name: limit})), **{name: limit})


def exactly(free: Parameters) -> Parameters:
    """Keeps the assumptions, and sets the times and bonds that just suffice for them."""
    answer = free.inclusion + free.effort
    bounded = evolve(free, priority=answer, window=max(1, free.censorship + free.inclusion + free.detect), grace=free.censorship + answer)
    choice = bounded.priority + free.inclusion + free.claims_at_once * free.effort
    path_gas = free.most_nodes * (free.gas_choose + free.gas_arbitrate)
    return evolve(
        bounded,
        server_time=free.censorship + free.most_nodes * free.inclusion,
        challenger_time=free.censorship + (free.most_nodes - 1) * choice,
        min_bond=bond_for(free, path_gas * free.gas_price_cap),
        node_bond=bond_for(free, max(free.gas_post, free.gas_open, free.gas_arbitrate) * free.gas_price_cap),
    )


def bond_for(free: Parameters, wei: int) -> int:
    """The smallest bond whose share pays this."""
    return -(-wei * free.share_denominator // max(free.share_numerator, 1))


def deploy_on_both(parameters: Parameters, game: Artefact | None = None) -> bool:
    """Deploys on both and tells whether they accept; raises `CourtsDiffer` if only one of them does."""
    try:
        deploy(parameters)
        expected = None
    except SpecError as error:
        expected = error.number
    try:
        Contract(parameters, game)
        said = None
    except Failed as failed:
        said = failed.number or 0
    if expected != said:
        raise CourtsDiffer(f"answer to {parameters}", expected, said)
    return expected is None
