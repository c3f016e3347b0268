"""The exhaustive search in small: every invariant holds, and each budget, lowered by one, is found to be too small."""

import pytest
from opml_fuzz.disputes.search.exhaustive import search
from opml_fuzz.disputes.search.small_disputes import Setting


@pytest.mark.parametrize(
    ("setting", "states"),
    [(Setting(stage_count=1, most_nodes=2), 1_000), (Setting(k=3, stage_count=2, most_nodes=3, censorship=0), 1_000)],
)
def test_an_honest_server_survives_every_crowd(setting: Setting, states: int) -> None:
    found = search(setting, lying=False)
    assert found.violation is None
    assert found.fallen == 0 < found.survived
    assert found.states > states


@pytest.mark.parametrize(
    ("setting", "states"),
    [(Setting(stage_count=1, most_nodes=1, censorship=0), 1_000), (Setting(k=3, stage_count=1, most_nodes=1, censorship=0), 400)],
)
def test_one_validator_fells_every_liar(setting: Setting, states: int) -> None:
    found = search(setting, lying=True)
    assert found.violation is None
    assert found.survived == 0 < found.fallen
    assert found.states > states


def test_the_servers_time_is_exact() -> None:
    """A path of three nodes, each answered d late, needs all of T_server."""
    found = search(Setting(stage_count=1, most_nodes=3, censorship=0, server_spare=-1), lying=False)
    assert found.violation is not None
    assert found.violation.startswith("no node of an honest server is out of time")


def test_the_challengers_time_is_exact() -> None:
    """Puppets that open the right nodes as late as they can, and a validator that is as slow as it may be, need all of T_challenger."""
    found = search(Setting(stage_count=1, most_nodes=3, censorship=0, challenger_spare=-1), lying=True)
    assert found.violation is not None
    assert found.violation.startswith("a false claim is never to be finalised")
