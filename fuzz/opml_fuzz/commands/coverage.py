"""Coverage on the command line: of the machine's corners, or of the lines of our Python. `opml-fuzz coverage`."""

import argparse
from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random

from attrs import asdict

from opml_fuzz.commands.arguments import between, seconds
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.commands.output import Progress, print_json
from opml_fuzz.engines.model_runs import compile_kernels
from opml_fuzz.engines.training_runs import compile_training_kernels
from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.line_coverage import Measured, Missing, lines_executed, ranges
from opml_fuzz.machine.states import random_state
from opml_fuzz.machine.training_case import TrainingStages
from opml_fuzz.models.corner_training import corner_training
from opml_fuzz.models.random_training import random_training_operation
from opml_fuzz.models.training_coverage import TrainingTable
from opml_fuzz.sweep.coverage import Table
from opml_fuzz.sweep.order import points
from opml_min.cli.compiling import announces_compilation

STEPS_PER_STAGE = 16  # random steps of the machine, for each random stage of training
LISTED = ("opml_spec.", "opml_min.machine.")
"""Of these, every line is named that was never executed."""


def coverage(options: argparse.Namespace) -> int:
    """Prints which corners are reached by the sweep and the like for training, or by `--random` steps. Exits 1 if one is missing."""
    if options.lines:
        return lines(options)
    if options.seconds is not None:
        raise InputError("--seconds is for --lines: the corners are counted without a limit")
    table, rng = Table(), Random(f"coverage/{options.seed}")
    starts = (each.start for each in points()) if options.random is None else (random_state(rng) for _ in range(options.random))
    for start in starts:
        table.add(start)
    training = TrainingTable()
    stages = random_stages(rng, options.random // STEPS_PER_STAGE) if options.random is not None else corner_training()
    for stage in stages:
        training.add(stage)
    tables = {"instructions": ("steps", list(table.rows())), "training": ("stages", list(training.rows()))}
    rows, missing = [row for _, some in tables.values() for row in some], [*table.missing(), *training.missing()]
    if options.json:
        counts = {
            name: {row: {unit: times, **{point: [hit, all_] for point, hit, all_ in cells}} for row, times, cells in some}
            for name, (unit, some) in tables.items()
        }
        print_json({**counts, "missing": len(missing)})
    else:
        for unit, some in tables.values():
            for name, times, cells in some:
                print(f"{name:17} {times:6} {unit:6}  " + "  ".join(f"{point} {hit}/{all_}" for point, hit, all_ in cells))
        hits, bins = (sum(counts) for counts in zip(*((hit, all_) for _, _, cells in rows for _, hit, all_ in cells), strict=True))
        print(f"{hits} of {bins} bins hit")
        for name, point, which in islice(missing, options.show):
            print(f"missing: {name} {point} {which}")
    return 1 if missing else 0


def random_stages(rng: Random, count: int) -> Iterator[TrainingStages]:
    return (random_training_operation(rng) for _ in range(count))


@announces_compilation
def lines(options: argparse.Namespace) -> int:
    """Prints which lines and branches a campaign executes. Exits 1 if the implementations disagree meanwhile."""
    progress = Progress()
    compile_kernels()
    compile_training_kernels()
    measured, cases, differences = lines_executed(
        engine_room(), options.seed, options.seconds or 60.0, lambda count: progress.show(f"{count} cases")
    )
    progress.end()
    if options.json:
        print_json({"seed": options.seed, "cases": cases, "differences": differences, "modules": [asdict(each) for each in measured]})
    else:
        print_measured(measured)
        print(f"{cases} cases, seed {options.seed}: {differences or 'no'} differences. Compiled and translated code is not counted.")
    return 1 if differences else 0


def print_measured(measured: Sequence[Measured]) -> None:
    """Prints a row for each module of which something was executed, the sum of each package, and what is missing."""
    entered = [each for each in measured if each.hit]
    packages = [(f"all of {package.rstrip('.')}", [each for each in entered if each.module.startswith(package)]) for package in LISTED]
    print(f"{'module':48} {'lines':>11} {'branches':>11}")
    for name, some in [*((each.module, [each]) for each in entered), *packages]:
        lines, branches = f"{sum(m.hit for m in some)}/{sum(m.lines for m in some)}", sum(m.branches for m in some)
        print(f"{name:48} {lines:>11} {f'{sum(m.branches_hit for m in some)}/{branches}':>11}")
    for each in measured:
        if each.module.startswith(LISTED):
            for function in each.missing:
                print(f"never: {each.module}: {function.function}: {missing_of(function)}")
    print("nothing of:", *(each.module for each in measured if not each.hit))


def missing_of(function: Missing) -> str:
    """Writes the lines, then those jumps that neither begin nor end at one of them."""
    lines = {*function.lines}
    jumps = [f"{a}→{b if b > 0 else 'end'}" for a, b in function.jumps if a not in lines and b not in lines]
    return ", ".join([*([ranges(function.lines)] if lines else []), *jumps]) or "a line of a jump"


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of `opml-fuzz coverage`."""
    what = command.add_mutually_exclusive_group()
    what.add_argument("--random", type=between(1), metavar="STEPS", help="count those that so many random steps reach, instead")
    what.add_argument("--lines", action="store_true", help="count lines and branches of our Python that a short campaign executes, instead")
    command.add_argument("--seconds", type=seconds, help="how long that campaign is (default 60)")
    command.add_argument("--seed", type=int, default=1, help="determines the random steps, and the campaign (default 1)")
    command.add_argument("--show", type=between(0), default=20, metavar="COUNT", help="at most so many of the missing corners (default 20)")
    command.set_defaults(execute=coverage)
