"""A difference between implementations: who answered what to the smallest case found, and how to see it again."""

import json
import struct
from contextlib import ExitStack, suppress
from math import inf
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from zlib import crc32

from attrs import evolve, field, frozen
from opml_spec.machine.decode import disassemble
from opml_spec.model.layout import RECORD_BYTES
from opml_spec.model.operations.table import OPERATIONS

from opml_fuzz.disputes.written_acts import check_written
from opml_fuzz.engines.protocol import NO_ANSWER, Answers, OutOfTime
from opml_fuzz.engines.room import Engines
from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.deadline import stopped_at
from opml_fuzz.fuzzing.reproducer import program_text
from opml_fuzz.machine.case import Acts, Case, Deployment, Disputes, Program, Witness, from_json
from opml_fuzz.machine.model_case import FloatOperation, ModelImage, OneStage, WholeRun, header_of
from opml_fuzz.machine.numbers import ENTRY, TEXT_BYTES
from opml_fuzz.machine.programs import GALLERY_STEPS
from opml_fuzz.machine.relation import Related
from opml_fuzz.machine.target_question import Question, question_in
from opml_fuzz.machine.training_case import TrainingStages, TrainingTape
from opml_min.model.strict_json import JsonError, object_in, object_of

MOST_REPLAY_BYTES = 1 << 24
MOST_LINE_BYTES, MOST_ASKED = 1 << 20, 1 << 14  # of a question; questions that were asked before
DOES_NOT_COME_AGAIN = "does not come again"


@frozen
class Difference:
    """A case that the implementations answer differently."""

    case: Case
    answers: Answers
    comes_again: bool = True
    """False if the same question was answered rightly when it was asked once more."""
    origin: str = ""
    """The seed and the batch that it comes from, or the file."""
    details: tuple[str, ...] = ()
    """What differs, line by line: the step, and each field of both results."""
    asked: tuple[Question, ...] = field(default=(), eq=False)
    """Questions to a target, up to the one that it answered wrongly: all of some, or those after which that comes again."""

    def that_does_not_come_again(self, asked: tuple[Question, ...] = ()) -> "Difference":
        """Marks a difference that was not seen again, or only after other questions."""
        return evolve(self, comes_again=False, asked=asked)

    @property
    def title(self) -> str:
        """Names what the case is about, and groups the engines by their answers."""
        camps: dict[str, list[str]] = {}
        for name, answer in self.answers.items():
            camps.setdefault(" ".join(answer), []).append(name)
        is_mute = any(one.startswith(NO_ANSWER) for answer in self.answers.values() for one in answer)
        if is_mute or not self.comes_again:  # nothing in the case tells why
            return f"{NO_ANSWER if is_mute else DOES_NOT_COME_AGAIN}: target"
        return f"{_subject(self.case)}: " + " | ".join("; ".join(names) for names in camps.values())

    def to_json(self) -> dict[str, Any]:
        seen: dict[str, Any] = {"title": self.title, "answers": self.answers, "comes_again": self.comes_again}
        seen |= {"origin": self.origin, "details": list(self.details), "asked": self.lines_asked}
        return {**seen, **self.case.to_json()}

    @property
    def program(self) -> str:
        """Prints the difference as a Python program that does not need this package (except for acts at court)."""
        return f"# {self.title}\n" + program_text(self.case)

    @property
    def comments(self) -> list[str]:
        """Says what there is to say about the difference, besides the program: the answers, their fields, where it comes from."""
        answers = [f"{name}: {', '.join(answer)}" for name, answer in self.answers.items()]
        origin = [f"from {self.origin}"] if self.origin else []
        return [*answers, *self.details, *origin, *([] if self.comes_again else self._remembered())]

    def _remembered(self) -> list[str]:
        """Says after which questions the difference is seen, if that is known."""
        if not self.asked:
            return ["asked once more, all agreed: it depends on what was asked before, or on chance"]
        return ["asked once more, all agreed; it comes again if a target that was just started is asked:", *self.lines_asked]

    @property
    def lines_asked(self) -> list[str]:
        """The questions as they were put to the target."""
        return [question.line(number).decode().strip() for number, question in enumerate(self.asked, 1)]

    def write(self, folder: Path) -> Path:
        """Writes the replay file and returns its path."""
        text = json.dumps(self.to_json(), indent=1) + "\n"
        path = folder / f"opml-fuzz-{crc32(text.encode()):08x}.json"
        write_anew(path, text)
        return path


def write_anew(path: Path, text: str) -> None:
    """Writes a file whole or not at all, in place of whatever has its name: a link there is not followed."""
    with ExitStack() as at_last:
        try:
            with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False) as file:
                part = Path(file.name)
                at_last.callback(part.unlink, missing_ok=True)
                file.write(text)
            part.chmod(0o644)
            part.replace(path)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error


def _subject(case: Case) -> str:
    """Names what a case is about; for a step, the instruction under the pc."""
    if isinstance(case, Witness):
        return "witness"
    if isinstance(case, Disputes):
        return f"{case.acts} acts at court"
    if isinstance(case, Deployment):
        return "deployment"
    if isinstance(case, Acts):
        return f"{len(case.acts)} acts at court, the last one {case.acts[-1]['move'] if case.acts else 'none'}"
    if isinstance(case, Related):
        return f"two runs, {case.relation}, {case.steps} steps"
    if isinstance(case, FloatOperation):
        return case.operation
    if isinstance(case, OneStage):
        header = header_of(case.memory)
        if header.single_phase:
            return f"run of a model in one stage, {header.ops} op{'s' * (header.ops > 1)}"
        (opcode,) = struct.unpack_from("<Q", case.memory[header.tape], RECORD_BYTES * (case.stage % header.ops))
        return f"stage of {OPERATIONS[opcode].__name__ if opcode in OPERATIONS else f'opcode {opcode}'}"
    if isinstance(case, WholeRun):
        return f"run of a model, {case.until} stages"
    if isinstance(case, ModelImage):
        return "model for a loader"
    if isinstance(case, TrainingStages):
        operation = case.operation(case.first)
        one = type(operation).__name__ if operation else "no op"
        return f"stage of training, {one}" if case.count == 1 else f"{case.count} stages of training"
    if isinstance(case, TrainingTape):
        return "tape of training"
    start = case.start
    if isinstance(case, Program) and case.stops[-1] > GALLERY_STEPS:
        return f"program from {start.pc:#x}, {case.stops[-1]} steps"
    if start.pc % 4 or not ENTRY <= start.pc <= ENTRY + TEXT_BYTES - 4:
        return "no fetch"
    return disassemble(start.leaves.memory.load(start.pc, 4))


def compare(case: Case, engines: Engines, until: float = inf) -> Difference | None:
    """Puts a case to the engines; None if all give the same answer. Raises OutOfTime soon after the moment `until`."""
    with stopped_at(until):
        answers = engines.ask(case)
    first = next(iter(answers.values()), None)
    if all(answer == first for answer in answers.values()):
        return None
    return Difference(_written_down(case, engines, until), answers)


def _written_down(case: Case, engines: Engines, until: float) -> Case:
    """Returns random acts as acts that can be left out one by one, if there is time to write them down."""
    if isinstance(case, Disputes):
        with suppress(OutOfTime), stopped_at(until):
            return Acts(*engines.courts.written(case.seed, case.acts))
    return case


def read(path: Path) -> Case:
    """Reads the case in a replay file, which may come from anybody."""
    return read_with_questions(path)[0]


def read_with_questions(path: Path) -> tuple[Case, tuple[Question, ...]]:
    """Reads the case in a replay file, and the questions after which alone a target answers it wrongly, if there are any."""
    try:
        if not path.is_file() and path.exists():  # a pipe, which may never end
            raise InputError("this is not a regular file")
        if path.exists() and not path.stat().st_size:
            raise InputError("this is not a replay file: it is empty")
        content = object_in(path, MOST_REPLAY_BYTES)
        return checked(from_json(content)), asked_in(content)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except JsonError as error:
        raise InputError(f"{path} is not a replay file: it {error}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def checked(case: Case) -> Case:
    """Returns the case; raises InputError if it has acts that the courts of this version cannot be asked about."""
    try:
        if isinstance(case, Acts):
            check_written(case.rules, case.acts)
    except ValueError as error:
        raise InputError(f"this is not a replay file: {error}") from error
    return case


def asked_in(content: dict[str, Any]) -> tuple[Question, ...]:
    """Reads the questions that a replay file tells a target was asked."""
    try:
        lines = content.get("asked", [])
        if len(lines) > MOST_ASKED:
            raise ValueError(f"of {len(lines)} questions at most {MOST_ASKED} are read")
        return tuple(question_in(object_of(line.encode(), MOST_LINE_BYTES)) for line in lines)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"this is not a replay file: what was asked is no list of questions: {str(error)[:200]}") from error
