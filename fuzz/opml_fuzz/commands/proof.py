"""Proves every statement for all inputs, by z3: what `opml-prove` executes.

It exits 0 if all statements asked for are proved, 1 if not, 2 on a name that does not exist.
"""

import argparse
import os
from pathlib import Path

from opml_fuzz.commands.explanation import explained, explained_of_game
from opml_fuzz.commands.output import Progress, print_json
from opml_fuzz.errors import InputError
from opml_fuzz.statements.catalogue import BYTECODE, EVERY, GAME, GAPS
from opml_min.cli.exit_codes import MEANINGS
from opml_min.cli.parser import Parser


def chosen(names: list[str]) -> list[str]:
    """Chooses statements by name, or by the chapter before the dot; without a name, all."""
    for name in names:
        if not any(name in (known, known.partition(".")[0]) for known in EVERY):
            raise InputError(f"no statement or chapter is called {name!r}; --list names them")
    return [name for name in EVERY if not names or {name, name.partition(".")[0]} & set(names)]


def explain(name: str) -> int:
    """Prints what a statement about the bytecode claims."""
    known = {one.subject: one for one in BYTECODE.values()} | BYTECODE
    if name in GAME:
        print(explained_of_game(GAME[name]))
        return 0
    if name not in known:
        raise InputError(f"no instruction or statement about the bytecode is called {name!r}; --list names them")
    print(explained(known[name]))
    return 0


def run(options: argparse.Namespace) -> int:
    if options.explain:
        return explain(options.explain)
    if options.mutants is not None:
        from opml_fuzz.commands import bytecode_mutants

        return bytecode_mutants.run(options.mutants, options.jobs)
    if options.rule_mutants:
        from opml_fuzz.commands import mutated_rules

        return mutated_rules.run(options.json)
    names = chosen(options.names)
    if options.list:
        for name in names:
            print(f"{name:24}{EVERY[name].says}")
        return 0
    if options.ledger and options.names:
        raise InputError("a ledger is of all statements: name none")
    try:
        from opml_fuzz.proofs.by_name import prove_all  # z3 is a developer extra, so imported only where it is used
    except ImportError as error:
        raise InputError(f"z3 is not installed ({error}): pip install 'opml[dev]'") from error
    verdicts, progress, disagreeing = [], Progress(), 0
    for number, verdict in enumerate(prove_all(names, options.jobs, bool(options.smt or options.recheck))):
        verdicts.append(verdict)
        progress.end()
        if options.smt:
            write_queries(Path(options.smt), verdict.name, verdict.queries)
        if options.recheck:
            from opml_fuzz.proofs.second_solver import disagreements

            disagreeing += len(disagreements(verdict.queries))
        if not options.json:
            line = f"{verdict.result:15}{verdict.seconds:7.2f} s  {verdict.name:24}{EVERY[verdict.name].says}"
            print(line, *([verdict.detail] if verdict.detail else []), flush=True)
        progress.show(f"{number + 1} of {len(names)}")
    progress.end()
    failed = [verdict.name for verdict in verdicts if verdict.result != "proved"]
    proved = len(verdicts) - len(failed)
    if options.ledger:
        from opml_fuzz.proofs.ledger import page

        Path(options.ledger).write_text(page(verdicts), encoding="utf-8")
    queries = sum(len(verdict.queries) for verdict in verdicts)
    if options.json:
        rechecked = {"queries": queries, "disagreeing": disagreeing} if options.recheck else {}
        statements = [verdict.to_json() for verdict in verdicts]
        print_json({"statements": statements, "proved": proved, "failed": failed, "gaps": GAPS, **rechecked})
    else:
        print(f"\n{proved} of {len(verdicts)} proved. Not proved:", *GAPS, sep="\n- ")
        if options.recheck:
            print(f"\nbitwuzla agrees on {queries - disagreeing} of {queries} queries.")
    return 1 if failed or disagreeing else 0


def write_queries(folder: Path, name: str, queries: tuple[str, ...]) -> None:
    """Writes what z3 answered with unsat, one file per query."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, query in enumerate(queries):
        (folder / f"{name}.{number:04}.smt2").write_text(query, encoding="utf-8")


def parser() -> Parser:
    top = Parser(prog="opml-prove", description="Proves statements about all inputs, by z3.", epilog=MEANINGS)
    top.add_argument("names", nargs="*", metavar="NAME", help="a statement, or a chapter (default: all)")
    top.add_argument("--list", action="store_true", help="only list them")
    top.add_argument("--explain", metavar="NAME", help="say what is claimed of an instruction, in words")
    top.add_argument("--mutants", type=int, metavar="N", help="break one place at a time, N random bytes among them, and count")
    top.add_argument("--rule-mutants", action="store_true", help="break the rules of the game one by one; a proof must notice each")
    top.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 8), metavar="N", help="processes (default: one per core)")
    top.add_argument("--smt", metavar="DIR", help="write the queries about the bytecode, as SMT-LIB")
    top.add_argument("--recheck", action="store_true", help="ask bitwuzla the same queries")
    top.add_argument("--ledger", metavar="FILE", help="write the page of what is proved")
    top.add_argument("--json", action="store_true", help="one JSON object on standard output")
    top.set_defaults(execute=run)
    return top
