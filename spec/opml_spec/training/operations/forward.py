"""The forward pass over a batch: the formulas of chapter 3, for all rows at once and with working weights.

Attention stands in a file of its own, beside its backward pass.

*Source*: spec §6.5.
"""

from collections.abc import Iterator

from attrs import frozen

from opml_spec.arithmetic.elementary import rsqrt, sigmoid
from opml_spec.arithmetic.fixed import ZERO_EXPONENT, most_bits, normalise, round_shift, sat32, shorten
from opml_spec.machine.memory import Memory
from opml_spec.model.bounds import Bound
from opml_spec.model.operations.fixed import ROTATION_BITS, VECTOR_BITS, WEIGHT_BITS, dot
from opml_spec.model.tensors import load_ints, load_vector, store_vector
from opml_spec.training.operations.batch_operation import BatchOperation, Span, reads, writes
from opml_spec.training.tensors import activation, in_rows, working

NORM_LENGTH = 1 << 12  # the longest row of a NORM
INVERSE_BITS = 62


def load_vectors(memory: Memory, address: int, rows: int, length: int) -> list[list[int]]:
    """Vectors: i32 (rows, length)."""
    return in_rows(load_vector(memory, address, rows * length), length)


def load_indices(memory: Memory, address: int, rows: int, below: int) -> list[int]:
    """u32[rows], each at most below − 1: what is larger counts as the last index."""
    data = memory.load_bytes(address, 4 * rows)
    return [min(int.from_bytes(data[i : i + 4], "little"), below - 1) for i in range(0, len(data), 4)]


def inverse_root(x: list[int], r: int, eps_q48: int) -> tuple[list[int], int, int, int]:
    """`(xs, f, R, t)`: x to 24 bits with f fraction bits, and `1/√(mean(x²) + ε) = R · 2^(f + t/2 − 62)`."""
    dropped = most_bits(x) - 24
    xs = [round_shift(value, dropped) for value in x]
    f = r - dropped
    mean = sum(value**2 for value in xs) // len(x) + round_shift(eps_q48, 48 - 2 * f)
    t = (64 - mean.bit_length()) // 2 * 2
    return xs, f, rsqrt(mean << t), t


@frozen(slots=False)
class ForwardEmbed(BatchOperation, opcode=70):
    """The rows of the tokens become the residual stream."""

    out: int  # vectors (rows, columns)
    weights: int  # working
    tokens: int  # u32[rows]
    rows: int
    columns: int
    matrix_rows: int
    r: int

    def execute(self, memory: Memory, update: int) -> Memory:
        (weights,), (e,) = working(self.weights, self.matrix_rows * self.columns).load(memory)
        table = in_rows(weights, self.columns)
        tokens = load_indices(memory, self.tokens, self.rows, self.matrix_rows)
        return store_vector(memory, self.out, [sat32(round_shift(w, e - self.r)) for token in tokens for w in table[token]])

    def spans(self) -> Iterator[Span]:
        yield from reads(working(self.weights, self.matrix_rows * self.columns), (self.tokens, 4 * self.rows))
        yield from writes((self.out, 4 * self.rows * self.columns))


def norm_bounds(length: int, r: int, eps_q48: int) -> Iterator[Bound]:
    """What the mean of squares can reach; 4,096 elements at most keep the backward pass within 63 bits."""
    yield Bound("length", length, NORM_LENGTH + 1)
    yield Bound("mean", (1 << 48) + round_shift(eps_q48, 48 - 2 * (r + 23)))  # x has one bit at least


@frozen(slots=False)
class ForwardNorm(BatchOperation, opcode=71):
    """RMSNorm of every row."""

    out: int  # activation (rows, length)
    x: int  # vectors
    gains: int  # i32, Q24
    rows: int
    length: int
    r: int
    eps_q48: int
    width: int

    def execute(self, memory: Memory, update: int) -> Memory:
        gains = load_vector(memory, self.gains, self.length)
        normed = [self.row(x, gains) for x in load_vectors(memory, self.x, self.rows, self.length)]
        return activation(self.out, self.rows, self.length).store(memory, normed)

    def row(self, x: list[int], gains: list[int]) -> tuple[list[int], int]:
        """The activation of one row."""
        if not any(x):
            return x, ZERO_EXPONENT
        _, f, root, t = inverse_root(x, self.r, self.eps_q48)
        p, c = shorten([value * gain for value, gain in zip(x, gains, strict=True)], 31)
        fraction_bits = self.r + WEIGHT_BITS - c + INVERSE_BITS - f - t // 2
        return normalise([value * root for value in p], [fraction_bits] * self.length, self.width)

    def spans(self) -> Iterator[Span]:
        yield from reads((self.x, 4 * self.rows * self.length), (self.gains, 4 * self.length))
        yield from writes(activation(self.out, self.rows, self.length))

    def bounds(self) -> Iterator[Bound]:
        yield from norm_bounds(self.length, self.r, self.eps_q48)


@frozen(slots=False)
class ForwardMatMul(BatchOperation, opcode=72):
    """Some rows of a matrix times every row of the batch."""

    out: int  # vectors (rows, matrix_rows)
    x: int  # activation (rows, columns)
    weights: int  # working (matrix_rows, columns)
    rows: int
    columns: int
    matrix_rows: int
    first: int  # row of the matrix
    taken: int  # so many rows of it
    out_frac: int

    def execute(self, memory: Memory, update: int) -> Memory:
        x, e_x = activation(self.x, self.rows, self.columns).load(memory)
        (weights,), (e_w,) = working(self.weights, self.matrix_rows * self.columns).load(memory)
        matrix = in_rows(weights, self.columns)[self.first : self.first + self.taken]
        for t, (row, e) in enumerate(zip(x, e_x, strict=True)):
            y = [sat32(round_shift(dot(row, w), e + e_w - self.out_frac)) for w in matrix]
            memory = store_vector(memory, self.out + 4 * (t * self.matrix_rows + self.first), y)
        return memory

    def spans(self) -> Iterator[Span]:
        yield from reads(activation(self.x, self.rows, self.columns), working(self.weights, self.matrix_rows * self.columns))
        yield from writes((self.out, 4 * self.rows * self.matrix_rows))

    def bounds(self) -> Iterator[Bound]:
        yield Bound("Σ x·w", self.columns << 30)

    @property
    def consistent(self) -> bool:
        return self.first + self.taken <= self.matrix_rows


@frozen(slots=False)
class ForwardRope(BatchOperation, opcode=73):
    """Each pair of neighbours is rotated by an angle that grows with the position in its sequence."""

    vector: int  # vectors (rows, heads·head_size)
    rows: int
    period: int
    heads: int
    head_size: int
    table: int  # i32 (period, head_size/2, 2), Q30: cos, sin

    def execute(self, memory: Memory, update: int) -> Memory:
        turned: list[int] = []
        for t, x in enumerate(load_vectors(memory, self.vector, self.rows, self.heads * self.head_size)):
            angles = load_ints(memory, self.table + 4 * self.head_size * (t % self.period), self.head_size, 4)
            turned += [sat32(round_shift(value, ROTATION_BITS)) for value in rotated(x, angles, 1)]
        return store_vector(memory, self.vector, turned)

    def spans(self) -> Iterator[Span]:
        yield from reads((self.table, 4 * self.period * self.head_size))
        yield from writes((self.vector, 4 * self.rows * self.heads * self.head_size))

    @property
    def consistent(self) -> bool:
        return self.head_size % 2 == 0


def rotated(x: list[int], angles: list[int], sign: int) -> list[int]:
    """Every pair (a, b) of neighbours as `(a·cos − b·sin, a·sin + b·cos)`, with sin times `sign`; the angles repeat for each head."""
    result: list[int] = []
    for i in range(0, len(x), 2):
        (a, b), (cos, sin) = x[i : i + 2], angles[i % len(angles) : i % len(angles) + 2]
        result += [a * cos - sign * b * sin, sign * a * sin + b * cos]
    return result


@frozen(slots=False)
class ForwardSwiGlu(BatchOperation, opcode=76):
    """`gate · σ(gate) · up`."""

    out: int  # activation (rows, length)
    gate: int  # vectors
    up: int  # vectors
    rows: int
    length: int
    width: int

    def execute(self, memory: Memory, update: int) -> Memory:
        result = []
        for gate, up in zip(*(load_vectors(memory, at, self.rows, self.length) for at in (self.gate, self.up)), strict=True):
            silu, c = shorten([g * sigmoid(g) for g in gate], 31)
            products = [s * u for s, u in zip(silu, up, strict=True)]
            result.append(normalise(products, [2 * VECTOR_BITS + 30 - c] * self.length, self.width))
        return activation(self.out, self.rows, self.length).store(memory, result)

    def spans(self) -> Iterator[Span]:
        yield from reads(*((at, 4 * self.rows * self.length) for at in (self.gate, self.up)))
        yield from writes(activation(self.out, self.rows, self.length))


@frozen(slots=False)
class ForwardAdd(BatchOperation, opcode=77):
    """The sum of two tensors of vectors."""

    out: int  # vectors; may be x or y
    x: int
    y: int
    count: int
    in_place = True

    def execute(self, memory: Memory, update: int) -> Memory:
        x, y = (load_vector(memory, at, self.count) for at in (self.x, self.y))
        return store_vector(memory, self.out, [sat32(a + b) for a, b in zip(x, y, strict=True)])

    def spans(self) -> Iterator[Span]:
        yield from reads((self.x, 4 * self.count), (self.y, 4 * self.count))
        yield from writes((self.out, 4 * self.count))


@frozen(slots=False)
class ForwardRelu(BatchOperation, opcode=78):
    """What is negative becomes 0."""

    out: int  # activation (rows, length)
    x: int  # vectors
    rows: int
    length: int
    vector_frac: int  # fraction bits of x
    width: int

    def execute(self, memory: Memory, update: int) -> Memory:
        x = load_vectors(memory, self.x, self.rows, self.length)
        result = [normalise([max(value, 0) for value in row], [self.vector_frac] * self.length, self.width) for row in x]
        return activation(self.out, self.rows, self.length).store(memory, result)

    def spans(self) -> Iterator[Span]:
        yield from reads((self.x, 4 * self.rows * self.length))
        yield from writes(activation(self.out, self.rows, self.length))
