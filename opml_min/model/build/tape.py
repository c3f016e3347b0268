"""The LLaMA tape: the ops for one position, and the places of their buffers in the state quarter.

*Source*: spec §3.4, §3.7 (The LLaMA tape) and §3.6.
"""

import struct
from math import ceil, e, log2, sqrt

from attrs import frozen

from opml_min.memory_map import STATE
from opml_min.model.image.header import Header
from opml_min.model.image.ops import ALWAYS, FIXED, FLOAT, OPERANDS, WHEN_DRAWN, Op, Opcode, activation_bytes, align
from opml_min.model.image.weights import TILE_ROWS, matrix_bytes
from opml_min.model.sources.checkpoint import Shape

VECTOR_FRAC = 14  # fraction bits of q, k, v, gate and up
LOGIT_FRAC = 12
LOGIT_WEIGHTS_PER_OP = 1 << 24
RESIDUAL_FRAC = 14  # of most models; the residual stream then reaches ±2^17
LEAST_RESIDUAL_FRAC = 4
MOST_OUT_FRAC = 62
LEAST_SCALE_BITS = 14  # so that rounding the scale to an integer changes little
SCORE_LIMIT = 1 << 63  # of head_size · 8191 · 32768 · scale_q30. Source: spec §3.8

NAMES_IN_LAYER = ("norm", "q", "k", "v", "rotation", "cache", "attention", "o", "sum", "norm", "gate", "up", "SwiGLU", "down", "sum")
OPS_PER_LAYER = len(NAMES_IN_LAYER)


@frozen
class LayerFractions:
    """The fraction bits that a layer's matrix products round to, by the names of the matrices."""

    wq: int = VECTOR_FRAC
    wk: int = VECTOR_FRAC
    wv: int = VECTOR_FRAC
    wo: int = RESIDUAL_FRAC
    gate: int = VECTOR_FRAC
    up: int = VECTOR_FRAC
    down: int = RESIDUAL_FRAC
    scores: int = 2 * VECTOR_FRAC  # of queries and keys together. More than usual make the scale of the scores as much smaller


@frozen
class Fractions:
    """The fraction bits of a model. What is stored times a power of two has other ones on the tape than its vector has."""

    embedding: int = RESIDUAL_FRAC
    residual: int = RESIDUAL_FRAC
    logits: int = LOGIT_FRAC
    layers: tuple[LayerFractions, ...] = ()


@frozen
class Matrix:
    """A weight matrix. Its columns are padded to whole groups, unless it holds floats."""

    address: int
    quantisation: int
    rows: int
    columns: int


@frozen
class LayerWeights:
    """The addresses of the norm weights, and the matrices, of one layer."""

    attention_norm: int
    wq: Matrix
    wk: Matrix
    wv: Matrix
    wo: Matrix
    ffn_norm: int
    gate: Matrix
    up: Matrix
    down: Matrix


@frozen
class ModelWeights:
    """The places of a LLaMA's weights."""

    embedding: Matrix
    rope_table: int
    layers: list[LayerWeights]
    final_norm: int
    classifier: Matrix


class _Allocator:
    """Hands out aligned addresses in ascending order."""

    def __init__(self, start: int) -> None:
        self.next = start

    def take(self, length: int) -> int:
        address = self.next
        self.next = align(address + length)
        return address


def float_bits(value: float) -> int:
    """Return the pattern of the nearest binary32."""
    return int.from_bytes(struct.pack("<f", value), "little")


def query_frac(head_size: int) -> int:
    """Return the fraction bits of queries: those of all vectors, unless heads are so large that the scale must be smaller."""
    more = 0
    while head_size * 8191 * 32768 * scale_q30(head_size, 2 * VECTOR_FRAC + more) >= SCORE_LIMIT:
        more += 1
    return VECTOR_FRAC + more


def scale_q30(head_size: int, scores: int) -> int:
    """Return the scale of attention's scores for queries and keys that have so many fraction bits together."""
    return round(2.0 ** (30 + 2 * VECTOR_FRAC - scores) * log2(e) / sqrt(head_size))


def most_score_bits(head_size: int) -> int:
    """Return how many fraction bits queries and keys may have together."""
    return 30 + 2 * VECTOR_FRAC - LEAST_SCALE_BITS - ceil(log2(head_size) / 2)


def llama_tape(
    shape: Shape, weights: ModelWeights, arithmetic: int = FIXED, fractions: Fractions | None = None, buffers_from: int = STATE
) -> list[Op]:
    """Return the ops for one position. All layers share the buffers that live only within a layer.

    `emit` gets the operands of both arithmetics, and keeps those that the op's record has."""
    fractions = fractions or Fractions(layers=(LayerFractions(),) * shape.layers)
    dim, heads, kv_heads, head_size, context = shape.dim, shape.heads, shape.kv_heads, shape.head_size, shape.context
    attention_dim, kv_dim = heads * head_size, kv_heads * head_size
    state = _Allocator(buffers_from)
    x = state.take(4 * dim)  # the residual stream
    normed = state.take(activation_bytes(dim, arithmetic))
    q = state.take(4 * (attention_dim + kv_dim))  # q ‖ k
    k = q + 4 * attention_dim
    v = state.take(4 * kv_dim)
    attended = state.take(activation_bytes(attention_dim, arithmetic))
    y = state.take(4 * dim)  # what attention or the feed-forward network adds to the stream
    gate, up = state.take(4 * shape.hidden_dim), state.take(4 * shape.hidden_dim)
    hidden = state.take(activation_bytes(shape.hidden_dim, arithmetic))
    logits = state.take(4 * shape.vocabulary)
    ops: list[Op] = []

    def emit(kind: Opcode, *, condition: int = ALWAYS, **operands: int) -> None:
        opcode = kind.in_arithmetic(arithmetic)
        ops.append(Op(opcode, condition, {name: operands[name] for name in OPERANDS[opcode]}))

    def norm(norm_weights: int, condition: int = ALWAYS) -> None:
        epsilon = {"eps_q48": round(shape.epsilon * 2**48), "eps_bits": float_bits(shape.epsilon)}
        emit(Opcode.NORM, condition=condition, out=normed, x=x, weights=norm_weights, length=dim, r=fractions.residual, **epsilon)

    def matmul(out: int, act: int, matrix: Matrix, out_frac: int, condition: int = ALWAYS) -> None:
        emit(
            Opcode.MATMUL, condition=condition, out=out, x=act, matrix=matrix.address, quantisation=matrix.quantisation, rows=matrix.rows,
            columns=matrix.columns, out_frac=out_frac,
        )  # fmt: skip

    embedding = weights.embedding
    emit(
        Opcode.EMBED, out=x, matrix=embedding.address, quantisation=embedding.quantisation, columns=embedding.columns, length=dim,
        r=fractions.embedding,
    )  # fmt: skip
    for layer, bits in zip(weights.layers, fractions.layers, strict=True):
        width = 4 if arithmetic == FLOAT else 2
        keys, values = state.take(width * kv_dim * context), state.take(width * kv_dim * context)
        key_exps, value_exps = (0, 0) if arithmetic == FLOAT else (state.take(kv_heads * context), state.take(kv_heads * context))
        cache = {"keys": keys, "key_exps": key_exps, "values": values, "value_exps": value_exps}
        heads_of_cache = {"kv_heads": kv_heads, "head_size": head_size, "context": context}
        norm(layer.attention_norm)
        matmul(q, normed, layer.wq, bits.wq)
        matmul(k, normed, layer.wk, bits.wk)
        matmul(v, normed, layer.wv, bits.wv)
        emit(Opcode.ROPE, vector=q, heads=heads + kv_heads, head_size=head_size, table=weights.rope_table)
        emit(Opcode.CACHE, k=k, v=v, **cache, **heads_of_cache)
        scale = {"scale_q30": scale_q30(head_size, bits.scores), "root_bits": float_bits(sqrt(head_size))}
        emit(Opcode.ATTENTION, out=attended, q=q, **cache, heads=heads, **heads_of_cache, **scale)
        matmul(y, attended, layer.wo, bits.wo)
        emit(Opcode.ADD, x=x, y=y, length=dim)
        norm(layer.ffn_norm)
        matmul(gate, normed, layer.gate, bits.gate)
        matmul(up, normed, layer.up, bits.up)
        emit(Opcode.SWIGLU, out=hidden, gate=gate, up=up, length=shape.hidden_dim)
        matmul(y, hidden, layer.down, bits.down)
        emit(Opcode.ADD, x=x, y=y, length=dim)
    norm(weights.final_norm, WHEN_DRAWN)
    classifier = weights.classifier
    rows_per_op = _classifier_rows_per_op(classifier.columns)
    for first in range(0, classifier.rows, rows_per_op):
        address = classifier.address + matrix_bytes(classifier.quantisation, first, classifier.columns)
        part = Matrix(address, classifier.quantisation, min(rows_per_op, classifier.rows - first), classifier.columns)
        matmul(logits + 4 * first, normed, part, fractions.logits, WHEN_DRAWN)
    emit(Opcode.SAMPLE, condition=WHEN_DRAWN, logits=logits, length=shape.vocabulary)
    return ops


def op_count(shape: Shape, arithmetic: int = FIXED) -> int:
    """Return the length of the tape, which must be known before the weights can be placed behind it."""
    rows_per_op = _classifier_rows_per_op(shape.dim if arithmetic == FLOAT else align(shape.dim))
    return 1 + OPS_PER_LAYER * shape.layers + 1 + -(-shape.vocabulary // rows_per_op) + 1


def op_name(header: Header, index: int) -> str:
    """Say which op of a tape this is; on a tape of another model, its number."""
    layer, place = divmod(index - 1, OPS_PER_LAYER)
    if not header.layers or header.op_count < 1 + OPS_PER_LAYER * header.layers + 3:
        return f"op {index}"
    if index == 0:
        return "the embedding"
    if layer < header.layers:
        return f"{NAMES_IN_LAYER[place]} of layer {layer}"
    return "the final norm" if place == 0 else "the logits" if index < header.op_count - 1 else "the sampling"


def _classifier_rows_per_op(columns: int) -> int:
    """Return how many of the classifier's rows one MATMUL computes, in whole tiles."""
    return max(LOGIT_WEIGHTS_PER_OP // columns // TILE_ROWS * TILE_ROWS, TILE_ROWS)
