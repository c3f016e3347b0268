"""Instructions that compute: rd ← meaning(a, b), where a is register rs1 and b is register rs2 or the immediate.

The meaning takes two integers in `[0, 2^64)` and gives an integer, of any size; writing rd wraps it. So ADD and ADDI are two
encodings of one meaning, and the meanings are functions that a test can call and a prover can run on symbols.
"""

from collections.abc import Callable

from opml_spec.machine.formats import Operands
from opml_spec.machine.state import MachineState
from opml_spec.machine.table import add_row
from opml_spec.words import wrap

Computation = Callable[[int, int], int]


def computes(row: str) -> Callable[[Computation], Computation]:
    """Make the function below the meaning of the instruction in this row of the listing."""
    b_is_register = "rs2" in row

    def enter(meaning: Computation) -> Computation:
        def execute(state: MachineState, op: Operands) -> MachineState:
            b = state.x[op.rs2] if b_is_register else wrap(op.imm)
            return state.retire(state.pc + 4, op.rd, meaning(state.x[op.rs1], b))

        add_row(row, "{rd}, {rs1}, {rs2}" if b_is_register else "{rd}, {rs1}, {imm}", execute, meaning)
        return meaning

    return enter
