"""The tape of a LLaMA: which operations, in which order, on which tensors.

*Source*: spec §3.7. Touvron et al., "LLaMA: Open and Efficient Foundation Language Models" (2023).
"""

from collections.abc import Iterator
from math import isqrt

from attrs import frozen

from opml_spec.arithmetic.elementary import LN_2, SERIES_BITS
from opml_spec.model.layout import ALWAYS, WHEN_DRAWING, Record
from opml_spec.model.operations.fixed import LOGIT_BITS, VECTOR_BITS, Add, Attention, Cache, Embed, MatMul, Norm, Rope, Sample, SwiGlu
from opml_spec.model.operations.operation import Operation
from opml_spec.model.tensors import GROUP, TILE_ROWS, Matrix

LOGITS_WEIGHTS = 1 << 24
"""The most weights that one op of the logits multiplies: it bounds a stage's steps. (= 16777216)"""


@frozen
class Shape:
    """The sizes of a LLaMA."""

    dim: int
    hidden_dim: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    context: int
    vocabulary: int
    r: int  # fraction bits of the residual stream
    eps_q48: int


@frozen
class Weights:
    """A matrix in memory: its address and quantisation."""

    address: int
    quantisation: int


@frozen
class Layer:
    """What belongs to one layer: its weights, and its cache in the state quarter."""

    attention_norm: int
    wq: Weights
    wk: Weights
    wv: Weights
    wo: Weights
    feed_forward_norm: int
    w_gate: Weights
    w_up: Weights
    w_down: Weights
    keys: int
    key_exponents: int
    values: int
    value_exponents: int


@frozen
class Addresses:
    """Where everything lies. k has no address of its own: it follows q, so that one op rotates both."""

    embedding: Weights
    rope: int
    layers: tuple[Layer, ...]
    final_norm: int
    classifier: Weights
    residual: int  # vector [dim]
    activation: int  # activation, for the widest row
    q: int  # vector [(heads + kv_heads)·head_size]: q, then k
    v: int  # vector [kv_heads·head_size]
    branch: int  # vector [dim]: what is added to the residual stream
    gate: int  # vector [hidden_dim]
    up: int  # vector [hidden_dim]
    logits: int  # vector [vocabulary]


def attention_scale_q30(head_size: int) -> int:
    """The integer nearest to `2^30 · log2(e) / √head_size`."""
    return (isqrt((1 << (2 * SERIES_BITS + 62)) // (LN_2 * LN_2 * head_size)) + 1) // 2


def padded(columns: int) -> int:
    """The number of columns of a matrix in memory: whole groups."""
    return -(-columns // GROUP) * GROUP


def llama_tape(shape: Shape, at: Addresses) -> list[Record]:
    """The records of the tape of a LLaMA."""
    always = [operation.record(ALWAYS) for operation in network(shape, at)]
    return always + [operation.record(WHEN_DRAWING) for operation in output(shape, at)]


def network(shape: Shape, at: Addresses) -> Iterator[Operation]:
    """Yield the operations from the token to the residual stream after the last layer."""
    dim, hidden, size = shape.dim, shape.hidden_dim, shape.head_size
    q_rows, kv_rows = shape.heads * size, shape.kv_heads * size
    k = at.q + 4 * q_rows
    scale = attention_scale_q30(size)

    def matmul(out: int, weights: Weights, rows: int, columns: int, out_frac: int = VECTOR_BITS) -> MatMul:
        return MatMul(out, at.activation, weights.address, weights.quantisation, rows, padded(columns), out_frac)

    def norm(weights: int) -> Norm:
        return Norm(at.activation, at.residual, weights, dim, shape.r, shape.eps_q48)

    yield Embed(at.residual, at.embedding.address, at.embedding.quantisation, padded(dim), dim, shape.r)
    for layer in at.layers:
        cache = layer.keys, layer.key_exponents, layer.values, layer.value_exponents
        yield norm(layer.attention_norm)
        yield matmul(at.q, layer.wq, q_rows, dim)
        yield matmul(k, layer.wk, kv_rows, dim)
        yield matmul(at.v, layer.wv, kv_rows, dim)
        yield Rope(at.q, shape.heads + shape.kv_heads, size, at.rope)
        yield Cache(k, at.v, *cache, shape.kv_heads, size, shape.context)
        yield Attention(at.activation, at.q, *cache, shape.heads, shape.kv_heads, size, shape.context, scale)
        yield matmul(at.branch, layer.wo, dim, q_rows, shape.r)
        yield Add(at.residual, at.branch, dim)
        yield norm(layer.feed_forward_norm)
        yield matmul(at.gate, layer.w_gate, hidden, dim)
        yield matmul(at.up, layer.w_up, hidden, dim)
        yield SwiGlu(at.activation, at.gate, at.up, hidden)
        yield matmul(at.branch, layer.w_down, dim, hidden, shape.r)
        yield Add(at.residual, at.branch, dim)


def output(shape: Shape, at: Addresses) -> Iterator[Operation]:
    """Yield the operations from the residual stream to the token. The logits take one op per 2^24 weights, in whole tiles of 8 rows."""
    columns = padded(shape.dim)
    classifier = Matrix(at.classifier.address, at.classifier.quantisation, columns)
    rows_per_op = LOGITS_WEIGHTS // columns // TILE_ROWS * TILE_ROWS
    yield Norm(at.activation, at.residual, at.final_norm, shape.dim, shape.r, shape.eps_q48)
    for row in range(0, shape.vocabulary, rows_per_op):
        part = classifier.address + row // TILE_ROWS * classifier.tile_bytes
        rows = min(rows_per_op, shape.vocabulary - row)
        yield MatMul(at.logits + 4 * row, at.activation, part, at.classifier.quantisation, rows, columns, LOGIT_BITS)
    yield Sample(at.logits, shape.vocabulary)
