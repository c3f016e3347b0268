"""The honest validator: it recomputes every claim on its model and brings the false ones down.

In the tree of a false claim it goes down from the root, always to a part that begins with what it computed and ends with something else,
whoever opened the node there. So every node on its way has a true lower end and a false upper end, and the server cannot answer all of them
truthfully. Claims are computed in the order in which they close. Those that are false are fought in the order of their bonds.

*Source*: spec §5.4, §5.5, §5.9 and §5.12.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from opml_min.players.agenda import Group, Task
from opml_min.players.chain import (
    HASH_BYTES,
    INSTRUCTIONS,
    OPEN,
    POSTED,
    REJECTED,
    Decision,
    Move,
    Wait,
    child_id,
    most_nodes,
    root_bond,
    root_id,
    seal,
    split,
)
from opml_min.players.index import ClaimEntry, NodeEntry
from opml_min.players.player import Player


class Validator(Player):
    def groups(self) -> Iterator[Group]:
        yield self._fights
        yield self._urgent_checks
        yield self._collections
        yield self._expiries
        yield self.withdrawal
        yield self._checks
        yield self._finalisations

    # Claims ----------------------------------------------------------------------------------------------------------------

    def _fights(self) -> Iterable[Task]:
        """What to do about the claims that are known to be false: the largest bonds first, then what closes first."""
        for claim in sorted(filter(self._is_known_false, self.index.pending.values()), key=self._by_bond):
            yield Task(claim.claim_id, partial(self.next_step, claim))

    def _is_known_false(self, claim: ClaimEntry) -> bool:
        return self.runs.knows(claim.request_id) and self.objects_to(claim)

    def _by_bond(self, claim: ClaimEntry) -> tuple[int, int]:
        return -self.index.requests[claim.request_id].bond, claim.closes_at

    def _urgent_checks(self) -> Iterator[Task]:
        return self._steps(self._is_urgent)

    def _is_urgent(self, claim: ClaimEntry) -> bool:
        """Whether a claim has a tree already, or can soon not be challenged any more."""
        return bool(claim.nodes) or self.chain.now >= claim.closes_at - self.chain.parameters.censorship

    def _checks(self) -> Iterator[Task]:
        return self._steps(lambda claim: not self._is_urgent(claim))

    def _steps(self, is_wanted: Callable[[ClaimEntry], bool]) -> Iterator[Task]:
        """Computes what nobody has computed yet, in the order in which claims close, and begins the fights that are due."""
        unknown = [claim for claim in self.index.pending.values() if not self.runs.knows(claim.request_id) and is_wanted(claim)]
        in_order = sorted(unknown, key=lambda claim: claim.closes_at)
        return self.one_run_at_a_time((claim.request_id, Task(claim.claim_id, partial(self.next_step, claim))) for claim in in_order)

    def objects_to(self, claim: ClaimEntry) -> bool:
        """Whether a claim is of another run hash than the one that this player computes."""
        return claim.sealed != seal(self.runs.run_hash(self.index.requests[claim.request_id]), claim.server)

    def next_step(self, claim: ClaimEntry) -> Decision:
        """What brings a false claim closer to its fall."""
        if not self.objects_to(claim):
            return None
        root = claim.nodes.get(root_id(claim.claim_id)) or self.unlogged_root(claim)
        return self.challenge(claim) if root is None else self.go_down(claim, root)

    def challenge(self, claim: ClaimEntry) -> Decision:
        """Opens the root of a claim's tree, if there is money to go to the end of the longest path."""
        if self.chain.now >= claim.closes_at:
            return None
        request, parameters = self.index.requests[claim.request_id], self.chain.parameters
        choices = most_nodes(request.stage_count, parameters.k) - 1
        bond = root_bond(parameters, request.bond)
        if not self.can_pay(bond + choices * parameters.node_bond + self._committed()):
            return None
        return Move("challenge", (claim.claim_id,), bond)

    def _committed(self) -> int:
        """What the fights that this player has begun may still need."""
        need, parameters = 0, self.chain.parameters
        fights = {node.claim_id for node in self.index.uncollected[self.address].values()}
        for claim_id in fights & self.index.pending.keys():
            own = sum(node.opener == self.address for node in self.index.claims[claim_id].nodes.values())
            need += max(0, most_nodes(self.request_of(claim_id).stage_count, parameters.k) - own) * parameters.node_bond
        return need

    # Down the tree -----------------------------------------------------------------------------------------------------------

    def go_down(self, claim: ClaimEntry, node: NodeEntry) -> Decision:
        """Goes down along false parts, and acts at the end of the way."""
        while node.state == POSTED:
            part = self.part(node)
            child = claim.nodes.get(child_id(node.node_id, part)) or self.unlogged_part(claim, node, part)
            if child is None:
                return self.choose(claim, node, part)
            node = child
        return self.expose(node) if node.state == OPEN else None

    def part(self, node: NodeEntry) -> int:
        """The part of a posted node with a true lower and a false upper end that bisection finds."""
        return self.runs.false_part(node.segment.commitment(node.hashes), lambda: self._false_part(node))

    def _false_part(self, node: NodeEntry) -> int:
        inner = node.segment.boundaries(len(node.hashes) // HASH_BYTES + 1)[1:-1]
        return self.checked(node).false_part(self.stage_of(node), node.segment.lo, inner, split(node.hashes))

    def choose(self, claim: ClaimEntry, node: NodeEntry, part: int) -> Decision:
        """Chooses a part; at a node that somebody else opened not before its opener had time to."""
        parameters = self.chain.parameters
        if not self.is_as_stored(node) or self.chain.now > node.last_choice(claim.closes_at):
            return None
        free_from = node.since if node.opener == self.address else node.since + parameters.priority
        if self.chain.now < free_from:
            return Wait(free_from)
        if not self.can_pay(parameters.node_bond):
            return None
        return self.choice_at(node, part)

    def choice_at(self, node: NodeEntry, part: int) -> Move:
        return Move("choose", (node.node_id, node.segment, node.hashes, part), self.chain.parameters.node_bond)

    def expose(self, node: NodeEntry) -> Decision:
        """At an open node that the server cannot answer truthfully: executes the one instruction, or waits for the server to be late."""
        late_from = self.last_answer(node) + 1
        if self.chain.now >= late_from:
            return Move("timeout", (node.node_id,)) if self.is_as_stored(node) else None
        if node.segment.phase == INSTRUCTIONS and node.segment.length == 1:
            return self.arbitrate(node)
        return Wait(late_from)

    # Money in ----------------------------------------------------------------------------------------------------------------

    def _collections(self) -> Iterable[Task]:
        for node in sorted(self.index.uncollected[self.address].values(), key=lambda node: node.due):
            if self.index.claims[node.claim_id].status == REJECTED:
                yield Task(node.node_id, partial(Move, "collect", (node.node_id,)))

    def _expiries(self) -> Iterable[Task]:
        """Claims that hold bonds of this player and that nobody finalises."""
        held = {node.claim_id for node in self.index.uncollected[self.address].values()}
        for claim_id in held & self.index.pending.keys():
            yield Task(claim_id + b"expire", partial(expiry, self, claim_id))

    def _finalisations(self) -> Iterable[Task]:
        """True claims of others that nobody finalises, if the policy says so. It earns nothing but the result."""
        after_seconds = self.policy.finalises_others_after_seconds
        if after_seconds is None:
            return
        for claim in list(self.index.pending.values()):
            if self.runs.knows(claim.request_id) and not self.objects_to(claim):
                yield Task(claim.claim_id + b"finalise", partial(self.finalisation, claim, after_seconds))


def expiry(player: Player, claim_id: bytes) -> Decision:
    """Ends a claim that nobody finalised, as soon as that is legal."""
    stored = player.chain.claim_of(claim_id)
    if stored.open_nodes:
        return None
    legal_from = max(stored.closes_at, stored.settles_at) + player.chain.parameters.grace + 1
    return Wait(legal_from) if player.chain.now < legal_from else Move("expire", (claim_id,))
