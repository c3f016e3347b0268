"""Which accesses of a basic block can be checked together.

Checking every access on its own would cost more than the accesses. Two things are known without running the code: accesses that use the
same base value lie at fixed distances from one another, and in many loops every base moves by a constant per iteration. So one check can
cover an *access range*, and one computation can cover many iterations. Where a check fails, the interpreter executes the accesses one by
one, so the trap comes where it must.
"""

from attrs import frozen

from opml_min.machine.decode import ACCESS_BYTES, IMMEDIATE, LOAD, STORE, Instruction
from opml_min.memory_map import PAGE_BYTES


@frozen
class AccessRange:
    """Bytes `[x[base] + low, x[base] + low + size)`; in a loop they move by `stride` per iteration."""

    kind: str  # LOAD or STORE
    base: int
    low: int
    size: int  # at most PAGE_BYTES, so that it meets no page but those of its two ends
    stride: int = 0


def range_of(instruction: Instruction, moved: int = 0) -> AccessRange:
    """The range of one access, relative to what its base was before it moved by `moved`."""
    return AccessRange(instruction.kind, instruction.rs1, instruction.imm + moved, ACCESS_BYTES[instruction.operation])


def joined(a: AccessRange, b: AccessRange) -> AccessRange:
    """The smallest range that holds two of the same kind and base."""
    low, high = min(a.low, b.low), max(a.low + a.size, b.low + b.size)
    return AccessRange(a.kind, a.base, low, high - low)


def ranges_to_check(instructions: list[Instruction], first: int) -> dict[int, AccessRange]:
    """What to check before which instruction (numbered from `first`), so that every access of a basic block has been checked."""
    result: dict[int, AccessRange] = {}
    growing: dict[tuple[str, int], int] = {}  # (kind, base): where the range is checked that later accesses can join
    for index, instruction in enumerate(instructions, first):
        if instruction.kind in (LOAD, STORE):
            accessed = range_of(instruction)
            at = growing.get((accessed.kind, accessed.base), index)
            both = joined(result.get(at, accessed), accessed)
            if both.size > PAGE_BYTES:
                at, both = index, accessed
            growing[accessed.kind, accessed.base] = at
            result[at] = both
        if instruction.rd:
            growing.pop((LOAD, instruction.rd), None)
            growing.pop((STORE, instruction.rd), None)
    return result


def moves(instructions: list[Instruction], operation: str = "add") -> dict[int, int | None]:
    """By how much an iteration moves each register that it writes; None if not by a constant, added with this operation."""
    moved: dict[int, int | None] = {}
    for kind, name, rd, rs1, _, imm in instructions:
        if rd:
            so_far = moved.get(rd, 0)
            moved[rd] = so_far + imm if kind == IMMEDIATE and name == operation and rs1 == rd and so_far is not None else None
    return moved


def loop_ranges(instructions: list[Instruction]) -> list[AccessRange] | None:
    """The ranges of all accesses of an iteration, relative to what the bases are when it begins.

    None if a base does not move by a constant, or if the accesses through one base are too far apart.
    """
    found: dict[tuple[str, int], AccessRange] = {}
    for index, instruction in enumerate(instructions):
        if instruction.kind in (LOAD, STORE):
            so_far = moves(instructions[:index]).get(instruction.rs1, 0)
            if so_far is None:
                return None
            accessed, place = range_of(instruction, so_far), (instruction.kind, instruction.rs1)
            found[place] = joined(found.get(place, accessed), accessed)
    moved = moves(instructions)
    if any(moved.get(r.base, 0) is None or r.size > PAGE_BYTES for r in found.values()):
        return None
    return [AccessRange(r.kind, r.base, r.low, r.size, moved.get(r.base) or 0) for r in found.values()]
