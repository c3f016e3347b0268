"""A lost server: one of its claims falls while it is asked about several others at once, so its time for those ends earlier.

Random players seldom have so much open in the very second in which a claim falls, and what counts is the first time. So each sequence
plays it once: a lie down to its last instruction, other claims of the same server that are challenged while that one stands, its fall, and
then the last second of the others.

*Source*: spec §5.5.
"""

from collections.abc import Generator, Iterator

from opml_spec.dispute.objects import NodeState, root_id

from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.claiming import claimed
from opml_fuzz.disputes.contract import LOST_ONCE
from opml_fuzz.disputes.crowds import go_down
from opml_fuzz.disputes.moments import due
from opml_fuzz.disputes.players import Players
from opml_fuzz.disputes.tellings import LIES, telling

DATA, STAGES = b"\x01", 1  # of each request
OTHERS = 3  # claims that are challenged before the lie falls
MOST_MOVES = 60  # in the tree of the lie
WAITS = (0, 0, 1, 2)  # seconds between two challenges


def lost_server(players: Players) -> Iterator[Call]:
    """Yields calls, each of which must be made at the players' court before the next one is drawn."""
    found = [(model, lie) for model in players.models if model in players.court.models if (lie := a_lie(players.models[model]))]
    if not found:
        return
    model, lie = found[-1]
    false, others = (yield from challenged(players, model, lie)), list[bytes]()
    for _ in range(MOST_MOVES):
        move = go_down(players, false[0], lateness=0) if false and root_id(false[0]) in players.court.nodes else None
        if move is None:
            return
        if move.move == "arbitrate":
            break
        yield move
    else:
        return
    for _ in range(OTHERS):
        others += yield from challenged(players, model, 0)
        players.now += players.rng.choice(WAITS)
    yield players.play(move.act)
    for each in reversed(others):
        node = players.court.nodes.get(root_id(each))
        if node is not None and node.state is NodeState.OPEN:
            last_second = max(players.now, due(players.court, node) + node.clock.server_left)
            for now in (last_second, last_second + 1):
                players.now = now
                yield players.call("timeout", root_id(each))


def a_lie(model: int) -> int:
    """Returns the number of a lie that ends with another run hash than the truth, 0 if there is none."""
    truth = telling(model, STAGES, DATA, 0)
    return next((lie for lie in range(1, LIES) if telling(model, STAGES, DATA, lie).run_hash != truth.run_hash), 0)


def challenged(players: Players, model: bytes, lie: int) -> Generator[Call, None, list[bytes]]:
    """Asks, claims, challenges, and returns the ids of the claims that stand."""
    told, truth = (telling(players.models[model], STAGES, DATA, each) for each in (lie, 0))
    claims = yield from claimed(players, model, STAGES, DATA, told.run_hash, (LOST_ONCE,))
    for each in claims:
        players.traces[each] = told, truth
        yield players.challenge(each)
    return claims
