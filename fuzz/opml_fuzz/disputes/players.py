"""Players: what a server, a challenger, a requester or a bystander might do now, rightly.

They know the specification's court, and a story for each claim.
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
from opml_fuzz.disputes.stories import Story, random_model, shown_output, tell

STAGE_COUNTS = (1, 1, 2, 3, 5, 9)
MOST_STAGES = 10  # that a story is told about
FAR = 1 << 63  # seconds since 1970


def segment_of(game: Game) -> Segment:
    """As the contract wants it."""
    segment = game.segment
    return Segment(segment.phase, segment.lo, segment.hi, segment.agreed, segment.disputed, game.turn)


@define
class Players:
    """What they have in mind."""

    courts: BothCourts
    rng: Random
    models: dict[bytes, Memory] = field(factory=dict)  # by id
    requests: dict[bytes, tuple[Memory, int, bytes]] = field(factory=dict)  # model, stages, data
    stories: dict[bytes, Story] = field(factory=dict)  # by claim
    opened: dict[bytes, int] = field(factory=dict)  # the stage, by game
    history: dict[bytes, list[Segment]] = field(factory=dict)  # by game

    def anybody(self) -> bytes:
        return self.rng.choice(self.courts.people)

    def play(self, call: Call) -> str:
        """The call, with what it means for what they know."""
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

    def claim(self, request_id: bytes) -> tuple[Call, Story]:
        request = self.courts.spec.requests[request_id]
        model, stages, data = self.requests[request_id]
        story = tell(model, stages, data, self.rng, lies=self.rng.random() < 0.5)
        sender = self.anybody() if request.server == NOBODY else request.server
        return Call("claim", (request_id, story.run_hash), sender, PARAMETERS.server_bond_wei), story

    def remember(self, call: Call, story: Story | None, answer: str) -> None:
        """What was made by an accepted call."""
        identity = bytes.fromhex(answer[3:])
        if call.move == "request":
            model_id, stages, data, *_ = call.arguments
            if stages <= MOST_STAGES:
                self.requests[identity] = self.models[model_id], stages, data
        if call.move == "claim" and story is not None and len(story.stages) == self.courts.spec.requests[call.arguments[0]].stages:
            self.stories[identity] = story

    def challenge(self, claim_id: bytes) -> Call:
        return Call("challenge", (claim_id,), self.anybody(), PARAMETERS.challenger_bond_wei)

    def finalise(self, claim_id: bytes) -> Call:
        end = self.stories[claim_id].runs[-1]
        shown = (b"", b"")
        if end.status == RunStatus.OK:
            shown = shown_output(self.stories[claim_id], self.rng.choice((0, 0, 0, 1, 2)))
        return Call("finalise", (claim_id, hash_of(end.carry), int(end.status), *shown), self.anybody())

    def loose_ends(self) -> Iterator[Call]:
        """All that might be pulled back."""
        spec = self.courts.spec
        for game_id in spec.games:
            yield Call("collect", (game_id,), self.anybody())
        for request_id, request in spec.requests.items():
            yield Call("reclaim", (request_id,), request.requester)
        for person in self.courts.people:
            yield Call("withdraw_to", (self.anybody(),), person)

    # in a game

    def move(self, game: Game) -> Call:
        """Of the side on turn; or mostly the timeout, if that is due, and sometimes a second before."""
        segment, story, hashes = segment_of(game), self.stories[game.claim_id], b"".join(game.posted)
        left_seconds = game.clock.turn_start + game.clock.left(game.on_turn) - self.courts.now
        if left_seconds <= 0 and self.rng.random() < (0.7 if left_seconds < 0 else 0.4):
            return Call("timeout", (game.game_id, segment, hashes), self.anybody())
        length, stage = segment.hi - segment.lo, None if segment.phase == Phase.STAGES else self.opened[game.game_id]
        if game.posted:
            return Call("choose", (game.game_id, segment, hashes, self.rng.randrange(len(game.posted) + 1)), game.challenger)
        if length > 1:
            parts = part_count(length, PARAMETERS.k)
            ends = [boundary(segment.lo, length, parts, j) for j in range(1, parts)]
            said = [self.rng.randbytes(32) if self.rng.random() < 0.02 else story.hash_at(stage, at) for at in ends]
            return Call("post", (game.game_id, segment, b"".join(said)), game.server)
        if stage is None:
            return Call("open", (game.game_id, segment, *self.opening(story, segment.lo)), game.server)
        return Call("arbitrate", (game.game_id, segment, make_witness(story.machine(stage, segment.lo))), self.anybody())

    def opening(self, story: Story, stage: int) -> tuple[bytes, int, int, bytes, bytes, bytes]:
        start, machines = story.runs[stage], story.stages[stage]
        if not machines:
            return hash_of(start.carry), int(start.status), 0, b"", bytes(32), bytes(32)
        halves = [hash_of(machines[-1].memory.subtree(CARRY_HEIGHT, side)) for side in (0, 1)]
        return hash_of(start.carry), int(start.status), len(machines) - 1, encode(machines[-1]), halves[0], halves[1]

    # what is there

    def going_on(self) -> list[Game]:
        """Games that take moves."""
        pending = {claim_id for claim_id, claim in self.courts.spec.claims.items() if claim.status is ClaimStatus.PENDING}
        return [game for game in self.games() if game.status is GameStatus.OPEN and game.claim_id in pending]

    def games(self) -> list[Game]:
        """Those with a story."""
        return [game for game in self.courts.spec.games.values() if game.claim_id in self.stories]

    def borders(self) -> list[int]:
        """Times to come at which something becomes legal, or one second before."""
        spec, now = self.courts.spec, self.courts.now
        times = [claim.claimed_at + PARAMETERS.window_seconds for claim in spec.claims.values() if claim.status is ClaimStatus.PENDING]
        times += [request.deadline + 1 for request in spec.requests.values()]
        times += [game.clock.turn_start + game.clock.left(game.on_turn) + 1 for game in self.going_on()]
        return sorted({time - early for time in times for early in (0, 1) if now < time - early < FAR})
