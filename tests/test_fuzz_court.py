"""The specification's court and the contract answer every act alike, and the random acts reach every kind of answer."""

from collections import Counter
from random import Random

import pytest
from opml_fuzz.disputes.both_courts import PARAMETERS, BothCourts, Call, CourtsDiffer
from opml_fuzz.disputes.deployments import deploy_on_both, tight_parameters
from opml_fuzz.disputes.sequences import SequenceReport, play_sequence
from opml_fuzz.disputes.spoilers import ARGUMENTS
from opml_spec.errors import SpecError

SEEDS, ACTS = (1, 2, 3), 350


@pytest.fixture(scope="module")
def reports() -> list[SequenceReport]:
    return [play_sequence(seed, ACTS) for seed in SEEDS]


def test_both_courts_answer_alike(reports: list[SequenceReport]) -> None:
    assert [report.difference for report in reports] == [None] * len(SEEDS)
    assert [report.answers.total() for report in reports] == [ACTS] * len(SEEDS)


def test_the_acts_reach_every_move_and_most_errors(reports: list[SequenceReport]) -> None:
    """Else the agreement would mean little."""
    answers = sum((report.answers for report in reports), Counter())
    assert {move for move, answer in answers if answer == "ok"} == set(ARGUMENTS)
    errors = {answer for _, answer in answers} - {"ok"}
    named = {f"{error.number} {error.name}" for error in SpecError.__subclasses__() if 200 < error.number < 232}
    assert errors <= named | {f"{error.number} {error.name}" for error in SpecError.__subclasses__() if error.number < 110}
    assert len(errors & named) >= len(named) - 4, named - errors
    accepted = sum(count for (_, answer), count in answers.items() if answer == "ok")
    assert accepted > answers.total() // 3


def test_the_same_seed_gives_the_same_acts() -> None:
    first, second = (play_sequence(4, 30) for _ in range(2))
    assert first == second
    assert play_sequence(5, 30).answers != first.answers


def test_a_difference_is_seen() -> None:
    """When one court has heard of an act that the other has not."""
    courts = BothCourts()
    people = courts.people
    model = courts.call(Call("register", (bytes(32), bytes(32)), people[0]))
    request = courts.call(Call("request", (bytes.fromhex(model[3:]), 1, b"", courts.now, bytes(20)), people[0], 5))
    claim = Call("claim", (bytes.fromhex(request[3:]), bytes(32)), people[1], PARAMETERS.server_bond_wei)
    courts.ask_specification(claim)
    with pytest.raises(CourtsDiffer, match=r"specification ok .*, contract ok "):
        courts.call(claim)
    with pytest.raises(CourtsDiffer, match="money"):
        courts.compare_books()


def test_both_refuse_the_same_parameters() -> None:
    rng = Random("deployments")
    accepted = [deploy_on_both(tight_parameters(rng)) for _ in range(100)]
    assert 20 < sum(accepted) < 80
