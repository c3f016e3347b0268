"""Functional coverage: which corners a step is, told from the state alone, and which corners there are.

A *coverpoint* is a question about a step of one instruction, with a finite number of answers, its *bins*. The names are those of the RISC-V
architecture tests, where these have one. A cell of the table is one instruction and one coverpoint; it says how many bins were hit.

*Source*: the coverpoints of riscv-arch-test (`cp_rd`, `cr_rs1_rs2_edges`, `cmp_rd_rs1` …); spec §2.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import product

from attrs import frozen

from opml_fuzz.machine.encodings import ENCODINGS, assemble, decoded, immediate_of
from opml_fuzz.machine.numbers import ENTRY, LEAF, MEMORY, QUARTER, TEXT_BYTES, TOP
from opml_fuzz.machine.start import REGISTERS, Start
from opml_fuzz.sweep.accesses import SIZES, STORES
from opml_fuzz.sweep.coinciding import WAYS, has_one_source, way
from opml_fuzz.sweep.edges import BRANCH, JUMP, TWELVE, UPPER, VALUES
from opml_fuzz.sweep.point import HEIGHTS

EDGES = frozenset(VALUES)
ILLEGAL = "illegal"
NOT_RUNNING = "not running"
NO_FETCH = "no fetch"
BORDERS = tuple(QUARTER * quarter for quarter in range(1, 5))
PLACES = ("first word", "last word", "misaligned", "outside", "misaligned and outside")


@frozen
class Executed:
    """A step as the coverpoints see it: the instruction's fields and the values in its registers."""

    start: Start
    word: int
    rd: int
    rs1: int
    rs2: int
    imm: int
    a: int
    b: int

    @property
    def address(self) -> int:
        """Computes what a load or store accesses."""
        return (self.a + self.imm) % TOP


@frozen
class Coverpoint:
    """A question, all its answers, and how a step answers it; None if it says nothing about it."""

    name: str
    bins: frozenset[Hashable]
    answer: Callable[[Executed], Hashable | None]


def edge(value: int) -> int | None:
    return value if value in EDGES else None


def both(left: Hashable | None, right: Hashable | None) -> Hashable | None:
    return None if left is None or right is None else (left, right)


def ask(name: str, bins: Iterable[Hashable], answer: Callable[[Executed], Hashable | None]) -> Coverpoint:
    return Coverpoint(name, frozenset(bins), answer)


RD = ask("cp_rd", range(REGISTERS), lambda it: it.rd)
RS1 = ask("cp_rs1", range(1, REGISTERS), lambda it: it.rs1)
RS2 = ask("cp_rs2", range(1, REGISTERS), lambda it: it.rs2)
RD_IS_RS1 = ask("cmp_rd_rs1", (True, False), lambda it: it.rd == it.rs1)
RS1_IS_RS2 = ask("cmp_rs1_rs2", (True, False), lambda it: it.rs1 == it.rs2)
COINCIDING = ask("cmp_rd_rs1_rs2", WAYS, lambda it: way(it.rd, it.rs1, it.rs2))
COINCIDING_EDGES = ask(
    "cr_coinciding_edges", product(filter(has_one_source, WAYS), VALUES), lambda it: (way(it.rd, it.rs1, it.rs2), edge(it.a or it.b))
)
ZERO_SOURCES = ask("cp_x0_sources", product((True, False), repeat=2), lambda it: (it.rs1 == 0, it.rs2 == 0))
ZERO_SOURCE = ask("cp_x0_source", (True, False), lambda it: it.rs1 == 0)
PAIRS = ask("cr_rs1_rs2_edges", product(VALUES, VALUES), lambda it: both(edge(it.a), edge(it.b)))
SOURCE_EDGES = ask("cp_rs1_edges", VALUES, lambda it: edge(it.a))
WITH_IMMEDIATES = ask("cr_rs1_imm_edges", product(VALUES, TWELVE), lambda it: both(edge(it.a), it.imm if it.imm in TWELVE else None))


def immediates(values: Iterable[int]) -> Coverpoint:
    return ask("cp_imm_edges", values, lambda it: it.imm)


def shift_amounts(bits: int) -> Coverpoint:
    return ask("cp_uimm", range(1 << bits), lambda it: it.imm & (1 << bits) - 1)


def of_accesses(name: str) -> Iterator[Coverpoint]:
    """Yields what only loads and stores are asked."""
    size = SIZES[name]

    def border(it: Executed) -> Hashable | None:
        first, end = it.address, it.address + size
        if end > TOP:
            return "wraps", 0
        for limit in BORDERS:
            if end == limit or first == limit:
                return "ends" if end == limit else "begins", limit
            if first < limit < end:
                return "crosses", limit
        return None

    def siblings(it: Executed) -> Hashable | None:
        first, last = it.address // LEAF, (it.address + size - 1) // LEAF
        if it.address + size > MEMORY:
            return None
        full = all(_is_dense(it.start, index) for index in {first, last, it.start.pc // LEAF})
        return (("two leaves" if first != last else "one leaf"), "every sibling" if full else "some siblings")

    crossing = [("crosses", limit) for limit in BORDERS] if size > 1 else []
    wrapping = [("wraps", 0)] if size > 1 else []
    yield ask("cp_align", range(LEAF), lambda it: it.address % LEAF)
    yield ask("cp_border", [*product(("ends", "begins"), BORDERS), *crossing, *wrapping], border)
    leaves = ("one leaf", "two leaves") if size > 1 else ("one leaf",)
    yield ask("cp_siblings", product(leaves, ("every sibling", "some siblings")), siblings)
    if name not in STORES:
        yield ask("cp_own_leaf", (True, False), lambda it: it.address // LEAF == it.start.pc // LEAF)
    else:
        yield ask("cp_rs2_edges", VALUES, lambda it: edge(TOP - 1 - it.b))


def _is_dense(start: Start, index: int) -> bool:
    """Tells whether each sibling on the way from this leaf to the root has a leaf that is not zero."""
    beside = {(index ^ each).bit_length() - 1 for each, leaf in start.leaves.by_index.items() if any(leaf) and each != index}
    return len(beside) == HEIGHTS


def coverpoints(name: str) -> Iterator[Coverpoint]:
    """Yields the coverpoints of an instruction."""
    if name == NOT_RUNNING:
        yield ask("cp_kind", (1, 2), lambda it: it.start.kind)
        return
    if name == NO_FETCH:
        yield ask("cp_pc", PLACES[2:], lambda it: place(it.start.pc))
        return
    if name == ILLEGAL:
        yield ask("cp_x0_alone", (True, False), lambda it: not it.rd | it.rs1 | it.rs2)
        yield ask("cp_one_bit_off", _neighbours(), lambda it: it.word if it.word in _neighbours() else None)
        return
    kind = ENCODINGS[name].format
    if kind in "RI56UJ":
        yield RD
    if kind in "RI56SB":
        yield RS1
    if kind in "RSB":
        yield RS2
    if kind == "R":
        yield from (PAIRS, COINCIDING, COINCIDING_EDGES)
    if kind == "B":
        yield from (PAIRS, RS1_IS_RS2, ZERO_SOURCES, immediates(BRANCH))
    if kind in "I56":
        yield from (RD_IS_RS1, ZERO_SOURCE)
    if kind == "I" and name not in SIZES:
        yield WITH_IMMEDIATES
    if kind in "56":
        yield shift_amounts(int(kind))
        yield ask("cp_rs1_sign", (True, False), lambda it: it.a >> 63 == 1)
    if kind == "U":
        yield immediates(UPPER)
    if kind == "J":
        yield immediates(JUMP)
    if name in SIZES:
        yield immediates(TWELVE)
        yield from of_accesses(name)
    if name == "ecall":
        yield ask("cp_exit", (True, False), lambda it: it.start.x[17] == 93)
    if name == "addi":
        yield ask("cp_pc", PLACES[:2], lambda it: place(it.start.pc))


def place(pc: int) -> str | None:
    """Names the edge that a pc is at."""
    outside = not ENTRY <= pc < ENTRY + TEXT_BYTES
    if pc % 4:
        return "misaligned and outside" if outside else "misaligned"
    return "outside" if outside else {ENTRY: "first word", ENTRY + TEXT_BYTES - 4: "last word"}.get(pc)


_ONE_BIT_OFF: set[Hashable] = set()


def _neighbours() -> set[Hashable]:
    """Lists the illegal words that one fixed bit separates from an instruction with rd 3, rs1 1, rs2 2."""
    if not _ONE_BIT_OFF:
        for name, encoding in ENCODINGS.items():
            for bit in (bit for bit in range(32) if encoding.mask >> bit & 1):
                word = assemble(name, 3, 1, 2, 16) ^ 1 << bit
                if decoded(word) is None:
                    _ONE_BIT_OFF.add(word)
    return _ONE_BIT_OFF


def executed(start: Start) -> tuple[str, Executed]:
    """Tells which instruction a step executes, and on what."""
    if start.kind:
        return NOT_RUNNING, Executed(start, 0, 0, 0, 0, 0, 0, 0)
    if place(start.pc) in PLACES[2:]:
        return NO_FETCH, Executed(start, 0, 0, 0, 0, 0, 0, 0)
    leaf = start.leaves.by_index.get(start.pc // LEAF, bytes(LEAF))
    word = int.from_bytes(leaf[start.pc % LEAF :][:4], "little")
    encoding = decoded(word)
    rd, rs1, rs2 = word >> 7 & 31, word >> 15 & 31, word >> 20 & 31
    imm = immediate_of(encoding.format, word) if encoding else 0
    return encoding.name if encoding else ILLEGAL, Executed(start, word, rd, rs1, rs2, imm, start.x[rs1], start.x[rs2])


class Table:
    """Counts hits: by instruction, coverpoint and bin."""

    def __init__(self) -> None:
        self.points = {name: tuple(coverpoints(name)) for name in (*ENCODINGS, ILLEGAL, NO_FETCH, NOT_RUNNING)}
        self.hits: Counter[tuple[str, str, Hashable]] = Counter()
        self.steps: Counter[str] = Counter()

    def add(self, start: Start) -> None:
        name, it = executed(start)
        self.steps[name] += 1
        for point in self.points[name]:
            answer = point.answer(it)
            if answer is not None and answer in point.bins:
                self.hits[name, point.name, answer] += 1

    def missing(self) -> Iterator[tuple[str, str, Hashable]]:
        """Yields the bins that were not hit."""
        for name, points in self.points.items():
            for point in points:
                yield from ((name, point.name, each) for each in sorted(point.bins, key=repr) if not self.hits[name, point.name, each])

    def rows(self) -> Iterator[tuple[str, int, list[tuple[str, int, int]]]]:
        """Yields each instruction with its steps, and of each of its coverpoints the bins hit and all bins."""
        for name, points in self.points.items():
            counts = [(point.name, sum(self.hits[name, point.name, each] > 0 for each in point.bins), len(point.bins)) for point in points]
            yield name, self.steps[name], counts
