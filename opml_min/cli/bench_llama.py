"""`opml bench llama`: tokens a second, and what the commitment costs.

The peer is llama.cpp on the file that the model was built from, if an interpreter that has the package `llama_cpp` is named; the two take
turns, so that both meet the same moments of a machine that others use too. Both are given the same tokens, whatever they mean.
"""

import json
import subprocess
import time
from pathlib import Path
from statistics import median

from opml_min.cli.bench import Row
from opml_min.cli.errors import InputError
from opml_min.cli.output import Progress
from opml_min.machine import MODEL, Memory
from opml_min.model.layout import TextRequest
from opml_min.model.resolve import Model
from opml_min.model.run import Run

PREFILL_TOKENS, SHORT_PROMPT, NEW_TOKENS = 256, 8, 64
ROUNDS = 3
PEER = """
import json, sys, time
from llama_cpp import Llama
path, threads, prompt, short, new = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
model = Llama(path, n_ctx=len(prompt) + new, n_threads=threads, n_threads_batch=threads, n_batch=len(prompt), verbose=False)
for _ in sys.stdin:
    model.reset()
    start = time.perf_counter()
    model.eval(prompt)
    prefill = time.perf_counter() - start
    model.reset()
    model.eval(prompt[:short])
    start = time.perf_counter()
    for token in prompt[:new]:
        model.eval([token])
    print(json.dumps([prefill, time.perf_counter() - start]), flush=True)
"""


def rows(model: Model, threads: int, peer_python: str | None) -> list[Row]:
    """peer_python: an interpreter that can import llama_cpp"""
    header = model.image.header
    if header.context < PREFILL_TOKENS + 1:
        raise InputError(f"the model's context of {header.context} is too short; {PREFILL_TOKENS + 1} positions are measured")
    prompt = tuple((37 * i + 5) % header.vocabulary for i in range(PREFILL_TOKENS))
    peer = None if peer_python is None else _Peer(peer_python, model.source, threads, prompt)
    ours: list[tuple[float, ...]] = []
    theirs: list[tuple[float, float]] = []
    progress = Progress("rounds", ROUNDS)
    for done in range(ROUNDS + 1):  # the first one warms both up
        ours.append(_measure(model, threads, prompt))
        if peer is not None:
            theirs.append(peer.measure())
        progress.show(done)
    progress.clear()
    prefill, decode, commitment = (median(column) for column in zip(*ours[1:], strict=True))
    their_prefill, their_decode = (median(column) for column in zip(*theirs[1:], strict=True)) if theirs else (None, None)
    name = "llama.cpp" if theirs else None
    return [
        Row(f"prefill of {PREFILL_TOKENS} tokens", prefill, "tokens/s", name, their_prefill),
        Row(f"decode of {NEW_TOKENS} tokens", decode, "tokens/s", name, their_decode),
        Row(f"commitment to {NEW_TOKENS} tokens", 100 * commitment, "% of the run"),
        Row("model root, once", _seconds_of_model_root(model), "s"),
    ]


def _measure(model: Model, threads: int, prompt: tuple[int, ...]) -> tuple[float, float, float]:
    """Prefill and decode in tokens a second, and the commitment as a part of the second run."""
    prefill = Run(model.image, TextRequest(prompt, 1).pack(), threads=threads).run_all().prefill_seconds
    run = Run(model.image, TextRequest(prompt[:SHORT_PROMPT], NEW_TOKENS + 1).pack(), threads=threads)
    timing = run.run_all()
    start = time.perf_counter()
    run.run_hash()
    commitment = (time.perf_counter() - start) / (timing.prefill_seconds + timing.decode_seconds)
    return len(prompt) / prefill, (len(run.tokens()) - 1) / timing.decode_seconds, commitment


def _seconds_of_model_root(model: Model) -> float:
    memory = Memory()
    model.image.load_into(memory)
    start = time.perf_counter()
    memory.quarter_root(MODEL)
    return time.perf_counter() - start


class _Peer:
    """llama.cpp in a process of its own, which measures once for each line that it is sent."""

    def __init__(self, python: str, source: Path | None, threads: int, prompt: tuple[int, ...]) -> None:
        if source is None or source.suffix != ".gguf":
            raise InputError("the peer needs a GGUF file as the model")
        arguments = [str(source), str(threads), json.dumps(prompt), str(SHORT_PROMPT), str(NEW_TOKENS)]
        try:
            self._process = subprocess.Popen([python, "-c", PEER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        except OSError as error:
            raise InputError(f"cannot start {python}: {error.strerror}") from error

    def measure(self) -> tuple[float, float]:
        """Prefill and decode in tokens a second."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            prefill, decode = json.loads(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            raise InputError("llama.cpp did not answer; does the interpreter have the package llama_cpp?") from error
        return PREFILL_TOKENS / prefill, NEW_TOKENS / decode
