"""`opml run`: a text from a model, or the digit in a picture."""

import argparse
import codecs
import math
import sys
import time
from pathlib import Path

from opml_min.cli import INTERRUPTED
from opml_min.cli.arguments import Subparsers, add_arithmetic, add_execution, add_json, add_model, chosen_model, positive, word
from opml_min.cli.classify import run_picture
from opml_min.cli.errors import InputError
from opml_min.cli.output import Progress, hexadecimal, print_json
from opml_min.cli.saved_run import save_run
from opml_min.model.files.atomic import check_writable
from opml_min.model.image.header import BYTES
from opml_min.model.image.request import TextRequest
from opml_min.model.resolve import Model
from opml_min.model.run import OK, Run
from opml_min.model.sources.tokenizers.chat import prompt_tokens
from opml_min.model.sources.tokenizers.text import Tokenizer

DEFAULT_NEW_TOKENS = 128


def register(subparsers: Subparsers) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser("run", help="run a model on a prompt or a picture")
    add_model(parser)
    parser.add_argument("--prompt", default="", metavar="TEXT", help="what the text begins with (default: nothing)")
    parser.add_argument(
        "--max-tokens", type=positive, metavar="N", help=f"new tokens (default: {DEFAULT_NEW_TOKENS}, or what the context has room for)"
    )
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 (the default) takes the most likely token")
    parser.add_argument("--seed", type=word, default=0, help="of the sampling")
    parser.add_argument("--input", type=Path, metavar="FILE", help="pictures (IDX), for a model of digits (default: a drawn seven)")
    parser.add_argument("--index", type=word, default=0, metavar="N", help="which picture of the file (default: 0)")
    add_arithmetic(parser)
    parser.add_argument("--raw", action="store_true", help="no chat template")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write what `opml verify` needs")
    add_execution(parser)
    add_json(parser)
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    start = time.perf_counter()
    if options.save is not None:
        check_writable(options.save)
    model = chosen_model(options)
    if model.image.header.request_kind == BYTES:
        return run_picture(model, options)
    if options.input is not None:
        raise InputError(f"{options.model} takes a text, not a picture")
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise InputError(f"{options.model} has no tokenizer")
    request = text_request(model, tokenizer, options)
    run = Run(model.image, request.pack(), device=options.device, threads=options.threads)
    stream = _Stream(run, tokenizer, request, shown=not options.json)
    try:
        timing = run.run_all(stream.watch)
    except KeyboardInterrupt:
        stream.watch()
        stream.end()
        return _end_early(options, run, tokenizer.decode(run.tokens(), request.prompt[-1]), request)
    stream.end()
    if run.state().status != OK:
        raise InputError("the run failed: a stage of this model does not end well")
    tokens = run.tokens()
    run_hash, model_root = run.run_hash(), run.model_root
    seconds = time.perf_counter() - start
    if options.save is not None:
        save_run(options.save, run, options.model, model)
    decoded = len(tokens) - 1
    speed = decoded / timing.decode_seconds if decoded else 1 / timing.prefill_seconds
    if options.json:
        print_json(
            {
                "text": tokenizer.decode(tokens, request.prompt[-1]),
                "tokens": tokens,
                "prompt_tokens": list(request.prompt),
                "tokens_per_second": speed,
                "prefill_tokens_per_second": len(request.prompt) / timing.prefill_seconds,
                "run_hash": hexadecimal(run_hash),
                "model_root": hexadecimal(model_root),
                "device": options.device,
                "machine_steps": run.machine_steps if options.device == "vm" else None,
                "stages": run.stage_count,
                "seconds": seconds,
            }
        )
    else:
        print(f"\n{len(tokens)} tokens, {speed:.1f} tokens/s\nrun hash {hexadecimal(run_hash)}")
    return 0


def _end_early(options: argparse.Namespace, run: Run, text: str, request: TextRequest) -> int:
    """What can be said of a run that was interrupted: it has no hash."""
    tokens = run.tokens()
    if options.json:
        print_json({"interrupted": True, "text": text, "tokens": tokens, "prompt_tokens": list(request.prompt), "device": options.device})
    print(f"opml: interrupted after {len(tokens)} tokens", file=sys.stderr)
    return INTERRUPTED


def text_request(model: Model, tokenizer: Tokenizer, options: argparse.Namespace) -> TextRequest:
    """The request that the options ask for."""
    header = model.image.header
    prompt = tuple(prompt_tokens(model.image, tokenizer, options.prompt, raw=options.raw))
    new_tokens = options.max_tokens or max(1, min(DEFAULT_NEW_TOKENS, header.context - len(prompt)))
    if not math.isfinite(options.temperature) or not 0 <= options.temperature <= 64:
        raise InputError("the temperature must be 0 or from 1/64 to 64")
    return TextRequest(prompt, new_tokens, round(options.temperature * 65536), options.seed)


class _Stream:
    """Shows the text while it comes out, or a progress bar if it is not shown."""

    def __init__(self, run: Run, tokenizer: Tokenizer, request: TextRequest, *, shown: bool) -> None:
        self._run, self._tokenizer, self._shown = run, tokenizer, shown
        self._previous, self._done = request.prompt[-1], 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._progress = Progress("tokens", request.max_new_tokens)

    def watch(self) -> None:
        tokens = self._run.tokens()
        for token in tokens[self._done :]:
            if self._shown:
                sys.stdout.write(self._decoder.decode(self._tokenizer.piece(token, self._previous)))
                sys.stdout.flush()
            self._previous = token
        self._done = len(tokens)
        if not self._shown:
            self._progress.show(self._done)

    def end(self) -> None:
        self._progress.clear()
        if self._shown:
            print(self._decoder.decode(b"", final=True))
