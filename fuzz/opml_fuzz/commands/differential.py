"""Compares all implementations with each other: the subcommands of `opml-fuzz`.

Every subcommand takes `--json` (one object on standard output). It exits 0 if all agree and 1 if not.
"""

import argparse
import sys

from opml_fuzz.commands.arguments import between, regular_file
from opml_fuzz.commands.campaign import register_replay, register_run
from opml_fuzz.commands.coverage import add_options as add_coverage
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.commands.mutate import add_options as add_mutants
from opml_fuzz.commands.output import Progress, print_json
from opml_fuzz.commands.vectors import register as register_vectors
from opml_fuzz.conformance.elf import load, run_fast
from opml_fuzz.conformance.elf import run as run_elf
from opml_fuzz.conformance.testfloat import ROUNDINGS, check
from opml_fuzz.errors import InputError
from opml_min.cli.exit_codes import MEANINGS
from opml_min.cli.parser import Parser, path

DESCRIPTION = "Differential fuzzing of the specification, opml_min and the EVM bytecode."


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
    register_run(commands.add_parser("run", help="every corner once, then random cases and disputes, on all implementations"))
    register_replay(commands.add_parser("replay", help="run a case that was written down"))
    register_vectors(commands.add_parser("vectors", help="write test vectors for any implementation, or put them to one"))
    add_coverage(commands.add_parser("coverage", help="count the corners that the sweep reaches, or the lines that a campaign executes"))
    one = commands.add_parser("elf", help="run programs for RV64IM in lockstep; each must end with exit code 0")
    one.add_argument("files", type=regular_file, nargs="+", metavar="FILE")
    one.add_argument("--on", type=engines, default={"spec", "min", "evm"}, metavar="NAMES", help="some of spec,min,evm (default: all)")
    one.add_argument("--steps", type=between(1), default=1_000_000, help="at most this many per program (default 1000000)")
    one.set_defaults(execute=elf)
    one = commands.add_parser("float", help="check lines of TestFloat against binary32")
    one.add_argument("operation", metavar="OP", help="f32_add, f32_mulAdd, f32_to_i32, …")
    one.add_argument("file", type=path, metavar="FILE", help="operands, result and flags in hex; - for standard input")
    one.add_argument("--rounding", choices=ROUNDINGS, default="near_even", help="the direction of the results (default near_even)")
    one.set_defaults(execute=testfloat)
    one = commands.add_parser("mutants", help="break each implementation in turn and see whether it is found")
    add_mutants(one)
    for name, command in commands.choices.items():
        command.epilog = MEANINGS
        if name != "vectors":
            command.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return top
