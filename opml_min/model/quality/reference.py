"""The float reference: a LLaMA in plain numpy, written from the papers. It shares no code with the kernels.

*Source*: Touvron et al., LLaMA (arXiv:2302.13971); RMSNorm (arXiv:1910.07467), rotary embedding (arXiv:2104.09864), SwiGLU
(arXiv:2002.05202), grouped queries (arXiv:2305.13245).
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from opml_min.model.sources.checkpoint import Checkpoint, Shape
from opml_min.model.sources.matrices import Floats, Weights, floats_of, rows_of

Array = NDArray[np.float64]
LARGEST_EXPONENT = 700  # its exponential is a float64; 1/(1 + e^700) is 0 for all purposes
Watch = Callable[[str, Array], None]


def logits(checkpoint: Checkpoint, tokens: list[int]) -> Array:
    """Return the logits after every token: (positions, vocabulary)."""
    return next(logits_of_windows(checkpoint, [tokens]))


def logits_of_windows(checkpoint: Checkpoint, windows: list[list[int]], watch: Watch = lambda name, values: None) -> Iterator[Array]:
    """Yield the logits of each window, independent of the others. Every weight is read once for all windows.

    watch: called with everything on the way, (positions, numbers): "stream" at the start and after each addition, and what each matrix of
    a layer gives by the name of its field; queries and keys before they are rotated"""
    shape = checkpoint.shape
    ends = np.cumsum([len(window) for window in windows])
    x = rows_of(checkpoint.embedding, np.concatenate(windows)).astype(np.float64)  # (positions of all windows, dim)
    watch("stream", x)

    def product(h: Array, name: str, matrix: Weights) -> Array:
        result: Array = h @ _doubles(matrix).T
        watch(name, result)
        return result

    for layer in checkpoint.layers:
        h = _rms_norm(x, layer.attention_norm, shape)
        q, k, v = (np.split(product(h, name, getattr(layer, name)), ends[:-1]) for name in ("wq", "wk", "wv"))
        attended = [_attention_in_window(*window, shape) for window in zip(q, k, v, strict=True)]
        x = x + product(np.concatenate(attended), "wo", layer.wo)
        watch("stream", x)
        h = _rms_norm(x, layer.ffn_norm, shape)
        gate = product(h, "gate", layer.gate)
        x = x + product(gate / (1 + np.exp(np.minimum(-gate, LARGEST_EXPONENT))) * product(h, "up", layer.up), "down", layer.down)
        watch("stream", x)
    x = _rms_norm(x, checkpoint.final_norm, shape)
    classifier = _doubles(checkpoint.embedding if checkpoint.classifier is None else checkpoint.classifier)
    for part in np.split(x, ends[:-1]):
        yield part @ classifier.T


def _doubles(matrix: Weights) -> Array:
    return floats_of(matrix).astype(np.float64)


def _rms_norm(x: Array, weights: Floats, shape: Shape) -> Array:
    normed: Array = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + shape.epsilon) * weights
    return normed


def _rotate(x: Array, shape: Shape) -> Array:
    """Rotate each pair of neighbours by its position's angle. x: (positions, heads, head_size)."""
    frequencies = shape.theta ** (-np.arange(0, shape.head_size, 2) / shape.head_size) / np.array(shape.frequency_divisors or 1.0)
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * np.arange(len(x))[:, None] * frequencies)[:, None, :]
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)


def _attention_in_window(q: Array, k: Array, v: Array, shape: Shape) -> Array:
    """Compute causal attention at all positions of a window: (positions, heads · head_size).

    q has this shape, k and v likewise with kv_heads."""
    n, group = len(q), shape.heads // shape.kv_heads
    q = _rotate(q.reshape(n, shape.heads, shape.head_size), shape).transpose(1, 0, 2)  # (heads, positions, head_size)
    k = _rotate(k.reshape(n, shape.kv_heads, shape.head_size), shape).transpose(1, 0, 2)
    k, v = (np.repeat(each, group, axis=0) for each in (k, v.reshape(n, shape.kv_heads, shape.head_size).transpose(1, 0, 2)))
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(shape.head_size)  # (heads, positions, positions)
    scores[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    output: Array = (weights @ v).transpose(1, 0, 2).reshape(n, -1)
    return output
