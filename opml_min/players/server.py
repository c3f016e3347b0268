"""The honest server: it runs requests, claims the results, and answers every node of its claims with true hashes.

Nodes are answered in the order of their opening, which is the order of their due times. It has an instruction executed where that answers a
node of its own. At other servers' nodes it would only pay gas for a validator.

*Source*: spec §5.4 to §5.7 and §5.12.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

from opml_min.players.agenda import Group, Task
from opml_min.players.chain import (
    ANYONE,
    FINAL,
    NO_HASH,
    PENDING,
    POSTED,
    STAGES,
    Decision,
    Move,
    Segment,
    Wait,
    child_id,
    hold,
    root_id,
    seal,
    split,
)
from opml_min.players.index import ClaimEntry, NodeEntry, RequestEntry
from opml_min.players.player import Player

MOST_UNLOGGED = 2_048  # places of a tree that are looked at for one decision


class LostBefore(Exception):
    """A claim of this server was rejected, so it makes no new ones; it goes on answering for those that stand."""


class Server(Player):
    def groups(self) -> Iterator[Group]:
        yield self._answers
        yield self._unlogged_answers
        yield self._awards
        yield self._finalisations
        yield self.withdrawal
        yield self._claims

    # Answers -------------------------------------------------------------------------------------------------------------

    def _answers(self) -> Iterable[Task]:
        for node in list(self.index.open_nodes[self.address].values()):
            yield Task(node.node_id, partial(self.answer, node))

    def answer(self, node: NodeEntry) -> Decision:
        """Answers a node that is not lost yet."""
        return None if self.chain.now > self.last_answer(node) else self.true_answer(node)

    def true_answer(self, node: NodeEntry) -> Decision:
        """Posts the inner hashes of the segment, opens the one stage left, or has the one instruction left executed."""
        request, segment, k = self.request_of(node.claim_id), node.segment, self.chain.parameters.k
        computation = self.checked(node)
        run_hash = self.runs.run_hash(request) if node.is_root else NO_HASH
        if segment.length > 1:
            hashes = computation.hashes(self.stage_of(node), segment.lo, segment.boundaries(k)[1:-1])
            return Move("post", (node.node_id, segment, b"".join(hashes), run_hash))
        if segment.phase == STAGES:
            opening = computation.opening(segment.lo)
            inner = Segment(0, 0, opening.steps, NO_HASH, NO_HASH).boundaries(k)[1:-1] if opening.steps else []
            hashes = computation.hashes(segment.lo, 0, inner) if inner else []
            return Move("open", (node.node_id, segment, *opening, b"".join(hashes), run_hash))
        return self.arbitrate(node)

    def _unlogged_answers(self) -> Iterable[Task]:
        """Answers to nodes that the contract counts and no event told of."""
        for claim in self._own_pending():
            if self.chain.claim_of(claim.claim_id).nodes > len(claim.nodes):
                yield Task(claim.claim_id + b"unlogged", partial(self._answer_unlogged, claim))

    def _answer_unlogged(self, claim: ClaimEntry) -> Decision:
        self._is_in_doubt = True
        found = [node for node in islice(self._unlogged_nodes(claim), MOST_UNLOGGED) if node is not None and self.is_as_stored(node)]
        return self.answer(min(found, key=lambda node: node.due)) if found else None

    def _unlogged_nodes(self, claim: ClaimEntry) -> Iterator[NodeEntry | None]:
        """Looks at the places of the tree of which no event told, the latest first."""
        for parent in reversed(claim.nodes.values()):
            for part in range(len(split(parent.hashes)) + 1 if parent.state == POSTED else 0):
                if child_id(parent.node_id, part) not in claim.nodes:
                    yield self.unlogged_part(claim, parent, part)
        if root_id(claim.claim_id) not in claim.nodes:
            yield self.unlogged_root(claim)

    # Money in ------------------------------------------------------------------------------------------------------------

    def _own_pending(self) -> list[ClaimEntry]:
        return [claim for claim in self.index.pending.values() if claim.server == self.address]

    def _finalisations(self) -> Iterable[Task]:
        for claim in self._own_pending():
            yield Task(claim.claim_id, partial(self.finalise, claim))

    def finalise(self, claim: ClaimEntry) -> Decision:
        """Finalises a claim as soon as nothing can follow any more."""
        return self.finalisation(claim)

    def _awards(self) -> Iterable[Task]:
        for request in self.index.unpaid.values():
            if any(claim.server == self.address and claim.status == FINAL for claim in map(self.index.claims.get, request.claims) if claim):
                yield Task(request.request_id, partial(self.award, request))

    def award(self, request: RequestEntry) -> Decision:
        """Moves the fee on towards an own final claim: past claims that can no longer get it, or have held it long enough."""
        claim = self.index.claims[request.claims[request.next_award]]
        assert request.run_hash is not None
        if claim.status == FINAL:
            return Move("award", (claim.claim_id,)) if claim.server == self.address else None
        if claim.status == PENDING and claim.sealed == seal(request.run_hash, claim.server):
            held_until = claim.closes_at + hold(self.chain.parameters)
            if self.chain.now <= held_until:
                return Wait(held_until + 1)
        return Move("award", (claim.claim_id,))

    # New risk ------------------------------------------------------------------------------------------------------------

    def _claims(self) -> Iterable[Task]:
        if self.address in self.index.lost_at and not self.policy.claims_after_loss:
            yield Task(self.address.encode(), self._tell_loss)
        elif len(self._own_pending()) < self.policy.most_pending_claims:
            balance = self.chain.balance(self.address)
            wanted = (each for each in list(self.index.unanswered.values()) if self._wants(each, balance, is_first=not each.claims))
            yield from self.one_run_at_a_time((each.request_id, Task(each.request_id, partial(self.claim, each))) for each in wanted)

    def _tell_loss(self) -> Decision:
        lost_at = self.index.lost_at[self.address]
        raise LostBefore(f"a claim of this server was rejected at {lost_at}; it had better go on under another address")

    def _wants(self, request: RequestEntry, balance: int, *, is_first: bool) -> bool:
        """Whether this server may claim, has not yet, finds the fee worth it and can pay. Nothing is computed for that."""
        work = self.policy.work_seconds(request.stage_count, self.index.models[request.model_id])
        price = self._price(request) if is_first else 0
        return (
            request.server in (ANYONE, self.address)
            and self.chain.now <= request.deadline
            and request.bond + price + self.policy.reserve_wei <= balance
            and request.fee - price >= self.policy.least_fee_wei
            and work <= self.policy.most_work_seconds
            and all(self.index.claims[claim_id].server != self.address for claim_id in request.claims)
        )

    def _price(self, request: RequestEntry) -> int:
        """The price of the line, which only the first claim of a request pays."""
        work = self.policy.work_seconds(request.stage_count, self.index.models[request.model_id])
        return work * self.chain.parameters.second_price

    def claim(self, request: RequestEntry) -> Decision:
        """Claims the run of a request, unless somebody's claim of the same result stands.

        Whether it is the first claim is read from storage when the move is made. If another claim comes first after all, the contract
        refuses this one, and all is decided anew.
        """
        if not self._wants(request, self.chain.balance(self.address), is_first=self._is_first(request)):
            return None
        run_hash, standing = self.runs.run_hash(request), map(self.index.claims.__getitem__, request.claims)
        stands = any(claim.status == PENDING and claim.sealed == seal(run_hash, claim.server) for claim in standing)
        if self.honest and stands and not self.policy.claims_beside_true:
            return None
        return self.staked(request, seal(run_hash, self.address))

    def _is_first(self, request: RequestEntry) -> bool:
        """Whether nobody has claimed yet, as the contract stores it."""
        return not self.chain.request_of(request.request_id).claims

    def staked(self, request: RequestEntry, sealed: bytes) -> Move:
        """A claim with the bond and, if it is the first claim, the price of the line."""
        latest = self.line_end(request) + self.chain.parameters.window + self.policy.line_slack_seconds
        price = self._price(request) if self._is_first(request) else 0
        return Move("claim", (request.request_id, sealed, latest), request.bond + price)

    def line_end(self, request: RequestEntry) -> int:
        """When the request is checked, as the line of its model stands now."""
        checked_at: int = self.chain.request_of(request.request_id).checked_at
        if checked_at:
            return max(self.chain.now, checked_at)
        busy_until: int = self.chain.model_of(request.model_id).busy_until
        return max(self.chain.now, busy_until) + self.policy.work_seconds(request.stage_count, self.index.models[request.model_id])
