"""Start here: a program of three instructions is stepped and hashed, and one step is proven to somebody without the memory."""

import pytest
from opml_spec.errors import WitnessRoot
from opml_spec.machine.decode import disassemble
from opml_spec.machine.memory import ENTRY
from opml_spec.machine.start import start_state
from opml_spec.machine.state import Kind, Status, state_hash
from opml_spec.machine.step import step
from opml_spec.machine.witness import execute_witness, make_witness

PROGRAM = {
    0x02A00513: "addi a0, zero, 42",  # the exit code
    0x05D00893: "addi a7, zero, 93",  # the number of the system call: exit
    0x00000073: "ecall",
}


def test_a_tiny_machine() -> None:
    text = b"".join(word.to_bytes(4, "little") for word in PROGRAM)
    state = start_state({ENTRY: text})
    trace = [state]
    for word, assembly in PROGRAM.items():
        assert disassemble(word) == assembly
        state = step(state)
        trace.append(state)

    assert state.status == Status(Kind.HALTED, 42)
    assert state.pc == ENTRY + 8, "the instruction that halts does not move the pc"
    assert step(state) == state, "and a machine that halted stays as it is"

    for number, machine in enumerate(trace):
        print(number, f"pc={machine.pc:#x} a0={machine.x[10]} a7={machine.x[17]}", machine.status, state_hash(machine).hex())
    assert len({state_hash(machine) for machine in trace}) == 4

    # The server sends the witness of the second step: the state, the 32 bytes that hold the instruction, and their Merkle proof.
    witness = make_witness(trace[1])
    assert len(witness) == 297 + 32 + 5, "all else is zero here, and zero siblings are not sent"
    assert execute_witness(witness) == (state_hash(trace[1]), state_hash(trace[2]))

    # It cannot show another instruction: the root would not be the agreed one.
    forged = witness.replace(text, text[::-1])
    with pytest.raises(WitnessRoot):
        execute_witness(forged)
