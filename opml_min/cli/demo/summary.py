"""A match as one JSON object."""

from typing import Any

from opml_min.cli.demo.evidence import evidence
from opml_min.cli.demo.play import Match


def summary(match: Match) -> dict[str, Any]:
    """The verdict, what was disputed, every transaction, and the money; null for what a match without a machine run does not have."""
    found, dispute = evidence(match), match.dispute
    segment = dispute and dispute.node.segment
    return {
        "verdict": match.verdict,
        "cheat": match.cheat.name,
        "who": match.cheat.who,
        "stage": found and found.stage,
        "op": found and found.op.name,
        "layer": found and found.op.layer,
        "position": found and found.op.position,
        "update": found and found.op.update,
        "weights": found and found.op.weights,
        "step": found and found.step,
        "instruction": found and found.instruction,
        "values": found and {"pc": hex(found.pc), "before": found.before, "after": found.after, "claimed": found.claimed},
        "dispute": segment and {"phase": segment.phase, "lo": segment.lo, "hi": segment.hi},
        "nodes": sum(len(claim.nodes) for claim in match.index.claims.values()),
        "moves": match.moves(),
        "gas": match.gas(),
        "transactions": [
            {"player": each.player, "move": each.move.name, "gas": each.gas_used, "refusal": each.refusal} for each in match.history
        ],
        "balances": match.balances(),
        "gains": {name: after - match.balances_before[name] for name, after in match.balances().items()},
        "money": match.money(),
        "money_adds_up": match.money_adds_up(),
        "honest_side_won": match.honest_side_won(),
    }
