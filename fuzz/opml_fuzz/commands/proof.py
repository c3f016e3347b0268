"""Proves every statement for all inputs, by z3: what `opml-prove` executes.

It exits 0 if all statements asked for are proved, 1 if not, 2 on a name that does not exist.
"""

import argparse

from opml_fuzz.commands.output import Progress, print_json
from opml_fuzz.errors import InputError
from opml_fuzz.statements.catalogue import GAPS, RULES, STATEMENTS
from opml_fuzz.statements.statement import Statement
from opml_fuzz.statements.world import Rule
from opml_min.cli.exit_codes import MEANINGS
from opml_min.cli.parser import Parser


def chosen(names: list[str]) -> list[Statement | Rule]:
    """Chooses statements by name, or by the chapter before the dot; without a name, all."""
    everything: list[Statement | Rule] = [*STATEMENTS.values(), *RULES.values()]
    for name in names:
        if not any(name in (known.name, known.name.partition(".")[0]) for known in everything):
            raise InputError(f"no statement or chapter is called {name!r}; --list names them")
    return [one for one in everything if not names or {one.name, one.name.partition(".")[0]} & set(names)]


def run(options: argparse.Namespace) -> int:
    statements = chosen(options.names)
    if options.list:
        for one in statements:
            print(f"{one.name:24}{one.says}")
        return 0
    try:
        from opml_fuzz.commands import mutated_rules
        from opml_fuzz.proofs.induction import prove_rule
        from opml_fuzz.proofs.prover import prove  # z3 is a developer extra, so imported only where it is used
    except ImportError as error:
        raise InputError(f"z3 is not installed ({error}): pip install 'opml[dev]'") from error
    if options.mutants:
        return mutated_rules.run(options.json)
    verdicts, progress = [], Progress()
    for number, one in enumerate(statements):
        progress.show(f"{number + 1} of {len(statements)}: {one.name}")
        verdicts.append(prove_rule(one) if isinstance(one, Rule) else prove(one))
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


def parser() -> Parser:
    top = Parser(prog="opml-prove", description="Proves statements about all inputs, by z3.", epilog=MEANINGS)
    top.add_argument("names", nargs="*", metavar="NAME", help="a statement, or a chapter (default: all)")
    top.add_argument("--list", action="store_true", help="only list them")
    top.add_argument("--mutants", action="store_true", help="break the rules of the game one by one; each must be noticed by a proof")
    top.add_argument("--json", action="store_true", help="one JSON object on standard output")
    top.set_defaults(execute=run)
    return top
