"""What commands print: a JSON object, hashes in hexadecimal, and a progress bar."""

import json
import sys
from math import isfinite
from typing import Any

BAR_WIDTH = 30


def print_json(value: dict[str, Any]) -> None:
    """Print an object. A number that is not finite is null, because JSON has none."""
    print(json.dumps(_with_nulls(value), allow_nan=False))


def _with_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nulls(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_with_nulls(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def printable(text: str) -> str:
    """Return one line that does nothing to a terminal but appear. It may quote the name of a file, or what a stranger has written."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


def hexadecimal(data: bytes) -> str:
    return "0x" + data.hex()


class Progress:
    """Draws a bar on stderr if that is a terminal, and nothing otherwise. A bar that is full disappears."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total = label, max(total, 1)
        self._shown = -1
        self._terminal = sys.stderr.isatty()

    def show(self, done: int) -> None:
        if done >= self.total:
            return self.clear()
        filled = min(done, self.total) * BAR_WIDTH // self.total
        if self._terminal and filled != self._shown:
            self._shown = filled
            bar = "█" * filled + "·" * (BAR_WIDTH - filled)
            print(f"\r{self.label} {bar} {done}/{self.total}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._terminal and self._shown >= 0:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
