"""Random cases on all implementations, and one case again: `opml-fuzz run` and `opml-fuzz replay`."""

import argparse
import os
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from math import ceil, floor
from pathlib import Path
from typing import Any

from attrs import evolve

import opml_fuzz
from opml_fuzz.commands.arguments import MOST_JOBS, between, regular_file, seconds
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.commands.output import Progress, print_json
from opml_fuzz.commands.report_file import report_file, write_report
from opml_fuzz.engines.model_runs import compile_kernels
from opml_fuzz.engines.protocol import OutOfTime
from opml_fuzz.engines.targets.external import External
from opml_fuzz.engines.training_runs import compile_training_kernels
from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.asking import asked_again
from opml_fuzz.fuzzing.cluster import cluster
from opml_fuzz.fuzzing.corpus import Corpus, cases_in
from opml_fuzz.fuzzing.deadline import stopped_at
from opml_fuzz.fuzzing.difference import Difference, read_with_questions
from opml_fuzz.fuzzing.explaining import explained
from opml_fuzz.fuzzing.kinds import ABOUT_MODELS, ABOUT_TRAINING, ASKED_ABOUT, KINDS, askable, kind_of
from opml_fuzz.fuzzing.loop import Crew, RunReport, fuzz_on_all, processors
from opml_fuzz.fuzzing.shrinking import TARGET
from opml_fuzz.fuzzing.work import Campaign
from opml_fuzz.fuzzing.workers import processes
from opml_fuzz.machine.case import Case
from opml_min.cli.compiling import announces_compilation
from opml_min.cli.exit_codes import BAD_INPUT, UNEXPECTED
from opml_min.cli.parser import path

REGRESSIONS = Path(opml_fuzz.__file__).with_name("regressions")


def kinds(text: str) -> frozenset[str]:
    """Parses names of kinds of cases, separated by commas."""
    names = frozenset(text.split(","))
    if not names <= KINDS:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(names - KINDS))[:50]!r}: there are {', '.join(sorted(KINDS))}")
    return names


@announces_compilation
def run(options: argparse.Namespace) -> int:
    """Runs a campaign: `opml-fuzz run`."""
    if not os.path.isdir(options.replays):
        raise InputError(f"there is no folder {options.replays}")
    if options.target is not None:
        if options.only.isdisjoint(ASKED_ABOUT):
            raise InputError(f"a target is only asked about {', '.join(ASKED_ABOUT)}")
        compared = known_to(options.target, options.only)
    else:
        compared = options.only
    if not compared.isdisjoint(ABOUT_MODELS):
        compile_kernels()
    if not compared.isdisjoint(ABOUT_TRAINING):
        compile_training_kernels()
    folders = [REGRESSIONS] if options.regressions is None else [REGRESSIONS, options.regressions]
    corpus = Corpus(options.corpus) if options.corpus is not None else None
    read = cases_in(*folders, *([] if corpus is None else [corpus.folder]))
    kept = [(str(file), case) for file, case in read.cases.items() if kind_of(case) in compared]
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    for line in read.unusable:
        print(f"opml-fuzz: not tried: {line}", file=sys.stderr, flush=True)
    progress = Progress()

    def show(cases: int, time: float) -> None:
        progress.show(f"{cases} cases, {time:.0f} s of {options.seconds:.0f}, seed {seed}")

    def keep(cases: Iterable[Case]) -> None:
        if corpus is not None:
            corpus.add(cases)

    campaign = Campaign(engine_room, seed, options.target, compared, collects=corpus is not None)
    try:
        report = fuzz_on_all(campaign, options.seconds, crew(options.scheduler, options.jobs), kept, keep, show)
    except KeyboardInterrupt as error:
        progress.end()
        error.add_note(f"--seed {seed} asks the same again")
        raise
    report = evolve(report, unusable=read.unusable)
    progress.end()
    if corpus is not None:
        for difference in report.differences:
            corpus.keep(difference.case)
    files = [difference.write(options.replays) for difference in report.differences]
    tell(report, files, len(kept), options)
    if options.report is not None:
        write_report(options.report, report, files)
    if report.differences:
        return 1
    is_short = options.regressions is not None and report.kept < sum(Path(file).parent in folders for file, _ in kept)
    return UNEXPECTED if report.lost else BAD_INPUT if report.unusable or is_short else 0


def known_to(target: str, only: frozenset[str]) -> frozenset[str]:
    """Asks a target which of these kinds of cases it can be asked about; raises InputError if it does not start, or if there are none."""
    asked = External(target)
    asked.close()
    kinds = askable(only, asked.knows)
    if not kinds:
        raise InputError(f"the target knows {', '.join(sorted(asked.knows))}: nothing about {', '.join(sorted(only))}")
    return kinds


def crew(scheduler: str | None, jobs: int | None) -> Crew:
    """Chooses who works: a cluster, or processes of this computer."""
    return partial(processes, jobs or processors()) if scheduler is None else partial(cluster, scheduler)


def tell(report: RunReport, files: list[Path], kept: int, options: argparse.Namespace) -> None:
    if options.json:
        differences = report.to_json()["differences"]
        print_json({**report.to_json(), "differences": [{**d, "replay": str(f)} for d, f in zip(differences, files, strict=True)]})
        return
    for difference, file in zip(report.differences, files, strict=True):
        print_difference(difference)
        whom = [] if options.target is None else ["--target", options.target]
        print(f"# replay: {shlex.join(['opml-fuzz', 'replay', str(file), *whom])}\n")
    acts = f" and {report.court_acts} acts accepted at court" if report.court_acts else ""
    what = f"{report.cases} cases{acts} in {report.seconds:.1f} s"
    sweep = ", the whole sweep" if report.sweep == 1 else f", {floor(100 * report.sweep)} % of the sweep" if report.sweep else ""
    if not report.differences and 0 < report.sweep < 1:
        sweep += f" (all of it takes about {ceil(report.seconds / report.sweep)} s)"
    rest = "" if report.kept == kept else f", {report.kept} of {kept} kept cases"
    rest += f", {len(report.unusable)} files that hold no case" if report.unusable else ""
    count = len(report.differences)
    print(f"{what}{sweep}{rest}, seed {report.seed}: {count or 'no'} difference{'s' * (count != 1)}")
    for work in report.lost:
        print(f"{work}: ended its worker process, so it says nothing")


def print_difference(difference: Difference) -> None:
    print(difference.program)
    for line in difference.comments:
        print(f"# {line}")


def replay(options: argparse.Namespace) -> int:
    """Runs a case that was written down: `opml-fuzz replay`. A target is first asked what it was asked before, if that is written, too."""
    room = engine_room(options.target)
    engines, until = room.all, time.monotonic() + options.seconds
    try:
        with stopped_at(until):
            case, asked = read_with_questions(options.file)
            found = asked_again(case, asked, room) if asked and engines.target is not None else None
            answers = found.answers if found else engines.ask(case)
        if engines.target is not None and not any(name.startswith(TARGET) for name in answers):
            raise InputError(f"{options.file}: the target is not asked about this case")
        if len(answers) < 2:
            raise InputError(f"{options.file}: there are not two implementations here that know this case")
        if found is None and len(set(map(tuple, answers.values()))) > 1:
            found = Difference(case, answers)
        difference = explained(found, engines, str(options.file), until) if found else None
    except OutOfTime as error:
        raise InputError(f"{options.file}: this takes longer than {options.seconds:g} seconds; --seconds gives it more") from error
    finally:
        if engines.target is not None:
            engines.target.begin_anew()
    if options.json:
        told = {"details": list(difference.details), "asked": difference.lines_asked} if difference else {"details": [], "asked": []}
        print_json({"agree": difference is None, "answers": answers, **told})
    elif difference is None:
        print(f"all agree: {', '.join(next(iter(answers.values())))}")
    else:
        print_difference(difference)
    return 1 if difference else 0


def register_run(one: argparse.ArgumentParser) -> None:
    add: Callable[..., Any] = one.add_argument
    add("--seconds", type=seconds, default=60.0, help="how long to try cases, after the start (default 60)")
    add("--seed", type=int, help="determines the cases (default: random)")
    add("--only", type=kinds, default=KINDS, metavar="KINDS", help=f"only some of {','.join(sorted(KINDS))}")
    add("--target", metavar="CMD", help="this implementation, with our answers: a command, python:MODULE:CLASS or lib:FILE")
    add("--replays", type=path, default=Path(), metavar="DIR", help="where failing cases are written (default: here)")
    add("--corpus", type=path, metavar="DIR", help="run the cases in this folder first, and add those that reach something new")
    add("--regressions", type=path, metavar="DIR", help="run the cases in this folder first, after those that are shipped")
    add("--jobs", type=between(1, MOST_JOBS), metavar="N", help="worker processes (default: one per processor)")
    add("--scheduler", metavar="ADDRESS", help="use the workers of this Dask cluster, for example tcp://10.0.0.1:8786")
    add("--report", type=report_file, metavar="FILE", help="also write the result as JUnit XML (.xml) or as SARIF (.sarif)")
    one.set_defaults(execute=run)


def register_replay(one: argparse.ArgumentParser) -> None:
    one.add_argument("file", type=regular_file, metavar="FILE")
    one.add_argument("--target", metavar="CMD", help="as in run")
    one.add_argument("--seconds", type=seconds, default=60.0, help="how long it may take (default 60)")
    one.set_defaults(execute=replay)
