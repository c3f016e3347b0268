"""The exhaustive search in small: every invariant holds, and each budget, lowered by one, is found to be too small."""

import pytest
from opml_fuzz.disputes.search.exhaustive import SIZES, search
from opml_fuzz.disputes.search.small_disputes import Setting
from opml_fuzz.fuzzing.game_mutants import changed

TWO_CLAIMS = Setting(k=3, stage_count=1, claims=2, most_nodes=2, censorship=0)


@pytest.mark.parametrize(
    ("setting", "states"),
    [
        (Setting(stage_count=1, most_nodes=2), 900),
        (Setting(k=3, stage_count=2, most_nodes=3, censorship=0), 8_000),
        (TWO_CLAIMS, 1_000),
    ],
)
def test_an_honest_server_survives_every_adversary(setting: Setting, states: int) -> None:
    found = search(setting, lying=False)
    assert found.violation is None
    assert found.fallen == 0 < found.survived
    assert found.states > states


@pytest.mark.parametrize(
    ("setting", "states"),
    [
        (Setting(stage_count=1, most_nodes=0, censorship=0), 1_500),
        (Setting(k=3, stage_count=1, most_nodes=1, censorship=0), 900),
        (Setting(k=3, stage_count=1, claims=2, most_nodes=1, censorship=0), 4_000),
    ],
)
def test_one_validator_fells_every_liar(setting: Setting, states: int) -> None:
    """Beside an adversary that opens nodes too, and in a second claim if there is one, which is conceded or expires when the liar likes."""
    found = search(setting, lying=True)
    assert found.violation is None
    assert found.survived == 0 < found.fallen
    assert found.states > states


def test_the_servers_time_is_exact() -> None:
    """A path of three nodes, each answered d late, needs all of T_server."""
    found = search(Setting(stage_count=1, most_nodes=3, censorship=0, server_spare=-1), lying=False)
    assert found.violation is not None
    assert found.violation.startswith("no node of an honest server is out of time")


def test_the_servers_time_is_exact_with_two_claims() -> None:
    found = search(Setting(stage_count=1, claims=2, most_nodes=3, censorship=0, server_spare=-1), lying=False)
    assert found.violation is not None
    assert found.violation.startswith("no node of an honest server is out of time")


def test_the_challengers_time_is_exact() -> None:
    """An adversary that opens the right nodes as late as it can, and a validator as slow as it may be, need all of T_challenger."""
    found = search(Setting(stage_count=1, most_nodes=3, censorship=0, challenger_spare=-1), lying=True)
    assert found.violation is not None
    assert found.violation.startswith("a false claim is never to be finalised")


@pytest.mark.parametrize(
    ("module", "right", "wrong"),
    [
        ("clocks", "if lost_at else self.due", "if False else self.due"),
        ("ends", "reject(court, claim_id, None, message.now)", "reject(court, claim_id, None, 0)"),
        ("clocks", "max(self.since, lost_at) + effort", "self.since + effort"),
    ],
)
def test_a_wrong_rule_about_lost_claims_is_found(module: str, right: str, wrong: str) -> None:
    """Without the rule a claim that is conceded or expires would give time; with a harsher one the server would have less than E."""
    with changed(module, right, wrong):
        found = search(TWO_CLAIMS, lying=True)
    assert found.violation is not None
    assert found.violation.startswith("what happens at one node changes nothing at another")


def test_both_sides_and_two_claims_are_searched_by_command() -> None:
    assert {(lying, setting.claims) for lying, setting in SIZES} == {(False, 1), (False, 2), (True, 1), (True, 2)}
