"""Acts at the edges of time: those whose answer would be another one a second earlier or later.

A random act seldom comes in the very second in which it becomes legal or illegal. Here time goes from one such moment to the next, and at
each of them whatever is at its edge is tried: first what is still, or already, refused, which changes nothing; then perhaps one that is
accepted.

*Source*: spec §5.5 to §5.7.
"""

from collections.abc import Iterator

from attrs import evolve
from opml_spec.dispute.honest import answer
from opml_spec.dispute.objects import ClaimStatus, Court, NodeState, root_id
from opml_spec.errors import SpecError

from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.moments import edge_times
from opml_fuzz.disputes.players import Players

NEXT = 4  # moments, of which one is the next
MOST_REFUSED = 5  # acts at one moment
LATEST = 3  # requests that are claimed
WAITS = 0.3  # how often nothing that is legal is done


def acts_at_edges(players: Players) -> Iterator[Call]:
    """Yields calls, each of which must be made at the players' court before the next one is drawn; ends when nothing changes any more."""
    rng = players.rng
    while times := edge_times(players.court, players.now):
        players.now = rng.choice(times[:NEXT])
        answers = {call: verdict(players.court, call) for call in possible(players) if is_at_an_edge(players.court, call)}
        refused = [call for call, error in answers.items() if error]
        yield from rng.sample(refused, min(len(refused), MOST_REFUSED))
        legal = [call for call, error in answers.items() if not error]
        if legal and rng.random() > WAITS:
            yield rng.choice(legal)


def possible(players: Players) -> Iterator[Call]:
    """Yields what somebody might rightly do in the tree of a claim, to end it, or about the fee of a request, if the time were right."""
    court = players.court
    for claim_id in players.claims():
        claim, tree = court.claims[claim_id], [each for each, node in court.nodes.items() if node.claim_id == claim_id]
        yield players.call("award", claim_id)
        if claim.status is not ClaimStatus.PENDING:
            continue
        yield from (players.finalise(claim_id), players.call("expire", claim_id))
        if root_id(claim_id) not in court.nodes:
            yield players.challenge(claim_id)
        for node_id in tree:
            node = court.nodes[node_id]
            if node.state is NodeState.OPEN:
                yield players.call("timeout", node_id)
                yield players.play(answer(court, node_id, players.traces[claim_id][0]), claim.server)
            elif node.state is NodeState.POSTED and (parts := players.free_parts(node_id, node)):
                part = players.rng.choice(parts)
                yield from (players.choice(node_id, node, part, person) for person in (node.opener, players.anybody()))
    yield from (players.call("reclaim", request_id) for request_id in court.requests)
    yield from (claim_now(players, request_id) for request_id in players.open_requests()[-LATEST:])


def claim_now(players: Players, request_id: bytes) -> Call:
    """Makes a claim at this time; the players would sometimes wait."""
    now = players.now
    call, _ = players.claim(request_id)
    players.now = now
    return evolve(call, now=now)


def is_at_an_edge(court: Court, call: Call) -> bool:
    """Tells whether the answer to a call would be another one a second earlier or later."""
    return len({verdict(court, evolve(call, now=call.now + by)) for by in (-1, 0, 1)}) > 1


def verdict(court: Court, call: Call) -> int:
    """Returns the number of the error of a call, 0 if it would be accepted."""
    try:
        call.on(court)
    except SpecError as error:
        return error.number
    return 0
