"""The command `opml`. Each subcommand is a module or a package of this package, with a function `register` that adds its parser.

Every command takes `--json`: one object on stdout, everything else on stderr. Exit codes are the same everywhere: 0 for success, 1 if what
was checked does not hold, 2 for bad input (one line, no traceback), 130 after Ctrl-C.
"""

import sys
from argparse import ArgumentParser
from importlib import import_module

from opml_min.cli.errors import InputError
from opml_min.cli.interrupt import undropped_interrupts
from opml_min.model.errors import ModelError

COMMANDS = ("demo", "simulate", "run", "verify", "eval", "model", "bench")  # in the order of `opml --help`
INTERRUPTED = 130  # the exit code after Ctrl-C (= 128 + SIGINT). Source: POSIX shells
UNREAD = 141  # the exit code when nobody reads the output on (= 128 + SIGPIPE)
DESCRIPTION = "Run a language model off chain; settle a dispute about the result by executing one instruction on chain."


def main(arguments: list[str] | None = None) -> int:
    """Executes a command line and returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        with undropped_interrupts():
            options = _parser().parse_args(arguments)
            return int(options.execute(options))
    except (ModelError, InputError) as error:
        print(f"opml: {error}".replace("\n", " "), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\n" * sys.stderr.isatty() + "opml: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return UNREAD


def _parser() -> ArgumentParser:
    """The whole command line. Importing the commands takes a second, so this happens where Ctrl-C is already caught."""
    arguments = import_module("opml_min.cli.arguments")
    parser: ArgumentParser = arguments.Parser(prog="opml", description=DESCRIPTION)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=arguments.Parser)
    for name in COMMANDS:
        import_module(f"opml_min.cli.{name}").register(subparsers)
    return parser
