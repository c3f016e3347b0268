"""Which lines and branches of our Python a short campaign executes, all in this process.

Counted is what stands in functions; the rest of a module is executed when it is imported. Code that numba compiles, that the translator
makes, the guest and the contracts are not Python, and nothing here says what of them is executed: there, the mutation score counts.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import opml_spec
from attrs import frozen

import opml_min
from opml_fuzz.engines.room import EngineRoom
from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.asking import run_batch
from opml_fuzz.fuzzing.batches import COURT_EVERY, SWEEP_ENDS

ROOTS = tuple(Path(str(package.__file__)).resolve().parents[1] for package in (opml_spec, opml_min))
MEASURED = (ROOTS[0] / "opml_spec", *(ROOTS[1] / "opml_min" / part for part in ("machine", "model", "training")))
NOT_PYTHON = ("opml_min.model.native.kernels.", "opml_min.training.kernels.")
STRIDE = 37  # through the batches of the sweep, of which there is a prime number; so few of them have something of everything
FIRST_AT_COURT, FIRST_ABOUT_MODELS, FIRST_ABOUT_TRAINING, FIRST_OF_CHANCE = 1, SWEEP_ENDS + 6, SWEEP_ENDS + 4, SWEEP_ENDS + 1


@frozen
class Missing:
    """What is never executed of a function: lines, and jumps from one line to another; a line below 0 stands for the end."""

    function: str
    lines: tuple[int, ...]
    jumps: tuple[tuple[int, int], ...]


@frozen
class Measured:
    """How many lines and branches of a module's functions there are, and were executed."""

    module: str
    lines: int
    hit: int
    branches: int
    branches_hit: int
    missing: tuple[Missing, ...]


def numbers_of_batches() -> Iterator[int]:
    """Yields a batch of the sweep, one at court, one about models, one about training and one of random programs in turn."""
    for turn in count():
        yield turn * STRIDE % SWEEP_ENDS
        yield from (first + COURT_EVERY * turn for first in (FIRST_AT_COURT, FIRST_ABOUT_MODELS, FIRST_ABOUT_TRAINING, FIRST_OF_CHANCE))


def lines_executed(
    room: EngineRoom, seed: int, seconds: float, show: Callable[[int], None]
) -> tuple[list[Measured], int, int]:
    """Runs batches for so many seconds; returns what was executed of each module, the number of cases and that of differences."""
    try:
        from coverage import Coverage  # a developer extra, so imported only where it is used
    except ImportError as error:
        raise InputError(f"coverage is not installed ({error}): pip install 'opml[dev]'") from error
    until, cases, differences = time.monotonic() + seconds, 0, 0
    tracer = Coverage(data_file=None, branch=True, include=[f"{folder}/*" for folder in MEASURED], config_file=False)
    with tracer.collect():
        for number in takewhile(lambda _: time.monotonic() < until, numbers_of_batches()):
            done, found = run_batch(seed, number, room, until)
            cases, differences = cases + done, differences + len(found)
            show(cases)
    with TemporaryDirectory() as folder:
        tracer.json_report([str(file) for package in MEASURED for file in package.rglob("*.py")], f"{folder}/report.json")
        report = json.loads(Path(folder, "report.json").read_text(encoding="utf-8"))
    return sorted(_measured(report["files"]), key=lambda each: each.module), cases, differences


def _measured(files: dict[str, Any]) -> Iterator[Measured]:
    for file, told in files.items():
        module, functions = _name_of(Path(file).resolve()), [(name, each) for name, each in told["functions"].items() if name]
        if functions and not module.startswith(NOT_PYTHON):
            missing = [
                Missing(name, tuple(each["missing_lines"]), tuple((a, b) for a, b in each["missing_branches"])) for name, each in functions
            ]
            hits = [(each["executed_lines"], each["executed_branches"]) for _, each in functions]
            hit, branches_hit = (sum(map(len, column)) for column in zip(*hits, strict=True))
            lines, branches = (sum(map(len, column)) for column in zip(*((each.lines, each.jumps) for each in missing), strict=True))
            some = tuple(each for each in missing if each.lines or each.jumps)
            yield Measured(module, hit + lines, hit, branches_hit + branches, branches_hit, some)


def _name_of(file: Path) -> str:
    root = next(root for root in ROOTS if file.is_relative_to(root))
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def ranges(lines: Sequence[int]) -> str:
    """Writes ascending numbers of lines, neighbours as a range."""
    written = list[list[int]]()
    for line in lines:
        if written and written[-1][-1] == line - 1:
            written[-1] = [written[-1][0], line]
        else:
            written.append([line])
    return ", ".join("-".join(map(str, each)) for each in written)
