"""What a server's first lost claim changes: from then on, nothing else that it is asked excuses it at its nodes (spec §5.5)."""

import pytest
from attrs import evolve
from evm_dispute import BOND, FEE, MODEL, Dispute, new_court, refusal
from evm_machine import machine
from evm_many_nodes import busy, concede, due_of, junk

from evm_arbiter.objects import Expired, Fallen
from evm_arbiter.parameters import share_of

FIXED = new_court().parameters
E = FIXED.effort


@pytest.mark.parametrize(("fall", "due"), [(0, E), (E, 2 * E), (3 * E, 4 * E), (7 * E - 1, 8 * E - 1), (7 * E, 8 * E), (8 * E + 1, 8 * E)])
@pytest.mark.parametrize("late", [1, 1000, FIXED.server_time, FIXED.server_time + 1])
def test_a_server_that_lost_is_excused_no_longer(fall: int, due: int, late: int) -> None:
    """A node that was due after seven others is due an effort after the fall of another claim, if that is earlier."""
    court = new_court()
    start, lost = court.now, junk(court, 2).narrow()
    busy(court)
    dispute = Dispute(court).started()
    before = court.node_of(dispute.node_id)
    assert before.due == start + 8 * E
    court.set_time(start + fall)
    concede(lost)
    assert court.account_of(dispute.server).lost_at == start + fall
    assert court.account_of(dispute.server).due == start + 8 * E, "of this the fall takes nothing"
    assert due_of(dispute) == start + due
    court.set_time(start + due + late)
    in_time = late <= FIXED.server_time
    assert refusal(dispute.timeout if in_time else dispute.post) == ("NOT_OUT_OF_TIME" if in_time else "OUT_OF_TIME")
    assert refusal(dispute.post if in_time else dispute.timeout) is None
    after = court.node_of(dispute.node_id)
    assert after.due == before.due
    assert after.server_left == FIXED.server_time - late * in_time


def test_when_a_server_lost_is_the_time_of_the_first_fall_alone() -> None:
    """Other servers' claims do not count."""
    court = new_court()
    idle, first, second = court.accounts[6], junk(court, 2).narrow(), junk(court, 2).narrow()
    other = junk(court, 2, server_number=3).narrow()
    server, elsewhere = first.server, other.server
    court.set_time(court.node_of(other.node_id).due + FIXED.server_time)
    falls = []
    for claim, who in ((first, server), (second, server), (other, elsewhere)):
        court.set_time(court.now + 700)
        claim.timeout()
        falls.append(court.now)
        assert court.account_of(who).lost_at == falls[0 if who == server else 2]
    assert [event.at for event in court.events() if isinstance(event, Fallen)] == falls
    assert court.account_of(idle).lost_at == 0


@pytest.mark.parametrize("expires_first", [True, False])
def test_a_server_has_lost_with_its_first_claim_that_expires_or_falls(expires_first: bool) -> None:
    """Whoever makes the claim expire, or was its requester, has not."""
    court = new_court()
    silent, idle, false = Dispute(court).asked().claimed(), court.accounts[6], junk(court, 2).narrow()
    server = silent.server
    court.set_time(court.claim_of(silent.claim_id).closes_at + FIXED.grace + 1)
    lost_at = court.now
    ends = [lambda: court.expire(silent.claim_id, sender=idle), false.timeout]
    for end in ends if expires_first else reversed(ends):
        end()
        assert court.account_of(server).lost_at == lost_at
        court.set_time(court.now + 7)
    (expired,) = (event for event in court.events() if isinstance(event, Expired))
    assert expired == Expired(silent.claim_id, lost_at if expires_first else lost_at + 7)
    assert [court.account_of(who).lost_at for who in (silent.requester, idle)] == [0, 0]


def test_a_server_whose_own_request_fails_keeps_what_it_is_credited() -> None:
    """The requester's share and the time of the loss go to one slot, if the server asked itself."""
    court = new_court()
    own = Dispute(court, server_number=0).asked().claimed()
    assert own.requester == own.server
    other = evolve(own).asked()
    court.set_time(court.request_of(other.request_id).deadline + 1)
    court.reclaim(other.request_id, sender=court.accounts[6])
    before = court.account_of(own.server)
    assert before.credited == FEE
    court.set_time(court.claim_of(own.claim_id).closes_at + FIXED.grace + 1)
    court.expire(own.claim_id, sender=court.accounts[6])
    paid = share_of(FIXED, BOND)
    assert court.account_of(own.server) == evolve(before, credited=before.credited + paid, lost_at=court.now)


def test_the_node_of_a_server_that_lost_keeps_its_clock_while_one_step_waits_for_the_arbiter() -> None:
    """The opening of such a stage gives no time: it is late since the node was opened."""
    court = new_court()
    concede(junk(court, 2).narrow())
    before = machine(0x73, {10: 3}, memory=MODEL.memory)  # an ECALL that traps, since a7 is not 93
    dispute = Dispute(court, steps=1, step=0, before=before, model=before.memory, final=before.trap(8)).started()
    dispute.post()
    busy(court)
    dispute.choose()
    dispute.narrow()
    opened = court.node_of(dispute.node_id)
    assert opened.due > opened.since + 5 * E
    court.set_time(opened.since + E + 100)
    dispute.open()
    assert court.node_of(dispute.node_id) == evolve(opened, commitment=court.node_of(dispute.node_id).commitment)
    court.set_time(court.now + 100)
    dispute.arbitrate()
    assert court.node_of(dispute.node_id).server_left == opened.server_left - 200
