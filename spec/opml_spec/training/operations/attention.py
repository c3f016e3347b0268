"""Attention over whole sequences, forward and backward. The backward pass computes the scores again: nothing but q, k and v is kept.

In each sequence a position attends to itself and the positions before it. Names are those of the text: p for a probability before it is
divided by its sum S, dP and dS for the gradients of p/S and of the scores.

*Source*: spec §6.6.
"""

from collections.abc import Iterator
from math import isqrt

from attrs import frozen

from opml_spec.arithmetic.elementary import LOG2_E_Q32, exp2, reciprocal
from opml_spec.arithmetic.fixed import normalise, round_shift, sat32, shorten
from opml_spec.machine.memory import Memory
from opml_spec.model.bounds import Bound
from opml_spec.model.operations.fixed import SCORE_BITS, WEIGHT_BITS, dot
from opml_spec.training.operations.batch_operation import BatchOperation, Span, reads, writes
from opml_spec.training.operations.forward import load_vectors
from opml_spec.training.tensors import Rows, activation, align, gradient, gradient_row, in_rows

SCALE_BITS = 24
Head = tuple[Rows, int]
"""The positions of one head in one sequence, and their common exponent."""

HeadGradient = tuple[Rows, list[int]]
"""A row for each position of a head in one sequence, and the fraction bits of each row."""


@frozen(slots=False)
class Heads(BatchOperation, opcode=74):
    """Vectors as attention reads them: one exponent for each head in each sequence, its positions side by side."""

    out: int  # activation (sequences·heads, period·head_size)
    vector: int  # vectors (sequences·period, heads·head_size)
    sequences: int
    period: int
    heads: int
    head_size: int
    vector_frac: int
    width: int

    def execute(self, memory: Memory, update: int) -> Memory:
        rows = load_vectors(memory, self.vector, self.sequences * self.period, self.heads * self.head_size)
        result = []
        for b in range(self.sequences):
            sequence = rows[self.period * b : self.period * (b + 1)]
            for h in range(self.heads):
                values = [value for row in sequence for value in row[self.head_size * h : self.head_size * (h + 1)]]
                result.append(normalise(values, [self.vector_frac] * len(values), self.width))
        return activation(self.out, self.sequences * self.heads, self.period * self.head_size).store(memory, result)

    def spans(self) -> Iterator[Span]:
        yield from reads((self.vector, 4 * self.sequences * self.period * self.heads * self.head_size))
        yield from writes(activation(self.out, self.sequences * self.heads, self.period * self.head_size))


def load_heads(memory: Memory, address: int, heads: int, period: int, head_size: int) -> list[Head]:
    """What HEADS wrote, for all heads of all sequences."""
    blocks, exponents = activation(address, heads, period * head_size).load(memory)
    return [(in_rows(block, head_size), e) for block, e in zip(blocks, exponents, strict=True)]


def root_q30(head_size: int) -> int:
    """1/√head_size, Q30, rounded down."""
    return isqrt((1 << 60) // head_size)


def scale_q24(head_size: int) -> int:
    """log2(e)/√head_size, Q24: the factor that makes a product a score."""
    return round_shift(root_q30(head_size) * LOG2_E_Q32, 30 + 32 - SCALE_BITS)


def score_weights(q: Head, k: Head, s: int, head_size: int) -> list[int]:
    """2^(score − largest score) of position s with positions 0 … s, Q24."""
    scale, shift = scale_q24(head_size), q[1] + k[1] + SCALE_BITS - SCORE_BITS
    scores = [sat32(round_shift(dot(q[0][s], key) * scale, shift)) for key in k[0][: s + 1]]
    top = max(scores)
    return [exp2(score - top) for score in scores]


def attention_bounds(head_size: int, period: int) -> Iterator[Bound]:
    """What the scores and the weighted means can reach."""
    yield Bound("Σ q·k·scale", head_size * scale_q24(head_size) << 30)
    yield Bound("Σ w·v", period << WEIGHT_BITS + 15)


@frozen(slots=False)
class ForwardAttention(BatchOperation, opcode=75):
    """Each head's mean of the values so far, weighted by 2^score. Neighbouring query heads share a key-value head."""

    out: int  # activation (sequences·period, heads·head_size)
    q: int  # heads, as k and v
    k: int
    v: int
    sequences: int
    period: int
    heads: int
    kv_heads: int
    head_size: int
    width: int

    def execute(self, memory: Memory, update: int) -> Memory:
        q = load_heads(memory, self.q, self.sequences * self.heads, self.period, self.head_size)
        k, v = (load_heads(memory, at, self.sequences * self.kv_heads, self.period, self.head_size) for at in (self.k, self.v))
        result = []
        for b in range(self.sequences):
            for s in range(self.period):
                outputs, fraction_bits = [], []
                for h in range(self.heads):
                    shared = b * self.kv_heads + h // (self.heads // self.kv_heads)
                    values, e_v = v[shared]
                    weights = score_weights(q[b * self.heads + h], k[shared], s, self.head_size)
                    o, c = shorten([dot(weights, column) for column in zip(*values[: s + 1], strict=True)], 31)
                    total = sum(weights)
                    outputs += [value * reciprocal(total) for value in o]
                    fraction_bits += [e_v + total.bit_length() + 30 - c] * self.head_size
                result.append(normalise(outputs, fraction_bits, self.width))
        return activation(self.out, self.sequences * self.period, self.heads * self.head_size).store(memory, result)

    def spans(self) -> Iterator[Span]:
        yield from head_spans(self)
        yield from writes(activation(self.out, self.sequences * self.period, self.heads * self.head_size))

    def bounds(self) -> Iterator[Bound]:
        yield from attention_bounds(self.head_size, self.period)

    @property
    def consistent(self) -> bool:
        return self.heads % self.kv_heads == 0


@frozen(slots=False)
class BackwardAttention(BatchOperation, opcode=89):
    """The gradients of q, k and v. The gradients of query heads that share a key-value head are added."""

    d_q: int  # gradient (sequences·period, heads·head_size)
    d_k: int  # gradient (sequences·period, kv_heads·head_size), as d_v
    d_v: int
    q: int  # heads, as k and v
    k: int
    v: int
    d_out: int  # gradient (sequences·period, heads·head_size)
    sequences: int
    period: int
    heads: int
    kv_heads: int
    head_size: int
    width: int

    def execute(self, memory: Memory, update: int) -> Memory:
        q = load_heads(memory, self.q, self.sequences * self.heads, self.period, self.head_size)
        k, v = (load_heads(memory, at, self.sequences * self.kv_heads, self.period, self.head_size) for at in (self.k, self.v))
        d_out, e_out = gradient(self.d_out, self.sequences * self.period, self.heads * self.head_size).load(memory)
        group = self.heads // self.kv_heads
        d_q: list[tuple[list[int], int]] = []  # row for row, of all heads
        d_k: list[tuple[list[int], int]] = []
        d_v: list[tuple[list[int], int]] = []
        for b in range(self.sequences):
            places = range(b * self.period, (b + 1) * self.period)
            queries: list[HeadGradient] = []
            keys: list[HeadGradient] = []
            values: list[HeadGradient] = []
            for shared in range(self.kv_heads):
                of_group = []
                for h in range(shared * group, (shared + 1) * group):
                    taken = [d_out[t][self.head_size * h : self.head_size * (h + 1)] for t in places]
                    d_o = [normalise(row, [e_out[t]] * self.head_size, self.width) for row, t in zip(taken, places, strict=True)]
                    kv = b * self.kv_heads + shared
                    of_group.append(self.head(q[b * self.heads + h], k[kv], v[kv], d_o))
                queries += [dq for dq, _, _ in of_group]
                keys.append(added([dk for _, dk, _ in of_group]))
                values.append(added([dv for _, _, dv in of_group]))
            for rows, heads in ((d_q, queries), (d_k, keys), (d_v, values)):
                rows += [joined(heads, t) for t in range(self.period)]
        for address, rows in ((self.d_q, d_q), (self.d_k, d_k), (self.d_v, d_v)):
            memory = gradient(address, len(rows), len(rows[0][0])).store(memory, rows)
        return memory

    def head(self, q: Head, k: Head, v: Head, d_o: list[tuple[list[int], int]]) -> tuple[HeadGradient, ...]:
        """The gradients of q, k and v that come from one query head in one sequence: rows, and the fraction bits of each row."""
        limit, period = (1 << self.width) - 1, self.period
        shares, d_s, z = [], [], []  # of each position s
        for s, (row, e_o) in enumerate(d_o):
            weights = score_weights(q, k, s, self.head_size)
            p = [min(round_shift(w, WEIGHT_BITS - self.width), limit) for w in weights]
            total = sum(p)
            inverse, b = reciprocal(total), total.bit_length()
            d_p = [dot(row, value) for value in v[0][: s + 1]]
            mean = dot(p, d_p) // total
            products, c = shorten([share * (d - mean) for share, d in zip(p, d_p, strict=True)], 31)
            factor = round_shift(inverse * root_q30(self.head_size), 30)
            row_bits = e_o + v[1] - c + b + 30
            shares.append(p + [0] * (period - s - 1))
            d_s.append(normalise([x * factor for x in products] + [0] * (period - s - 1), [row_bits] * period, self.width))
            z.append(normalise([x * inverse for x in row], [e_o + b + 30] * self.head_size, self.width))
        d_q = [[dot(row, column) for column in zip(*k[0], strict=True)] for row, _ in d_s]
        aligned_s, e_s = align(*unzipped(d_s))
        aligned_z, e_z = align(*unzipped(z))
        d_k, d_v = transposed_product(aligned_s, q[0]), transposed_product(shares, aligned_z)
        return (d_q, [e + k[1] for _, e in d_s]), (d_k, [e_s + q[1]] * period), (d_v, [e_z] * period)

    def spans(self) -> Iterator[Span]:
        yield from head_spans(self)
        rows = self.sequences * self.period
        yield from reads(gradient(self.d_out, rows, self.heads * self.head_size))
        yield from writes(gradient(self.d_q, rows, self.heads * self.head_size))
        yield from writes(*(gradient(at, rows, self.kv_heads * self.head_size) for at in (self.d_k, self.d_v)))

    def bounds(self) -> Iterator[Bound]:
        yield from attention_bounds(self.head_size, self.period)
        yield Bound("Σ p·dP", self.period * self.head_size << 45)

    @property
    def consistent(self) -> bool:
        return self.heads % self.kv_heads == 0


def head_spans(operation: ForwardAttention | BackwardAttention) -> Iterator[Span]:
    """Its q, k and v."""
    length = operation.period * operation.head_size
    yield from reads(activation(operation.q, operation.sequences * operation.heads, length))
    yield from reads(*(activation(at, operation.sequences * operation.kv_heads, length) for at in (operation.k, operation.v)))


def unzipped(rows: list[tuple[list[int], int]]) -> tuple[Rows, list[int]]:
    return [row for row, _ in rows], [e for _, e in rows]


def transposed_product(a: Rows, b: Rows) -> Rows:
    """aᵀ·b."""
    columns = list(zip(*b, strict=True))
    return [[dot(row, column) for column in columns] for row in zip(*a, strict=True)]


def added(heads: list[HeadGradient]) -> HeadGradient:
    """The sum over query heads, row by row, each row aligned."""
    rows, fraction_bits = [], []
    for t in range(len(heads[0][0])):
        parts, common = align([head[t] for head, _ in heads], [f[t] for _, f in heads])
        rows.append([sum(column) for column in zip(*parts, strict=True)])
        fraction_bits.append(common)
    return rows, fraction_bits


def joined(heads: list[HeadGradient], t: int) -> tuple[list[int], int]:
    """Row t of all heads side by side, as one row of a gradient."""
    values = [value for rows, _ in heads for value in rows[t]]
    return gradient_row(values, [f[t] for rows, f in heads for _ in rows[t]])
