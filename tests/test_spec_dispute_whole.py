"""Whole disputes, both phases, to the verdict: whoever tells the truth and is in time wins, whatever the other side does."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.dispute.acts import ClaimStatus
from opml_spec.dispute.clocks import Side
from opml_spec.dispute.game import Choose, GameStatus, Post
from opml_spec.dispute.narrowing import Phase, most_rounds, part_count
from opml_spec.machine.memory import STATE
from opml_spec.machine.state import Cause
from opml_spec.model.layout import OUTPUT
from opml_spec.runs.limits import STAGE_STEP_LIMIT
from opml_spec.runs.run import RunStatus, stage_memory, stage_start
from spec_dispute import (
    LOOP,
    PARAMETERS,
    TEXT,
    TRAP,
    Account,
    Duel,
    Lie,
    Table,
    account,
    call_timeout,
    duel,
    memory_of,
    opening,
    wrong_memory,
    wrong_register,
)

MEMORY, STAGES = memory_of(*TEXT), 3
TRUTH = account(MEMORY, STAGES)
LIES: dict[str, Lie] = {
    "register": wrong_register,
    "memory": wrong_memory,
    "pc": lambda state: evolve(state, pc=state.pc + 2),
    "halts early": lambda state: state.halt(0),
    "fails": lambda state: state.halt(1),
    "traps": lambda state: state.trap(Cause.BREAKPOINT),
}
PLACES = [(stage, at) for stage in range(STAGES) for at in range(1, len(TRUTH.stages[stage]))]


def test_the_program_does_what_it_should() -> None:
    """Otherwise the other tests would be about nothing."""
    end = stage_memory(MEMORY.subtree(33, 1), TRUTH.runs[-1].carry)
    assert all(run.status == RunStatus.OK for run in TRUTH.runs)
    first = int.from_bytes(bytes(range(30, 38)), "little")
    assert end.load(STATE + 30, 8) == first + 7 * (1 + 2 + 3) == end.load(OUTPUT + 32, 4) + (first + 42 >> 32 << 32)
    assert [len(machines) - 1 for machines in TRUTH.stages] == [17, 20, 23]


@pytest.mark.parametrize("name", LIES)
def test_a_liar_loses_wherever_it_lies(name: str) -> None:
    """Every lie that changes the result is found by somebody who knows the truth, at every stage and step."""
    found = 0
    for where in PLACES:
        lying = account(MEMORY, STAGES, LIES[name], where)
        if lying.run_hash != TRUTH.run_hash:
            match = duel(lying, truth=TRUTH)
            assert match.play().status is GameStatus.CHALLENGER_WON, where
            assert match.stage == where[0]
            assert match.table.court.claims[match.table.claim_id].status is ClaimStatus.REJECTED
            found += 1
    assert found > len(PLACES) // 3


@given(st.data())
def test_an_honest_server_wins_whatever_the_challenger_chooses(data: st.DataObject) -> None:
    match = duel(TRUTH, truth=TRUTH)
    while match.table.game.status is GameStatus.OPEN:
        game = match.table.game
        if game.on_turn is Side.CHALLENGER:
            match.table.play(Choose(data.draw(st.integers(0, len(game.posted)))), game.challenger)
        else:
            match.move()
    assert match.table.game.status is GameStatus.SERVER_WON
    assert match.table.court.claims[match.table.claim_id].open_games == 0


@given(st.data(), st.sampled_from(PLACES), st.sampled_from([wrong_register, wrong_memory]))
def test_a_liar_loses_whatever_it_posts(data: st.DataObject, where: tuple[int, int], lie: Lie) -> None:
    """It may mix the truth, its lie and anything; it may open with any number of steps that its final state allows."""
    lying = account(MEMORY, STAGES, lie, where)
    if lying.run_hash == TRUTH.run_hash:
        return
    match = duel(lying, truth=TRUTH)
    hashes = st.sampled_from([state for run in (TRUTH, lying) for state in (run.runs[0].run_hash, run.runs[1].run_hash)]) | st.binary(
        min_size=32, max_size=32
    )
    while match.table.game.status is GameStatus.OPEN:
        game = match.table.game
        if game.on_turn is Side.SERVER and game.segment.length > 1:
            inner = list(match.inner_hashes())
            for j in range(len(inner)):
                inner[j] = data.draw(st.just(inner[j]) | hashes)
            match.table.play(Post(tuple(inner)), game.server)
        elif game.on_turn is Side.SERVER and not can_go_on(match):
            call_timeout(match.table, PARAMETERS.server_seconds + 1)
        else:
            match.move()
    assert match.table.game.status is GameStatus.CHALLENGER_WON


def can_go_on(match: Duel) -> bool:
    """Whether the server's account has a preimage of the agreed hash (and of the disputed one, to open)."""
    segment = match.table.game.segment
    agreed, said = (match.server.hash_at(segment.phase, match.stage, at) for at in (segment.lo, segment.hi))
    return segment.agreed == agreed and (segment.phase == Phase.INSTRUCTIONS or segment.disputed == said)


def test_a_stage_of_one_step_goes_straight_to_the_verdict() -> None:
    memory = memory_of(*TRAP)
    truth = account(memory, 1)
    assert truth.runs[-1].status == RunStatus.FAILED
    match = duel(truth, Table(memory, 1))
    match.move()
    assert match.table.game.segment.length == 1
    assert match.play().status is GameStatus.SERVER_WON
    lie = account(memory, 1, lambda state: state.halt(0))
    assert duel(lie, Table(memory, 1)).play().status is GameStatus.CHALLENGER_WON


def test_a_stage_that_uses_up_its_steps() -> None:
    """2^32 steps that all end in the same state: agreed and disputed hashes are equal all the way down."""
    memory = memory_of(*LOOP)
    start = account(memory_of(*TRAP), 1).runs[0]
    machine = stage_start(memory.subtree(33, 1), start.carry, 0)
    looping = Account((start, evolve(start, status=RunStatus.FAILED)), ((machine,),))
    match = duel(looping, Table(memory, 1), truth=looping)
    match.table.play(opening(start, STAGE_STEP_LIMIT, machine), match.table.game.server)
    assert match.play().status is GameStatus.SERVER_WON
    assert match.table.game.moves - 1 == most_rounds(STAGE_STEP_LIMIT, PARAMETERS.k) == 16


def test_no_side_makes_more_moves_than_the_bound() -> None:
    """R is a bound of the longest game: 2^24 stages of 2^32 steps."""
    for k in (2, 3, 4, 32, 64):
        parameters = evolve(PARAMETERS, k=k)
        rounds = 0
        for length in (1 << 24, STAGE_STEP_LIMIT):
            while length > 1:
                length, rounds = -(-length // part_count(length, k)), rounds + 1
        assert rounds + 2 == parameters.moves_of_a_side
