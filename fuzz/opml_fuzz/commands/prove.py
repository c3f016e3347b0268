"""The command `opml-prove`: proves every statement for all inputs, with z3.

It exits 0 if all statements asked for are proved, 1 if not, 2 on a name that does not exist.
"""

import argparse
import sys

from opml_fuzz.commands.output import Parser, Progress, print_json
from opml_fuzz.errors import InputError
from opml_fuzz.statements.catalogue import GAPS, STATEMENTS
from opml_fuzz.statements.statement import Statement


def chosen(names: list[str]) -> list[Statement]:
    """Chooses statements by name, or by the chapter before the dot; without a name, all."""
    for name in names:
        if not any(name in (known, known.partition(".")[0]) for known in STATEMENTS):
            raise InputError(f"no statement or chapter is called {name!r}; --list names them")
    return [one for one in STATEMENTS.values() if not names or {one.name, one.name.partition(".")[0]} & set(names)]


def run(options: argparse.Namespace) -> int:
    statements = chosen(options.names)
    if options.list:
        for one in statements:
            print(f"{one.name:24}{one.says}")
        return 0
    try:
        from opml_fuzz.proofs.prover import prove  # z3 is a developer extra, so imported only where it is used
    except ImportError as error:
        raise InputError(f"z3 is not installed ({error}): pip install 'opml[dev]'") from error
    verdicts, progress = [], Progress()
    for number, one in enumerate(statements):
        progress.show(f"{number + 1} of {len(statements)}: {one.name}")
        verdicts.append(prove(one))
        progress.end()
        if not options.json:
            last = verdicts[-1]
            print(f"{last.result:15}{last.seconds:7.2f} s  {one.name:24}{one.says}", *([last.detail] if last.detail else []), flush=True)
    failed = [verdict.name for verdict in verdicts if verdict.result != "proved"]
    proved = len(verdicts) - len(failed)
    if options.json:
        print_json({"statements": [verdict.to_json() for verdict in verdicts], "proved": proved, "failed": failed, "gaps": GAPS})
    else:
        print(f"\n{proved} of {len(verdicts)} proved. Not proved:", *GAPS, sep="\n- ")
    return 1 if failed else 0


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = Parser(prog="opml-prove", description="Prove statements about all inputs, with z3.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a statement, or a chapter (default: all)")
    parser.add_argument("--list", action="store_true", help="list the statements instead of proving them")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args(arguments)
    try:
        return run(options)
    except InputError as error:
        print(f"opml-prove: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
