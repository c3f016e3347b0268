"""Asking, and what is known when the answers differ: the smallest case found, who answered what, and how to see it again."""

import json
from pathlib import Path
from typing import Any
from zlib import crc32

from attrs import frozen
from opml_spec.machine.decode import disassemble

from opml_fuzz.engines.protocol import Engines
from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.reproducer import program_text
from opml_fuzz.machine.case import Answers, Case, Disputes, Program, Witness, from_json
from opml_fuzz.machine.leaves import memory_of
from opml_fuzz.machine.programs import GALLERY_STEPS
from opml_fuzz.machine.states import ENTRY, TEXT_BYTES


@frozen
class Difference:
    """A case on which not all agree."""

    case: Case
    answers: Answers

    @property
    def title(self) -> str:
        """What the case is about, and into which camps it splits."""
        camps: dict[str, list[str]] = {}
        for name, answer in self.answers.items():
            camps.setdefault(" ".join(answer), []).append(name)
        return f"{subject(self.case)}: " + " | ".join(", ".join(names) for names in camps.values())

    def to_json(self) -> dict[str, Any]:
        return {"title": self.title, "answers": self.answers, **self.case.to_json()}

    @property
    def program(self) -> str:
        """A Python program that shows it without this package."""
        return f"# {self.title}\n" + program_text(self.case)

    def write(self, folder: Path) -> Path:
        """The replay file."""
        text = json.dumps(self.to_json(), indent=1) + "\n"
        path = folder / f"opml-fuzz-{crc32(text.encode()):08x}.json"
        try:
            path.write_text(text)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error
        return path


def subject(case: Case) -> str:
    """The instruction under the pc, where there is one."""
    if isinstance(case, Witness):
        return "witness"
    if isinstance(case, Disputes):
        return f"{case.acts} acts at court"
    start = case.start
    if isinstance(case, Program) and case.stops[-1] > GALLERY_STEPS:
        return f"program from {start.pc:#x}, {case.stops[-1]} steps"
    if start.pc % 4 or not ENTRY <= start.pc <= ENTRY + TEXT_BYTES - 4:
        return "no fetch"
    return disassemble(memory_of(start.leaves).load(start.pc, 4))


def compare(case: Case, engines: Engines) -> Difference | None:
    """None if all give the same answer."""
    answers = case.answers(engines)
    first = next(iter(answers.values()))
    return None if all(answer == first for answer in answers.values()) else Difference(case, answers)


def shrink(difference: Difference, engines: Engines, most_tries: int = 300) -> Difference:
    """As long as something can be left out and somebody still disagrees, it is left out."""
    tries = 0
    while tries < most_tries:
        for case in difference.case.simpler():
            tries += 1
            if smaller := compare(case, engines):
                difference = smaller
                break
        else:
            break
    return difference


def read(path: Path) -> Case:
    """The case in a replay file."""
    try:
        return from_json(json.loads(path.read_text()))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is no replay file: {error}") from error
