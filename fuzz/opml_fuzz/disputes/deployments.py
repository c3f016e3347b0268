"""Deployments with parameters at the limits of their bounds: specification and contract must accept and refuse the same ones.

*Source*: spec §5.7.
"""

from random import Random

from attrs import asdict, astuple, evolve
from opml_spec.dispute.acts import deploy
from opml_spec.dispute.money import Parameters
from opml_spec.errors import SpecError

from evm_arbiter.chain import Chain
from evm_arbiter.court import Court as Contract
from evm_arbiter.court import Refused
from evm_arbiter.parameters import Parameters as ContractParameters
from opml_fuzz.disputes.both_courts import PARAMETERS, CourtsDiffer


def tight_parameters(rng: Random) -> Parameters:
    """Draws parameters for which each bound holds exactly or is missed by one; sometimes one value is 0."""
    numerator, denominator = rng.choice(((1, 2), (2, 5), (1, 3), (499, 1_000), (50, 99), (0, 1)))
    free = evolve(
        PARAMETERS,
        k=rng.choice((2, 3, 4, 7, 32, 63, 64)),
        share_numerator=numerator,
        share_denominator=denominator,
        side_gas=rng.randrange(1_000),
        gas_per_second=rng.randrange(1, 50),
        games_at_once=rng.randrange(1, 50),
        machines=rng.randrange(1, 9),
        game_effort_seconds=rng.randrange(100),
        gas_price_cap_wei=rng.randrange(5),
    )
    bond = -(-free.side_gas * free.gas_price_cap_wei * denominator // max(numerator, 1))  # the smallest whose share pays the gas
    watch = free.censorship_seconds + free.inclusion_seconds + free.detect_seconds + free.recompute_seconds
    tight = evolve(
        free,
        window_seconds=watch,
        server_seconds=free.needed_seconds(free.games_at_once),
        challenger_seconds=free.needed_seconds(1),
        challenger_bond_wei=bond,
        server_bond_wei=free.games_at_once * bond,
    )
    name = rng.choice(list(asdict(tight)))
    value = getattr(tight, name)
    return evolve(tight, **{name: rng.choice((value, value + 1, max(0, value - 1), 0))})


def deploy_on_both(parameters: Parameters) -> bool:
    """Deploys on both and tells whether they accept; raises `CourtsDiffer` if only one of them does."""
    answers = []
    try:
        deploy(parameters)
        answers.append("ok")
    except SpecError as error:
        answers.append(f"{error.number} {error.name}")
    try:
        Contract(Chain(), ContractParameters(*astuple(parameters)))
        answers.append("ok")
    except Refused as refused:
        answers.append(f"{refused.number} {refused.name}")
    if answers[0] != answers[1]:
        raise CourtsDiffer(f"answer to {parameters}", *answers)
    return answers[0] == "ok"
