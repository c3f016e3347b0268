"""The test vectors on the command line: `opml-fuzz vectors write` and `opml-fuzz vectors run`."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import field, frozen

import opml_fuzz
from opml_fuzz.commands.output import Progress, print_json
from opml_fuzz.disputes.answers import differing
from opml_fuzz.engines.protocol import NO_ANSWER
from opml_fuzz.engines.targets.external import External
from opml_fuzz.errors import InputError
from opml_fuzz.machine.court_answer import first_different
from opml_fuzz.machine.target_question import KINDS, Question
from opml_fuzz.vectors.as_questions import Asked, cases_in, questions_in
from opml_fuzz.vectors.tree import write_tree
from opml_min.cli.exit_codes import MEANINGS
from opml_min.cli.parser import Parser, path

FROZEN = Path(opml_fuzz.__file__).parents[2] / "tests" / "vectors"
AT_ONCE = 100  # questions
LONGEST_SHOWN = 20_000  # characters of a question; in JSON it is always complete
MOST_SILENCES = 3  # after so many missing answers the rest is not asked


@frozen
class Wrong:
    """A question that a target answered wrongly."""

    file: str
    name: str
    question: Question
    right: list[str]
    answer: list[str]

    def to_json(self) -> dict[str, Any]:
        asked = self.question.line(1).decode().strip()
        return {"file": self.file, "name": self.name, "question": asked, "right": self.right, "answer": self.answer}


def wrong_answer(file: str, asked: Asked, answer: list[str]) -> Wrong:
    """Tells what was answered wrongly; of many acts, the first that was."""
    if len(asked.names) == 1 or answer[0].startswith(NO_ANSWER):
        return Wrong(file, asked.names[0], asked.question, asked.right, answer)
    right, wrong = differing(asked.right, answer, asked.names[1:])
    name = asked.names[min(first_different(asked.right, answer), len(asked.names) - 1)]
    return Wrong(file, name, asked.question, [right], [wrong])


@frozen
class Checked:
    """What became of a file."""

    cases: int
    questions: int
    wrong: list[Wrong] = field(factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"cases": self.cases, "questions": self.questions, "wrong": len(self.wrong)}


def write(options: argparse.Namespace) -> int:
    """Writes the test vectors: `opml-fuzz vectors write`."""
    counts = write_tree(options.folder, options.seed)
    if options.json:
        print_json({"files": counts})
    else:
        print(f"{sum(counts.values())} cases in {len(counts)} files: {options.folder / 'README.md'} describes them")
    return 0


def run(options: argparse.Namespace) -> int:
    """Asks a target the test vectors: `opml-fuzz vectors run`."""
    files, progress = cases_in(options.folder), Progress()
    target = External(options.target)
    try:
        kinds = target.knows if options.only is None else target.knows & {options.only}
        if not kinds:
            raise InputError(f"the target does not know {options.only}, but {', '.join(sorted(target.knows))}")
        checked = check(files, kinds, target, progress.show)
    finally:
        target.close()
        progress.end()
    if not any(one.questions for one in checked.values()):
        raise InputError(f"{options.folder} has no question about {', '.join(sorted(kinds))}")
    wrong = [each for one in checked.values() for each in one.wrong]
    if options.json:
        files_json = {name: one.to_json() for name, one in checked.items()}
        print_json({"files": files_json, "wrong": [each.to_json() for each in wrong[: options.show]]})
    else:
        print_summary(checked, wrong[: options.show])
    return 1 if wrong else 0


def check(files: dict[str, list[Any]], kinds: frozenset[str], target: External, show: Callable[[str], None]) -> dict[str, Checked]:
    """Asks file after file; goes on after a wrong answer, and after the first missing ones."""
    checked, silences = {}, 0
    for name, cases in files.items():
        asked = [each for each in questions_in(name, cases) if each.question.kind in kinds]
        at, wrong = 0, list[Wrong]()
        while at < len(asked) and silences < MOST_SILENCES:
            show(f"{name}: {at} of {len(asked)} questions")
            some = asked[at : at + AT_ONCE]
            answers = target.ask([each.question for each in some])
            at += len(answers)
            wrong += [wrong_answer(name, each, answer) for each, answer in zip(some, answers, strict=False) if answer != each.right]
            silences += answers[-1][0].startswith(NO_ANSWER)
        checked[name] = Checked(len(cases), at, wrong)
    return checked


def print_summary(checked: dict[str, Checked], shown: list[Wrong]) -> None:
    for wrong in shown:
        print(f"{wrong.file}: {wrong.name}")
        line = wrong.question.line(1).decode().strip()
        print(f"  {line if len(line) <= LONGEST_SHOWN else line[:LONGEST_SHOWN] + ' …'}")
        print(f"  right:  {', '.join(wrong.right)}")
        print(f"  answer: {', '.join(wrong.answer)}\n")
    for name, one in checked.items():
        result = f"{one.questions} questions, {len(one.wrong) or 'none'} wrong" if one.questions else "not asked"
        print(f"{name:30} {one.cases:5} cases, {result}")
    questions, wrong_ones = (sum(counts) for counts in zip(*((one.questions, len(one.wrong)) for one in checked.values()), strict=True))
    print(f"{questions} questions, {wrong_ones or 'no'} wrong answers")


def register(parser: Parser) -> None:
    """Adds the two subcommands to the parser of `opml-fuzz vectors`."""
    ways = parser.add_subparsers(dest="way", required=True, metavar="COMMAND", parser_class=Parser)
    one = ways.add_parser("write", help="write them, from the specification alone")
    one.add_argument("folder", type=path, metavar="DIR", help="where they are written")
    one.add_argument("--seed", type=int, default=1, help="determines the cases (default 1)")
    one.set_defaults(execute=write)
    one = ways.add_parser("run", help="ask a target those that it knows")
    one.add_argument("folder", type=path, nargs="?", default=FROZEN, metavar="DIR", help="where they are (default: the frozen ones)")
    one.add_argument("--target", required=True, metavar="CMD", help="as in run")
    one.add_argument("--only", choices=KINDS, help="only this question")
    one.add_argument("--show", type=int, default=3, metavar="COUNT", help="at most so many wrong answers in full (default 3)")
    one.set_defaults(execute=run)
    for way in ways.choices.values():
        way.epilog = MEANINGS
        way.add_argument("--json", action="store_true", help="one JSON object on standard output")
