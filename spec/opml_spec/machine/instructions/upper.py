"""Constants of 32 bits, alone or added to the pc."""

from collections.abc import Callable

from opml_spec.machine.formats import Operands
from opml_spec.machine.state import MachineState
from opml_spec.machine.table import add_row

Meaning = Callable[[int, int], int]


def computes_from_pc(name: str, encoding: str) -> Callable[[Meaning], Meaning]:
    """The function below, of pc and immediate, gives rd."""

    def enter(meaning: Meaning) -> Meaning:
        def execute(state: MachineState, op: Operands) -> MachineState:
            return state.retire(state.pc + 4, op.rd, meaning(state.pc, op.imm))

        add_row(name, encoding, "{rd}, {upper}", execute, meaning)
        return meaning

    return enter


@computes_from_pc("lui  ", "imm[31:12] rd 0110111")
def lui(pc: int, imm: int) -> int:
    return imm


@computes_from_pc("auipc", "imm[31:12] rd 0010111")
def auipc(pc: int, imm: int) -> int:
    return pc + imm
