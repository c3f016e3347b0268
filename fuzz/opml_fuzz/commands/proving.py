"""Proves statements for all inputs, by z3, each in a process of its own, and writes what it is told to: `opml-prove`."""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from attrs import evolve

from opml_fuzz.commands.output import Progress, print_json
from opml_fuzz.errors import InputError
from opml_fuzz.proofs.by_name import prove_by_name
from opml_fuzz.proofs.fresh_processes import Lost, fresh_results
from opml_fuzz.proofs.ledger import page
from opml_fuzz.proofs.second_solver import INTEGER_SECONDS, QUERY_SECONDS, Recheck, second_solver
from opml_fuzz.proofs.verdict import Verdict
from opml_fuzz.statements.catalogue import EVERY, GAPS, LONG
from opml_min.model.files.atomic import check_writable, is_written_into, written_whole


def run(names: list[str], jobs: int, options: argparse.Namespace) -> int:
    """Proves the statements of these names. Exits 1 if one is not proved, or the second solver does not agree on all that it is asked."""
    check_places(options)
    verdicts, progress = list[Verdict](), Progress()
    longest_first = [*(name for name in LONG if name in names), *(name for name in names if name not in LONG)]
    prove = partial(prove_by_name, keeps=options.smt is not None, rechecks=options.recheck)
    with verdicts_of(prove, longest_first, jobs) as proved_one_by_one:
        for number, verdict in enumerate(proved_one_by_one):
            verdicts.append(verdict)
            progress.end()
            if options.smt is not None:
                write_queries(options.smt, verdict.name, verdict.queries)
                verdicts[-1] = evolve(verdict, queries=())
            if not options.json:
                line = f"{verdict.result:15}{verdict.seconds:7.2f} s  {verdict.name:26}{EVERY[verdict.name].says}"
                print(line, *([verdict.detail] if verdict.detail else []), flush=True)
                if verdict.recheck is not None and not verdict.recheck.is_well:
                    print(*(f"    {line}" for line in in_words(verdict.recheck)), sep="\n", flush=True)
            progress.show(f"{number + 1} of {len(names)}")
    progress.end()
    verdicts.sort(key=lambda verdict: names.index(verdict.name))
    if options.ledger is not None:
        with written_whole(options.ledger) as file:
            file.write(page(verdicts).encode())
    failed = [verdict.name for verdict in verdicts if verdict.result != "proved"]
    rechecked = [verdict.recheck for verdict in verdicts if verdict.recheck is not None]
    print_results(verdicts, failed, sum(rechecked, Recheck()), options)
    return 1 if failed or not all(one.is_well for one in rechecked) else 0


@contextmanager
def verdicts_of(prove: Callable[[str], Verdict], names: list[str], jobs: int) -> Iterator[Iterator[Verdict]]:
    """Gives the verdicts in the order of the names. A statement whose process dies is not proved."""
    with fresh_results(prove, names, jobs, prove_by_name.__module__) as results:
        yield (Verdict(name, "error", 0.0, str(one)) if isinstance(one, Lost) else one for name, one in zip(names, results, strict=True))


def check_places(options: argparse.Namespace) -> None:
    """Refuses, before hours of work, what could not be written or asked after them."""
    if options.recheck:
        second_solver()  # reports now if there is none
    if options.ledger is not None:
        check_writable(options.ledger)
        if is_written_into(options.ledger):
            raise InputError(f"cannot write {options.ledger}: it is not a regular file")
    if options.smt is not None:
        try:
            options.smt.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise InputError(f"cannot write into {options.smt}: it is not a folder") from error
        except OSError as error:
            raise InputError(f"cannot create {options.smt}: {error.strerror}") from error
        if not os.access(options.smt, os.W_OK | os.X_OK):
            raise InputError(f"cannot write into {options.smt}: permission denied")


def write_queries(folder: Path, name: str, queries: tuple[str, ...]) -> None:
    """Writes what z3 answered with unsat, one file per query."""
    try:
        for number, query in enumerate(queries):
            (folder / f"{name}.{number:04}.smt2").write_text(query, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror}") from error


def print_results(verdicts: list[Verdict], failed: list[str], rechecked: Recheck, options: argparse.Namespace) -> None:
    proved, peak = len(verdicts) - len(failed), max(verdict.peak_bytes for verdict in verdicts)
    if options.json:
        both = {"recheck": rechecked.to_json()} if options.recheck else {}
        statements = [verdict.to_json() for verdict in verdicts]
        print_json({"statements": statements, "proved": proved, "failed": failed, "gaps": GAPS, "peak_bytes": peak, **both})
        return
    print(f"\n{proved} of {len(verdicts)} proved. Not proved:", *GAPS, sep="\n- ")
    if options.recheck:
        print("", *in_words(rechecked), sep="\n")
    print(f"\nNo process had more than {peak / 2**20:.0f} MiB.")


def in_words(rechecked: Recheck) -> list[str]:
    """What each second solver says, one line for each."""
    lines = []
    for name, answers, seconds in (("bitwuzla", rechecked.bitwuzla, QUERY_SECONDS), ("cvc5", rechecked.cvc5, INTEGER_SECONDS)):
        if not answers.count:
            continue
        parts = [f"it agrees on {answers.agreeing} of {answers.count} queries, of which the slowest took {answers.slowest:.1f} s"]
        if answers.disagreeing:
            parts.append(f"it DISAGREES on {answers.disagreeing}")
        if answers.undecided:
            parts.append(f"it does not decide {answers.undecided} in {seconds:.0f} s each")
        if answers.unreadable:
            parts.append(f"it cannot express {answers.unreadable}")
        lines.append(f"{name}: {'; '.join(parts)}")
    if rechecked.unasked:
        lines.append(f"{rechecked.unasked} queries are about integers: only cvc5 can be asked these (pip install 'opml[cvc5]')")
    return lines
