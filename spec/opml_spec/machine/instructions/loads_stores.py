"""Loads and stores, at any alignment. They touch memory only if they do not trap; a load into x0 touches it all the same."""

from collections.abc import Callable

from attrs import evolve

from opml_spec.machine.formats import Operands
from opml_spec.machine.memory import IO, MEMORY_BYTES, MODEL
from opml_spec.machine.state import Cause, MachineState
from opml_spec.machine.table import add_row
from opml_spec.words import signed, wrap

Meaning = Callable[[int], int]


def outside_memory(address: int, size: int) -> bool:
    """Some byte of the access is not in memory. The sum is an integer: it does not wrap."""
    return address + size - 1 >= MEMORY_BYTES


def meets_model(address: int, size: int) -> bool:
    """Some byte of the access is in the model quarter."""
    return address < IO and address + size - 1 >= MODEL


def loads(name: str, size: int, encoding: str) -> Callable[[Meaning], Meaning]:
    """The function below gives rd from the bytes in memory, read as an unsigned little-endian number."""

    def enter(meaning: Meaning) -> Meaning:
        def execute(state: MachineState, op: Operands) -> MachineState:
            address = wrap(state.x[op.rs1] + op.imm)
            if outside_memory(address, size):
                return state.trap(Cause.LOAD_ACCESS_FAULT)
            return state.retire(state.pc + 4, op.rd, meaning(state.memory.load(address, size)))

        add_row(name, encoding, "{rd}, {imm}({rs1})", execute, meaning)
        return meaning

    return enter


def stores(name: str, size: int, encoding: str) -> None:
    """The low bytes of register rs2 go to memory."""

    def execute(state: MachineState, op: Operands) -> MachineState:
        address = wrap(state.x[op.rs1] + op.imm)
        if outside_memory(address, size) or meets_model(address, size):
            return state.trap(Cause.STORE_ACCESS_FAULT)
        return evolve(state.retire(state.pc + 4), memory=state.memory.store(address, size, state.x[op.rs2]))

    add_row(name, encoding, "{rs2}, {imm}({rs1})", execute)


@loads("lb ", 1, "imm[11:0] rs1 000 rd 0000011")
def lb(value: int) -> int:
    return signed(value, 8)


@loads("lh ", 2, "imm[11:0] rs1 001 rd 0000011")
def lh(value: int) -> int:
    return signed(value, 16)


@loads("lw ", 4, "imm[11:0] rs1 010 rd 0000011")
def lw(value: int) -> int:
    return signed(value, 32)


@loads("ld ", 8, "imm[11:0] rs1 011 rd 0000011")
@loads("lbu", 1, "imm[11:0] rs1 100 rd 0000011")
@loads("lhu", 2, "imm[11:0] rs1 101 rd 0000011")
@loads("lwu", 4, "imm[11:0] rs1 110 rd 0000011")
def as_it_is(value: int) -> int:
    return value


stores("sb ", 1, "imm[11:5] rs2 rs1 000 imm[4:0] 0100011")
stores("sh ", 2, "imm[11:5] rs2 rs1 001 imm[4:0] 0100011")
stores("sw ", 4, "imm[11:5] rs2 rs1 010 imm[4:0] 0100011")
stores("sd ", 8, "imm[11:5] rs2 rs1 011 imm[4:0] 0100011")
