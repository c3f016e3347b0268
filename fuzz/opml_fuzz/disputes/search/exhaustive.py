"""Every play of a small dispute: all moves of all adversaries at all times, on the specification's own acts.

Two searches. In the first a liar plays against one honest validator, beside an adversary that may be its puppet or a second validator. In
the second such an adversary plays against an honest server. The server has one claim or two. The honest side plays its strategy
(`opml_spec.dispute.honest`), as late as the assumptions allow or at any earlier second. In every state reached the invariants of the game
are checked; the first violation ends the search and is returned with the way that led to it.

*Source*: 5.5, 5.9 and 5.12.
"""

from collections.abc import Hashable, Iterator

from attrs import evolve, frozen
from opml_spec.dispute.acts import Act
from opml_spec.dispute.honest import answer, finalising, is_false, next_move
from opml_spec.dispute.objects import ClaimStatus, Court, NodeState

from opml_fuzz.disputes.search.invariants import Violated, accepted, check_move, check_server, check_state, check_validator, require
from opml_fuzz.disputes.search.small_disputes import PUPPET, SERVER, STEPS, VALIDATOR, Dispute, Setting, State, begin, key

Next = Iterator[tuple[str, State]]


@frozen
class Found:
    """What a search has come to: the states, and the moves by which a claim fell or was finalised."""

    states: int
    fallen: int
    survived: int
    violation: str | None = None


def adversary_moves(dispute: Dispute, state: State) -> Next:
    """Opens nodes anywhere, makes a claim fall where the server is late, and lets one expire that is not finalised."""
    moves = [*dispute.choices(state.court)]
    moves += [Act("timeout", (each,)) for each, node in state.court.nodes.items() if node.state is NodeState.OPEN]
    moves += [Act("expire", (each,)) for each, claim in state.court.claims.items() if not claim.open_nodes]
    for each in moves:
        after = accepted(state, each, PUPPET)
        if after is not None:
            where = each.arguments[-1] if each.name == "choose" else ""
            yield f"{state.now}: adversary {each.name} {where}".rstrip(), evolve(state, court=after)


# A liar and an adversary against one validator ------------------------------------------------------------------------------------------


def after_liar(dispute: Dispute, state: State) -> Next:
    """All that can happen next to false claims."""
    court, parameters = state.court, dispute.setting.parameters
    if dispute.is_decided(court, dispute.fought):
        return
    mine = [validator_move(dispute, state, claim_id) for claim_id in dispute.fought]
    state = evolve(state, owed=tuple(owed_since(state, number, each) for number, each in enumerate(mine)))
    for number, each in enumerate(mine):
        if each is not None:
            moved = accepted(state, each, VALIDATOR)
            require(moved is not None, f"the validator's {each.name} is legal")
            assert moved is not None
            nothing = *state.owed[:number], (None, state.now), *state.owed[number + 1 :]
            yield f"{state.now}: validator {each.name}", evolve(state, court=moved, owed=nothing)
    for node_id, node in court.nodes.items():
        if node.state is NodeState.OPEN and court.claims[node.claim_id].status is ClaimStatus.PENDING:
            for each in dispute.answers(court, node_id):
                after = accepted(state, each, SERVER)
                if after is not None:
                    yield f"{state.now}: server {each.name} {node.path}", evolve(state, court=after)
    yield from adversary_moves(dispute, state)
    patience = parameters.inclusion + parameters.claims_at_once * parameters.effort
    if all(owed is None or state.now < since + patience for owed, since in state.owed):
        yield f"{state.now}: wait", evolve(state, now=state.now + 1)
    elif state.censorship:
        yield f"{state.now}: censored", evolve(state, now=state.now + 1, censorship=state.censorship - 1)


def validator_move(dispute: Dispute, state: State, claim_id: bytes) -> Act | None:
    """What the validator does next in a claim."""
    if state.court.claims[claim_id].status is not ClaimStatus.PENDING:
        return None
    return next_move(state.court, claim_id, dispute.truth, VALIDATOR, state.now)


def owed_since(state: State, number: int, mine: Act | None) -> tuple[Hashable, int]:
    """What the validator owes in a claim, and since when."""
    owed = (mine.name, mine.arguments[0], mine.arguments[-1] if mine.name == "choose" else None) if mine else None
    before = state.owed[number] if number < len(state.owed) else (None, state.now)
    return before if owed is not None and before[0] == owed else (owed, state.now)


# An adversary against one server -------------------------------------------------------------------------------------------------------


def after_crowd(dispute: Dispute, state: State) -> Next:
    """All that can happen next to true claims, whose server answers each node by its due time and is included d later."""
    court, parameters = state.court, dispute.setting.parameters
    if dispute.is_decided(court, dispute.claims):
        return
    open_nodes = sorted((node.clock.due, node_id) for node_id, node in court.nodes.items() if node.state is NodeState.OPEN)
    if open_nodes:
        answered = served(dispute, state, open_nodes[0][1])
        yield f"{state.now}: server {court.nodes[open_nodes[0][1]].path}", evolve(state, court=answered)
    for each, claim in court.claims.items():
        is_settled = state.now >= claim.closes_at and state.now > claim.settles_at and not claim.open_nodes
        if claim.status is ClaimStatus.PENDING and is_settled:
            yield f"{state.now}: server finalise", evolve(state, court=finalised(dispute, state, each))
            return
    yield from adversary_moves(dispute, state)
    if not open_nodes or state.now < open_nodes[0][0] + parameters.inclusion:
        yield f"{state.now}: wait", evolve(state, now=state.now + 1)
    elif state.censorship:
        yield f"{state.now}: censored", evolve(state, now=state.now + 1, censorship=state.censorship - 1)


def served(dispute: Dispute, state: State, node_id: bytes) -> Court:
    """The court after the true answer."""
    segment = state.court.nodes[node_id].segment
    if (node_id, segment) not in dispute.memo:
        dispute.memo[node_id, segment] = [answer(state.court, node_id, dispute.truth)]
    court = accepted(state, dispute.memo[node_id, segment][0], SERVER)
    require(court is not None, "the server's answer is legal")
    assert court is not None
    return court


def finalised(dispute: Dispute, state: State, claim_id: bytes) -> Court:
    """The court after the server has shown what its run put out."""
    if claim_id not in dispute.memo:
        dispute.memo[claim_id] = [finalising(claim_id, dispute.truth)]
    court = accepted(state, dispute.memo[claim_id][0], SERVER)
    require(court is not None, "the server's finalise is legal")
    assert court is not None
    return court


# The search ------------------------------------------------------------------------------------------------------------------------


def search(setting: Setting, lying: bool) -> Found:
    """Visits every state that can be reached, each once."""
    dispute, first = begin(setting, lying)
    assert all(is_false(claim, dispute.truth) == lying for claim in first.court.claims.values())
    follow, check_side = (after_liar, check_validator) if lying else (after_crowd, check_server)
    start: tuple[Hashable, str] = (None, "claim")
    seen, waiting, ends = {key(dispute, first): start}, [first], {ClaimStatus.REJECTED: 0, ClaimStatus.FINAL: 0}
    while waiting:
        state = waiting.pop()
        here = key(dispute, state)
        try:
            check_state(dispute, state)
            check_side(dispute, state)
            for name, after in follow(dispute, state):
                if after.now == state.now:
                    check_move(dispute, state, after)
                if (reached := key(dispute, after)) not in seen:
                    seen[reached] = (here, name)
                    waiting.append(after)
                for each, claim in after.court.claims.items():
                    if claim.status is not state.court.claims[each].status:
                        ends[claim.status] += 1
        except Violated as violated:
            said = f"{violated}; after {', '.join(way_to(seen, here))}"
            return Found(len(seen), ends[ClaimStatus.REJECTED], ends[ClaimStatus.FINAL], said)
    return Found(len(seen), ends[ClaimStatus.REJECTED], ends[ClaimStatus.FINAL])


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
    (False, Setting(stage_count=1, claims=2, most_nodes=3, censorship=0)),
    (False, Setting(k=3, stage_count=1, claims=2, most_nodes=4, censorship=0)),
    (True, Setting(stage_count=1, most_nodes=1, censorship=0)),
    (True, Setting(k=3, stage_count=1, most_nodes=2)),
    (True, Setting(stage_count=2, most_nodes=0, censorship=0, lie=(1, 2))),
    (True, Setting(k=3, stage_count=1, claims=2, most_nodes=2, censorship=0)),
    (True, Setting(k=3, stage_count=1, claims=2, claims_at_once=2, most_nodes=0, censorship=0)),
)


def main() -> None:
    """Searches all sizes and prints how many states each has."""
    for lying, setting in SIZES:
        found = search(setting, lying)
        who = "a liar and an adversary against one validator" if lying else "an adversary against one server"
        size = f"k = {setting.k}, {setting.stage_count} stages of {STEPS} steps, {setting.claims} claims"
        print(f"{who}, {size}: {found.states:,} states, ", end="")
        print(f"{found.fallen:,} falls, {found.survived:,} survivals; {found.violation or 'every invariant holds'}", flush=True)


if __name__ == "__main__":
    main()
