"""Runs: the first state of a request, what a stage hands over, and that a program and its meaning give the same run."""

import pytest
from opml_spec.hashing import hash_pair, keccak256
from opml_spec.machine.memory import ENTRY, IO, STATE, Memory
from opml_spec.machine.merkle import ZERO, Node, hash_of
from opml_spec.machine.state import Kind, MachineState, Status, state_hash
from opml_spec.model.layout import OUTPUT
from opml_spec.runs.run import (
    RunState,
    RunStatus,
    first_state,
    hand_over,
    io_quarter,
    run_machine,
    run_meaning,
    stage_memory,
    stage_start,
)
from spec_llama import Llama, make_llama, output, text_request

ECALL = 0x00000073
EXIT = 0x05D00893  # addi a7, zero, 93


def program(*words: int) -> Node:
    return Memory.from_segments({ENTRY: b"".join(word.to_bytes(4, "little") for word in words)}).subtree(33, 1)


# Stores the stage's number into the state quarter and into scratch, then exits with what scratch held before: 0 if it was clean.
NOTES = program(
    0x00300313,  # addi t1, zero, 3
    0x02631313,  # slli t1, t1, 38      the state quarter
    0x00A33023,  # sd a0, 0(t1)
    0x00003503 | 0x100 << 20,  # ld a0, 256(zero)
    0x10603023,  # sd t1, 256(zero)
    EXIT,
    ECALL,
)
LOOP = program(0x0000006F)  # jal zero, 0
EXIT_3 = program(0x00300513, EXIT, ECALL)
START = first_state(io_quarter(2, b"request"), ZERO[33])


def test_a_stage_carries_io_and_state_and_forgets_scratch() -> None:
    state = START
    for stage in (7, 9):
        state = run_machine(NOTES, state, stage)
        assert state.status == RunStatus.OK
        assert stage_memory(NOTES, state.carry).load(STATE, 8) == stage
        assert stage_memory(NOTES, state.carry).load(256, 8) == 0
        assert stage_memory(NOTES, state.carry).load_bytes(IO + 32, 7) == b"request"


@pytest.mark.parametrize("model", [EXIT_3, LOOP, program(0)], ids=["another code", "steps used up", "trap"])
def test_whatever_else_happens_is_a_failure_and_keeps_the_old_carry(model: Node) -> None:
    failed = run_machine(model, START, 0, limit=100)
    assert failed == RunState(START.carry, RunStatus.FAILED)
    assert run_machine(model, failed, 1) == failed == run_meaning(model, failed, 1)


def test_the_limit_counts_the_halting_step() -> None:
    assert run_machine(NOTES, START, 0, limit=7).status == RunStatus.OK
    assert run_machine(NOTES, START, 0, limit=6).status == RunStatus.FAILED


def test_hashes_are_those_of_the_text() -> None:
    io, state = bytes(range(32)), bytes(range(1, 33))
    start = first_state(io, state)
    assert start.preimage == hash_pair(io, state) + b"\0"
    assert start.run_hash == keccak256(hash_pair(io, state) + b"\0")
    machine = stage_start(bytes(32), start.carry, 5)
    assert (machine.pc, machine.x[10], sum(machine.x)) == (ENTRY, 5, 5)
    assert machine.memory.root == hash_pair(hash_pair(ZERO[33], bytes(32)), hash_of(start.carry))


def test_roots_alone_give_the_same_hashes_as_content() -> None:
    """What a contract computes from hashes is what a player computes from memory."""
    content, roots = stage_start(NOTES, START.carry, 3), stage_start(hash_of(NOTES), hash_of(START.carry), 3)
    assert state_hash(content) == state_hash(roots)
    ended = MachineState(ENTRY, content.x, Status(Kind.HALTED, 0), content.memory)
    assert hand_over(START, ended) == RunState(hash_of(START.carry), RunStatus.OK)
    still_running = hand_over(START, content)
    assert still_running.status == RunStatus.FAILED


def test_a_run_by_meaning() -> None:
    llama: Llama = make_llama()
    model, state = llama.memory.subtree(33, 1), llama.memory.subtree(33, 3)
    run = first_state(io_quarter(2 * llama.ops, text_request([4, 5], 1)), state)
    for stage in range(2 * llama.ops):
        run = run_meaning(model, run, stage)
    assert run.status == RunStatus.OK
    assert len(output(stage_memory(model, run.carry))[0]) == 1
    refused = run_meaning(model, first_state(io_quarter(1, b"nonsense"), state), 0)
    assert refused.status == RunStatus.FAILED
    assert stage_memory(model, refused.carry).load(OUTPUT, 8) == 0
