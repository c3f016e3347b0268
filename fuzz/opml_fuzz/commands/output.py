"""Output of the commands: results on standard output, everything else on standard error."""

import json
import sys
from typing import Any


def print_json(value: Any) -> None:
    """Prints the one object of `--json`."""
    print(json.dumps(value))


class Progress:
    """A progress line that is overwritten; shown only on a terminal."""

    def __init__(self) -> None:
        self._is_seen = sys.stderr.isatty()

    def show(self, text: str) -> None:
        if self._is_seen:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._is_seen:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
