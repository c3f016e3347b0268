"""Statements about what a step may touch: where it fetches, when a load or store traps, what it changes.

*Source*: spec §2.1 and §2.4.
"""

from functools import reduce
from operator import and_, or_
from typing import Any

from attrs import frozen
from opml_spec.machine.formats import Operands
from opml_spec.machine.instructions import INSTRUCTIONS
from opml_spec.machine.instructions.loads_stores import meets_model, outside_memory
from opml_spec.machine.state import RUNNING, MachineState
from opml_spec.machine.step import step
from opml_spec.machine.table import Instruction

from opml_fuzz.statements.statement import Integer, Statement, Word
from opml_min.machine import interpret

QUARTER, MEMORY_BYTES = 1 << 38, 1 << 40
TRAPPED, LOAD_FAULT, STORE_FAULT = 2, 5, 7
SIZES = ((1,), (2,), (4,), (8,))
ADDRESS = {"address": Integer(0, (1 << 64) - 1)}
RS1, RS2, RD = 1, 2, 3


class Fetched(Exception):
    """Raised by the memory: the step was not stopped before its fetch."""


@frozen
class OneValue:
    """A memory in which every load returns the same value."""

    value: Any

    def load(self, address: Any, size: int) -> Any:
        return self.value

    def store(self, address: Any, size: int, value: Any) -> "OneValue":
        return self


class NoMemory:
    """A memory that notices when it is read."""

    def load(self, address: Any, size: int) -> Any:
        raise Fetched


def machine(pc: Any, registers: tuple[Any, ...], memory: Any) -> MachineState:
    return MachineState(pc, registers, RUNNING, memory)


def some_byte(address: Any, size: int, holds: Any) -> bool:
    """Tells whether the predicate holds for the address of some byte of the access."""
    return bool(reduce(or_, [holds(address + i) for i in range(size)]))


def traps_by_its_bytes(size: int, address: Any) -> bool:
    outside = some_byte(address, size, lambda byte: byte >= MEMORY_BYTES)
    in_model = some_byte(address, size, lambda byte: (byte >= QUARTER) & (byte < 2 * QUARTER))
    return bool(outside_memory(address, size)) == outside and bool(meets_model(address, size)) == in_model


def faults_alike(size: int, address: Any) -> bool:
    load_traps = bool(outside_memory(address, size))
    store_traps = load_traps or bool(meets_model(address, size))
    load = (TRAPPED, LOAD_FAULT) if load_traps else None
    store = (TRAPPED, STORE_FAULT) if store_traps else None
    return interpret.access_fault(address, size, False) == load and interpret.access_fault(address, size, True) == store


def fetches_alike(pc: Any) -> bool:
    fault = interpret.fetch_fault(pc)
    try:
        status = step(machine(pc, (0,) * 32, NoMemory())).status
    except Fetched:
        return fault is None
    return fault == (status.kind, status.value)


def changes_little(row: Instruction, pc: Any, a: Any, b: Any, imm: Any, value: Any, call: Any) -> Any:
    """The pc stays a multiple of 4 below 2^64, and of the registers only rd changes; a trap or halt changes only the status."""
    registers = (0, a, b, *range(100, 114), call, *range(115, 129))
    memory: Any = OneValue(value)
    after = row.execute(machine(pc, registers, memory), Operands(RD, RS1, RS2, imm))
    same = [after.x[i] is registers[i] for i in range(32) if i != RD]
    if after.status != RUNNING:
        return all(same) and after.x[RD] is registers[RD] and after.pc is pc and after.memory is memory
    in_range = [(word >= 0) & (word < 1 << 64) for word in (after.pc, after.x[RD])]
    return reduce(and_, [after.pc % 4 == 0, *in_range], all(same))


def is_aligned(row: Instruction, pc: Any, *_: Any) -> Any:
    return pc % 4 == 0


STATEMENTS = (
    Statement("access.traps", "a load or store traps iff a byte of it is where it must not be", ADDRESS, traps_by_its_bytes, cases=SIZES),
    Statement("access.fast", "opml_min gives the same causes", ADDRESS, faults_alike, cases=SIZES),
    Statement("fetch.fast", "opml_min fetches where the specification does, with the same causes", {"pc": Integer(0)}, fetches_alike),
    Statement(
        "step.changes",
        "an instruction writes only rd and an aligned pc; a trap or halt only the status",
        {"pc": Word(64), "a": Word(64), "b": Word(64), "imm": Word(32, is_signed=True), "value": Word(64), "call": Word(64)},
        changes_little,
        is_aligned,
        tuple((row,) for row in INSTRUCTIONS),
    ),
)
