"""The float reference: a LLaMA in plain numpy, written from the paper and sharing nothing with the integer path.

*Source*: Touvron et al., LLaMA (arXiv:2302.13971); RMSNorm (arXiv:1910.07467), rotary embedding (arXiv:2104.09864), SwiGLU
(arXiv:2002.05202), grouped queries (arXiv:2305.13245).
"""

import numpy as np
from numpy.typing import NDArray

from opml_min.model.blocks import dequantise, matrix_bytes, unpack
from opml_min.model.checkpoint import Checkpoint, Floats, Layer, Shape
from opml_min.model.errors import ImageError
from opml_min.model.image import Image
from opml_min.model.layout import Op, Opcode

Array = NDArray[np.float64]


def logits(checkpoint: Checkpoint, tokens: list[int]) -> Array:
    """The logits after every token: (positions, vocabulary)."""
    shape = checkpoint.shape
    x = checkpoint.embedding[tokens].astype(np.float64)  # (positions, dim)
    for layer in checkpoint.layers:
        x = x + _attention(_rms_norm(x, layer.attention_norm, shape), layer, shape)
        h = _rms_norm(x, layer.ffn_norm, shape)
        gate = h @ layer.gate.T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ layer.up.T)) @ layer.down.T
    classifier = checkpoint.embedding if checkpoint.classifier is None else checkpoint.classifier
    output: Array = _rms_norm(x, checkpoint.final_norm, shape) @ classifier.T
    return output


def _rms_norm(x: Array, weights: Floats, shape: Shape) -> Array:
    normed: Array = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + shape.epsilon) * weights
    return normed


def _rotate(x: Array, shape: Shape) -> Array:
    """Turns the pairs of neighbours. x: (positions, heads, head_size)."""
    angles = np.arange(len(x))[:, None] / shape.theta ** (np.arange(0, shape.head_size, 2) / shape.head_size)
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)[:, None, :]
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)


def _attention(h: Array, layer: Layer, shape: Shape) -> Array:
    """Causal attention of all positions at once. h: (positions, dim)."""
    n = len(h)
    q = _rotate((h @ layer.wq.T).reshape(n, shape.heads, shape.head_size), shape)
    k = _rotate((h @ layer.wk.T).reshape(n, shape.kv_heads, shape.head_size), shape)
    v = (h @ layer.wv.T).reshape(n, shape.kv_heads, shape.head_size)
    group = shape.heads // shape.kv_heads
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(shape.head_size)  # (heads, positions, positions)
    scores[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    output: Array = np.einsum("hij,jhd->ihd", weights, v).reshape(n, -1) @ layer.wo.T
    return output


def checkpoint_of_image(image: Image) -> Checkpoint:
    """The floats that an image's weights stand for, found by the order of the LLaMA tape."""
    header = image.header
    ops = [Op.from_words(words) for words in image.tape.tolist()]
    matmuls = [op.operands for op in ops if op.opcode == Opcode.MATMUL]
    norms = [op.operands for op in ops if op.opcode == Opcode.NORM]
    ropes = [op.operands for op in ops if op.opcode == Opcode.ROPE]
    if ops[0].opcode != Opcode.EMBED or len(norms) != 2 * header.layers + 1 or len(ropes) != header.layers:
        raise ImageError(f"{image.path} does not hold a LLaMA")

    def matrix(o: dict[str, int], rows: int, columns: int) -> Floats:
        data = image.view(o["matrix"], matrix_bytes(o["format"], rows, o["columns"]))
        return dequantise(o["format"], unpack(data, o["format"], rows, o["columns"]))[:, :columns]

    def norm(o: dict[str, int]) -> Floats:
        return (image.view(o["weights"], 4 * o["length"]).view(np.int32) / 2.0**24).astype(np.float32)

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
    """The shape; epsilon and theta are read out of the tape and the rotary table."""
    h = image.header
    theta = 1.0
    if h.head_size > 2 and h.context > 1:
        cosine, sine = image.view(rope["table"] + 4 * h.head_size + 8, 8).view(np.int32) / 2.0**30  # position 1, j = 1
        theta = float(np.arctan2(sine, cosine) ** (-h.head_size / 2))
    return Shape(
        h.dim, h.hidden_dim, h.layers, h.heads, h.kv_heads, h.vocabulary, h.context, h.head_size, norm["eps_q48"] / 2.0**48, theta
    )  # fmt: skip
