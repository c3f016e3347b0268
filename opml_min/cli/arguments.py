"""Arguments that several commands share, and a parser whose errors are one line."""

import argparse
import os
from pathlib import Path
from typing import Any, NoReturn

from opml_min.cli.errors import InputError
from opml_min.model.image.ops import ARITHMETICS
from opml_min.model.resolve import DEFAULT_MODEL, Model, resolve

DEVICES = ("cpu", "vm")
MOST_THREADS = 256
Subparsers = Any  # argparse's type for it is private


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def add_model(parser: argparse.ArgumentParser, *, optional: bool = True) -> None:
    what = "an image, the name of a built-in or known model, or a source file"
    if optional:
        parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, metavar="MODEL", help=f"{what} (default: {DEFAULT_MODEL})")
    else:
        parser.add_argument("model", metavar="MODEL", help=what)
    parser.add_argument("--tokenizer", type=Path, help="of a source file (default: its own, or tok*.bin beside it)")


def add_arithmetic(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arithmetic", choices=ARITHMETICS, help="default: an image's own, and fixed for a source file")


def add_execution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="native code, or every stage in the machine")
    parser.add_argument("--threads", type=thread_count, default=available_threads(), help="of native code (default: %(default)s)")


def available_threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_count(text: str) -> int:
    value = positive(text)
    if value > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MOST_THREADS}")
    return value


def positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value < 1 << 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def word(text: str) -> int:
    """A number of 64 bits."""
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 2^64 - 1")
    return value


def chosen_model(options: argparse.Namespace) -> Model:
    model = resolve(options.model, options.tokenizer, getattr(options, "arithmetic", None))
    if options.tokenizer is not None and model.source is None:
        raise InputError(f"{options.model} is an image, which has its own tokenizer; --tokenizer is for source files")
    return model
