"""Compares all implementations with each other: the subcommands of `opml-fuzz`.

Every subcommand takes `--json` (one object on standard output). It exits 0 if all agree and 1 if not.
"""

import argparse
import os
import secrets
import sys
from pathlib import Path

from opml_fuzz.commands.coverage import coverage
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.commands.mutate import add_options as add_mutants
from opml_fuzz.commands.output import Progress, print_json
from opml_fuzz.conformance.elf import load, run_fast
from opml_fuzz.conformance.elf import run as run_elf
from opml_fuzz.conformance.testfloat import ROUNDINGS, check
from opml_fuzz.engines.external import External
from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.difference import Difference, read
from opml_fuzz.fuzzing.loop import fuzz_on_all
from opml_fuzz.vectors.tree import write_tree
from opml_min.cli.exit_codes import MEANINGS
from opml_min.cli.parser import Parser

DESCRIPTION = "Differential fuzzing of the specification, opml_min and the EVM bytecode."


def seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise ValueError
    return value


def run(options: argparse.Namespace) -> int:
    """Runs random cases: `opml-fuzz run`."""
    if not os.path.isdir(options.replays):
        raise InputError(f"there is no folder {options.replays}")
    if options.target is not None:
        External(options.target).close()  # reports now if it does not start
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    progress = Progress()

    def show(cases: int, time: float) -> None:
        progress.show(f"{cases} cases, {time:.0f} s of {options.seconds:.0f}, seed {seed}")

    report = fuzz_on_all(engine_room, seed, options.seconds, options.target, show)
    progress.end()
    files = [difference.write(options.replays) for difference in report.differences]
    if options.json:
        differences = report.to_json()["differences"]
        print_json({**report.to_json(), "differences": [{**d, "replay": str(f)} for d, f in zip(differences, files, strict=True)]})
    else:
        for difference, file in zip(report.differences, files, strict=True):
            print_difference(difference)
            print(f"# replay: opml-fuzz replay {file}\n")
        what = f"{report.cases} cases and {report.court_acts} acts accepted at court in {report.seconds:.1f} s"
        print(f"{what}, seed {seed}: {len(report.differences) or 'no'} differences")
    return 1 if report.differences else 0


def print_difference(difference: Difference) -> None:
    print(difference.program)
    for name, answer in difference.answers.items():
        print(f"# {name}: {', '.join(answer)}")


def replay(options: argparse.Namespace) -> int:
    """Runs a case that was written down: `opml-fuzz replay`."""
    case = read(options.file)
    answers = engine_room(options.target).all.ask(case)
    agree = len(set(map(tuple, answers.values()))) == 1
    if options.json:
        print_json({"agree": agree, "answers": answers})
    elif agree:
        print(f"all agree: {', '.join(next(iter(answers.values())))}")
    else:
        print_difference(Difference(case, answers))
    return 0 if agree else 1


def vectors(options: argparse.Namespace) -> int:
    """Writes the test vectors: `opml-fuzz vectors`."""
    counts = write_tree(options.folder, options.seed)
    if options.json:
        print_json({"files": counts})
    else:
        print(f"{sum(counts.values())} cases in {len(counts)} files: {options.folder / 'README.md'} describes them")
    return 0


def engines(text: str) -> set[str]:
    names = set(text.split(","))
    if not names <= {"spec", "min", "evm"}:
        raise ValueError
    return names


def elf(options: argparse.Namespace) -> int:
    """Runs ELF files in lockstep: `opml-fuzz elf`."""
    for file in options.files:
        load(file)  # an unusable file stops the command before anything runs
    arbiter = engine_room().most.of_witnesses[1] if "evm" in options.on else None
    outcomes, progress = [], Progress()
    for file in options.files:
        progress.show(str(file))
        if options.on == {"min"}:
            outcomes.append(run_fast(file, options.steps))
        else:
            outcomes.append(run_elf(file, options.on, arbiter, options.steps))
        progress.end()
        if not options.json:
            last = outcomes[-1]
            print(f"{'passed' if last.passed else 'FAILED'}  {last.file}  {last.steps} steps, {last.detail}", flush=True)
    if options.json:
        print_json({"files": [outcome.to_json() for outcome in outcomes]})
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def testfloat(options: argparse.Namespace) -> int:
    """Checks lines of TestFloat: `opml-fuzz float`."""
    if str(options.file) == "-" and sys.stdin is None:
        raise InputError("standard input is closed")
    progress = Progress()
    try:
        with sys.stdin if str(options.file) == "-" else options.file.open(encoding="utf-8") as lines:
            report = check(options.operation, lines, options.rounding, lambda count: progress.show(f"{count} lines"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {options.file}: {error}") from error
    finally:
        progress.end()
    if options.json:
        print_json(report.to_json())
    else:
        for difference in report.differences:
            print(", ".join(f"{name} {value}" for name, value in difference.items()))
        print(f"{report.operation}: {report.lines} lines on {', '.join(report.on)}: {report.different or 'no'} differences")
    return 1 if report.different else 0


def parser() -> Parser:
    top = Parser(prog="opml-fuzz", description=DESCRIPTION, epilog=MEANINGS)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    one = commands.add_parser("run", help="every corner once, then random cases and disputes, on all implementations")
    one.add_argument("--seconds", type=seconds, default=60.0, help="how long (default 60)")
    one.add_argument("--seed", type=int, help="determines the cases (default: random)")
    one.add_argument("--target", metavar="CMD", help="also this program: per line it reads a witness in hex and prints a hash or `error N`")
    one.add_argument("--replays", type=Path, default=Path(), metavar="DIR", help="where failing cases are written (default: here)")
    one.set_defaults(execute=run)
    one = commands.add_parser("replay", help="run a case that was written down")
    one.add_argument("file", type=Path, metavar="FILE")
    one.add_argument("--target", metavar="CMD", help="as in run")
    one.set_defaults(execute=replay)
    one = commands.add_parser("vectors", help="write test vectors for any implementation, from the specification alone")
    one.add_argument("folder", type=Path, metavar="DIR", help="where they are written")
    one.add_argument("--seed", type=int, default=1, help="determines the cases (default 1)")
    one.set_defaults(execute=vectors)
    one = commands.add_parser("coverage", help="count which corners of the machine the sweep reaches")
    one.add_argument("--random", type=int, metavar="STEPS", help="count those that so many random steps reach, instead")
    one.add_argument("--seed", type=int, default=1, help="determines the random steps (default 1)")
    one.add_argument("--show", type=int, default=20, metavar="COUNT", help="at most so many of the missing ones (default 20)")
    one.set_defaults(execute=coverage)
    one = commands.add_parser("elf", help="run programs for RV64IM in lockstep; each must end with exit code 0")
    one.add_argument("files", type=Path, nargs="+", metavar="FILE")
    one.add_argument("--on", type=engines, default={"spec", "min", "evm"}, metavar="NAMES", help="some of spec,min,evm (default: all)")
    one.add_argument("--steps", type=int, default=1_000_000, help="at most this many per program (default 1000000)")
    one.set_defaults(execute=elf)
    one = commands.add_parser("float", help="check lines of TestFloat against binary32")
    one.add_argument("operation", metavar="OP", help="f32_add, f32_mulAdd, f32_to_i32, …")
    one.add_argument("file", type=Path, metavar="FILE", help="operands, result and flags in hex; - for standard input")
    one.add_argument("--rounding", choices=ROUNDINGS, default="near_even", help="the direction of the results (default near_even)")
    one.set_defaults(execute=testfloat)
    one = commands.add_parser("mutants", help="break each implementation in turn and see whether it is found")
    add_mutants(one)
    for command in commands.choices.values():
        command.epilog = MEANINGS
        command.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return top
