"""Vectors of the court: whole disputes about a true or a false claim, and before each accepted act some that must be refused.

A refused act is the accepted one with one thing changed: the sender, the money, or an argument. Arguments are those of the contract's
interface.

*Source*: spec §5.
"""

from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any

from attrs import asdict, define, evolve, field
from opml_spec.dispute.acts import Act, Ask, Challenge, Collect, Court, Finalise, MakeClaim, Play, Reclaim, Register, Withdraw, act, deploy
from opml_spec.dispute.clocks import Side
from opml_spec.dispute.game import Arbitrate, Choose, Game, GameStatus, Move, Open, Post, Timeout
from opml_spec.dispute.money import Parameters
from opml_spec.dispute.narrowing import Phase, boundary, part_count
from opml_spec.errors import SpecError
from opml_spec.hashing import HASH_BYTES, keccak256
from opml_spec.machine.memory import CARRY_HEIGHT, Memory
from opml_spec.machine.merkle import ZERO, Pair, hash_of, siblings
from opml_spec.machine.state import encode
from opml_spec.machine.witness import SENT_BYTES, make_witness
from opml_spec.model.layout import MAX_REQUEST_BYTES, OUTPUT
from opml_spec.runs.run import RunStatus, model_id

from opml_fuzz.disputes.traces import Trace
from opml_fuzz.vectors.notation import Json, make_case
from opml_fuzz.vectors.small_program import model_memory, quarters, trace_of

REQUESTER, SERVER, CHALLENGER, STRANGER = (bytes([number]) * 20 for number in (0xA1, 0xA2, 0xA3, 0xA4))
START_TIME, WINDOW = 2_000_000_000, 1_000
PARAMETERS = Parameters(4, 2, 5, WINDOW, 2_500, 1_500, 10_007, 1_009, 100, 10, 20, 10, 150, 10, 60, 7, 300, 590, 2)
STAGES, DATA, FEE = 6, bytes(8) + b"what is it that we disagree about?", 7_003
Arguments = dict[str, Any]


@define
class Scenario:
    """A court, the time, and the cases so far: it plays a dispute and writes down every act."""

    truth: Trace
    claimed: Trace
    court: Court = field(factory=lambda: deploy(PARAMETERS))
    now: int = START_TIME
    cases: list[Json] = field(factory=list)
    refused: set[tuple[str, int]] = field(factory=set)
    ids: dict[str, bytes] = field(factory=dict)

    def do(self, move: str, sender: bytes, arguments: Arguments, value: int = 0) -> None:
        """Makes an act that is accepted, after some that are refused."""
        for changed in variants(sender, value, arguments):
            self.attempt(move, *changed, must_fail=True)
        self.attempt(move, sender, value, arguments)

    def attempt(self, move: str, sender: bytes, value: int, arguments: Arguments, must_fail: bool = False) -> None:
        """Makes an act and records it. An act that must fail is recorded only if it fails with an error that is new for this move."""
        before, pre = self.court, {"now": self.now, "sender": sender.hex(), "value": hex(value), "move": move}
        pre |= {"arguments": {name: text(argument) for name, argument in arguments.items()}}
        try:
            after = act(before, act_of(move, arguments), sender, self.now, value)
        except SpecError as error:
            if (move, error.number) not in self.refused or not must_fail:
                self.refused.add((move, error.number))
                self.cases.append({"name": f"{move}: {error.name}", "pre": pre, "error": error.number})
            return
        if not must_fail:
            self.court = after
            self.cases.append({"name": move, "pre": pre, "post": self.seen(before, arguments.get("game_id", b""))})

    def seen(self, before: Court, game_id: bytes) -> Json:
        """Writes the ledger, the new id if there is one, and the game concerned."""
        ledger, new = self.court.ledger, self.court
        post: Json = {"deposits": ledger.deposits, "locked": ledger.locked, "burned": ledger.burned, "paid_out": ledger.paid_out}
        post["credited"] = {address.hex(): wei for address, wei in sorted(ledger.credited.items()) if wei}
        for kind in ("models", "requests", "claims", "games"):
            for identity in getattr(new, kind).keys() - getattr(before, kind).keys():
                self.ids[kind] = identity
                post["id"] = identity.hex()
        if game := new.games.get(game_id or bytes.fromhex(post.get("id", ""))):
            clock = {"server_seconds": game.clock.server_seconds, "challenger_seconds": game.clock.challenger_seconds}
            position = {"position": game.position.hex()} if game.status is GameStatus.OPEN else {}
            post["game"] = {"status": game.status.value, "turn_start": game.clock.turn_start, **clock, "moves": game.moves, **position}
        return post

    # a dispute

    @property
    def game(self) -> Game:
        return self.court.games[self.ids["games"]]

    def begin(self, segments: dict[int, bytes]) -> None:
        """Registers, requests and claims."""
        roots = [hash_of(node) for node in quarters(segments)]
        self.do("register", STRANGER, {"model_root": roots[0], "state_root": roots[1]})
        terms = {"stage_count": STAGES, "data": DATA, "deadline": START_TIME + 500, "server": SERVER}
        self.do("request", REQUESTER, {"model_id": model_id(*roots), **terms}, FEE)
        claim = {"request_id": self.ids["requests"], "run_hash": self.claimed.runs[-1].run_hash}
        self.do("claim", SERVER, claim, PARAMETERS.server_bond_wei)

    def dispute(self, silent_at: int | None = None) -> None:
        """Plays a game to its end; from turn `silent_at` on, nobody moves."""
        self.do("challenge", CHALLENGER, {"claim_id": self.ids["claims"]}, PARAMETERS.challenger_bond_wei)
        stage = 0
        while self.game.status is GameStatus.OPEN and self.game.turn != silent_at:
            game, self.now = self.game, self.now + 7
            segment, length = game.segment, game.segment.length
            stage = segment.lo if segment.phase == Phase.STAGES else stage
            given: Arguments = {"game_id": game.game_id, "segment": named(game)}
            parts = part_count(length, PARAMETERS.k)
            ends = [boundary(segment.lo, length, parts, j + 1) for j in range(parts)]
            if game.on_turn is Side.CHALLENGER:
                said = [*game.posted, segment.disputed]
                wrong = [j for j, end in enumerate(ends) if said[j] != hash_at(self.truth, segment.phase, stage, end)]
                self.do("choose", CHALLENGER, given | {"hashes": b"".join(game.posted), "part": (wrong or [parts - 1])[0]})
            elif length > 1:
                hashes = b"".join(hash_at(self.claimed, segment.phase, stage, end) for end in ends[:-1])
                nothing = {"start_carry": bytes(32), "start_status": 0, "steps": 1, "final_state": bytes(297)}
                self.attempt("open", SERVER, 0, given | nothing | {"left_root": bytes(32), "final_carry": bytes(32)}, must_fail=True)
                self.do("post", SERVER, given | {"hashes": hashes})
            elif segment.phase == Phase.STAGES:
                start, machines = self.claimed.runs[stage], self.claimed.stages[stage]
                given |= {"start_carry": hash_of(start.carry), "start_status": int(start.status), "steps": len(machines) - 1}
                halves = [hash_of(machines[-1].memory.subtree(CARRY_HEIGHT, side)) for side in (0, 1)]
                given |= {"final_state": encode(machines[-1]), "left_root": halves[0], "final_carry": halves[1]}
                self.do("open", SERVER, given)
            else:
                given["witness"] = make_witness(self.claimed.machine(stage, segment.lo))
                self.do("arbitrate", STRANGER, given)
                self.attempt("arbitrate", STRANGER, 0, given)
        if self.game.status is GameStatus.OPEN:
            self.time_out()

    def time_out(self) -> None:
        """Lets the time of the side whose turn it is run out: tries acts in its last second and one second later."""
        game = self.game
        arguments = {"game_id": game.game_id, "segment": named(game), "hashes": b"".join(game.posted)}
        self.now = game.clock.turn_start + game.clock.left(game.on_turn)
        self.attempt("timeout", STRANGER, 0, arguments)
        self.now += 1
        if game.on_turn is Side.CHALLENGER:
            self.attempt("choose", CHALLENGER, 0, {**arguments, "part": 0})
        empty = {"carry": bytes(32), "status": 0, "output": b"", "proof": b""}
        self.attempt("finalise", STRANGER, 0, {"claim_id": self.ids["claims"], **empty})
        self.attempt("arbitrate", STRANGER, 0, {"game_id": game.game_id, "segment": named(game), "witness": b""})
        self.do("timeout", STRANGER, arguments)

    def finish(self) -> None:
        """Finalises the claim, and lets everybody collect, reclaim and withdraw."""
        end = self.claimed.runs[-1]
        output, proof = shown_output(end.carry) if end.status == RunStatus.OK else (b"", b"")
        finalise = {"claim_id": self.ids["claims"], "carry": hash_of(end.carry), "status": int(end.status)}
        finalise |= {"output": output, "proof": proof}
        self.attempt("finalise", STRANGER, 0, finalise)
        self.now = max(self.now, START_TIME + WINDOW)
        self.attempt("challenge", CHALLENGER, PARAMETERS.challenger_bond_wei, {"claim_id": self.ids["claims"]})
        if self.court.claims[self.ids["claims"]].status.value == 0:
            self.do("finalise", STRANGER, finalise)
        for game_id in self.court.games:
            self.do("collect", CHALLENGER, {"game_id": game_id})
        self.do("reclaim", REQUESTER, {"request_id": self.ids["requests"]})
        for person in (REQUESTER, SERVER, CHALLENGER, STRANGER):
            self.attempt("withdraw_to", person, 0, {"to": person})


def named(game: Game) -> tuple[int, int, int, bytes, bytes, int]:
    """Writes a game's segment as the contract's interface has it."""
    segment = game.segment
    return int(segment.phase), segment.lo, segment.hi, segment.agreed, segment.disputed, game.turn


def hash_at(trace: Trace, phase: Phase, stage: int, at: int) -> bytes:
    """Returns the run hash before stage `at`, or the state hash after `at` steps of one stage."""
    return trace.runs[at].run_hash if phase == Phase.STAGES else keccak256(encode(trace.machine(stage, at)))


def shown_output(carry: Any) -> tuple[bytes, bytes]:
    """Returns the output's leaves that `finalise` needs, and their proof."""
    memory = Memory(Pair(ZERO[CARRY_HEIGHT], carry))
    leaves = 1 - -memory.load(OUTPUT, 8) // 8
    height = (leaves - 1).bit_length()
    beside = siblings(memory.tree, height, OUTPUT // 32 >> height)[: CARRY_HEIGHT - height]
    sent = {level: sibling for level, sibling in enumerate(beside, height) if sibling != ZERO[level]}
    return memory.load_bytes(OUTPUT, 32 * leaves), sum(1 << level for level in sent).to_bytes(SENT_BYTES, "big") + b"".join(sent.values())


def variants(sender: bytes, value: int, arguments: Arguments) -> Iterator[tuple[bytes, int, Arguments]]:
    """Yields sender, value and arguments with one thing changed."""
    yield STRANGER if sender != STRANGER else REQUESTER, value, arguments
    yield sender, value + 1, arguments
    for name, argument in arguments.items():
        for other in changed(argument):
            yield sender, value, {**arguments, name: other}


def changed(argument: Any) -> Iterator[Any]:
    """Yields an argument with one thing changed; nothing gets longer than the interface takes."""
    match argument:
        case tuple():
            yield (*argument[:-1], argument[-1] + 1)
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


def text(argument: Any) -> Any:
    """Writes an argument: bytes in hex, a segment as a list, small numbers plain."""
    if isinstance(argument, bytes):
        return argument.hex()
    return list(map(text, argument)) if isinstance(argument, tuple) else argument


PLAIN = {"register": Register, "request": Ask, "claim": MakeClaim, "challenge": Challenge, "finalise": Finalise}
PLAIN |= {"collect": Collect, "reclaim": Reclaim, "withdraw_to": Withdraw}


def act_of(move: str, arguments: Arguments) -> Act:
    """Translates an act for the specification; a move of a game names the state of the game by the hash of these fields."""
    if move in PLAIN:
        plain: Act = PLAIN[move](*arguments.values())
        return plain
    game_id, (phase, lo, hi, agreed, disputed, turn), *rest = arguments.values()
    hashes = rest[0] if move in ("choose", "timeout") else b""
    numbers = bytes([phase]) + lo.to_bytes(8, "big") + hi.to_bytes(8, "big")
    position = keccak256(game_id + numbers + agreed + disputed + keccak256(hashes) + turn.to_bytes(8, "big"))
    return Play(game_id, position, move_of(move, rest))


def move_of(move: str, rest: list[Any]) -> Move:
    match move:
        case "post":
            return Post(tuple(rest[0][at : at + HASH_BYTES] for at in range(0, len(rest[0]), HASH_BYTES)))
        case "choose":
            return Choose(rest[1])
        case "open":
            return Open(*rest)
        case "arbitrate":
            return Arbitrate(rest[0])
    return Timeout()


def scenario(rng: Random, lie_at: tuple[int, int] | None, play: Callable[[Scenario], None]) -> Iterator[Json]:
    """Yields the cases of a scenario: a deployment, a claim that is true or false, and what `play` does about it."""
    segments = model_memory(rng)
    played = Scenario(trace_of(segments, STAGES, DATA), trace_of(segments, STAGES, DATA, lie_at))
    yield {"name": "deploy", "pre": {"move": "deploy", "parameters": asdict(PARAMETERS)}, "post": {}}
    played.begin(segments)
    play(played)
    played.finish()
    yield from played.cases


def accept(parameters: Parameters) -> Json:
    deploy(parameters)
    return {}


def refused_parameters(rng: Random) -> Iterator[Json]:
    """Yields parameters that are 1 too small or too large; at a bound with equality, one of the two is refused."""
    for name in asdict(PARAMETERS):
        for by in (-1, 1):
            parameters = evolve(PARAMETERS, **{name: getattr(PARAMETERS, name) + by})
            pre = {"move": "deploy", "parameters": asdict(parameters)}
            yield make_case(f"{name} {by:+d}", pre, partial(accept, parameters))


def undisputed(rng: Random) -> Iterator[Json]:
    too_long = {"model_id": bytes(32), "stage_count": 1, "data": bytes(MAX_REQUEST_BYTES + 1), "deadline": 0, "server": SERVER}

    def play(played: Scenario) -> None:
        played.attempt("request", REQUESTER, 0, too_long | {"model_id": next(iter(played.court.models))})

    return scenario(rng, None, play)


def honest_server(rng: Random) -> Iterator[Json]:
    return scenario(rng, None, lambda played: played.dispute())


def lying_server(rng: Random) -> Iterator[Json]:
    return scenario(rng, (4, 9), lambda played: played.dispute())


def silent_server(rng: Random) -> Iterator[Json]:
    return scenario(rng, (2, 5), lambda played: played.dispute(silent_at=4))


def silent_challenger(rng: Random) -> Iterator[Json]:
    return scenario(rng, None, lambda played: played.dispute(silent_at=3))
