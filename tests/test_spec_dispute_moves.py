"""Moves in the tree: each with its effects, and its errors in the order of the page (faults i, i + 1, … at once are refused with i)."""

from typing import Any

import pytest
from attrs import evolve
from opml_spec.dispute.honest import Trace, answer, next_move, opening
from opml_spec.dispute.narrowing import Phase, Segment
from opml_spec.dispute.objects import ClaimStatus, NodeState, child_id, root_id, seal
from opml_spec.hashing import hash_pair, keccak256
from opml_spec.machine.merkle import ZERO, hash_of
from opml_spec.machine.state import RUNNING, Kind, Status, encode, state_hash
from opml_spec.machine.step import ENTRY
from opml_spec.machine.witness import make_witness
from opml_spec.runs.run import STAGE_STEP_LIMIT
from spec_dispute import (
    CHALLENGER,
    HALT,
    PARAMETERS,
    PUPPET,
    ROOT_BOND,
    SERVER,
    START_TIME,
    STRANGER,
    TRAP,
    UNKNOWN,
    Table,
    memory_of,
    wrong_register,
)

LATE = PARAMETERS.effort + PARAMETERS.server_time + 1  # after a node was opened with nothing else due


def disputed(stages: int = 3) -> tuple[Table, Trace]:
    """A true claim, challenged."""
    table = Table(stages=stages)
    told = table.trace()
    return table.asked().claimed(told.run_hash).challenged(), told


def rejected(table: Table) -> Table:
    """This table after the root was not answered in time."""
    table.now += LATE
    table.act("timeout", table.root)
    return table


def test_challenge() -> None:
    table = Table().asked().claimed(UNKNOWN)
    good: tuple[Any, ...] = ("challenge", table.claim_id)
    table.refused(203, "challenge", UNKNOWN, value=1)
    for value in (0, ROOT_BOND - 1, ROOT_BOND + 1):
        table.refused(205, *good, value=value)
    table.now = table.claim.closes_at
    table.refused(211, *good, value=ROOT_BOND)
    table.now -= 1
    table.basefee = 2
    table.act(*good, sender=CHALLENGER, value=ROOT_BOND)
    node, request = table.node(), table.court.requests[table.request_id]
    assert table.root == root_id(table.claim_id)
    assert node.segment == Segment(1, 0, 3, request.first_run_hash, seal(UNKNOWN, SERVER))
    assert (node.opener, node.path, node.depth, node.state, node.price) == (CHALLENGER, (), 1, NodeState.OPEN, 2)
    assert (node.clock.due, node.clock.server_left, node.clock.challengers_left) == (table.now + 20, 400, 2_340)
    table.refused(241, *good, value=ROOT_BOND)
    table.now += 1
    table.refused(211, *good, value=ROOT_BOND)
    rejected(table)
    table.refused(210, *good, value=ROOT_BOND)
    table.refused(205, *good)


def test_post() -> None:
    table, told = disputed()
    segment, run_hash = table.node().segment, told.run_hash
    hashes = told.runs[1].run_hash + told.runs[2].run_hash
    stale, short = evolve(segment, hi=1), hashes[:-1]
    table.now += LATE
    table.refused(204, "post", UNKNOWN, stale, short, UNKNOWN)
    table.refused(215, "post", table.root, stale, short, UNKNOWN)
    table.refused(209, "post", table.root, segment, short, UNKNOWN)
    table.refused(217, "post", table.root, segment, short, UNKNOWN, sender=SERVER)
    table.now -= 1
    table.refused(244, "post", table.root, segment, short, UNKNOWN, sender=SERVER)
    for wrong in (short, hashes[:32], hashes + bytes(32), hashes + b"\0", b""):
        table.refused(220, "post", table.root, segment, wrong, run_hash, sender=SERVER)
    table.act("post", table.root, segment, hashes, run_hash, sender=SERVER)
    node = table.node()
    assert node.segment == evolve(segment, disputed=run_hash)
    assert (node.state, node.posted, node.clock.since, node.clock.server_left) == (NodeState.POSTED, hashes, table.now, 0)
    assert table.claim.settles_at == table.claim.closes_at + PARAMETERS.challenger_time
    table.refused(216, "post", table.root, stale, short, UNKNOWN)
    fallen = rejected(disputed()[0])
    fallen.refused(210, "post", fallen.root, stale, short, UNKNOWN)


def test_a_short_segment_is_not_posted() -> None:
    table, told = disputed(stages=1)
    segment = table.node().segment
    table.refused(219, "post", table.root, segment, b"?", UNKNOWN, sender=SERVER)
    table.answered(told)
    table.refused(216, "post", table.root, segment, b"?", UNKNOWN, sender=SERVER)
    trap = Table(memory_of(*TRAP), stages=1)
    told = trap.trace()
    trap.asked().claimed(told.run_hash).challenged().answered(told)
    assert trap.node().state is NodeState.OPEN
    trap.refused(219, "post", trap.root, trap.node().segment, b"?", UNKNOWN, sender=SERVER)


def single_stage() -> tuple[Table, Trace, bytes]:
    """A node of one stage, with the whole tree above it answered truly."""
    table, told = disputed()
    table.answered(told).chosen(1)
    return table, told, child_id(table.root, 1)


def test_open() -> None:
    table, told, at = single_stage()
    segment = table.node(at).segment
    carry, status, steps, final, left, right, hashes = opening(told, 1, 4)
    last = told.stages[1][-1]
    running, exit_1 = encode(evolve(last, status=RUNNING)), encode(evolve(last, status=Status(Kind.HALTED, 1)))
    undecodable = final[:256] + b"\3" + final[257:]
    good = [carry, status, steps, final, left, right, hashes, told.run_hash]

    def call(**changes: Any) -> tuple[Any, ...]:
        names = ("carry", "status", "steps", "final", "left", "right", "hashes", "run_hash")
        return ("open", at, segment, *(changes.get(name, value) for name, value in zip(names, good, strict=True)))

    worst: dict[str, Any] = {"carry": UNKNOWN, "steps": 0, "final": undecodable, "left": UNKNOWN, "hashes": b"?", "run_hash": UNKNOWN}
    table.now = table.node(at).clock.due + 401
    table.refused(204, "open", UNKNOWN, evolve(segment, lo=0), *call(**worst)[3:])
    table.refused(215, "open", at, evolve(segment, lo=0), *call(**worst)[3:])
    table.refused(209, *call(**worst))
    table.refused(217, *call(**worst), sender=SERVER)
    table.now -= 1
    table.refused(222, *call(**worst), sender=SERVER)
    for wrong in (2, 255, 1):
        table.refused(222, *call(**worst | {"carry": carry, "status": wrong}), sender=SERVER)
    worst["carry"] = carry
    for wrong in (0, STAGE_STEP_LIMIT + 1):
        table.refused(223, *call(**worst | {"steps": wrong}), sender=SERVER)
    worst["steps"] = steps
    for state in (undecodable, final[:-1], final + b"\0", b""):
        table.refused(102, *call(**worst | {"final": state}), sender=SERVER)
    table.refused(224, *call(**worst | {"final": running}), sender=SERVER)
    table.refused(225, *call(**worst | {"final": final}), sender=SERVER)
    table.refused(225, *call(final=exit_1, hashes=b"?"), sender=SERVER)
    table.refused(225, *call(final=running, steps=STAGE_STEP_LIMIT, hashes=b"?"), sender=SERVER)
    table.refused(225, *call(right=UNKNOWN, hashes=b"?"), sender=SERVER)
    for wrong_hashes in (b"?", b"", hashes[32:], hashes + bytes(32)):
        table.refused(220, *call(hashes=wrong_hashes), sender=SERVER)
    table.act(*call(run_hash=UNKNOWN), sender=SERVER)  # below the root nothing is sealed
    node = table.node(at)
    assert node.segment == Segment(2, 0, steps, state_hash(told.stages[1][0]), state_hash(last))
    assert (node.state, node.posted, node.clock.since) == (NodeState.POSTED, hashes, table.now)
    table.refused(216, *call(**worst))
    fallen = rejected(disputed()[0])
    fallen.refused(210, "open", fallen.root, *call(**worst)[2:])


def test_open_is_for_one_stage() -> None:
    table, told = disputed()
    arguments = (UNKNOWN, 2, 0, b"", UNKNOWN, UNKNOWN, b"?", UNKNOWN)
    table.refused(219, "open", table.root, table.node().segment, *arguments, sender=SERVER)
    trap = Table(memory_of(*TRAP), stages=1)
    told = trap.trace()
    trap.asked().claimed(told.run_hash).challenged()
    trap.refused(244, "open", trap.root, trap.node().segment, *arguments, sender=SERVER)
    trap.refused(222, "open", trap.root, trap.node().segment, *arguments[:-1], told.run_hash, sender=SERVER)
    trap.answered(told)
    trap.refused(219, "open", trap.root, trap.node().segment, *arguments, sender=SERVER)


def test_a_stage_of_one_step_waits_for_the_arbiter() -> None:
    """The node stays open, with the same due time and clock, and is not to be finalised meanwhile."""
    table = Table(memory_of(*TRAP), stages=1)
    told = table.trace()
    table.asked().claimed(told.run_hash).challenged()
    clock = table.node().clock
    table.now = clock.due + 50
    table.answered(told)
    assert (table.node().state, table.node().clock, table.node().segment.length) == (NodeState.OPEN, clock, 1)
    table.now = table.claim.closes_at
    table.refused(213, "finalise", table.claim_id, UNKNOWN, 0, b"", b"")
    table.now = clock.due + 400
    table.refused(218, "timeout", table.root)
    after = table.court
    table.now += 1
    table.act("timeout", table.root)
    assert table.claim.status is ClaimStatus.REJECTED
    table.now, table.court = table.now - 1, after
    table.answered(told)
    assert (table.node().state, table.node().clock.server_left, table.claim.settles_at) == (NodeState.ANSWERED, 0, table.now)
    table.refused(216, "timeout", table.root)


@pytest.mark.parametrize("true_end", [True, False])
def test_a_stage_that_begins_failed(true_end: bool) -> None:
    """It changes nothing: the node is answered if the run state stays, else the claim falls at it."""
    table = Table(memory_of(*TRAP), stages=2)
    told = table.trace()
    assert told.runs[1].status == told.runs[2].status == 1
    end = told.run_hash if true_end else UNKNOWN
    table.asked().claimed(end).challenged()
    table.act("post", table.root, table.node().segment, told.runs[1].run_hash, end, sender=SERVER)
    table.chosen(1)
    at = child_id(table.root, 1)
    rest = (7, b"what is not looked at", UNKNOWN, UNKNOWN, b"?", UNKNOWN)
    table.act("open", at, table.node(at).segment, hash_of(told.runs[1].carry), 1, *rest, sender=SERVER)
    if true_end:
        assert (table.node(at).state, table.claim.status) == (NodeState.ANSWERED, ClaimStatus.PENDING)
    else:
        assert (table.claim.fell_at, table.claim.status) == (at, ClaimStatus.REJECTED)


def test_choose() -> None:
    table, told = disputed()
    table.answered(told)
    node, bond, at = table.node(), PARAMETERS.node_bond, table.root
    stale = evolve(node.segment, disputed=seal(told.run_hash, SERVER))  # as it was before the answer
    table.now = table.claim.settles_at + 1
    table.refused(204, "choose", UNKNOWN, stale, b"", 4, value=bond + 1)
    for value in (0, bond - 1, bond + 1):
        table.refused(205, "choose", at, stale, b"", 4, value=value)
    for segment, hashes in ((stale, node.posted), *((node.segment, wrong) for wrong in (b"", node.posted[:-1], node.posted + b"\0"))):
        table.refused(215, "choose", at, segment, hashes, 4, value=bond)
    table.refused(217, "choose", at, node.segment, node.posted, 4, value=bond)
    table.now = node.clock.since + 29
    table.refused(242, "choose", at, node.segment, node.posted, 3, value=bond)
    table.now += 1
    for part in (3, 4, 255):
        table.refused(221, "choose", at, node.segment, node.posted, part, value=bond)
    table.basefee = 5
    table.act("choose", at, node.segment, node.posted, 1, sender=PUPPET, value=bond)
    table.refused(243, "choose", at, node.segment, node.posted, 1, sender=CHALLENGER, value=bond)
    table.refused(221, "choose", at, node.segment, node.posted, 3, sender=CHALLENGER, value=bond)
    child = table.node(child_id(at, 1))
    assert child.segment == Segment(Phase.STAGES, 1, 2, told.runs[1].run_hash, told.runs[2].run_hash)
    assert (child.opener, child.path, child.depth, child.price, child.state) == (PUPPET, (1,), 2, 3, NodeState.OPEN)
    assert (table.claim.nodes, table.claim.open_nodes, table.claim.prices) == (2, 1, 3)
    table.refused(216, "choose", child_id(at, 1), stale, b"", 4, value=bond)
    table.now = child.clock.due + 401
    table.act("timeout", child_id(at, 1))
    table.refused(210, "choose", at, stale, b"", 4, value=bond)
    table.refused(205, "choose", at, stale, b"", 4)


def last_instruction(lie: bool) -> tuple[Table, Trace, bytes]:
    """A node of one instruction: the lie if there is one, else the first step of stage 0."""
    table = Table()
    truth, told = table.trace(), table.trace(wrong_register if lie else None, (0, 1))
    table.asked().claimed(told.run_hash).challenged()
    at = table.root
    while table.node(at).segment.phase == Phase.STAGES or table.node(at).segment.length > 1:
        if table.node(at).state is NodeState.OPEN:
            table.answered(told, at)
        else:
            table.chosen(0, at)
            at = child_id(at, 0)
    return table, truth, at


@pytest.mark.parametrize("lie", [True, False])
def test_arbitrate(lie: bool) -> None:
    table, truth, at = last_instruction(lie)
    segment = table.node(at).segment
    good, other = make_witness(truth.stages[0][0]), make_witness(truth.stages[0][1])
    stale = evolve(segment, agreed=UNKNOWN)
    table.now = table.node(at).clock.due + 401
    table.refused(204, "arbitrate", UNKNOWN, stale, b"")
    table.refused(216, "arbitrate", table.root, stale, b"")
    table.refused(215, "arbitrate", at, stale, b"")
    table.refused(217, "arbitrate", at, segment, b"")
    table.now -= 1
    table.refused(101, "arbitrate", at, segment, b"")
    table.refused(106, "arbitrate", at, segment, other + b"\0")
    table.refused(226, "arbitrate", at, segment, other)
    table.act("arbitrate", at, segment, good, sender=STRANGER)
    if lie:
        assert (table.claim.status, table.claim.fell_at) == (ClaimStatus.REJECTED, at)
        table.refused(210, "arbitrate", at, stale, b"")
    else:
        assert (table.node(at).state, table.claim.open_nodes) == (NodeState.ANSWERED, 0)
        table.refused(216, "arbitrate", at, stale, b"")


def test_arbitrate_is_for_one_instruction() -> None:
    table, told = disputed()
    table.refused(219, "arbitrate", table.root, table.node().segment, b"")
    table.answered(told).chosen(1)
    table.refused(219, "arbitrate", child_id(table.root, 1), table.node(child_id(table.root, 1)).segment, b"")


def test_timeout() -> None:
    table, told = disputed()
    table.now += LATE - 1
    table.refused(204, "timeout", UNKNOWN)
    table.refused(218, "timeout", table.root)
    before = table.court
    table.answered(told)
    table.now += 10_000
    table.refused(216, "timeout", table.root)
    table.court, table.now = before, START_TIME + LATE
    table.act("timeout", table.root)
    assert (table.claim.status, table.claim.fell_at) == (ClaimStatus.REJECTED, table.root)
    table.refused(210, "timeout", table.root)


def test_a_fallen_claim_takes_no_move_anywhere() -> None:
    table, told = disputed()
    table.answered(told).chosen(0).chosen(2)
    left, right = child_id(table.root, 0), child_id(table.root, 2)
    table.now = table.node(left).clock.due + 401
    move = answer(table.court, right, told)
    table.act("timeout", left)
    table.refused(210, move.name, *move.arguments, sender=SERVER)
    table.refused(210, "timeout", right)
    table.refused(210, "expire", table.claim_id)


def test_a_reorganised_answer_makes_the_choice_stale() -> None:
    """The choice was meant for other hashes."""
    table = Table()
    truth, told = table.trace(), table.trace(wrong_register, (1, 6))
    table.asked().claimed(told.run_hash).challenged()
    before = table.court
    table.answered(told)
    meant = next_move(table.court, table.claim_id, truth, CHALLENGER, table.now)
    assert meant is not None
    table.court = before
    table.act("post", table.root, table.node().segment, bytes(64), told.run_hash, sender=SERVER)
    table.refused(215, meant.name, *meant.arguments, sender=CHALLENGER, value=meant.value)


def test_the_first_machine_is_built_by_the_court() -> None:
    """A server cannot begin a stage with another program, stage or carry than the agreed ones."""
    table = Table(memory_of(*HALT), stages=1)
    told = table.trace()
    table.asked().claimed(told.run_hash).challenged().answered(told)
    carry, model_root = hash_of(told.runs[0].carry), hash_of(table.memory.subtree(33, 1))
    zeros = bytes(8 * 31 + 9)  # registers, RUNNING
    preimage = ENTRY.to_bytes(8, "big") + zeros + hash_pair(hash_pair(ZERO[33], model_root), carry)
    assert table.node().segment.agreed == keccak256(preimage)
