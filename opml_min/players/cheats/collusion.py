"""Cheats with friends: a puppet that wins on purpose, a defence that loses on purpose, somebody who controls the order of the blocks."""

from opml_min.machine.hashing import keccak256
from opml_min.players.chain import INSTRUCTIONS, Decision, Dispute, Move, Record
from opml_min.players.challenger import Challenger
from opml_min.players.cheats.cheat import Cheat, FalseChallenger, Liar, Table
from opml_min.players.cheats.silence import SilentServer
from opml_min.players.cheats.tampering import lie
from opml_min.players.cheats.values import output_values
from opml_min.players.player import Player
from opml_min.players.server import Server


def is_one_instruction(dispute: Dispute) -> bool:
    return dispute.segment.phase == INSTRUCTIONS and dispute.segment.length == 1


class Puppet(Challenger):
    """Belongs to the server. Waits for the moment before somebody else wins, and wins first."""

    honest = False

    def arbitrate(self, dispute: Dispute, request_id: bytes) -> Decision:
        others = [other for other in Record.of(self.chain).disputes.values() if other.challenger != self.address]
        if not any(other.claim_id == dispute.claim_id and is_one_instruction(other) for other in others):
            return None
        return super().arbitrate(dispute, request_id)


def concession(table: Table) -> list[Player]:
    server = table.seat(SilentServer, "server", lie(table, output_values))
    server.is_silent = is_one_instruction
    return table.with_challenger(server, table.seat(Puppet, "puppet"))


class Accomplice(FalseChallenger):
    """Challenges the first claim only."""

    def objects_to(self, request_id: bytes, run_hash: bytes) -> bool:
        return len(Record.of(self.chain).claims) == 1


def bad_defence(table: Table) -> list[Player]:
    saboteur = table.seat(SilentServer, "saboteur")
    saboteur.is_silent = lambda dispute: True
    return [saboteur, table.seat(Accomplice, "puppet"), table.seat(Server, "server")]


class ReplacingServer(Liar):
    """Posts some hashes, waits for the choice, and has the block with its post replaced by one with other hashes."""

    reorganises = True
    _posted: Move | None = None  # what it means to post in the end
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
    Cheat("replaced-hashes", "the posted hashes are replaced, by a reorganisation, when the choice is already on its way",
          lambda table: table.with_challenger(table.seat(ReplacingServer, "server", lie(table, output_values))), refusal="STALE_POSITION"),
    Cheat("concession", "the server concedes to a puppet of its own just before the honest challenger wins", concession),
    Cheat("bad-defence", "a true claim is defended badly on purpose, beside a server that is honest", bad_defence),
)  # fmt: skip
