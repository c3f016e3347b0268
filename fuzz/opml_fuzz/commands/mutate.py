"""Counts the mutants that are found, on several processes: `opml-fuzz mutants`.

Without an option those are the mutants that are written down. With `--operators N` the operators make N of each part, with `--past` each
is a bug that this or another system once had.
"""

import argparse
import os
import time
from collections.abc import Iterable, Sequence
from functools import cache
from statistics import median
from typing import Any

from attrs import asdict, frozen

from opml_fuzz.commands.arguments import MOST_JOBS, between, seconds
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.commands.mutated_parts import BY_NAME, PARTS
from opml_fuzz.commands.output import Progress, print_json
from opml_fuzz.engines.room import EngineRoom
from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.equivalent import EQUIVALENT
from opml_fuzz.fuzzing.expendable_workers import LOST, ExpendableWorkers
from opml_fuzz.fuzzing.mutants import Mutant, is_killed, mutants
from opml_fuzz.fuzzing.past_bugs import past_bugs
from opml_fuzz.fuzzing.score import KILLED, NO_MUTANT, SURVIVES, Fate, MutantPlace, mutations_in, sample_of, try_mutant

LONGEST_SECONDS = 600.0  # of the processor, for a mutant, its compilation and the right answers included; then its process is ended

CRASHED = "no end, or a crash"  # nobody knows when


@frozen
class ByName:
    """A mutant that is written down."""

    name: str
    seed: int
    seconds: float


@frozen
class Result:
    """What is reported about one mutant."""

    part: str
    name: str
    verdict: str
    how: str
    seconds: float


@cache
def room_of_process() -> EngineRoom:
    return engine_room()


@cache
def written_down() -> dict[str, Mutant]:
    return {mutant.name: mutant for mutant in (*mutants(), *past_bugs())}


def work(task: ByName | MutantPlace) -> Fate:
    """Tries one mutant, in a worker process."""
    if isinstance(task, MutantPlace):
        return try_mutant(BY_NAME[task.part], task)
    room, begin = room_of_process(), time.process_time()
    killed = is_killed(written_down()[task.name], room, task.seed, task.seconds)
    return Fate(KILLED if killed else SURVIVES, "", round(time.process_time() - begin, 3))


def result_of(task: ByName | MutantPlace, outcome: Fate | str) -> Result:
    lost = Fate(KILLED, CRASHED, 0.0)
    ended = outcome if isinstance(outcome, Fate) else lost
    assert isinstance(outcome, Fate) or outcome == LOST
    if isinstance(task, MutantPlace):
        mutation = mutations_in(BY_NAME[task.part], task.module)[task.number]
        return Result(task.part, f"{task.module}: {mutation.line}: {mutation.name}", ended.verdict, ended.how, ended.seconds)
    return Result(task.name.partition(":")[0], task.name, ended.verdict, ended.how, ended.seconds)


def mutate(options: argparse.Namespace) -> int:
    """Tries all mutants that the options choose, and prints the score by part."""
    progress, results, begin = Progress(), list[Result](), time.monotonic()
    tasks = chosen(options)
    if not tasks:
        raise InputError(f"no mutant has {options.only!r} in its name")
    for task, outcome in ExpendableWorkers(work, options.jobs, LONGEST_SECONDS).answers(tasks):
        results.append(result_of(task, outcome))
        alive = sum(one.verdict == SURVIVES for one in results)
        progress.show(f"{len(results)} of {len(tasks)}, {alive} survive: {results[-1].name}")
    progress.end()
    counted = [one for one in results if one.verdict != NO_MUTANT]
    survivors = sorted(one.name for one in counted if one.verdict == SURVIVES)
    rows = table(counted)
    if options.json:
        counts = {"seed": options.seed, "total": len(counted), "killed": len(counted) - len(survivors), "survivors": survivors}
        details = [asdict(one) for one in sorted(results, key=lambda one: (one.part, one.name))]
        print_json({**counts, "parts": rows, "seconds": round(time.monotonic() - begin, 1), "mutants": details})
    else:
        print(*(f"survives: {name}" for name in survivors), sep="\n", end="\n" if survivors else "")
        print(f"{'part':24} {'mutants':>8} {'killed':>7} {'score':>7} {'median s':>9} {'most s':>7}")
        for row in rows:
            shown = f"{row['part']:24} {row['mutants']:8} {row['killed']:7} {row['score']:6.1f}%"
            print(f"{shown} {row['median_seconds']:9.2f} {row['most_seconds']:7.1f}")
        print(f"{len(counted) - len(survivors)} of {len(counted)} killed in {time.monotonic() - begin:.0f} s, seed {options.seed}")
    return 1 if survivors else 0


def chosen(options: argparse.Namespace) -> Sequence[ByName | MutantPlace]:
    """Lists the mutants that the options choose; those of a part together, since their worker knows the right answers."""
    if options.operators is None:
        listed: Iterable[Mutant] = past_bugs() if options.past else mutants()
        return [ByName(mutant.name, options.seed, options.seconds) for mutant in listed if options.only in mutant.name]
    size = options.operators or None
    return [
        place
        for part in PARTS
        if options.only in part.name
        for place in sample_of(part, size, options.seed, {(each.module, each.name) for each in EQUIVALENT})
    ]


def table(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The score by part, and at the end of all."""
    rows = []
    for part in (*dict.fromkeys(one.part for one in results), ""):
        of_part = [one for one in results if part in ("", one.part)]
        killed = [one for one in of_part if one.verdict == KILLED]
        times = [one.seconds for one in killed if one.how != CRASHED] or [0.0]
        rows.append({
            "part": part or "all", "mutants": len(of_part), "killed": len(killed), "score": round(100 * len(killed) / len(of_part), 2),
            "median_seconds": round(median(times), 3), "most_seconds": round(max(times), 1),
        })  # fmt: skip
    return rows


def every_or_some(text: str) -> int:
    """A number of mutants per part; 0 stands for all."""
    return 0 if text == "all" else between(1)(text)


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of `opml-fuzz mutants`."""
    command.add_argument("--operators", type=every_or_some, metavar="N", help="N mutants of each part, made by operators, or `all`")
    command.add_argument("--past", action="store_true", help="bugs that this or another system once had")
    command.add_argument("--seconds", type=seconds, default=30.0, help="processor time for each mutant that is written down (default 30)")
    command.add_argument("--seed", type=int, default=1, help="determines the cases and the samples (default 1)")
    command.add_argument("--only", default="", metavar="TEXT", help="only mutants, or with --operators parts, with this text in their name")
    command.add_argument("--jobs", type=between(1, MOST_JOBS), default=os.cpu_count() or 1, help="processes (default: all processors)")
    command.set_defaults(execute=mutate)


