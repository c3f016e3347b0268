"""The command `opml`. Each subcommand is a module or a package of this package, with a function `register` that adds its arguments.

Every command takes `--json`: one object on stdout, everything else on stderr. `exit_codes` lists the exit codes. Only the command that is
executed is imported, so that a run does not wait for the contracts' virtual machine.
"""

from importlib import import_module
from typing import Any

from opml_min.cli.errors import InputError
from opml_min.cli.exit_codes import INTERRUPTED, MEANINGS, exit_code
from opml_min.model.errors import ModelError

__all__ = ["COMMANDS", "INTERRUPTED", "main"]

COMMANDS = {  # in the order of `opml --help`
    "demo": "watch somebody cheat, the dispute about it, and the verdict",
    "simulate": "set attackers with a purse on the game, and see what they pay and what they gain",
    "run": "continue a text, or recognise the digit in a picture",
    "verify": "recompute a saved run or a training job and compare its hashes",
    "eval": "measure the perplexity of a language model, or the accuracy of a model of digits",
    "train": "train a language model or a classifier of digits in exact integers, as a job that others can verify",
    "model": "build, fetch or describe a model image",
    "bench": "measure gas, the machine, hashing, disputes or a model",
}
DESCRIPTION = "Run a language model off chain; settle a dispute about the result by executing one instruction on chain."


def main(arguments: list[str] | None = None) -> int:
    """Executes a command line and returns the exit code."""

    def execute(given: list[str]) -> int:
        options = _parser().parse_args(given)
        return int(options.execute(options))

    return exit_code("opml", execute, (ModelError, InputError), arguments)


def _parser() -> Any:
    """The whole command line; the arguments of a command are added when it is chosen."""
    parsers = import_module("opml_min.cli.parser")  # here, where Ctrl-C is already caught
    top = parsers.Parser(prog="opml", description=DESCRIPTION, epilog=MEANINGS)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=parsers.CommandParser)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=MEANINGS)
        command.module = f"opml_min.cli.{name}"
    return top
