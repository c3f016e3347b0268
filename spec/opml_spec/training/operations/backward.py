"""The backward pass over a batch: from the gradient of what an operation wrote to the gradients of what it read.

A gradient is of the sum of all targets' losses in nats. Every operation ends in `normalise`, so no loss is scaled and nothing is tuned.

*Source*: spec §6.6.
"""

from collections.abc import Iterator

from attrs import frozen

from opml_spec.arithmetic.elementary import LOG2_E_Q32, exp2, reciprocal, sigmoid
from opml_spec.arithmetic.fixed import INT32_MAX, ZERO_EXPONENT, normalise, round_shift, shorten
from opml_spec.machine.memory import Memory
from opml_spec.model.bounds import Bound
from opml_spec.model.operations.fixed import LOGIT_BITS, ROTATION_BITS, SCORE_BITS, VECTOR_BITS, WEIGHT_BITS, dot
from opml_spec.model.tensors import load_ints, load_vector, store_vector
from opml_spec.training.operations.batch_operation import BatchOperation, Span, reads, writes
from opml_spec.training.operations.forward import INVERSE_BITS, inverse_root, load_indices, load_vectors, norm_bounds, rotated
from opml_spec.training.tensors import accumulate, activation, align, gradient, gradient_row

SIGMOID_BITS = 30
PROBABILITY_BITS = 30
HEAVY_BITS = 26  # of the magnitude of gradient times gain
NATS_Q16 = LOG2_E_Q32 >> 16
"""log2(e), Q16, rounded down. (= 94548)"""


@frozen(slots=False)
class CrossEntropy(BatchOperation, opcode=79):
    """Gradient of `−ln` of the target's probability: each other token's probability, and apart from them the target's, less 1."""

    out: int  # activation (rows, vocabulary): 0 at the target
    of_target: int  # i32[rows], Q30
    logits: int  # vectors, Q12
    targets: int  # u32[rows]
    rows: int
    vocabulary: int
    width: int

    def execute(self, memory: Memory, update: int) -> Memory:
        targets = load_indices(memory, self.targets, self.rows, self.vocabulary)
        others, of_target = [], []
        for row, target in zip(load_vectors(memory, self.logits, self.rows, self.vocabulary), targets, strict=True):
            top = max(row)
            drops = [round_shift((top - logit) * NATS_Q16, LOGIT_BITS + 16 - SCORE_BITS) for logit in row]
            weights = [exp2(-min(drop, INT32_MAX)) for drop in drops]
            total = sum(weights)
            p = [round_shift(weight * reciprocal(total), total.bit_length() + 30 - PROBABILITY_BITS) for weight in weights]
            of_target.append(p[target] - (1 << PROBABILITY_BITS))
            p[target] = 0
            others.append(normalise(p, [PROBABILITY_BITS] * self.vocabulary, self.width))
        return store_vector(activation(self.out, self.rows, self.vocabulary).store(memory, others), self.of_target, of_target)

    def spans(self) -> Iterator[Span]:
        yield from reads((self.logits, 4 * self.rows * self.vocabulary), (self.targets, 4 * self.rows))
        yield from writes(activation(self.out, self.rows, self.vocabulary), (self.of_target, 4 * self.rows))

    def bounds(self) -> Iterator[Bound]:
        yield Bound("Σ w", self.vocabulary << WEIGHT_BITS)


@frozen(slots=False)
class Round(BatchOperation, opcode=80):
    """A gradient as an activation, which matrix products read."""

    out: int  # activation (rows, length)
    x: int  # gradient
    rows: int
    length: int
    width: int

    def execute(self, memory: Memory, update: int) -> Memory:
        rows, exponents = gradient(self.x, self.rows, self.length).load(memory)
        result = [normalise(row, [e] * self.length, self.width) for row, e in zip(rows, exponents, strict=True)]
        return activation(self.out, self.rows, self.length).store(memory, result)

    def spans(self) -> Iterator[Span]:
        yield from reads(gradient(self.x, self.rows, self.length))
        yield from writes(activation(self.out, self.rows, self.length))


@frozen(slots=False)
class Sum(BatchOperation, opcode=81):
    """The sum of two gradients."""

    out: int  # gradient (rows, length); may be x or y
    x: int
    y: int
    rows: int
    length: int
    in_place = True

    def execute(self, memory: Memory, update: int) -> Memory:
        x, y = (gradient(at, self.rows, self.length).load(memory) for at in (self.x, self.y))
        result = []
        for row_x, e_x, row_y, e_y in zip(*x, *y, strict=True):
            (a, b), common = align([row_x, row_y], [e_x, e_y])
            result.append(gradient_row([u + v for u, v in zip(a, b, strict=True)], [common] * self.length))
        return gradient(self.out, self.rows, self.length).store(memory, result)

    def spans(self) -> Iterator[Span]:
        yield from reads(*(gradient(at, self.rows, self.length) for at in (self.x, self.y)))
        yield from writes(gradient(self.out, self.rows, self.length))


@frozen(slots=False)
class BackwardNorm(BatchOperation, opcode=87):
    """The gradients of RMSNorm's input and of its gains."""

    out: int  # gradient (rows, length)
    sums: int  # i32[length]
    g: int  # gradient
    x: int  # vectors
    gains: int
    rows: int
    length: int
    r: int
    eps_q48: int
    sum_frac: int

    def execute(self, memory: Memory, update: int) -> Memory:
        gains = load_vector(memory, self.gains, self.length)
        g, e_g = gradient(self.g, self.rows, self.length).load(memory)
        result, parts, shifts = [], [], []
        for x, row, e in zip(load_vectors(memory, self.x, self.rows, self.length), g, e_g, strict=True):
            if not any(x):
                result.append((x, ZERO_EXPONENT))
                continue
            xs, f, root, t = inverse_root(x, self.r, self.eps_q48)
            unit = [round_shift(value * root, 31) for value in xs]  # x / √(mean(x²) + ε)
            u = 31 - t // 2  # its fraction bits
            heavy, e_h = normalise([v * w for v, w in zip(row, gains, strict=True)], [e + WEIGHT_BITS] * self.length, HEAVY_BITS)
            (mean,), c = shorten([dot(heavy, unit) // self.length], 31)
            rest, c2 = shorten([h - round_shift(v * mean, 2 * u - c) for h, v in zip(heavy, unit, strict=True)], 31)
            result.append(gradient_row([value * root for value in rest], [e_h - c2 + INVERSE_BITS - f - t // 2] * self.length))
            parts.append([v * w for v, w in zip(row, unit, strict=True)])
            shifts.append(e + u - self.sum_frac)
        memory = gradient(self.out, self.rows, self.length).store(memory, result)
        return store_vector(memory, self.sums, accumulate(load_vector(memory, self.sums, self.length), parts, shifts))

    def spans(self) -> Iterator[Span]:
        yield from reads(gradient(self.g, self.rows, self.length), (self.x, 4 * self.rows * self.length), (self.gains, 4 * self.length))
        yield from writes(gradient(self.out, self.rows, self.length), (self.sums, 4 * self.length))

    def bounds(self) -> Iterator[Bound]:
        yield from norm_bounds(self.length, self.r, self.eps_q48)
        yield Bound("Σ H·x̂", self.length << HEAVY_BITS + 24)
        yield Bound("Σ of sums", self.rows + 1 << 31)


@frozen(slots=False)
class BackwardRope(BatchOperation, opcode=88):
    """The rotation by the opposite angle."""

    out: int  # activation (rows, heads·head_size)
    x: int  # gradient
    rows: int
    period: int
    heads: int
    head_size: int
    table: int
    width: int

    def execute(self, memory: Memory, update: int) -> Memory:
        length, result = self.heads * self.head_size, []
        for t, (row, e) in enumerate(zip(*gradient(self.x, self.rows, length).load(memory), strict=True)):
            angles = load_ints(memory, self.table + 4 * self.head_size * (t % self.period), self.head_size, 4)
            result.append(normalise(rotated(row, angles, -1), [e + ROTATION_BITS] * length, self.width))
        return activation(self.out, self.rows, length).store(memory, result)

    def spans(self) -> Iterator[Span]:
        length = self.heads * self.head_size
        yield from reads(gradient(self.x, self.rows, length), (self.table, 4 * self.period * self.head_size))
        yield from writes(activation(self.out, self.rows, length))

    @property
    def consistent(self) -> bool:
        return self.head_size % 2 == 0


@frozen(slots=False)
class BackwardSwiGlu(BatchOperation, opcode=90):
    """The gradients of gate and up."""

    d_gate: int  # activation (rows, length)
    d_up: int
    d: int  # gradient
    gate: int  # vectors
    up: int
    rows: int
    length: int
    width: int

    def execute(self, memory: Memory, update: int) -> Memory:
        gates, ups = (load_vectors(memory, at, self.rows, self.length) for at in (self.gate, self.up))
        d_gate, d_up = [], []
        for d, e, gate, up in zip(*gradient(self.d, self.rows, self.length).load(memory), gates, ups, strict=True):
            sigmas = [sigmoid(g) for g in gate]
            silu, c = shorten([g * sigma for g, sigma in zip(gate, sigmas, strict=True)], 31)
            fraction_bits = e + VECTOR_BITS + SIGMOID_BITS - c
            d_up.append(normalise([s * v for s, v in zip(silu, d, strict=True)], [fraction_bits] * self.length, self.width))
            slopes = [silu_slope(g, sigma) for g, sigma in zip(gate, sigmas, strict=True)]
            products, c = shorten([v * w for v, w in zip(d, up, strict=True)], 31)
            fraction_bits = e + VECTOR_BITS - c + WEIGHT_BITS
            d_gate.append(normalise([p * s for p, s in zip(products, slopes, strict=True)], [fraction_bits] * self.length, self.width))
        memory = activation(self.d_gate, self.rows, self.length).store(memory, d_gate)
        return activation(self.d_up, self.rows, self.length).store(memory, d_up)

    def spans(self) -> Iterator[Span]:
        yield from reads(gradient(self.d, self.rows, self.length), *((at, 4 * self.rows * self.length) for at in (self.gate, self.up)))
        yield from writes(*(activation(at, self.rows, self.length) for at in (self.d_gate, self.d_up)))


def silu_slope(g: int, sigma: int) -> int:
    """The derivative of g·σ(g), which is `σ·(1 + g·(1 − σ))`, Q24, for a Q14 g and its σ in Q30."""
    return round_shift(sigma * ((1 << 24) + round_shift(g * ((1 << SIGMOID_BITS) - sigma), 20)), 30)


@frozen(slots=False)
class BackwardRelu(BatchOperation, opcode=91):
    """The gradient where x is positive, else 0."""

    out: int  # activation (rows, length)
    d: int  # gradient
    x: int  # vectors
    rows: int
    length: int
    width: int

    def execute(self, memory: Memory, update: int) -> Memory:
        result = []
        vectors = load_vectors(memory, self.x, self.rows, self.length)
        for d, e, x in zip(*gradient(self.d, self.rows, self.length).load(memory), vectors, strict=True):
            passed = [v if value > 0 else 0 for v, value in zip(d, x, strict=True)]
            result.append(normalise(passed, [e] * self.length, self.width))
        return activation(self.out, self.rows, self.length).store(memory, result)

    def spans(self) -> Iterator[Span]:
        yield from reads(gradient(self.d, self.rows, self.length), (self.x, 4 * self.rows * self.length))
        yield from writes(activation(self.out, self.rows, self.length))
