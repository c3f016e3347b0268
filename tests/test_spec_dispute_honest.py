"""Honest play wins: the validator against every lie, the server against every choice, whoever is thrown away meanwhile."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.dispute.honest import Lie, next_answer, next_move, stage_of
from opml_spec.dispute.narrowing import Phase, boundary
from opml_spec.dispute.objects import ClaimStatus, NodeState, child_id
from spec_dispute import (
    BOND,
    CHALLENGER,
    HALT,
    PARAMETERS,
    PUPPET,
    ROOT_BOND,
    SERVER,
    START_TIME,
    TRAP,
    UNKNOWN,
    Table,
    memory_of,
    wrong_memory,
    wrong_register,
)


@pytest.mark.parametrize("lie", [wrong_register, wrong_memory])
@pytest.mark.parametrize("where", [(0, 1), (0, 4), (1, 6), (1, 9), (2, 20), (2, 23)])
def test_every_lie_falls_at_its_instruction(lie: Lie, where: tuple[int, int]) -> None:
    """The claim falls at the one instruction before the lie; the validator gets its bonds back and the whole share."""
    table = Table()
    truth, told = table.trace(), table.trace(lie, where)
    if truth.run_hash == told.run_hash:  # a register that is overwritten before it is used
        assert next_move(table.asked().claimed(told.run_hash).court, table.claim_id, truth, CHALLENGER, table.now) is None
        return
    table.asked().claimed(told.run_hash)
    table.fight(told, truth)
    at = table.claim.fell_at
    assert at is not None
    node = table.node(at)
    assert (node.segment.phase, node.segment.lo + 1, node.segment.length) == (Phase.INSTRUCTIONS, where[1], 1)
    assert stage_of(node.path, 3, PARAMETERS.k) == where[0]
    bonds = ROOT_BOND + (table.claim.nodes - 1) * PARAMETERS.node_bond
    table.collected()
    assert table.credit(CHALLENGER) == bonds + BOND // 3 // node.depth * node.depth


def test_a_server_that_does_not_answer_falls_at_the_root() -> None:
    table = Table().asked().claimed(UNKNOWN)
    truth = table.trace()
    table.play(next_move(table.court, table.claim_id, truth, CHALLENGER, table.now), CHALLENGER)
    assert next_move(table.court, table.claim_id, truth, CHALLENGER, table.now) is None
    table.now = table.node().clock.due + PARAMETERS.server_time
    assert next_move(table.court, table.claim_id, truth, CHALLENGER, table.now) is None
    table.now += 1
    table.play(next_move(table.court, table.claim_id, truth, CHALLENGER, table.now), CHALLENGER)
    assert table.claim.fell_at == table.root


def test_the_validator_leaves_a_true_claim_alone() -> None:
    table = Table()
    truth = table.trace()
    table.asked().claimed(truth.run_hash)
    assert next_move(table.court, table.claim_id, truth, CHALLENGER, table.now) is None


@pytest.mark.parametrize("text", [HALT, TRAP])
@pytest.mark.parametrize("stages", [1, 2, 5])
def test_the_server_survives_every_part(text: tuple[int, ...], stages: int) -> None:
    """Somebody opens the whole tree, as fast as possible; the server answers each node by its due time and no later."""
    table = Table(memory_of(*text), stages)
    truth = table.trace()
    table.asked().claimed(truth.run_hash).challenged()
    while table.claim.open_nodes:
        for node_id, node in table.court.nodes.items():
            if node.state is NodeState.POSTED:
                parts = len(node.posted) // 32 + 1
                for part in range(parts):
                    if child_id(node_id, part) not in table.court.nodes:
                        table.chosen(part, node_id)
        due, node_id = min((node.clock.due, node_id) for node_id, node in table.court.nodes.items() if node.state is NodeState.OPEN)
        table.now = max(table.now, due)
        table.play(next_answer(table.court, table.claim_id, truth), SERVER)
    assert {node.clock.server_left for node in table.court.nodes.values()} == {PARAMETERS.server_time}
    table.finalised(truth)
    assert table.court.requests[table.request_id].result == table.claim_id


@given(st.data())
def test_an_honest_path_through_a_tree_of_puppets(data: st.DataObject) -> None:
    """A liar posts what it likes, its puppets choose before and beside the validator: the claim falls all the same."""
    table = Table(stages=4)
    truth = table.trace()
    told = table.trace(data.draw(st.sampled_from([wrong_register, wrong_memory])), (data.draw(st.integers(0, 3)), 1))
    if truth.run_hash == told.run_hash:
        return
    table.asked().claimed(told.run_hash)
    while table.claim.status is ClaimStatus.PENDING:
        table.now += data.draw(st.sampled_from([0, 0, 1, PARAMETERS.priority]))
        for node_id, node in list(table.court.nodes.items()):
            part = data.draw(st.integers(0, 3))
            free = child_id(node_id, part) not in table.court.nodes and part <= len(node.posted) // 32
            early = table.now < node.clock.since + PARAMETERS.priority
            if node.state is NodeState.POSTED and free and (node.opener == PUPPET or not early) and len(table.court.nodes) < 25:
                table.chosen(part, node_id, PUPPET)
        move = next_move(table.court, table.claim_id, truth, CHALLENGER, table.now)
        if move is not None:
            table.play(move, CHALLENGER)
        elif (answering := next_answer(table.court, table.claim_id, told)) is not None and data.draw(st.booleans()):
            table.play(answering, SERVER)
        else:
            table.now += 1
    before = table.collected().court.ledger
    mine = [node for node in table.court.nodes.values() if node.opener == CHALLENGER]
    assert before.credited.get(CHALLENGER, 0) >= sum(PARAMETERS.node_bond if node.path else ROOT_BOND for node in mine)


@given(st.integers(1, 1 << 24), st.integers(2, 64), st.data())
def test_stage_of(stage_count: int, k: int, data: st.DataObject) -> None:
    """The path to a stage leads to it, however far it goes on below."""
    wanted = data.draw(st.integers(0, stage_count - 1))
    lo, length, path = 0, stage_count, []
    while length > 1:
        parts = min(k, length)
        ends = [boundary(lo, length, parts, j) for j in range(parts + 1)]
        part = next(j for j, (low, high) in enumerate(itertools.pairwise(ends)) if low <= wanted < high)
        lo, length = ends[part], ends[part + 1] - ends[part]
        path.append(part)
    below = data.draw(st.lists(st.integers(0, k - 1), max_size=5))
    assert stage_of((*path, *below), stage_count, k) == wanted
    assert START_TIME > 0
