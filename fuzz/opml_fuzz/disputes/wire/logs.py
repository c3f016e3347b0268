"""The events that an act must log, told from the specification's court before and after it.

Amounts are read from the ledger: what the act burned and credited is what the events must say.

*Source*: spec §5.11.
"""

from typing import Any

from opml_spec.dispute.objects import Claim, ClaimStatus, Court, Node
from opml_spec.dispute.result import TOKENS_PER_LEAF, Outcome
from opml_spec.machine.merkle import LEAF_BYTES
from opml_spec.model.layout import WORD_BYTES

from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.wire.abi import EVENTS, TOPICS, Log, encode, word

ZERO = bytes(32)


def event(name: str, *values: Any) -> Log:
    """Encodes an event, its indexed values first."""
    indexed, rest = EVENTS[name]
    return Log((TOPICS[name], *map(word, values[: len(indexed)])), encode(rest, values[len(indexed) :]))


def logs(before: Court, call: Call, after: Court, new: bytes) -> list[Log]:
    """The events of an accepted call. new: the id of what it created, if anything"""
    burned = after.ledger.burned - before.ledger.burned
    given = call.act.arguments
    match call.move:
        case "register":
            return [event("Registered", new, *given)]
        case "request":
            model_id, stage_count, data, deadline, bond, server = given
            return [event("Requested", new, model_id, call.sender, stage_count, deadline, call.act.value, bond, server, data)]
        case "claim":
            claim = after.claims[new]
            times = after.requests[claim.request_id].checked_at, claim.closes_at
            return [event("Claimed", new, claim.request_id, claim.server, claim.sealed, claim.index, *times), *burn(given[0], burned)]
        case "challenge":
            return [opened(after.nodes[new], new, ZERO, 0)]
        case "choose":
            return [opened(after.nodes[new], new, given[0], given[3])]
        case "post" | "open" | "arbitrate" | "timeout":
            return answered_or_fallen(after, given[0], call.now, burned)
        case "withdraw_to":
            return [event("Withdrawn", call.sender, given[0], after.ledger.paid_out - before.ledger.paid_out)]
        case _:
            return END_EVENTS[call.move](before, call, after, burned)


def burn(subject: bytes, amount: int) -> list[Log]:
    return [event("Burned", subject, amount)] if amount else []


def credit(account: bytes, subject: bytes, amount: int) -> list[Log]:
    return [event("Credited", account, subject, amount)] if amount else []


def opened(node: Node, node_id: bytes, parent_id: bytes, part: int) -> Log:
    clock = node.clock
    times = clock.since, clock.due, clock.server_left, clock.challengers_left
    return event("Opened", node_id, node.claim_id, node.opener, parent_id, part, node.segment, *times, node.price)


def answered_or_fallen(after: Court, node_id: bytes, now: int, burned: int) -> list[Log]:
    """What follows an act at an open node: the claim has fallen there, or the server has answered."""
    node = after.nodes[node_id]
    claim = after.claims[node.claim_id]
    if claim.status is ClaimStatus.REJECTED:
        return [event("Fallen", node.claim_id, node_id, now), *burn(node.claim_id, burned)]
    times = node.clock.since, node.clock.server_left, claim.settles_at
    return [event("Answered", node_id, node.claim_id, node.state, node.segment, node.posted, *times)]


# Ends of claims ------------------------------------------------------------------------------------------------------------------


def gained(before: Court, after: Court, account: bytes) -> int:
    return after.ledger.credited.get(account, 0) - before.ledger.credited.get(account, 0)


def finalised(before: Court, call: Call, after: Court, burned: int) -> list[Log]:
    claim_id, _, _, output, _ = call.act.arguments
    claim = after.claims[claim_id]
    request, earlier = after.requests[claim.request_id], before.requests[claim.request_id]
    shown = counted(output) if request.outcome is Outcome.OK else b""
    found = [event("Finalised", claim_id, claim.request_id, request.outcome, request.run_hash, shown), *burn(claim_id, burned)]
    fee = earlier.fee_left - request.fee_left
    found += credit(claim.server, claim_id, gained(before, after, claim.server) - fee)
    return found + (awarded(claim_id, claim, fee) if request.fee_paid and not earlier.fee_paid else [])


def counted(output: bytes) -> bytes:
    """The leaves of an output that its number of tokens needs."""
    tokens = int.from_bytes(output[:WORD_BYTES], "little")
    return output[: LEAF_BYTES * (1 - -tokens // TOKENS_PER_LEAF)]


def awarded(claim_id: bytes, claim: Claim, fee: int) -> list[Log]:
    return [event("Awarded", claim_id, claim.request_id), *credit(claim.server, claim_id, fee)]


def expired(before: Court, call: Call, after: Court, burned: int) -> list[Log]:
    (claim_id,) = call.act.arguments
    request_id = after.claims[claim_id].request_id
    requester = after.requests[request_id].requester
    return [event("Expired", claim_id, call.now), *burn(claim_id, burned), *credit(requester, request_id, gained(before, after, requester))]


def collected(before: Court, call: Call, after: Court, burned: int) -> list[Log]:
    (node_id,) = call.act.arguments
    opener = after.nodes[node_id].opener
    return [event("Collected", node_id), *burn(node_id, burned), *credit(opener, node_id, gained(before, after, opener))]


def passed_on(before: Court, call: Call, after: Court, burned: int) -> list[Log]:
    (claim_id,) = call.act.arguments
    claim = after.claims[claim_id]
    if claim.status is ClaimStatus.FINAL:
        return awarded(claim_id, claim, before.requests[claim.request_id].fee_left)
    return [event("PassedOver", claim_id, claim.request_id)]


def reclaimed(before: Court, call: Call, after: Court, burned: int) -> list[Log]:
    (request_id,) = call.act.arguments
    request = before.requests[request_id]
    return [event("Reclaimed", request_id), *credit(request.requester, request_id, request.fee_left)]


END_EVENTS = {"finalise": finalised, "expire": expired, "collect": collected, "award": passed_on, "reclaim": reclaimed}
