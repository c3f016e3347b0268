"""What all players share: an address, the chain, a computation for each request, and patience.

A player decides; whoever drives it delivers the move. It decides anew from what the chain says every time it is asked.
"""

from collections.abc import Callable, Iterable

from opml_min.model.image.image import Image
from opml_min.players.chain import INSTRUCTIONS, Chain, Decision, Dispute, Move, Record, Wait
from opml_min.players.computation import Computation

Compute = Callable[[Image, bytes, int], Computation]


class Player:
    """Somebody with an address who runs one model."""

    honest = True
    reorganises = False
    """Whether it may take its last move back, as somebody can who controls the blocks."""

    def __init__(self, name: str, address: str, chain: Chain, image: Image, compute: Compute = Computation) -> None:
        self.name, self.address, self.chain = name, address, chain
        self._image, self._compute = image, compute
        self._computations: dict[bytes, Computation] = {}
        self._refused: list[Move] = []

    def next_move(self) -> Decision:
        """What to do now."""
        raise NotImplementedError

    def refused(self, move: Move) -> None:
        """The contract did not accept the move; the same move is not tried twice."""
        self._refused.append(move)

    def replacement(self, answer: Move) -> Move | None:
        """What to put in the place of the last move, which `answer` is about to answer."""
        return None

    # What the moves are made of ----------------------------------------------------------------------------------------------

    def computation(self, request_id: bytes) -> Computation:
        if request_id not in self._computations:
            request = Record.of(self.chain).requests[request_id]
            self._computations[request_id] = self._compute(self._image, request.data, request.stage_count)
        return self._computations[request_id]

    def runs_model_of(self, request_id: bytes) -> bool:
        """Whether the request is for the model that this player has."""
        record, computation = Record.of(self.chain), self.computation(request_id)
        model = record.models[record.requests[request_id].model_id]
        return (computation.model_root, computation.state_root) == (model.model_root, model.state_root)

    def dispute_hashes(self, dispute: Dispute, request_id: bytes, points: list[int]) -> list[bytes]:
        """What this player thinks the hashes are at points of the dispute's segment."""
        stage = dispute.stage if dispute.segment.phase == INSTRUCTIONS else None
        return self.computation(request_id).hashes(stage, dispute.segment.lo, points)

    def arbitrate(self, dispute: Dispute, request_id: bytes) -> Decision:
        witness = self.computation(request_id).witness(dispute.stage, dispute.segment.lo)
        return self.unless_refused(Move("arbitrate", (dispute.game_id, dispute.segment, witness)))

    def timeout(self, dispute: Dispute, left_seconds: int) -> Decision:
        """Ends the game as soon as the other side, which is on turn, has no time left."""
        legal_from = self.chain.game_of(dispute.game_id).turn_start + left_seconds + 1
        if self.chain.now < legal_from:
            return Wait(legal_from)
        return Move("timeout", (dispute.game_id, dispute.segment, dispute.hashes))

    def unless_refused(self, move: Move) -> Decision:
        return None if move in self._refused else move

    def withdraw(self) -> Decision:
        return Move("withdraw_to", (self.address,)) if self.chain.balance_of(self.address) else None


def first_of(decisions: Iterable[Decision]) -> Decision:
    """The first move; if there is none, the shortest wait."""
    shortest: Wait | None = None
    for decision in decisions:
        if isinstance(decision, Move):
            return decision
        if decision is not None and (shortest is None or decision.until < shortest.until):
            shortest = decision
    return shortest
