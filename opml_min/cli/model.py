"""`opml model`: builds, fetches, describes and exports the image of a model."""

import argparse
import json
import sys
from collections import Counter

from opml_min.cli.arguments import Subparsers, add_json, add_model, add_tokenizer, chosen_model, positive, word
from opml_min.cli.errors import InputError
from opml_min.cli.output import Progress, hexadecimal, print_json
from opml_min.cli.parser import path
from opml_min.machine import Memory
from opml_min.memory_map import Quarter
from opml_min.model.build.llama_image import check_llama
from opml_min.model.errors import CheckpointError
from opml_min.model.files.atomic import check_writable
from opml_min.model.files.fetch import KNOWN
from opml_min.model.image.image import Image
from opml_min.model.image.ops import ARITHMETICS, FIXED, OPERANDS, Opcode
from opml_min.model.image.weights import Q4_0, Q8_0
from opml_min.model.native.check import check
from opml_min.model.resolve import build_source, is_there, text_of
from opml_min.model.sources.checkpoint import SHAPES
from opml_min.model.sources.read import files_of_source, tokenizer_beside

QUANTISATIONS = {"q8_0": Q8_0, "q4_0": Q4_0}
GGUF_TYPES = ("q8_0", "f32")


def register(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _register_build(actions)
    _register_random(actions)
    _register_export(actions)
    fetch: argparse.ArgumentParser = actions.add_parser("fetch", help="download a known model, build its image and describe it")
    fetch.add_argument("model", choices=sorted(KNOWN), metavar="NAME", help=f"one of: {', '.join(sorted(KNOWN))}")
    add_json(fetch)
    fetch.set_defaults(execute=execute_show, tokenizer=None)
    show: argparse.ArgumentParser = actions.add_parser("show", help="describe an image: its root, sizes and tape")
    add_model(show, required=True)
    add_json(show)
    show.set_defaults(execute=execute_show)


def _register_build(actions: Subparsers) -> None:
    build: argparse.ArgumentParser = actions.add_parser("build", help="build an image from a source file and describe it")
    source = "a GGUF file, a Hugging Face folder with safetensors, or a llama2.c checkpoint"
    build.add_argument("source", type=path, metavar="SOURCE", help=source)
    build.add_argument("-o", "--output", type=path, required=True, metavar="IMAGE", help="the image file to write")
    add_tokenizer(build)
    build.add_argument("--context", type=positive, metavar="N", help="shorten the context to N positions")
    arithmetic = "how the model computes (default: %(default)s)"
    build.add_argument("--arithmetic", choices=ARITHMETICS, default=ARITHMETICS[0], help=arithmetic)
    calibrate = "choose the fraction bits by what the model does on the first 2,048 tokens of a text, instead of by its weights alone"
    build.add_argument("--calibrate", type=path, metavar="TEXT", help=calibrate)
    build.add_argument("--single-phase", action="store_true", help="make the whole run one stage")
    add_json(build)
    build.set_defaults(execute=execute_build)


def _register_random(actions: Subparsers) -> None:
    random: argparse.ArgumentParser = actions.add_parser("random", help="write a GGUF file with random weights, for measurements")
    shape = "the model whose shape to copy (default: %(default)s)"
    random.add_argument("--shape", choices=SHAPES, default=next(iter(SHAPES)), help=shape)
    quantisation = "how the matrices are stored (default: %(default)s)"
    random.add_argument("--format", choices=QUANTISATIONS, default=next(iter(QUANTISATIONS)), help=quantisation)
    random.add_argument("--seed", type=word, default=0, metavar="N", help="equal seeds give equal files (default: 0)")
    random.add_argument("-o", "--output", type=path, required=True, metavar="GGUF", help="the GGUF file to write")
    add_json(random)
    random.set_defaults(execute=execute_random)


def _register_export(actions: Subparsers) -> None:
    export: argparse.ArgumentParser = actions.add_parser("export", help="write a model as a GGUF file, which llama.cpp loads")
    add_model(export, required=True)
    export.add_argument("output", type=path, metavar="GGUF", help="the GGUF file to write")
    kind = "how the matrices are stored: with the bits that they have, or as floats (default: %(default)s)"
    export.add_argument("--type", choices=GGUF_TYPES, default=GGUF_TYPES[0], help=kind)
    add_json(export)
    export.set_defaults(execute=execute_export)


def execute_build(options: argparse.Namespace) -> int:
    if not is_there(options.source):
        raise CheckpointError(f"there is no file or folder {options.source}")
    tokenizer = options.tokenizer or tokenizer_beside(options.source)
    if options.calibrate is not None and options.arithmetic != ARITHMETICS[FIXED]:
        raise InputError("--calibrate chooses fraction bits, and float arithmetic has none")
    reads = [*files_of_source(options.source), *(file for file in (tokenizer, options.calibrate) if file is not None)]
    for file in reads:
        is_there(file)
    check_writable(options.output, reads)
    how = {"context": options.context, "single_phase": options.single_phase, "arithmetic": options.arithmetic}
    progress = Progress(f"measuring the model on {options.calibrate}", 0)

    def show(done: int, layers: int) -> None:
        progress.total = layers
        progress.show(done)

    try:
        rounded = build_source(options.source, tokenizer, options.output, **how, calibrate=options.calibrate, show=show)
    finally:
        progress.clear()
    for kind, count in rounded.items():
        print(f"opml: {count} matrices of the type {kind} were rounded to Q8_0", file=sys.stderr)
    _print_description(Image(options.output), {}, (), options.json)
    return 0


def execute_random(options: argparse.Namespace) -> int:
    from opml_min.model.sources.random_gguf import write_random_gguf

    check_writable(options.output)
    write_random_gguf(options.output, SHAPES[options.shape], QUANTISATIONS[options.format], options.seed)
    _print_written(options)
    return 0


def execute_export(options: argparse.Namespace) -> int:
    from opml_min.model.sources.export_gguf import write_gguf

    model = chosen_model(options)
    check_writable(options.output, [model.image.path, *([] if model.source is None else files_of_source(model.source))])
    check(model.image)  # what holds for native code holds for a reader of the weights too
    check_llama(model.image)
    for note in write_gguf(options.output, model.image, text_of(model.image), model.image.path.stem, options.type):
        print(f"opml: {options.output}: {note}", file=sys.stderr)
    _print_written(options)
    return 0


def _print_written(options: argparse.Namespace) -> None:
    size = options.output.stat().st_size
    if options.json:
        print_json({"path": str(options.output), "bytes": size})
    else:
        print(f"{options.output}: {size:,} bytes")


def execute_show(options: argparse.Namespace) -> int:
    model = chosen_model(options)
    _print_description(model.image, model.requantised(), model.notes(), options.json)
    return 0


def _print_description(image: Image, rounded: dict[str, int], notes: tuple[str, ...], as_json: bool) -> None:
    memory, header = Memory(), image.header
    image.load_into(memory)
    ops = Counter(Opcode(code).name if code in OPERANDS else f"unknown {code}" for code in image.tape[:, 0].tolist())
    values = {
        "model_root": hexadecimal(image.model_root(memory)),
        "state_root": hexadecimal(memory.quarter_root(Quarter.STATE)),
        "bytes": sum(len(segment.data) for segment in image.segments),
        "stages_per_position": header.op_count,
        "shape": {
            name: getattr(header, name)
            for name in ("dim", "hidden_dim", "layers", "heads", "kv_heads", "head_size", "vocabulary", "context")
        },
        "single_phase": header.single_phase,
        "arithmetic": ARITHMETICS[header.arithmetic] if header.arithmetic < len(ARITHMETICS) else header.arithmetic,
        "tape": dict(ops),
        "segments": [{"address": hex(segment.address), "bytes": len(segment.data)} for segment in image.segments],
    }
    if rounded:
        values["rounded_to_q8_0"] = rounded
    if notes:
        values["notes"] = notes
    if as_json:
        print_json(values)
    else:
        for name, value in values.items():
            print(f"{name:20} {value if isinstance(value, str) else json.dumps(value)}")
