"""All that the contract stores, computed from its events alone: for the tests that events tell everything.

Rules are those of the page's list of events; nothing here asks the contract. The hash of a request's first run state is computed
from the request's bytes, which is not done here.
"""

from collections import defaultdict
from collections.abc import Iterable

from attrs import evolve

from evm_arbiter import objects
from evm_arbiter.chain import keccak256
from evm_arbiter.objects import Account, Books, Claim, ClaimStatus, Event, Model, NodeState, Outcome, Request, TreeNode
from evm_arbiter.parameters import Parameters, root_bond

ZERO = bytes(32)


class EventLog:
    """Models, requests, claims, nodes, accounts and books after these events."""

    def __init__(self, parameters: Parameters, events: Iterable[Event]) -> None:
        self.parameters = parameters
        self.models: dict[bytes, Model] = {}
        self.requests: dict[bytes, Request] = {}
        self.claims: dict[bytes, Claim] = {}
        self.nodes: dict[bytes, TreeNode] = {}
        self.accounts: dict[str, Account] = defaultdict(lambda: Account(0, 0, 0, 0))
        self.books = Books(0, 0, 0, 0)
        for event in events:
            getattr(self, type(event).__name__.lower())(event)

    def _deposit(self, wei: int) -> None:
        self.books = evolve(self.books, deposits=self.books.deposits + wei, locked=self.books.locked + wei)

    def _request(self, request_id: bytes, **changes: object) -> None:
        self.requests[request_id] = evolve(self.requests[request_id], **changes)

    def _rejected(self, claim_id: bytes, fell_at: bytes, at: int) -> None:
        claim = self.claims[claim_id] = evolve(self.claims[claim_id], status=ClaimStatus.REJECTED, fell_at=fell_at)
        self._request(claim.request_id, pending=self.requests[claim.request_id].pending - 1)
        if not self.accounts[claim.server].lost_at:
            self.accounts[claim.server] = evolve(self.accounts[claim.server], lost_at=at)

    def registered(self, event: objects.Registered) -> None:
        self.models.setdefault(event.model_id, Model(event.model_root, event.state_root, event.stage_microseconds, 0))

    def requested(self, event: objects.Requested) -> None:
        self.requests[event.request_id] = Request(
            event.model_id, event.stage_count, ZERO, event.deadline, event.fee, event.bond, event.requester, event.server, 0, 0, 0, 0,
            False, ZERO, ZERO, Outcome.OK, ZERO,
        )  # fmt: skip
        account = self.accounts[event.requester]
        self.accounts[event.requester] = evolve(account, requests=account.requests + 1)
        self._deposit(event.fee)

    def claimed(self, event: objects.Claimed) -> None:
        request = self.requests[event.request_id]
        self.claims[event.claim_id] = Claim(
            event.request_id, event.server, event.sealed, event.index, event.closes_at, 0, 0, 0, 0, ClaimStatus.PENDING, ZERO
        )
        if event.index == 0:
            self.models[request.model_id] = evolve(self.models[request.model_id], busy_until=event.checked_at)
        self._request(event.request_id, checked_at=event.checked_at, claims=event.index + 1, pending=request.pending + 1)
        self._deposit(request.bond)

    def opened(self, event: objects.Opened) -> None:
        claim = self.claims[event.claim_id]
        fixed, is_root = self.parameters, event.parent_id == ZERO
        parent = None if is_root else self.nodes[event.parent_id]
        self.nodes[event.node_id] = TreeNode(
            event.claim_id, event.opener, 1 if parent is None else parent.depth + 1,
            0 if parent is None else parent.path << (fixed.k - 1).bit_length() | event.part, commitment(event.segment, b""), NodeState.OPEN,
            event.due, event.server_left, event.challengers_left, event.since, event.price, False,
        )  # fmt: skip
        self.claims[event.claim_id] = evolve(
            claim, open_nodes=claim.open_nodes + 1, nodes=claim.nodes + 1, prices=claim.prices + event.price
        )
        self.accounts[claim.server] = evolve(self.accounts[claim.server], due=event.due)
        self._deposit(root_bond(fixed, self.requests[claim.request_id].bond) if is_root else fixed.node_bond)

    def answered(self, event: objects.Answered) -> None:
        claim, closed = self.claims[event.claim_id], event.state is not NodeState.OPEN
        self.nodes[event.node_id] = evolve(
            self.nodes[event.node_id], commitment=commitment(event.segment, event.hashes), state=event.state,
            server_left=event.server_left, since=event.since,
        )  # fmt: skip
        self.claims[event.claim_id] = evolve(claim, settles_at=event.settles_at, open_nodes=claim.open_nodes - closed)

    def fallen(self, event: objects.Fallen) -> None:
        self._rejected(event.claim_id, event.node_id, event.at)

    def expired(self, event: objects.Expired) -> None:
        self._rejected(event.claim_id, ZERO, event.at)

    def finalised(self, event: objects.Finalised) -> None:
        request = self.requests[event.request_id]
        self.claims[event.claim_id] = evolve(self.claims[event.claim_id], status=ClaimStatus.FINAL)
        self._request(event.request_id, pending=request.pending - 1)
        if request.result == ZERO:
            output_hash = keccak256(event.output) if event.outcome is Outcome.OK else ZERO
            result = {"result": event.claim_id, "run_hash": event.run_hash, "outcome": event.outcome, "output_hash": output_hash}
            self._request(event.request_id, **result)

    def collected(self, event: objects.Collected) -> None:
        self.nodes[event.node_id] = evolve(self.nodes[event.node_id], collected=True)

    def awarded(self, event: objects.Awarded) -> None:
        self._request(event.request_id, fee_paid=True, fee_left=0)

    def passedover(self, event: objects.PassedOver) -> None:
        self._request(event.request_id, next_award=self.requests[event.request_id].next_award + 1)

    def reclaimed(self, event: objects.Reclaimed) -> None:
        self._request(event.request_id, fee_paid=True, fee_left=0)

    def credited(self, event: objects.Credited) -> None:
        account = self.accounts[event.account]
        self.accounts[event.account] = evolve(account, credited=account.credited + event.amount)
        self.books = evolve(self.books, locked=self.books.locked - event.amount)

    def burned(self, event: objects.Burned) -> None:
        self.books = evolve(self.books, locked=self.books.locked - event.amount, burned=self.books.burned + event.amount)
        if event.subject in self.requests:  # the price of the line, which the first claim brought
            self.books = evolve(self.books, deposits=self.books.deposits + event.amount, locked=self.books.locked + event.amount)

    def withdrawn(self, event: objects.Withdrawn) -> None:
        account = self.accounts[event.account]
        assert account.credited == event.amount
        self.accounts[event.account] = evolve(account, credited=0)
        self.books = evolve(self.books, paid_out=self.books.paid_out + event.amount)


def commitment(segment: objects.Segment, hashes: bytes) -> bytes:
    numbers = bytes([segment.phase]) + segment.lo.to_bytes(8, "big") + segment.hi.to_bytes(8, "big")
    return keccak256(numbers + segment.agreed + segment.disputed + hashes)
