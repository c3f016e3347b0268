"""How the commands talk: bad arguments in one line, results on standard output, everything else on standard error."""

import argparse
import json
import sys
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Bad arguments are one line, too."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def print_json(value: Any) -> None:
    """The one object of `--json`."""
    print(json.dumps(value))


class Progress:
    """One line that is written over, if anybody is looking."""

    def __init__(self) -> None:
        self._is_seen = sys.stderr.isatty()

    def show(self, text: str) -> None:
        if self._is_seen:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._is_seen:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
