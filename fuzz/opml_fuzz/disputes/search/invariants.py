"""The invariants of the game, as far as a state or a move of a small dispute shows them.

*Source*: 5.12, and 5.9 for when a claim ends at the latest.
"""

from attrs import evolve
from opml_spec.dispute.acts import Act, act
from opml_spec.dispute.honest import false_part, is_false
from opml_spec.dispute.narrowing import inner_boundaries, split
from opml_spec.dispute.objects import Claim, ClaimStatus, Court, Node, NodeState, child_id, root_id
from opml_spec.errors import SpecError

from opml_fuzz.disputes.moments import due
from opml_fuzz.disputes.search.small_disputes import BASEFEE, BOND, PUPPET, SERVER, Dispute, State


class Violated(Exception):
    """An invariant does not hold in a state."""


def require(holds: bool, name: str) -> None:
    if not holds:
        raise Violated(name)


def accepted(state: State, what: Act, sender: bytes) -> Court | None:
    """The court after an act, if it is legal."""
    try:
        return act(state.court, what, sender, state.now, BASEFEE)
    except SpecError:
        return None


def check_state(dispute: Dispute, state: State) -> None:
    """Invariants 3 to 5, and the latest ends of claims."""
    court = state.court
    require(court.ledger.balanced and court.ledger.locked >= 0, "conservation")
    for node_id, node in court.nodes.items():
        claim = court.claims[node.claim_id]
        require(min(node.clock.server_left, node.clock.challengers_left) >= 0, "no clock is overdrawn")
        if node.path:
            siblings = (each for each in court.nodes.values() if each.claim_id == node.claim_id)
            above, segment = next(each for each in siblings if each.path == node.path[:-1]).segment, node.segment
            inside = above.lo <= segment.lo < segment.hi <= above.hi
            require(inside or above.phase != segment.phase, "a child lies inside its parent")
        if claim.status is ClaimStatus.PENDING:
            check_end(dispute, court, claim, node)
            if node.state is NodeState.OPEN:
                check_open_node(state, node_id, node)


def check_open_node(state: State, node_id: bytes, node: Node) -> None:
    """Exactly one of answer and timeout is legal, and waiting takes no answer from a server that has time."""
    is_late = state.now > due(state.court, node) + node.clock.server_left
    require((accepted(state, Act("timeout", (node_id,)), PUPPET) is not None) == is_late, "one of answer and timeout")


def check_end(dispute: Dispute, court: Court, claim: Claim, node: Node) -> None:
    """Nothing at a node outlasts both budgets by more than E for each node opened, after a loss by more than E for each on its path."""
    parameters, clock = dispute.setting.parameters, node.clock
    if node.state is NodeState.ANSWERED:
        return
    begin = max(due(court, node), claim.closes_at) if node.state is NodeState.OPEN else clock.start(claim.closes_at)
    end = begin + clock.server_left + clock.challengers_left
    budgets = parameters.server_time + parameters.challenger_time
    require(end <= claim.closes_at + budgets + parameters.effort * len(court.nodes), "a claim ends in time")
    if lost_at := court.server_lost_at.get(SERVER, 0):
        last = max(claim.closes_at, lost_at) + budgets + parameters.effort * node.depth
        require(end <= last, "a fallen claim gives no time")


# Moves -------------------------------------------------------------------------------------------------------------------------------


def check_move(dispute: Dispute, before: State, after: State) -> None:
    """Invariant 6: a move changes nothing at other nodes. A first fall makes the server's other answers due after E, if they were not."""
    old, new = before.court, after.court
    changed = {each for each, claim in new.claims.items() if claim.status is not old.claims[each].status}
    fell = any(new.claims[each].status is ClaimStatus.REJECTED for each in changed)
    require(sum(new.nodes[each] != node for each, node in old.nodes.items()) <= 1, "a move changes one node")
    for node_id, node in old.nodes.items():
        is_waiting = node.state is NodeState.OPEN and new.nodes[node_id].state is NodeState.OPEN
        if is_waiting and old.claims[node.claim_id].status is ClaimStatus.PENDING and node.claim_id not in changed:
            least = after.now + dispute.setting.parameters.effort
            expected = min(due(old, node), least) if fell and SERVER not in old.server_lost_at else due(old, node)
            require(due(new, node) == expected, "what happens at one node changes nothing at another")
    for each in changed:
        check_money(dispute, after, each)


def check_money(dispute: Dispute, state: State, decided: bytes) -> None:
    """Each node of a fallen claim is paid once, and nothing of a decided claim stays locked."""
    court, now, parameters = state.court, state.now, dispute.setting.parameters
    if court.claims[decided].status is ClaimStatus.REJECTED:
        for node_id in [each for each, node in court.nodes.items() if node.claim_id == decided][::-1]:
            court = act(court, Act("collect", (node_id,)), PUPPET, now)
            again = accepted(State(court, now), Act("collect", (node_id,)), PUPPET)
            require(again is None, "a bond is paid once")
    locked = sum(request.fee_left for request in court.requests.values())
    for each, claim in court.claims.items():
        if claim.status is ClaimStatus.PENDING:
            locked += BOND + parameters.node_bonds(BOND, claim.nodes)
        elif claim.status is ClaimStatus.REJECTED and each != decided:
            nodes = {node_id: node for node_id, node in court.nodes.items() if node.claim_id == each}
            for node_id in nodes:
                court = act(court, Act("collect", (node_id,)), PUPPET, now)
    require(court.ledger.balanced and court.ledger.locked == locked, "nothing of a decided claim stays locked")


# The two sides -----------------------------------------------------------------------------------------------------------------------


def check_validator(dispute: Dispute, state: State) -> None:
    """Invariant 2: in each claim that is fought there is a node that the liar cannot get past, so it is never to be finalised."""
    for claim_id in dispute.fought:
        if state.court.claims[claim_id].status is ClaimStatus.PENDING:
            check_fight(dispute, state, claim_id)


def check_fight(dispute: Dispute, state: State, claim_id: bytes) -> None:
    court, claim = state.court, state.court.claims[claim_id]
    at_rest = state.now >= claim.closes_at and not claim.open_nodes and state.now > claim.settles_at
    require(not at_rest, "a false claim is never to be finalised")
    node_id = root_id(claim_id)
    if node_id not in court.nodes:
        return
    while court.nodes[node_id].state is NodeState.POSTED:
        node = court.nodes[node_id]
        part = false_part(court, node, dispute.truth)
        if child_id(node_id, part) not in court.nodes:
            require(state.now <= node.clock.last_choice(claim.closes_at), "the false part can still be chosen")
            return
        node_id = child_id(node_id, part)
    require(court.nodes[node_id].state is NodeState.OPEN, "the liar survived a node with a true and a false end")


def check_server(dispute: Dispute, state: State) -> None:
    """Invariant 1: both ends of every node are true, and no claim of an honest server falls."""
    court = state.court
    for claim in court.claims.values():
        require(not is_false(claim, dispute.truth) and claim.status is not ClaimStatus.REJECTED, "a true claim stands")
    require(not court.server_lost_at, "an honest server never loses")
    for node in court.nodes.values():
        stage, segment, claim = dispute.stage(node), node.segment, court.claims[node.claim_id]
        unsealed = evolve(segment, disputed=dispute.truth.run_hash) if segment.disputed == claim.sealed else segment
        ends = [dispute.truth.hash_at(segment.phase, stage, at) for at in (segment.lo, segment.hi)]
        require([unsealed.agreed, unsealed.disputed] == ends, "both ends are true")
        if node.state is NodeState.POSTED:
            said = [dispute.truth.hash_at(segment.phase, stage, at) for at in inner_boundaries(segment, dispute.setting.k)]
            require(split(node.posted) == said, "posted hashes are true")
        if node.state is NodeState.OPEN:
            require(state.now <= due(court, node) + node.clock.server_left, "no node of an honest server is out of time")
