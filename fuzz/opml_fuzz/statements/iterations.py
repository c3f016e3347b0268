"""Statements about iterations: what translated code executes at once, without a check, is what the specification executes one by one.

For each of some loops, the text of its function and of its call runs one iteration or two, from arbitrary registers, memory and budget. The
result must be the machine that the specification's instructions give. (`counted_loops.py` states that so many iterations need no check.)

*Source*: spec §2; `opml_min/machine/README.md`, "How loops get fast".
"""

from functools import reduce
from operator import and_
from typing import Any

from opml_spec.machine.decode import decode
from opml_spec.machine.state import RUNNING, MachineState

from opml_fuzz.machine.encodings import assemble
from opml_fuzz.statements.llvm import Cells, Interpreter, Pointer, Undefined, unsigned
from opml_fuzz.statements.statement import NotAdmitted, Statement, Word
from opml_fuzz.statements.translator import AccessLog, Bytes, Flags, equal
from opml_min.machine.translator.basic_blocks import instructions_of
from opml_min.machine.translator.control_flow import Region
from opml_min.machine.translator.loops import Loop, call_ir, function_ir, loop_at
from opml_min.memory_map import ENTRY

T, U, P, Q, END = 5, 6, 10, 11, 12  # registers: two for values, two pointers or sums, the limit


def word(name: str, rd: int = 0, rs1: int = 0, rs2: int = 0, imm: int = 0) -> int:
    return assemble(name, rd, rs1, rs2, imm)


def closed(*body: int, by: str = "bne", rs1: int = P, rs2: int = END) -> tuple[int, ...]:
    """The words of a loop: the body, and a branch back to its beginning."""
    return (*body, word(by, rs1=rs1, rs2=rs2, imm=-4 * len(body)))


LOOPS = {
    "sum": closed(word("ld", T, P), word("add", Q, Q, T), word("addi", P, P, 0, 8)),
    "bytes": closed(word("lb", T, P), word("lb", U, P, 0, 1), word("xor", T, T, U), word("addw", Q, Q, T), word("addi", P, P, 0, 2)),
    "copy": closed(word("lw", T, P), word("sw", 0, Q, T, 4), word("addi", P, P, 0, -4), word("addi", Q, Q, 0, 4), by="bgeu"),
    "words": closed(word("add", T, P, Q), word("addiw", P, P, 0, 4), word("subw", Q, P, Q), by="blt"),
    "search": closed(word("lbu", T, P), word("addi", P, P, 0, 1), by="beq", rs1=T, rs2=END),
}
CHANGED = (T, U, P, Q)


def loop_of(name: str) -> Loop:
    """The loop as the translator sees it."""
    region = Region(ENTRY, LOOPS[name], frozenset([0]), frozenset([0]))
    loop = loop_at(region, 0, instructions_of(region, 0))
    if loop is None:
        raise ValueError(f"{name} is not a loop to the translator")
    return loop


def executes(name: str, count: int, *values: Any) -> Any:
    """So many iterations at once are the specification's steps, where so many need no check."""
    *registers, content, budget, flag = values
    loop, log, real = loop_of(name), AccessLog(content), AccessLog(content)
    memory: Any = real
    x = dict(zip((*CHANGED, END), registers, strict=True))
    text = [line.replace("label %block0,", "label %again,") for line in call_ir(loop)]
    interpreter = Interpreter({}, function_ir(loop))
    function = interpreter.functions["iterations0"]

    def iterations(memory: Any, results: Any, most: Any, *given: Any) -> Any:
        if count > unsigned(most):
            raise NotAdmitted
        return function(memory, results, count, *given)

    interpreter.functions["iterations0"] = iterations
    cells = {f"%x{number}": Cells({0: value}) for number, value in x.items()} | {"%pc": Cells({0: ENTRY}), "%budget": Cells({0: budget})}
    pointers = {name: Pointer(cell) for name, cell in cells.items()}
    pointers |= {"%memory": Pointer(Bytes(log)), "%flags": Pointer(Flags(flag)), "%results": Pointer(Cells())}
    try:
        label = interpreter.run(text, pointers).label
    except Undefined:
        return False
    if label == "checked0":
        if log.accesses or not equal(tuple(cell.values[0] for cell in cells.values()), (*x.values(), ENTRY, budget)):
            return False
        raise NotAdmitted  # what is left to checked code is as it was, and that is all
    state, executed = MachineState(ENTRY, tuple(x.get(number, 0) for number in range(32)), RUNNING, memory), 0
    while executed < count and (state.pc == ENTRY or executed == 0):
        for code in loop.region.words:
            row: Any = decode(code)
            state = row.execute(state, row.operands(code))
        executed += 1
    here = (*(unsigned(cells[f"%x{number}"].values[0]) for number in CHANGED), cells["%budget"].values[0])
    there = (*(state.x[number] for number in CHANGED), budget - executed * len(loop.region.words))
    if label != ("again" if state.pc == ENTRY else "leave") or len(log.accesses) != len(real.accesses):
        return False
    return reduce(and_, (equal(one, two) for one, two in zip(log.accesses, real.accesses, strict=True)), equal(here, there))


def knows_division(name: str, count: int, *values: Any) -> Any:
    """Always true. It tells the prover, for which division is an unknown function, what the quotient of the budget is."""
    budget, length = values[-2], len(LOOPS[name])
    covered = budget // length
    return (covered >= 0) & (covered <= budget) & (covered * length <= budget) & (budget < covered * length + length)


REGISTERS = {f"x{number}": Word(64) for number in (*CHANGED, END)}
STATEMENTS = (
    Statement(
        "iterations.executed",
        "iterations without a check are the specification's steps, for five loops",
        {**REGISTERS, "content": Word(64), "budget": Word(64), "flag": Word(1)},
        executes,
        knows_division,
        (("sum", 1), ("copy", 1), *((name, 2) for name in LOOPS if name != "copy")),
    ),
)
