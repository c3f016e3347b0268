"""The LLaMA tape: the ops of one position, and where their buffers lie in the state quarter.

*Source*: spec/README.md §3.4 and §5 (The LLaMA tape).
"""

from math import e, log2, sqrt
from typing import NamedTuple

from opml_min.model.blocks import LANES, matrix_bytes
from opml_min.model.checkpoint import Shape
from opml_min.model.layout import ALWAYS, STATE, WHEN_DRAWN, Op, Opcode, activation_bytes, align

VECTOR_FRAC = 14  # fraction bits of q, k, v, gate and up
LOGIT_FRAC = 12
LOGIT_WEIGHTS_AN_OP = 1 << 24
RESIDUAL_FRAC = 14  # the residual stream then reaches ±2^17


class Matrix(NamedTuple):
    """A weight matrix in the model quarter. columns: padded to whole groups."""

    address: int
    format: int
    rows: int
    columns: int


class LayerWeights(NamedTuple):
    """Addresses of the norm weights, and the matrices, of one layer."""

    attention_norm: int
    wq: Matrix
    wk: Matrix
    wv: Matrix
    wo: Matrix
    ffn_norm: int
    gate: Matrix
    up: Matrix
    down: Matrix


class ModelWeights(NamedTuple):
    """Where the weights of a LLaMA lie in the model quarter."""

    embedding: Matrix
    rope_table: int
    layers: list[LayerWeights]
    final_norm: int
    classifier: Matrix


class _Allocator:
    """Hands out aligned addresses, one after the other."""

    def __init__(self, start: int) -> None:
        self.next = start

    def take(self, length: int) -> int:
        address = self.next
        self.next = align(address + length)
        return address


def llama_tape(shape: Shape, weights: ModelWeights) -> list[Op]:
    """The ops of one position. Buffers that live only within a layer are shared by all layers."""
    dim, heads, kv_heads, head_size, context = shape.dim, shape.heads, shape.kv_heads, shape.head_size, shape.context
    attention_dim, kv_dim = heads * head_size, kv_heads * head_size
    state = _Allocator(STATE)
    x = state.take(4 * dim)  # the residual stream
    normed = state.take(activation_bytes(dim))
    q = state.take(4 * (attention_dim + kv_dim))  # q ‖ k
    k = q + 4 * attention_dim
    v = state.take(4 * kv_dim)
    attended = state.take(activation_bytes(attention_dim))
    y = state.take(4 * dim)  # what a block adds to the stream
    gate, up = state.take(4 * shape.hidden_dim), state.take(4 * shape.hidden_dim)
    hidden = state.take(activation_bytes(shape.hidden_dim))
    logits = state.take(4 * shape.vocabulary)
    ops: list[Op] = []

    def emit(opcode: Opcode, *, condition: int = ALWAYS, **operands: int) -> None:
        ops.append(Op(opcode, condition, operands))

    def norm(norm_weights: int, condition: int = ALWAYS) -> None:
        eps_q48 = round(shape.epsilon * 2**48)
        emit(Opcode.NORM, condition=condition, out=normed, x=x, weights=norm_weights, length=dim, r=RESIDUAL_FRAC, eps_q48=eps_q48)

    def matmul(out: int, act: int, matrix: Matrix, out_frac: int = VECTOR_FRAC, condition: int = ALWAYS) -> None:
        _, form, rows, columns = matrix
        shape_of_matrix = {"format": form, "rows": rows, "columns": columns}
        emit(Opcode.MATMUL, condition=condition, out=out, x=act, matrix=matrix.address, **shape_of_matrix, out_frac=out_frac)

    embedding = weights.embedding
    emit(Opcode.EMBED, out=x, matrix=embedding.address, format=embedding.format, columns=embedding.columns, length=dim, r=RESIDUAL_FRAC)
    for layer in weights.layers:
        keys, values = state.take(2 * kv_dim * context), state.take(2 * kv_dim * context)
        key_exps, value_exps = state.take(kv_heads * context), state.take(kv_heads * context)
        cache = {"keys": keys, "key_exps": key_exps, "values": values, "value_exps": value_exps}
        heads_of_cache = {"kv_heads": kv_heads, "head_size": head_size, "context": context}
        norm(layer.attention_norm)
        matmul(q, normed, layer.wq)
        matmul(k, normed, layer.wk)
        matmul(v, normed, layer.wv)
        emit(Opcode.ROPE, vector=q, heads=heads + kv_heads, head_size=head_size, table=weights.rope_table)
        emit(Opcode.CACHE, k=k, v=v, **cache, **heads_of_cache)
        scale_q30 = round(2**30 * log2(e) / sqrt(head_size))
        emit(Opcode.ATTENTION, out=attended, q=q, **cache, heads=heads, **heads_of_cache, scale_q30=scale_q30)
        matmul(y, attended, layer.wo, out_frac=RESIDUAL_FRAC)
        emit(Opcode.ADD, x=x, y=y, length=dim)
        norm(layer.ffn_norm)
        matmul(gate, normed, layer.gate)
        matmul(up, normed, layer.up)
        emit(Opcode.SWIGLU, out=hidden, gate=gate, up=up, length=shape.hidden_dim)
        matmul(y, hidden, layer.down, out_frac=RESIDUAL_FRAC)
        emit(Opcode.ADD, x=x, y=y, length=dim)
    norm(weights.final_norm, WHEN_DRAWN)
    _, form, rows, columns = weights.classifier
    rows_an_op = max(LOGIT_WEIGHTS_AN_OP // columns // LANES * LANES, LANES)
    for first in range(0, rows, rows_an_op):
        part = Matrix(weights.classifier.address + matrix_bytes(form, first, columns), form, min(rows_an_op, rows - first), columns)
        matmul(logits + 4 * first, normed, part, LOGIT_FRAC, WHEN_DRAWN)
    emit(Opcode.SAMPLE, condition=WHEN_DRAWN, logits=logits, length=shape.vocabulary)
    return ops
