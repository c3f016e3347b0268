"""Every play of a small dispute: all moves of all adversaries at all times, on the specification's own acts.

Two searches. In the first a liar and its puppets play against one honest validator, in the second a crowd plays against an honest server.
The honest side plays its strategy (`opml_spec.dispute.honest`), as late as the assumptions allow or at any earlier second. In every state
reached the invariants of the game are checked; the first violation ends the search and is returned with the way that led to it.

*Source*: 5.5, 5.9 and 5.12.
"""

from collections.abc import Hashable, Iterator

from attrs import evolve, frozen
from opml_spec.dispute.acts import Act, act
from opml_spec.dispute.honest import answer, is_false, next_move
from opml_spec.dispute.narrowing import inner_boundaries, split
from opml_spec.dispute.objects import ClaimStatus, Court, NodeState, child_id, root_id
from opml_spec.errors import SpecError

from opml_fuzz.disputes.search.small_disputes import BASEFEE, PUPPET, SERVER, STEPS, VALIDATOR, Dispute, Setting, State, begin, key


@frozen
class Found:
    """What a search has come to."""

    states: int
    fallen: int
    survived: int
    violation: str | None = None


class Violated(Exception):
    """An invariant does not hold in a state."""


def accepted(state: State, what: Act, sender: bytes) -> Court | None:
    """The court after an act, if it is legal."""
    try:
        return act(state.court, what, sender, state.now, BASEFEE)
    except SpecError:
        return None


def check(dispute: Dispute, state: State) -> None:
    """Invariants 3 to 6 as far as one state shows them."""
    court, claim = state.court, dispute.place(state.court)
    require(court.ledger.balanced and court.ledger.locked >= 0, "conservation")
    for node_id, node in court.nodes.items():
        require(min(node.clock.server_left, node.clock.challengers_left) >= 0, "no clock is overdrawn")
        if node.path:
            above, segment = next(each for each in court.nodes.values() if each.path == node.path[:-1]).segment, node.segment
            inside = above.lo <= segment.lo < segment.hi <= above.hi
            require(inside or above.phase != segment.phase, "a child lies inside its parent")
        if node.state is NodeState.OPEN and claim.status is ClaimStatus.PENDING:
            late = accepted(state, Act("timeout", (node_id,)), PUPPET) is not None
            require(late != node.clock.server_in_time(state.now), "one of answer and timeout")
    if claim.status is ClaimStatus.REJECTED:
        check_money(dispute, state)


def check_money(dispute: Dispute, state: State) -> None:
    """Each node of a fallen claim is paid once, and nothing of the claim stays locked."""
    court, now = state.court, state.now
    for node_id in [*court.nodes][::-1]:
        court = act(court, Act("collect", (node_id,)), PUPPET, now)
        again = accepted(State(court, now), Act("collect", (node_id,)), PUPPET)
        require(again is None, "a bond is paid once")
    (request,) = court.requests.values()
    require(court.ledger.balanced and court.ledger.locked == request.fee_left, "nothing of a fallen claim stays locked")


def require(holds: bool, name: str) -> None:
    if not holds:
        raise Violated(name)


# A liar and its puppets against one validator -----------------------------------------------------------------------------------------


def check_validator(dispute: Dispute, state: State) -> None:
    """Invariant 2: there is always a node that the liar cannot get past, so the claim is never to be finalised."""
    court, claim = state.court, dispute.place(state.court)
    if claim.status is not ClaimStatus.PENDING:
        return
    at_rest = state.now >= claim.closes_at and not claim.open_nodes and state.now > claim.settles_at
    require(not at_rest, "a false claim is never to be finalised")
    if not court.nodes:
        return
    node_id = root_id(dispute.claim_id)
    while court.nodes[node_id].state is NodeState.POSTED:
        node = court.nodes[node_id]
        ends = [*inner_boundaries(node.segment, dispute.setting.k), node.segment.hi]
        said = [*split(node.posted), node.segment.disputed]
        stage = dispute.stage(node)
        part = next(j for j, end in enumerate(ends) if dispute.truth.hash_at(node.segment.phase, stage, end) != said[j])
        if child_id(node_id, part) not in court.nodes:
            require(state.now <= node.clock.last_choice(claim.closes_at), "the first false part can still be chosen")
            return
        node_id = child_id(node_id, part)
    require(court.nodes[node_id].state is NodeState.OPEN, "the liar survived a node with a true and a false end")


def after_liar(dispute: Dispute, state: State) -> Iterator[tuple[str, State]]:
    """All that can happen next to a false claim."""
    court, parameters = state.court, dispute.setting.parameters
    if dispute.place(court).status is not ClaimStatus.PENDING:
        return
    mine = next_move(court, dispute.claim_id, dispute.truth, VALIDATOR, state.now)
    owed = (mine.name, mine.arguments[0], mine.arguments[-1] if mine.name == "choose" else None) if mine else None
    if owed != state.owed:
        state = evolve(state, owed=owed, since=state.now)
    if mine is not None:
        moved = accepted(state, mine, VALIDATOR)
        require(moved is not None, f"the validator's {mine.name} is legal")
        assert moved is not None
        yield f"{state.now}: validator {mine.name}", evolve(state, court=moved, owed=None)
    for node_id, node in court.nodes.items():
        if node.state is NodeState.OPEN:
            if (node_id, node.segment) not in dispute.memo:
                dispute.memo[node_id, node.segment] = list(dispute.answers(court, node_id))
            for each in dispute.memo[node_id, node.segment]:
                after = accepted(state, each, SERVER)
                if after is not None:
                    yield f"{state.now}: server {each.name} {node.path}", evolve(state, court=after)
    for each in dispute.choices(court):
        after = accepted(state, each, PUPPET)
        if after is not None:
            yield f"{state.now}: puppet {each.name} {each.arguments[-1]!r}", evolve(state, court=after)
    patience = parameters.inclusion + parameters.claims_at_once * parameters.effort
    if mine is None or state.now < state.since + patience:
        yield f"{state.now}: wait", evolve(state, now=state.now + 1)
    elif state.censorship:
        yield f"{state.now}: censored", evolve(state, now=state.now + 1, censorship=state.censorship - 1)


# A crowd against one server --------------------------------------------------------------------------------------------------------


def after_crowd(dispute: Dispute, state: State) -> Iterator[tuple[str, State]]:
    """All that can happen next to a true claim, whose server answers each node by its due time and is included d later."""
    court, parameters = state.court, dispute.setting.parameters
    claim = dispute.place(court)
    if claim.status is not ClaimStatus.PENDING:
        return
    open_nodes = sorted((node.clock.due, node_id) for node_id, node in court.nodes.items() if node.state is NodeState.OPEN)
    if open_nodes:
        answered = answered_by_server(dispute, state, open_nodes[0][1])
        yield f"{state.now}: server {court.nodes[open_nodes[0][1]].path}", evolve(state, court=answered)
    for each in dispute.choices(court):
        after = accepted(state, each, PUPPET)
        if after is not None:
            yield f"{state.now}: {each.name} {each.arguments[-1]!r}", evolve(state, court=after)
    settled = state.now >= claim.closes_at and state.now > claim.settles_at and not open_nodes
    if settled:
        return
    if not open_nodes or state.now < open_nodes[0][0] + parameters.inclusion:
        yield f"{state.now}: wait", evolve(state, now=state.now + 1)
    elif state.censorship:
        yield f"{state.now}: censored", evolve(state, now=state.now + 1, censorship=state.censorship - 1)


def answered_by_server(dispute: Dispute, state: State, node_id: bytes) -> Court:
    """The court after the true answer."""
    segment = state.court.nodes[node_id].segment
    if (node_id, segment) not in dispute.memo:
        dispute.memo[node_id, segment] = [answer(state.court, node_id, dispute.truth)]
    court = accepted(state, dispute.memo[node_id, segment][0], SERVER)
    require(court is not None, "the server's answer is legal")
    assert court is not None
    return court


def check_server(dispute: Dispute, state: State) -> None:
    """Invariant 1: both ends of every node are true, and no claim of an honest server falls."""
    court = state.court
    require(dispute.place(court).status is not ClaimStatus.REJECTED, "a true claim stands")
    for node in court.nodes.values():
        stage, segment = dispute.stage(node), node.segment
        unsealed = evolve(segment, disputed=dispute.truth.run_hash) if segment.disputed == dispute.place(court).sealed else segment
        ends = [dispute.truth.hash_at(segment.phase, stage, at) for at in (segment.lo, segment.hi)]
        require([unsealed.agreed, unsealed.disputed] == ends, "both ends are true")
        if node.state is NodeState.POSTED:
            said = [dispute.truth.hash_at(segment.phase, stage, at) for at in inner_boundaries(segment, dispute.setting.k)]
            require(split(node.posted) == said, "posted hashes are true")
        if node.state is NodeState.OPEN:
            require(node.clock.server_in_time(state.now), "no node of an honest server is out of time")


# The search ------------------------------------------------------------------------------------------------------------------------


def search(setting: Setting, lying: bool) -> Found:
    """Visits every state that can be reached, each once."""
    dispute, first = begin(setting, lying)
    assert is_false(dispute.place(first.court), dispute.truth) == lying
    follow, check_side = (after_liar, check_validator) if lying else (after_crowd, check_server)
    start: tuple[Hashable, str] = (None, "claim")
    seen, waiting, fallen, survived = {key(dispute, first): start}, [first], 0, 0
    while waiting:
        state = waiting.pop()
        here = key(dispute, state)
        try:
            check(dispute, state)
            check_side(dispute, state)
            ended = True
            for name, after in follow(dispute, state):
                ended = False
                if (reached := key(dispute, after)) not in seen:
                    seen[reached] = (here, name)
                    waiting.append(after)
        except Violated as violated:
            return Found(len(seen), fallen, survived, f"{violated}; after {', '.join(way_to(seen, here))}")
        rejected = dispute.place(state.court).status is ClaimStatus.REJECTED
        fallen, survived = fallen + rejected, survived + (ended and not rejected)
    return Found(len(seen), fallen, survived)


def way_to(seen: dict[Hashable, tuple[Hashable, str]], reached: Hashable) -> list[str]:
    """What happened from the claim to a state."""
    way: list[str] = []
    while reached is not None:
        reached, name = seen[reached]
        way.append(name)
    return way[::-1]


SIZES = (  # whether the server lies, and how large the search is
    (False, Setting(stage_count=1, most_nodes=4)),
    (False, Setting(stage_count=2, most_nodes=4, censorship=0)),
    (False, Setting(k=3, stage_count=2, most_nodes=3, censorship=0)),
    (True, Setting(stage_count=1, most_nodes=3, censorship=0)),
    (True, Setting(k=3, stage_count=1, most_nodes=2)),
    (True, Setting(stage_count=2, most_nodes=1, censorship=0, lie=(1, 2))),
)


def main() -> None:
    """Searches all sizes and prints how many states each has."""
    for lying, setting in SIZES:
        found = search(setting, lying)
        who = "a liar against one validator" if lying else "a crowd against one server"
        print(f"{who}, k = {setting.k}, {setting.stage_count} stages of {STEPS} steps: {found.states:,} states, ", end="")
        print(f"{found.fallen} falls, {found.survived} survivals; {found.violation or 'every invariant holds'}", flush=True)


if __name__ == "__main__":
    main()
