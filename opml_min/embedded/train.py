"""Makes the embedded model: a tokenizer and a small LLaMA, trained on a text.

    python -m opml_min.embedded.train TEXT OUTPUT_FOLDER [STEPS]

It trains on the first nine tenths of the text and holds out the last tenth. Two files are written: `tok512.bin` (byte-pair pieces)
and `embedded.bin` (a float32 checkpoint), both in llama2.c's formats. Every matrix is rounded to what Q8_0 blocks hold exactly, so
building the image from the checkpoint loses nothing.

This script needs PyTorch (it was written with torch 2.13.0). The project does not, and nothing imports this file.

*Source*: github.com/karpathy/llama2.c: `run.c` (the network), `export.py` (`legacy_export`).
"""

import re
import struct
import sys
import time
from math import cos, pi
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch  # type: ignore[import-not-found]  # not a dependency of the project
import torch.nn.functional as F  # type: ignore[import-not-found]

from opml_min.embedded.pieces import BOS, BYTE_TOKENS, PieceTokenizer, learn_pieces

Tensor = Any  # torch.Tensor, whose types the project does not install


class Dimensions(NamedTuple):
    """The header of the checkpoint, in its order. Every matrix row is a multiple of 32 long: whole Q8_0 blocks."""

    dim: int = 96
    hidden_dim: int = 224
    layers: int = 4
    heads: int = 6
    kv_heads: int = 3
    vocabulary: int = 512
    context: int = 256

    @property
    def head_size(self) -> int:
        return self.dim // self.heads


DIMENSIONS = Dimensions()
SEED = 1
STEPS = 1500  # about 6 passes over the text
BATCH = 8  # windows per step
LEARNING_RATE = 0.03  # of the matrices; half of it for the embedding and the norms
WARMUP_STEPS = 100
FROM_BOS = 0.25  # share of the windows that begin with BOS and a speech, as generation does

# ------------------------------------------------------------------------------------------------------------------ network

Weights = dict[str, list[Tensor]]  # by name; one tensor per layer, or a single one. The order of the names is the checkpoint's

MATRICES = ("wq", "wk", "wv", "wo", "w1", "w2", "w3")  # of the layers


def initial_weights(s: Dimensions) -> Weights:
    """Draws normal matrices with deviation 1/√inputs; those that write to the residual stream are divided by √(2·layers)."""
    kv_dim = s.kv_heads * s.head_size
    rows_columns = {
        "token_embedding": (s.vocabulary, s.dim), "rms_att": None,
        "wq": (s.dim, s.dim), "wk": (kv_dim, s.dim), "wv": (kv_dim, s.dim), "wo": (s.dim, s.dim), "rms_ffn": None,
        "w1": (s.hidden_dim, s.dim), "w2": (s.dim, s.hidden_dim), "w3": (s.hidden_dim, s.dim), "rms_final": None,
    }  # fmt: skip
    weights: Weights = {}
    for name, matrix in rows_columns.items():
        copies = 1 if name in ("token_embedding", "rms_final") else s.layers
        deviation = 0.05 if name == "token_embedding" else (matrix or (0, 1))[1] ** -0.5
        deviation /= (2 * s.layers) ** 0.5 if name in ("wo", "w2") else 1
        weights[name] = [torch.randn(matrix) * deviation if matrix else torch.ones(s.dim) for _ in range(copies)]
    return weights


def rotations(s: Dimensions) -> Tensor:
    """(context, head_size / 2) unit complex numbers: RoPE turns the pair j at position p by p·10000^(−2j / head_size)."""
    frequency = 10000.0 ** (-torch.arange(0, s.head_size, 2, dtype=torch.float64) / s.head_size)
    angle = torch.outer(torch.arange(s.context, dtype=torch.float64), frequency)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


ROTATIONS = rotations(DIMENSIONS)


def rotated(x: Tensor) -> Tensor:
    """Rotates adjacent pairs of elements by their position's angles. x: (batch, heads, positions, head_size)"""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * ROTATIONS[: x.shape[2]]).flatten(3)


def normalised(x: Tensor, gain: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * gain


def logits(w: Weights, tokens: Tensor, s: Dimensions = DIMENSIONS) -> Tensor:
    """Runs the network: tokens (batch, positions) → logits (batch, positions, vocabulary)."""

    def heads(x: Tensor) -> Tensor:  # (batch, positions, heads·head_size) → (batch, heads, positions, head_size)
        return x.unflatten(-1, (-1, s.head_size)).transpose(1, 2)

    x = w["token_embedding"][0][tokens]
    for layer in range(s.layers):
        a = normalised(x, w["rms_att"][layer])
        q, k, v = (heads(a @ w[name][layer].T) for name in ("wq", "wk", "wv"))
        y = F.scaled_dot_product_attention(rotated(q), rotated(k), v, is_causal=True, enable_gqa=True)
        x = x + y.transpose(1, 2).flatten(2) @ w["wo"][layer].T
        f = normalised(x, w["rms_ffn"][layer])
        x = x + (F.silu(f @ w["w1"][layer].T) * (f @ w["w3"][layer].T)) @ w["w2"][layer].T
    return normalised(x, w["rms_final"][0]) @ w["token_embedding"][0].T


# ----------------------------------------------------------------------------------------------------------------- training


class Corpus:
    """The training text, from which token windows are drawn at random: anywhere, or from BOS and the start of a speech."""

    def __init__(self, text: str, tokenizer: PieceTokenizer) -> None:
        self.stream: list[int] = []
        self.speeches: list[tuple[list[int], int]] = []  # BOS and its tokens, and where the stream goes on after it
        for speech in re.split(r"(\n\n+)", text):
            self.stream += tokenizer.encode(speech)
            if speech.strip():
                self.speeches.append(([BOS, *tokenizer.encode(" " + speech)], len(self.stream)))

    def window(self, rng: np.random.Generator, length: int) -> list[int]:
        while rng.random() < FROM_BOS:
            opening, end = self.speeches[rng.integers(len(self.speeches))]
            if end + length <= len(self.stream):
                return (opening + self.stream[end : end + length])[:length]
        start = rng.integers(len(self.stream) - length)
        return self.stream[start : start + length]


def loss(w: Weights, windows: Tensor, reduction: str = "mean") -> Tensor:
    """The loss in nats per token, over every token of a window but its first."""
    return F.cross_entropy(logits(w, windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten(), reduction=reduction)


def held_out(w: Weights, text: str, tokenizer: PieceTokenizer) -> tuple[float, float]:
    """Measures (nats per token, nats per character) over consecutive windows of the whole context."""
    ids = tokenizer.encode(text)
    ids = ids[: len(ids) // DIMENSIONS.context * DIMENSIONS.context]
    windows = torch.tensor(ids).view(-1, DIMENSIONS.context)
    with torch.no_grad():
        nats = sum(float(loss(w, part, "sum")) for part in windows.split(16))
    scored = windows[:, 1:].flatten().tolist()
    return nats / len(scored), nats / sum(len(tokenizer.token_bytes(token)) for token in scored)


def trained(corpus: Corpus, steps: int) -> Weights:
    """Trains the layers' matrices with Muon and the rest with AdamW; both rates warm up and then fall to 0 along a cosine."""
    w = initial_weights(DIMENSIONS)
    for tensors in w.values():
        for tensor in tensors:
            tensor.requires_grad_()
    matrices = [tensor for name in MATRICES for tensor in w[name]]
    rest = [tensor for name in w if name not in MATRICES for tensor in w[name]]
    optimizers = [
        torch.optim.Muon(matrices, lr=LEARNING_RATE, weight_decay=0.1, momentum=0.95, adjust_lr_fn="original"),
        torch.optim.AdamW(rest, lr=LEARNING_RATE / 2, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    full = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    rng = np.random.default_rng(SEED)
    began, recent = time.monotonic(), 0.0
    for step in range(steps):
        windows = torch.tensor([corpus.window(rng, DIMENSIONS.context + 1) for _ in range(BATCH)])
        value = loss(w, windows)
        value.backward()
        for optimizer, lr in zip(optimizers, full, strict=True):
            optimizer.param_groups[0]["lr"] = lr * min(1, (step + 1) / WARMUP_STEPS) * (0.5 + 0.5 * cos(pi * step / steps))
            optimizer.step()
            optimizer.zero_grad()
        recent += float(value.detach()) / 100
        if step % 100 == 99:
            print(f"step {step + 1:5}  {recent:.4f} nats per token  {time.monotonic() - began:5.0f} s", flush=True)
            recent = 0.0
    return {name: [tensor.detach() for tensor in tensors] for name, tensors in w.items()}


def as_q8_0(matrix: Tensor) -> Tensor:
    """Rounds a matrix so that each 32 elements along a row are a half-precision scale times integers in [−127, 127].

    Rounding again changes nothing: each group's largest integer is ±127. A scale below 2^-17 is too coarse for that and becomes 0.
    """
    groups = matrix.reshape(-1, 32)
    scale = (groups.abs().amax(1, keepdim=True) / 127).half().float()
    scale = torch.where(scale < 2**-17, 0.0, scale)
    integers = torch.where(scale > 0, groups / scale, torch.zeros(())).round().clamp(-127, 127)
    return (integers * scale).reshape(matrix.shape)


def rounded(w: Weights) -> Weights:
    """Rounds matrices to Q8_0 and norm gains to multiples of 2^-20."""
    return {name: [as_q8_0(t) if t.ndim == 2 else (t * 2**20).round() / 2**20 for t in tensors] for name, tensors in w.items()}


def save_checkpoint(path: Path, w: Weights) -> None:
    """Writes version 0: 7 i32, then f32. A positive vocabulary says that the embedding is also the classifier."""
    tables = [ROTATIONS.real, ROTATIONS.imag]
    floats = (tensor.contiguous().numpy().astype("<f4").tobytes() for tensor in [*(t for ts in w.values() for t in ts), *tables])
    path.write_bytes(struct.pack("<7i", *DIMENSIONS) + b"".join(floats))


def sample(w: Weights, tokenizer: PieceTokenizer, count: int, temperature: float) -> str:
    """Generates `count` tokens after BOS; temperature 0 is greedy."""
    ids = [BOS]
    with torch.no_grad():
        for _ in range(count):
            last = logits(w, torch.tensor([ids]))[0, -1]
            greedy = temperature == 0
            ids.append(int(last.argmax() if greedy else torch.multinomial(F.softmax(last / temperature, -1), 1)))
    return tokenizer.decode(ids[1:])


def main(text_file: str, folder: str, steps: int = STEPS) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    text = Path(text_file).read_text(encoding="utf-8")
    border = len(text) * 9 // 10
    learned, unseen = text[:border], text[border:]
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)

    tokenizer = PieceTokenizer(learn_pieces(learned, DIMENSIONS.vocabulary - len(BYTE_TOKENS)))
    tokenizer.save(out / f"tok{DIMENSIONS.vocabulary}.bin")
    corpus = Corpus(learned, tokenizer)
    w = trained(corpus, steps)
    exact = rounded(w)
    if any(not torch.equal(again, once) for name in w for again, once in zip(rounded(exact)[name], exact[name], strict=True)):
        raise ValueError("rounding to Q8_0 a second time changes the weights")
    save_checkpoint(out / "embedded.bin", exact)

    print(f"{sum(t.numel() for ts in w.values() for t in ts):,} parameters, {len(corpus.stream):,} training tokens")
    for name, weights in (("float32", w), ("Q8_0", exact)):
        print("held out, {}: {:.4f} nats per token, {:.4f} nats per character".format(name, *held_out(weights, unseen, tokenizer)))
    print("--- greedy\n" + sample(exact, tokenizer, 200, 0))
    print("--- temperature 0.8\n" + sample(exact, tokenizer, 200, 0.8))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
