"""Puppets: challengers that belong to a lying server. They open nodes so that an honest challenger is late, or is not paid.

A puppet sees the honest challenge on its way, and its own comes first, so that it opens the root. None of them gains: the honest challenger
goes on below whatever they open, and what falls to a puppet is paid by its server, who loses twice as much.
"""

from collections.abc import Callable

from opml_min.players.chain import POSTED, Decision, Move, Wait, child_id, root_id
from opml_min.players.cheats.cheat import Cheat, Liar, Setup
from opml_min.players.cheats.tampering import lie
from opml_min.players.cheats.values import output_values
from opml_min.players.index import ClaimEntry, NodeEntry
from opml_min.players.player import Player
from opml_min.players.validator import Validator

LAST_SECONDS = 30  # before a node is free to all
PARTS_IN_THE_WAY = 8
PARTS_IN_THE_DECIDING_BLOCK = 3


class Puppet(Validator):
    """A challenger that opens the root just before somebody else would, and then plays like an honest one."""

    honest = False

    def challenge(self, claim: ClaimEntry) -> Decision:
        return None

    def squeezed_in(self, move: Move) -> Move | None:
        is_first = move.name == "challenge" and not self.chain.claim_of(move.arguments[0]).nodes
        return move if is_first else None

    def expose(self, node: NodeEntry) -> Decision:
        return None


class Stalling(Puppet):
    """A puppet that takes the first choice and then does nothing."""

    def choose(self, claim: ClaimEntry, node: NodeEntry, part: int) -> Decision:
        return super().choose(claim, node, part) if node.is_root else None


class Dawdling(Puppet):
    """A puppet that keeps every node to itself as long as it can, and chooses just before others may."""

    def choose(self, claim: ClaimEntry, node: NodeEntry, part: int) -> Decision:
        if node.opener != self.address:
            return None
        at = node.since + self.chain.parameters.priority - LAST_SECONDS
        return Wait(at) if self.chain.now < at else super().choose(claim, node, part)


class InTheWay(Puppet):
    """A puppet that opens other parts of the root first, so that the server has more time for the one that matters."""

    def go_down(self, claim: ClaimEntry, node: NodeEntry) -> Decision:
        return other_part(self, claim, node, PARTS_IN_THE_WAY) if node.is_root and node.state == POSTED else None


class Punctual(Liar):
    """A server that answers nothing before it is due."""

    def answer(self, node: NodeEntry) -> Decision:
        return Wait(self.due(node)) if self.chain.now < self.due(node) else super().answer(node)


class FlashLoan(Puppet):
    """A puppet that opens nodes in the block in which the claim falls, to be paid for them."""

    def go_down(self, claim: ClaimEntry, node: NodeEntry) -> Decision:
        return None

    def squeezed_in(self, move: Move) -> Move | None:
        if move.name == "arbitrate":
            self._ledger.follow()
            claim = self.index.claims[self.index.nodes[move.arguments[0]].claim_id]
            decision = other_part(self, claim, claim.nodes[root_id(claim.claim_id)], PARTS_IN_THE_DECIDING_BLOCK)
            return decision if isinstance(decision, Move) else None
        return super().squeezed_in(move)


class Sniper(Puppet):
    """A challenger that tries to take each choice from the one whose node it is."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._tried: set[bytes] = set()

    def squeezed_in(self, move: Move) -> Move | None:
        return None

    def choose(self, claim: ClaimEntry, node: NodeEntry, part: int) -> Decision:
        if node.node_id in self._tried:
            return super().choose(claim, node, part)
        self._tried.add(node.node_id)
        return self.choice_at(node, part)


def other_part(puppet: Puppet, claim: ClaimEntry, root: NodeEntry, most: int) -> Decision:
    """Chooses a part of the root other than the one that an honest challenger would, unless so many are chosen already."""
    false = puppet.part(root)
    parts = [part for part in range(len(root.hashes) // 32 + 1) if part != false][:most]
    free = [part for part in parts if child_id(root.node_id, part) not in claim.nodes]
    return Validator.choose(puppet, claim, root, free[0]) if free else None


def _with(kind: type[Puppet], server: type[Liar] = Liar, name: str = "puppet") -> Callable[[Setup], list[Player]]:
    return lambda setup: setup.with_challenger(setup.seat(server, "server", lie(setup, output_values)), setup.seat(kind, name))


CHEATS = (
    Cheat("stalling-puppet", "a puppet of the server makes the first choice, which is then its own to continue, and stops",
          _with(Stalling)),
    Cheat("priority-abuse", "a puppet of the server makes every choice at the last moment before others may", _with(Dawdling)),
    Cheat("own-clock", "a puppet of the server opens other nodes first, so that the server's answers are due later",
          _with(InTheWay, Punctual)),
    Cheat("flash-loan", "a puppet of the server opens nodes in the block in which the claim falls", _with(FlashLoan)),
    Cheat("sniping", "somebody tries to choose in the place of the challenger whose node it is",
          _with(Sniper, name="sniper"), refusal="NOT_THE_OPENER"),
)  # fmt: skip
