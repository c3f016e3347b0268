"""Vectors of the court: whole disputes about true and false claims, and before each accepted act some that must be refused.

A refused act is the accepted one with one thing changed: the sender, the money, or an argument; or it comes a second too early or too
late. Arguments are those of the contract's interface.

*Source*: spec §5.
"""

from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any

from attrs import asdict, define, evolve, field
from opml_spec.dispute.acts import PAYABLE, Act, deploy
from opml_spec.dispute.clocks import Clock
from opml_spec.dispute.honest import Trace, answer, expose, finalising, next_answer, next_move, trace
from opml_spec.dispute.narrowing import Segment
from opml_spec.dispute.objects import ANYONE, Court, NodeState, claim_id, model_id, root_id, seal
from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import SpecError
from opml_spec.hashing import HASH_BYTES
from opml_spec.machine.merkle import hash_of
from opml_spec.model.layout import MAX_REQUEST_BYTES

from opml_fuzz.disputes.call import Call, text, write
from opml_fuzz.disputes.wire.logs import logs
from opml_fuzz.disputes.wire.views import OF, VIEWS, changed
from opml_fuzz.vectors.notation import Json, make_case
from opml_fuzz.vectors.small_program import PROGRAM, TRAPPING, model_memory, quarters, wrong_register

REQUESTER, SERVER, VALIDATOR, OTHER, STRANGER = (bytes([number]) * 20 for number in (0xA1, 0xA2, 0xA3, 0xA4, 0xA5))
START_TIME = 2_000_000_000
DEADLINE = START_TIME + 1_200
PARAMETERS = Parameters(
    k=4,
    share_numerator=2,
    share_denominator=5,
    window=1_000,
    server_time=400,
    challenger_time=2_340,
    priority=30,
    grace=150,
    effort=20,
    censorship=100,
    inclusion=10,
    detect=300,
    claims_at_once=2,
    min_bond=32_000_000,
    node_bond=900_001,
    second_price=7,
    gas_post=50_000,
    gas_open=50_000,
    gas_choose=20_000,
    gas_arbitrate=100_000,
    gas_price_cap=3,
)
STAGES, DATA, FEE, BOND, MICROSECONDS = 6, bytes(8) + b"what is it that we disagree about?", 7_003, 40_000_003, 2_500_000
BASEFEES = (2, 0, 5, 1)


@define
class Scenario:
    """A court, the time, and the cases so far: it makes acts and writes every one of them down."""

    segments: dict[int, bytes]
    court: Court = field(factory=lambda: deploy(PARAMETERS))
    now: int = START_TIME
    cases: list[Json] = field(factory=list)
    refused: set[tuple[str, int]] = field(factory=set)

    def tell(self, lie_at: tuple[int, int] | None = None) -> Trace:
        """Tells the true run, or what follows from a wrong register there."""
        return trace(*quarters(self.segments), STAGES, DATA, wrong_register if lie_at else None, lie_at or (0, 1))

    # acts

    def do(self, act: Act, sender: bytes) -> None:
        """Makes an act that is accepted, after some that are refused."""
        call = Call(act, sender, self.now, BASEFEES[len(self.court.nodes) % len(BASEFEES)])
        for variant in variants(call):
            self.attempt(variant, must_fail=True)
        before = self.court
        self.attempt(call)
        assert self.court is not before, self.cases[-1]

    def attempt(self, call: Call, must_fail: bool = False) -> None:
        """Makes a call and writes it down; one that must fail only if it does, with an error that is new for this kind of act."""
        before = self.court
        try:
            after = call.on(before)
        except SpecError as error:
            if (call.move, error.number) not in self.refused or not must_fail:
                self.refused.add((call.move, error.number))
                self.cases.append({"name": f"{call.move}: {error.name}", "pre": write(call), "error": error.number})
            return
        if not must_fail:
            self.court = after
            self.cases.append({"name": call.move, "pre": write(call), "post": self.seen(before, call)})

    def try_at(self, now: int, act: Act, sender: bytes = STRANGER) -> None:
        """Makes an act at that time, whether it is refused or not."""
        self.now = now
        self.attempt(Call(act, sender, now))

    def seen(self, before: Court, call: Call) -> Json:
        """Writes the events, the new id if there is one, and every view that shows something else."""
        after = self.court
        new = next((identity for kind in OF for identity in getattr(after, kind).keys() - getattr(before, kind).keys()), b"")
        events = ["".join(part.hex() for part in (*log.topics, log.data)) for log in logs(before, call, after, new)]
        views = [[name, *map(text, given), list(map(text, VIEWS[name](after, *given)))] for name, given in changed(before, after)]
        return {**({"id": new.hex()} if new else {}), "events": events, "views": views}

    # before a dispute

    def ask(self) -> bytes:
        """Registers the model and makes a request; returns its id."""
        model_root, state_root = (hash_of(node) for node in quarters(self.segments))
        self.do(Act("register", (model_root, state_root, MICROSECONDS)), STRANGER)
        model = model_id(model_root, state_root, MICROSECONDS)
        self.do(Act("request", (model, STAGES, DATA, DEADLINE, BOND, ANYONE), FEE), REQUESTER)
        return [*self.court.requests][-1]

    def claim(self, request_id: bytes, told: Trace, server: bytes = SERVER) -> bytes:
        """Claims what a trace tells; returns the claim's id."""
        sealed = seal(told.run_hash, server)
        self.do(Act("claim", (request_id, sealed, self.now + 1_100), BOND), server)
        return claim_id(request_id, server, sealed)

    def challenge(self, claim: bytes, challenger: bytes = VALIDATOR) -> bytes:
        self.do(Act("challenge", (claim,), PARAMETERS.root_bond(BOND)), challenger)
        return root_id(claim)

    def choose(self, node_id: bytes, part: int, sender: bytes) -> None:
        node = self.court.nodes[node_id]
        self.do(Act("choose", (node_id, node.segment, node.posted, part), PARAMETERS.node_bond), sender)

    # a dispute

    def fight(self, claim: bytes, told: Trace, truth: Trace, most_moves: int = 1 << 30) -> None:
        """The server tells its trace and the validator the truth, until nobody has anything to do, or for so many moves."""
        for _ in range(most_moves):
            self.now += 7
            move = next_move(self.court, claim, truth, VALIDATOR, self.now)
            if move is not None:
                self.do(move, VALIDATOR)
            elif (answering := next_answer(self.court, claim, told)) is not None:
                self.do(answering, STRANGER if answering.name == "arbitrate" else SERVER)
            else:
                return

    def clock(self, node_id: bytes) -> Clock:
        return self.court.nodes[node_id].clock

    def settle(self, claim: bytes, told: Trace) -> None:
        """Tries to finalise a claim in the last second in which that is too early; then it is finalised."""
        it, finalise = self.court.claims[claim], finalising(claim, told)
        legal = max(it.closes_at, it.settles_at + 1)
        self.try_at(legal - 1, finalise)
        self.now = legal
        self.do(finalise, STRANGER)

    def leave(self, request_id: bytes) -> None:
        """Lets everybody collect, get the fee or reclaim it, and withdraw."""
        for node_id in self.court.nodes:
            self.do_or_not(Act("collect", (node_id,)), STRANGER)
        for claim in self.court.claims:
            self.do_or_not(Act("award", (claim,)), STRANGER)
        self.now = max(self.now, DEADLINE + 1)
        self.do_or_not(Act("reclaim", (request_id,)), STRANGER)
        for person in (REQUESTER, SERVER, VALIDATOR, OTHER, STRANGER):
            self.do_or_not(Act("withdraw_to", (person,)), person)

    def do_or_not(self, act: Act, sender: bytes) -> None:
        """Makes an act twice, whether it is refused or not."""
        self.attempt(Call(act, sender, self.now))
        self.attempt(Call(act, sender, self.now), must_fail=True)


def variants(call: Call) -> Iterator[Call]:
    """Yields a call with one thing changed."""
    yield evolve(call, sender=STRANGER if call.sender != STRANGER else REQUESTER)
    if call.move in PAYABLE:
        yield evolve(call, act=evolve(call.act, value=call.act.value + 1))
        yield evolve(call, act=evolve(call.act, value=0))
    for number, argument in enumerate(call.act.arguments):
        for other in different(argument):
            yield call.with_argument(number, other)


def different(argument: Any) -> Iterator[Any]:
    """Yields an argument with one thing changed; nothing gets longer than the interface takes."""
    match argument:
        case Segment():
            yield evolve(argument, hi=argument.hi + 1)
        case int():
            yield from (argument + 1, 0, 255 if argument < 255 else (1 << 32) + 1)
        case bytes() if len(argument) > HASH_BYTES:
            yield from (
                argument[:-1],
                argument[:-HASH_BYTES],
                argument[:256] + b"\3" + argument[257:],
                argument[:256] + bytes(9) + argument[265:],
            )
            yield from (argument[:at] + bytes([argument[at] ^ 1]) + argument[at + 1 :] for at in (40, len(argument) - 40))
        case bytes() if argument:
            yield bytes([argument[0] ^ 1]) + argument[1:]


def scenario(rng: Random, play: Callable[[Scenario], None], program: tuple[int, ...] = PROGRAM) -> Iterator[Json]:
    """Yields the cases of a scenario: a deployment, and what `play` does at the court."""
    yield {"name": "deploy", "pre": {"move": "deploy", "parameters": asdict(PARAMETERS)}, "post": {}}
    played = Scenario(model_memory(rng, program))
    play(played)
    yield from played.cases


# The files -----------------------------------------------------------------------------------------------------------------------


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
        claims = [played.claim(request_id, wrong), played.claim(request_id, truth, OTHER), played.claim(request_id, truth, VALIDATOR)]
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
        played.try_at(played.clock(root).posted_at + PARAMETERS.priority - 1, choice(played, root, 0), OTHER)
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
        played.try_at(played.clock(last).last_choice(closes_at) + 1, choice(played, last, 0), OTHER)
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
    """Nobody finalises a claim that nobody disputes to the end, so it expires, and the requester has its fee back."""

    def play(played: Scenario) -> None:
        request_id, truth = played.ask(), played.tell()
        claim = played.claim(request_id, truth)
        root = played.challenge(claim)
        played.try_at(START_TIME + 100, Act("expire", (claim,)))
        played.do(answer(played.court, root, truth), SERVER)
        last = max(played.court.claims[claim].closes_at, played.court.claims[claim].settles_at) + PARAMETERS.grace
        played.try_at(last, Act("expire", (claim,)))
        played.try_at(last, Act("reclaim", (request_id,)))
        played.now = last + 1
        played.do(Act("expire", (claim,)), STRANGER)
        played.leave(request_id)

    return scenario(rng, play)


def choice(played: Scenario, node_id: bytes, part: int) -> Act:
    node = played.court.nodes[node_id]
    return Act("choose", (node_id, node.segment, node.posted, part), PARAMETERS.node_bond)
