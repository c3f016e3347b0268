"""Vectors of the court: disputes about true and false claims, and which parameters it accepts.

*Source*: spec §5.
"""

from collections.abc import Iterator
from functools import partial
from random import Random

from attrs import asdict, evolve
from opml_spec.dispute.acts import Act, deploy
from opml_spec.dispute.honest import Trace, answer, expose, finalising, next_answer, trace
from opml_spec.dispute.objects import ANYONE, NodeState, root_id
from opml_spec.dispute.parameters import Parameters
from opml_spec.model.layout import MAX_REQUEST_BYTES

from opml_fuzz.disputes.call import Call
from opml_fuzz.vectors.notation import Json, make_case
from opml_fuzz.vectors.scenario import (
    BOND,
    DATA,
    FEE,
    OTHER,
    PARAMETERS,
    REQUESTER,
    SERVER,
    STAGES,
    START_TIME,
    STRANGER,
    VALIDATOR,
    Scenario,
    scenario,
)
from opml_fuzz.vectors.small_program import PROGRAM, TRAPPING, model_memory, quarters


def accept(parameters: Parameters) -> Json:
    deploy(parameters)
    return {}


def parameters_at_bounds(rng: Random) -> Iterator[Json]:
    """Yields parameters that are 1 too small or too large; at a bound with equality, one of the two is refused."""
    tight = evolve(PARAMETERS, window=410, priority=30, grace=130, min_bond=15_000_000, node_bond=750_000, server_time=400)
    nodes = tight.most_nodes
    tight = evolve(tight, server_time=100 + 10 * nodes, challenger_time=100 + (nodes - 1) * 80, min_bond=nodes * 900_000)
    for name in asdict(tight):
        for by in (-1, 0, 1):
            parameters = evolve(tight, **{name: getattr(tight, name) + by})
            pre = {"move": "deploy", "parameters": asdict(parameters)}
            yield make_case(f"{name} {by:+d}", pre, partial(accept, parameters))


def undisputed(rng: Random) -> Iterator[Json]:
    """Three claims of one request, two of them of the same run: the first final one sets the result, and the fee waits for the lowest."""

    def play(played: Scenario) -> None:
        request_id, truth = played.ask(), played.tell()
        request = played.court.requests[request_id]
        too_long = (request.model_id, STAGES, bytes(MAX_REQUEST_BYTES + 1), START_TIME, BOND, ANYONE)
        played.attempt(Call(Act("request", too_long, FEE), REQUESTER, played.now))
        long_work = (request.model_id, 1 << 24, DATA, START_TIME, BOND, ANYONE)
        played.attempt(Call(Act("request", long_work, FEE), REQUESTER, played.now))
        wrong = played.tell((4, 9))
        first = played.claim_value(request_id)
        played.attempt(Call(Act("claim", (request_id, bytes(32), 1 << 63), BOND), SERVER, played.now))
        claims = [played.claim(request_id, wrong)]
        played.attempt(Call(Act("claim", (request_id, bytes(32), 1 << 63), first), SERVER, played.now))
        claims += [played.claim(request_id, truth, OTHER), played.claim(request_id, truth, VALIDATOR)]
        again = Act("claim", (request_id, played.court.claims[claims[0]].sealed, 1 << 63), BOND)
        played.try_at(played.now, again, SERVER)
        played.settle(claims[2], truth)
        played.try_at(played.now, finalising(claims[2], truth))
        played.try_at(played.now, finalising(claims[0], wrong))
        played.try_at(played.now, again, SERVER)
        played.do_or_not(Act("award", (claims[0],)), STRANGER)
        played.do_or_not(Act("award", (claims[1],)), STRANGER)
        played.settle(claims[1], truth)
        closes_at = played.court.claims[claims[0]].closes_at
        played.try_at(closes_at + PARAMETERS.grace, Act("expire", (claims[0],)))
        played.try_at(closes_at + PARAMETERS.grace + 1, Act("expire", (claims[0],)))
        played.leave(request_id)

    return scenario(rng, play)


def honest_server(rng: Random) -> Iterator[Json]:
    """A true claim is disputed down to an instruction, along two paths; the server answers everything and wins the bonds."""

    def play(played: Scenario) -> None:
        request_id, truth = played.ask(), played.tell()
        claim = played.claim(request_id, truth)
        node_id = played.challenge(claim)
        played.attempt(Call(Act("challenge", (claim,), PARAMETERS.root_bond(BOND)), OTHER, played.now))
        played.try_at(START_TIME + 300, finalising(claim, truth))
        played.try_at(played.now, Act("arbitrate", (node_id, played.court.nodes[node_id].segment, b"")))
        while True:
            played.now += 25
            act = answer(played.court, node_id, truth)
            played.do(act, OTHER if act.name == "arbitrate" else SERVER)
            if act.name == "arbitrate":
                break
            played.choose(node_id, 1, VALIDATOR)
            node_id = [*played.court.nodes][-1]
        node = played.court.nodes[node_id]
        played.attempt(Call(act, OTHER, played.now))
        closes_at = played.court.claims[claim].closes_at
        played.now = closes_at - 5
        played.choose(root_id(claim), 0, OTHER)
        played.try_at(closes_at, finalising(claim, truth))
        played.fight(claim, truth, truth)
        played.attempt(Call(Act("timeout", (node_id,)), STRANGER, played.now))
        assert node.state is NodeState.ANSWERED
        played.settle(claim, truth)
        played.leave(request_id)

    return scenario(rng, play)


def lying_server(rng: Random) -> Iterator[Json]:
    """A false claim falls at the wrong instruction; others chose parts elsewhere, and get their gas back."""

    def play(played: Scenario) -> None:
        request_id, truth, told = played.ask(), played.tell(), played.tell((4, 9))
        claim = played.claim(request_id, told)
        played.fight(claim, told, truth, most_moves=2)
        root = root_id(claim)
        played.try_at(played.clock(root).since + PARAMETERS.priority - 1, played.choice(root, 0), OTHER)
        played.now += 1
        played.choose(root, 0, OTHER)
        played.fight(claim, told, truth)
        played.leave(request_id)

    return scenario(rng, play)


def silent_server(rng: Random) -> Iterator[Json]:
    """A false claim falls because its server does not answer; the moments before that are tried."""

    def play(played: Scenario) -> None:
        request_id, truth, told = played.ask(), played.tell(), played.tell((2, 5))
        claim = played.claim(request_id, told)
        played.fight(claim, told, truth, most_moves=3)
        node_id = [*played.court.nodes][-1]
        last = played.clock(node_id).due + PARAMETERS.server_time
        played.try_at(last, Act("timeout", (node_id,)))
        played.try_at(last, finalising(claim, told))
        played.try_at(last + 1, answer(played.court, node_id, told), SERVER)
        exposing = expose(played.court, node_id, truth, last + 1)
        assert exposing is not None
        played.do(exposing, STRANGER)
        played.leave(request_id)

    return scenario(rng, play)


def late_sides(rng: Random) -> Iterator[Json]:
    """The server answers in the last second of its time, after the window; then the challengers wait until theirs is over."""

    def play(played: Scenario) -> None:
        request_id, truth = played.ask(), played.tell()
        claim = played.claim(request_id, truth)
        closes_at = played.court.claims[claim].closes_at
        played.try_at(closes_at, Act("challenge", (claim,), PARAMETERS.root_bond(BOND)), VALIDATOR)
        played.now = closes_at - 1
        root = played.challenge(claim)
        played.now = played.clock(root).due + PARAMETERS.server_time
        played.do(answer(played.court, root, truth), SERVER)
        played.now += 40
        played.choose(root, 2, OTHER)
        child = [*played.court.nodes][-1]
        played.try_at(played.clock(child).due + 1, answer(played.court, child, truth), SERVER)
        played.now = played.clock(child).due
        played.do(answer(played.court, child, truth), SERVER)
        played.now = played.clock(child).last_choice(closes_at)
        played.choose(child, 0, STRANGER)
        last = [*played.court.nodes][-1]
        played.do(answer(played.court, last, truth), SERVER)
        played.try_at(played.clock(last).last_choice(closes_at) + 1, played.choice(last, 0), OTHER)
        played.settle(claim, truth)
        played.leave(request_id)

    return scenario(rng, play)


def failed_run(rng: Random) -> Iterator[Json]:
    """The program traps in its first stage, so the run has failed: the true claim becomes final, a false one falls at a failed start."""

    def play(played: Scenario) -> None:
        request_id, truth = played.ask(), played.tell()
        healthy = trace(*quarters(model_memory(rng, PROGRAM)), STAGES, DATA)
        false = Trace((*truth.runs[:-1], healthy.runs[-1]), truth.stages)
        claims = [played.claim(request_id, false), played.claim(request_id, truth, OTHER)]
        played.fight(claims[0], false, truth)
        played.challenge(claims[1])
        played.do(answer(played.court, root_id(claims[1]), truth), OTHER)
        played.choose(root_id(claims[1]), 0, VALIDATOR)
        first = [*played.court.nodes][-1]
        played.do(answer(played.court, first, truth), OTHER)
        played.settle(claims[1], truth)
        played.leave(request_id)

    return scenario(rng, play, TRAPPING)


def expired(rng: Random) -> Iterator[Json]:
    """Two true claims expire, one of them disputed. With the first their server loses its time at the nodes of a false one."""

    def play(played: Scenario) -> None:
        request_id, truth, told = played.ask(), played.tell(), played.tell((4, 9))
        silent = played.claim(request_id, truth)
        played.try_at(START_TIME + 100, Act("expire", (silent,)))
        disputed = played.claim(played.ask_again(), truth)
        root = played.challenge(disputed)
        played.do(answer(played.court, root, truth), SERVER)
        last = played.court.claims[silent].closes_at + PARAMETERS.grace
        played.now = last - 10
        false = played.claim(played.ask_again(), told)
        for part in range(PARAMETERS.k):
            played.choose(root, part, VALIDATOR)
        played.challenge(false, OTHER)
        played.try_at(last, Act("expire", (silent,)))
        played.try_at(last, Act("reclaim", (request_id,)))
        played.now = last + 1
        played.do(Act("expire", (silent,)), STRANGER)
        due = played.court.server_lost_at[SERVER] + PARAMETERS.effort
        assert due < played.clock(root_id(false)).due
        while (act := next_answer(played.court, disputed, truth)) is not None:
            played.do(act, SERVER)
        played.try_at(due + PARAMETERS.server_time, Act("timeout", (root_id(false),)))
        played.now += 1
        played.do(Act("timeout", (root_id(false),)), STRANGER)
        played.now = played.court.claims[disputed].settles_at + PARAMETERS.grace + 1
        played.do(Act("expire", (disputed,)), STRANGER)
        played.leave(request_id)

    return scenario(rng, play)
