"""`opml eval`: perplexity of the model as it runs, beside a float reference; or the share of right answers of a model of digits."""

import argparse
import time
from pathlib import Path

from attrs import asdict

from opml_min.cli.arguments import Subparsers, add_arithmetic, add_json, add_model, available_threads, chosen_model, positive, thread_count
from opml_min.cli.classify import eval_pictures
from opml_min.cli.errors import InputError
from opml_min.cli.output import Progress, print_json
from opml_min.model.image.header import BYTES
from opml_min.model.quality.perplexity import evaluate

DEFAULT_WINDOW = 512


def register(subparsers: Subparsers) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser("eval", help="measure how good a model is")
    add_model(parser, optional=False)
    parser.add_argument("text", type=Path, metavar="TEXTFILE", help="a text; or pictures in the IDX format, for a model of digits")
    parser.add_argument("labels", type=Path, nargs="?", metavar="LABELS", help="of the pictures, in the IDX format")
    parser.add_argument("--last", type=positive, metavar="N", help="only the last N pictures (mnist has learned from the first 8,000)")
    parser.add_argument("--max-tokens", type=positive, metavar="N", help="of the text, from its beginning (default: all)")
    parser.add_argument(
        "--window", type=positive, default=None, metavar="N", help=f"default: {DEFAULT_WINDOW}, or the context if that is less"
    )
    parser.add_argument("--threads", type=thread_count, default=available_threads())
    add_arithmetic(parser)
    add_json(parser)
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    start = time.perf_counter()
    model = chosen_model(options)
    if model.image.header.request_kind == BYTES:
        return eval_pictures(model, options)
    if options.labels is not None:
        raise InputError(f"{options.model} takes one text, and no labels")
    try:
        text = options.text.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise InputError(f"cannot read {options.text}: {error.strerror}") from error
    header = model.image.header
    if model.tokenizer is None:
        raise InputError(f"{options.model} has no tokenizer")
    if options.max_tokens:
        text = text[: options.max_tokens * model.tokenizer.longest_piece + 1000]  # more than enough
    tokens = model.tokenizer.prompt(text)
    tokens = tokens[: options.max_tokens]
    window = options.window or min(DEFAULT_WINDOW, header.context)
    progress = Progress("tokens", len(tokens))
    result = evaluate(model.image, model.checkpoint(), tokens, window, options.threads, progress.show)
    progress.clear()
    values = {**asdict(result), "window": window, "seconds": time.perf_counter() - start}
    if options.json:
        print_json(values)
    else:
        change = result.perplexity / result.reference_perplexity - 1
        print(f"{result.tokens} tokens scored in windows of {window}")
        print(f"perplexity {result.perplexity:.4f}, float reference {result.reference_perplexity:.4f} ({change:+.3%})")
        print(f"difference of the log-likelihood of a token: rms {result.nll_rms_difference:.5f}, largest {result.nll_max_difference:.5f}")
    return 0
