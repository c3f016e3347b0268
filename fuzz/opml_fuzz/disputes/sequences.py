"""Random sequences of acts on both courts, some right, some spoiled up to three times; time jumps to where something changes.

A seed gives the same acts on every machine.
"""

from collections import Counter
from random import Random

from attrs import field, frozen

from evm_arbiter.chain import Artefact
from opml_fuzz.disputes.both_courts import BothCourts, Call, CourtsDiffer
from opml_fuzz.disputes.players import Players
from opml_fuzz.disputes.spoilers import spoiled
from opml_fuzz.disputes.traces import Trace

MODELS = 4
ALIVE = 3  # games that go on at once before others are opened


@frozen
class SequenceReport:
    """The number of answers by call and kind, and the first act that the courts answered differently, if any."""

    answers: Counter[tuple[str, str]] = field(factory=Counter)
    difference: tuple[str, str] | None = None  # what is seen in either court

    @property
    def games(self) -> int:
        """Counts the games that were begun."""
        return self.answers["challenge", "ok"]


def play_sequence(seed: int | str, acts: int, game: Artefact | None = None) -> SequenceReport:
    """Plays acts on two fresh courts; stops at the first difference. game: other bytecode than the committed game contract"""
    rng = Random(f"disputes/{seed}")
    players = Players(BothCourts(game), rng)
    answers: Counter[tuple[str, str]] = Counter()
    try:
        for _ in range(MODELS):
            players.register()
        for _ in range(acts):
            if rng.random() < 0.06 and (times := players.edge_times()):
                players.courts.contract.set_time(rng.choice(times[:4]))
            call, trace = next_call(players)
            if rng.random() < 0.35:
                for _ in range(rng.choice((1, 1, 2, 3))):
                    call = spoiled(rng, call, players.courts, players.history)
            answer = players.play(call)
            answers[call.move, answer[:2] if answer.startswith("ok") else answer] += 1
            if answer.startswith("ok "):
                players.remember(call, trace, answer)
        players.courts.compare_everything()
    except CourtsDiffer as difference:
        spec, contract = (f"act {answers.total() + 1}, {said}" for said in difference.said)
        return SequenceReport(answers, (spec, contract))
    return SequenceReport(answers)


def next_call(players: Players) -> tuple[Call, Trace | None]:
    """Draws a call that somebody might make now, usually a move in one of the games that are open."""
    rng, spec = players.rng, players.courts.spec
    games = players.going_on()
    if games and rng.random() < (0.85 if len(games) >= ALIVE else 0.65):
        return players.move(rng.choice(games[:ALIVE])), None
    requests, claims = [*players.requests][-4:], [*players.traces][-6:]
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


class RandomDisputes:
    """The two courts as an engine: each sequence of acts is played on fresh ones. game: other bytecode than the committed game contract"""

    def __init__(self, game: Artefact | None = None) -> None:
        self.games, self._game = 0, game

    def play(self, seed: str, acts: int) -> dict[str, list[str]]:
        report = play_sequence(seed, acts, self._game)
        self.games += report.games
        seen = (f"{acts} acts answered alike",) * 2 if report.difference is None else report.difference
        return {name: [answer] for name, answer in zip(("spec, court", "contract, court"), seen, strict=True)}
