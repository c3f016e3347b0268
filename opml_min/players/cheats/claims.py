"""Claims that are not what they seem: copied, made by many, or such that nobody can open them."""

from opml_min.players.chain import Decision, seal
from opml_min.players.cheats.cheat import CLAIM_FINAL, Cheat, Liar, Setup
from opml_min.players.index import NodeEntry, RequestEntry
from opml_min.players.player import Player
from opml_min.players.server import Server

FLOODERS = 4


class Copier(Liar):
    """A server that repeats what the first claim of a request sealed, without having computed anything."""

    _has_tried = False

    def claim(self, request: RequestEntry) -> Decision:
        claims = [self.index.claims[claim_id] for claim_id in request.claims]
        return self.staked(request, claims[0].sealed) if claims else None

    def answer(self, node: NodeEntry) -> Decision:
        """Reveals the run hash, which another server's claim gave away by now; the seal does not fit this server."""
        if self._has_tried:
            return None
        self._has_tried = True
        return super().answer(node)


class Unopenable(Liar):
    """A server that seals what nobody knows, and so can neither answer nor finalise."""

    def claim(self, request: RequestEntry) -> Decision:
        return self.staked(request, seal(request.request_id, self.address))

    def answer(self, node: NodeEntry) -> Decision:
        return None

    def finalise(self, claim: object) -> Decision:
        return None


def copied(setup: Setup) -> list[Player]:
    return setup.with_challenger(setup.seat(Copier, "copier"), setup.seat(Server, "server"))


def unopenable(setup: Setup) -> list[Player]:
    return setup.with_challenger(setup.seat(Unopenable, "junk maker"), setup.seat(Server, "server"))


def flooded(setup: Setup) -> list[Player]:
    flooders = [setup.seat(Liar, f"flooder {number}") for number in range(1, 1 + FLOODERS)]
    return setup.with_challenger(*flooders, setup.seat(Server, "server"))


CHEATS = (
    Cheat("copied-claim", "somebody copies a claim without having computed anything", copied, refusal="WRONG_SEAL"),
    Cheat("true-flood", "many true claims are made for one request, to keep servers and validators busy", flooded, verdict=CLAIM_FINAL),
    Cheat("unopenable", "the first claim is of a hash that nobody can open, to spend the fee and to hold up the request", unopenable),
)  # fmt: skip
