"""The honest server: it runs requests, claims the results, and defends its claims with true hashes."""

from collections.abc import Iterator

from opml_min.players.chain import ANYONE, OPEN, PENDING, STAGES, Decision, Dispute, EventLog, Move, Wait
from opml_min.players.player import Player, first_of


class Server(Player):
    def next_move(self) -> Decision:
        return first_of(self._decisions(EventLog.of(self.chain)))

    def _decisions(self, log: EventLog) -> Iterator[Decision]:
        for request_id, request in log.requests.items():
            mine = (request_id, self.address)
            claims = [claim_id for claim_id, claim in log.claims.items() if (claim.request_id, claim.server) == mine]
            if not claims and request.server in (ANYONE, self.address) and self.chain.now <= request.deadline:
                yield self.claim(request_id)
            for claim_id in claims:
                if self.chain.claim_of(claim_id).status == PENDING:
                    for dispute in log.disputes.values():
                        game = self.chain.game_of(dispute.game_id)
                        if dispute.claim_id == claim_id and game.status == OPEN:
                            own_turn = dispute.is_servers_turn
                            yield self.answer(dispute, request_id) if own_turn else self.timeout(dispute, game.challenger_left)
                    yield self.finalise(claim_id, request_id)
        yield self.withdraw()

    def claim(self, request_id: bytes) -> Decision:
        """Claims the run of a request; None if the request is for another model."""
        if not self.runs_model_of(request_id):
            return None
        return Move("claim", (request_id, self.computation(request_id).run_hash()), self.chain.parameters.server_bond_wei)

    def answer(self, dispute: Dispute, request_id: bytes) -> Decision:
        """On turn: posts the inner hashes of the segment, opens the one stage left, or has the one instruction left executed."""
        segment = dispute.segment
        if segment.length > 1:
            inner = segment.boundaries(self.chain.parameters.k)[1:-1]
            hashes = b"".join(self.dispute_hashes(dispute, request_id, inner))
            return self.unless_refused(Move("post", (dispute.game_id, segment, hashes)))
        if segment.phase == STAGES:
            opening = self.computation(request_id).opening(segment.lo)
            return self.unless_refused(Move("open", (dispute.game_id, segment, *opening)))
        return self.arbitrate(dispute, request_id)

    def finalise(self, claim_id: bytes, request_id: bytes) -> Decision:
        """Finalises a claim once the challenge period is over and no game is open."""
        claim = self.chain.claim_of(claim_id)
        period_end = claim.claimed_at + self.chain.parameters.window_seconds
        if self.chain.now < period_end:
            return Wait(period_end)
        if claim.open_games:
            return None
        return self.unless_refused(Move("finalise", (claim_id, *self.computation(request_id).result())))
