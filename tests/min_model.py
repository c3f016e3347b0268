"""A tiny LLaMA with random weights, in llama2.c's formats, for tests that need a model and no shared data."""

import struct
from pathlib import Path

import numpy as np

SHAPE = (24, 40, 2, 4, 2, 300, 32)  # dim, hidden_dim, layers, heads, kv_heads, vocabulary, context; rows are no multiple of 32
PIECES = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % byte for byte in range(256))]
PIECES += [b" ", b"a", b"b", b"c", b"ab", b"abc", b" a", b"bc", b" ab", "é".encode()]
PIECES += [b"x%d" % i for i in range(300 - len(PIECES))]


def tokenizer_bytes(pieces: list[bytes] = PIECES) -> bytes:
    """Longer pieces have better scores."""
    return struct.pack("<I", max(map(len, pieces))) + b"".join(struct.pack("<fi", len(p), len(p)) + p for p in pieces)


def checkpoint_bytes(shape: tuple[int, ...] = SHAPE, own_classifier: bool = False, seed: int = 3) -> bytes:
    dim, hidden, layers, heads, kv_heads, vocabulary, context = shape
    rng = np.random.default_rng(seed)
    head_size = dim // heads
    kv_dim = kv_heads * head_size

    def matrix(*size: int) -> np.ndarray:
        return rng.normal(0, size[-1] ** -0.5, size).astype("<f4")

    tensors = [
        matrix(vocabulary, dim) * 5, np.full((layers, dim), 1.1, "<f4"), matrix(layers, dim, dim), matrix(layers, kv_dim, dim),
        matrix(layers, kv_dim, dim), matrix(layers, dim, dim), np.full((layers, dim), 0.9, "<f4"), matrix(layers, hidden, dim),
        matrix(layers, dim, hidden), matrix(layers, hidden, dim), np.ones(dim, "<f4"), np.zeros((2, context, head_size // 2), "<f4"),
    ]  # fmt: skip
    if own_classifier:
        tensors.append(matrix(vocabulary, dim))
    header = struct.pack("<7i", dim, hidden, layers, heads, kv_heads, -vocabulary if own_classifier else vocabulary, context)
    return header + b"".join(tensor.tobytes() for tensor in tensors)


def write_source(folder: Path, **options: object) -> Path:
    """A checkpoint with its tokenizer beside it."""
    source = folder / "tiny.bin"
    source.write_bytes(checkpoint_bytes(**options))  # type: ignore[arg-type]
    (folder / "tok300.bin").write_bytes(tokenizer_bytes())
    return source
