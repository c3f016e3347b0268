"""A small program in place of a model, and a lie about its run.

The program computes on a number in the state, writes to state and output, and exits with the code in the first word of the request.

*Source*: spec §4.
"""

from random import Random

from attrs import evolve
from opml_spec.machine.memory import ENTRY, QUARTER_HEIGHT, STATE, Memory
from opml_spec.machine.merkle import Node
from opml_spec.machine.state import MachineState

from opml_fuzz.machine.encodings import assemble

ZERO_REG, T0, T1, T2, A0, A3, A7 = 0, 5, 6, 7, 10, 13, 17
EXIT = 93
COUNTED = T0  # the register with the number that is computed

PROGRAM = (
    assemble("addi", T1, ZERO_REG, 0, 3),
    assemble("slli", T1, T1, 0, 38),  # the state quarter
    assemble("addi", T2, A0, 0, 1),  # the stage's number + 1: how often the loop runs
    assemble("ld", T0, T1, 0, 30),  # across two leaves
    assemble("mul", T0, T0, T2),
    assemble("addi", T0, T0, 0, 7),
    assemble("addi", T2, T2, 0, -1),
    assemble("bne", 0, T2, ZERO_REG, -12),
    assemble("sd", 0, T1, T0, 30),
    assemble("addi", T1, ZERO_REG, 0, 1),
    assemble("slli", T1, T1, 0, 39),  # the request
    assemble("ld", A3, T1, 0, 32),
    assemble("lui", T2, imm=0x10000000),
    assemble("add", T1, T1, T2),  # the output
    assemble("sd", 0, T1, A0, 0),  # as many tokens as the stage's number
    assemble("sw", 0, T1, T0, 32),
    assemble("addi", A7, ZERO_REG, 0, EXIT),
    assemble("addi", A0, A3, 0, 0),
    assemble("ecall"),
)
TRAPPING = (*PROGRAM[:-1], assemble("ebreak"))
ENDS = {"exit 0": PROGRAM, "trap": TRAPPING, "another call": (*PROGRAM[:-3], *PROGRAM[-2:])}


def model_memory(rng: Random, words: tuple[int, ...] = PROGRAM) -> dict[int, bytes]:
    """Draws the model: a program and 64 random bytes of state."""
    return {ENTRY: b"".join(word.to_bytes(4, "little") for word in words), STATE: rng.randbytes(64)}


def quarters(segments: dict[int, bytes]) -> tuple[Node, Node]:
    """Returns the model quarter and the state quarter."""
    memory = Memory.from_segments(segments)
    return memory.subtree(QUARTER_HEIGHT, 1), memory.subtree(QUARTER_HEIGHT, 3)


def wrong_register(state: MachineState) -> MachineState:
    """Flips a bit in the register that everything goes through."""
    x = state.x
    return evolve(state, x=(*x[:COUNTED], x[COUNTED] ^ 1, *x[COUNTED + 1 :]))
