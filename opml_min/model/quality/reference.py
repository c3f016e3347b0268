"""The float reference: a LLaMA in plain numpy, written from the paper and sharing nothing with the integer path.

*Source*: Touvron et al., LLaMA (arXiv:2302.13971); RMSNorm (arXiv:1910.07467), rotary embedding (arXiv:2104.09864), SwiGLU
(arXiv:2002.05202), grouped queries (arXiv:2305.13245).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from opml_min.model.errors import ImageError
from opml_min.model.image.header import FLOAT
from opml_min.model.image.image import Image
from opml_min.model.image.ops import Op, Opcode
from opml_min.model.image.weights import F32, dequantise, matrix_bytes, unpack, unpack_f32
from opml_min.model.sources.checkpoint import Checkpoint, Layer, Shape
from opml_min.model.sources.matrices import Floats, Weights, floats_of, rows_of

Array = NDArray[np.float64]


def logits(checkpoint: Checkpoint, tokens: list[int]) -> Array:
    """The logits after every token: (positions, vocabulary)."""
    return next(logits_of_windows(checkpoint, [tokens]))


def logits_of_windows(checkpoint: Checkpoint, windows: list[list[int]]) -> Iterator[Array]:
    """The logits of each window, which knows nothing of the others; every weight is read once for all of them."""
    shape = checkpoint.shape
    ends = np.cumsum([len(window) for window in windows])
    x = rows_of(checkpoint.embedding, np.concatenate(windows)).astype(np.float64)  # (positions of all windows, dim)
    for layer in checkpoint.layers:
        x = x + _attention(_rms_norm(x, layer.attention_norm, shape), layer, shape, ends)
        h = _rms_norm(x, layer.ffn_norm, shape)
        gate = h @ _doubles(layer.gate).T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ _doubles(layer.up).T)) @ _doubles(layer.down).T
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
    """Turns the pairs of neighbours. x: (positions, heads, head_size)."""
    frequencies = shape.theta ** (-np.arange(0, shape.head_size, 2) / shape.head_size) / np.array(shape.frequency_divisors or 1.0)
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * np.arange(len(x))[:, None] * frequencies)[:, None, :]
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)


def _attention(h: Array, layer: Layer, shape: Shape, ends: NDArray[np.int64]) -> Array:
    """Causal attention of all positions at once. h: (positions of all windows, dim) · ends: where each window ends."""
    q, k, v = (np.split(h @ _doubles(matrix).T, ends[:-1]) for matrix in (layer.wq, layer.wk, layer.wv))
    attended = [_attention_in_window(*window, shape) for window in zip(q, k, v, strict=True)]
    output: Array = np.concatenate(attended) @ _doubles(layer.wo).T
    return output


def _attention_in_window(q: Array, k: Array, v: Array, shape: Shape) -> Array:
    """(positions, heads · head_size), likewise the kv heads, to (positions, heads · head_size)."""
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


def checkpoint_of_image(image: Image) -> Checkpoint:
    """The floats that an image's weights stand for, found by the order of the LLaMA tape."""
    header = image.header
    ops = [Op.from_words(words) for words in image.tape.tolist()]
    matmuls, norms, ropes = (
        [op.operands for op in ops if op.opcode.kind == kind] for kind in (Opcode.MATMUL, Opcode.NORM, Opcode.ROPE)
    )
    if ops[0].opcode.kind != Opcode.EMBED or len(norms) != 2 * header.layers + 1 or len(ropes) != header.layers:
        raise ImageError(f"{image.path} does not hold a LLaMA")

    def matrix(o: dict[str, int], rows: int, columns: int) -> Floats:
        data = image.view(o["matrix"], matrix_bytes(o.get("format", F32), rows, o["columns"]))
        if header.arithmetic == FLOAT:
            return unpack_f32(data, rows, columns)
        return dequantise(o["format"], unpack(data, o["format"], rows, o["columns"]))[:, :columns]

    def norm(o: dict[str, int]) -> Floats:
        data = image.view(o["weights"], 4 * o["length"])
        if header.arithmetic == FLOAT:
            return data.view(np.float32)
        return (data.view(np.int32) / 2.0**24).astype(np.float32)

    def layer(index: int) -> Layer:
        wq, wk, wv, wo, gate, up, down = matmuls[7 * index : 7 * index + 7]
        dim, attention_dim = header.dim, header.heads * header.head_size
        attention_norm, ffn_norm = norm(norms[2 * index]), norm(norms[2 * index + 1])
        q, k, v = (matrix(o, o["rows"], dim) for o in (wq, wk, wv))
        o = matrix(wo, dim, attention_dim)
        hidden = matrix(gate, header.hidden_dim, dim), matrix(up, header.hidden_dim, dim), matrix(down, dim, header.hidden_dim)
        return Layer(attention_norm, q, k, v, o, ffn_norm, *hidden)

    return Checkpoint(
        _shape(image, norms[0], ropes[0]),
        matrix(ops[0].operands, header.vocabulary, header.dim),
        [layer(index) for index in range(header.layers)],
        norm(norms[-1]),
        matrix(matmuls[7 * header.layers], header.vocabulary, header.dim),
    )


def _shape(image: Image, norm: dict[str, int], rope: dict[str, int]) -> Shape:
    """The shape; epsilon and the rotary frequencies are read out of the tape and the rotary table."""
    h = image.header
    table = image.view(rope["table"], 4 * h.head_size * h.context)
    turns = table.view(np.float32).astype(np.float64) if h.arithmetic == FLOAT else table.view(np.int32) / 2.0**30
    divisors = tuple((1 / np.maximum(_frequencies(turns.reshape(h.context, -1, 2)), 1e-30)).tolist())
    epsilon = float(np.uint32(norm["eps_bits"]).view(np.float32)) if h.arithmetic == FLOAT else norm["eps_q48"] / 2.0**48
    sizes = (h.dim, h.hidden_dim, h.layers, h.heads, h.kv_heads, h.vocabulary, h.context, h.head_size)
    return Shape(*sizes, epsilon, theta=1.0, frequency_divisors=divisors)


def _frequencies(turns: Array) -> Array:
    """The angle that each pair turns by from a position to the next, refined at 1, 2, 4, …: (head_size/2).

    turns: cos and sin, (context, head_size/2, 2)"""
    frequencies = np.zeros(turns.shape[1])
    position = 1
    while position < len(turns):
        measured = np.arctan2(turns[position, :, 1], turns[position, :, 0])
        whole = np.rint((position * frequencies - measured) / (2 * np.pi))
        frequencies = (measured + 2 * np.pi * whole) / position
        position *= 2
    return frequencies
