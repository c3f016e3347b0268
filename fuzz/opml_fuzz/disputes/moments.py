"""Moments: the times at which something becomes legal or illegal at a court.

Whatever a rule compares the time with is here, so that players come just in time, in the last second, or too late.

*Source*: spec §5.5 to §5.7.
"""

from collections.abc import Iterator

from opml_spec.dispute.objects import Claim, ClaimStatus, Court, Node, NodeState, Request
from opml_spec.dispute.parameters import TIME_LIMIT
from opml_spec.dispute.tree import late

FAR = 2 * TIME_LIMIT  # seconds since 1970: later than anything here


def edge_times(court: Court, now: int) -> list[int]:
    """The times to come at which something changes, and one second before and after each."""
    pending = {identity: claim for identity, claim in court.claims.items() if claim.status is ClaimStatus.PENDING}
    times = [time for request in court.requests.values() for time in request_times(court, request)]
    for claim in pending.values():
        times += claim_times(court, claim)
    for node in court.nodes.values():
        if node.claim_id in pending and node.state is not NodeState.ANSWERED:
            times += node_times(court, node, pending[node.claim_id])
    return sorted({time + by for time in times for by in (-1, 0, 1) if now < time + by < FAR})


def request_times(court: Court, request: Request) -> Iterator[int]:
    yield request.deadline
    if request.pending and request.result is None:
        yield fee_held_until(court, request)


def claim_times(court: Court, claim: Claim) -> Iterator[int]:
    end = max(claim.closes_at, claim.settles_at)
    yield from (claim.closes_at, end, end + court.parameters.grace, award_held_until(court, claim))


def node_times(court: Court, node: Node, claim: Claim) -> Iterator[int]:
    if node.state is NodeState.OPEN:
        yield from (node.clock.due, due(court, node), due(court, node) + node.clock.server_left)
    else:
        yield from (node.clock.since + court.parameters.priority, node.clock.last_choice(claim.closes_at))


def due(court: Court, node: Node) -> int:
    """The last second in which the server is not late at an open node."""
    return FAR - late(court, node, FAR)


def fee_held_until(court: Court, request: Request) -> int:
    """The last second in which a pending claim can hold up the fee of a request without a result."""
    return max(request.deadline, request.checked_at) + court.parameters.window + court.parameters.hold


def award_held_until(court: Court, claim: Claim) -> int:
    """The last second in which this claim can hold up the fee, while it is pending."""
    return claim.closes_at + court.parameters.hold
