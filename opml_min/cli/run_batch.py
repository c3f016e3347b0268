"""`opml run --batch`: continues each line of a file. Every answer and every run hash is the one that `opml run` gives the line alone."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from opml_min.cli.arguments import settle_device
from opml_min.cli.errors import InputError
from opml_min.cli.losses import print_losses, shown_losses
from opml_min.cli.output import Progress, hexadecimal, print_json
from opml_min.cli.text_request import requested
from opml_min.model.errors import RequestError
from opml_min.model.image.header import BYTES
from opml_min.model.image.request import TextRequest, stage_count
from opml_min.model.resolve import Model
from opml_min.model.run import Run
from opml_min.model.run_batch import finished_runs
from opml_min.model.sources.tokenizers.text import Tokenizer
from opml_min.model.staged_run import OK

STANDARD_INPUT = Path("-")
MOST_BYTES = 1 << 24


def execute_batch(options: argparse.Namespace, model: Model, start: float) -> int:
    """Answers all prompts of the file that the options name. start: when the command began"""
    if model.image.header.request_kind == BYTES:
        raise InputError(f"{options.model} takes a picture, not a text")
    if model.tokenizer is None:
        raise InputError(f"{options.model} has no tokenizer")
    requests = _requests(model, model.tokenizer, options)
    settle_device(options, model.image)
    progress, begin = Progress("tokens", sum(request.max_new_tokens for request in requests)), time.perf_counter()
    runs = finished_runs(
        model.image, (request.pack() for request in requests), device=options.device, threads=options.threads, watch=progress.show
    )
    answers, model_root = [], b""
    for number, (request, run) in enumerate(zip(requests, runs, strict=True), 1):
        progress.clear()
        if run.state().status != OK:
            raise InputError(f"the run of line {number} failed: one of its stages did not end with exit code 0")
        answers.append(_answer(request, run, model.tokenizer, options))
        model_root = run.model_root
        if not options.json:
            print(f"{answers[-1]['text']}\n\nrun hash {answers[-1]['run_hash']}\n", flush=True)
    count = sum(len(answer["tokens"]) for answer in answers)
    speed = count / (time.perf_counter() - begin)
    if options.json:
        shown = {"answers": answers, "tokens_per_second": speed, "model_root": hexadecimal(model_root), "device": options.device}
        print_json({**shown, "seconds": time.perf_counter() - start})
    else:
        print(f"{len(answers)} prompts, {count} tokens, {speed:.1f} tokens/s")
    return 0


def _answer(request: TextRequest, run: Run, tokenizer: Tokenizer, options: argparse.Namespace) -> dict[str, Any]:
    """The fields of the JSON object of one answer."""
    tokens, losses = run.tokens(), run.losses()
    print_losses(losses)
    return {
        "text": tokenizer.decode(tokens, request.prompt[-1]),
        "tokens": tokens,
        "prompt_tokens": list(request.prompt),
        "run_hash": hexadecimal(run.run_hash()),
        "machine_steps": run.machine_steps if options.device == "vm" else None,
        "stages": run.stage_count,
        **shown_losses(losses),
    }


def _requests(model: Model, tokenizer: Tokenizer, options: argparse.Namespace) -> list[TextRequest]:
    """The requests of all lines. The first line that cannot be answered is named, before anything is computed."""
    name = "standard input" if options.batch == STANDARD_INPUT else str(options.batch)
    requests = []
    for number, line in enumerate(_lines(options.batch, name), 1):
        try:
            requests.append(requested(model, tokenizer, options, line.decode()))
            stage_count(model.image.header, requests[-1].pack())
        except UnicodeDecodeError as error:
            raise InputError(f"{name}, line {number}: this is not UTF-8") from error
        except RequestError as error:
            raise InputError(f"{name}, line {number}: {error}") from error
    return requests


def _lines(path: Path, name: str) -> list[bytes]:
    """The lines of a file without their ends. An empty line is an empty prompt."""
    try:
        if path != STANDARD_INPUT:
            with path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        elif sys.stdin is not None:
            data = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            raise InputError("standard input is closed")
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}") from error
    if not data:
        raise InputError(f"{name} is empty; it should have a prompt in each line")
    if len(data) > MOST_BYTES:
        raise InputError(f"{name} has more than {MOST_BYTES >> 20} MiB")
    return [line.removesuffix(b"\r") for line in data.removesuffix(b"\n").split(b"\n")]
