"""Parsers of command lines that say in one line what is wrong, and import a command only when it is the one to execute."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from opml_min.cli.exit_codes import BAD_INPUT, TRACEBACK


def path(text: str) -> Path:
    """Parses a path. An empty one, from a shell variable that is not set, would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


class Parser(argparse.ArgumentParser):
    """A parser that prints one line and exits with 2 on bad input, without the usage."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        meaning = "after an error, also print where it happened"
        self.add_argument(TRACEBACK, action="store_true", default=argparse.SUPPRESS, help=meaning)

    def error(self, message: str) -> NoReturn:
        line = " ".join(message.split())
        self.exit(BAD_INPUT, f"{self.prog}: {line}\n")


class CommandParser(Parser):
    """The parser of a subcommand. It gets its arguments from the function `register` of a module, which is imported on first use."""

    module: str | None = None

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore[override]
        if self.module is not None:
            register = import_module(self.module).register
            self.module = None
            register(self)
        return super().parse_known_args(args, namespace)
