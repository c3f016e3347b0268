"""Statements about loops: the number of iterations that translated code executes without a check is one that needs none.

The translator's own functions write that number's text for a loop of arbitrary strides, offsets, sizes and length. Then, for every
iteration below the number: the budget covers it, its accesses do not trap and stay in flagged pages, the branch at its end is taken (but
for the last), and what is carried in 32 bits fits them. What an iteration does is stated in `iterations.py`.

*Source*: spec §2.4; `opml_min/machine/README.md`, "How loops get fast".
"""

from typing import Any

from opml_spec.words import wrap

from opml_fuzz.statements.checks import NOWHERE, PageFlags
from opml_fuzz.statements.literals import Literal
from opml_fuzz.statements.llvm import Cells, Interpreter, Pointer, signed, unsigned
from opml_fuzz.statements.statement import Integer, Statement
from opml_min.machine import interpret
from opml_min.machine.decode import BRANCH, IMMEDIATE, LOAD, STORE, Instruction
from opml_min.machine.translator.bounds_checks import AccessRange
from opml_min.machine.translator.emit import BasicBlock
from opml_min.machine.translator.loops import Loop, _certain_iterations, loop_at
from opml_min.memory_map import MEMORY_BYTES, PAGE_BYTES

A, B = 1, 2  # the registers that the branch compares


def certain_iterations(loop: Loop, length: Any, registers: dict[int, Any], budget: Any, flags: PageFlags, names: dict[str, Any]) -> Any:
    """Runs the text that computes how many iterations need no check."""
    block = BasicBlock(NOWHERE, 0, length)
    block.values |= {number: f"%register{number}" for number in registers}
    result = _certain_iterations(block, loop)
    values = {f"%register{number}": value for number, value in registers.items()}
    values |= {"%budget": Pointer(Cells({0: budget})), "%flags": Pointer(flags)}
    return unsigned(Interpreter().run([*block.lines, "ret void"], {**values, **names}).names[result])


def is_paid(budget: Any, length: Any) -> Any:
    """The budget covers all iterations."""
    names = dict[str, Any]()
    literal: Any = Literal(length, names)
    iterations = certain_iterations(Loop(NOWHERE, 0, [Instruction(BRANCH, "bne")], [], None), literal, {}, budget, PageFlags([]), names)
    return iterations * length <= budget


def stays_inside(kind: str, base: Any, low: Any, size: Any, stride: Any, iteration: Any, flag: Any, other: Any) -> Any:
    """The range of every iteration is in the memory."""
    names = dict[str, Any]()
    literals: Any = (Literal(low, names), Literal(size, names), Literal(stride, names))
    flags = PageFlags([flag, other])
    loop = Loop(NOWHERE, 0, [Instruction(BRANCH, "bne")], [AccessRange(kind, A, *literals)], None)
    iterations = certain_iterations(loop, 1, {A: base}, (1 << 64) - 1, flags, names)
    if iteration >= iterations:
        return True
    address = wrap(base + low) + iteration * stride
    never = (iterations - 1 - iteration) * abs(stride) < 0  # no product of two numbers ≥ 0 is below 0: a hint for the solver
    return never | (address >= 0) & (address + size <= MEMORY_BYTES)


def stays_in_pages(stride: int, base: Any, low: Any, size: Any, iteration: Any, flag: Any, other: Any) -> Any:
    """The range of every iteration that stores is in the memory and in flagged pages."""
    names = dict[str, Any]()
    low_literal: Any = Literal(low, names)
    size_literal: Any = Literal(size, names)
    flags = PageFlags([flag, other])
    loop = Loop(NOWHERE, 0, [Instruction(BRANCH, "bne")], [AccessRange(STORE, A, low_literal, size_literal, stride)], None)
    iterations = certain_iterations(loop, 1, {A: base}, (1 << 64) - 1, flags, names)
    if iteration >= iterations:
        return True
    address = wrap(base + low) + iteration * stride
    return (address >= 0) & (address + size <= MEMORY_BYTES) & flags.hold(address, size)


def is_taken(operation: str, adds: str, side: int, a: Any, b: Any, imm: Any, iteration: Any) -> Any:
    """The branch is taken after every iteration but the last, and a register that is carried in 32 bits holds no more."""
    names = dict[str, Any]()
    literal: Any = Literal(imm, names)
    moves = Instruction(IMMEDIATE, adds, side, side, 0, literal)
    loop = loop_at(NOWHERE, 0, [moves, Instruction(BRANCH, operation, 0, A, B, -4)])
    if loop is None or loop.counter is None:
        return True
    iterations = certain_iterations(loop, 2, {A: a, B: b}, (1 << 64) - 1, PageFlags([]), names)
    if iterations == 0:
        return True
    start = {A: a, B: b}[side]
    if adds == "addw" and unsigned(signed(start, 32)) != start:
        return False
    if iteration >= iterations:
        return True
    moved = start + iteration * imm
    after = {A: a, B: b, side: unsigned(signed(moved, 32) if adds == "addw" else moved)}
    return bool(interpret.COMPARISONS[operation](after[A], after[B]))


WORD = Integer(0, (1 << 64) - 1)
FLAG = Integer(0, 1)
SIZE = Integer(1, PAGE_BYTES)
OFFSET = Integer(-(1 << 31), (1 << 31) - 1)
STATEMENTS = (
    Statement(
        "loops.paid",
        "the budget covers the iterations that are executed without a check",
        {"budget": WORD, "length": Integer(1, 256)},
        is_paid,
    ),
    Statement(
        "loops.inside",
        "no access of an iteration without a check can trap, whatever its stride",
        {"base": WORD, "low": OFFSET, "size": SIZE, "stride": OFFSET, "iteration": Integer(0), "flag": FLAG, "other": FLAG},
        stays_inside,
        cases=((LOAD,), (STORE,)),
    ),
    Statement(
        "loops.pages",
        "stores of iterations without a check stay in flagged pages, for strides of 1, 2 and 8 bytes",
        {"base": WORD, "low": OFFSET, "size": SIZE, "iteration": Integer(0), "flag": FLAG, "other": FLAG},
        stays_in_pages,
        cases=((1,), (-1,), (2,), (8,), (-8,)),  # of some others, 4 among them, the solver knows no answer in time
    ),
    Statement(
        "loops.taken",
        "the branch is taken after each iteration without a check but the last, and 32 bits hold what is carried in them",
        {"a": WORD, "b": WORD, "imm": Integer(-2048, 2047), "iteration": Integer(1)},
        is_taken,
        cases=tuple((operation, adds, side) for operation in interpret.COMPARISONS for adds in ("add", "addw") for side in (A, B)),
    ),
)
