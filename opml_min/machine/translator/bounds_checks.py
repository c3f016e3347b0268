"""Which accesses of a block can be checked together.

Checking every access on its own would cost more than the accesses. Two things are known without running the code: accesses that use the
same base value lie at fixed distances from one another; and in many loops every base moves by a constant each round. So one check can do
for a *window* of bytes, and one computation for many rounds. Where a check fails, the interpreter makes the accesses one by one, so
the trap comes where it must.
"""

from dataclasses import dataclass

from opml_min.machine.decode import ACCESS_BYTES, IMMEDIATE, LOAD, STORE, Instruction
from opml_min.machine.memory.keccak import BLOCK_BYTES


@dataclass(frozen=True)
class Window:
    """Bytes `[x[base] + low, x[base] + low + size)`; in a loop they move by `step` each round."""

    form: str  # LOAD or STORE
    base: int
    low: int
    size: int  # at most a block of the memory, so that it meets no block between those of its two ends
    step: int = 0


def window_of(instruction: Instruction, moved: int = 0) -> Window:
    """What one access needs; its base has moved by `moved` since the window's reference point."""
    return Window(instruction.form, instruction.rs1, instruction.imm + moved, ACCESS_BYTES[instruction.operation])


def joined(a: Window, b: Window) -> Window:
    """The smallest window that holds two of the same form and base."""
    low, high = min(a.low, b.low), max(a.low + a.size, b.low + b.size)
    return Window(a.form, a.base, low, high - low)


def windows(instructions: list[Instruction], first: int) -> dict[int, Window]:
    """What to check before which instruction (numbered from `first`), so that every access of a block is checked before it is made."""
    result: dict[int, Window] = {}
    growing: dict[tuple[str, int], int] = {}  # (form, base): where the window is checked that later accesses can join
    for index, instruction in enumerate(instructions, first):
        if instruction.form in (LOAD, STORE):
            window = window_of(instruction)
            at = growing.get((window.form, window.base), index)
            both = joined(result.get(at, window), window)
            if both.size > BLOCK_BYTES:
                at, both = index, window
            growing[window.form, window.base] = at
            result[at] = both
        if instruction.rd:
            growing.pop((LOAD, instruction.rd), None)
            growing.pop((STORE, instruction.rd), None)
    return result


def moves(instructions: list[Instruction], operation: str = "add") -> dict[int, int | None]:
    """By how much each written register has moved after a round; None if not by a constant, added with this operation."""
    moved: dict[int, int | None] = {}
    for form, name, rd, rs1, _, imm in instructions:
        if rd:
            so_far = moved.get(rd, 0)
            moved[rd] = so_far + imm if form == IMMEDIATE and name == operation and rs1 == rd and so_far is not None else None
    return moved


def loop_windows(instructions: list[Instruction]) -> list[Window] | None:
    """All accesses of a loop's round, relative to the bases when it begins; None if a base does not move by a constant.

    None, too, if the accesses through one base are too far apart.
    """
    found: dict[tuple[str, int], Window] = {}
    for index, instruction in enumerate(instructions):
        if instruction.form in (LOAD, STORE):
            so_far = moves(instructions[:index]).get(instruction.rs1, 0)
            if so_far is None:
                return None
            window, place = window_of(instruction, so_far), (instruction.form, instruction.rs1)
            found[place] = joined(found.get(place, window), window)
    moved = moves(instructions)
    if any(moved.get(window.base, 0) is None or window.size > BLOCK_BYTES for window in found.values()):
        return None
    return [Window(w.form, w.base, w.low, w.size, moved.get(w.base) or 0) for w in found.values()]
