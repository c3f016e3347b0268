"""Last acts: a request just before the time after which no claim may close, which is claimed in the last second in which that is possible.

Another server claims another end of it, and comes too late with it.

Random acts hardly ever come to that second, and to outputs of all but the right length only now and then. So each sequence ends with them.

*Source*: spec §5.3 and §5.8.
"""

from collections.abc import Iterator

from attrs import evolve
from opml_spec.dispute.honest import Trace, finalising, output_of
from opml_spec.dispute.objects import claim_id, seal
from opml_spec.dispute.parameters import TIME_LIMIT
from opml_spec.machine.merkle import LEAF_BYTES, hash_of
from opml_spec.runs.run import RunStatus

from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.claiming import claimed
from opml_fuzz.disputes.output import output_leaves, wrong_proofs
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
    with_output = [each for each, told in tellings.items() if told.runs[-1].status == RunStatus.OK and leaves_in(told) > 1]
    if not with_output:
        return
    model, (server, other, third, *_) = with_output[-1], players.people
    told, work = tellings[model], lines[model].work(STAGES)
    players.now = too_late - work - 1
    claims = yield from claimed(players, model, STAGES, DATA, told.run_hash, (server,))
    for claim in claims:
        request, failed = players.court.claims[claim].request_id, evolve(told.runs[-1], status=RunStatus.FAILED)
        yield players.call("claim", request, seal(failed.run_hash, third), TIME_LIMIT, sender=third, value=parameters.min_bond)
        players.now = too_late
        yield players.call("claim", request, seal(told.run_hash, other), TIME_LIMIT, sender=other, value=parameters.min_bond)
        players.now = TIME_LIMIT - 1
        right = players.play(finalising(claim, told), server)
        *others, output, proof = right.act.arguments
        leaves = leaves_in(told)
        proofs = ((output, each) for each in wrong_proofs(proof, leaves))
        for wrong in ((output[:-1], proof), (output + b"\0", proof), output_leaves(told.runs[-1].carry, leaves - 1), *proofs):
            yield evolve(right, act=evolve(right.act, arguments=(*others, *wrong)))
        yield right
        another = claim_id(request, third, seal(failed.run_hash, third))
        yield players.call("finalise", another, hash_of(failed.carry), failed.status, b"", b"", sender=third)


def leaves_in(told: Trace) -> int:
    """How many leaves a server shows of the output of a run that did not fail."""
    return len(output_of(told.runs[-1].carry)[0]) // LEAF_BYTES
