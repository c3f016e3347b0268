"""The corpus: a folder of cases that are worth running again, each the first that reached some *bin*, or one that showed a difference.

A bin is told from the case alone, as in the sweep's table, but coarser: an instruction with the sort of its operands, two instructions that
follow one another, an edit of a witness, an operation with the sizes of its operands. The next campaign runs the corpus first and keeps
only what reaches further bins. Nothing is drawn from it: see *Corpus* in the README.
"""

import json
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from attrs import define, field, frozen

from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.difference import read, write_anew
from opml_fuzz.machine.case import Case, Program, Step, Witness
from opml_fuzz.machine.encodings import decoded
from opml_fuzz.machine.instructions import access_address, is_access
from opml_fuzz.machine.model_case import FloatOperation, ModelImage, OneStage, Segments, WholeRun, header_of, records_of
from opml_fuzz.machine.numbers import ENTRY, LEAF, MEMORY, QUARTER, TEXT_BYTES
from opml_fuzz.machine.simpler import is_fetchable, word_at
from opml_fuzz.machine.start import Start
from opml_fuzz.machine.training_case import TrainingStages, TrainingTape, operation_in, records_in
from opml_fuzz.models.refused_training import faults
from opml_fuzz.models.training_coverage import asked

WIDEST = 8  # bytes of an access
RECORD_BYTES = 128
NAN_EXPONENT = 0x7F800000


def bins(case: Case) -> Iterator[str]:
    """Yields the names of the bins that a case reaches; none for disputes, which are seeds."""
    match case:
        case Step(start):
            yield f"step {executed(start)}"
        case Witness(_, start, edits) if start is not None:
            yield from (f"witness {name_of(start)} {edit.name} {edit.part}" for edit in edits)
        case Program(start):
            yield from (f"program {first} {second}" for first, second in pairwise(text(start)))
        case FloatOperation(operation, operands, rounding):
            yield f"float {operation} {rounding} {' '.join(map(sort_of_float, operands))}"
        case OneStage(memory, stage):
            header = header_of(memory)
            yield f"stage {op_in(memory, header.tape, stage % header.ops)} {min(stage // header.ops, 2)}"
        case WholeRun(memory, request, stages, until):
            header = header_of(memory)
            sizes = f"{min(header.ops, 40) // 4} {until == stages} {len(request) > 28}"
            yield f"model {header.arithmetic} {header.flags} {header.stop_tokens} {sizes}"
        case ModelImage(memory):
            for record in records_of(memory):
                yield f"image {record.opcode} {record.condition} {' '.join(sort_of_operand(word) for word in record.operands)}"
        case TrainingStages(memory, first, 1):
            name = type(case.operation(first)).__name__
            yield from (f"training {name} {point} {each}" for point, each in asked(case))
        case TrainingStages(memory):
            yield from (f"training run {first} {second}" for first, second in pairwise(record.opcode for record in records_in(memory)))
        case TrainingTape(memory):
            for record in records_in(memory):
                decoded_op = operation_in(record)
                yield from (f"training tape {record.opcode} {fault}" for fault in (faults(decoded_op) if decoded_op else ("none",)))


def name_of(start: Start) -> str:
    """Names what a state executes."""
    if start.kind:
        return "nothing"
    encoding = decoded(word_at(start, start.pc)) if is_fetchable(start.pc) else None
    return encoding.name if encoding else "illegal" if is_fetchable(start.pc) else "no-fetch"


def executed(start: Start) -> str:
    """Names what a state executes, with the sort of its operands."""
    name, word = name_of(start), word_at(start, start.pc) if is_fetchable(start.pc) else 0
    if name in ("nothing", "illegal", "no-fetch"):
        return f"{name} {start.kind}"
    rd, rs1, rs2 = word >> 7 & 31, word >> 15 & 31, word >> 20 & 31
    if is_access(word):
        address = access_address(word, list(start.x))
        place = "outside" if address > MEMORY - WIDEST else f"quarter {address // QUARTER}"
        return f"{name} {place} {'crosses' if address % LEAF > LEAF - WIDEST else 'within'}"
    sorts = " ".join(sort_of_number(start.x[register]) for register in (rs1, rs2))
    return f"{name} {sorts} {rs1 == rs2} {rd == 0}"


def sort_of_number(value: int) -> str:
    return "0" if value == 0 else "-" if value >> 63 else "word" if value < 1 << 32 else "+"


def sort_of_operand(word: int) -> str:
    """Names the size of an operand, and the quarter and the alignment of an address."""
    return str(word.bit_length()) if word < 1 << 32 else f"{min(word >> 38, 4)}{'' if word % LEAF else ' aligned'}"


def sort_of_float(value: int) -> str:
    magnitude = value & 0x7FFFFFFF
    if magnitude > NAN_EXPONENT:
        return "nan"
    return {0: "0", NAN_EXPONENT: "inf"}.get(magnitude, "tiny" if magnitude < 1 << 23 else "normal")


def text(start: Start) -> Iterator[str]:
    """Yields the names of the instructions of a text, in the order of their addresses."""
    for index in sorted(start.leaves.by_index):
        if ENTRY <= LEAF * index < ENTRY + TEXT_BYTES:
            for address in range(LEAF * index, LEAF * (index + 1), 4):
                if (word := word_at(start, address)) and (encoding := decoded(word)):
                    yield encoding.name


def op_in(memory: Segments, tape: int, op: int) -> str:
    """Names an op by its opcode, its condition and the bit lengths of what is no address."""
    words = [int.from_bytes(memory[tape][RECORD_BYTES * op + at :][:8], "little") for at in range(0, RECORD_BYTES, 8)]
    return " ".join(str(word if i < 2 else word.bit_length()) for i, word in enumerate(words) if i < 2 or word < 1 << 32)


@define
class Collector:
    """Remembers which bins were reached, and the cases that were the first to reach one."""

    known: set[str] = field(factory=set)
    new: list[Case] = field(factory=list)

    def __call__(self, case: Case) -> None:
        reached = set(bins(case))
        if not reached <= self.known:
            self.known |= reached
            self.new.append(case)

    def take(self) -> tuple[Case, ...]:
        """Returns the cases since the last call."""
        taken, self.new = tuple(self.new), []
        return taken


class Corpus:
    """A folder of replay files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot use {folder}: {error.strerror}") from error
        self._collector = Collector()
        for case in cases_in(folder).cases.values():
            self._collector(case)
        self._collector.take()

    @property
    def known(self) -> frozenset[str]:
        """The bins that its cases reach."""
        return frozenset(self._collector.known)

    def add(self, cases: Iterable[Case]) -> int:
        """Keeps those of the cases that reach a further bin; returns how many."""
        for case in cases:
            self._collector(case)
        new = self._collector.take()
        for case in new:
            self.keep(case)
        return len(new)

    def keep(self, case: Case) -> None:
        """Writes a case, whatever it reaches."""
        content = json.dumps(case.to_json(), sort_keys=True) + "\n"
        path = self.folder / f"{sha256(content.encode()).hexdigest()[:16]}.json"
        write_anew(path, content)


@frozen
class Kept:
    """The cases of some folders, each with its file, and why other files there hold none: a line for each."""

    cases: dict[Path, Case]
    unusable: tuple[str, ...] = ()


def cases_in(*folders: Path) -> Kept:
    """Reads the replay files of folders, in the order of their names. Those that this version cannot use are passed over, and told."""
    cases, unusable = dict[Path, Case](), dict[Path, str]()
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}")
        for path in sorted(folder.glob("*.json")):
            try:
                cases[path] = read(path)
            except InputError as error:
                unusable[path] = " ".join(str(error).split())
    return Kept(cases, tuple(unusable.values()))
