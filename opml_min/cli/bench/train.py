"""`opml bench train`: seconds of an update, forward, backward and Adam, and what committing to it costs.

The shape is that of a model, the weights begin at random, and each update has 8 sequences of 256 tokens. The peer is PyTorch in float32 on
a network of the same shape; it is measured if `--peer-python` names an interpreter with the package `torch`, and takes turns with us
(`peer.py`). Neither learns anything: the tokens are arbitrary, and what they are does not matter to the time.
"""

import json
import time
from statistics import median

import numpy as np

from opml_min.cli.bench.peer import Peer
from opml_min.cli.bench.row import Row
from opml_min.cli.errors import InputError
from opml_min.cli.output import Progress
from opml_min.model.resolve import Model
from opml_min.training.recipes.llama import llama_training
from opml_min.training.recipes.llama_shape import LlamaShape
from opml_min.training.recipes.recipe import Method, Recipe, TokenText
from opml_min.training.request import Settings
from opml_min.training.run import TrainingRun

SEQUENCES, PERIOD = 8, 256
ROUNDS = 5
TEXT_TOKENS = 10_000
RATE_Q34, MOMENT_Q16 = 1 << 24, 6554  # Adam's rate is 2^-10; what they are does not matter to the time either
PEER = """
import json, os, signal, sys, time
import torch
import torch.nn.functional as F
dim, hidden, layers, heads, kv_heads, size, vocabulary, sequences, period = json.loads(sys.argv[1])
def matrix(rows, columns):
    return torch.nn.Parameter(torch.randn(rows, columns) * 0.02)
def gains():
    return torch.nn.Parameter(torch.ones(dim))
embedding, classifier, last = matrix(vocabulary, dim), matrix(vocabulary, dim), gains()
blocks = [
    (gains(), matrix(heads * size, dim), matrix(kv_heads * size, dim), matrix(kv_heads * size, dim), matrix(dim, heads * size),
     gains(), matrix(hidden, dim), matrix(hidden, dim), matrix(dim, hidden))
    for _ in range(layers)
]
angles = torch.arange(period)[:, None] * 10000.0 ** (-torch.arange(0, size, 2) / size)
cos, sin = angles.cos()[:, None, :], angles.sin()[:, None, :]
def turned(x):
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
def norm(x, w):
    return F.rms_norm(x, (dim,), w, 1e-5)
def loss(tokens, targets):
    x = embedding[tokens]
    for attention, q, k, v, o, feed_forward, gate, up, down in blocks:
        n = norm(x, attention)
        parts = [(n @ w.T).view(sequences, period, -1, size) for w in (q, k, v)]
        heads_of = [y.transpose(1, 2) for y in (turned(parts[0]), turned(parts[1]), parts[2])]
        a = F.scaled_dot_product_attention(*heads_of, is_causal=True, enable_gqa=True)
        x = x + a.transpose(1, 2).reshape(sequences, period, -1) @ o.T
        n = norm(x, feed_forward)
        x = x + (F.silu(n @ gate.T) * (n @ up.T)) @ down.T
    return F.cross_entropy((norm(x, last) @ classifier.T).flatten(0, 1), targets.flatten())
adam = torch.optim.AdamW([embedding, classifier, last, *(w for block in blocks for w in block)], lr=1e-3)
for line in sys.stdin:
    torch.set_num_threads(int(line))
    tokens = torch.randint(vocabulary, (sequences, period + 1))
    start = time.perf_counter()
    adam.zero_grad()
    loss(tokens[:, :-1], tokens[:, 1:]).backward()
    adam.step()
    print(json.dumps(time.perf_counter() - start), flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def rows(model: Model, threads: int, peer_python: str | None) -> list[Row]:
    """Measures updates with all threads and with one. peer_python: an interpreter that can import torch"""
    shape = _shape(model)
    peer = None
    if peer_python is not None:
        sizes = (shape.dim, shape.hidden_dim, shape.layers, shape.heads, shape.kv_heads, shape.head_size, shape.vocabulary)
        peer = Peer(peer_python, "torch", PEER, [json.dumps([*sizes, SEQUENCES, PERIOD])])
    thread_counts = sorted({threads, 1}, reverse=True)
    runs = {count: _begun(shape, count) for count in thread_counts}
    ours: dict[int, list[float]] = {count: [] for count in thread_counts}
    theirs: dict[int, list[float]] = {count: [] for count in thread_counts}
    commitments = []
    progress = Progress("rounds", ROUNDS)
    for done in range(ROUNDS + 1):  # the first round warms up
        for count, run in runs.items():
            update, commitment = _measure(run)
            ours[count].append(update)
            commitments.append(commitment)
            if peer is not None:
                theirs[count].append(peer.measure(count))
        progress.show(done)
    progress.clear()
    if peer is not None:
        peer.end()
    result = []
    for count in thread_counts:
        where = "" if count == threads else ", 1 thread"
        others = None if peer is None else median(theirs[count][1:])
        name = None if peer is None else "torch"
        result.append(Row(f"update of {SEQUENCES * PERIOD} tokens{where}", median(ours[count][1:]), "s", name, others))
    return [*result, Row("run hash after an update", median(commitments[1:]), "s")]


def _shape(model: Model) -> LlamaShape:
    h = model.image.header
    if not h.layers:
        raise InputError("the model is no LLaMA")
    return LlamaShape(h.dim, h.hidden_dim, h.layers, h.heads, h.kv_heads, h.head_size, h.vocabulary)


def _begun(shape: LlamaShape, threads: int) -> TrainingRun:
    """A run before its first update."""
    tokens = np.random.default_rng(0).integers(0, shape.vocabulary, TEXT_TOKENS, np.uint32)
    model = llama_training(shape, Recipe(Method.SCRATCH, sequences=SEQUENCES, period=PERIOD), TokenText(tokens.tobytes(), 4))
    updates = ROUNDS + 2  # the last one, which also exports, is not measured
    settings = Settings(0, updates, 0, RATE_Q34, 0, MOMENT_Q16, MOMENT_Q16, 0, 0)
    return TrainingRun(model.segments, settings.pack(), threads=threads)


def _measure(run: TrainingRun) -> tuple[float, float]:
    """Returns the seconds of the next update, and of the run hash after it."""
    start = time.perf_counter()
    run.run_to(run.stage + len(run.ops))
    middle = time.perf_counter()
    run.run_hash()
    return middle - start, time.perf_counter() - middle
