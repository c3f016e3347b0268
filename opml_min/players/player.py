"""What all players share: an address, the chain, the index of its events, and few computations.

A player only decides; its driver delivers the moves. Each time it is asked it decides anew from what the chain says, so it may be thrown
away at any time. What it holds are caches.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from opml_min.players.agenda import Agenda, Group, Task, first_of
from opml_min.players.chain import (
    INSTRUCTIONS,
    NO_HASH,
    PENDING,
    STAGES,
    Chain,
    Decision,
    Move,
    Segment,
    Wait,
    child_id,
    model_id,
    root_id,
    seal,
    stage_at,
)
from opml_min.players.computation import Computation
from opml_min.players.image_kinds import ModelImage, begin_run
from opml_min.players.index import ClaimEntry, Index, NodeEntry, RequestEntry
from opml_min.players.ledger import Ledger
from opml_min.players.policy import Policy
from opml_min.players.run_cache import Compute, RunCache


class Stale(Exception):
    """What was read from events is not what the contract stores: a log is missing, or the chain was reorganised."""


class Player(ABC):
    """Somebody with an address who has the image of one model."""

    honest = True
    reorganises = False
    """Whether it can undo its own last move, as somebody who controls the blocks can."""

    def __init__(
        self, name: str, address: str, chain: Chain, image: ModelImage, compute: Compute = Computation, policy: Policy | None = None
    ) -> None:
        self.name, self.address, self.chain, self.policy = name, address, chain, policy or Policy()
        self._image, self._compute = image, compute
        self.agenda = Agenda()
        self.runs = RunCache(image, compute, lambda request_id: bytes(chain.request_of(request_id).first_run_hash))
        self._roots: tuple[bytes, bytes] | None = None
        self._ledger = Ledger(chain, self.runs_model)
        self._is_in_doubt = False
        self._has_computed = False  # a run, since it was asked last

    def decisions(self) -> Iterator[Move | Wait]:
        """What to do at this head, in the order in which to try it. Only the first move that is accepted counts; then ask again."""
        self._ledger.follow()
        self._has_computed = False
        if self._is_in_doubt:
            self._is_in_doubt = False
            self._ledger.doubt()
        yield from self.agenda.decisions(self.groups())

    def next_move(self) -> Decision:
        """The first move, or else the shortest wait."""
        return first_of(self.decisions())

    @abstractmethod
    def groups(self) -> Iterator[Group]:
        """The player's tasks, the most important kind first."""

    def replacement(self, answer: Move) -> Move | None:
        """The move to deliver instead of its last one, which `answer` is about to answer; None to leave it."""
        return None

    def squeezed_in(self, move: Move) -> Move | None:
        """A move to deliver in the same block before somebody else's, as somebody can who sees it on its way; None to let it pass."""
        return None

    # What the moves are made of ----------------------------------------------------------------------------------------------

    @property
    def index(self) -> Index:
        """What is known from events."""
        return self._ledger.index

    @property
    def roots(self) -> tuple[bytes, bytes]:
        """The model root and the state root of the image."""
        if self._roots is None:
            run = begin_run(self._image, b"", 1, "vm")
            self._roots = run.model_root, run.state_root
        return self._roots

    def runs_model(self, registered: object) -> bool:
        """Whether a registered model is the one that this player has, and it is willing to work on it."""
        model_root, state_root, microseconds = (getattr(registered, name) for name in ("model_root", "state_root", "stage_microseconds"))
        identity = model_id(model_root, state_root, microseconds)
        known = identity == getattr(registered, "model_id", None) and self.policy.accepts(identity, microseconds)
        return known and (model_root, state_root) == self.roots

    def request_of(self, claim_id: bytes) -> RequestEntry:
        return self.index.requests[self.index.claims[claim_id].request_id]

    def can_pay(self, wei: int) -> bool:
        """Whether a bond is affordable."""
        return self.chain.balance(self.address) >= wei + self.policy.reserve_wei

    def due(self, node: NodeEntry) -> int:
        """When the server owes its answer to an open node. If it ever lost, it has no more time than for this node alone."""
        lost_at = self.index.lost_at.get(self.index.claims[node.claim_id].server)
        return node.due if lost_at is None else min(node.due, max(node.since, lost_at) + self.chain.parameters.effort)

    def last_answer(self, node: NodeEntry) -> int:
        """The last second in which an answer to an open node is legal."""
        return self.due(node) + node.server_left

    def is_as_stored(self, node: NodeEntry) -> bool:
        """Whether the contract stores this node as it was read. If not, all events are read anew before the next decisions."""
        stored = self.chain.node_of(node.node_id)
        same = (stored.state, stored.commitment) == (node.state, node.segment.commitment(node.hashes))
        self._is_in_doubt |= not same
        return same

    def stage_of(self, node: NodeEntry) -> int | None:
        """The stage inside which a node lies; None while it is about stages."""
        if node.segment.phase != INSTRUCTIONS:
            return None
        stored = self.chain.node_of(node.node_id)
        return stage_at(stored.path, stored.depth, self.request_of(node.claim_id).stage_count, self.chain.parameters.k)

    def checked(self, node: NodeEntry) -> Computation:
        """The run that a node is about, if the node is stored as it was read and its lower end is true."""
        if not self.is_as_stored(node):
            raise Stale(f"node 0x{node.node_id.hex()}")
        computation = self.runs.of(self.request_of(node.claim_id))
        if not self.agrees(computation.hash_at(self.stage_of(node), node.segment.lo), node.segment.agreed):
            raise Stale(f"node 0x{node.node_id.hex()} begins with another hash than this player computes")
        return computation

    def agrees(self, computed: bytes, agreed: bytes) -> bool:
        """Whether the lower end of a node is what this player computes."""
        return computed == agreed

    def arbitrate(self, node: NodeEntry) -> Decision:
        """Has the contract execute the one instruction of a node."""
        computation, stage = self.checked(node), self.stage_of(node)
        assert stage is not None
        return Move("arbitrate", (node.node_id, node.segment, computation.witness(stage, node.segment.lo)))

    def unlogged_root(self, claim: ClaimEntry) -> NodeEntry | None:
        """The root of a claim's tree, if the contract stores it and no event told of it."""
        request = self.index.requests[claim.request_id]
        first = self.chain.request_of(claim.request_id).first_run_hash
        whole = Segment(STAGES, 0, request.stage_count, bytes(first), claim.sealed)
        return self._unlogged(claim, root_id(claim.claim_id), NO_HASH, 0, whole)

    def unlogged_part(self, claim: ClaimEntry, parent: NodeEntry, part: int) -> NodeEntry | None:
        """A part of a posted node, if the contract stores it and no event told of it."""
        return self._unlogged(claim, child_id(parent.node_id, part), parent.node_id, part, parent.segment.part(parent.hashes, part))

    def _unlogged(self, claim: ClaimEntry, node_id: bytes, parent_id: bytes, part: int, segment: Segment) -> NodeEntry | None:
        stored = self.chain.node_of(node_id)
        if not stored.state:
            return None
        self._is_in_doubt = True
        times = (stored.since, stored.due, stored.server_left, stored.challengers_left)
        return NodeEntry(node_id, claim.claim_id, stored.opener, parent_id, part, segment, *times)

    def finalisation(self, claim: ClaimEntry, after_seconds: int = 0) -> Decision:
        """Finalises a true claim as soon as nothing can follow any more, or so many seconds later."""
        stored = self.chain.claim_of(claim.claim_id)
        request = self.index.requests[claim.request_id]
        is_other = request.run_hash is not None and claim.sealed != seal(request.run_hash, claim.server)
        if stored.status != PENDING or stored.open_nodes or is_other:
            return None
        at = max(stored.closes_at, stored.settles_at + 1) + after_seconds
        return Wait(at) if self.chain.now < at else Move("finalise", (claim.claim_id, *self.runs.of(request).result()))

    def one_run_at_a_time(self, tasks: Iterable[tuple[bytes, Task]]) -> Iterator[Task]:
        """The tasks up to the first that computes a run, and then asks to be asked again: no clock waits for two runs. First: requests."""
        for request_id, task in tasks:
            was_known = self.runs.knows(request_id)
            if self._has_computed and not was_known:
                return
            yield task
            if not was_known and self.runs.knows(request_id):
                self._has_computed = True
                yield Task(b"again", lambda: Wait(self.chain.now))
                return

    def withdrawal(self) -> list[Task]:
        """Withdraws what the contract owes this player, if anything."""

        def decide() -> Decision:
            return Move("withdraw_to", (self.address,)) if self.chain.account_of(self.address).credited else None

        return [Task(b"withdraw", decide)]
