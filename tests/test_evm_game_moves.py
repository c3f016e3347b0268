"""Every move of the game contract is accepted when it is right, and refused by the first of its checks that fails.

For each move there is one attempt that is right and the faults that can be put into it, in the order of the checks. Faults i, i + 1, …
all at once must be refused with the number of fault i, so both the numbers and their order are tested.
"""

from collections.abc import Callable
from copy import copy
from functools import cache
from typing import Any

import pytest
from attrs import define, evolve
from evm_dispute import ADDI, FEE, FINAL, Dispute, carry_of, left_of, new_court, run_hash
from evm_machine import RUNNING, TRAPPED, Machine, machine, witness

from evm_arbiter.court import ANYONE, Refused
from evm_arbiter.parameters import Parameters

NOTHING = b"\x99" * 32  # the id or the hash of nothing
WINDOW, SERVER_TIME = Parameters().window_seconds, Parameters().server_seconds
SERVER_BOND, CHALLENGER_BOND = Parameters().server_bond_wei, Parameters().challenger_bond_wei


@define
class Attempt:
    """A move that is about to be tried."""

    dispute: Dispute
    move: str
    arguments: dict[str, Any]
    sender: str
    value: int | None = None

    def error(self) -> str | None:
        """The name of what refuses it, None if it is accepted."""
        money = {} if self.value is None else {"value": self.value}
        try:
            getattr(self.dispute.court, self.move)(**self.arguments, sender=self.sender, **money)
        except Refused as refusal:
            return refusal.name
        return None


Fault = Callable[[Attempt], None]


def argument(**values: Any) -> Fault:
    return lambda attempt: attempt.arguments.update(values)


def segment(**values: Any) -> Fault:
    return lambda attempt: attempt.arguments.update(segment=evolve(attempt.arguments["segment"], **values))


def sender(number: int) -> Fault:
    return lambda attempt: setattr(attempt, "sender", attempt.dispute.court.accounts[number])


def value(wei: int) -> Fault:
    return lambda attempt: setattr(attempt, "value", wei)


def later(seconds: int) -> Fault:
    return lambda attempt: attempt.dispute.court.set_time(attempt.dispute.court.now + seconds)


def rejected(attempt: Attempt) -> None:
    """Another challenger's game voids this one."""
    other = copy(attempt.dispute)
    other.challenged(other.court.accounts[5])
    later(SERVER_TIME + 1)(attempt)
    other.timeout()


def timed_out(attempt: Attempt) -> None:
    """The server loses this game."""
    later(SERVER_TIME + 1)(attempt)
    attempt.dispute.timeout()


def challenged(attempt: Attempt) -> None:
    """A game is open."""
    attempt.dispute.challenged()


def already(attempt: Attempt) -> None:
    """Makes the same move before the attempt."""
    assert attempt.error() is None


def nothing(attempt: Attempt) -> None:
    """The attempt is wrong as it stands."""


# Right attempts


def new(move: str, dispute: Dispute, sender: int, value: int | None = None, **arguments: Any) -> Attempt:
    return Attempt(dispute, move, arguments, dispute.court.accounts[sender], value)


def request() -> Attempt:
    dispute = Dispute(new_court())
    model_id = dispute.court.register(b"\1" * 32, b"\2" * 32, sender=dispute.requester)
    now = dispute.court.now
    return new("request", dispute, 0, FEE, model_id=model_id, stage_count=2**24, data=bytes(16384), deadline=now, server=ANYONE)


def claim() -> Attempt:
    dispute = Dispute(new_court())
    dispute.asked(dispute.server, deadline=dispute.court.now)
    return new("claim", dispute, 1, SERVER_BOND, request_id=dispute.request_id, run_hash=NOTHING)


def challenge() -> Attempt:
    dispute = Dispute(new_court()).asked().claimed()
    dispute.court.set_time(dispute.court.now + WINDOW - 1)
    return new("challenge", dispute, 2, CHALLENGER_BOND, claim_id=dispute.claim_id)


def post() -> Attempt:
    dispute = Dispute(new_court()).started()
    return new("post", dispute, 1, game_id=dispute.game_id, segment=dispute.last()[0], hashes=dispute.inner_hashes())


def post_about_one_stage() -> Attempt:
    dispute = Dispute(new_court()).started().narrow()
    return new("post", dispute, 1, game_id=dispute.game_id, segment=dispute.last()[0], hashes=bytes(64))


def choose() -> Attempt:
    dispute = Dispute(new_court()).started()
    dispute.post()
    of, hashes = dispute.last()
    return new("choose", dispute, 2, game_id=dispute.game_id, segment=of, hashes=hashes, part=3)


def choose_of_nothing() -> Attempt:
    """The server, on its own turn, tries the challenger's move."""
    dispute = Dispute(new_court()).started()
    return new("choose", dispute, 1, game_id=dispute.game_id, segment=dispute.last()[0], hashes=b"", part=9)


def opening(dispute: Dispute) -> Attempt:
    return new(
        "open", dispute, 1, game_id=dispute.game_id, segment=dispute.last()[0], start_carry=dispute.start_carry, start_status=0,
        steps=dispute.steps, final_state=dispute.final.encode(), left_root=left_of(dispute.final.memory),
        final_carry=carry_of(dispute.final.memory),
    )  # fmt: skip


def open_stage() -> Attempt:
    return opening(Dispute(new_court()).started().narrow())


def open_many_stages() -> Attempt:
    return opening(Dispute(new_court()).started())


def open_a_step() -> Attempt:
    return opening(Dispute(new_court()).started().narrow().open().narrow())


def arbitrate() -> Attempt:
    dispute = Dispute(new_court()).started().narrow().open().narrow()
    return new("arbitrate", dispute, 9, game_id=dispute.game_id, segment=dispute.last()[0], witness=witness(dispute.before))


def arbitrate_a_stage() -> Attempt:
    dispute = Dispute(new_court()).started().narrow()
    return new("arbitrate", dispute, 9, game_id=dispute.game_id, segment=dispute.last()[0], witness=b"")


def arbitrate_many_steps() -> Attempt:
    dispute = Dispute(new_court()).started().narrow().open()
    return new("arbitrate", dispute, 9, game_id=dispute.game_id, segment=dispute.last()[0], witness=b"")


def timeout_too_early() -> Attempt:
    dispute = Dispute(new_court()).started()
    return new("timeout", dispute, 9, game_id=dispute.game_id, segment=dispute.last()[0], hashes=b"")


def timeout() -> Attempt:
    attempt = timeout_too_early()
    later(SERVER_TIME + 1)(attempt)
    return attempt


def finalise_too_early() -> Attempt:
    dispute = Dispute(new_court(), start_status=1)
    dispute.asked().claimed(run_hash(dispute.start_carry, 1))
    return new("finalise", dispute, 9, claim_id=dispute.claim_id, carry=dispute.start_carry, status=1, output=b"", proof=b"")


def finalise() -> Attempt:
    attempt = finalise_too_early()
    later(WINDOW)(attempt)
    return attempt


def finalise_with_a_game() -> Attempt:
    attempt = finalise_too_early()
    challenged(attempt)
    later(WINDOW)(attempt)
    return attempt


def finalise_with_two_games() -> Attempt:
    attempt = finalise_too_early()
    challenged(attempt)
    challenged(attempt)
    later(WINDOW)(attempt)
    return attempt


def collect() -> Attempt:
    attempt = post()
    timed_out(attempt)
    return new("collect", attempt.dispute, 9, game_id=attempt.dispute.game_id)


def collect_of_an_open_claim() -> Attempt:
    dispute = Dispute(new_court()).started()
    return new("collect", dispute, 2, game_id=dispute.game_id)


def reclaim() -> Attempt:
    dispute = Dispute(new_court()).asked(deadline=new_court().now)
    dispute.court.set_time(dispute.court.now + 1)
    return new("reclaim", dispute, 0, request_id=dispute.request_id)


def reclaim_of_a_claimed_one() -> Attempt:
    dispute = Dispute(new_court()).asked().claimed()
    dispute.court.set_time(dispute.court.now + 1001)
    return new("reclaim", dispute, 0, request_id=dispute.request_id)


def reclaim_of_an_answered_one() -> Attempt:
    attempt = finalise()
    assert attempt.error() is None
    return new("reclaim", attempt.dispute, 0, request_id=attempt.dispute.request_id)


def reclaim_at_the_deadline() -> Attempt:
    dispute = Dispute(new_court()).asked(deadline=new_court().now)
    return new("reclaim", dispute, 0, request_id=dispute.request_id)


def withdraw() -> Attempt:
    attempt = reclaim()
    assert attempt.error() is None
    return new("withdraw_to", attempt.dispute, 0, to=attempt.dispute.court.accounts[8])


OF_A_GAME: list[tuple[str, Fault]] = [
    ("UNKNOWN_GAME", argument(game_id=NOTHING)),
    ("GAME_OVER", rejected),
    ("STALE_POSITION", segment(turn=77)),
    ("NOT_YOUR_TURN", sender(3)),
    ("OUT_OF_TIME", later(SERVER_TIME + 1)),
]
OF_ANYBODY = [fault for fault in OF_A_GAME if fault[0] != "NOT_YOUR_TURN"]

TABLE: list[tuple[Callable[[], Attempt], list[tuple[str, Fault]]]] = [
    (request, [("UNKNOWN_MODEL", argument(model_id=NOTHING)), ("STAGE_COUNT", argument(stage_count=0)),
               ("REQUEST_TOO_LONG", argument(data=bytes(16385))), ("DEADLINE", later(1))]),
    (request, [("STAGE_COUNT", argument(stage_count=2**24 + 1))]),
    (claim, [("UNKNOWN_REQUEST", argument(request_id=NOTHING)), ("WRONG_VALUE", value(SERVER_BOND - 1)), ("DEADLINE", later(1)),
             ("NOT_THE_SERVER", sender(4))]),
    (claim, [("WRONG_VALUE", value(SERVER_BOND + 1))]),
    (challenge, [("UNKNOWN_CLAIM", argument(claim_id=NOTHING)), ("WRONG_VALUE", value(CHALLENGER_BOND + 1)),
                 ("CLAIM_NOT_PENDING", rejected)]),  # by then the window is closed as well
    (challenge, [("WINDOW_CLOSED", later(1))]),
    (challenge, [("WRONG_VALUE", value(CHALLENGER_BOND - 1))]),
    (post, [*OF_A_GAME, ("WRONG_COUNT", argument(hashes=bytes(64)))]),
    (post, [("WRONG_COUNT", argument(hashes=bytes(95)))]),
    (post, [("WRONG_COUNT", argument(hashes=b""))]),
    (post, [("WRONG_COUNT", argument(hashes=bytes(2048)))]),
    (post, [("GAME_OVER", timed_out)]),
    (post, [("STALE_POSITION", already)]),
    (post, [("NOT_YOUR_TURN", sender(2))]),
    *[(post, [("STALE_POSITION", segment(**change))]) for change in (
        {"phase": 2}, {"lo": 1}, {"hi": 7}, {"agreed": NOTHING}, {"disputed": NOTHING})],
    (post_about_one_stage, [*OF_A_GAME, ("WRONG_MOVE", nothing)]),
    (choose, [*OF_A_GAME, ("NO_SUCH_PART", argument(part=4))]),
    (choose, [("NO_SUCH_PART", argument(part=255))]),
    (choose, [("STALE_POSITION", argument(hashes=b""))]),
    (choose, [("STALE_POSITION", argument(hashes=bytes(96)))]),
    (choose, [("NOT_YOUR_TURN", sender(1))]),
    (choose_of_nothing, [*OF_A_GAME, ("WRONG_MOVE", nothing)]),
    (open_stage, [*OF_A_GAME, ("WRONG_START", argument(start_carry=NOTHING)), ("STEP_COUNT", argument(steps=0)),
                  ("STATE_UNDECODABLE", argument(final_state=Machine(kind=3).encode()))]),
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
    (open_many_stages, [*OF_A_GAME, ("WRONG_MOVE", nothing)]),
    (open_a_step, [("WRONG_MOVE", nothing)]),
    (arbitrate, [*OF_ANYBODY, ("WITNESS_TRUNCATED", argument(witness=bytes(200)))]),
    (arbitrate, [("WRONG_STATE", argument(witness=witness(machine(ADDI, {1: 1}))))]),
    (arbitrate, [("WITNESS_TRAILING", lambda attempt: attempt.arguments.update(witness=attempt.arguments["witness"] + b"!"))]),
    (arbitrate_a_stage, [*OF_ANYBODY, ("WRONG_MOVE", nothing)]),
    (arbitrate_many_steps, [("WRONG_MOVE", nothing)]),
    (timeout, [("UNKNOWN_GAME", argument(game_id=NOTHING)), ("GAME_OVER", already)]),
    (timeout, [("GAME_OVER", rejected), ("STALE_POSITION", argument(hashes=bytes(96)))]),
    (timeout_too_early, [("STALE_POSITION", segment(turn=1)), ("NOT_OUT_OF_TIME", nothing)]),
    (finalise, [("UNKNOWN_CLAIM", argument(claim_id=NOTHING)), ("CLAIM_NOT_PENDING", already)]),
    (finalise_too_early, [("CLAIM_NOT_PENDING", rejected), ("WINDOW_OPEN", challenged)]),
    (finalise_too_early, [("CLAIM_NOT_PENDING", rejected), ("WINDOW_OPEN", argument(carry=NOTHING))]),
    (finalise_too_early, [("WINDOW_OPEN", later(WINDOW - 1))]),
    (finalise_with_a_game, [("GAMES_OPEN", argument(carry=NOTHING))]),
    (finalise_with_two_games, [("GAMES_OPEN", nothing)]),
    *[(finalise, [("WRONG_OUTPUT", argument(**change))]) for change in (
        {"status": 0}, {"status": 2}, {"output": bytes(32)}, {"proof": bytes(5)})],
    (collect, [("UNKNOWN_GAME", argument(game_id=NOTHING)), ("NOTHING_TO_COLLECT", already)]),
    (collect_of_an_open_claim, [("NOTHING_TO_COLLECT", nothing)]),
    (reclaim, [("UNKNOWN_REQUEST", argument(request_id=NOTHING)), ("NOT_THE_REQUESTER", sender(4)), ("NOT_ALL_FAILED", already)]),
    (reclaim_of_a_claimed_one, [("NOT_ALL_FAILED", nothing)]),
    (reclaim_of_an_answered_one, [("NOT_ALL_FAILED", nothing)]),
    (reclaim_at_the_deadline, [("NOT_ALL_FAILED", nothing)]),
    (withdraw, [("NOTHING_TO_WITHDRAW", sender(4))]),
    (withdraw, [("NOTHING_TO_WITHDRAW", already)]),
]  # fmt: skip
RIGHT = [request, claim, challenge, post, choose, open_stage, arbitrate, timeout, finalise, collect, reclaim, withdraw]


@cache
def prepared(prepare: Callable[[], Attempt]) -> tuple[Attempt, Any]:
    """An attempt and the chain that it is made on."""
    attempt = prepare()
    return attempt, attempt.dispute.court.snapshot()


def fresh(prepare: Callable[[], Attempt]) -> Attempt:
    attempt, snapshot = prepared(prepare)
    attempt.dispute.court.restore(snapshot)
    return Attempt(copy(attempt.dispute), attempt.move, dict(attempt.arguments), attempt.sender, attempt.value)


@pytest.mark.parametrize("prepare", RIGHT, ids=lambda prepare: prepare.__name__)
def test_a_right_move_is_accepted(prepare: Callable[[], Attempt]) -> None:
    assert fresh(prepare).error() is None


@pytest.mark.parametrize(
    ("prepare", "faults"), TABLE, ids=[f"{prepare.__name__}-{'-'.join(name for name, _ in faults)}" for prepare, faults in TABLE]
)
def test_the_first_fault_counts(prepare: Callable[[], Attempt], faults: list[tuple[str, Fault]]) -> None:
    for number, (name, _) in enumerate(faults):
        attempt = fresh(prepare)
        for _, fault in reversed(faults[number:]):
            fault(attempt)
        before = attempt.dispute.court.events(), attempt.dispute.court.totals()
        assert attempt.error() == name
        assert (attempt.dispute.court.events(), attempt.dispute.court.totals()) == before
