"""Every kind of cheat, played to the end against the contracts: the verdict is right, nobody honest pays, and the money adds up."""

from collections.abc import Callable
from typing import Any

import pytest

from evm_arbiter.court import Court
from opml_min.cli.demo.evidence import evidence
from opml_min.cli.demo.play import Match, play, shared_computations
from opml_min.cli.demo.scene import scene_of
from opml_min.model.image.ops import Opcode
from opml_min.model.resolve import resolve
from opml_min.players.chain import INSTRUCTIONS, REJECTED, Dispute, EventLog
from opml_min.players.challenger import Challenger
from opml_min.players.cheats import CHEATS, NONE, own_programs, values
from opml_min.players.cheats.cheat import CLAIM_REJECTED, Cheat, Liar, Scene, Setup
from opml_min.players.cheats.tampering import NoSuchLie, lie
from opml_min.players.cheats.values import output_values
from opml_min.players.player import Player

Play = Callable[..., Match]
DECIDED_BEFORE_A_STAGE = {
    "silent-server", "late-server", "silent-challenger", "late-challenger", "silent-at-opening", "bad-defence",  # by the clock
    "resurrection", "denied-failure",  # by the opening: a run that has failed has no machine
    "forged-output",  # without a dispute
}  # fmt: skip


@pytest.fixture(scope="module")
def scene() -> Scene:
    return scene_of(resolve("embedded"))


@pytest.fixture(scope="module")
def play_here(scene: Scene) -> Play:
    """Plays on one court, which is set back each time, with one honest computation."""
    court, compute = Court(), shared_computations()
    before = court.snapshot()

    def played(cheat: Cheat, **how: Any) -> Match:
        court.restore(before)
        return play(scene, cheat, court=court, compute=compute, **how)

    return played


@pytest.mark.parametrize("name", CHEATS)
def test_cheat_does_not_pay(name: str, play_here: Play) -> None:
    cheat = CHEATS[name]
    match = play_here(cheat, seed=1)
    gains = {player: after - match.balances_before[player] for player, after in match.balances().items()}
    assert match.verdict == cheat.verdict
    assert match.honest_side_won()
    assert match.money_adds_up()
    assert match.money()["locked"] == match.money()["credited"] == 0  # everybody got what is theirs, and took it
    if cheat.refusal is not None:
        assert cheat.refusal in {delivered.refusal for delivered in match.history}
    if name != "forged-output":
        assert sum(gains[player.name] for player in match.players if not player.honest) < 0
    if name in DECIDED_BEFORE_A_STAGE:
        assert evidence(match) is None
        assert "arbitrate" not in {delivered.move.name for delivered in match.history}
    else:
        check_instruction(match, decided_by_clock=name.startswith("silent-in-stage"))


def check_instruction(match: Match, *, decided_by_clock: bool) -> None:
    """What is told about the instruction is what the contract finds out."""
    found, dispute = evidence(match), match.dispute
    assert found is not None
    assert dispute is not None
    assert dispute.segment.phase == INSTRUCTIONS
    honest = match.setup.honest
    before, after = match.court.arbiter.call("step", honest.witness(found.stage, found.step))
    assert before == honest.step_hash(found.stage, found.step)
    assert after == honest.step_hash(found.stage, found.step + 1)
    if not decided_by_clock:
        assert before == dispute.segment.agreed
        assert (after == dispute.segment.disputed) is dispute.server_won
        assert (found.claimed is not None and found.claimed != found.after) or dispute.server_won or "register" in found.instruction


@pytest.mark.parametrize("name", [cheat.name for cheat in (*values.CHEATS, *own_programs.CHEATS)])
def test_wrong_value_is_decided_by_executing_an_instruction(name: str, play_here: Play) -> None:
    match = play_here(CHEATS[name], seed=2)
    assert match.honest_side_won()
    assert [delivered.move.name for delivered in match.history if delivered.refusal is None].count("arbitrate") == 1


def test_without_a_cheat_there_is_no_dispute(play_here: Play) -> None:
    match = play_here(NONE)
    assert match.dispute is None
    assert match.honest_side_won()
    assert match.money_adds_up()
    finalised = [event for event in match.court.events() if type(event).__name__ == "Finalised"]
    assert len(finalised) == 1
    tokens = match.setup.honest.tokens()
    assert tokens == [int.from_bytes(finalised[0].output[at : at + 4], "little") for at in range(32, 32 + 4 * len(tokens), 4)]


@pytest.mark.parametrize(("name", "opcode"), [("kv-cache", Opcode.CACHE), ("token", Opcode.SAMPLE), ("other-weights", Opcode.MATMUL)])
def test_stage_is_of_the_right_kind(name: str, opcode: Opcode, play_here: Play) -> None:
    found = evidence(play_here(CHEATS[name], seed=3))
    assert found is not None
    assert found.op.name == opcode.name


def test_stage_can_be_chosen(play_here: Play) -> None:
    for name in ("output-value", "accuse-first"):
        found = evidence(play_here(CHEATS[name], seed=4, stage=700))
        assert found is not None
        assert found.stage == 700
    with pytest.raises(NoSuchLie):
        play_here(CHEATS["kv-cache"], stage=3)  # MATMUL
    with pytest.raises(NoSuchLie):
        play_here(CHEATS["kv-cache"], stage=1_000_000)


def test_puppet_does_not_rob_the_honest_challenger(play_here: Play) -> None:
    """Its game is void, but it has its bond back and its part of the share."""
    match = play_here(CHEATS["concession"], seed=5)
    disputes = {dispute.challenger: dispute for dispute in EventLog.of(match.court).disputes.values()}
    by_name = {player.name: disputes.get(player.address) for player in match.players}
    puppets, honests = by_name["puppet"], by_name["challenger"]
    assert puppets is not None
    assert honests is not None
    assert puppets.server_won is False
    assert honests.server_won is None
    share = match.court.parameters.server_bond_wei // 2
    gained = match.balances()["challenger"] - match.balances_before["challenger"]
    assert 0.4 * share < gained < 0.6 * share


def test_true_claim_beside_one_that_is_defended_badly_becomes_final(play_here: Play) -> None:
    match = play_here(CHEATS["bad-defence"], seed=6)
    claims = {claim.server: claim_id for claim_id, claim in EventLog.of(match.court).claims.items()}
    saboteur, server = (next(player.address for player in match.players if player.name == name) for name in ("saboteur", "server"))
    assert match.court.claim_of(claims[saboteur]).status == REJECTED
    request = match.court.request_of(next(iter(EventLog.of(match.court).requests)))
    assert request.result == claims[server]


class CarelessChallenger(Challenger):
    """Names the first part whatever was posted."""

    def part(self, dispute: Dispute, request_id: bytes) -> int:
        return 0


def test_careless_challenger_loses_and_that_is_seen(play_here: Play) -> None:
    """The check that the honest side won can fail."""

    def seats(setup: Setup) -> list[Player]:
        return [setup.seat(Liar, "server", lie(setup, output_values)), setup.seat(CarelessChallenger, "challenger")]

    match = play_here(Cheat("careless", "", seats, verdict=CLAIM_REJECTED), seed=7, stage=900)
    assert not match.honest_side_won()
    assert match.money_adds_up()
