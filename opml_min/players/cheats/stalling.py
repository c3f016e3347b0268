"""Claims that hold something up: the fall of another claim of the same server, or the result and the fee of a request.

A server is never late at a node before it had time for all that were opened before. So a liar has its puppet open nodes in a claim that it
gives up: until that claim falls, it need not answer for the other. A true claim can be stalled by its own server, to the last second that
is legal; whoever claims beside it has the result out in time, and the fee once the stalled claim has ended or has held it long enough.
"""

from collections.abc import Iterable
from functools import partial

from opml_min.machine.hashing import keccak256
from opml_min.model.staged_run import FAILED, RunState
from opml_min.players.agenda import Task
from opml_min.players.chain import HASH_BYTES, NO_HASH, OPEN, POSTED, Decision, Move, Wait, child_id, seal
from opml_min.players.cheats.cheat import Cheat, FalseChallenger, Liar, Setup
from opml_min.players.computation import Opening
from opml_min.players.index import ClaimEntry, NodeEntry, RequestEntry
from opml_min.players.player import Player
from opml_min.players.policy import Policy
from opml_min.players.server import Server

PUMPED_NODES = 16  # that a puppet opens in the claim that is given up


class Pumping(Liar):
    """A server with two claims that nobody can open. It answers for one, to be asked there, and gives it up when the other is challenged.

    The claim that is given up pretends that the run failed somewhere in its first part. So its last stage can be opened at any time, with a
    start that does not lead to the claimed end.
    """

    @property
    def _failed(self) -> RunState:
        return RunState(keccak256(self.address.encode()), FAILED)

    def given_up(self, request: RequestEntry) -> bytes:
        """What the claim that is given up is sealed as."""
        return seal(self._end(request), self.address)

    def _end(self, request: RequestEntry) -> bytes:
        return keccak256(self._failed.hash() + request.request_id)

    def _claims(self) -> Iterable[Task]:
        for request in list(self.index.unanswered.values()):
            made = {self.index.claims[claim_id].sealed for claim_id in request.claims}
            for sealed in (seal(request.request_id, self.address), self.given_up(request)):
                if sealed not in made:
                    yield Task(sealed, partial(self.staked, request, sealed))

    def answer(self, node: NodeEntry) -> Decision:
        claim, request = self.index.claims[node.claim_id], self.request_of(node.claim_id)
        if claim.sealed != self.given_up(request):
            return None
        run_hash = self._end(request) if node.is_root else NO_HASH
        if node.segment.length > 1:
            inner = node.segment.boundaries(self.chain.parameters.k)[1:-1]
            return Move("post", (node.node_id, node.segment, self._failed.hash() * len(inner), run_hash))
        if node.segment.hi < request.stage_count or not self._is_asked():
            return None
        return Move("open", (node.node_id, node.segment, *Opening(self._failed.carry_root, FAILED), b"", run_hash))

    def _is_asked(self) -> bool:
        """Whether the claims that matter are challenged, all of them."""
        kept = [claim for claim in self._own_pending() if claim.sealed != self.given_up(self.request_of(claim.claim_id))]
        return all(claim.nodes for claim in kept)

    def finalise(self, claim: ClaimEntry) -> Decision:
        return None


class Pump(FalseChallenger):
    """A puppet that opens nodes in the claim that its server gives up: the way to the last stage, and then so many others."""

    honest = False
    server: Pumping
    most = PUMPED_NODES

    def objects_to(self, claim: ClaimEntry) -> bool:
        return claim.server == self.server.address and claim.sealed == self.server.given_up(self.request_of(claim.claim_id))

    def go_down(self, claim: ClaimEntry, node: NodeEntry) -> Decision:
        if node.state == OPEN:
            return None
        while node.state == POSTED:
            last = len(node.hashes) // HASH_BYTES
            if child_id(node.node_id, last) not in claim.nodes:
                return self.choice_at(node, last)
            node = claim.nodes[child_id(node.node_id, last)]
        return self._other_part(claim) if node.segment.length == 1 else None

    def _other_part(self, claim: ClaimEntry) -> Decision:
        if len(claim.nodes) < self.most:
            for node in claim.nodes.values():
                for part in range(len(node.hashes) // HASH_BYTES + 1 if node.state == POSTED else 0):
                    if child_id(node.node_id, part) not in claim.nodes:
                        return self.choice_at(node, part)
        return None


class Staller(Liar):
    """A server with true claims that answers each node in the last second that is legal."""

    def answer(self, node: NodeEntry) -> Decision:
        last = self.last_answer(node)
        return Wait(last) if self.chain.now < last else super().answer(node)


class Withholder(Staller):
    """A server that also never shows the results of its true claims."""

    def finalise(self, claim: ClaimEntry) -> Decision:
        return None


class LastSecond(FalseChallenger):
    """A puppet that challenges one server's claims just before their windows close, and then does nothing."""

    target: str

    def objects_to(self, claim: ClaimEntry) -> bool:
        return claim.server == self.target

    def challenge(self, claim: ClaimEntry) -> Decision:
        at = claim.closes_at - 1
        return Wait(at) if self.chain.now < at else super().challenge(claim)

    def go_down(self, claim: ClaimEntry, node: NodeEntry) -> Decision:
        return None


def pumped(setup: Setup) -> list[Player]:
    server, puppet = setup.seat(Pumping, "server"), setup.seat(Pump, "puppet")
    puppet.server = server
    return setup.with_challenger(server, puppet)


def stalled(setup: Setup) -> list[Player]:
    staller, puppet = setup.seat(Withholder, "staller"), setup.seat(LastSecond, "puppet")
    puppet.target = staller.address
    return setup.with_challenger(staller, puppet, setup.seat(Server, "server", policy=Policy(claims_beside_true=True)))


CHEATS = (
    Cheat("pumped-due", "a puppet opens nodes in a claim that is given up, so that the server has more time for another false one", pumped),
    Cheat("stalled-claim", "the first claim is true, is stalled to the last second and never shown, to hold up result and fee", stalled),
)  # fmt: skip
