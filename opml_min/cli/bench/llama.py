"""`opml bench llama`: tokens per second of a model, and what committing to the run costs.

The peer is llama.cpp on the file that the model was built from; it is measured if `--peer-python` names an interpreter with the package
`llama_cpp`, and takes turns with us (`peer.py`). The peer is fed the prompt and then, one by one, the tokens that this model generated. So
it does not have to sample.
"""

import json
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from opml_min.cli.bench.peer import Peer
from opml_min.cli.bench.row import Row
from opml_min.cli.errors import InputError
from opml_min.cli.output import Progress
from opml_min.machine import Memory
from opml_min.memory_map import Quarter
from opml_min.model.image.request import TextRequest
from opml_min.model.resolve import Model
from opml_min.model.run import Run

PREFILL_TOKENS, SHORT_PROMPT, NEW_TOKENS = 256, 8, 64
ROUNDS = 5
PROMPTS_TRIED = 100
PEER = """
import json, os, signal, sys, time
import llama_cpp
path, prompt, short, text = sys.argv[1], *map(json.loads, sys.argv[2:5])
model = llama_cpp.Llama(path, n_ctx=max(len(prompt), len(short) + len(text)), n_batch=len(prompt), verbose=False)
for line in sys.stdin:
    llama_cpp.llama_set_n_threads(model.ctx, int(line), int(line))
    model.reset()
    start = time.perf_counter()
    model.eval(prompt)
    prefill = time.perf_counter() - start
    model.reset()
    model.eval(short)
    start = time.perf_counter()
    for token in text:
        model.eval([token])
    print(json.dumps([prefill, time.perf_counter() - start]), flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


class Speed(NamedTuple):
    """Tokens per second."""

    prefill: float
    decode: float


def rows(model: Model, threads: int, peer_python: str | None) -> list[Row]:
    """Measures prefill and decode with all threads and with one. peer_python: an interpreter that can import llama_cpp"""
    if model.image.header.context < PREFILL_TOKENS + 1:
        raise InputError(f"the model's context of {model.image.header.context} is too short: {PREFILL_TOKENS + 1} positions are needed")
    prompt = _tokens(model, 0, PREFILL_TOKENS)
    short, text = _talkative_prompt(model)
    peer = None if peer_python is None else _llama_cpp(peer_python, model.source, prompt, short, text)
    thread_counts = sorted({threads, 1}, reverse=True)
    ours: dict[int, list[Speed]] = {count: [] for count in thread_counts}
    theirs: dict[int, list[Speed]] = {count: [] for count in thread_counts}
    commitments = []
    progress = Progress("rounds", ROUNDS)
    for done in range(ROUNDS + 1):
        for count in thread_counts:
            speed, commitment = _measure(model, count, prompt, short)
            ours[count].append(speed)
            if count == threads:
                commitments.append(commitment)
            if peer is not None:
                prefill, decode = peer.measure(count)
                theirs[count].append(Speed(PREFILL_TOKENS / prefill, NEW_TOKENS / decode))
        progress.show(done)
    progress.clear()
    if peer is not None:
        peer.end()
    result = []
    for count in thread_counts:
        mine, others = _medians(ours[count]), _medians(theirs[count]) if peer is not None else None
        where = "" if count == threads else ", 1 thread"
        name = None if others is None else "llama.cpp"
        result.append(Row(f"decode of {NEW_TOKENS} tokens{where}", mine.decode, "tokens/s", name, others and others.decode))
        result.append(Row(f"prefill of {PREFILL_TOKENS} tokens{where}", mine.prefill, "tokens/s", name, others and others.prefill))
    return [
        *result,
        Row(f"commitment to {NEW_TOKENS} tokens", 100 * median(commitments[1:]), "% of the run"),
        Row("model root, once", _seconds_of_model_root(model), "s"),
    ]


def _medians(speeds: list[Speed]) -> Speed:
    """The median speeds of all rounds but the first, which warms up."""
    return Speed(*(median(column) for column in zip(*speeds[1:], strict=True)))


def _tokens(model: Model, first: int, count: int) -> tuple[int, ...]:
    """Arbitrary tokens; what they mean does not matter."""
    return tuple((37 * i + 5) % model.image.header.vocabulary for i in range(first, first + count))


def _talkative_prompt(model: Model) -> tuple[tuple[int, ...], list[int]]:
    """A prompt after which the model generates enough tokens without stopping, and those tokens."""
    for attempt in range(PROMPTS_TRIED):
        prompt = _tokens(model, SHORT_PROMPT * attempt, SHORT_PROMPT)
        run = Run(model.image, TextRequest(prompt, NEW_TOKENS + 1).pack())
        run.run_all()
        if len(run.tokens()) == NEW_TOKENS + 1:
            return prompt, run.tokens()[:NEW_TOKENS]
    raise InputError(f"the model stopped before {NEW_TOKENS} tokens after each of {PROMPTS_TRIED} prompts")


def _measure(model: Model, threads: int, prompt: tuple[int, ...], short: tuple[int, ...]) -> tuple[Speed, float]:
    """The speeds of one round, and how long the run hash takes as a fraction of the decoding run."""
    prefill = Run(model.image, TextRequest(prompt, 1).pack(), threads=threads).run_all().prefill_seconds
    run = Run(model.image, TextRequest(short, NEW_TOKENS + 1).pack(), threads=threads)
    timing = run.run_all()
    start = time.perf_counter()
    run.run_hash()
    commitment = (time.perf_counter() - start) / (timing.prefill_seconds + timing.decode_seconds)
    return Speed(len(prompt) / prefill, NEW_TOKENS / timing.decode_seconds), commitment


def _seconds_of_model_root(model: Model) -> float:
    memory = Memory()
    model.image.load_into(memory)
    start = time.perf_counter()
    memory.quarter_root(Quarter.MODEL)
    return time.perf_counter() - start


def _llama_cpp(python: str, source: Path | None, *tokens: tuple[int, ...] | list[int]) -> Peer:
    """Starts the peer. tokens: the long prompt, the short prompt, and the tokens that follow the short one"""
    if source is None or source.suffix != ".gguf":
        raise InputError("llama.cpp needs a GGUF file; name one as the model")
    return Peer(python, "llama_cpp", PEER, [str(source), *map(json.dumps, tokens)])
