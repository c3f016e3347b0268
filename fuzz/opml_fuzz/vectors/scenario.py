"""Scenarios: whole disputes at a court, and before each accepted act some that must be refused.

A refused act is the accepted one with one thing changed: the sender, the money, or an argument; or it comes a second too early or too
late. Arguments are those of the contract's interface.

*Source*: spec §5.
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from attrs import Factory, asdict, define, evolve, field
from opml_spec.dispute.acts import PAYABLE, Act, deploy
from opml_spec.dispute.claims import line_price
from opml_spec.dispute.clocks import Clock
from opml_spec.dispute.honest import Trace, finalising, next_answer, next_move, trace
from opml_spec.dispute.narrowing import Segment
from opml_spec.dispute.objects import ANYONE, Court, claim_id, model_id, root_id, seal
from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import SpecError
from opml_spec.hashing import HASH_BYTES
from opml_spec.machine.merkle import hash_of

from opml_fuzz.disputes.answers import accepted
from opml_fuzz.disputes.call import Call, write
from opml_fuzz.vectors.notation import Json
from opml_fuzz.vectors.small_program import PROGRAM, model_memory, quarters, wrong_register

REQUESTER, SERVER, VALIDATOR, OTHER, STRANGER = (bytes([number]) * 20 for number in (0xA1, 0xA2, 0xA3, 0xA4, 0xA5))
START_TIME = 2_000_000_000
DEADLINE = 1_200  # after a scenario begins
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
    start: int = START_TIME
    court: Court = field(factory=lambda: deploy(PARAMETERS))
    now: int = field(default=Factory(lambda self: self.start, takes_self=True))
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
            self.cases.append({"name": call.move, "pre": write(call), "post": accepted(before, call, after)})

    def try_at(self, now: int, act: Act, sender: bytes = STRANGER) -> None:
        """Makes an act at that time, whether it is refused or not."""
        self.now = now
        self.attempt(Call(act, sender, now))

    # before a dispute

    def ask(self) -> bytes:
        """Registers the model and makes a request; returns its id."""
        model_root, state_root = (hash_of(node) for node in quarters(self.segments))
        self.do(Act("register", (model_root, state_root, MICROSECONDS)), STRANGER)
        return self.ask_again()

    def ask_again(self) -> bytes:
        """Makes a request about the model; returns its id."""
        model_root, state_root = (hash_of(node) for node in quarters(self.segments))
        model = model_id(model_root, state_root, MICROSECONDS)
        self.do(Act("request", (model, STAGES, DATA, self.start + DEADLINE, BOND, ANYONE), FEE), REQUESTER)
        return [*self.court.requests][-1]

    def claim(self, request_id: bytes, told: Trace, server: bytes = SERVER) -> bytes:
        """Claims what a trace tells; returns the claim's id."""
        sealed = seal(told.run_hash, server)
        self.do(Act("claim", (request_id, sealed, self.now + 1_100), self.claim_value(request_id)), server)
        return claim_id(request_id, server, sealed)

    def claim_value(self, request_id: bytes) -> int:
        """What the next claim has to bring: the bond, and at first the price of the line."""
        return BOND + line_price(self.court, self.court.requests[request_id])

    def challenge(self, claim: bytes, challenger: bytes = VALIDATOR) -> bytes:
        self.do(Act("challenge", (claim,), PARAMETERS.root_bond(BOND)), challenger)
        return root_id(claim)

    def choose(self, node_id: bytes, part: int, sender: bytes) -> None:
        self.do(self.choice(node_id, part), sender)

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

    def choice(self, node_id: bytes, part: int) -> Act:
        node = self.court.nodes[node_id]
        return Act("choose", (node_id, node.segment, node.posted, part), PARAMETERS.node_bond)

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
        self.now = max(self.now, self.start + DEADLINE + 1)
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


def scenario(
    rng: Random, play: Callable[[Scenario], None], program: tuple[int, ...] = PROGRAM, start: int = START_TIME
) -> Iterator[Json]:
    """Yields the cases of a scenario: a deployment, and what `play` does at the court."""
    yield {"name": "deploy", "pre": {"move": "deploy", "parameters": asdict(PARAMETERS)}, "post": {}}
    played = Scenario(model_memory(rng, program), start)
    play(played)
    yield from played.cases
