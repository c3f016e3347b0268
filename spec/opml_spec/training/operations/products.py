"""The backward pass of matrix products and of EMBED.

The gradient of a product's input is a product with the transposed matrix; that of its weights is a sum over the batch.

The target's part of CROSS_ENTROPY's gradient is one number per row, with 30 bits of its own. Its products are operations apart, so that
small probabilities do not share an exponent with it.

*Source*: spec §6.6.
"""

from collections.abc import Iterator, Sequence

from attrs import frozen

from opml_spec.machine.memory import Memory
from opml_spec.model.bounds import Bound
from opml_spec.model.operations.fixed import dot
from opml_spec.model.tensors import load_vector, store_vector
from opml_spec.training.operations.backward import PROBABILITY_BITS
from opml_spec.training.operations.batch_operation import BatchOperation, Span, reads, writes
from opml_spec.training.operations.forward import load_indices
from opml_spec.training.tensors import accumulate, activation, align, gradient, gradient_row, in_rows, working


@frozen(slots=False)
class MatMulData(BatchOperation, opcode=82):
    """The gradient of a product's input."""

    out: int  # gradient (rows, columns)
    g: int  # activation (rows, matrix_rows)
    weights: int  # working (matrix_rows, columns)
    rows: int
    columns: int
    matrix_rows: int
    first: int  # row of the matrix
    taken: int  # so many rows of it

    def execute(self, memory: Memory, update: int) -> Memory:
        end = self.first + self.taken
        (weights,), (e_w,) = working(self.weights, self.matrix_rows * self.columns).load(memory)
        columns = list(zip(*in_rows(weights, self.columns)[self.first : end], strict=True))
        result = []
        for row, e in zip(*activation(self.g, self.rows, self.matrix_rows).load(memory), strict=True):
            result.append(gradient_row([dot(row[self.first : end], column) for column in columns], [e + e_w] * self.columns))
        return gradient(self.out, self.rows, self.columns).store(memory, result)

    def spans(self) -> Iterator[Span]:
        yield from reads(activation(self.g, self.rows, self.matrix_rows), working(self.weights, self.matrix_rows * self.columns))
        yield from writes(gradient(self.out, self.rows, self.columns))

    def bounds(self) -> Iterator[Bound]:
        yield Bound("Σ g·w", self.taken << 30)

    @property
    def consistent(self) -> bool:
        return self.first + self.taken <= self.matrix_rows


@frozen(slots=False)
class MatMulWeights(BatchOperation, opcode=83):
    """The gradient of a product's matrix, summed over the batch."""

    sums: int  # i32 (matrix_rows, columns)
    g: int  # activation (rows, matrix_rows)
    x: int  # activation (rows, columns)
    rows: int
    columns: int
    matrix_rows: int
    first: int
    taken: int
    sum_frac: int

    def execute(self, memory: Memory, update: int) -> Memory:
        g, e_g = activation(self.g, self.rows, self.matrix_rows).load(memory)
        x, e_x = activation(self.x, self.rows, self.columns).load(memory)
        parts = [row[self.first : self.first + self.taken] if any(other) else [0] * self.taken for row, other in zip(g, x, strict=True)]
        aligned, common = align(parts, [a + b for a, b in zip(e_g, e_x, strict=True)])
        columns = list(zip(*x, strict=True))
        sums = [dot(row, column) for row in zip(*aligned, strict=True) for column in columns]
        start = self.sums + 4 * self.first * self.columns
        return store_vector(memory, start, accumulate(load_vector(memory, start, len(sums)), [sums], [common - self.sum_frac]))

    def spans(self) -> Iterator[Span]:
        yield from reads(activation(self.g, self.rows, self.matrix_rows), activation(self.x, self.rows, self.columns))
        yield from writes((self.sums, 4 * self.matrix_rows * self.columns))

    def bounds(self) -> Iterator[Bound]:
        yield Bound("Σ g·x", self.rows << 30)

    @property
    def consistent(self) -> bool:
        return self.first + self.taken <= self.matrix_rows


@frozen(slots=False)
class TargetData(BatchOperation, opcode=84):
    """What the target's part of the gradient adds to the gradient of the input: the target's row of the matrix, scaled."""

    out: int  # gradient (rows, columns)
    of_target: int  # i32[rows], Q30
    targets: int  # u32[rows]
    weights: int  # working (matrix_rows, columns)
    rows: int
    columns: int
    matrix_rows: int

    def execute(self, memory: Memory, update: int) -> Memory:
        (weights,), (e_w,) = working(self.weights, self.matrix_rows * self.columns).load(memory)
        table = in_rows(weights, self.columns)
        targets = load_indices(memory, self.targets, self.rows, self.matrix_rows)
        pairs = zip(load_vector(memory, self.of_target, self.rows), targets, strict=True)
        result = [gradient_row([h * w for w in table[target]], [PROBABILITY_BITS + e_w] * self.columns) for h, target in pairs]
        return gradient(self.out, self.rows, self.columns).store(memory, result)

    def spans(self) -> Iterator[Span]:
        yield from reads((self.of_target, 4 * self.rows), (self.targets, 4 * self.rows))
        yield from reads(working(self.weights, self.matrix_rows * self.columns))
        yield from writes(gradient(self.out, self.rows, self.columns))


@frozen(slots=False)
class TargetWeights(BatchOperation, opcode=85):
    """What the target's part of the gradient adds to the target's row of the matrix's gradient."""

    sums: int  # i32 (matrix_rows, columns)
    of_target: int  # i32[rows], Q30
    targets: int  # u32[rows]
    x: int  # activation (rows, columns)
    rows: int
    columns: int
    matrix_rows: int
    sum_frac: int

    def execute(self, memory: Memory, update: int) -> Memory:
        x, e_x = activation(self.x, self.rows, self.columns).load(memory)
        parts = [[h * v for v in row] for h, row in zip(load_vector(memory, self.of_target, self.rows), x, strict=True)]
        targets = load_indices(memory, self.targets, self.rows, self.matrix_rows)
        return scatter(memory, self.sums, targets, parts, [PROBABILITY_BITS + e - self.sum_frac for e in e_x])

    def spans(self) -> Iterator[Span]:
        yield from reads((self.of_target, 4 * self.rows), (self.targets, 4 * self.rows), activation(self.x, self.rows, self.columns))
        yield from writes((self.sums, 4 * self.matrix_rows * self.columns))

    def bounds(self) -> Iterator[Bound]:
        yield Bound("Σ of sums", self.rows + 1 << 31)


@frozen(slots=False)
class EmbedWeights(BatchOperation, opcode=86):
    """The gradient of the residual stream joins the rows of the tokens."""

    sums: int  # i32 (matrix_rows, columns)
    d: int  # gradient (rows, columns)
    tokens: int  # u32[rows]
    rows: int
    columns: int
    matrix_rows: int
    sum_frac: int

    def execute(self, memory: Memory, update: int) -> Memory:
        parts, e = gradient(self.d, self.rows, self.columns).load(memory)
        tokens = load_indices(memory, self.tokens, self.rows, self.matrix_rows)
        return scatter(memory, self.sums, tokens, parts, [bits - self.sum_frac for bits in e])

    def spans(self) -> Iterator[Span]:
        yield from reads(gradient(self.d, self.rows, self.columns), (self.tokens, 4 * self.rows))
        yield from writes((self.sums, 4 * self.matrix_rows * self.columns))

    def bounds(self) -> Iterator[Bound]:
        yield Bound("Σ of sums", self.rows + 1 << 31)


def scatter(memory: Memory, sums: int, indices: Sequence[int], parts: list[list[int]], shifts: list[int]) -> Memory:
    """The memory in which each part has joined the row of its index; parts of one row are added before the row saturates."""
    for index in set(indices):
        own = [t for t, other in enumerate(indices) if other == index]
        start, columns = sums + 4 * len(parts[0]) * index, len(parts[0])
        row = accumulate(load_vector(memory, start, columns), [parts[t] for t in own], [shifts[t] for t in own])
        memory = store_vector(memory, start, row)
    return memory
