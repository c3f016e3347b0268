"""Proves statements for all inputs, by z3, one after the other or in several processes, and writes what it is told to: `opml-prove`."""

import argparse
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from opml_fuzz.commands.output import Progress, print_json
from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.workers import results_in_order
from opml_fuzz.proofs.by_name import keeping, prove_by_name
from opml_fuzz.proofs.ledger import page
from opml_fuzz.proofs.second_solver import disagreements
from opml_fuzz.proofs.verdict import Verdict
from opml_fuzz.statements.catalogue import BYTECODE, EVERY, GAPS
from opml_min.model.files.atomic import check_writable, is_written_into, written_whole


def run(names: list[str], jobs: int, options: argparse.Namespace) -> int:
    """Proves the statements of these names. Exits 1 if one is not proved, or if the second solver disagrees."""
    check_places(names, options)
    verdicts, progress, disagreeing = list[Verdict](), Progress(), 0
    with verdicts_of(names, jobs, options.smt is not None or options.recheck) as proved_one_by_one:
        for number, verdict in enumerate(proved_one_by_one):
            verdicts.append(verdict)
            progress.end()
            if options.smt is not None:
                write_queries(options.smt, verdict.name, verdict.queries)
            if options.recheck:
                disagreeing += len(disagreements(verdict.queries))
            if not options.json:
                line = f"{verdict.result:15}{verdict.seconds:7.2f} s  {verdict.name:24}{EVERY[verdict.name].says}"
                print(line, *([verdict.detail] if verdict.detail else []), flush=True)
            progress.show(f"{number + 1} of {len(names)}")
    progress.end()
    if options.ledger is not None:
        with written_whole(options.ledger) as file:
            file.write(page(verdicts).encode())
    failed = [verdict.name for verdict in verdicts if verdict.result != "proved"]
    print_results(verdicts, failed, disagreeing, options)
    return 1 if failed or disagreeing else 0


def verdicts_of(names: list[str], jobs: int, keeps: bool) -> AbstractContextManager[Iterator[Verdict]]:
    """Gives the verdicts in the order of the names."""
    prove = keeping if keeps else prove_by_name
    if jobs == 1 or len(names) == 1:
        return nullcontext(map(prove, names))
    return results_in_order(prove, names, min(jobs, len(names)))


def check_places(names: list[str], options: argparse.Namespace) -> None:
    """Refuses, before hours of work, what could not be written or asked after them."""
    if (options.smt is not None or options.recheck) and not set(names) & set(BYTECODE):
        raise InputError("only statements about the bytecode have queries to write or to ask again, and none is named")
    if options.recheck:
        disagreements(())  # reports now if there is no second solver
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


def print_results(verdicts: list[Verdict], failed: list[str], disagreeing: int, options: argparse.Namespace) -> None:
    proved, queries = len(verdicts) - len(failed), sum(len(verdict.queries) for verdict in verdicts)
    if options.json:
        rechecked = {"queries": queries, "disagreeing": disagreeing} if options.recheck else {}
        statements = [verdict.to_json() for verdict in verdicts]
        print_json({"statements": statements, "proved": proved, "failed": failed, "gaps": GAPS, **rechecked})
        return
    print(f"\n{proved} of {len(verdicts)} proved. Not proved:", *GAPS, sep="\n- ")
    if options.recheck:
        print(f"\nbitwuzla agrees on {queries - disagreeing} of {queries} queries.")
