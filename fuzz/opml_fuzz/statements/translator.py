"""Statements about opml_min's machine: its templates, its basic blocks and its interpreter do what the specification's instructions do.

The translator's own functions write the text here, and `llvm.py` runs it. Registers, immediates, pc, budget, flags and the memory's content
are arbitrary. Whatever the text leaves to the interpreter must be a step that traps or halts, or one that the budget does not cover, and
the machine must be where it was.

*Source*: spec §2; `opml_min/machine/README.md`, "How an instruction becomes LLVM".
"""

from functools import reduce
from operator import and_
from typing import Any

from attrs import field, frozen
from opml_spec.machine.formats import Operands
from opml_spec.machine.instructions import INSTRUCTIONS
from opml_spec.machine.state import RUNNING, MachineState
from opml_spec.machine.table import Instruction
from opml_spec.words import quotient, signed, wrap

from opml_fuzz.machine.encodings import ENCODINGS, assemble
from opml_fuzz.statements.decoding import immediate
from opml_fuzz.statements.literals import Literal
from opml_fuzz.statements.llvm import Cells, Exit, Interpreter, Pointer, Undefined
from opml_fuzz.statements.statement import Statement, Word
from opml_min.machine import decode, interpret
from opml_min.machine.translator.basic_blocks import block_ir, is_left_to_interpreter
from opml_min.machine.translator.control_flow import Region
from opml_min.machine.translator.emit import BasicBlock
from opml_min.machine.translator.operations import ARITHMETIC, CONDITIONS
from opml_min.machine.translator.region import run_ir
from opml_min.memory_map import ENTRY, MEMORY_BYTES, PAGE_BYTES, PROGRAM_BYTES, QUARTER_BYTES

ROWS = {row.name: row for row in INSTRUCTIONS}
NOWHERE = Region(0, (), frozenset(), frozenset())
PAGES, PAGES_OF_A_QUARTER = MEMORY_BYTES // PAGE_BYTES, QUARTER_BYTES // PAGE_BYTES
REGISTERS = ((3, 1, 2), (0, 1, 2), (1, 1, 2), (2, 1, 2), (1, 1, 1), (3, 0, 2), (3, 1, 0))
"""Which registers are rd, rs1 and rs2: all different, x0, and what coincides."""


@frozen
class Flags:
    """The flag of every page: the same for all, except that no page of the model quarter has one (`memory/written_pages.py`)."""

    flag: Any

    def load(self, page: Any, width: int) -> Any:
        if page < 0 or page >= PAGES:
            raise Undefined("no such page")
        return 0 if page >= PAGES_OF_A_QUARTER and page < 2 * PAGES_OF_A_QUARTER else self.flag

    def store(self, page: Any, width: int, value: Any) -> None:
        """Nothing here depends on what becomes flagged; `checks.record` does."""


@frozen
class AccessLog:
    """A memory that records accesses; whatever is loaded, it is `content`. It serves as the specification's and as the text's."""

    content: Any
    accesses: list[tuple[Any, ...]] = field(factory=list)

    def load(self, address: Any, size: int) -> Any:
        self.accesses.append(("load", wrap(address), size))
        return wrap(self.content, 8 * size)

    def store(self, address: Any, size: int, value: Any) -> "AccessLog":
        self.accesses.append(("store", wrap(address), size, wrap(value, 8 * size)))
        return self


@frozen
class Bytes:
    """A memory that records accesses, behind a pointer of LLVM, whose accesses have widths in bits."""

    log: AccessLog
    size = MEMORY_BYTES

    def load(self, address: Any, width: int) -> Any:
        return self.log.load(address, width // 8)

    def store(self, address: Any, width: int, value: Any) -> None:
        self.log.store(address, width // 8, value)


def equal(these: tuple[Any, ...], those: tuple[Any, ...]) -> Any:
    """Whether two tuples hold equal things."""
    return len(these) == len(those) and reduce(and_, (this == that for this, that in zip(these, those, strict=True)), True)


def computes(name: str, a: Any, b: Any) -> Any:
    """The template gives the meaning, and is never undefined."""
    meaning: Any = ROWS[name].meaning
    block = BasicBlock(NOWHERE, 0, 1)
    block.arithmetic(name, 3, "%a", "%b")
    try:
        names = Interpreter().run([*block.lines, "ret void"], {"%a": a, "%b": b}).names
    except Undefined:
        return False
    return wrap(names[block.written[3]]) == wrap(meaning(a, b))


def knows_division_by_minus_one(name: str, a: Any, b: Any) -> Any:
    """Always true. It tells the prover, for which division is an unknown function, what dividing by −1 gives."""
    read = {"div": (signed, 64), "rem": (signed, 64), "divw": (signed, 32), "remw": (signed, 32)}.get(name)
    if read is None:
        return True
    dividend, divisor = (read[0](number, read[1]) for number in (a, b))
    if divisor == 0:
        return True
    result = quotient(dividend, divisor)
    return (divisor != -1) | (result == -dividend) & (divisor * result == dividend)


def compares(name: str, a: Any, b: Any) -> Any:
    """Text and interpreter take a branch iff the specification does."""
    meaning: Any = ROWS[name].meaning
    text = Interpreter().run([f"%taken = icmp {CONDITIONS[name]} i64 %a, %b", "ret void"], {"%a": a, "%b": b}).names["%taken"]
    taken = bool(meaning(a, b))
    return bool(text) == taken and bool(interpret.COMPARISONS[name](a, b)) == taken


def interprets(name: str, a: Any, b: Any) -> Any:
    """The interpreter's table gives the meaning."""
    meaning: Any = ROWS[name].meaning
    return wrap(interpret.ARITHMETIC[name](a, b)) == wrap(meaning(a, b))


class BlockRun:
    """A basic block run as text: where it went, the machine then, what it accessed."""

    def __init__(self, instructions: list[Any], names: dict[str, Any], machine: dict[str, Any], log: AccessLog, flag: Any) -> None:
        """names: the values of the literals in the instructions. machine: the values of pc, budget and registers"""
        region: Any = Region(Literal(machine["pc"], names), (0,) * len(instructions), frozenset(), frozenset())  # type: ignore[arg-type]
        lines = block_ir(region, 0, instructions, "start")
        self.cells = {name: Cells({0: value}) for name, value in machine.items()}
        interpreter = Interpreter({}, run_ir())
        interpreter.functions["flag"] = lambda *_: None  # what is flagged makes no difference here (`checks.record` is about that)
        control = Cells({0: 0, 8: Pointer(Cells())})
        pointers = {f"%{name}": Pointer(cell) for name, cell in self.cells.items()}
        pointers |= {"%memory": Pointer(Bytes(log)), "%flags": Pointer(Flags(flag)), "%control": Pointer(control)}
        functions = {"%record_write": interpreter.functions["record_write"]}
        self.exit: Exit = interpreter.run(lines, {**names, **pointers, **functions})

    def __getitem__(self, name: str) -> Any:
        return wrap(self.cells[name].values[0])


def executes(row: Instruction, numbers: tuple[int, int, int], *values: Any) -> Any:
    """The basic block of one instruction is the step, or is left to the interpreter because the step traps, halts or is not paid for."""
    pc, a, b, imm, content, budget, flag = values
    rd, rs1, rs2 = numbers
    x = (0, a, b, 103, *range(104, 132))
    names = dict[str, Any]()
    imm = immediate(row.name, imm)
    instruction = decode.decode(assemble(row.name, rd, rs1, rs2))._replace(imm=Literal(imm, names))  # type: ignore[arg-type]
    instructions = [] if is_left_to_interpreter(instruction) else [instruction]
    log, real = AccessLog(content), AccessLog(content)
    memory: Any = real
    after = row.execute(MachineState(pc, x, RUNNING, memory), Operands(rd, rs1, rs2, imm))
    try:
        run = BlockRun(instructions, names, {"pc": pc, "budget": budget, "x1": a, "x2": b, "x3": x[3]}, log, flag)
    except Undefined:
        return False
    registers = tuple(run[f"x{number}"] for number in (1, 2, 3))
    if run.exit.label == "interpret":
        is_left = budget == 0 or after.status != RUNNING
        return is_left and not log.accesses and equal((run["pc"], run["budget"], *registers), (pc, budget, *x[1:4]))
    if after.status != RUNNING or len(log.accesses) != len(real.accesses):
        return False
    same = equal((run["pc"], run["budget"], *registers), (after.pc, budget - 1, *after.x[1:4]))
    return reduce(and_, (equal(one, other) for one, other in zip(log.accesses, real.accesses, strict=True)), same)


def is_step(row: Instruction, numbers: tuple[int, int, int], pc: Any, a: Any, b: Any, *_: Any) -> Any:
    return (pc % 4 == 0) & (pc >= ENTRY) & (pc < ENTRY + PROGRAM_BYTES) & knows_division_by_minus_one(row.name, a, b)


def register_cases(row: Instruction) -> tuple[tuple[int, int, int], ...]:
    """The choices of registers that make a difference to an instruction."""
    match ENCODINGS[row.name].format:
        case "R" if row.match >> 25 == 1:
            return REGISTERS[:1]  # the templates of products and quotients are proved above, with any operands
        case "S" | "B":
            return tuple(numbers for numbers in REGISTERS if numbers[0] in (3, numbers[1], numbers[2]) and numbers[0] != 2)
        case "R" | "I" | "5" | "6":
            return REGISTERS
    return REGISTERS[:2]


SIGNED = ("mulh", "mulhsu", "div", "rem", "divw", "remw")  # of the interpreter; the solver takes too long
OPERANDS = {"a": Word(64), "b": Word(64)}
STATEMENTS = (
    *(
        Statement(
            f"translator.{name}",
            f"opml_min's LLVM for {name} is the specification's, and always defined",
            OPERANDS,
            computes,
            knows_division_by_minus_one,
            ((name,),),
        )
        for name in ARITHMETIC
    ),
    Statement(
        "translator.branches",
        "translated and interpreted branches are the specification's",
        OPERANDS,
        compares,
        cases=tuple((name,) for name in CONDITIONS),
    ),
    Statement(
        "translator.steps",
        "the basic block of one instruction is the specification's step; only traps and halts are left to the interpreter",
        {"pc": Word(64), **OPERANDS, "imm": Word(32), "content": Word(64), "budget": Word(64), "flag": Word(1)},
        executes,
        is_step,
        tuple((row, numbers) for row in INSTRUCTIONS for numbers in register_cases(row)),
    ),
    Statement(
        "interpreter.computes",
        "opml_min's interpreter computes what the specification does",
        OPERANDS,
        interprets,
        cases=tuple((name,) for name in interpret.ARITHMETIC if name not in SIGNED),
    ),
)
