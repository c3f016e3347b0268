"""Cheats that need accomplices: a challenger that belongs to the server, a claim that is lost on purpose, a reorganised chain."""

from opml_min.machine.hashing import keccak256
from opml_min.players.chain import INSTRUCTIONS, Decision, Dispute, EventLog, Move
from opml_min.players.challenger import Challenger
from opml_min.players.cheats.cheat import Cheat, FalseChallenger, Liar, Setup
from opml_min.players.cheats.silence import SilentServer
from opml_min.players.cheats.tampering import lie
from opml_min.players.cheats.values import output_values
from opml_min.players.player import Player
from opml_min.players.server import Server


def is_one_instruction(dispute: Dispute) -> bool:
    return dispute.segment.phase == INSTRUCTIONS and dispute.segment.length == 1


class Puppet(Challenger):
    """A challenger that belongs to the server. It waits until an honest challenger is about to win, and wins first."""

    honest = False

    def arbitrate(self, dispute: Dispute, request_id: bytes) -> Decision:
        others = [other for other in EventLog.of(self.chain).disputes.values() if other.challenger != self.address]
        if not any(other.claim_id == dispute.claim_id and is_one_instruction(other) for other in others):
            return None
        return super().arbitrate(dispute, request_id)


def concession(setup: Setup) -> list[Player]:
    server = setup.seat(SilentServer, "server", lie(setup, output_values))
    server.is_silent = is_one_instruction
    return setup.with_challenger(server, setup.seat(Puppet, "puppet"))


class Accomplice(FalseChallenger):
    """A false challenger of the first claim only."""

    def objects_to(self, request_id: bytes, run_hash: bytes) -> bool:
        return len(EventLog.of(self.chain).claims) == 1


def bad_defence(setup: Setup) -> list[Player]:
    saboteur = setup.seat(SilentServer, "saboteur")
    saboteur.is_silent = lambda dispute: True
    return [saboteur, setup.seat(Accomplice, "puppet"), setup.seat(Server, "server")]


class ReplacingServer(Liar):
    """A server that posts hashes, waits for the choice, and then has the block with its post replaced by one with other hashes."""

    reorganises = True
    _posted: Move | None = None  # the post that takes the place of the first one
    _has_replaced = False

    def answer(self, dispute: Dispute, request_id: bytes) -> Decision:
        decision = super().answer(dispute, request_id)
        if self._posted is None and isinstance(decision, Move) and decision.name == "post":
            self._posted = decision
            game_id, segment, hashes = decision.arguments
            other = b"".join(keccak256(hashes[start : start + 32]) for start in range(0, len(hashes), 32))
            return Move("post", (game_id, segment, other))
        return decision

    def replacement(self, answer: Move) -> Move | None:
        if answer.name != "choose" or self._posted is None or self._has_replaced:
            return None
        self._has_replaced = True
        return self._posted


CHEATS = (
    Cheat("replaced-hashes", "a reorganisation replaces the posted hashes when the choice is already on its way",
          lambda setup: setup.with_challenger(setup.seat(ReplacingServer, "server", lie(setup, output_values))), refusal="STALE_POSITION"),
    Cheat("concession", "the server loses to a challenger of its own just before the honest one wins", concession),
    Cheat("bad-defence", "a true claim is lost on purpose, while an honest server makes the same claim", bad_defence),
)  # fmt: skip
