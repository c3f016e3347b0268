"""Every kind of cheat, played to the end against the contracts: the verdict is right, nobody honest pays, and the money adds up."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from evm_arbiter.court import Court
from evm_arbiter.objects import Fallen, Opened
from opml_min.cli.demo.evidence import evidence
from opml_min.cli.demo.play import FEE_WEI, Match, play, shared_computations
from opml_min.cli.demo.scene import scene_of
from opml_min.model.image.ops import Opcode
from opml_min.model.resolve import resolve
from opml_min.players.agenda import first_of
from opml_min.players.chain import INSTRUCTIONS, REJECTED, Move
from opml_min.players.cheats import CHEATS, NONE, own_programs, puppets, stalling, values
from opml_min.players.cheats.cheat import CLAIM_REJECTED, Cheat, Liar, Scene, Setup
from opml_min.players.cheats.tampering import NoSuchLie, lie
from opml_min.players.cheats.values import output_values
from opml_min.players.index import NodeEntry
from opml_min.players.player import Player
from opml_min.players.validator import Validator

Play = Callable[..., Match]
DECIDED_BEFORE_A_STAGE = {
    "silent-server", "late-server", "silent-challenger", "late-choices", "bad-defence", "copied-claim", "unopenable",  # by the clock
    "stalled-claim", "pumped-due",  # also, the second after a claim is given up
    "resurrection", "denied-failure",  # by the opening: a run that has failed has no machine
    "forged-output", "true-flood",  # without a dispute
}  # fmt: skip
TRUE_CLAIMS = {"forged-output", "true-flood"}  # whose servers earn the fee
NOT_NARROWED_DOWN = {"silent-in-stage", "breadth"}  # to one instruction


@pytest.fixture(scope="module")
def scene() -> Scene:
    return scene_of(resolve("embedded"))


@pytest.fixture(scope="module")
def play_here(scene: Scene) -> Play:
    """Plays on one court, which is set back each time, with one honest computation."""
    court, compute = Court(), shared_computations()
    before = court.snapshot()

    def played(cheat: Cheat, base_fee_wei: int = 0, **how: Any) -> Match:
        court.restore(before)
        court.set_base_fee(base_fee_wei)
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
    assert not any(player.agenda.troubles for player in match.players if player.honest)
    assert match.money()["locked"] == match.money()["credited"] == 0  # everybody got what is theirs, and took it
    if cheat.refusal is not None:
        assert cheat.refusal in {delivered.refusal for delivered in match.history}
    if name not in TRUE_CLAIMS:
        assert sum(gains[player.name] for player in match.players if not player.honest) < 0
    if name in DECIDED_BEFORE_A_STAGE:
        assert evidence(match) is None
        assert "arbitrate" not in {delivered.move.name for delivered in match.history}
    else:
        check_instruction(match, narrowed_down=name not in NOT_NARROWED_DOWN)


def check_instruction(match: Match, *, narrowed_down: bool) -> None:
    """What is told about the instruction is what the contract finds out."""
    found, dispute = evidence(match), match.dispute
    assert found is not None
    assert dispute is not None
    assert dispute.node.segment.phase == INSTRUCTIONS
    honest = match.setup.honest
    before, after = match.court.arbiter.call("step", honest.witness(found.stage, found.step))
    assert before == honest.step_hash(found.stage, found.step)
    assert after == honest.step_hash(found.stage, found.step + 1)
    if narrowed_down:
        survived = dispute.claim.status != REJECTED
        assert before == dispute.node.segment.agreed
        assert (after == dispute.node.segment.disputed) is survived
        assert (found.claimed is not None and found.claimed != found.after) or survived or "register" in found.instruction


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


OPENERS = {  # the accomplice, and how many nodes it opens; all others are the honest challenger's
    "output-value": ("server", 0),
    "silent-server": ("server", 0),
    "stalling-puppet": ("puppet", 2),
    "own-clock": ("puppet", 1 + puppets.PARTS_IN_THE_WAY),
    "flash-loan": ("puppet", 1 + puppets.PARTS_IN_THE_DECIDING_BLOCK),
    "sniping": ("sniper", 0),
}


@pytest.mark.parametrize("name", OPENERS)
def test_gas_is_paid_back_on_the_way(name: str, play_here: Play) -> None:
    """At a high price of gas the honest challenger ends with more than before, its gas included, whatever a puppet opens."""
    match = play_here(CHEATS[name], seed=5, base_fee_wei=100 * 10**9)
    names = {player.address: player.name for player in match.players}
    opened = Counter(names[node.opener] for node in match.index.nodes.values())
    cheat, count = OPENERS[name]
    assert opened.keys() == {"challenger", *([cheat] if count else [])}
    assert opened[cheat] == count
    assert match.verdict == CLAIM_REJECTED
    assert any(names[match.index.nodes[node_id].opener] == "challenger" for node_id in way_to(match))
    assert match.balances()["challenger"] > match.balances_before["challenger"]


@pytest.mark.parametrize("name", ["concession", "priority-abuse"])
def test_who_opens_nothing_loses_nothing(name: str, play_here: Play) -> None:
    """A puppet opens all of the way, so only the gas of a refused challenge can be lost."""
    match = play_here(CHEATS[name], seed=5, base_fee_wei=100 * 10**9)
    assert {node.opener for node in match.index.nodes.values()} == {match.players[1].address}
    assert 0 <= match.balances_before["challenger"] - match.balances()["challenger"] < 10**17


def way_to(match: Match) -> set[bytes]:
    """The nodes from the root to where the claim fell."""
    assert match.dispute is not None
    node, way = match.dispute.node, set()
    while True:
        way.add(node.node_id)
        if node.is_root:
            return way
        node = match.index.nodes[node.parent_id]


def test_true_claim_beside_one_that_is_defended_badly_becomes_final(play_here: Play) -> None:
    match = play_here(CHEATS["bad-defence"], seed=6)
    claims = {claim.server: claim for claim in match.index.claims.values()}
    saboteur, server = (next(player.address for player in match.players if player.name == name) for name in ("saboteur", "server"))
    assert claims[saboteur].status == REJECTED
    (request,) = match.index.requests.values()
    assert request.result == claims[server].claim_id
    assert match.balances()["server"] > match.balances_before["server"]


def test_a_pumped_due_time_ends_with_the_claim_that_is_given_up(play_here: Play) -> None:
    """A puppet made the root of the other claim due long after its opening. Once the first claim has fallen, E and T_server are left."""
    match = play_here(CHEATS["pumped-due"], seed=1)
    parameters, events = match.court.parameters, match.court.events()
    given_up, other = (event for event in events if isinstance(event, Fallen))
    (root,) = (event for event in events if isinstance(event, Opened) and event.node_id == other.node_id)
    assert root.due - root.since == (1 + stalling.PUMPED_NODES) * parameters.effort - (root.since - first_opened(match))
    assert other.at == given_up.at + parameters.effort + parameters.server_time + 1


def first_opened(match: Match) -> int:
    return next(event.since for event in match.court.events() if isinstance(event, Opened))


def test_a_stalled_claim_holds_up_neither_the_result_nor_for_ever_the_fee(play_here: Play) -> None:
    match = play_here(CHEATS["stalled-claim"], seed=1)
    (request,) = match.index.requests.values()
    stalled, beside = (match.index.claims[claim_id] for claim_id in request.claims)
    assert (request.result, stalled.status) == (beside.claim_id, REJECTED)
    at = {each.move.name: each.at_seconds for each in match.history if each.player == "server"}
    assert at["finalise"] < match.court.parameters.window + 120 < at["award"]


def test_a_junk_first_claim_pays_for_the_line_itself(play_here: Play) -> None:
    match = play_here(CHEATS["unopenable"], seed=1)
    first, second = (each for each in match.history if each.move.name == "claim")
    assert (first.player, second.player) == ("junk maker", "server")
    assert first.move.value > second.move.value
    assert match.balances()["server"] - match.balances_before["server"] == FEE_WEI


class CarelessChallenger(Validator):
    """Names the first part whatever was posted."""

    def part(self, node: NodeEntry) -> int:
        return 0


def test_careless_challenger_loses_and_that_is_seen(play_here: Play) -> None:
    """The check that the honest side won can fail."""

    def seats(setup: Setup) -> list[Player]:
        return [setup.seat(Liar, "server", lie(setup, output_values)), setup.seat(CarelessChallenger, "challenger")]

    match = play_here(Cheat("careless", "", seats, verdict=CLAIM_REJECTED), seed=7, stage=900)
    assert not match.honest_side_won()
    assert match.money_adds_up()


class Unsteady(Match):
    """A match on a chain on which every move is undone once, seen by everybody, and made again."""

    def _deliver(self, player: Player, move: Move) -> bool:
        before, told = self.court.snapshot(), len(self.history)
        if not super()._deliver(player, move):
            return False
        for each in self.players:
            each.next_move()
        self.court.restore(before)
        del self.history[told:]
        for each in self.players:
            if each is not player:
                each.next_move()
        assert first_of(player.decisions()) == move
        return super()._deliver(player, move)


@pytest.mark.parametrize("name", ["register", "accuse-first"])
def test_each_move_is_removed_and_brought_back(name: str, play_here: Play) -> None:
    steady, unsteady = play_here(CHEATS[name], seed=8), play_here(CHEATS[name], seed=8, kind=Unsteady)
    assert unsteady.history == steady.history
    assert unsteady.honest_side_won()
