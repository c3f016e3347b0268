"""Crowds: so many nodes are opened in the tree of a false claim that its bond refunds less than the whole gas of each.

Players who open a node here and there never get that far. So here somebody opens all that is free, while base fees are high, and then the
tree is played down to the lie.

*Source*: spec §5.6.
"""

from opml_spec.dispute.honest import answer, false_part
from opml_spec.dispute.objects import Claim, ClaimStatus, NodeState, child_id, root_id

from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.moments import due
from opml_fuzz.disputes.players import Players

CROWDED = 26  # nodes of a tree
HIGH_BASEFEE = 50


def crowd(players: Players) -> Call | None:
    """Opens another node of a false claim with a small bond, or makes the next move towards its fall if its tree is crowded."""
    for claim_id in players.claims(ClaimStatus.PENDING):
        claim = players.court.claims[claim_id]
        if not is_to_crowd(players, claim_id, claim):
            continue
        players.basefee = HIGH_BASEFEE
        nodes = [(each, it) for each, it in players.court.nodes.items() if it.claim_id == claim_id and it.state is NodeState.POSTED]
        useful = [(each, it) for each, it in nodes if players.is_useful(each, it, claim)]
        free = [(each, it, part) for each, it in useful for part in players.free_parts(each, it)]
        if claim.nodes < CROWDED <= claim.nodes + len(free):
            node_id, node, part = players.rng.choice(free)
            return players.choice(node_id, node, part, node.opener)
        if call := go_down(players, claim_id):
            return call
    return None


def is_to_crowd(players: Players, claim_id: bytes, claim: Claim) -> bool:
    """Whether a claim is false and challenged, and its bond is about the least."""
    told, truth = players.traces[claim_id]
    is_small = players.court.requests[claim.request_id].bond <= players.court.parameters.min_bond + 1
    return told is not truth and is_small and claim.nodes > 0


def go_down(players: Players, claim_id: bytes, lateness: float = 0.2) -> Call | None:
    """Makes the next move on the way to the lie, whosever turn it is.

    lateness: how often the server is too late, from 0 to 1"""
    court, (told, truth), node_id = players.court, players.traces[claim_id], root_id(claim_id)
    while (node := court.nodes[node_id]).state is NodeState.POSTED:
        try:
            part = false_part(court, node, truth)
        except IndexError:  # nothing is false, or the true run has no machines there
            return None
        if child_id(node_id, part) not in court.nodes:
            return players.choice(node_id, node, part, node.opener)
        node_id = child_id(node_id, part)
    if node.state is NodeState.ANSWERED:
        return None
    if players.rng.random() < lateness:
        players.now = max(players.now, due(court, node) + node.clock.server_left + 1)
        return players.call("timeout", node_id)
    return players.play(answer(court, node_id, told), court.claims[claim_id].server)
