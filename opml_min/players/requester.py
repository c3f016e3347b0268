"""The requester: it registers the model, requests a run, and takes the fee back if no claim becomes final."""

from opml_min.model.image.image import Image
from opml_min.players.chain import ANYONE, Chain, Decision, EventLog, Move, Wait
from opml_min.players.player import Compute, Player


class Requester(Player):
    def __init__(
        self, name: str, address: str, chain: Chain, image: Image, compute: Compute,
        *, data: bytes, stage_count: int, deadline: int, fee_wei: int,
    ) -> None:  # fmt: skip
        super().__init__(name, address, chain, image, compute)
        self._data, self._stage_count, self._deadline, self._fee_wei = data, stage_count, deadline, fee_wei

    def next_move(self) -> Decision:
        log = EventLog.of(self.chain)
        asked = [request_id for request_id, request in log.requests.items() if request.requester == self.address]
        if not asked:
            computation = self._compute(self._image, self._data, self._stage_count)
            model = (computation.model_root, computation.state_root)
            for model_id, known in log.models.items():
                if (known.model_root, known.state_root) == model:
                    return Move("request", (model_id, self._stage_count, self._data, self._deadline, ANYONE), self._fee_wei)
            return Move("register", model)
        request = self.chain.request_of(asked[0])
        if not request.pending_claims and not any(request.result) and not request.fee_reclaimed:
            return Wait(request.deadline + 1) if self.chain.now <= request.deadline else Move("reclaim", (asked[0],))
        return self.withdraw()
