"""The specification's court and the contract answer every act alike, and the random acts reach every kind of answer."""

from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

import pytest
from attrs import evolve
from opml_fuzz.disputes.both_courts import BothCourts, CourtsDiffer
from opml_fuzz.disputes.call import ARGUMENTS, Call, read, write
from opml_fuzz.disputes.contract import PEOPLE, Contract, EmbeddedChain, Failed, RevmChain
from opml_fuzz.disputes.deep_trees import deep_tree
from opml_fuzz.disputes.deployments import deploy_on_both, tight_parameters
from opml_fuzz.disputes.last_seconds import last_seconds
from opml_fuzz.disputes.players import Players
from opml_fuzz.disputes.rules import DEEP, RULES
from opml_fuzz.disputes.sequences import RandomDisputes, SequenceReport, at_court, play_sequence, players_at, replay
from opml_fuzz.disputes.spoilers import spoiled
from opml_fuzz.engines.room import Engines
from opml_fuzz.fuzzing.compiled_mutants import compiled
from opml_fuzz.fuzzing.difference import compare
from opml_fuzz.fuzzing.reproducer import program_text
from opml_fuzz.fuzzing.shrinking import shrink
from opml_fuzz.machine.case import Acts, Disputes, from_json
from opml_spec.dispute.acts import Act
from opml_spec.dispute.objects import Court, model_id
from opml_spec.dispute.parameters import TIME_LIMIT, WEI_LIMIT
from opml_spec.errors import SpecError

from evm_arbiter.chain import START_TIME

SEEDS, ACTS, LAST_ACTS = range(1, 19), 400, 19
UNREACHED = {"224 STILL_RUNNING", "237 TOO_MUCH_WORK", "201 UNKNOWN_MODEL", "238 ALREADY_FINAL"}
"""What so few acts may miss; the mutants need it too, and find it."""


@pytest.fixture(scope="module")
def reports() -> list[SequenceReport]:
    return [play_sequence(seed, ACTS) for seed in SEEDS]


def test_both_courts_answer_alike(reports: list[SequenceReport]) -> None:
    assert [report.difference for report in reports] == [None] * len(SEEDS)
    assert all(report.answers.total() >= ACTS for report in reports)


def test_most_sequences_end_with_a_lost_server_and_the_last_acts(reports: list[SequenceReport]) -> None:
    """Timeouts are refused and accepted a second later; a claim closes in the last second, another one would close after it."""
    whole = [report for report in reports if report.calls[-1].now == TIME_LIMIT - 1]
    assert len(whole) > len(SEEDS) // 2
    lost = Counter[str]()
    for report in whole:
        acts, last = replay(report.rules, map(write, report.calls[:-LAST_ACTS])).answers, report.answers.copy()
        last.subtract(acts)
        assert last["claim", "ok"] == 2
        assert last["claim", "240 TOO_LATE"] == last["finalise", "ok"] == last["finalise", "246 OTHER_RESULT"] == 1
        assert last["finalise", "227 WRONG_OUTPUT"] == 3
        assert {error[:3] for move, error in last if move == "finalise" and last[move, error]} >= {"101", "103", "104", "105", "106"}
        assert report.calls[-LAST_ACTS + 3].now == TIME_LIMIT - RULES[report.rules].window
        acts.subtract(replay(report.rules, map(write, report.calls[:ACTS])).answers)
        lost.update(f"{move} {answer}" for move, answer in +acts)
    assert min(lost["arbitrate ok"], lost["timeout 218 NOT_OUT_OF_TIME"], lost["timeout ok"]) > len(whole) // 2


def played(rules: int, play: Callable[[Players], Iterator[Call]], seed: int = 5) -> tuple[list[str], BothCourts]:
    """What both courts answer to the acts that somebody plays, once all models are registered."""
    rng, courts = Random(seed), BothCourts(RULES[rules])
    players, answers = players_at(courts, rules, rng), list[str]()
    players.now = START_TIME
    for _ in at_court(courts, players, registering(courts, players)):
        pass
    for call in at_court(courts, players, play(players)):
        answers.append(f"{call.move} {courts.call(call).partition(' ')[0]}")
    courts.compare_everything()
    return answers, courts


def registering(courts: BothCourts, players: Players) -> Iterator[Call]:
    while len(players.models) < 4:
        call = players.register()
        courts.call(call)
        yield call


def longest_path(court: Court) -> tuple[int, ...]:
    return max((node.path for node in court.nodes.values()), key=len)


@pytest.mark.parametrize(("rules", "depth", "bits"), [(0, 45, 45), (3, 9, 54), (4, 23, 46)])
def test_a_tree_can_be_as_deep_as_it_gets(rules: int, depth: int, bits: int) -> None:
    """Some stages take few steps, so not every tree is."""
    plays = [played(rules, deep_tree, seed) for seed in range(5, 15)]
    answers, courts = max(plays, key=lambda play: len(longest_path(play[1].spec)))
    path = longest_path(courts.spec)
    assert len(path) + 1 >= depth
    assert len(path) * (RULES[rules].k - 1).bit_length() >= bits
    assert {answer for answer in answers if answer.endswith("ok")} >= {"open ok", "post ok", "choose ok", "collect ok"}
    assert courts.spec.ledger.burned > 0


def test_money_does_not_fit_64_bits_under_the_last_rules() -> None:
    _, courts = played(len(RULES) - 1, deep_tree)
    assert min(courts.spec.ledger.credited.values()) > 1 << 64
    assert min(courts.spec.ledger.burned, courts.spec.ledger.locked) > 1 << 64
    assert min(node.price for node in courts.spec.nodes.values()) == 0


def test_what_waits_until_the_last_second() -> None:
    """It is refused in that second, and accepted in the next one."""
    answers, _ = played(1, last_seconds)
    choices = ["request ok", "claim ok", "challenge ok", "post ok", "choose ok", "choose 217", "choose 217"]
    choices += ["post ok", "choose ok", "choose 242", "choose 217"]  # in the node below, which only its opener may choose in yet
    claims = ["request ok", "claim ok", "claim ok"]
    ends = ["expire 247", "finalise 245", "expire 247", "finalise ok", "expire 247", "expire ok"]
    awards = ["finalise ok", "award 248", "award 248", "award ok", "award ok", "finalise ok"]
    reclaims = ["request ok", "claim ok", "reclaim 230", "reclaim ok", "request ok", "reclaim 230", "reclaim ok"]
    assert answers == [*choices, *claims, *2 * ["challenge ok", "post ok"], *ends, *claims, *awards, *reclaims]


def test_deposits_stay_below_what_a_chain_can_have() -> None:
    """The contract's books hold 128 bits, and the specification's any number."""
    courts, asking = courts_with_model()
    courts.call(asking)
    values = {spoiled(Random(seed), asking, courts.spec, PEOPLE).act.value for seed in range(200)}
    assert WEI_LIMIT + 100 in values
    assert not any(value < WEI_LIMIT <= value + courts.spec.ledger.deposits for value in values)


def test_the_acts_reach_every_act_and_most_errors(reports: list[SequenceReport]) -> None:
    """Else the agreement would mean little."""
    answers = sum((report.answers for report in reports), Counter())
    assert {move for move, answer in answers if answer == "ok"} == set(ARGUMENTS)
    errors = {answer for _, answer in answers} - {"ok"}
    named = {f"{error.number} {error.name}" for error in SpecError.__subclasses__() if 200 < error.number < 249}
    assert errors >= named - UNREACHED - {"232 PARAMETERS", "233 PAYMENT_FAILED"}
    assert sum(report.accepted for report in reports) > answers.total() // 3
    assert len({report.rules for report in reports}) > len(RULES) // 2


def test_the_same_seed_gives_the_same_acts() -> None:
    first, second = (play_sequence(4, 60) for _ in range(2))
    assert first == second
    assert play_sequence(5, 60).calls != first.calls


def test_acts_that_are_written_down_are_made_again(reports: list[SequenceReport]) -> None:
    for report in reports[:3]:
        assert all(read(write(call)) == call for call in report.calls)
        again = replay(report.rules, map(write, report.calls))
        assert (again.answers, again.calls, again.difference) == (report.answers, report.calls, None)


def test_both_chains_run_the_contract_alike(reports: list[SequenceReport]) -> None:
    """Base fee included, which the one in revm is told in another way."""
    report = reports[0]
    contracts = [Contract(RULES[report.rules], chain=chain) for chain in (RevmChain(), EmbeddedChain())]
    for call in report.calls[:120]:
        said = []
        for contract in contracts:
            try:
                said.append((contract.make(call), contract.balance))
            except Failed as failed:
                said.append(([], failed.number))
        assert said[0] == said[1]
    assert any(call.basefee for call in report.calls[:120])


def courts_with_model() -> tuple[BothCourts, Call]:
    courts = BothCourts(DEEP)
    roots = bytes(32), bytes(32), 1
    assert courts.call(Call(Act("register", roots), PEOPLE[0], START_TIME)) == "ok"
    asking = Act("request", (model_id(*roots), 1, b"", START_TIME + 9, DEEP.min_bond, bytes(20)), 100)
    return courts, Call(asking, PEOPLE[0], START_TIME)


def test_a_difference_is_seen() -> None:
    """When one court has heard of an act that the other has not."""
    courts, asking = courts_with_model()
    courts.ask_specification(asking)
    with pytest.raises(CourtsDiffer, match="request_of"):
        courts.compare_everything()
    courts, asking = courts_with_model()
    courts.contract.make(asking)
    with pytest.raises(CourtsDiffer, match="events"):
        courts.call(asking)


def test_a_difference_is_shrunk_to_the_acts_that_matter() -> None:
    """With a contract that lets somebody choose a part twice, a dozen acts or so are left."""
    courts = RandomDisputes(compiled("game", "        codec.fail(PART_CHOSEN)", "        pass"))
    engines = Engines((), (), (), courts)
    difference = next(found for seed in range(20) if (found := compare(Disputes(f"shrink/{seed}", 300), engines)))
    small = shrink(difference, engines)
    assert isinstance(difference.case, Acts)
    assert isinstance(small.case, Acts)
    assert len(small.case.acts) <= 16 < len(difference.case.acts)
    assert [act["move"] for act in small.case.acts[-2:]] == ["choose", "choose"]
    assert from_json(small.to_json()) == small.case
    names: dict[str, object] = {}
    exec(program_text(small.case).replace("print(said)", "pass"), names)  # on the committed contract nothing differs
    assert names["said"] == "all agree"
    assert compare(evolve(small.case, acts=small.case.acts[:-1]), engines) is None


def test_both_refuse_the_same_parameters() -> None:
    rng = Random("deployments")
    accepted = [deploy_on_both(tight_parameters(rng)) for _ in range(200)]
    assert 40 < sum(accepted) < 160
