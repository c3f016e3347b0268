"""The command `opml-prove`. What it executes is imported where Ctrl-C is already caught."""

import sys
from importlib import import_module

from opml_fuzz.errors import FuzzError
from opml_min.cli.exit_codes import exit_code
from opml_min.model.errors import WriteFailed


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""

    def execute(given: list[str]) -> int:
        options = import_module("opml_fuzz.commands.proof").parser().parse_args(given)
        return int(options.execute(options))

    return exit_code("opml-prove", execute, (FuzzError, WriteFailed), arguments)


if __name__ == "__main__":
    sys.exit(main())
