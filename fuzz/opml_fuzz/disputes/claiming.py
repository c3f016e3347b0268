"""Claiming: somebody asks for a run, and servers claim what it ends with.

Each sequence that is about what comes after a claim begins like this.

*Source*: spec §5.3.
"""

from collections.abc import Generator

from opml_spec.dispute.objects import ANYONE, claim_id, seal
from opml_spec.dispute.parameters import YEAR

from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.players import Players


def claimed(
    players: Players, model: bytes, stages: int, data: bytes, run_hash: bytes, servers: tuple[bytes, ...], seconds: int = YEAR
) -> Generator[Call, None, list[bytes]]:
    """Asks, lets each server claim the same run hash, and returns the ids of the claims that stand. seconds: to the request's deadline"""
    court, made = players.court, list[bytes]()
    price, bond = court.models[model].work(stages) * court.parameters.second_price, court.parameters.min_bond
    yield players.call("request", model, stages, data, players.now + seconds, bond, ANYONE, value=price)
    for request in players.court.requests.keys() - court.requests.keys():
        for place, server in enumerate(servers):
            sealed = seal(run_hash, server)
            value = bond if place else bond + price  # the first claim starts the work that the line's price is for
            yield players.call("claim", request, sealed, players.now + YEAR, sender=server, value=value)
            made.append(claim_id(request, server, sealed))
    return [each for each in made if each in players.court.claims]
