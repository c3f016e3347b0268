"""Silence, and moves that come too late. The silent side uses up its own time and loses by a timeout."""

from collections.abc import Callable

from opml_min.players.chain import INSTRUCTIONS, STAGES, Decision, Dispute, Move, Wait
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CHALLENGER, Cheat, FalseChallenger, Liar, Setup
from opml_min.players.cheats.tampering import lie
from opml_min.players.cheats.values import output_values
from opml_min.players.player import Player

When = Callable[[Dispute], bool]


class SilentServer(Liar):
    """A server that does not answer in some disputes."""

    is_silent: When

    def answer(self, dispute: Dispute, request_id: bytes) -> Decision:
        return None if self.is_silent(dispute) else super().answer(dispute, request_id)


class SilentChallenger(FalseChallenger):
    """A challenger that does not choose in some disputes."""

    is_silent: When

    def choose(self, dispute: Dispute, request_id: bytes) -> Decision:
        return None if self.is_silent(dispute) else super().choose(dispute, request_id)


def first_too_late(player: Player, dispute: Dispute, decision: Decision, left_seconds: int) -> Decision:
    """Delays a move to the first second at which it is too late."""
    too_late = player.chain.game_of(dispute.game_id).turn_start + left_seconds + 1
    return Wait(too_late) if isinstance(decision, Move) and player.chain.now < too_late else decision


class LateServer(Liar):
    """A server that answers only when its time is up."""

    def answer(self, dispute: Dispute, request_id: bytes) -> Decision:
        left_seconds = self.chain.game_of(dispute.game_id).server_left
        return first_too_late(self, dispute, super().answer(dispute, request_id), left_seconds)


class LateChallenger(FalseChallenger):
    """A challenger that chooses only when its time is up."""

    def choose(self, dispute: Dispute, request_id: bytes) -> Decision:
        left_seconds = self.chain.game_of(dispute.game_id).challenger_left
        return first_too_late(self, dispute, super().choose(dispute, request_id), left_seconds)


def _silent_server(name: str, description: str, is_silent: When) -> Cheat:
    def seats(setup: Setup) -> list[Player]:
        player = setup.seat(SilentServer, "server", lie(setup, output_values))
        player.is_silent = is_silent
        return setup.with_challenger(player)

    return Cheat(name, description, seats)


def _silent_challenger(name: str, description: str, is_silent: When) -> Cheat:
    def seats(setup: Setup) -> list[Player]:
        player = setup.seat(SilentChallenger, CHALLENGER)
        player.is_silent = is_silent
        return setup.with_server(player)

    return Cheat(name, description, seats, CHALLENGER, CHALLENGE_REJECTED)


CHEATS = (
    _silent_server("silent-server", "the server never answers the challenge", lambda dispute: True),
    _silent_server("silent-at-opening", "the server does not open the one stage left",
                   lambda dispute: dispute.segment.phase == STAGES and dispute.segment.length == 1),
    _silent_server("silent-in-stage", "the server opens the stage and then posts nothing",
                   lambda dispute: dispute.segment.phase == INSTRUCTIONS and dispute.segment.length > 1),
    _silent_server("silent-at-arbitration", "the server does not have the one instruction left executed",
                   lambda dispute: dispute.segment.phase == INSTRUCTIONS and dispute.segment.length == 1),
    Cheat("late-server", "the server answers in the block in which its time is up",
          lambda setup: setup.with_challenger(setup.seat(LateServer, "server", lie(setup, output_values))), refusal="OUT_OF_TIME"),
    _silent_challenger("silent-challenger", "the challenger challenges and then never chooses", lambda dispute: True),
    _silent_challenger("silent-in-stage-challenger", "the challenger falls silent once a stage is open",
                       lambda dispute: dispute.segment.phase == INSTRUCTIONS),
    Cheat("late-challenger", "the challenger chooses in the block in which its time is up",
          lambda setup: setup.with_server(setup.seat(LateChallenger, CHALLENGER)), CHALLENGER, CHALLENGE_REJECTED, refusal="OUT_OF_TIME"),
)  # fmt: skip
