"""Loads and stores, at any alignment. They touch memory only if they do not trap. A load into x0 touches it too.

*Source*: spec §2.4.
"""

from collections.abc import Callable

from attrs import evolve

from opml_spec.machine.formats import Operands
from opml_spec.machine.memory import IO, MEMORY_BYTES, MODEL
from opml_spec.machine.state import Cause, MachineState
from opml_spec.machine.table import add_row
from opml_spec.words import signed, wrap

Extension = Callable[[int], int]


def outside_memory(address: int, size: int) -> bool:
    """Whether some byte of the access is not in memory. The sum is an unbounded integer: it does not wrap."""
    return address + size - 1 >= MEMORY_BYTES


def meets_model(address: int, size: int) -> bool:
    """Whether some byte of the access is in the model quarter."""
    return address < IO and address + size - 1 >= MODEL


def loads(size: int, row: str) -> Callable[[Extension], Extension]:
    """Make the function below say what rd becomes, given the bytes in memory as an unsigned little-endian number."""

    def enter(meaning: Extension) -> Extension:
        def execute(state: MachineState, op: Operands) -> MachineState:
            address = wrap(state.x[op.rs1] + op.imm)
            if outside_memory(address, size):
                return state.trap(Cause.LOAD_ACCESS_FAULT)
            return state.retire(state.pc + 4, op.rd, meaning(state.memory.load(address, size)))

        add_row(row, "{rd}, {imm}({rs1})", execute, meaning)
        return meaning

    return enter


def stores(size: int, row: str) -> None:
    """Enter a store: the low bytes of register rs2 go to memory."""

    def execute(state: MachineState, op: Operands) -> MachineState:
        address = wrap(state.x[op.rs1] + op.imm)
        if outside_memory(address, size) or meets_model(address, size):
            return state.trap(Cause.STORE_ACCESS_FAULT)
        return evolve(state.retire(state.pc + 4), memory=state.memory.store(address, size, state.x[op.rs2]))

    add_row(row, "{rs2}, {imm}({rs1})", execute)


@loads(1, "imm[11:0] rs1 000 rd 0000011 lb")
def lb(value: int) -> int:
    return signed(value, 8)


@loads(2, "imm[11:0] rs1 001 rd 0000011 lh")
def lh(value: int) -> int:
    return signed(value, 16)


@loads(4, "imm[11:0] rs1 010 rd 0000011 lw")
def lw(value: int) -> int:
    return signed(value, 32)


@loads(8, "imm[11:0] rs1 011 rd 0000011 ld")
@loads(1, "imm[11:0] rs1 100 rd 0000011 lbu")
@loads(2, "imm[11:0] rs1 101 rd 0000011 lhu")
@loads(4, "imm[11:0] rs1 110 rd 0000011 lwu")
def as_it_is(value: int) -> int:
    return value


stores(1, "imm[11:5] rs2 rs1 000 imm[4:0] 0100011 sb")
stores(2, "imm[11:5] rs2 rs1 001 imm[4:0] 0100011 sh")
stores(4, "imm[11:5] rs2 rs1 010 imm[4:0] 0100011 sw")
stores(8, "imm[11:5] rs2 rs1 011 imm[4:0] 0100011 sd")
