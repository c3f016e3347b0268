"""`opml eval`: measures the perplexity of a language model beside a float reference, or the accuracy of a digit classifier."""

import argparse
import time
from typing import Any

from attrs import asdict

from opml_min.cli.arguments import add_accelerator, add_arithmetic, add_json, add_model, add_threads, chosen_model, positive, settle_device
from opml_min.cli.compiling import announces_compilation
from opml_min.cli.errors import InputError
from opml_min.cli.losses import print_losses, shown_losses
from opml_min.cli.output import Progress, print_json
from opml_min.cli.parser import path
from opml_min.mnist.accuracy import count_right
from opml_min.mnist.pictures import read_idx, read_pictures
from opml_min.model.image.header import BYTES
from opml_min.model.quality.perplexity import evaluate
from opml_min.model.resolve import Model

DEFAULT_WINDOW = 512  # tokens
SPARE_CHARACTERS = 1000  # read beyond the longest text that --max-tokens can need


def register(parser: argparse.ArgumentParser) -> None:
    add_model(parser, required=True)
    parser.add_argument("text", type=path, metavar="FILE", help="the text to score; for a digit classifier, pictures in the IDX format")
    parser.add_argument("labels", type=path, nargs="?", metavar="LABELS", help="the right answers to the pictures, in the IDX format")
    last = "use only the last N pictures (the built-in mnist was trained on the first 8,000 of t10k)"
    parser.add_argument("--last", type=positive, metavar="N", help=last)
    parser.add_argument("--max-tokens", type=positive, metavar="N", help="score only the first N tokens of the text (default: all)")
    window = f"score the text in windows of N tokens (default: {DEFAULT_WINDOW}, or the context if that is shorter)"
    parser.add_argument("--window", type=positive, metavar="N", help=window)
    add_accelerator(parser)
    add_threads(parser)
    add_arithmetic(parser)
    add_json(parser)
    parser.set_defaults(execute=execute)


@announces_compilation
def execute(options: argparse.Namespace) -> int:
    start = time.perf_counter()
    model = chosen_model(options)
    settle_device(options, model.image)
    values, lines = (_eval_pictures if model.image.header.request_kind == BYTES else _eval_text)(model, options)
    if options.json:
        print_json({**values, "seconds": time.perf_counter() - start})
    else:
        print("\n".join(lines))
    return 0


def _eval_text(model: Model, options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Scores a text; the fields of the JSON object, and the lines for people."""
    if options.labels is not None:
        raise InputError(f"{options.model} is scored on one text, without labels")
    try:
        text = options.text.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise InputError(f"cannot read {options.text}: {error.strerror}") from error
    if model.tokenizer is None:
        raise InputError(f"{options.model} has no tokenizer")
    if options.max_tokens:
        text = text[: options.max_tokens * model.tokenizer.longest_piece + SPARE_CHARACTERS]
    tokens = model.tokenizer.prompt(text)[: options.max_tokens]
    window = options.window or min(DEFAULT_WINDOW, model.image.header.context)
    progress = Progress("tokens", len(tokens))
    result = evaluate(model.image, model.checkpoint(), tokens, window, options.threads, progress.show, options.device)
    progress.clear()
    print_losses(result.losses)
    change = result.perplexity / result.reference_perplexity - 1
    values = asdict(result, filter=lambda field, _: field.name != "losses")
    return {**values, **shown_losses(result.losses), "window": window}, [
        f"{result.tokens} tokens scored in windows of {window}",
        f"perplexity {result.perplexity:.4f}, float reference {result.reference_perplexity:.4f} ({change:+.3%})",
        f"difference in log-likelihood per token: rms {result.nll_rms_difference:.5f}, largest {result.nll_max_difference:.5f}",
    ]


def _eval_pictures(model: Model, options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Counts the right answers; the fields of the JSON object, and the lines for people."""
    if options.labels is None:
        raise InputError(f"{options.model} is scored on two files, the pictures and their labels; only one is named")
    pictures, labels = read_pictures(options.text), read_idx(options.labels, 1)
    if len(pictures) != len(labels):
        raise InputError(f"there are {len(pictures)} pictures but {len(labels)} labels")
    first = max(0, len(pictures) - (options.last or len(pictures)))
    pictures, labels = pictures[first:], labels[first:]
    progress = Progress("pictures", len(pictures))
    right = count_right(model.image, pictures, labels, progress.show, options.device)
    progress.clear()
    accuracy = right / max(len(pictures), 1)
    values = {"pictures": len(pictures), "right": right, "accuracy": accuracy}
    return values, [f"{right} of {len(pictures)} right: {accuracy:.2%}"]
