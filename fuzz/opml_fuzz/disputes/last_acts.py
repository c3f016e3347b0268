"""Last acts: a request just before the time after which no claim may close, which is claimed in the last second in which that is possible.

Random acts hardly ever come to that second, and to outputs of all but the right length only now and then. So each sequence ends with them.

*Source*: spec §5.3 and §5.8.
"""

from collections.abc import Iterator

from attrs import evolve
from opml_spec.dispute.honest import finalising
from opml_spec.dispute.objects import ANYONE, claim_id, seal
from opml_spec.dispute.parameters import TIME_LIMIT, YEAR
from opml_spec.runs.run import RunStatus

from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.players import Players
from opml_fuzz.disputes.tellings import telling

DATA, STAGES = b"", 1  # of the request


def last_acts(players: Players) -> Iterator[Call]:
    """Yields calls, each of which must be made at the players' court before the next one is drawn."""
    parameters = players.court.parameters
    too_late = TIME_LIMIT - parameters.window  # what is claimed then closes a second too late
    lines = {each: players.court.models[each] for each in players.models if each in players.court.models}
    free = [each for each, line in lines.items() if max(line.busy_until, players.now) < too_late - line.work(STAGES)]
    tellings = {each: telling(players.models[each], STAGES, DATA, 0) for each in free}
    with_output = [each for each, told in tellings.items() if told.runs[-1].status == RunStatus.OK]
    if not with_output:
        return
    model, bond = with_output[-1], parameters.min_bond
    told, work = tellings[model], lines[model].work(STAGES)
    price, before = work * parameters.second_price, set(players.court.requests)
    players.now = too_late - work - 1
    yield players.call("request", model, STAGES, DATA, players.now + YEAR, bond, ANYONE, value=price)
    for request in [each for each in players.court.requests if each not in before]:
        server, other, *_ = players.people
        sealed = seal(told.run_hash, server)
        yield players.call("claim", request, sealed, TIME_LIMIT, sender=server, value=bond + price)
        players.now = too_late
        yield players.call("claim", request, seal(told.run_hash, other), TIME_LIMIT, sender=other, value=bond)
        players.now = TIME_LIMIT - 1
        right = players.play(finalising(claim_id(request, server, sealed), told), server)
        *others, output, proof = right.act.arguments
        for wrong in (output[:-1], output + b"\0"):
            yield evolve(right, act=evolve(right.act, arguments=(*others, wrong, proof)))
        yield right
