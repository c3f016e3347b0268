"""Vectors of the court: what a lost claim means for a server's other claims, when a fee is held up no longer, and the last claims of all.

*Source*: spec §5.3, §5.5 and §5.7.
"""

from collections.abc import Iterator
from random import Random

from opml_spec.dispute.acts import Act
from opml_spec.dispute.honest import answer, finalising
from opml_spec.dispute.objects import root_id, seal
from opml_spec.dispute.parameters import TIME_LIMIT

from opml_fuzz.disputes.call import Call
from opml_fuzz.vectors.notation import Json
from opml_fuzz.vectors.scenario import DEADLINE, MICROSECONDS, OTHER, PARAMETERS, SERVER, STAGES, STRANGER, VALIDATOR, Scenario, scenario

WORK = -(-STAGES * MICROSECONDS // 1_000_000)
LAST_START = TIME_LIMIT - 1 - PARAMETERS.window - WORK
"""A first claim at this time closes in the last second in which that is allowed."""


def lost_server(rng: Random) -> Iterator[Json]:
    """A server with two false claims is asked much about the first. When that falls, the second is due as if nothing else were asked."""

    def play(played: Scenario) -> None:
        truth, told, other = played.tell(), played.tell((4, 9)), played.tell((2, 5))
        request_id = played.ask()
        first, second = played.claim(request_id, told), played.claim(played.ask_again(), other)
        played.fight(first, told, truth, most_moves=2)
        for part in range(PARAMETERS.k):
            played.choose(root_id(first), part, VALIDATOR)
        played.fight(first, told, truth, most_moves=4)
        root = played.challenge(second, OTHER)
        played.fight(first, told, truth)
        due = played.court.server_lost_at[SERVER] + PARAMETERS.effort
        assert due < played.clock(root).due
        last = due + PARAMETERS.server_time
        played.try_at(last, Act("timeout", (root,)))
        played.try_at(last + 1, answer(played.court, root, other), SERVER)
        played.now = last
        played.do(answer(played.court, root, other), SERVER)
        assert played.clock(root).server_left == 0
        played.choose(root, 0, OTHER)
        child = [*played.court.nodes][-1]
        played.try_at(played.now + PARAMETERS.effort, Act("timeout", (child,)))
        played.try_at(played.now + 1, answer(played.court, child, other), SERVER)
        played.do(Act("timeout", (child,)), STRANGER)
        played.leave(request_id)

    return scenario(rng, play)


def held_fees(rng: Random) -> Iterator[Json]:
    """Nobody ends a true claim: after its hold the fee goes to the next one. Nor another claim: after all holds the fee goes back."""

    def play(played: Scenario) -> None:
        truth, request_id = played.tell(), played.ask()
        first, second = played.claim(request_id, truth), played.claim(request_id, truth, OTHER)
        alone_id = played.ask_again()
        alone = played.claim(alone_id, truth)
        played.settle(second, truth)
        last = played.court.claims[first].closes_at + PARAMETERS.hold
        played.try_at(last, Act("award", (first,)))
        played.now = last + 1
        played.do(Act("award", (first,)), STRANGER)
        played.do(Act("award", (second,)), STRANGER)
        played.do(finalising(first, truth), SERVER)
        last = max(played.start + DEADLINE, played.court.requests[alone_id].checked_at) + PARAMETERS.window + PARAMETERS.hold
        played.try_at(last, Act("reclaim", (alone_id,)))
        played.now = last + 1
        played.do(Act("reclaim", (alone_id,)), STRANGER)
        played.do(finalising(alone, truth), SERVER)
        played.leave(request_id)

    return scenario(rng, play)


def last_claims(rng: Random) -> Iterator[Json]:
    """A false claim closes in the last second in which a claim may, and falls after that; a claim that would close later is refused."""

    def play(played: Scenario) -> None:
        request_id, truth, told = played.ask(), played.tell(), played.tell((4, 9))
        claim = played.claim(request_id, told)
        closes_at = played.court.claims[claim].closes_at
        played.now += WORK + 1
        latest = Act("claim", (request_id, seal(truth.run_hash, OTHER), 1 << 63), played.claim_value(request_id))
        played.attempt(Call(latest, OTHER, played.now))
        played.now = closes_at - 1
        root = played.challenge(claim)
        played.now = played.clock(root).due + PARAMETERS.server_time
        played.do(answer(played.court, root, told), SERVER)
        played.now = played.clock(root).last_choice(closes_at) - 200
        played.fight(claim, told, truth)
        played.leave(request_id)

    return scenario(rng, play, start=LAST_START)
