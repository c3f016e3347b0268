"""Constants of 32 bits, alone or added to the pc."""

from collections.abc import Callable

from opml_spec.machine.formats import Operands
from opml_spec.machine.state import MachineState
from opml_spec.machine.table import add_row

Sum = Callable[[int, int], int]


def computes_from_pc(row: str) -> Callable[[Sum], Sum]:
    """Make the function below, of pc and immediate, say what rd becomes."""

    def enter(meaning: Sum) -> Sum:
        def execute(state: MachineState, op: Operands) -> MachineState:
            return state.retire(state.pc + 4, op.rd, meaning(state.pc, op.imm))

        add_row(row, "{rd}, {upper}", execute, meaning)
        return meaning

    return enter


@computes_from_pc("imm[31:12] rd 0110111 lui")
def lui(pc: int, imm: int) -> int:
    return imm


@computes_from_pc("imm[31:12] rd 0010111 auipc")
def auipc(pc: int, imm: int) -> int:
    return pc + imm
