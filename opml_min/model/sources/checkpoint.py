"""A LLaMA checkpoint in memory, and how llama2.c's files hold one.

*Source*: github.com/karpathy/llama2.c, `run.c` (`memory_map_weights`) and `export.py` (`legacy_export`): seven i32 (dim, hidden_dim,
layers, heads, kv_heads, ± vocabulary, context; a negative vocabulary: the classifier has weights of its own), then float32 tensors.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from opml_min.model.errors import CheckpointError
from opml_min.model.sources.matrices import Floats, Weights

LLAMA2C_HEADER_BYTES = 28
LLAMA2C_VERSIONED_MAGIC = b"24ka"  # "ak42", llama2.c's versioned formats
LLAMA2C_EPSILON = 1e-5
LLAMA2C_THETA = 10000.0
LIMITS = {"dim": 1 << 15, "hidden_dim": 1 << 20, "layers": 1 << 10, "heads": 1 << 10, "vocabulary": 1 << 20, "context": 1 << 20}


class Shape(NamedTuple):
    """The configuration of a LLaMA."""

    dim: int
    hidden_dim: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int
    head_size: int
    epsilon: float = LLAMA2C_EPSILON
    theta: float = LLAMA2C_THETA
    frequency_divisors: tuple[float, ...] = ()  # of the rotary frequencies, head_size/2 of them; none: all 1


SHAPES = {
    "llama2-7b": Shape(4096, 11008, 32, 32, 32, 32000, 4096, 128),
    "tiny": Shape(64, 160, 2, 4, 2, 320, 64, 16),
}
"""By name, for models with random weights. *Source*: for LLaMA 2, its published configuration."""


class Layer(NamedTuple):
    """The weights of one layer; matrices are (outputs, inputs)."""

    attention_norm: Floats  # (dim)
    wq: Weights  # (heads·head_size, dim)
    wk: Weights  # (kv_heads·head_size, dim)
    wv: Weights  # (kv_heads·head_size, dim)
    wo: Weights  # (dim, heads·head_size)
    ffn_norm: Floats  # (dim)
    gate: Weights  # (hidden_dim, dim)
    up: Weights  # (hidden_dim, dim)
    down: Weights  # (dim, hidden_dim)


class Checkpoint(NamedTuple):
    """The weights of a LLaMA. Rotary pairs are neighbours."""

    shape: Shape
    embedding: Weights  # (vocabulary, dim)
    layers: Sequence[Layer]
    final_norm: Floats  # (dim)
    classifier: Weights | None  # (vocabulary, dim); None: the embedding


def check_shape(shape: Shape) -> None:
    """Refuses a shape that no LLaMA can have."""
    for name, limit in LIMITS.items():
        value = getattr(shape, name)
        if not 1 <= value <= limit:
            raise CheckpointError(f"impossible shape: {name} is {value}, not from 1 to {limit}")
    if not 1 <= shape.kv_heads <= shape.heads or shape.heads % shape.kv_heads:
        raise CheckpointError(f"impossible shape: {shape.heads} heads cannot share {shape.kv_heads} kv heads")
    if shape.head_size < 2 or shape.head_size % 2:
        raise CheckpointError(f"impossible shape: a head size of {shape.head_size} is not even")


def read_llama2c(path: Path) -> Checkpoint:
    """The checkpoint in a float32 file of llama2.c's first format."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(LLAMA2C_HEADER_BYTES)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if head[:4] == LLAMA2C_VERSIONED_MAGIC:
        raise CheckpointError(f"{path} is of a newer llama2.c format; export it with version 0")
    if size < LLAMA2C_HEADER_BYTES:
        raise CheckpointError(f"{path} is truncated: {size} bytes hold no header")
    dim, hidden_dim, layer_count, heads, kv_heads, vocabulary, context = np.frombuffer(head, "<i4").tolist()
    own_classifier, vocabulary = vocabulary < 0, abs(vocabulary)
    if heads < 1 or dim % heads:
        raise CheckpointError(f"{path}: impossible shape: a dim of {dim} cannot be divided among {heads} heads")
    shape = Shape(dim, hidden_dim, layer_count, heads, kv_heads, vocabulary, context, dim // heads)
    try:
        check_shape(shape)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error

    kv_dim = kv_heads * shape.head_size
    sizes = [
        ("embedding", (vocabulary, dim)),
        ("attention_norm", (layer_count, dim)),
        ("wq", (layer_count, dim, dim)),
        ("wk", (layer_count, kv_dim, dim)),
        ("wv", (layer_count, kv_dim, dim)),
        ("wo", (layer_count, dim, dim)),
        ("ffn_norm", (layer_count, dim)),
        ("gate", (layer_count, hidden_dim, dim)),
        ("down", (layer_count, dim, hidden_dim)),
        ("up", (layer_count, hidden_dim, dim)),
        ("final_norm", (dim,)),
        ("unused_rope_tables", (2, context, shape.head_size // 2)),
        ("classifier", (vocabulary, dim) if own_classifier else (0,)),
    ]
    counts = [int(np.prod(dimensions, dtype=object)) for _, dimensions in sizes]
    expected = LLAMA2C_HEADER_BYTES + 4 * sum(counts)
    if size != expected:
        problem = "is truncated or corrupted" if size < expected else "is corrupted or of another format"
        raise CheckpointError(f"{path} {problem}: its header calls for {expected} bytes, it has {size}")
    floats = np.memmap(path, dtype="<f4", mode="r", offset=LLAMA2C_HEADER_BYTES)
    tensors: dict[str, Floats] = {}
    for (name, dimensions), end, count in zip(sizes, np.cumsum(counts).tolist(), counts, strict=True):
        tensor = floats[end - count : end].reshape(dimensions)
        if name != "unused_rope_tables" and not np.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds a number that is not finite")
        tensors[name] = tensor
    layers = [Layer(*(tensors[name][i] for name in Layer._fields)) for i in range(layer_count)]
    return Checkpoint(shape, tensors["embedding"], layers, tensors["final_norm"], tensors["classifier"] if own_classifier else None)
