"""The honest challenger: it recomputes every claim and challenges those with another result."""

from collections.abc import Iterator

from opml_min.players.chain import CHALLENGER_WON, INSTRUCTIONS, OPEN, PENDING, REJECTED, Decision, Dispute, EventLog, Move
from opml_min.players.player import Player, first_of


class Challenger(Player):
    def next_move(self) -> Decision:
        return first_of(self._decisions(EventLog.of(self.chain)))

    def _decisions(self, log: EventLog) -> Iterator[Decision]:
        for claim_id, claim in log.claims.items():
            mine = [dispute for dispute in log.disputes.values() if (dispute.claim_id, dispute.challenger) == (claim_id, self.address)]
            stored = self.chain.claim_of(claim_id)
            in_time = self.chain.now < stored.claimed_at + self.chain.parameters.window_seconds
            if not mine and stored.status == PENDING and in_time and self.objects_to(claim.request_id, claim.run_hash):
                yield Move("challenge", (claim_id,), self.chain.parameters.challenger_bond_wei)
            for dispute in mine:
                game = self.chain.game_of(dispute.game_id)
                if stored.status == REJECTED and game.status in (OPEN, CHALLENGER_WON):
                    yield Move("collect", (dispute.game_id,))
                if stored.status == PENDING and game.status == OPEN:
                    if dispute.is_servers_turn:
                        yield self.watch(dispute, claim.request_id, game.server_left)
                    else:
                        yield self.choose(dispute, claim.request_id)
        yield self.withdraw()

    def objects_to(self, request_id: bytes, run_hash: bytes) -> bool:
        """Whether this player has the model and computes another hash than the claimed one."""
        return self.runs_model_of(request_id) and self.computation(request_id).run_hash() != run_hash

    def choose(self, dispute: Dispute, request_id: bytes) -> Decision:
        """Answers posted hashes with the part to go on with."""
        part = self.part(dispute, request_id)
        return self.unless_refused(Move("choose", (dispute.game_id, dispute.segment, dispute.hashes, part)))

    def part(self, dispute: Dispute, request_id: bytes) -> int:
        """A part whose first hash is right and whose last hash is wrong."""
        inner = dispute.segment.boundaries(self.chain.parameters.k)[1:-1]
        posted = [dispute.hashes[32 * part : 32 * part + 32] for part in range(len(inner))]
        stage = dispute.stage if dispute.segment.phase == INSTRUCTIONS else None
        return self.computation(request_id).disputed_part(stage, dispute.segment.lo, inner, posted)

    def watch(self, dispute: Dispute, request_id: bytes, server_left_seconds: int) -> Decision:
        """While the server is on turn: has the instruction executed if one is left (anybody may), else waits for a timeout."""
        if dispute.segment.phase == INSTRUCTIONS and dispute.segment.length == 1:
            verdict = self.arbitrate(dispute, request_id)
            if verdict is not None:
                return verdict
        return self.timeout(dispute, server_left_seconds)
