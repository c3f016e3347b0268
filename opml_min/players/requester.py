"""The requester: it registers the model, requests a run, and takes the fee back if no claim becomes final."""

from collections.abc import Iterable, Iterator
from functools import partial

from opml_min.players.agenda import Group, Task
from opml_min.players.chain import ANYONE, Chain, Decision, Move, Wait, hold, model_id
from opml_min.players.image_kinds import ModelImage
from opml_min.players.index import RequestEntry
from opml_min.players.player import Player
from opml_min.players.run_cache import Compute
from opml_min.players.validator import expiry


class Requester(Player):
    def __init__(
        self, name: str, address: str, chain: Chain, image: ModelImage, compute: Compute,
        *, data: bytes, stage_count: int, stage_microseconds: int, deadline: int, fee_wei: int, bond_wei: int,
    ) -> None:  # fmt: skip
        super().__init__(name, address, chain, image, compute)
        self._data, self._stage_count, self._stage_microseconds = data, stage_count, stage_microseconds
        self._deadline, self._fee_wei, self._bond_wei = deadline, fee_wei, bond_wei

    def groups(self) -> Iterator[Group]:
        yield self._expiries
        yield self._refunds
        yield self.withdrawal
        yield self._requests

    def _own(self) -> list[RequestEntry]:
        return [request for request in self.index.requests.values() if request.requester == self.address]

    def _expiries(self) -> Iterable[Task]:
        for request in self._own():
            for claim_id in request.claims:
                if claim_id in self.index.pending:
                    yield Task(claim_id, partial(expiry, self, claim_id))

    def _refunds(self) -> Iterable[Task]:
        for request in self._own():
            if request.request_id in self.index.unanswered:
                yield Task(request.request_id, partial(self.reclaim, request))

    def reclaim(self, request: RequestEntry) -> Decision:
        """Takes the fee back once nobody can earn it any more, or the claims that still may have held it long enough."""
        last = request.deadline
        if any(claim_id in self.index.pending for claim_id in request.claims):
            parameters, checked_at = self.chain.parameters, self.chain.request_of(request.request_id).checked_at
            last = max(last, checked_at) + parameters.window + hold(parameters)
        return Wait(last + 1) if self.chain.now <= last else Move("reclaim", (request.request_id,))

    def _requests(self) -> Iterable[Task]:
        if not self._own():
            yield Task(b"request", self.request)

    def request(self) -> Decision:
        """Asks for the run; before that, makes the model known if it is not."""
        identity = model_id(*self.roots, self._stage_microseconds)
        if identity not in self.index.models:
            return Move("register", (*self.roots, self._stage_microseconds))
        arguments = (identity, self._stage_count, self._data, self._deadline, self._bond_wei, ANYONE)
        return Move("request", arguments, self._fee_wei)
