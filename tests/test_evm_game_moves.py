"""Every act of the game contract is accepted when it is right, and refused by the first of its checks that fails.

For each act there is one attempt that is right and the faults that can be put into it, in the order of the checks. Faults i, i + 1, …
all at once must be refused with the number of fault i, so both the numbers and their order are tested.
"""

from collections.abc import Callable
from copy import copy
from functools import cache
from typing import Any

import pytest
from attrs import define, evolve, field, frozen
from evm_dispute import ADDI, BOND, DATA, FINAL, Dispute, hold, new_court, run_hash, seal
from evm_machine import RUNNING, TRAPPED, Machine, machine, witness

from evm_arbiter.chain import Chain, keccak256
from evm_arbiter.court import ANYONE, Refused
from evm_arbiter.embedded import EmbeddedNode
from evm_arbiter.objects import NodeState, Opened
from evm_arbiter.parameters import root_bond

NOTHING = b"\x99" * 32  # the id or the hash of nothing
YEAR = 31_536_000
FIXED = new_court().parameters
WINDOW, ROOT_BOND, NODE_BOND = FIXED.window, root_bond(FIXED, BOND), FIXED.node_bond
LINE = FIXED.second_price  # of one second of work, which rounds up
SERVER_TIME, CHALLENGER_TIME = FIXED.effort + FIXED.server_time, FIXED.challenger_time
FOREVER = 2**64 - 1


@define
class Attempt:
    """An act that is about to be tried."""

    dispute: Dispute
    move: str
    arguments: dict[str, Any]
    sender: str
    value: int | None = None
    right: dict[str, Any] = field(factory=dict)  # the arguments without any fault

    def error(self) -> str | None:
        """The name of what refuses it, None if it is accepted."""
        return self.error_of(self.arguments, self.sender, self.value)

    def error_of(self, arguments: dict[str, Any], sender: str, value: int | None) -> str | None:
        money = {} if value is None else {"value": value}
        try:
            getattr(self.dispute.court, self.move)(**arguments, sender=sender, **money)
        except Refused as refusal:
            return refusal.name
        return None


@frozen
class Fault:
    """Something wrong: acts that come before the attempt, then time that passes, then arguments."""

    put: Callable[[Attempt], object]
    order: int = 0


def argument(**values: Any) -> Fault:
    return Fault(lambda attempt: attempt.arguments.update(values), 3)


def segment(**values: Any) -> Fault:
    return Fault(lambda attempt: attempt.arguments.update(segment=evolve(attempt.arguments["segment"], **values)), 3)


def sender(number: int) -> Fault:
    return Fault(lambda attempt: setattr(attempt, "sender", attempt.dispute.court.accounts[number]), 3)


def value(wei: int) -> Fault:
    return Fault(lambda attempt: setattr(attempt, "value", wei), 3)


def later(seconds: int) -> Fault:
    return Fault(lambda attempt: attempt.dispute.court.set_time(attempt.dispute.court.now + seconds), 2)


def _already(attempt: Attempt) -> None:
    assert attempt.error_of(attempt.right, attempt.sender, attempt.value) is None


def _rejected(attempt: Attempt) -> None:
    """The server fails some node of the claim."""
    dispute = copy(attempt.dispute)
    court = dispute.court
    if court.claim_of(dispute.claim_id).nodes == 0:
        dispute.challenged(court.accounts[5])
    ids = [event.node_id for event in court.events() if isinstance(event, Opened) and event.claim_id == dispute.claim_id]
    owed, posted = ([node for node in ids if court.node_of(node).state is state] for state in (NodeState.OPEN, NodeState.POSTED))
    dispute.node_id = (owed or posted)[0]
    if not owed:
        chosen = {event.part for event in court.events() if isinstance(event, Opened) and event.parent_id == dispute.node_id}
        dispute.choose(min({0, 1} - chosen))
    node = court.node_of(dispute.node_id)
    court.set_time(max(court.now, node.due + node.server_left + 1))
    dispute.timeout()


def _answered_finally(attempt: Attempt) -> None:
    """Another claim of the request becomes final, of a run that failed."""
    dispute = evolve(attempt.dispute, last_run_hash=run_hash(NOTHING, 1)).claimed()
    dispute.court.set_time(dispute.court.claim_of(dispute.claim_id).closes_at)
    dispute.court.finalise(dispute.claim_id, NOTHING, 1, b"", b"", sender=dispute.server)


def _out_of_time(attempt: Attempt) -> None:
    """The server is, at the node of the attempt."""
    court = attempt.dispute.court
    node = court.node_of(attempt.right["node_id"])
    court.set_time(max(court.now, node.due + node.server_left + 1))


def _to_an_open_node(attempt: Attempt) -> None:
    """Another part is chosen, and the attempt is at its node."""
    dispute = copy(attempt.dispute)
    dispute.choose(0)
    attempt.arguments["node_id"] = dispute.node_id


ALREADY = Fault(_already)
REJECTED = Fault(_rejected, 1)
OUT_OF_TIME = Fault(_out_of_time, 2)
CHALLENGED = Fault(lambda attempt: copy(attempt.dispute).challenged())
POSTED = Fault(lambda attempt: attempt.dispute.post())
CHOSEN = Fault(lambda attempt: copy(attempt.dispute).choose(0))
AS_IT_STANDS = Fault(lambda attempt: None)


# Right attempts


def new(move: str, dispute: Dispute, sender: int, value: int | None = None, **arguments: Any) -> Attempt:
    return Attempt(dispute, move, arguments, dispute.court.accounts[sender], value, dict(arguments))


def register() -> Attempt:
    return new("register", Dispute(new_court()), 0, model_root=b"\1" * 32, state_root=b"\2" * 32, stage_microseconds=2**32 - 1)


SLOW = keccak256(b"\1" * 32 + b"\2" * 32 + (2**32 - 1).to_bytes(8, "big"))  # a model with stages of 4,295 seconds


def request() -> Attempt:
    """Everything at its border: 2^24 stages of 1,000 microseconds are 16,778 seconds of work."""
    dispute = Dispute(new_court())
    model_id = dispute.court.register(b"\1" * 32, b"\2" * 32, 1_000, sender=dispute.requester)
    assert dispute.court.register(b"\1" * 32, b"\2" * 32, 2**32 - 1, sender=dispute.requester) == SLOW
    arguments = {"model_id": model_id, "stage_count": 2**24, "data": bytes(16384), "deadline": dispute.court.now}
    return new("request", dispute, 0, 16_778 * 10**12, **arguments, bond=FIXED.min_bond, server=ANYONE)


def request_of_a_year() -> Attempt:
    """7,342 stages of 2^32 - 1 microseconds are 31,533,650 seconds; one more is too much."""
    attempt = request()
    now = attempt.dispute.court.now
    arguments = {"model_id": SLOW, "stage_count": 7_342, "data": b"", "deadline": now + YEAR, "bond": 2**128 - 1}
    return new("request", attempt.dispute, 0, 31_533_650 * 10**12, **arguments, server=ANYONE)


def claim() -> Attempt:
    dispute = Dispute(new_court())
    dispute.asked(dispute.server, deadline=dispute.court.now + 2 * WINDOW)
    closes_at = dispute.court.now + 1 + WINDOW  # a second of work
    sealed = seal(dispute.run_hash, dispute.server)
    return new("claim", dispute, 1, BOND + LINE, request_id=dispute.request_id, sealed=sealed, latest=closes_at)


def claim_a_second_time() -> Attempt:
    """Another run than the one that the server claimed first; it pays nothing for the line."""
    attempt = claim()
    evolve(attempt.dispute, last_run_hash=run_hash(NOTHING)).claimed()
    return evolve(attempt, value=BOND)


def claim_in_the_far_future() -> Attempt:
    """The last one whose window closes before 2^39."""
    dispute = Dispute(new_court())
    dispute.court.set_time(2**39 - 1 - WINDOW - 1)
    dispute.asked()
    sealed = seal(dispute.run_hash, dispute.server)
    return new("claim", dispute, 1, BOND + LINE, request_id=dispute.request_id, sealed=sealed, latest=FOREVER)


def challenge() -> Attempt:
    dispute = Dispute(new_court()).asked().claimed()
    return new("challenge", dispute, 2, ROOT_BOND, claim_id=dispute.claim_id)


def post() -> Attempt:
    dispute = Dispute(new_court()).started()
    arguments = {"node_id": dispute.node_id, "segment": dispute.last()[0], "hashes": dispute.inner_hashes(), "run_hash": dispute.run_hash}
    return new("post", dispute, 1, **arguments)


def post_below_the_root() -> Attempt:
    """There `run_hash` is not looked at."""
    dispute = Dispute(new_court(), stage_count=64).started()
    dispute.post()
    dispute.choose()
    arguments = {"node_id": dispute.node_id, "segment": dispute.last()[0], "hashes": dispute.inner_hashes(), "run_hash": NOTHING}
    return new("post", dispute, 1, **arguments)


def post_about_one_stage() -> Attempt:
    """At the root, so that the seal is wrong as well."""
    dispute = Dispute(new_court(), stage_count=1, stage=0).started()
    return new("post", dispute, 1, node_id=dispute.node_id, segment=dispute.last()[0], hashes=bytes(64), run_hash=NOTHING)


def choose() -> Attempt:
    dispute = Dispute(new_court()).started()
    dispute.post()
    posted, hashes = dispute.last()
    return new("choose", dispute, 2, NODE_BOND, node_id=dispute.node_id, segment=posted, hashes=hashes, part=3)


def choose_in_the_last_second() -> Attempt:
    """A choice at a node that was opened in the last second of all challengers and posted at once: nothing of their time is left."""
    dispute = Dispute(new_court(), stage_count=64).started()
    dispute.post()
    claim = dispute.court.claim_of(dispute.claim_id)
    dispute.court.set_time(claim.closes_at + CHALLENGER_TIME)
    dispute.choose()
    dispute.post()
    posted, hashes = dispute.last()
    return new("choose", dispute, 2, NODE_BOND, node_id=dispute.node_id, segment=posted, hashes=hashes, part=3)


def opening(dispute: Dispute) -> Attempt:
    return new("open", dispute, 1, node_id=dispute.node_id, segment=dispute.last()[0], **dispute.opening())


def open_stage() -> Attempt:
    return opening(Dispute(new_court()).started().narrow())


def open_only_stage() -> Attempt:
    return opening(Dispute(new_court(), stage_count=1, stage=0).started())


def open_failed_stage() -> Attempt:
    """The remaining arguments are not looked at."""
    attempt = opening(Dispute(new_court(), start_status=1).started().narrow())
    attempt.arguments.update(steps=0, final_state=b"", left_root=NOTHING, final_carry=NOTHING, hashes=b"!", run_hash=NOTHING)
    attempt.right.update(attempt.arguments)
    return attempt


def open_many_stages() -> Attempt:
    return opening(Dispute(new_court()).started())


def open_a_step() -> Attempt:
    return opening(Dispute(new_court()).started().narrow().open().narrow())


def arbitrating(dispute: Dispute, evidence: bytes = b"") -> Attempt:
    return new("arbitrate", dispute, 9, node_id=dispute.node_id, segment=dispute.last()[0], witness=evidence)


def arbitrate() -> Attempt:
    dispute = Dispute(new_court()).started().narrow().open().narrow()
    return arbitrating(dispute, witness(dispute.before))


def arbitrate_a_stage() -> Attempt:
    return arbitrating(Dispute(new_court()).started().narrow())


def arbitrate_many_steps() -> Attempt:
    dispute = Dispute(new_court(), steps=64).started().narrow().open()
    dispute.choose()
    return arbitrating(dispute)


def timeout_too_early() -> Attempt:
    dispute = Dispute(new_court()).started()
    dispute.court.set_time(dispute.court.now + SERVER_TIME)
    return new("timeout", dispute, 9, node_id=dispute.node_id)


def timeout() -> Attempt:
    attempt = timeout_too_early()
    later(1).put(attempt)
    return attempt


def claimed_failure() -> Dispute:
    """A claim of a failed run, so that `finalise` needs no output."""
    return Dispute(new_court(), last_run_hash=run_hash(b"\7" * 32, 1)).asked().claimed()


def finalising(dispute: Dispute) -> Attempt:
    return new("finalise", dispute, 9, claim_id=dispute.claim_id, carry=b"\7" * 32, status=1, output=b"", proof=b"")


def finalise_too_early() -> Attempt:
    attempt = finalising(claimed_failure())
    later(WINDOW).put(attempt)  # and not the second of work
    return attempt


def finalise() -> Attempt:
    attempt = finalise_too_early()
    later(1).put(attempt)
    return attempt


def finalise_a_tree() -> Attempt:
    """At the last second in which something could follow."""
    dispute = claimed_failure().challenged()
    dispute.post()
    claim = dispute.court.claim_of(dispute.claim_id)
    assert claim.settles_at == claim.closes_at + CHALLENGER_TIME
    dispute.court.set_time(claim.settles_at)
    return finalising(dispute)


def finalise_after_a_tree() -> Attempt:
    attempt = finalise_a_tree()
    later(1).put(attempt)
    return attempt


def finalise_a_second_claim() -> Attempt:
    """A second claim is of another run than the claim that is final already."""
    dispute = claimed_failure()
    other = evolve(dispute, last_run_hash=run_hash(NOTHING, 1)).claimed()
    later(WINDOW + 1).put(finalising(dispute))
    other.court.finalise(other.claim_id, NOTHING, 1, b"", b"", sender=other.server)
    return finalising(dispute)


def expire() -> Attempt:
    dispute = claimed_failure()
    dispute.court.set_time(dispute.court.claim_of(dispute.claim_id).closes_at + FIXED.grace + 1)
    return new("expire", dispute, 9, claim_id=dispute.claim_id)


def expire_too_early() -> Attempt:
    dispute = claimed_failure()
    dispute.court.set_time(dispute.court.claim_of(dispute.claim_id).closes_at + FIXED.grace)
    return new("expire", dispute, 9, claim_id=dispute.claim_id)


def expire_with_an_open_node() -> Attempt:
    dispute = claimed_failure().challenged()
    return new("expire", dispute, 9, claim_id=dispute.claim_id)


def collect() -> Attempt:
    attempt = timeout()
    assert attempt.error() is None
    return new("collect", attempt.dispute, 9, node_id=attempt.dispute.node_id)


def collect_of_a_pending_claim() -> Attempt:
    dispute = Dispute(new_court()).started()
    return new("collect", dispute, 2, node_id=dispute.node_id)


def collect_of_a_final_claim() -> Attempt:
    attempt = finalise_after_a_tree()
    assert attempt.error() is None
    return new("collect", attempt.dispute, 2, node_id=attempt.dispute.node_id)


def award() -> Attempt:
    """The first claim is passed over: the second is final, with another run hash."""
    dispute = claimed_failure()
    second = evolve(dispute, last_run_hash=run_hash(NOTHING, 1)).claimed()
    later(WINDOW + 1).put(finalising(dispute))
    second.court.finalise(second.claim_id, NOTHING, 1, b"", b"", sender=second.server)
    return new("award", dispute, 9, claim_id=dispute.claim_id)


def award_of_the_next_but_one() -> Attempt:
    attempt = award()
    second = [event.claim_id for event in attempt.dispute.court.events() if type(event).__name__ == "Claimed"][1]
    return new("award", attempt.dispute, 9, claim_id=second)


def award_without_a_result() -> Attempt:
    dispute = finalise().dispute
    return new("award", dispute, 9, claim_id=dispute.claim_id)


def award_paid_already() -> Attempt:
    attempt = finalise()
    assert attempt.error() is None
    return new("award", attempt.dispute, 9, claim_id=attempt.dispute.claim_id)


def award_of_a_pending_claim_of_the_result() -> Attempt:
    """The first claim says what the second, which is final, says too, and its hold is about to end."""
    dispute = claimed_failure()
    other = evolve(dispute)
    other.claimed(dispute.court.accounts[3])
    later(WINDOW + 1).put(finalising(dispute))
    assert finalising(other).error() is None
    dispute.court.set_time(dispute.court.claim_of(dispute.claim_id).closes_at + hold(dispute.court))
    return new("award", dispute, 9, claim_id=dispute.claim_id)


def award_after_the_hold() -> Attempt:
    """That claim, though pending still, is passed over."""
    attempt = award_of_a_pending_claim_of_the_result()
    later(1).put(attempt)
    return attempt


def reclaim() -> Attempt:
    dispute = Dispute(new_court()).asked(deadline=new_court().now)
    dispute.court.set_time(dispute.court.now + 1)
    return new("reclaim", dispute, 9, request_id=dispute.request_id)


def reclaim_of_a_claimed_one() -> Attempt:
    """A claim made at the deadline would end its hold now."""
    dispute = Dispute(new_court()).asked().claimed()
    court, request = dispute.court, dispute.court.request_of(dispute.request_id)
    assert request.deadline > request.checked_at
    court.set_time(request.deadline + WINDOW + hold(court))
    return new("reclaim", dispute, 0, request_id=dispute.request_id)


def reclaim_of_one_that_waited_in_line() -> Attempt:
    """A claim that waited in line is checked after the deadline, and would end its hold now."""
    dispute = Dispute(new_court()).asked(deadline=new_court().now).claimed()
    court, request = dispute.court, dispute.court.request_of(dispute.request_id)
    assert request.deadline < request.checked_at
    court.set_time(request.checked_at + WINDOW + hold(court))
    return new("reclaim", dispute, 0, request_id=dispute.request_id)


def reclaim_after_the_hold() -> Attempt:
    attempt = reclaim_of_a_claimed_one()
    later(1).put(attempt)
    return attempt


def reclaim_after_the_hold_in_line() -> Attempt:
    attempt = reclaim_of_one_that_waited_in_line()
    later(1).put(attempt)
    return attempt


def reclaim_of_an_answered_one() -> Attempt:
    attempt = award()
    return new("reclaim", attempt.dispute, 0, request_id=attempt.dispute.request_id)


def reclaim_at_the_deadline() -> Attempt:
    dispute = Dispute(new_court()).asked(deadline=new_court().now)
    return new("reclaim", dispute, 0, request_id=dispute.request_id)


def withdraw() -> Attempt:
    attempt = reclaim()
    assert attempt.error() is None
    return new("withdraw_to", attempt.dispute, 0, to=attempt.dispute.court.accounts[8])


OF_A_NODE: list[tuple[str, Fault]] = [
    ("UNKNOWN_NODE", argument(node_id=NOTHING)),
    ("CLAIM_NOT_PENDING", REJECTED),
    ("WRONG_TURN", ALREADY),
    ("STALE_COMMITMENT", segment(lo=77)),
    ("NOT_THE_SERVER", sender(3)),
    ("OUT_OF_TIME", OUT_OF_TIME),
]
OF_ANYBODY = [fault for fault in OF_A_NODE if fault[0] != "NOT_THE_SERVER"]
NOT_YET = [fault for fault in OF_A_NODE if fault[1] is not ALREADY]  # what is wrong as it stands was not done already
NOT_YET_OF_ANYBODY = [fault for fault in OF_ANYBODY if fault[1] is not ALREADY]

TABLE: list[tuple[Callable[[], Attempt], list[tuple[str, Fault]]]] = [
    (register, [("STAGE_TIME", argument(stage_microseconds=0))]),
    (register, [("STAGE_TIME", argument(stage_microseconds=2**32))]),
    (request, [("UNKNOWN_MODEL", argument(model_id=NOTHING)), ("STAGE_COUNT", argument(stage_count=0)),
               ("REQUEST_TOO_LONG", argument(data=bytes(16385))), ("DEADLINE", later(1)), ("BOND_RANGE", argument(bond=FIXED.min_bond - 1)),
               ("TOO_MUCH_WORK", argument(model_id=SLOW)), ("FEE_RANGE", value(16_778 * 10**12 - 1))]),
    (request, [("STAGE_COUNT", argument(stage_count=2**24 + 1))]),
    (request, [("DEADLINE", argument(deadline=FOREVER))]),
    (request_of_a_year, [("DEADLINE", argument(deadline=new_court().now + YEAR + 1)), ("BOND_RANGE", argument(bond=2**128)),
                         ("TOO_MUCH_WORK", argument(stage_count=7_343))]),
    (request_of_a_year, [("FEE_RANGE", value(31_533_650 * 10**12 - 1))]),
    (claim, [("UNKNOWN_REQUEST", argument(request_id=NOTHING)), ("WRONG_VALUE", value(BOND)), ("DEADLINE", later(2 * WINDOW + 1)),
             ("NOT_THE_SERVER", sender(4)), ("TOO_LATE", argument(latest=0))]),
    *[(claim, [("WRONG_VALUE", value(wei))]) for wei in (BOND + LINE - 1, BOND + LINE + 1)],
    (claim, [("TOO_LATE", later(1))]),
    (claim_a_second_time, [("UNKNOWN_REQUEST", argument(request_id=NOTHING)), ("WRONG_VALUE", value(BOND + LINE)),
                           ("DEADLINE", later(2 * WINDOW + 1)), ("NOT_THE_SERVER", sender(4)),
                           ("ALREADY_FINAL", Fault(_answered_finally, 1)), ("CLAIM_EXISTS", ALREADY), ("TOO_LATE", argument(latest=0))]),
    (claim_in_the_far_future, [("TOO_LATE", later(1))]),
    (challenge, [("UNKNOWN_CLAIM", argument(claim_id=NOTHING)), ("WRONG_VALUE", value(ROOT_BOND + 1)),
                 ("CLAIM_NOT_PENDING", REJECTED), ("WINDOW_CLOSED", later(WINDOW + 1)),
                 ("ROOT_EXISTS", CHALLENGED)]),
    (challenge, [("WRONG_VALUE", value(ROOT_BOND - 1))]),
    (post, [*OF_A_NODE, ("WRONG_SEAL", argument(run_hash=NOTHING)), ("WRONG_COUNT", argument(hashes=bytes(64)))]),
    *[(post, [("WRONG_COUNT", argument(hashes=hashes))]) for hashes in (b"", bytes(95), bytes(97), bytes(128), bytes(2048))],
    (post, [("NOT_THE_SERVER", sender(2))]),
    *[(post, [("STALE_COMMITMENT", segment(**change))]) for change in (
        {"phase": 2}, {"lo": 1}, {"hi": 7}, {"agreed": NOTHING}, {"disputed": NOTHING})],
    (post_below_the_root, [*OF_A_NODE, ("WRONG_COUNT", argument(hashes=bytes(64)))]),
    (post_about_one_stage, [*NOT_YET, ("WRONG_MOVE", AS_IT_STANDS)]),
    (choose, [("UNKNOWN_NODE", argument(node_id=NOTHING)), ("WRONG_VALUE", value(NODE_BOND - 1)), ("CLAIM_NOT_PENDING", REJECTED),
              ("WRONG_TURN", Fault(_to_an_open_node)), ("STALE_COMMITMENT", argument(hashes=b"")), ("NOT_THE_OPENER", sender(3)),
              ("NO_SUCH_PART", argument(part=4))]),
    (choose, [("WRONG_VALUE", value(NODE_BOND + 1))]),
    (choose, [("OUT_OF_TIME", later(WINDOW + 1 + CHALLENGER_TIME + 1)), ("NO_SUCH_PART", argument(part=255))]),
    (choose, [("NOT_THE_OPENER", sender(1)), ("PART_CHOSEN", ALREADY)]),
    *[(choose, [("STALE_COMMITMENT", argument(hashes=hashes))]) for hashes in (bytes(96), bytes(95), bytes(128), bytes(2048))],
    (choose_in_the_last_second, [("NOT_THE_OPENER", sender(3)), ("OUT_OF_TIME", later(1)), ("PART_CHOSEN", ALREADY)]),
    (open_stage, [*OF_A_NODE, ("WRONG_START", argument(start_carry=NOTHING)), ("STEP_COUNT", argument(steps=0)),
                  ("STATE_UNDECODABLE", argument(final_state=Machine(kind=3).encode())), ("WRONG_END", argument(left_root=NOTHING)),
                  ("WRONG_COUNT", argument(hashes=bytes(64)))]),
    (open_stage, [("STEP_COUNT", argument(steps=2**32 + 1)), ("STATE_UNDECODABLE", argument(final_state=b""))]),
    (open_stage, [("STILL_RUNNING", argument(final_state=Machine(kind=RUNNING).encode())), ("WRONG_END", argument(left_root=NOTHING))]),
    (open_stage, [("WRONG_START", argument(start_status=2))]),
    (open_stage, [("WRONG_START", argument(start_status=1))]),
    *[(open_stage, [("STATE_UNDECODABLE", argument(final_state=state))]) for state in (
        Machine(kind=TRAPPED, value=4).encode(), Machine(kind=TRAPPED, value=2**63).encode(), Machine(kind=RUNNING, value=1).encode(),
        Machine(kind=255).encode(), bytes(296), bytes(298))],
    (open_stage, [("WRONG_END", argument(final_carry=NOTHING))]),
    (open_stage, [("WRONG_END", argument(final_state=Machine(kind=TRAPPED, value=8, memory=FINAL.memory).encode()))]),
    (open_stage, [("WRONG_END", argument(final_state=Machine(kind=1, value=1, memory=FINAL.memory).encode()))]),
    *[(open_stage, [("WRONG_COUNT", argument(hashes=hashes))]) for hashes in (b"", bytes(95), bytes(97), bytes(128), bytes(2048))],
    (open_only_stage, [*OF_A_NODE, ("WRONG_SEAL", argument(run_hash=NOTHING)), ("WRONG_START", argument(start_carry=NOTHING))]),
    (open_failed_stage, [*OF_A_NODE, ("WRONG_START", argument(start_status=0))]),
    (open_many_stages, [*NOT_YET, ("WRONG_MOVE", argument(run_hash=NOTHING))]),
    (open_a_step, [("WRONG_MOVE", AS_IT_STANDS)]),
    (arbitrate, [*OF_ANYBODY, ("WITNESS_TRUNCATED", argument(witness=bytes(200)))]),
    (arbitrate, [("WRONG_STATE", argument(witness=witness(machine(ADDI, {1: 1}))))]),
    (arbitrate, [("WITNESS_TRAILING", Fault(lambda attempt: attempt.arguments.update(witness=attempt.arguments["witness"] + b"!"), 3))]),
    (arbitrate_a_stage, [*NOT_YET_OF_ANYBODY, ("WRONG_MOVE", AS_IT_STANDS)]),
    (arbitrate_many_steps, [("WRONG_MOVE", AS_IT_STANDS)]),
    (timeout_too_early, [("UNKNOWN_NODE", argument(node_id=NOTHING)), ("CLAIM_NOT_PENDING", REJECTED), ("WRONG_TURN", POSTED),
                         ("NOT_OUT_OF_TIME", AS_IT_STANDS)]),
    (finalise_too_early, [("UNKNOWN_CLAIM", argument(claim_id=NOTHING)), ("CLAIM_NOT_PENDING", REJECTED)]),
    (finalise_too_early, [("CLAIM_NOT_PENDING", REJECTED), ("WINDOW_OPEN", CHALLENGED)]),
    (finalise_too_early, [("WINDOW_OPEN", argument(carry=NOTHING))]),
    (finalise, [("CLAIM_NOT_PENDING", ALREADY)]),
    (finalise_a_tree, [("NODES_OPEN", CHOSEN), ("UNSETTLED", argument(carry=NOTHING))]),
    (finalise_a_second_claim, [("WRONG_OUTPUT", argument(status=0)), ("OTHER_RESULT", argument(output=b"!"))]),
    *[(finalise, [("WRONG_OUTPUT", argument(**change))]) for change in (
        {"status": 0}, {"status": 2}, {"output": bytes(32)}, {"proof": bytes(5)})],
    (expire, [("UNKNOWN_CLAIM", argument(claim_id=NOTHING)), ("CLAIM_NOT_PENDING", ALREADY)]),
    (expire_too_early, [("NOT_EXPIRED", AS_IT_STANDS)]),
    (expire_with_an_open_node, [("CLAIM_NOT_PENDING", REJECTED), ("NODES_OPEN", later(10 * YEAR))]),
    (collect, [("UNKNOWN_NODE", argument(node_id=NOTHING)), ("NOTHING_TO_COLLECT", ALREADY)]),
    (collect_of_a_pending_claim, [("NOTHING_TO_COLLECT", AS_IT_STANDS)]),
    (collect_of_a_final_claim, [("NOTHING_TO_COLLECT", AS_IT_STANDS)]),
    (award, [("UNKNOWN_CLAIM", argument(claim_id=NOTHING)), ("NOTHING_TO_AWARD", ALREADY)]),
    (award_of_the_next_but_one, [("NOTHING_TO_AWARD", AS_IT_STANDS)]),
    (award_without_a_result, [("NOTHING_TO_AWARD", AS_IT_STANDS)]),
    (award_paid_already, [("NOTHING_TO_AWARD", AS_IT_STANDS)]),
    (award_of_a_pending_claim_of_the_result, [("NOTHING_TO_AWARD", AS_IT_STANDS)]),
    (reclaim, [("UNKNOWN_REQUEST", argument(request_id=NOTHING)), ("NOT_ALL_FAILED", ALREADY)]),
    (reclaim_of_a_claimed_one, [("NOT_ALL_FAILED", AS_IT_STANDS)]),
    (reclaim_of_one_that_waited_in_line, [("NOT_ALL_FAILED", AS_IT_STANDS)]),
    (reclaim_of_an_answered_one, [("NOT_ALL_FAILED", AS_IT_STANDS)]),
    (reclaim_at_the_deadline, [("NOT_ALL_FAILED", AS_IT_STANDS)]),
    (withdraw, [("NOTHING_TO_WITHDRAW", sender(4))]),
    (withdraw, [("NOTHING_TO_WITHDRAW", ALREADY)]),
]  # fmt: skip
RIGHT = [
    register, request, request_of_a_year, claim, claim_a_second_time, claim_in_the_far_future, challenge, post, post_below_the_root, choose,
    choose_in_the_last_second, open_stage, open_only_stage, open_failed_stage, arbitrate, timeout, finalise, finalise_after_a_tree, expire,
    collect, award, award_after_the_hold, reclaim, reclaim_after_the_hold, reclaim_after_the_hold_in_line, withdraw,
]  # fmt: skip


@cache
def prepared(prepare: Callable[[], Attempt]) -> tuple[Attempt, Any]:
    """An attempt and the chain that it is made on."""
    attempt = prepare()
    return attempt, attempt.dispute.court.snapshot()


def fresh(prepare: Callable[[], Attempt]) -> Attempt:
    attempt, snapshot = prepared(prepare)
    attempt.dispute.court.restore(snapshot)
    return evolve(attempt, dispute=copy(attempt.dispute), arguments=dict(attempt.arguments))


@pytest.mark.parametrize("prepare", RIGHT, ids=lambda prepare: prepare.__name__)
def test_a_right_act_is_accepted(prepare: Callable[[], Attempt]) -> None:
    assert fresh(prepare).error() is None


@pytest.mark.parametrize(
    ("prepare", "faults"), TABLE, ids=[f"{prepare.__name__}-{'-'.join(name for name, _ in faults)}" for prepare, faults in TABLE]
)
def test_the_first_fault_counts(prepare: Callable[[], Attempt], faults: list[tuple[str, Fault]]) -> None:
    for number, (name, _) in enumerate(faults):
        attempt = fresh(prepare)
        backwards = [fault for _, fault in faults[number:]]
        backwards.reverse()
        for fault in sorted(backwards, key=lambda fault: fault.order):
            fault.put(attempt)
        before = attempt.dispute.court.events(), attempt.dispute.court.books()
        assert attempt.error() == name
        assert (attempt.dispute.court.events(), attempt.dispute.court.books()) == before


def test_a_fee_has_a_limit() -> None:
    """A fee of 2^128 wei is refused. The accounts of the tests have less, so this chain gives them more."""
    chain = Chain()
    chain.node = EmbeddedNode([(bytes.fromhex(account[2:]), 2**130) for account in chain.accounts], chain.now)
    dispute = Dispute(type(new_court())(chain, FIXED))
    model_id = dispute.court.register(b"\1" * 32, b"\2" * 32, 1, sender=dispute.requester)
    asked = new("request", dispute, 0, 2**128, model_id=model_id, stage_count=1, data=DATA, deadline=chain.now, bond=BOND, server=ANYONE)
    assert asked.error() == "FEE_RANGE"
    asked.value = 2**128 - 1
    assert asked.error() is None


def test_the_result_of_a_request() -> None:
    dispute = claimed_failure()
    for request_id, name in ((NOTHING, "UNKNOWN_REQUEST"), (dispute.request_id, "NO_RESULT")):
        with pytest.raises(Refused, match=name):
            dispute.court.result_of(request_id)


@pytest.mark.parametrize("move", ["register", "post", "open", "arbitrate", "timeout", "finalise", "expire", "collect", "award", "reclaim",
                                  "withdraw_to"])  # fmt: skip
def test_acts_that_are_not_payable_refuse_money(move: str) -> None:
    """Without a number, whatever their arguments."""
    court = new_court()
    (entry,) = [entry for entry in court.game.artefact.abi if entry.get("name") == move]
    empty = {"bytes32": bytes(32), "bytes": b"", "address": ANYONE, "tuple": (0, 0, 0, bytes(32), bytes(32))}
    arguments = [empty.get(item["type"], 0) for item in entry["inputs"]]
    receipt = court.game.transact(move, *arguments, sender=court.accounts[0], value=1)
    assert (receipt.status, receipt.revert_data) == (False, b"")
