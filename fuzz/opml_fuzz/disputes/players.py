"""Players: calls that a server, a challenger, a requester or a bystander might rightly make now.

They see the specification's court, and they know a trace for each claim: a run in full, true or with one lie.
"""

from collections.abc import Iterator
from random import Random

from attrs import define, field
from opml_spec.dispute.acts import ClaimStatus
from opml_spec.dispute.game import Game, GameStatus
from opml_spec.dispute.narrowing import Phase, boundary, part_count
from opml_spec.machine.memory import CARRY_HEIGHT, QUARTER_HEIGHT, Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.machine.state import encode
from opml_spec.machine.witness import make_witness
from opml_spec.runs.run import RunStatus

from evm_arbiter.objects import Segment
from opml_fuzz.disputes.both_courts import NOBODY, PARAMETERS, BothCourts, Call
from opml_fuzz.disputes.traces import Trace, random_model, random_trace, shown_output

STAGE_COUNTS = (1, 1, 2, 3, 5, 9)
MOST_STAGES = 10  # of a run for which a trace is made
FAR = 1 << 63  # seconds since 1970


def segment_of(game: Game) -> Segment:
    """Writes a game's segment as the contract's interface has it."""
    segment = game.segment
    return Segment(segment.phase, segment.lo, segment.hi, segment.agreed, segment.disputed, game.turn)


@define
class Players:
    """All players of one pair of courts, and what they remember."""

    courts: BothCourts
    rng: Random
    models: dict[bytes, Memory] = field(factory=dict)  # by id
    requests: dict[bytes, tuple[Memory, int, bytes]] = field(factory=dict)  # model, stages, data
    traces: dict[bytes, Trace] = field(factory=dict)  # by claim
    opened: dict[bytes, int] = field(factory=dict)  # the disputed stage, by game
    history: dict[bytes, list[Segment]] = field(factory=dict)  # earlier segments, by game

    def anybody(self) -> bytes:
        return self.rng.choice(self.courts.people)

    def play(self, call: Call) -> str:
        """Makes a call on both courts, and remembers what the moves of a game need."""
        game = self.courts.spec.games.get(call.arguments[0]) if call.arguments else None
        if game is not None:
            self.history.setdefault(game.game_id, []).append(segment_of(game))
        answer = self.courts.call(call)
        if answer == "ok" and call.move == "open":
            self.opened[call.arguments[0]] = call.arguments[1].lo
        return answer

    # outside of games

    def register(self) -> None:
        model = random_model(self.rng)
        roots = [hash_of(model.subtree(QUARTER_HEIGHT, quarter)) for quarter in (1, 3)]
        answer = self.play(Call("register", tuple(roots), self.anybody()))
        self.models[bytes.fromhex(answer.removeprefix("ok "))] = model

    def ask(self) -> Call:
        model_id, rng = self.rng.choice([*self.models]), self.rng
        stages, data = rng.choice(STAGE_COUNTS), rng.randbytes(rng.choice((0, 1, 32, 40, 1_000)))
        server = rng.choice((NOBODY, NOBODY, self.anybody()))
        deadline = self.courts.now + rng.choice((0, 100, 2_000, 10_000))
        return Call("request", (model_id, stages, data, deadline, server), self.anybody(), rng.choice((0, 7, 12_345)))

    def claim(self, request_id: bytes) -> tuple[Call, Trace]:
        request = self.courts.spec.requests[request_id]
        model, stages, data = self.requests[request_id]
        trace = random_trace(model, stages, data, self.rng, lies=self.rng.random() < 0.5)
        sender = self.anybody() if request.server == NOBODY else request.server
        return Call("claim", (request_id, trace.run_hash), sender, PARAMETERS.server_bond_wei), trace

    def remember(self, call: Call, trace: Trace | None, answer: str) -> None:
        """Remembers the request or the claim that an accepted call made."""
        identity = bytes.fromhex(answer[3:])
        if call.move == "request":
            model_id, stages, data, *_ = call.arguments
            if stages <= MOST_STAGES:
                self.requests[identity] = self.models[model_id], stages, data
        if call.move == "claim" and trace is not None and len(trace.stages) == self.courts.spec.requests[call.arguments[0]].stages:
            self.traces[identity] = trace

    def challenge(self, claim_id: bytes) -> Call:
        return Call("challenge", (claim_id,), self.anybody(), PARAMETERS.challenger_bond_wei)

    def finalise(self, claim_id: bytes) -> Call:
        end = self.traces[claim_id].runs[-1]
        shown = (b"", b"")
        if end.status == RunStatus.OK:
            shown = shown_output(self.traces[claim_id], self.rng.choice((0, 0, 0, 1, 2)))
        return Call("finalise", (claim_id, hash_of(end.carry), int(end.status), *shown), self.anybody())

    def loose_ends(self) -> Iterator[Call]:
        """Yields the calls that might bring somebody money back."""
        spec = self.courts.spec
        for game_id in spec.games:
            yield Call("collect", (game_id,), self.anybody())
        for request_id, request in spec.requests.items():
            yield Call("reclaim", (request_id,), request.requester)
        for person in self.courts.people:
            yield Call("withdraw_to", (self.anybody(),), person)

    # in a game

    def move(self, game: Game) -> Call:
        """Makes the move of the side on turn, or the timeout: usually if it is due, sometimes one second early."""
        segment, trace, hashes = segment_of(game), self.traces[game.claim_id], b"".join(game.posted)
        left_seconds = game.clock.turn_start + game.clock.left(game.on_turn) - self.courts.now
        if left_seconds <= 0 and self.rng.random() < (0.7 if left_seconds < 0 else 0.4):
            return Call("timeout", (game.game_id, segment, hashes), self.anybody())
        length, stage = segment.hi - segment.lo, None if segment.phase == Phase.STAGES else self.opened[game.game_id]
        if game.posted:
            return Call("choose", (game.game_id, segment, hashes, self.rng.randrange(len(game.posted) + 1)), game.challenger)
        if length > 1:
            parts = part_count(length, PARAMETERS.k)
            ends = [boundary(segment.lo, length, parts, j) for j in range(1, parts)]
            said = [self.rng.randbytes(32) if self.rng.random() < 0.02 else trace.hash_at(stage, at) for at in ends]
            return Call("post", (game.game_id, segment, b"".join(said)), game.server)
        if stage is None:
            return Call("open", (game.game_id, segment, *self.opening(trace, segment.lo)), game.server)
        return Call("arbitrate", (game.game_id, segment, make_witness(trace.machine(stage, segment.lo))), self.anybody())

    def opening(self, trace: Trace, stage: int) -> tuple[bytes, int, int, bytes, bytes, bytes]:
        """Computes the arguments with which a stage is opened."""
        start, machines = trace.runs[stage], trace.stages[stage]
        if not machines:
            return hash_of(start.carry), int(start.status), 0, b"", bytes(32), bytes(32)
        halves = [hash_of(machines[-1].memory.subtree(CARRY_HEIGHT, side)) for side in (0, 1)]
        return hash_of(start.carry), int(start.status), len(machines) - 1, encode(machines[-1]), halves[0], halves[1]

    # what is there

    def going_on(self) -> list[Game]:
        """Lists the games that still take moves."""
        pending = {claim_id for claim_id, claim in self.courts.spec.claims.items() if claim.status is ClaimStatus.PENDING}
        return [game for game in self.games() if game.status is GameStatus.OPEN and game.claim_id in pending]

    def games(self) -> list[Game]:
        """Lists the games about a claim with a trace."""
        return [game for game in self.courts.spec.games.values() if game.claim_id in self.traces]

    def edge_times(self) -> list[int]:
        """Lists the times to come at which something becomes legal, and one second before each."""
        spec, now = self.courts.spec, self.courts.now
        times = [claim.claimed_at + PARAMETERS.window_seconds for claim in spec.claims.values() if claim.status is ClaimStatus.PENDING]
        times += [request.deadline + 1 for request in spec.requests.values()]
        times += [game.clock.turn_start + game.clock.left(game.on_turn) + 1 for game in self.going_on()]
        return sorted({time - early for time in times for early in (0, 1) if now < time - early < FAR})
