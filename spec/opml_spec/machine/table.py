"""The table of instructions. Each family of instructions (`instructions/`) adds its rows; the rest of the machine only reads it.

Everything there is to say about an instruction is in its row: which words it is, how it is written, what it does.
"""

from collections.abc import Callable

from attrs import frozen

from opml_spec.machine.formats import Operands, parse
from opml_spec.machine.state import MachineState

Execute = Callable[[MachineState, Operands], MachineState]
Meaning = Callable[..., int]


@frozen
class Instruction:
    """One row. A word is this instruction iff `word & mask == match`. `meaning` is the pure function at its heart, where it has one."""

    name: str
    mask: int
    match: int
    format: str
    operands: Callable[[int], Operands]
    syntax: str
    execute: Execute
    meaning: Meaning | None


TABLE: list[Instruction] = []


def add_row(row: str, syntax: str, execute: Execute, meaning: Meaning | None = None) -> None:
    """Enter one instruction: its row of the manual's listing, mnemonic last, its assembly syntax and what it does."""
    encoding, name = row.rsplit(maxsplit=1)
    parsed = parse(encoding)
    TABLE.append(Instruction(name, parsed.mask, parsed.match, parsed.format, parsed.operands, syntax, execute, meaning))
