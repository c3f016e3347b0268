"""The damage of several attacks as a table for people, with what its columns mean and the prices that the specification prints."""

from collections.abc import Callable, Iterable

from evm_arbiter.parameters import Parameters, root_bond, share_of
from opml_min.cli.simulate.damage import Damage

ETHER = 10**18
Column = tuple[str, Callable[[Damage], str]]


def ether(wei: int | None) -> str:
    return "–" if wei is None else f"{wei / ETHER:.4g}"


def hours(value: float) -> str:
    return f"{value:.1f}" if value else "0"


def griefed(each: Damage) -> str:
    """Three ratios: without gas, with gas, and with gas after all that the contract pays to the honest."""
    found = [each.griefing(wei) for wei in (each.honest_loss, each.honest_loss + each.honest_gas, each.honest_shortfall)]
    return " · ".join("–" if ratio is None else f"{ratio:.2g}" for ratio in found)


COLUMNS: tuple[Column, ...] = (
    ("attack", lambda each: each.attack),
    ("staked", lambda each: ether(each.staked)),
    ("lost", lambda each: ether(each.lost)),
    ("page", lambda each: ether(each.page_price)),
    ("burned", lambda each: ether(each.burned)),
    ("delay h", lambda each: hours(each.delay_hours) + (f" ({each.unanswered} none)" if each.unanswered else "")),
    ("fee h", lambda each: hours(each.fee_hours)),
    ("stall h", lambda each: hours(each.stalled_hours)),
    ("per hour", lambda each: ether(each.per_hour)),
    ("page/h", lambda each: ether(each.page_per_hour)),
    ("griefed per lost", griefed),
    ("false final", lambda each: f"{each.false_finals} of {each.false_claims}"),
    ("each cost", lambda each: ether(each.per_false_claim)),
    ("tied", lambda each: ether(each.honest_tied)),
    ("server", lambda each: ether(each.server_earned)),
    ("validator", lambda each: ether(each.validator_earned)),
)
MEANINGS = """
Money in ether, gas not included.
staked            the most at stake at one time
page              what an attack costs at least by the formulas of the specification
delay             of the result of an honest request, for requester and server; per hour: of the delay of one result
fee               how much later the fee of an honest request is paid or goes back
stall             of the fall of a false claim, which only holds up the validator's bonds
griefed per lost  what honest sides lost for each wei that the attacker lost: without gas · with gas · with gas after refunds and shares
tied              the most that the honest validator had at stake at one time
each cost         what the attacker lost for each false claim
"""


def table(damages: Iterable[Damage], parameters: Parameters) -> str:
    """Aligns the columns, and explains them."""
    rows = [[name for name, _ in COLUMNS], *([show(each) for _, show in COLUMNS] for each in damages)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join([*lines, MEANINGS, prices(parameters)])


def prices(parameters: Parameters) -> str:
    """The prices of spec §5.9 for claims of the least bond."""
    p = page_prices(parameters)
    return (
        f"The page's prices: the first {p['first_hours']:g} h of delay {ether(p['first_wei'])}, each further {p['further_minutes']:g} min "
        f"{ether(p['further_wei'])}, an hour of the line {ether(p['line_hour_wei'])}, a false claim "
        f"{ether(p['false_claim_wei'])}, a false result {ether(p['false_result_wei'])}:\n"
        "it takes more than m false claims at once, of which m fall."
    )


def page_prices(parameters: Parameters) -> dict[str, int]:
    """What spec §5.9 prints, for claims of the least bond: the attacker's net loss if it is on both sides."""
    root = root_bond(parameters, parameters.min_bond)
    lie = parameters.min_bond - share_of(parameters, parameters.min_bond)
    return {
        "first_hours": parameters.challenger_time // 3_600,
        "first_wei": root - share_of(parameters, root),
        "further_minutes": parameters.effort // 60,
        "further_wei": parameters.node_bond - share_of(parameters, parameters.node_bond),
        "line_hour_wei": 3_600 * parameters.second_price,
        "false_claim_wei": lie,
        "false_result_wei": parameters.claims_at_once * lie,
    }
