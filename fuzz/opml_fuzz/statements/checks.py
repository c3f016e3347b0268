"""Statements about the checks of translated code: where one check stands for many accesses, none of these can trap.

Translated code checks an *access range* once, and records the pages of a store before it writes. The statements follow the three parts of
that: which ranges are checked (`bounds_checks`), what a check lets pass (`emit`), and what gets recorded (`record_write`).

*Source*: spec §2.4; `opml_min/machine/README.md`.
"""

from functools import reduce
from itertools import product
from operator import and_, or_
from typing import Any

from attrs import field, frozen
from opml_spec.machine.instructions.loads_stores import meets_model, outside_memory
from opml_spec.words import wrap

from opml_fuzz.statements.literals import Literal
from opml_fuzz.statements.llvm import Cells, Interpreter, Pointer, Undefined
from opml_fuzz.statements.statement import Integer, Statement, Word
from opml_min.machine.decode import ACCESS_BYTES, IMMEDIATE, LOAD, REGISTER, STORE, Instruction
from opml_min.machine.translator.bounds_checks import AccessRange, loop_ranges, ranges_to_check
from opml_min.machine.translator.control_flow import Region
from opml_min.machine.translator.emit import BasicBlock
from opml_min.machine.translator.region import run_ir
from opml_min.memory_map import MEMORY_BYTES, PAGE_BYTES, QUARTER_BYTES

NOWHERE = Region(0, (), frozenset(), frozenset())
LEFT_TO_INTERPRETER = "interpret"


def is_page_for_stores(page: Any) -> Any:
    """Whether a page lies in the memory, and not in the model quarter."""
    first, quarter = page * PAGE_BYTES, QUARTER_BYTES
    return (first >= 0) & (first + PAGE_BYTES <= MEMORY_BYTES) & ((first + PAGE_BYTES <= quarter) | (first >= 2 * quarter))


def lies_in(page: Any, byte: Any) -> Any:
    """Whether the byte at an address lies in a page; inequalities are easier for the solver than a division."""
    return (page * PAGE_BYTES <= byte) & (byte < page * PAGE_BYTES + PAGE_BYTES)


@frozen
class PageFlags:
    """The flags of pages: each page that is asked for has the next of the given flags, unless no store may reach it."""

    given: list[Any]
    flagged: list[Any] = field(factory=list)

    def load(self, page: Any, width: int) -> Any:
        flag = self.given.pop(0)
        if flag == 0 or not is_page_for_stores(page):
            return 0
        self.flagged.append(page)
        return 1

    def set(self, control: Any, flags: Any, page: Any) -> None:
        self.flagged.append(wrap(page))

    def hold(self, address: Any, size: Any = 1) -> Any:
        """Whether the pages of the first and of the last byte are flagged."""
        return reduce(and_, (reduce(or_, (lies_in(page, byte) for page in self.flagged), False) for byte in (address, address + size - 1)))


def record_write(flags: PageFlags) -> Any:
    """The translator's function for stores to pages without a flag."""
    interpreter = Interpreter({}, run_ir())
    interpreter.functions["flag"] = flags.set
    return interpreter.functions["record_write"]


def records(address: Any, size: Any) -> Any:
    """It refuses what traps, and only that; otherwise the pages of all bytes are flagged, and only such as stores may reach."""
    flags = PageFlags([])
    is_recorded = bool(record_write(flags)(None, None, address, size))
    traps = bool(outside_memory(address, size)) or bool(meets_model(address, size))
    if traps or not is_recorded:
        return traps and not is_recorded and not flags.flagged
    return reduce(and_, map(is_page_for_stores, flags.flagged)) & flags.hold(address, size)


class Place:
    """Memory at an arbitrary offset, of which one element is known and one is written."""

    def __init__(self, offset: Any, value: Any) -> None:
        self.offset, self.value, self.written = offset, value, 0

    def load(self, offset: Any, width: int) -> Any:
        if offset != self.offset:
            raise Undefined("another element")
        return self.value

    def store(self, offset: Any, width: int, value: Any) -> None:
        if offset != self.offset:
            raise Undefined("another element")
        self.value, self.written = value, self.written + 1


def flags_once(page: Any, flag: Any, length: Any) -> Any:
    """A page without a flag gets one and joins the list at its end; for a flagged page nothing happens."""
    flags, pages = Place(page, flag), Place(8 * length, None)
    control = {0: length, 8: Pointer(pages)}

    class Control:
        load = staticmethod(lambda offset, width: control[offset])
        store = staticmethod(lambda offset, width, value: control.update({offset: value}))

    try:
        Interpreter({}, run_ir()).functions["flag"](Pointer(Control()), Pointer(flags), page)
    except Undefined:
        return False
    if flag != 0:
        return flags.written == 0 and pages.written == 0 and control[0] is length
    return flags.written == pages.written == 1 and (flags.value == 1) & (pages.value == page) & (control[0] == length + 1)


def passes(kind: str, base: Any, low: Any, size: Any, at: Any, width: Any, flag: Any, other: Any) -> Any:
    """If the check of a range passes, no access inside it traps; where it stores, its pages are flagged."""
    names = dict[str, Any]()
    flags = PageFlags([flag, other])
    block = BasicBlock(NOWHERE, 0, 1)
    block.values[1] = "%base"
    check = block.check_load if kind == LOAD else block.check_store
    literal: Any = Literal(low, names), Literal(size, names)
    check(0, block.address(1, literal[0]), literal[1])
    places = {name: Pointer(Cells({0: 0})) for name in ("%pc", "%budget")}
    places |= {"%flags": Pointer(flags), "%control": Pointer(None)}
    values = {"%base": base, "%record_write": record_write(flags), **names, **places}
    if Interpreter().run([*block.lines, "br label %passed"], values).label == LEFT_TO_INTERPRETER:
        return True
    address = wrap(base + at)
    if kind == LOAD:
        return not outside_memory(address, width)
    return not outside_memory(address, width) and not meets_model(address, width) and flags.hold(address, width)


def is_inside(kind: str, base: Any, low: Any, size: Any, at: Any, width: Any, *_: Any) -> Any:
    return (low <= at) & (at + width <= low + size)


# Which ranges are checked ------------------------------------------------------------------------------------------------------

Shape = tuple[Instruction, ...]
ONES = (
    *(Instruction(LOAD, "ld", rd, rs1) for rd, rs1 in product((1, 2), repeat=2)),
    *(Instruction(STORE, "sb", 0, rs1, 2) for rs1 in (1, 2)),
    *(Instruction(IMMEDIATE, "add", rd, rs1) for rd, rs1 in product((1, 2), repeat=2)),
    *(Instruction(REGISTER, "xor", rd, 1, 2) for rd in (1, 2)),
)
ACCESSES = (Instruction(LOAD, "ld", 2, 1), Instruction(LOAD, "ld", 1, 1), Instruction(STORE, "sb", 0, 1, 2))
SHAPES: tuple[tuple[Shape], ...] = (
    *((shape,) for shape in product(ONES, ONES)),
    *((shape,) for shape in product(ACCESSES, ONES, ACCESSES)),
    *((shape,) for shape in product([Instruction(IMMEDIATE, "add", 1, 1)], [Instruction(IMMEDIATE, "add", 1, 1)], ACCESSES)),
)
IMMEDIATES = {f"imm_{i}": Integer(-2048, 2047) for i in range(3)}


def with_immediates(shape: Shape, immediates: tuple[Any, ...]) -> list[Instruction]:
    """The instructions with these numbers in them."""
    numbered = zip(shape, immediates, strict=False)
    return [one._replace(imm=Literal(imm, {})) if one.kind != REGISTER else one for one, imm in numbered]  # type: ignore[arg-type]


def contains(checked: AccessRange, offset: Any, size: int) -> Any:
    low: Any = checked.low
    return (low <= offset) & (low + checked.size >= offset + size)


def is_planned(shape: Shape, *immediates: Any) -> Any:
    """Each access of a basic block lies in a range that is checked before it, and after its base was last written."""
    instructions = with_immediates(shape, immediates)
    plan = ranges_to_check(instructions, 0)
    result: Any = reduce(and_, (checked.size <= PAGE_BYTES for checked in plan.values()), True)
    for index, one in enumerate(instructions):
        if one.kind in (LOAD, STORE):
            writes = [i for i in range(index) if instructions[i].rd == one.rs1]
            since = max(writes, default=-1)
            fitting = [r for at, r in plan.items() if since < at <= index and (r.kind, r.base) == (one.kind, one.rs1)]
            result = result & reduce(or_, (contains(r, one.imm, ACCESS_BYTES[one.operation]) for r in fitting), False)
    return result


def is_predicted(shape: Shape, *immediates: Any) -> Any:
    """Each access of each iteration lies in a range that moves as the base does."""
    instructions = with_immediates(shape, immediates)
    ranges = loop_ranges(instructions)
    if ranges is None:
        return True
    result: Any = reduce(and_, (r.size <= PAGE_BYTES for r in ranges), True)
    places: dict[int, tuple[int, Any]] = {1: (1, 0), 2: (2, 0)}  # the value of a register is that of another at the start, and a number
    accesses = list[tuple[Instruction, tuple[int, Any]]]()
    for one in instructions:
        if one.kind in (LOAD, STORE):
            accesses.append((one, places[one.rs1]))
        if one.rd:
            base, moved = places[one.rs1]
            places[one.rd] = (base, moved + one.imm) if one.kind == IMMEDIATE else (0, 0)
    for one, (base, moved) in accesses:
        fitting = [r for r in ranges if (r.kind, r.base) == (one.kind, one.rs1)]
        if base != one.rs1 or places[one.rs1][0] != one.rs1:
            return False
        moves_along = (contains(r, one.imm + moved, ACCESS_BYTES[one.operation]) & (places[one.rs1][1] == r.stride) for r in fitting)
        result = result & reduce(or_, moves_along, False)
    return result


OFFSET = Integer(-(1 << 31), (1 << 31) - 1)
RANGE = {"base": Integer(0, (1 << 64) - 1), "low": OFFSET, "size": Integer(1, PAGE_BYTES), "at": OFFSET, "width": Integer(1, 8)}
STATEMENTS = (
    Statement(
        "checks.record",
        "record_write refuses the stores that trap, and flags the pages of the others",
        {"address": Integer(0, (1 << 64) - 1), "size": Integer(1, PAGE_BYTES)},
        records,
    ),
    Statement(
        "checks.flag",
        "a page is listed when it gets its flag",
        {"page": Word(30), "flag": Word(1), "length": Word(30)},
        flags_once,
    ),
    Statement(
        "checks.passes",
        "no access in a range that passed its check can trap",
        {**RANGE, "flag": Integer(0, 1), "other": Integer(0, 1)},
        passes,
        is_inside,
        ((LOAD,), (STORE,)),
    ),
    Statement(
        "checks.planned",
        "each access of a basic block is in a range that is checked (all shapes of two instructions, some of three)",
        IMMEDIATES,
        is_planned,
        cases=SHAPES,
    ),
    Statement(
        "checks.predicted",
        "each access of an iteration is in a range that moves with its base (the same shapes)",
        IMMEDIATES,
        is_predicted,
        cases=SHAPES,
    ),
)
