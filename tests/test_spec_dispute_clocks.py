"""Clocks, at their exact borders: nobody loses time by waiting, and at each instant exactly one of two acts is legal."""

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.dispute.clocks import Clock, next_due
from opml_spec.dispute.honest import Trace, answer, finalising
from opml_spec.dispute.objects import Court, child_id
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


@given(times, spans, spans, times)
def test_an_answer_takes_only_what_it_is_late_by(due: int, left: int, late: int, posted_at: int) -> None:
    clock = Clock(due, left, 5, posted_at)
    early = clock.answered(max(0, due - late))
    assert early == clock
    if clock.server_in_time(due + late):
        assert clock.answered(due + late).server_left == left - late >= 0
    assert clock.server_in_time(due + late) == (late <= left)


@given(times, times, spans, st.integers(-1000, 1 << 25))
def test_a_child_inherits_what_is_left(posted_at: int, closes_at: int, left: int, after: int) -> None:
    clock = Clock(0, 7, left, posted_at)
    start = max(posted_at, closes_at)
    now = start + min(after, left)
    assert clock.last_choice(closes_at) == start + left
    child = clock.child(9, closes_at, now)
    assert child == Clock(9, 7, left - max(0, min(after, left)))
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
