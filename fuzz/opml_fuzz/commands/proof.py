"""The command line of `opml-prove`: what is asked of it, and which options have nothing to do with that.

It exits 0 if all statements asked for are proved, 1 if not, 2 on a name that does not exist or options that exclude each other.
"""

import argparse
import os

from opml_fuzz.commands.arguments import MOST_JOBS, between
from opml_fuzz.commands.explanation import explained, explained_of_game
from opml_fuzz.commands.output import print_json
from opml_fuzz.errors import InputError
from opml_fuzz.statements.catalogue import BYTECODE, EVERY, GAME
from opml_min.cli.exit_codes import MEANINGS
from opml_min.cli.parser import Parser, path

DEFAULT_MOST_JOBS = 8
MOST_RANDOM_BYTES = 10_000
TAKEN = {"list": {"names"}, "explain": set[str](), "mutants": {"jobs"}, "rule_mutants": set[str]()}
"""What else each of the options that ask for something other than proofs takes, of `OTHERS`."""
OTHERS = ("names", "jobs", "smt", "recheck", "ledger")


def chosen(names: list[str]) -> list[str]:
    """Chooses statements by name, or by the chapter before the dot; without a name, all."""
    for name in names:
        if not any(name in (known, known.partition(".")[0]) for known in EVERY):
            raise InputError(f"no statement or chapter is called {name!r}; --list names them")
    return [name for name in EVERY if not names or {name, name.partition(".")[0]} & set(names)]


def explain(name: str, is_json: bool) -> int:
    """Prints what a statement about the bytecode claims."""
    known = {one.subject: one for one in BYTECODE.values()} | BYTECODE
    if name in GAME:
        says, text = GAME[name].says, explained_of_game(GAME[name])
    elif name in known:
        name, says, text = known[name].name, known[name].says, explained(known[name])
    else:
        raise InputError(f"no instruction or statement about the bytecode is called {name!r}; --list names them")
    if is_json:
        print_json({"name": name, "says": says, "text": text})
    else:
        print(text)
    return 0


def list_statements(names: list[str], is_json: bool) -> int:
    """Prints what the statements are called and what they say."""
    if is_json:
        print_json({"statements": [{"name": name, "says": EVERY[name].says} for name in names]})
    else:
        for name in names:
            print(f"{name:26}{EVERY[name].says}")
    return 0


def refuse_what_would_be_ignored(options: argparse.Namespace) -> None:
    """Raises InputError for an option that has nothing to do with what is asked."""
    given = [name for name in OTHERS if getattr(options, name) not in (None, False, [])]
    for asked, taken in TAKEN.items():
        wrong = [name for name in given if name not in taken] if getattr(options, asked) not in (None, False) else []
        if wrong:
            what = "a NAME" if wrong[0] == "names" else f"--{wrong[0]}"
            raise InputError(f"{what} has nothing to do with --{asked.replace('_', '-')}")
    if options.ledger is not None and options.names:
        raise InputError("a ledger is of all statements: name none")


def run(options: argparse.Namespace) -> int:
    refuse_what_would_be_ignored(options)
    if options.explain is not None:
        return explain(options.explain, options.json)
    names = chosen(options.names)
    if options.list:
        return list_statements(names, options.json)
    try:  # z3 is a developer extra, so what needs it is imported only here
        from opml_fuzz.commands import bytecode_mutants, mutated_rules, proving
    except ImportError as error:
        raise InputError(f"z3 is not installed ({error}): pip install 'opml[dev]'") from error
    jobs = options.jobs or min(os.cpu_count() or 1, DEFAULT_MOST_JOBS)
    if options.mutants is not None:
        return bytecode_mutants.run(options.mutants, jobs, options.json)
    if options.rule_mutants:
        return mutated_rules.run(options.json)
    return proving.run(names, jobs, options)


def parser() -> Parser:
    top = Parser(prog="opml-prove", description="Proves statements about all inputs, by z3.", epilog=MEANINGS)
    top.add_argument("names", nargs="*", metavar="NAME", help="a statement, or a chapter (default: all)")
    instead = top.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="only list them")
    instead.add_argument("--explain", metavar="NAME", help="say what is claimed of an instruction, in words")
    mutants = "break one place at a time, N random bytes among them, and count"
    instead.add_argument("--mutants", type=between(0, MOST_RANDOM_BYTES), metavar="N", help=mutants)
    instead.add_argument("--rule-mutants", action="store_true", help="break the rules of the game one by one; a proof must notice each")
    jobs = f"processes (default: one per core, at most {DEFAULT_MOST_JOBS})"
    top.add_argument("--jobs", type=between(1, MOST_JOBS), metavar="N", help=jobs)
    top.add_argument("--smt", type=path, metavar="DIR", help="write the queries that z3 answered with unsat, as SMT-LIB")
    top.add_argument("--recheck", action="store_true", help="ask bitwuzla the same queries, and cvc5 those about integers")
    top.add_argument("--ledger", type=path, metavar="FILE", help="write the page of what is proved")
    top.add_argument("--json", action="store_true", help="one JSON object on standard output")
    top.set_defaults(execute=run)
    return top
