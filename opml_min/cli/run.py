"""`opml run`: continues a text or each line of a file, or recognises the digit in a picture."""

import argparse
import codecs
import sys
import time
from typing import Any, Protocol

from opml_min.cli import INTERRUPTED
from opml_min.cli.arguments import add_arithmetic, add_device, add_json, add_model, chosen_model, positive, settle_device, word
from opml_min.cli.compiling import announces_compilation
from opml_min.cli.errors import InputError
from opml_min.cli.losses import print_losses, shown_losses
from opml_min.cli.output import Progress, hexadecimal, print_json
from opml_min.cli.parser import path
from opml_min.cli.run_batch import execute_batch
from opml_min.cli.saved_run import check_save, save_run
from opml_min.cli.text_request import DEFAULT_NEW_TOKENS, requested
from opml_min.mnist.pictures import SIDE, drawn_request, picture_request, shown
from opml_min.model.files.atomic import check_writable
from opml_min.model.image.header import BYTES
from opml_min.model.resolve import Model
from opml_min.model.run import Run, Timing
from opml_min.model.staged_run import OK


def register(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--prompt", default="", metavar="TEXT", help="the text to continue (default: empty)")
    batch = "continue each line of a file instead; - is standard input. Each answer is the one that its line gets alone"
    parser.add_argument("--batch", type=path, metavar="FILE", help=batch)
    most_tokens = f"generate at most N tokens (default: {DEFAULT_NEW_TOKENS}, or fewer if the context is full before)"
    parser.add_argument("--max-tokens", type=positive, metavar="N", help=most_tokens)
    temperature = "sample at temperature T; 0, the default, always takes the most likely token"
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help=temperature)
    parser.add_argument("--seed", type=word, default=0, metavar="N", help="the seed of the sampling (default: 0)")
    picture = "a file of pictures in the IDX format, for a digit classifier (default: a built-in drawing of a seven)"
    parser.add_argument("--input", type=path, metavar="FILE", help=picture)
    parser.add_argument("--index", type=word, default=0, metavar="N", help="which picture of the file to read (default: 0)")
    add_arithmetic(parser)
    raw = "pass the prompt without the model's chat template; names of special tokens in it become these tokens"
    parser.add_argument("--raw", action="store_true", help=raw)
    parser.add_argument("--save", type=path, metavar="FILE", help="write the finished run to a file that `opml verify` reads")
    add_device(parser)
    add_json(parser)
    parser.set_defaults(execute=execute)


@announces_compilation
def execute(options: argparse.Namespace) -> int:
    start = time.perf_counter()
    if options.batch is not None:
        _refuse_with_batch(options)
        return execute_batch(options, chosen_model(options), start)
    if options.save is not None:
        check_writable(options.save)
    model = chosen_model(options)
    if options.save is not None:
        check_save(options.save, model, options.input)
    task: _Task = (_Picture if model.image.header.request_kind == BYTES else _Text)(model, options)
    settle_device(options, model.image)
    run = Run(model.image, task.request, device=options.device, threads=options.threads)
    try:
        timing = run.run_all(lambda: task.watch(run.tokens()))
    except KeyboardInterrupt:
        return task.interrupted(run.tokens())
    task.end()
    if run.state().status != OK:
        raise InputError("the run failed: one of its stages did not end with exit code 0")
    tokens, run_hash, model_root = run.tokens(), run.run_hash(), run.model_root
    losses = run.losses()
    print_losses(losses)
    seconds = time.perf_counter() - start
    if options.save is not None:
        save_run(options.save, run, options.model, model)
    machine_steps = run.machine_steps if options.device == "vm" else None
    if options.json:
        print_json(
            {
                **task.answer(tokens),
                **task.speeds(timing, tokens),
                "run_hash": hexadecimal(run_hash),
                "model_root": hexadecimal(model_root),
                "device": options.device,
                "machine_steps": machine_steps,
                "stages": run.stage_count,
                **shown_losses(losses),
                "seconds": seconds,
            }
        )
    else:
        print(f"{task.summary(timing, tokens, machine_steps)}\nrun hash {hexadecimal(run_hash)}")
    return 0


def _refuse_with_batch(options: argparse.Namespace) -> None:
    """Raises InputError if an option is given that has no meaning for several prompts."""
    given = {"--prompt": options.prompt, "--input": options.input is not None, "--index": options.index, "--save": options.save is not None}
    for name in (name for name, is_given in given.items() if is_given):
        raise InputError(f"{name} cannot be used with --batch")


class _Task(Protocol):
    """What a run is about: the request, and how to show what the model answers."""

    request: bytes

    def watch(self, tokens: list[int]) -> None:
        """Shows how far the run has come, given all tokens so far."""

    def end(self) -> None:
        """Shows that no more tokens will come."""

    def interrupted(self, tokens: list[int]) -> int:
        """Shows what there is after Ctrl-C and returns the exit code; such a run has no hash."""

    def answer(self, tokens: list[int]) -> dict[str, Any]:
        """The fields of the JSON object that say what the model answered."""

    def speeds(self, timing: Timing, tokens: list[int]) -> dict[str, float]:
        """The fields of the JSON object that say how fast it was."""

    def summary(self, timing: Timing, tokens: list[int], machine_steps: int | None) -> str:
        """What people read at the end, without the run hash."""


class _Text:
    """A text to continue. It is shown while it comes out; a progress bar is shown if the text is not."""

    def __init__(self, model: Model, options: argparse.Namespace) -> None:
        if options.input is not None:
            raise InputError(f"{options.model} takes a text, not a picture")
        if model.tokenizer is None:
            raise InputError(f"{options.model} has no tokenizer")
        text_request = requested(model, model.tokenizer, options, options.prompt)
        self.request, self._prompt = text_request.pack(), text_request.prompt
        self._tokenizer, self._options = model.tokenizer, options
        self._previous, self._done = self._prompt[-1], 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._progress = Progress("tokens", text_request.max_new_tokens)

    def watch(self, tokens: list[int]) -> None:
        for token in tokens[self._done :]:
            if not self._options.json:
                sys.stdout.write(self._decoder.decode(self._tokenizer.piece(token, self._previous)))
                sys.stdout.flush()
            self._previous = token
        self._done = len(tokens)
        if self._options.json:
            self._progress.show(self._done)

    def end(self) -> None:
        self._progress.clear()
        if not self._options.json:
            print(self._decoder.decode(b"", final=True))

    def interrupted(self, tokens: list[int]) -> int:
        self.watch(tokens)
        self.end()
        if self._options.json:
            print_json({"interrupted": True, **self.answer(tokens), "device": self._options.device})
        print(f"opml: interrupted after {len(tokens)} tokens", file=sys.stderr)
        return INTERRUPTED

    def answer(self, tokens: list[int]) -> dict[str, Any]:
        return {"text": self._tokenizer.decode(tokens, self._prompt[-1]), "tokens": tokens, "prompt_tokens": list(self._prompt)}

    def speeds(self, timing: Timing, tokens: list[int]) -> dict[str, float]:
        decoded = len(tokens) - 1  # the prefill gives the first one
        speed = decoded / timing.decode_seconds if decoded else 1 / timing.prefill_seconds
        return {"tokens_per_second": speed, "prefill_tokens_per_second": len(self._prompt) / timing.prefill_seconds}

    def summary(self, timing: Timing, tokens: list[int], machine_steps: int | None) -> str:
        return f"\n{len(tokens)} tokens, {self.speeds(timing, tokens)['tokens_per_second']:.1f} tokens/s"


class _Picture:
    """A digit to recognise: in a picture of a file, or in the drawn one if no file is named."""

    def __init__(self, model: Model, options: argparse.Namespace) -> None:
        if options.prompt:
            raise InputError(f"{options.model} takes a picture, not a text")
        if options.index and options.input is None:
            raise InputError("--index is the number of a picture in a file; name the file with --input")
        self.request = drawn_request() if options.input is None else picture_request(options.input, options.index)

    def watch(self, tokens: list[int]) -> None:
        pass  # the only token comes at the end

    def end(self) -> None:
        pass

    def interrupted(self, tokens: list[int]) -> int:
        raise KeyboardInterrupt

    def answer(self, tokens: list[int]) -> dict[str, Any]:
        (digit,) = tokens
        return {"text": str(digit), "tokens": tokens}

    def speeds(self, timing: Timing, tokens: list[int]) -> dict[str, float]:
        speed = 1 / (timing.prefill_seconds + timing.decode_seconds)
        return {"tokens_per_second": speed, "prefill_tokens_per_second": speed}

    def summary(self, timing: Timing, tokens: list[int], machine_steps: int | None) -> str:
        (digit,) = tokens
        picture = f"{shown(self.request)}\n" if len(self.request) == SIDE * SIDE else ""
        steps = "" if machine_steps is None else f", {machine_steps:,} machine steps"
        return f"{picture}the digit is {digit}{steps}"
