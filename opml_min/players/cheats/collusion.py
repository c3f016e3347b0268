"""Cheats that need accomplices: a claim that is lost on purpose, or to a puppet, and a chain that is reorganised."""

from attrs import evolve

from opml_min.machine.hashing import keccak256
from opml_min.players.chain import Decision, Move, split
from opml_min.players.cheats.cheat import Cheat, FalseChallenger, Liar, Setup
from opml_min.players.cheats.puppets import Puppet
from opml_min.players.cheats.silence import SilentServer
from opml_min.players.cheats.tampering import lie
from opml_min.players.cheats.values import output_values
from opml_min.players.index import ClaimEntry, NodeEntry
from opml_min.players.player import Player
from opml_min.players.server import Server


class Accomplice(FalseChallenger):
    """A false challenger of the first claim only."""

    def objects_to(self, claim: ClaimEntry) -> bool:
        return claim.claim_id == next(iter(self.index.claims))


def bad_defence(setup: Setup) -> list[Player]:
    saboteur = setup.seat(SilentServer, "saboteur")
    saboteur.is_silent = lambda node: True
    return [saboteur, setup.seat(Accomplice, "puppet"), setup.seat(Server, "server")]


class ReplacingServer(Liar):
    """A server that posts hashes, waits for the choice, and then has the block with its post replaced by one with other hashes."""

    reorganises = True
    _posted: Move | None = None  # the post that takes the place of the first one
    _has_replaced = False

    def answer(self, node: NodeEntry) -> Decision:
        decision = super().answer(node)
        if self._posted is None and isinstance(decision, Move) and decision.name == "post":
            self._posted = decision
            node_id, segment, hashes, run_hash = decision.arguments
            return evolve(decision, arguments=(node_id, segment, b"".join(map(keccak256, split(hashes))), run_hash))
        return decision

    def replacement(self, answer: Move) -> Move | None:
        if answer.name != "choose" or self._posted is None or self._has_replaced:
            return None
        self._has_replaced = True
        return self._posted


CHEATS = (
    Cheat("replaced-hashes", "a reorganisation replaces the posted hashes when the choice is already on its way",
          lambda setup: setup.with_challenger(setup.seat(ReplacingServer, "server", lie(setup, output_values))),
          refusal="STALE_COMMITMENT"),
    Cheat("concession", "the server loses to a puppet of its own, which challenges first and chooses before anybody else can",
          lambda setup: setup.with_challenger(setup.seat(Liar, "server", lie(setup, output_values)), setup.seat(Puppet, "puppet")),
          refusal="ROOT_EXISTS"),
    Cheat("bad-defence", "a true claim is lost on purpose, while an honest server could make the same claim", bad_defence),
)  # fmt: skip
