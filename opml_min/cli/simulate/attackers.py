"""The players of an attacker: what they stake, and when they do what the rules still allow.

Some of the attackers are cheats that `opml_min.players.cheats` already has. Those here spend time instead of truth. They act in the last
second, open as much as a purse pays for, or lose on purpose. None of them knows how much money it has. The arena refuses what the purse
cannot pay.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from opml_min.machine.hashing import keccak256
from opml_min.model.staged_run import FAILED, RunState
from opml_min.players.agenda import Group, Task, first_of
from opml_min.players.chain import ANYONE, HASH_BYTES, NO_HASH, POSTED, Decision, Move, Wait, child_id, claim_id, seal
from opml_min.players.cheats.cheat import FalseChallenger, Liar
from opml_min.players.cheats.puppets import Puppet, other_part
from opml_min.players.cheats.stalling import LastSecond, Withholder
from opml_min.players.index import ClaimEntry, NodeEntry, RequestEntry

YEAR = 31_536_000  # seconds


class Garbler(Liar):
    """Claims failed runs that nobody computed, and answers in the last second: truly up to some part, and with noise from there on.

    So each claim must be fought for itself, but costs its server no computation. A single stage cannot be opened on noise, so that the
    claims fall there. One that nobody fights can be finalised. The nodes that `conceded_to` opened below a root are not answered at all.
    """

    def __init__(self, *arguments: Any, claims: int, noise: bytes, conceded_to: frozenset[str] = frozenset()) -> None:
        super().__init__(*arguments)
        self._noise, self._conceded_to = noise, conceded_to
        drawn = (self._drawn(bytes([number])) for number in range(claims))
        ends = [RunState(carry, FAILED) for carry in drawn]
        self._ends = {seal(end.hash(), self.address): end for end in ends}

    def _drawn(self, subject: bytes) -> bytes:
        return keccak256(self._noise + subject)

    def groups(self) -> Iterator[Group]:
        yield self._answers
        yield self._finalisations
        yield self.withdrawal
        yield self._false_claims

    def _false_claims(self) -> Iterable[Task]:
        requests = [request for request in self.index.requests.values() if request.server == ANYONE]
        for number, sealed in enumerate(self._ends if requests else ()):
            request = requests[number % len(requests)]
            if claim_id(request.request_id, self.address, sealed) not in self.index.claims:
                yield Task(sealed, partial(self.staked, request, sealed))

    def finalise(self, claim: ClaimEntry) -> Decision:
        decision, end = super().finalise(claim), self._ends[claim.sealed]
        return Move("finalise", (claim.claim_id, end.carry_root, end.status, b"", b"")) if isinstance(decision, Move) else decision

    def answer(self, node: NodeEntry) -> Decision:
        last = self.last_answer(node)
        is_conceded = node.opener in self._conceded_to and not node.is_root
        if is_conceded or node.segment.length == 1 or self.chain.now > last:
            return None
        return Wait(last) if self.chain.now < last else self._noisy(node)

    def _noisy(self, node: NodeEntry) -> Move:
        """Posts true hashes before a drawn part, and noise from its end on."""
        ends = node.segment.boundaries(self.chain.parameters.k)[1:-1]
        true_parts = self._drawn(node.node_id)[0] % len(ends)
        true = self.runs.of(self.request_of(node.claim_id)).hashes(None, node.segment.lo, ends[:true_parts])
        noise = [self._drawn(node.node_id + bytes([part])) for part in range(true_parts, len(ends))]
        run_hash = self._ends[self.index.claims[node.claim_id].sealed].hash() if node.is_root else NO_HASH
        return Move("post", (node.node_id, node.segment, b"".join([*true, *noise]), run_hash))


class Latecomer(LastSecond):
    """Challenges true claims just before their windows close, and chooses parts of the roots in the last second that is legal."""

    parts: int  # how many parts of each root it chooses
    share: tuple[int, int] = (0, 1)  # which of so many challengers it is: they divide the claims of the target among them

    def objects_to(self, claim: ClaimEntry) -> bool:
        number, count = self.share
        targets = [each.claim_id for each in self.index.claims.values() if each.server == self.target]
        return super().objects_to(claim) and targets.index(claim.claim_id) % count == number

    def go_down(self, claim: ClaimEntry, node: NodeEntry) -> Decision:
        return self.late_choice(claim, node, self.parts)

    def late_choice(self, claim: ClaimEntry, node: NodeEntry, most: int) -> Decision:
        """Chooses one of so many parts of a node in the last second."""
        last = node.last_choice(claim.closes_at)
        parts = range(min(most, len(node.hashes) // HASH_BYTES + 1) if node.state == POSTED else 0)
        free = [part for part in parts if child_id(node.node_id, part) not in claim.nodes]
        if not free or self.chain.now > last:
            return None
        return Wait(last) if self.chain.now < last else self.choice_at(node, free[0])


class Clinging(Latecomer):
    """Likewise, but of all nodes of the tree, up to so many a claim: each gives its server E more."""

    def go_down(self, claim: ClaimEntry, node: NodeEntry) -> Decision:
        if len(claim.nodes) > self.parts:
            return None
        return first_of(filter(None, (self.late_choice(claim, each, self.parts) for each in claim.nodes.values())))


class Spreader(Latecomer):
    """Challenges true claims at once, and chooses all parts of all nodes in the order of their opening, up to so many a claim."""

    def challenge(self, claim: ClaimEntry) -> Decision:
        return FalseChallenger.challenge(self, claim)

    def go_down(self, claim: ClaimEntry, node: NodeEntry) -> Decision:
        posted = [each for each in claim.nodes.values() if each.state == POSTED and len(claim.nodes) <= self.parts]
        for each in posted:
            for part in range(len(each.hashes) // HASH_BYTES + 1):
                if child_id(each.node_id, part) not in claim.nodes:
                    return self.choose(claim, each, part)
        return None


class Flooder(Liar):
    """Asks itself for true runs at the least fee, and claims them: each takes a place in the line of the model."""

    floods: int  # how many
    at: int  # when
    asked: tuple[bytes, int, int]  # request bytes, stages and bond of each

    def groups(self) -> Iterator[Group]:
        yield self._floods
        yield from super().groups()

    def _floods(self) -> Iterable[Task]:
        mine = sum(request.requester == self.address for request in self.index.requests.values())
        if self.index.models and mine < self.floods:
            yield Task(b"flood", self._flood if self.chain.now >= self.at else lambda: Wait(self.at))

    def _flood(self) -> Decision:
        data, stage_count, bond = self.asked
        identity, microseconds = next(iter(self.index.models.items()))
        fee = self.policy.work_seconds(stage_count, microseconds) * self.chain.parameters.second_price + self.policy.least_fee_wei
        return Move("request", (identity, stage_count, data, self.chain.now + YEAR // 2, bond, self.address), fee)

    def _wants(self, request: RequestEntry, balance: int, *, is_first: bool) -> bool:
        return request.server == self.address and super()._wants(request, balance, is_first=is_first)


class Conceded(Puppet):
    """A puppet that opens the root, waits until an honest node stands below it, and then takes a part that its server gives up."""

    def go_down(self, claim: ClaimEntry, node: NodeEntry) -> Decision:
        if not node.is_root or node.state != POSTED or node.opener != self.address:
            return None
        below = [each for each in claim.nodes.values() if each.parent_id == node.node_id]
        for each in below:
            if each.opener == self.address:
                late_from = self.last_answer(each) + 1
                return Wait(late_from) if self.chain.now < late_from else Move("timeout", (each.node_id,))
        return other_part(self, claim, node, 1) if below else None


class Hoarder(Withholder):
    """Lets its true claims expire, with many nodes. Once they have so many, it claims falsely, too, and does not answer there."""

    most: int

    def _claims(self) -> Iterable[Task]:
        yield from super()._claims()
        if sum(len(claim.nodes) for claim in self._own_pending()) >= self.most:
            for request in self.index.unanswered.values():
                sealed = seal(request.request_id, self.address)
                if claim_id(request.request_id, self.address, sealed) not in self.index.claims:
                    yield Task(sealed, partial(self.staked, request, sealed))

    def answer(self, node: NodeEntry) -> Decision:
        claim = self.index.claims[node.claim_id]
        return None if claim.sealed == seal(claim.request_id, self.address) else Liar.answer(self, node)
