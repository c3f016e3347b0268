"""Random sequences of acts on both courts, some right, some spoiled once or twice; time goes on in jumps to where something changes.

The same seed gives the same acts on every machine.
"""

from collections import Counter
from random import Random

from attrs import field, frozen

from evm_arbiter.chain import Artefact
from opml_fuzz.disputes.both_courts import BothCourts, Call, CourtsDiffer
from opml_fuzz.disputes.players import Players
from opml_fuzz.disputes.spoilers import spoiled
from opml_fuzz.disputes.stories import Story

MODELS = 4
ALIVE = 3  # games that go on at once, before others are opened


@frozen
class Report:
    """How often each call was answered how, and where the two courts parted, if they did."""

    answers: Counter[tuple[str, str]] = field(factory=Counter)
    difference: tuple[str, str] | None = None  # what is seen of either

    @property
    def games(self) -> int:
        """How many were begun."""
        return self.answers["challenge", "ok"]


def play_sequence(seed: int | str, acts: int, game: Artefact | None = None) -> Report:
    """So many acts on two fresh courts; stops at the first difference. game: other bytecode than the contract's"""
    rng = Random(f"disputes/{seed}")
    players = Players(BothCourts(game), rng)
    answers: Counter[tuple[str, str]] = Counter()
    try:
        for _ in range(MODELS):
            players.register()
        for _ in range(acts):
            if rng.random() < 0.06 and (borders := players.borders()):
                players.courts.contract.set_time(rng.choice(borders[:4]))
            call, story = next_call(players)
            if rng.random() < 0.35:
                for _ in range(rng.choice((1, 1, 2, 3))):
                    call = spoiled(players, call)
            answer = players.play(call)
            answers[call.move, answer[:2] if answer.startswith("ok") else answer] += 1
            if answer.startswith("ok "):
                players.remember(call, story, answer)
        players.courts.compare_everything()
    except CourtsDiffer as difference:
        spec, contract = (f"act {answers.total() + 1}, {said}" for said in difference.said)
        return Report(answers, (spec, contract))
    return Report(answers)


def next_call(players: Players) -> tuple[Call, Story | None]:
    """What somebody might do; mostly to bring on the games that there are."""
    rng, spec = players.rng, players.courts.spec
    games = players.going_on()
    if games and rng.random() < (0.85 if len(games) >= ALIVE else 0.65):
        return players.move(rng.choice(games[:ALIVE])), None
    requests, claims = [*players.requests][-4:], [*players.stories][-6:]
    match rng.choice(("ask", "claim", "claim", "challenge", "challenge", "finalise", "finalise", "loose end", "loose end", "move")):
        case "claim" if requests:
            return players.claim(rng.choice(requests))
        case "challenge" if claims:
            return players.challenge(rng.choice(claims)), None
        case "finalise" if claims:
            return players.finalise(rng.choice(claims)), None
        case "loose end" if spec.requests:
            return rng.choice([*players.loose_ends()]), None
        case "move" if players.games():
            return players.move(rng.choice(players.games())), None
    return players.ask(), None
