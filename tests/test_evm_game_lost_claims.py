"""What a server's first lost claim changes: from then on, nothing else that it is asked excuses it at its nodes (spec §5.5)."""

import pytest
from attrs import evolve
from evm_dispute import MODEL, Dispute, new_court, refusal
from evm_machine import machine
from evm_many_nodes import busy, concede, due_of, junk

from evm_arbiter.objects import Fallen

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
    """Other servers' claims do not count, and an expired claim has not fallen."""
    court = new_court()
    expired, idle, first, second = Dispute(court).asked().claimed(), court.accounts[6], junk(court, 2).narrow(), junk(court, 2).narrow()
    other = junk(court, 2, server_number=3).narrow()
    server, elsewhere = first.server, other.server
    court.set_time(court.claim_of(expired.claim_id).closes_at + FIXED.grace + 1)
    court.expire(expired.claim_id, sender=idle)
    assert court.account_of(server).lost_at == 0
    falls = []
    for claim, who in ((first, server), (second, server), (other, elsewhere)):
        court.set_time(court.now + 7)
        claim.timeout()
        falls.append(court.now)
        assert court.account_of(who).lost_at == falls[0 if who == server else 2]
    assert [event.at for event in court.events() if isinstance(event, Fallen)] == falls
    assert court.account_of(idle).lost_at == 0


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
