"""The command `opml`. Each subcommand is a module of this package with a function `register`.

Every command takes `--json` (one object on stdout, everything else on stderr), exits 0 on success, 1 when the thing checked does not hold,
2 on bad input with one line and no traceback, and 130 after Ctrl-C.
"""

import sys
from argparse import ArgumentParser
from importlib import import_module

from opml_min.cli.errors import InputError
from opml_min.model.errors import ModelError

COMMANDS = ("demo", "run", "verify", "eval", "model", "bench")  # modules of this package
INTERRUPTED = 130  # the exit code after Ctrl-C. Source: POSIX shells, 128 + SIGINT


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        options = _parser().parse_args(arguments)
        return int(options.execute(options))
    except (ModelError, InputError) as error:
        print(f"opml: {error}".replace("\n", " "), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\n" * sys.stderr.isatty() + "opml: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads on
        return 141


def _parser() -> ArgumentParser:
    """Its modules take a second to import, so it is made where an interruption is caught."""
    arguments = import_module("opml_min.cli.arguments")
    parser: ArgumentParser = arguments.Parser(prog="opml", description="Run a language model off chain, dispute one instruction on chain.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=arguments.Parser)
    for name in COMMANDS:
        import_module(f"opml_min.cli.{name}").register(subparsers)
    return parser
