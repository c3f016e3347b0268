"""Arguments that several commands share."""

import argparse
import os
import sys
from typing import Any

from opml_min.cli.parser import path
from opml_min.model.errors import AcceleratorUnusable
from opml_min.model.gpu import card
from opml_min.model.gpu.accelerator import Accelerator
from opml_min.model.gpu.engine import require_usable
from opml_min.model.image.image import Image
from opml_min.model.image.ops import ARITHMETICS
from opml_min.model.resolve import DEFAULT_MODEL, Model, resolve
from opml_min.model.xla import first_device as xla

DEVICES = ("cpu", "gpu", "xla", "vm")
ACCELERATED, ACCELERATORS = DEVICES[:3], DEVICES[1:3]
MOST_THREADS = 256
MODEL_HELP = "an image, the name of a built-in or known model, or a source file"
Subparsers = Any  # argparse's type for it is private


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def add_model(parser: argparse.ArgumentParser, *, required: bool = False, as_option: bool = False) -> None:
    """Adds the model, as an argument or as the option `--model`, and its tokenizer; a model that is not required has a default."""
    if required:
        parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    else:
        how: dict[str, Any] = {} if as_option else {"nargs": "?"}
        named = "--model" if as_option else "model"
        parser.add_argument(named, default=DEFAULT_MODEL, metavar="MODEL", help=f"{MODEL_HELP} (default: {DEFAULT_MODEL})", **how)
    add_tokenizer(parser)


def add_tokenizer(parser: argparse.ArgumentParser) -> None:
    meaning = "the tokenizer of a source file (default: its own, or tok*.bin beside it)"
    parser.add_argument("--tokenizer", type=path, metavar="FILE", help=meaning)


def add_arithmetic(parser: argparse.ArgumentParser) -> None:
    meaning = "how the model computes (default: as an image says; fixed for a source file)"
    parser.add_argument("--arithmetic", choices=ARITHMETICS, help=meaning)


def add_device(parser: argparse.ArgumentParser) -> None:
    meaning = "run native code (cpu, the default), an NVIDIA card (gpu), JAX's first device, such as a TPU (xla)"
    _add_device(parser, DEVICES, f"{meaning}, or every stage in the RISC-V machine (vm)")
    add_threads(parser)


def add_accelerator(parser: argparse.ArgumentParser) -> None:
    """Adds the choice between this computer's processor and its accelerators."""
    meaning = "compute on the processor (cpu, the default), on an NVIDIA card (gpu), or on JAX's first device, such as a TPU (xla)"
    _add_device(parser, ACCELERATED, meaning)


def _add_device(parser: argparse.ArgumentParser, devices: tuple[str, ...], meaning: str) -> None:
    parser.add_argument("--device", choices=devices, default=devices[0], help=meaning)
    instead = "with --device gpu or xla: use the processor's native code if that device cannot be used"
    parser.add_argument("--allow-cpu", action="store_true", help=instead)
    hashing = "with --device gpu: let the card hash memory if N pages or more have changed (default: never; see `opml bench gpu`)"
    parser.add_argument("--hash-on-card", type=positive, metavar="N", help=hashing)


def settle_device(options: argparse.Namespace, image: Image) -> None:
    """Names the accelerator on stderr if one was asked for. If it cannot be used, `--allow-cpu` lets the processor take its place."""
    if options.device not in ACCELERATORS:
        return
    try:
        print(f"opml: computing on {_usable(options, image)}", file=sys.stderr)
    except AcceleratorUnusable as error:
        if not options.allow_cpu:
            raise
        print(f"opml: {error}; the processor computes instead", file=sys.stderr)
        options.device = "cpu"


def _usable(options: argparse.Namespace, image: Image) -> str:
    """Returns the name of the accelerator, which can compute the image, and tells a card when to hash."""
    if options.device == "xla":
        xla.require_computable(image)
        return xla.open_device().name
    accelerator: Accelerator = card.open_card()
    require_usable(image, accelerator)
    accelerator.hashes_from = options.hash_on_card
    return accelerator.name


def add_threads(parser: argparse.ArgumentParser) -> None:
    meaning = "threads of native code (default: %(default)s, one per available core)"
    parser.add_argument("--threads", type=thread_count, default=available_threads(), metavar="N", help=meaning)


def available_threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_count(text: str) -> int:
    value = positive(text)
    if value > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MOST_THREADS}")
    return value


def positive(text: str) -> int:
    """Parses a number from 1 to 2^32 - 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value < 1 << 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 2^32 - 1")
    return value


def word(text: str) -> int:
    """Parses a number of 64 bits, also in hexadecimal after 0x."""
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 2^64 - 1")
    return value


def chosen_model(options: argparse.Namespace) -> Model:
    """Finds or builds the model that the options name."""
    return resolve(options.model, options.tokenizer, getattr(options, "arithmetic", None))
