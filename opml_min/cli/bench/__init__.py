"""`opml bench`: the project's own measurements. Each is a module of this package, with a function `rows` that measures."""

import argparse
from collections.abc import Iterable
from importlib import import_module

from opml_min.cli.arguments import add_json, add_model, add_threads, chosen_model
from opml_min.cli.bench.row import Row
from opml_min.cli.compiling import announces_compilation
from opml_min.cli.exit_codes import MEANINGS
from opml_min.cli.output import print_json

BENCHES = {  # modules of this package
    "gas": "what every move costs on chain",
    "vm": "the machine against QEMU, native code and the interpreter",
    "merkle": "hashing memory",
    "dispute": "what a dispute over one long stage costs an honest player",
    "gpu": "decoding, single ops and hashing on an NVIDIA card, against what the card allows",
    "llama": "tokens per second of a model, and what committing to its run costs",
    "train": "seconds of an update of a model's shape, and what committing to it costs",
}

OF_A_MODEL = ("llama", "train")


def register(parser: argparse.ArgumentParser) -> None:
    parser.description = "Measure one part of the project. Exits with 1 if a value exceeds its limit."
    parser.epilog = "\n".join(["measurements:", *(f"  {name:<8}  {meaning}" for name, meaning in BENCHES.items()), "", MEANINGS])
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("what", choices=BENCHES, metavar="MEASUREMENT", help=f"one of: {', '.join(BENCHES)}")
    add_model(parser)
    add_threads(parser)
    peer = "a Python interpreter with a package to compare with: llama_cpp for llama, torch for train"
    parser.add_argument("--peer-python", metavar="PATH", help=peer)
    add_json(parser)
    parser.set_defaults(execute=execute)


@announces_compilation
def execute(options: argparse.Namespace) -> int:
    module = import_module(f"opml_min.cli.bench.{options.what}")
    found: Iterable[Row] = (
        module.rows(chosen_model(options), options.threads, options.peer_python) if options.what in OF_A_MODEL else module.rows()
    )
    rows = []
    for row in found:
        rows.append(row)
        if not options.json:
            print(row.line(), flush=True)
    if options.json:
        print_json({"rows": [row.fields() for row in rows]})
    return 0 if all(row.holds() for row in rows) else 1
