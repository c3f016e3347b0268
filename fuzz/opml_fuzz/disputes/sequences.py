"""Random sequences of calls to both courts, some right, some spoiled up to three times; time jumps to where something changes.

Each ends with what chance seldom brings about: a server that loses a claim among several (`lost_server.py`), now and then the longest path
of a tree (`deep_trees.py`), what waits for a claim until the last second (`last_seconds.py`), and the last acts that there may be
(`last_acts.py`).

A seed gives the same calls on every machine. The calls of a sequence can be written down, made again, and left out one by one.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from random import Random
from typing import Protocol
from zlib import crc32

from attrs import field, frozen
from opml_spec.dispute.acts import deploy
from opml_spec.dispute.honest import Trace
from opml_spec.dispute.objects import ClaimStatus, Court
from opml_spec.dispute.parameters import TIME_LIMIT, Parameters

from evm_arbiter.chain import START_TIME, Artefact
from opml_fuzz.disputes.answers import TellingCourt, asked, differing, right_answer
from opml_fuzz.disputes.both_courts import BothCourts, CourtsDiffer
from opml_fuzz.disputes.call import Call, Json, read, write
from opml_fuzz.disputes.contract import PEOPLE, MakeChain, fastest_chain
from opml_fuzz.disputes.crowds import crowd
from opml_fuzz.disputes.deep_trees import deep_tree
from opml_fuzz.disputes.deployments import deploy_on_both
from opml_fuzz.disputes.edges import acts_at_edges
from opml_fuzz.disputes.last_acts import last_acts
from opml_fuzz.disputes.last_seconds import last_seconds
from opml_fuzz.disputes.lost_server import lost_server
from opml_fuzz.disputes.moments import edge_times
from opml_fuzz.disputes.players import Players
from opml_fuzz.disputes.rules import CROWDED_RULES, RULES
from opml_fuzz.disputes.spoilers import spoiled
from opml_fuzz.machine.case import Acts, Deployment
from opml_fuzz.machine.target_question import Question

SPEC, ALIKE = "spec, court", "all acts answered alike"
MODELS = 4
PACES = ((0, 0, 0, 1, 2, 5), (0, 0, 0, 0, 0, 0, 0, 0, 0, 1))
ALIVE = (1, 3)  # claims whose trees grow at once
STARTS = (*9 * (START_TIME,), TIME_LIMIT - 2_500)  # the last one comes to claims that would close too late
WITNESSED_EVERY, WITNESSED_ACTS = 8, 100  # sequences, and acts of them that a slow chain also gets: about a twentieth of the time
MOST_QUESTION = 900_000  # bytes, of the mebibyte that a line may have
KINDS = ("ask", "ask", *3 * ("claim",), "challenge", *2 * ("finalise",), "expire", *3 * ("collect",), *2 * ("award",))
OTHER_KINDS = ("reclaim", "withdraw_to", "move", "register")


@frozen
class SequenceReport:
    """The calls, the number of answers by call and kind, and what the courts answered differently to the last one, if anything."""

    rules: int
    calls: tuple[Call, ...] = ()
    answers: Counter[tuple[str, str]] = field(factory=Counter)
    difference: tuple[str, str] | None = None  # what is seen in either court

    @property
    def accepted(self) -> int:
        """Counts the calls that were accepted."""
        return sum(count for (_, answer), count in self.answers.items() if answer == "ok")


class HasCourt(Protocol):
    """Whatever makes calls at the specification's court, and perhaps at another."""

    spec: Court


def play_sequence(seed: int | str, acts: int, game: Artefact | None = None) -> SequenceReport:
    """Plays random calls on two fresh courts, and those that chance seldom brings about; stops at the first difference.

    game: other bytecode than the committed game contract"""
    rng, rules = rules_of(seed)
    courts, calls, answers = BothCourts(RULES[rules], game), list[Call](), Counter[tuple[str, str]]()
    players = players_at(courts, rules, rng)
    try:
        for call in chain(drawn_calls(courts, players, acts), at_court(courts, players, endings(players))):
            calls.append(call)
            answers[call.move, courts.call(call)] += 1
        courts.compare_everything()
    except CourtsDiffer as difference:
        return SequenceReport(rules, tuple(calls), answers, difference.said)
    return SequenceReport(rules, tuple(calls), answers)


def draw_acts(seed: int | str, acts: int, at_edges: int = 0) -> Acts:
    """Writes down what `play_sequence` would play, without the contract; after the random acts come some at the edges of time.

    There are fewer acts if they are too long for a question."""
    rng, rules = rules_of(seed)
    court, written, size = TellingCourt(deploy(RULES[rules])), list[Json](), 0
    players = players_at(court, rules, rng)
    others = chain(islice(acts_at_edges(players), at_edges), endings(players))
    for call in chain(drawn_calls(court, players, acts), at_court(court, players, others)):
        act = write(call)
        size += len(json.dumps(act))
        if size > MOST_QUESTION:
            break
        written.append(act)
        court.call(call)
    return Acts(rules, tuple(written))


def endings(players: Players) -> Iterator[Call]:
    """Yields the calls with which a sequence ends; a deep tree takes long, so it is in every third."""
    yield from lost_server(players)
    if players.rng.random() < 1 / 3:
        yield from deep_tree(players)
    yield from last_seconds(players)
    yield from (players.call("withdraw_to", person, sender=person) for person in players.people)
    yield from last_acts(players)


def at_court(courts: HasCourt, players: Players, calls: Iterable[Call]) -> Iterator[Call]:
    """Yields calls, each of which must be made at the court before the next one is drawn; the players see what became of it."""
    for call in calls:
        yield call
        players.court = courts.spec


def rules_of(seed: int | str) -> tuple[Random, int]:
    """Returns the random numbers of a sequence, and its parameters by their number."""
    rng = Random(f"disputes/{seed}")
    return rng, rng.randrange(len(RULES))


def players_at(courts: HasCourt, rules: int, rng: Random) -> Players:
    """Draws how the players of a sequence play."""
    players = Players(courts.spec, PEOPLE, rng, rng.choice(STARTS), alive=rng.choice(ALIVE), pace=rng.choice(PACES))
    players.crowds = rules == CROWDED_RULES and rng.random() < 0.7
    return players


def drawn_calls(courts: HasCourt, players: Players, acts: int) -> Iterator[Call]:
    """Yields calls, each of which must be made at the court before the next one is drawn."""
    rng = players.rng
    for number in range(acts):
        pass_time(players)
        call, told = (players.register(), None) if number < MODELS else next_call(players)
        if rng.random() < 0.25:
            for _ in range(rng.choice((1, 1, 2, 3))):
                call = spoiled(rng, call, courts.spec, PEOPLE)
        before = courts.spec
        yield call
        if courts.spec is not before:
            players.learn(call, before, courts.spec, told)


def pass_time(players: Players) -> None:
    """Lets a few seconds pass, or time enough for something to become legal; the base fee changes."""
    rng = players.rng
    players.now += rng.choice(players.pace)
    if rng.random() < (0.02 if players.crowds else 0.06) and (times := edge_times(players.court, players.now)):
        players.now = rng.choice(times[:12] if rng.random() < 0.8 else times)
    if rng.random() < 0.2:
        cap = players.court.parameters.gas_price_cap
        players.basefee = rng.choice((0, 1, cap, cap + 1, 25 * cap))


def next_call(players: Players) -> tuple[Call, Trace | None]:
    """Draws a call that somebody might make now, usually a move in a tree that grows."""
    rng, court = players.rng, players.court
    if waited := players.wait_for_money():
        return waited, None
    if players.crowds and rng.random() < 0.7 and (crowding := crowd(players)):
        return crowding, None
    pending, tended = players.claims(ClaimStatus.PENDING), players.tended()
    if tended and rng.random() < (0.75 if len(tended) >= players.alive else 0.6):
        return players.tree_move(rng.choice(tended[: players.alive])), None
    claims = [*players.traces][-6:]
    requests = (players.open_requests() or [*players.requests] if rng.random() < 0.9 else [*players.requests])[-3:]
    match rng.choice(KINDS + OTHER_KINDS):
        case "claim" if requests:
            return players.claim(rng.choice(requests))
        case "challenge" if claims:
            return players.challenge(rng.choice(pending or claims)), None
        case "finalise" if claims:
            return players.finalise(rng.choice(pending or claims)), None
        case "expire" if claims:
            return players.call("expire", rng.choice(pending or claims)), None
        case "collect" if court.nodes:
            fallen = [each for each, node in court.nodes.items() if court.claims[node.claim_id].status is ClaimStatus.REJECTED]
            owed = [each for each in fallen if not court.nodes[each].collected]
            return players.call("collect", rng.choice(owed or fallen or [*court.nodes])), None
        case "award" if claims:
            return players.call("award", rng.choice(players.next_awards() or claims)), None
        case "reclaim" if court.requests:
            return players.call("reclaim", rng.choice(players.failed_requests() or [*court.requests])), None
        case "withdraw_to":
            return players.call("withdraw_to", players.anybody(), sender=rng.choice([*court.ledger.credited] or PEOPLE)), None
        case "move" if claims:
            return players.tree_move(rng.choice(claims)), None
        case "register":
            return players.register(), None
    return players.ask(), None


def replay(
    rules: int, written: Iterable[Json], game: Artefact | None = None, make_chain: MakeChain = fastest_chain
) -> SequenceReport:
    """Makes calls that were written down on two fresh courts; stops at the first difference."""
    courts = BothCourts(RULES[rules], game, make_chain=make_chain)
    calls, answers = list[Call](), Counter[tuple[str, str]]()
    try:
        for call in map(read, written):
            calls.append(call)
            answers[call.move, courts.call(call)] += 1
        courts.compare_everything()
    except CourtsDiffer as difference:
        return SequenceReport(rules, tuple(calls), answers, difference.said)
    return SequenceReport(rules, tuple(calls), answers)


class RandomDisputes:
    """The two courts as an engine: each sequence of acts is played on fresh ones.

    game: other bytecode than the committed game contract. witness: a slow chain, which gets the first acts of a sample of the sequences.
    alone: without the contract, which then says nothing about given acts"""

    def __init__(self, game: Artefact | None = None, witness: MakeChain | None = None, alone: bool = False) -> None:
        self.accepted, self._game, self._witness, self._alone = 0, game, witness, alone

    def play(self, seed: str, acts: int) -> dict[str, list[str]]:
        report = play_sequence(seed, acts, self._game)
        sample = map(write, report.calls[:WITNESSED_ACTS]) if crc32(seed.encode()) % WITNESSED_EVERY == 0 else ()
        return self._answers(report, sample)

    def deploy(self, parameters: tuple[int, ...]) -> dict[str, list[str]]:
        if self._alone:
            return {SPEC: [right_answer(Parameters(*parameters), ())[0]]}
        try:
            said = 2 * ("accepted" if deploy_on_both(Parameters(*parameters), self._game) else "refused",)
        except CourtsDiffer as difference:
            said = difference.said
        return answers_of(said)

    def replay(self, rules: int, acts: Iterable[Json]) -> dict[str, list[str]]:
        written = [*acts]
        if self._alone:
            return {SPEC: [ALIKE]}
        return self._answers(replay(rules, written, self._game), written)

    def written(self, seed: str, acts: int) -> tuple[int, tuple[Json, ...]]:
        report = play_sequence(seed, acts, self._game)
        return report.rules, tuple(map(write, report.calls))

    def without_contract(self) -> "RandomDisputes":
        return RandomDisputes(alone=True)

    def question(self, case: Acts | Deployment) -> tuple[Question, list[str]]:
        parameters, acts = given_in(case)
        right = right_answer(parameters, acts)
        self.accepted += sum(text.startswith("{") for text in right)
        return asked(parameters, acts), right

    def differing(self, case: Acts | Deployment, right: list[str], answer: list[str]) -> tuple[str, str]:
        return differing(right, answer, [str(act["move"]) for act in given_in(case)[1]])

    def _answers(self, report: SequenceReport, sample: Iterable[Json]) -> dict[str, list[str]]:
        """Returns what the courts said; where they agree, the witness is asked about the sample."""
        self.accepted += report.accepted
        if report.difference is None and self._witness and (written := [*sample]):
            witnessed = replay(report.rules, written, self._game, self._witness)
            if witnessed.difference is not None:
                return answers_of(witnessed.difference, "contract, court of the witness")
        return answers_of(report.difference or 2 * (ALIKE,))


def given_in(case: Acts | Deployment) -> tuple[Parameters, tuple[Json, ...]]:
    """The parameters of a case at court, and its acts."""
    return (RULES[case.rules], case.acts) if isinstance(case, Acts) else (Parameters(*case.parameters), ())


def answers_of(said: tuple[str, str], contract: str = "contract, court") -> dict[str, list[str]]:
    return {name: [answer] for name, answer in zip((SPEC, contract), said, strict=True)}
