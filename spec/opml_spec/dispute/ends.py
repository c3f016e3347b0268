"""Ends: how a claim is decided by time alone, and how everybody gets what is theirs.

Anybody may do each of these for anybody else: only the last pull waits for its owner.

*Source*: spec §5.6 and §5.7.
"""

from attrs import evolve

from opml_spec.dispute.objects import ClaimStatus, Court, Message, seal
from opml_spec.dispute.result import Outcome, read_result
from opml_spec.dispute.tree import known, pending_claim, reject, settlement, with_claim, with_node, with_request
from opml_spec.errors import (
    NodesOpen,
    NoResult,
    NotAllFailed,
    NotExpired,
    NothingToAward,
    NothingToCollect,
    OtherResult,
    UnknownClaim,
    UnknownNode,
    UnknownRequest,
    Unsettled,
    WindowOpen,
    WrongOutput,
)
from opml_spec.runs.run import RunState, RunStatus


def finalise(court: Court, message: Message, claim_id: bytes, carry: bytes, status: int, output: bytes, proof: bytes) -> Court:
    """The claim stands: the server failed no node. `output` and `proof` show what the run put out."""
    stands = pending_claim(court, claim_id)
    if message.now < stands.closes_at:
        raise WindowOpen
    if stands.open_nodes:
        raise NodesOpen
    if message.now <= stands.settles_at:
        raise Unsettled
    if status not in tuple(RunStatus) or seal(RunState(carry, RunStatus(status)).run_hash, stands.server) != stands.sealed:
        raise WrongOutput("not the claimed run state")
    last = RunState(carry, RunStatus(status))
    asked, parameters = court.requests[stands.request_id], court.parameters
    if asked.run_hash not in (None, last.run_hash):
        raise OtherResult
    outcome, output_hash = read_result(last, output, proof)
    asked = evolve(asked, pending=asked.pending - 1)
    if asked.result is None:
        asked = evolve(asked, result=claim_id, run_hash=last.run_hash, outcome=outcome, output_hash=output_hash)
    court = with_request(court, stands.request_id, asked)
    court = with_claim(court, claim_id, evolve(stands, status=ClaimStatus.FINAL))
    lost = parameters.node_bonds(asked.bond, stands.nodes)
    earned = parameters.share(lost)
    court = evolve(court, ledger=court.ledger.burn(lost - earned).credit(stands.server, asked.bond + earned))
    return pass_on_the_fee(court, claim_id) if is_next(court, claim_id, message.now) else court


def expire(court: Court, message: Message, claim_id: bytes) -> Court:
    """Nobody showed what is claimed: the claim is rejected without a node."""
    claim = pending_claim(court, claim_id)
    if claim.open_nodes:
        raise NodesOpen
    if message.now <= max(claim.closes_at, claim.settles_at) + court.parameters.grace:
        raise NotExpired
    asked = court.requests[claim.request_id]
    share = court.parameters.share(asked.bond)
    ledger = court.ledger.burn(asked.bond - share).credit(asked.requester, share)
    return evolve(reject(court, claim_id, None, message.now), ledger=ledger)


def collect(court: Court, message: Message, node_id: bytes) -> Court:
    """Credits the opener of a node of a rejected claim its bond, and what else it is due."""
    node = known(court.nodes, node_id, UnknownNode)
    claim = court.claims[node.claim_id]
    if claim.status is not ClaimStatus.REJECTED or node.collected:
        raise NothingToCollect
    parameters, ledger = court.parameters, court.ledger
    wei = parameters.node_bond if node.path else parameters.root_bond(court.requests[claim.request_id].bond)
    if claim.fell_at is not None:
        settled = settlement(court, claim)
        if node.on_the_way_to(court.nodes[claim.fell_at]):
            wei, ledger = wei + settled.share, ledger.burn(node.price * settled.gas)
        else:
            wei += node.price * settled.gas
    return evolve(with_node(court, node_id, evolve(node, collected=True)), ledger=ledger.credit(node.opener, wei))


def is_next(court: Court, claim_id: bytes, now: int) -> bool:
    """Whether this claim gets the fee or is passed over now. A pending claim of the result holds the fee back, but not for ever."""
    claim = court.claims[claim_id]
    asked = court.requests[claim.request_id]
    if asked.run_hash is None or asked.fee_paid or claim.index != asked.next_award:
        return False
    holds = claim.status is ClaimStatus.PENDING and now <= claim.closes_at + court.parameters.hold
    return not holds or claim.sealed != seal(asked.run_hash, claim.server)


def pass_on_the_fee(court: Court, claim_id: bytes) -> Court:
    """Pays a final claim, and passes over any other."""
    claim = court.claims[claim_id]
    asked = court.requests[claim.request_id]
    if claim.status is not ClaimStatus.FINAL:
        return with_request(court, claim.request_id, evolve(asked, next_award=asked.next_award + 1))
    return pay_fee(court, claim.request_id, claim.server)


def pay_fee(court: Court, request_id: bytes, to: bytes) -> Court:
    """Credits what is left of the fee."""
    asked = court.requests[request_id]
    paid = with_request(court, request_id, evolve(asked, fee_left=0, fee_paid=True))
    return evolve(paid, ledger=court.ledger.credit(to, asked.fee_left))


def award(court: Court, message: Message, claim_id: bytes) -> Court:
    """Walks one claim further towards the final claim of lowest index, which gets the fee."""
    known(court.claims, claim_id, UnknownClaim)
    if not is_next(court, claim_id, message.now):
        raise NothingToAward
    return pass_on_the_fee(court, claim_id)


def reclaim(court: Court, message: Message, request_id: bytes) -> Court:
    """Gives the fee of a request that came to nothing back to its requester."""
    asked = known(court.requests, request_id, UnknownRequest)
    parameters = court.parameters
    last_close = max(asked.deadline, asked.checked_at) + parameters.window
    held = asked.pending > 0 and message.now <= last_close + parameters.hold
    if message.now <= asked.deadline or asked.result is not None or asked.fee_paid or held:
        raise NotAllFailed
    return pay_fee(court, request_id, asked.requester)


def withdraw_to(court: Court, message: Message, to: bytes) -> Court:
    """Pays all that is credited to the sender, to an address of its choice."""
    return evolve(court, ledger=court.ledger.pay_out(message.sender))


def result_of(court: Court, request_id: bytes) -> tuple[Outcome, bytes | None, bytes]:
    """Reads the outcome, the output hash and the claim that set them; there is no answer that could be taken for one."""
    asked = known(court.requests, request_id, UnknownRequest)
    if asked.result is None or asked.outcome is None:
        raise NoResult
    return asked.outcome, asked.output_hash, asked.result
