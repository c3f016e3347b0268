"""A small LLaMA in training, as a memory, and the same training in float64: the forward pass, its gradient in closed form, and AdamW.

The gradient in closed form is itself checked against finite differences.
"""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from opml_spec.machine.memory import MODEL, Memory
from opml_spec.model.layout import HEADER, encode_tape, encode_words
from opml_spec.model.llama import Shape
from opml_spec.training.layout import SETTINGS_BYTES, TrainingHeader
from opml_spec.training.llama_places import Batch, Trained
from opml_spec.training.llama_update import LlamaTraining
from opml_spec.training.request import Settings
from opml_spec.training.training_stage import run_training_stage
from spec_llama import with_request

TEXT, ROPE = MODEL + (1 << 29), MODEL + (1 << 30)
SMALL = Shape(16, 24, 2, 2, 1, 8, 8, 48, 16, round(1e-5 * 2**48))
NAMES = ("attention_norm", "wq", "wk", "wv", "wo", "feed_forward_norm", "w_gate", "w_up", "w_down")
Weights = dict[str, np.ndarray]


def settings(ops: int, updates: int, **given: int) -> bytes:
    """A request: rate 0.01, β1 0.9, β2 0.95, decay 0.1 unless given."""
    values = {
        "warmup": 0,
        "rate_q34": round(0.01 * 2**34),
        "last_rate_q34": 0,
        "first_moment_q16": 6554,
        "second_moment_q16": 3277,
        "momentum_q16": 62259,
        "decay_q16": 6554,
    } | given
    return struct.pack("<Q8I", 7, updates, *values.values()).ljust(SETTINGS_BYTES, b"\0")


def rope_table(period: int, head_size: int) -> bytes:
    angles = np.arange(period)[:, None] * 10000.0 ** (-2 * np.arange(head_size // 2) / head_size)
    return np.rint(np.stack([np.cos(angles), np.sin(angles)], axis=-1) * 2**30).astype("<i4").tobytes()


def start(shape: Shape = SMALL, updates: int = 2, text: bytes | None = None, **batch: int) -> tuple[LlamaTraining, Memory]:
    """The plan of a training, and the memory in which it begins."""
    text = np.random.default_rng(5).integers(0, shape.vocabulary, 200, dtype=np.uint8).tobytes() if text is None else text
    sizes = {"sequences": 2, "period": shape.context, "sum_frac": 20} | batch
    plan = LlamaTraining(shape, Batch(TEXT, 1, len(text), rope=ROPE, **sizes))
    tape = plan.tape()
    header = TrainingHeader(ops=len(tape), tape=HEADER + 4096)
    segments = {HEADER: encode_words(header.words), HEADER + 4096: encode_tape(tape)}
    segments |= {TEXT: text, ROPE: rope_table(sizes["period"], shape.head_size)}
    memory = Memory.from_segments(segments)
    return plan, with_request(memory, len(tape) * updates, settings(len(tape), updates))


def stages(memory: Memory, ops: int, updates: int) -> Iterator[Memory]:
    """Yield the memory after each update."""
    for update in range(updates):
        for stage in range(update * ops, (update + 1) * ops):
            memory, code = run_training_stage(memory, stage)
            assert code == 0
        yield memory


def named(plan: LlamaTraining) -> dict[str, Trained]:
    inner = {f"{i}.{name}": getattr(layer, name) for i, layer in enumerate(plan.layers) for name in NAMES}
    return {"embedding": plan.embedding, **inner, "final_norm": plan.final_norm, "classifier": plan.classifier}


def floats(memory: Memory, plan: LlamaTraining) -> Weights:
    """The master weights as numbers."""
    result = {}
    for name, w in named(plan).items():
        values = np.frombuffer(memory.load_bytes(w.master, 4 * w.count), "<i4") / 2.0**w.frac
        result[name] = values.reshape(w.rows, w.columns) if w.is_matrix else values
    return result


def tokens(memory: Memory, plan: LlamaTraining) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of the batch that is in memory."""
    shape = plan.batch.sequences, plan.batch.period
    return tuple(np.frombuffer(memory.load_bytes(at, 4 * plan.batch.rows), "<u4").reshape(shape) for at in (plan.inputs, plan.targets))


# float64 ---------------------------------------------------------------------------------------------------------------------------------


def rms(x: np.ndarray, gain: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * gain


def rms_back(g: np.ndarray, x: np.ndarray, gain: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    root = np.sqrt((x**2).mean(-1, keepdims=True) + eps)
    unit, h = x / root, g * gain
    return (h - unit * (h * unit).mean(-1, keepdims=True)) / root, (g * unit).reshape(-1, x.shape[-1]).sum(0)


def rope(x: np.ndarray, sign: int = 1) -> np.ndarray:
    """x is (sequences, period, heads, head_size)."""
    period, size = x.shape[1], x.shape[3]
    angle = np.arange(period)[:, None] * 10000.0 ** (-2 * np.arange(size // 2) / size)
    z = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(sign * 1j * angle)[None, :, None]
    return np.stack([z.real, z.imag], axis=-1).reshape(x.shape)


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and probabilities, of (sequences, period, heads, head_size); k and v have as many heads as q."""
    scores = np.einsum("bshi,bthi->bhst", q, k) / np.sqrt(q.shape[-1])
    scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return np.einsum("bhst,bthi->bshi", p, v), p


def attend_back(g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    p = attend(q, k, v)[1]
    d_p = np.einsum("bshi,bthi->bhst", g, v)
    d_s = p * (d_p - (p * d_p).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return np.einsum("bhst,bthi->bshi", d_s, k), np.einsum("bhst,bshi->bthi", d_s, q), np.einsum("bhst,bshi->bthi", p, g)


def sigma(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def forward(shape: Shape, w: Weights, inputs: np.ndarray) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The logits, and what the backward pass needs of each layer."""
    eps, kept = shape.eps_q48 / 2**48, []
    group = shape.heads // shape.kv_heads
    x = w["embedding"][inputs]
    for i in range(shape.layers):
        own = {name: w[f"{i}.{name}"] for name in NAMES}
        n = rms(x, own["attention_norm"], eps)
        q, k, v = ((n @ own[name].T).reshape(*inputs.shape, -1, shape.head_size) for name in ("wq", "wk", "wv"))
        q, k, v = rope(q), np.repeat(rope(k), group, axis=2), np.repeat(v, group, axis=2)
        o = attend(q, k, v)[0].reshape(*inputs.shape, -1)
        middle = x + o @ own["wo"].T
        n2 = rms(middle, own["feed_forward_norm"], eps)
        gate, up = n2 @ own["w_gate"].T, n2 @ own["w_up"].T
        s = gate * sigma(gate) * up
        kept.append({"x": x, "n": n, "q": q, "k": k, "v": v, "o": o, "middle": middle, "n2": n2, "gate": gate, "up": up, "s": s})
        x = middle + s @ own["w_down"].T
    kept.append({"x": x, "n": rms(x, w["final_norm"], eps)})
    return kept[-1]["n"] @ w["classifier"].T, kept


def loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """The sum over all targets, in nats."""
    top = logits.max(-1)
    log_sum = top + np.log(np.exp(logits - top[..., None]).sum(-1))
    return float((log_sum - np.take_along_axis(logits, targets[..., None].astype(int), -1)[..., 0]).sum())


def gradient(shape: Shape, w: Weights, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Weights]:
    """The loss, and its gradient in closed form."""
    logits, kept = forward(shape, w, inputs)
    eps, group, d_w = shape.eps_q48 / 2**48, shape.heads // shape.kv_heads, {}
    g = np.exp(logits - logits.max(-1, keepdims=True))
    g = g / g.sum(-1, keepdims=True) - np.eye(shape.vocabulary)[targets]

    def weights(name: str, d: np.ndarray, x: np.ndarray) -> np.ndarray:
        d_w[name] = np.einsum("btr,btc->rc", d, x)
        return d @ w[name]

    at = kept.pop()
    d, d_w["final_norm"] = rms_back(weights("classifier", g, at["n"]), at["x"], w["final_norm"], eps)
    for i in reversed(range(shape.layers)):
        at = kept[i]
        d_s, sigmas = weights(f"{i}.w_down", d, at["s"]), sigma(at["gate"])
        d_gate = d_s * at["up"] * sigmas * (1 + at["gate"] * (1 - sigmas))
        d_n = weights(f"{i}.w_gate", d_gate, at["n2"]) + weights(f"{i}.w_up", d_s * at["gate"] * sigmas, at["n2"])
        part, d_w[f"{i}.feed_forward_norm"] = rms_back(d_n, at["middle"], w[f"{i}.feed_forward_norm"], eps)
        d = d + part
        d_o = weights(f"{i}.wo", d, at["o"]).reshape(at["q"].shape)
        d_q, d_k, d_v = attend_back(d_o, at["q"], at["k"], at["v"])
        d_k, d_v = (part.reshape(*inputs.shape, shape.kv_heads, group, shape.head_size).sum(3) for part in (d_k, d_v))
        flat = {"wq": rope(d_q, -1), "wk": rope(d_k, -1), "wv": d_v}
        d_n = sum(weights(f"{i}.{name}", part.reshape(*inputs.shape, -1), at["n"]) for name, part in flat.items())
        part, d_w[f"{i}.attention_norm"] = rms_back(d_n, at["x"], w[f"{i}.attention_norm"], eps)
        d = d + part
    d_w["embedding"] = np.zeros_like(w["embedding"])
    np.add.at(d_w["embedding"], inputs, d)
    return loss(logits, targets), d_w


class AdamW:
    """The optimiser in float64, with the page's ε of one unit of the squared gradient."""

    def __init__(self, request: Settings, sum_frac: int) -> None:
        self.request, self.eps = request, 2.0 ** (-2 * sum_frac)
        self.beta1, self.beta2 = 1 - request.first_moment_q16 / 2**16, 1 - request.second_moment_q16 / 2**16
        self.m: Weights = {}
        self.v: Weights = {}

    def update(self, k: int, w: Weights, d_w: Weights) -> Weights:
        """The weights after update k."""
        rate, after = self.request.rate(k, 1 << 16) / 2**34, {}
        for name, d in d_w.items():
            self.m[name] = self.beta1 * self.m.get(name, 0) + (1 - self.beta1) * d
            self.v[name] = self.beta2 * self.v.get(name, 0) + (1 - self.beta2) * d**2
            corrected = rate * np.sqrt(1 - self.beta2 ** (k + 1)) / (1 - self.beta1 ** (k + 1))
            decay = rate * self.request.decay_q16 / 2**16 if w[name].ndim == 2 else 0
            after[name] = w[name] * (1 - decay) - corrected * self.m[name] / np.sqrt(self.v[name] + self.eps)
        return after
