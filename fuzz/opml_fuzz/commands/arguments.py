"""Types of arguments: what is out of range or cannot be read is refused while the command line is read."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

from opml_min.cli.parser import path

MOST = (1 << 32) - 1
MOST_JOBS = 256  # processes


def between(least: int, most: int = MOST) -> Callable[[str], int]:
    """Makes the parser of a whole number within bounds."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise ArgumentTypeError(f"{text[:50]!r} is not a whole number from {least} to {most}")
        return value

    return parse


def regular_file(text: str) -> Path:
    """Parses the path of a file that can be read twice and ends. One that is not there is left to the command."""
    file = path(text)
    if file.exists() and not file.is_file():
        raise ArgumentTypeError(f"{text} is not a regular file")
    return file


def seconds(text: str) -> float:
    """Parses a time that is positive and ends."""
    value = float(text)
    if not 0 < value < 1e9:
        raise ValueError
    return value
