"""Saying nothing, or saying it too late. The clock decides, and it is the silent side's own."""

from collections.abc import Callable

from opml_min.players.chain import INSTRUCTIONS, STAGES, Decision, Dispute, Move, Wait
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CHALLENGER, Cheat, FalseChallenger, Liar, Table
from opml_min.players.cheats.tampering import lie
from opml_min.players.cheats.values import output_values
from opml_min.players.player import Player

When = Callable[[Dispute], bool]


class SilentServer(Liar):
    is_silent: When

    def answer(self, dispute: Dispute, request_id: bytes) -> Decision:
        return None if self.is_silent(dispute) else super().answer(dispute, request_id)


class SilentChallenger(FalseChallenger):
    is_silent: When

    def choose(self, dispute: Dispute, request_id: bytes) -> Decision:
        return None if self.is_silent(dispute) else super().choose(dispute, request_id)


def in_the_block_of_the_timeout(player: Player, dispute: Dispute, decision: Decision, left_seconds: int) -> Decision:
    """The same move at the first moment at which it is too late."""
    too_late = player.chain.game_of(dispute.game_id).turn_start + left_seconds + 1
    return Wait(too_late) if isinstance(decision, Move) and player.chain.now < too_late else decision


class LateServer(Liar):
    def answer(self, dispute: Dispute, request_id: bytes) -> Decision:
        left_seconds = self.chain.game_of(dispute.game_id).server_left
        return in_the_block_of_the_timeout(self, dispute, super().answer(dispute, request_id), left_seconds)


class LateChallenger(FalseChallenger):
    def choose(self, dispute: Dispute, request_id: bytes) -> Decision:
        left_seconds = self.chain.game_of(dispute.game_id).challenger_left
        return in_the_block_of_the_timeout(self, dispute, super().choose(dispute, request_id), left_seconds)


def _silent_server(name: str, description: str, is_silent: When) -> Cheat:
    def seats(table: Table) -> list[Player]:
        player = table.seat(SilentServer, "server", lie(table, output_values))
        player.is_silent = is_silent
        return table.with_challenger(player)

    return Cheat(name, description, seats)


def _silent_challenger(name: str, description: str, is_silent: When) -> Cheat:
    def seats(table: Table) -> list[Player]:
        player = table.seat(SilentChallenger, CHALLENGER)
        player.is_silent = is_silent
        return table.with_server(player)

    return Cheat(name, description, seats, CHALLENGER, CHALLENGE_REJECTED)


CHEATS = (
    _silent_server("silent-server", "the server never answers the challenge", lambda dispute: True),
    _silent_server("silent-at-opening", "the server does not open the stage that is left",
                   lambda dispute: dispute.segment.phase == STAGES and dispute.segment.length == 1),
    _silent_server("silent-in-stage", "the server opens the stage and then posts nothing",
                   lambda dispute: dispute.segment.phase == INSTRUCTIONS and dispute.segment.length > 1),
    _silent_server("silent-at-arbitration", "the server leaves the instruction that is left to others",
                   lambda dispute: dispute.segment.phase == INSTRUCTIONS and dispute.segment.length == 1),
    Cheat("late-server", "the server answers in the block in which its time is up",
          lambda table: table.with_challenger(table.seat(LateServer, "server", lie(table, output_values))), refusal="OUT_OF_TIME"),
    _silent_challenger("silent-challenger", "a challenge, and then nothing", lambda dispute: True),
    _silent_challenger("silent-in-stage-challenger", "a challenge that is dropped once a stage is open",
                       lambda dispute: dispute.segment.phase == INSTRUCTIONS),
    Cheat("late-challenger", "the challenger chooses in the block in which its time is up",
          lambda table: table.with_server(table.seat(LateChallenger, CHALLENGER)), CHALLENGER, CHALLENGE_REJECTED, refusal="OUT_OF_TIME"),
)  # fmt: skip
