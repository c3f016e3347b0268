"""What all players share: an address, the chain, one computation per request, and how to wait for a timeout.

A player only decides; its driver delivers the move. Each time it is asked, it decides afresh from what the chain says.
"""

from collections.abc import Callable, Iterable

from opml_min.model.image.image import Image
from opml_min.players.chain import INSTRUCTIONS, Chain, Decision, Dispute, EventLog, Move, Wait
from opml_min.players.computation import Computation

Compute = Callable[[Image, bytes, int], Computation]


class Player:
    """Somebody with an address who has the image of one model."""

    honest = True
    reorganises = False
    """Whether it can undo its own last move, as somebody who controls the blocks can."""

    def __init__(self, name: str, address: str, chain: Chain, image: Image, compute: Compute = Computation) -> None:
        self.name, self.address, self.chain = name, address, chain
        self._image, self._compute = image, compute
        self._computations: dict[bytes, Computation] = {}
        self._refused: list[Move] = []

    def next_move(self) -> Decision:
        """Decides what to do now."""
        raise NotImplementedError

    def refused(self, move: Move) -> None:
        """Learns that the contract refused a move. Most moves are then not tried again."""
        self._refused.append(move)

    def replacement(self, answer: Move) -> Move | None:
        """The move to deliver instead of its last one, which `answer` is about to answer; None to leave it."""
        return None

    # What the moves are made of ----------------------------------------------------------------------------------------------

    def computation(self, request_id: bytes) -> Computation:
        """The run that a request asks for, as this player computes it."""
        if request_id not in self._computations:
            request = EventLog.of(self.chain).requests[request_id]
            self._computations[request_id] = self._compute(self._image, request.data, request.stage_count)
        return self._computations[request_id]

    def runs_model_of(self, request_id: bytes) -> bool:
        """Whether the request is for the model that this player has."""
        log, computation = EventLog.of(self.chain), self.computation(request_id)
        model = log.models[log.requests[request_id].model_id]
        return (computation.model_root, computation.state_root) == (model.model_root, model.state_root)

    def dispute_hashes(self, dispute: Dispute, request_id: bytes, points: list[int]) -> list[bytes]:
        """The hashes at points of the disputed segment, as this player computes them."""
        stage = dispute.stage if dispute.segment.phase == INSTRUCTIONS else None
        return self.computation(request_id).hashes(stage, dispute.segment.lo, points)

    def arbitrate(self, dispute: Dispute, request_id: bytes) -> Decision:
        """Has the contract execute the first instruction of the segment."""
        witness = self.computation(request_id).witness(dispute.stage, dispute.segment.lo)
        return self.unless_refused(Move("arbitrate", (dispute.game_id, dispute.segment, witness)))

    def timeout(self, dispute: Dispute, left_seconds: int) -> Decision:
        """Ends the game as soon as the other side, whose turn it is, has no time left; waits until then."""
        legal_from = self.chain.game_of(dispute.game_id).turn_start + left_seconds + 1
        if self.chain.now < legal_from:
            return Wait(legal_from)
        return Move("timeout", (dispute.game_id, dispute.segment, dispute.hashes))

    def unless_refused(self, move: Move) -> Decision:
        """The move, unless the contract has refused it before."""
        return None if move in self._refused else move

    def withdraw(self) -> Decision:
        """Withdraws what the contract owes this player, if anything."""
        return Move("withdraw_to", (self.address,)) if self.chain.balance_of(self.address) else None


def first_of(decisions: Iterable[Decision]) -> Decision:
    """The first move among decisions; if there is none, the shortest wait."""
    shortest: Wait | None = None
    for decision in decisions:
        if isinstance(decision, Move):
            return decision
        if decision is not None and (shortest is None or decision.until < shortest.until):
            shortest = decision
    return shortest
