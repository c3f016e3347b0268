"""Silence, and moves that come too late. A silent server's claim falls when its time is up; a silent challenger's bonds are lost."""

from collections.abc import Callable

from opml_min.players.chain import INSTRUCTIONS, Decision, Wait
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CHALLENGER, Cheat, FalseChallenger, Liar, Setup
from opml_min.players.cheats.tampering import lie
from opml_min.players.cheats.values import output_values
from opml_min.players.index import ClaimEntry, NodeEntry
from opml_min.players.player import Player

When = Callable[[NodeEntry], bool]


class SilentServer(Liar):
    """A server that does not answer some nodes."""

    is_silent: When

    def answer(self, node: NodeEntry) -> Decision:
        return None if self.is_silent(node) else super().answer(node)


class SilentChallenger(FalseChallenger):
    """A challenger that never chooses."""

    def choose(self, claim: ClaimEntry, node: NodeEntry, part: int) -> Decision:
        return None


class LateServer(Liar):
    """A server that answers only when its time is up."""

    _has_tried = False

    def answer(self, node: NodeEntry) -> Decision:
        too_late = self.last_answer(node) + 1
        if self.chain.now < too_late:
            return Wait(too_late)
        if self._has_tried:
            return None
        self._has_tried = True
        return self.true_answer(node)


def _silent_server(name: str, description: str, is_silent: When) -> Cheat:
    def seats(setup: Setup) -> list[Player]:
        player = setup.seat(SilentServer, "server", lie(setup, output_values))
        player.is_silent = is_silent
        return setup.with_challenger(player)

    return Cheat(name, description, seats)


CHEATS = (
    _silent_server("silent-server", "the server never answers the challenge", lambda node: True),
    _silent_server("silent-in-stage", "the server opens the stage and then posts nothing",
                   lambda node: node.segment.phase == INSTRUCTIONS and node.segment.length > 1),
    _silent_server("silent-at-arbitration", "the server does not have the one instruction left executed",
                   lambda node: node.segment.phase == INSTRUCTIONS and node.segment.length == 1),
    Cheat("late-server", "the server answers in the block in which its time is up",
          lambda setup: setup.with_challenger(setup.seat(LateServer, "server", lie(setup, output_values))), refusal="OUT_OF_TIME"),
    Cheat("silent-challenger", "the challenger challenges and then never chooses",
          lambda setup: setup.with_server(setup.seat(SilentChallenger, CHALLENGER)), CHALLENGER, CHALLENGE_REJECTED),
)  # fmt: skip
