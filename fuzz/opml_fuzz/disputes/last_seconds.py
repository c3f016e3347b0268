"""Last seconds: what waits for a claim, in the last second in which it must, and in the next one.

Random players seldom leave a claim alone for so long with all else as it must be. So each sequence plays it: the challenge of a claim, the
last choice in its tree, its end once nobody may choose any more, an award that an earlier claim holds up, and a fee that a claim holds up.

*Source*: spec §5.5 to §5.7.
"""

from collections.abc import Iterator

from attrs import evolve
from opml_spec.dispute.honest import answer, finalising
from opml_spec.dispute.objects import NodeState, child_id, root_id

from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.claiming import claimed
from opml_fuzz.disputes.moments import award_held_until, fee_held_until
from opml_fuzz.disputes.players import Players
from opml_fuzz.disputes.tellings import telling

DATA, STAGES, LONGER = b"\x01", 2, 9  # of the requests; of one whose tree has more levels


def last_seconds(players: Players) -> Iterator[Call]:
    """Yields calls, each of which must be made at the players' court before the next one is drawn."""
    models = [each for each in players.models if each in players.court.models]
    if models:
        for play in (last_choice, settled_ends, held_award, held_fee):
            yield from play(players, models[-1])


def last_choice(players: Players, model: bytes) -> Iterator[Call]:
    """Somebody chooses when hardly any time is left: nothing may be chosen a second later, nor much later in the node that was opened."""
    rng, (server, opener, other, *_) = players.rng, players.people
    told = telling(players.models[model], LONGER, DATA, 0)
    claims = yield from claimed(players, model, LONGER, DATA, told.run_hash, (server,))
    for claim in claims:
        node_id = root_id(claim)
        players.now = players.court.claims[claim].closes_at - 1
        yield evolve(players.challenge(claim), sender=opener)
        for seconds in (rng.choice((0, 1)), 0):
            if node_id not in players.court.nodes:
                return
            yield players.play(answer(players.court, node_id, told), server)
            node = players.court.nodes[node_id]
            if node.state is not NodeState.POSTED:
                return
            last = node.clock.last_choice(players.court.claims[claim].closes_at)
            players.now = max(players.now, last - seconds)
            part = rng.choice(players.free_parts(node_id, node))
            yield players.choice(node_id, node, part, opener)
            players.now = last + 1
            rest = rng.choice(players.free_parts(node_id, node))
            yield from (players.choice(node_id, node, rest, person) for person in (other, opener))
            node_id = child_id(node_id, part)


def settled_ends(players: Players, model: bytes) -> Iterator[Call]:
    """Two true claims are challenged in the last second and answered; then one is finalised, and the other expires."""
    servers, told = players.people[:2], telling(players.models[model], STAGES, DATA, 0)
    claims = yield from claimed(players, model, STAGES, DATA, told.run_hash, servers)
    if len(claims) < len(servers):
        return
    for claim, server in zip(claims, servers, strict=True):
        players.now = players.court.claims[claim].closes_at - 1
        yield players.challenge(claim)
        if root_id(claim) not in players.court.nodes:
            return
        yield players.play(answer(players.court, root_id(claim), told), server)
    first, second = claims
    for now in seconds_around(players.court.claims[first].settles_at):
        players.now = now
        yield from (players.call("expire", first), players.play(finalising(first, told), servers[0]))
    for now in seconds_around(players.court.claims[second].settles_at + players.court.parameters.grace):
        players.now = max(players.now, now)
        yield players.call("expire", second)


def seconds_around(last: int) -> tuple[int, int]:
    """The last second in which something must wait, and the next one."""
    return last, last + 1


def held_award(players: Players, model: bytes) -> Iterator[Call]:
    """Two make the same true claim; the second one is finalised, and the first is waited for."""
    servers, told = players.people[:2], telling(players.models[model], STAGES, DATA, 0)
    claims = yield from claimed(players, model, STAGES, DATA, told.run_hash, servers)
    if len(claims) == len(servers):
        first, second = claims
        players.now = max(players.court.claims[each].closes_at for each in claims)
        yield players.play(finalising(second, told), servers[1])
        if players.court.requests[players.court.claims[second].request_id].result is not None:
            last_second = award_held_until(players.court, players.court.claims[first])
            for now in seconds_around(last_second):
                players.now = now
                yield from (players.call("award", each) for each in claims)
        yield players.play(finalising(first, told), servers[0])  # that it is final, too, changes no result


def held_fee(players: Players, model: bytes) -> Iterator[Call]:
    """Somebody claims in the last second, and never finalises; then nobody claims at all."""
    told = telling(players.models[model], STAGES, DATA, 0)
    for servers in (players.people[:1], ()):
        before = players.court.requests
        yield from claimed(players, model, STAGES, DATA, told.run_hash, servers, seconds=0)
        for request_id in players.court.requests.keys() - before.keys():
            request = players.court.requests[request_id]
            last_second = fee_held_until(players.court, request) if request.pending else request.deadline
            for now in seconds_around(last_second):
                players.now = now
                yield players.call("reclaim", request_id)
