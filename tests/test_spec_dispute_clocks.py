"""Clocks, at their exact borders: nobody loses time by waiting, and at each instant exactly one of two acts is legal."""

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.dispute.clocks import Clock, next_due
from opml_spec.dispute.honest import Trace, answer, finalising
from opml_spec.dispute.objects import Court, NodeState, child_id
from opml_spec.dispute.tree import with_node
from opml_spec.errors import SpecError
from spec_dispute import CHALLENGER, PARAMETERS, PUPPET, SERVER, START_TIME, Table

E, P, W = PARAMETERS.effort, PARAMETERS.priority, PARAMETERS.window
T_SERVER, T_CHALLENGER = PARAMETERS.server_time, PARAMETERS.challenger_time

times = st.integers(0, 1 << 40)
spans = st.integers(0, 1 << 25)


def legal(table: Table, name: str, *arguments: Any, sender: bytes = PUPPET, value: int = 0) -> bool:
    """Whether the act would be accepted now."""
    before = table.court
    try:
        table.act(name, *arguments, sender=sender, value=value)
    except SpecError:
        return False
    finally:
        table.court = before
    return True


@given(times, spans, times)
def test_a_server_is_late_from_the_due_time_on(due: int, late: int, since: int) -> None:
    clock = Clock(due, 3, 5, since)
    assert clock.late(max(0, due - late), 0, E) == 0
    assert clock.late(due + late, 0, E) == late
    answered = clock.answered(due + late, 2)
    assert answered == Clock(due, 1, 5, due + late)


@given(times, spans, st.integers(1, 1 << 40), times)
def test_a_server_that_lost_is_due_soon(opened: int, queue: int, lost_at: int, now: int) -> None:
    """At the latest E after its opening and after the fall, however long the queue was; and never before what a fresh node has."""
    clock = Clock(opened + E + queue, 3, 5, opened)
    late = clock.late(now, lost_at, E)
    assert late >= clock.late(now, 0, E)
    assert late == max(0, now - min(opened + E + queue, max(opened, lost_at) + E))
    assert late == 0 or now > opened + E


@given(times, times, spans, st.integers(-1000, 1 << 25))
def test_a_child_inherits_what_is_left(since: int, closes_at: int, left: int, after: int) -> None:
    clock = Clock(0, 7, left, since)
    start = max(since, closes_at)
    now = start + min(after, left)
    assert clock.last_choice(closes_at) == start + left
    child = clock.child(9, closes_at, now)
    assert child == Clock(9, 7, left - max(0, min(after, left)), now)
    assert child.challengers_left >= 0


@given(st.lists(st.integers(0, 50), max_size=20))
def test_due_times_leave_time_for_each_node(gaps: list[int]) -> None:
    """Due times are at least E apart and at least E after the opening, and none is later than the work before it needs."""
    now, due, opened = 0, 0, []
    for gap in gaps:
        now += gap
        before, due = due, next_due(due, now, E)
        opened.append(now)
        assert due - max(now, before) == E
        assert due == max(start + E * (len(opened) - i) for i, start in enumerate(opened))


def test_one_of_answer_and_timeout_is_legal_at_each_instant() -> None:
    table = Table()
    told = table.trace()
    table.asked().claimed(told.run_hash).challenged()
    move = answer(table.court, table.root, told)
    for late in (-E, -1, 0, 1, T_SERVER - 1, T_SERVER, T_SERVER + 1, T_SERVER + 1_000):
        table.now = START_TIME + E + late
        assert legal(table, move.name, *move.arguments, sender=SERVER) == (late <= T_SERVER)
        assert legal(table, "timeout", table.root) == (late > T_SERVER)


def test_the_servers_time_is_that_of_a_path() -> None:
    """What it was late by at a node is missing below, and only there."""
    table = Table()
    told = table.trace()
    table.asked().claimed(told.run_hash).challenged()
    table.now = table.node().clock.due + 150
    table.answered(told)
    assert table.node().clock.server_left == T_SERVER - 150
    table.chosen(0).chosen(1)
    left, right = child_id(table.root, 0), child_id(table.root, 1)
    assert table.node(left).clock.due == table.now + E
    assert table.node(right).clock.due == table.now + 2 * E
    table.now = table.node(left).clock.due + 250
    assert legal(table, *unpack(table, left, told), sender=SERVER)
    assert not legal(table, "timeout", left)
    table.now += 1
    assert legal(table, "timeout", left)
    table.now -= 1
    table.answered(told, left)
    assert table.node(left).clock.server_left == 0
    table.answered(told, right)
    assert table.node(right).clock.server_left == 20


def unpack(table: Table, node_id: bytes, told: Trace) -> tuple[Any, ...]:
    """The server's answer, as `legal` takes it."""
    move = answer(table.court, node_id, told)
    return (move.name, *move.arguments)


def test_due_times_count_over_all_claims_of_a_server_and_of_no_other() -> None:
    table = Table().asked().claimed(bytes(32)).challenged()
    table.claimed(b"\1" * 32).challenged()
    assert table.node().clock.due == START_TIME + 2 * E
    table.claimed(b"\1" * 32, server=PUPPET).challenged()
    assert table.node().clock.due == START_TIME + E
    assert table.court.server_due == {SERVER: START_TIME + 2 * E, PUPPET: START_TIME + E}


def test_a_claim_that_is_conceded_gives_its_server_no_time() -> None:
    """A liar opens many nodes of a claim of its own, then a validator opens one elsewhere: when the liar concedes, that one is due."""
    table = Table()
    told = table.trace()
    table.asked().claimed(bytes(32)).challenged(PUPPET)
    conceded = table.root
    table.court = with_due(table, conceded, START_TIME - T_SERVER)
    table.court = evolve(table.court, server_due={SERVER: START_TIME + 1_000 * E})
    table.claimed(told.run_hash).challenged()
    other = table.root
    due = table.node(other).clock.due
    assert due == START_TIME + 1_001 * E
    table.now += 300
    table.act("timeout", conceded)
    assert table.court.server_lost_at == {SERVER: table.now}
    lost_at, move = table.now, unpack(table, other, told)
    for late in (-E, 0, 1, T_SERVER, T_SERVER + 1):
        table.now = lost_at + E + late
        assert legal(table, *move, sender=SERVER) == (late <= T_SERVER)
        assert legal(table, "timeout", other) == (late > T_SERVER)
    table.now = lost_at + E + 9
    table.answered(told, other)
    assert table.node(other).clock == Clock(due, T_SERVER - 9, T_CHALLENGER, table.now)
    table.chosen(0)  # due after all before it, but the queue counts no more
    child = child_id(other, 0)
    opened = table.now
    table.now = opened + E + T_SERVER - 9
    assert not legal(table, "timeout", child)
    table.now += 1
    assert legal(table, "timeout", child)
    table.act("timeout", child)
    assert table.court.server_lost_at == {SERVER: lost_at}


def test_a_claim_that_expires_gives_its_server_no_time() -> None:
    """A liar answers many nodes of a claim of its own and never shows the result: when that claim expires, its other nodes are due."""
    table = Table()
    told = table.trace()
    table.asked().claimed(told.run_hash).challenged(PUPPET).answered(told)
    silent = table.claim_id
    table.court = evolve(table.court, server_due={SERVER: START_TIME + 1_000 * E})
    table.now = table.claim.settles_at + PARAMETERS.grace + 1
    table.asked(deadline=table.now).claimed(bytes(32)).challenged()
    assert table.node().clock.due == START_TIME + 1_001 * E > table.now + E + T_SERVER
    table.act("expire", silent)
    assert table.court.server_lost_at == {SERVER: table.now}
    lost_at = table.now
    table.now = lost_at + E + T_SERVER
    assert not legal(table, "timeout", table.root)
    table.now += 1
    table.act("timeout", table.root)
    assert table.court.server_lost_at == {SERVER: lost_at}


def test_the_fall_of_a_claim_leaves_other_servers_alone() -> None:
    table = Table().asked().claimed(bytes(32)).challenged(PUPPET)
    fell = table.root
    table.claimed(bytes(32), PUPPET).challenged()
    table.court = with_due(table, table.root, table.now + 1_000 * E)
    table.court = with_due(table, fell, START_TIME - T_SERVER - 1)
    table.act("timeout", fell)
    table.now += 1_000 * E + T_SERVER
    assert not legal(table, "timeout", table.root)


def test_the_challengers_time_does_not_run_while_the_claim_could_not_be_final_anyway() -> None:
    table = Table()
    told = table.trace()
    table.asked().claimed(told.run_hash).challenged().answered(told)
    closes_at = table.claim.closes_at
    assert table.claim.settles_at == closes_at + T_CHALLENGER
    table.now = closes_at
    table.chosen(0)
    assert table.node(child_id(table.root, 0)).clock.challengers_left == T_CHALLENGER
    table.now += 17
    table.chosen(1)
    assert table.node(child_id(table.root, 1)).clock.challengers_left == T_CHALLENGER - 17


def test_one_of_choose_and_finalise_is_legal_at_each_instant() -> None:
    table = Table()
    told = table.trace()
    table.asked().claimed(told.run_hash).challenged().answered(told)
    node, final = table.node(), finalising(table.claim_id, told)
    last = table.claim.closes_at + T_CHALLENGER
    for now in (table.now + P, table.claim.closes_at, last - 1, last, last + 1, last + 1_000):
        table.now = now
        chosen = legal(table, "choose", table.root, node.segment, node.posted, 0, value=PARAMETERS.node_bond)
        assert chosen == (now <= last)
        assert legal(table, final.name, *final.arguments) == (now > last)


def test_a_choice_in_the_last_second_leaves_the_child_none() -> None:
    """The server answers, and the claim settles at once; nobody could choose below any more but in the same second."""
    table = Table()
    told = table.trace()
    table.asked().claimed(told.run_hash).challenged().answered(told)
    table.now = table.claim.settles_at
    table.chosen(0)
    at = child_id(table.root, 0)
    assert table.node(at).clock.challengers_left == 0
    table.now += 5
    table.answered(told, at)
    assert table.claim.settles_at == table.now
    table.refused(242, "choose", at, table.node(at).segment, table.node(at).posted, 0, value=PARAMETERS.node_bond)
    table.now += 1  # now it is too late as well, and the first of the two is named
    table.refused(242, "choose", at, table.node(at).segment, table.node(at).posted, 0, value=PARAMETERS.node_bond)
    table.refused(217, "choose", at, table.node(at).segment, table.node(at).posted, 9, sender=CHALLENGER, value=PARAMETERS.node_bond)
    table.finalised(told)


def test_only_the_opener_chooses_for_a_while() -> None:
    table = Table()
    told = table.trace()
    table.asked().claimed(told.run_hash).challenged().answered(told)
    arguments = ("choose", table.root, table.node().segment, table.node().posted, 0)
    for after in (0, P - 1, P, P + 1):
        table.now = START_TIME + after
        assert legal(table, *arguments, sender=PUPPET, value=PARAMETERS.node_bond) == (after >= P)
        assert legal(table, *arguments, sender=CHALLENGER, value=PARAMETERS.node_bond)


def test_one_path_ends_within_the_hold() -> None:
    """Both sides play as late as they may, from the last challenge on; then there is still the grace to finalise."""
    table = Table()
    told = table.trace()
    table.asked().claimed(told.run_hash)
    table.now = table.claim.closes_at - 1
    table.challenged()
    at = table.root
    while table.node(at).state is not NodeState.ANSWERED:
        table.now = table.node(at).clock.due + table.node(at).clock.server_left
        table.answered(told, at)
        if table.node(at).state is NodeState.POSTED:
            table.now = table.node(at).clock.last_choice(table.claim.closes_at)
            table.chosen(0, at)
            at = child_id(at, 0)
    table.finalised(told)
    spent = table.now - table.claim.closes_at
    assert T_SERVER + T_CHALLENGER < spent <= PARAMETERS.hold - PARAMETERS.grace


@pytest.mark.parametrize("late", [0, 5_000])
def test_a_late_last_answer_leaves_the_server_the_grace(late: int) -> None:
    """A queue of questions may put the last answer far behind closes_at + grace: `expire` must still not be legal at once."""
    table = Table()
    told = table.trace()
    table.asked().claimed(told.run_hash).challenged().answered(told)
    table.now = table.claim.settles_at
    table.chosen(0)
    at = child_id(table.root, 0)
    table.answered(told, at)
    table.chosen(0, at)
    at = child_id(at, 0)
    table.answered(told, at)
    table.chosen(0, at)
    at = child_id(at, 0)
    table.court = with_due(table, at, table.now + late)
    table.now += late
    table.answered(told, at)
    settled = table.now
    table.refused(247, "expire", table.claim_id)
    table.refused(245, "finalise", table.claim_id, bytes(32), 0, b"", b"")
    table.now = settled + PARAMETERS.grace
    table.refused(247, "expire", table.claim_id)
    table.finalised(told)


def with_due(table: Table, node_id: bytes, due: int) -> Court:
    """The court, as if so many other nodes had been opened before."""
    node = table.node(node_id)
    return with_node(table.court, node_id, evolve(node, clock=evolve(node.clock, due=due)))
