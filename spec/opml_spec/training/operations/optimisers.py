"""The optimisers: from a gradient, summed over an update's batches, to the next weights. Each leaves the sums at 0 for the next update.

*Source*: spec §6.7. Kingma, Ba, "Adam" (2014); Loshchilov, Hutter, "Decoupled Weight Decay Regularization" (2017);
Jordan et al., "Muon" (2024).
"""

from collections.abc import Iterator

from attrs import frozen

from opml_spec.arithmetic.elementary import rsqrt
from opml_spec.arithmetic.fixed import clamp, normalise, round_shift, sat32
from opml_spec.machine.memory import Memory
from opml_spec.model.bounds import Bound
from opml_spec.model.operations.fixed import dot
from opml_spec.model.tensors import load_ints, load_vector, store_ints, store_vector
from opml_spec.training.operations.batch_operation import MOMENTS, BatchOperation, Span, trains, writes
from opml_spec.training.request import RATE_BITS, Settings
from opml_spec.training.tensors import Rows, in_rows

SUM_LIMIT = 1 << 23  # ADAM's gradients
MOMENT_SHIFT = 7  # fraction bits that the first moment has more than the gradient
STEP_BITS = 24  # fraction bits of a step, which the rate multiplies
NEWTON_SCHULZ_Q12 = (14109, -19558, 8321)
"""3.4445, −4.7750 and 2.0315, Q12: Muon's polynomial."""

NEWTON_SCHULZ_ITERATIONS = 5
Scaled = tuple[Rows, int]
"""A matrix, normalised: its rows and their common fraction bits."""


def updated(weights: list[int], steps: list[int], frac: int, rate: int, decay: int, step_bits: int = STEP_BITS) -> list[int]:
    """The weights less rate times step, and less their decay: two roundings, one saturation."""
    shift = step_bits + RATE_BITS - frac
    moves = [round_shift(step * rate, shift) + round_shift(w * decay, 32) for w, step in zip(weights, steps, strict=True)]
    return [sat32(w - move) for w, move in zip(weights, moves, strict=True)]


@frozen(slots=False)
class Adam(BatchOperation, opcode=92):
    """AdamW: steps of first moment over root of second moment."""

    master: int
    sums: int
    first_moment: int  # i32[count]
    second_moment: int  # i64[count]
    count: int
    frac: int  # fraction bits of the master weights
    rate_q16: int  # times the request's rate
    decays: int  # 1 if the weights decay, else 0

    def execute(self, memory: Memory, update: int) -> Memory:
        settings = Settings.read(memory)
        rate = settings.rate(update, self.rate_q16)
        m, v = load_vector(memory, self.first_moment, self.count), load_ints(memory, self.second_moment, self.count, 8)
        for i, g in enumerate(load_vector(memory, self.sums, self.count)):
            m[i], v[i] = moments(g, m[i], v[i], settings)
        steps = [adam_step(*both) for both in zip(m, v, strict=True)]
        decay, corrected = settings.decay(rate) * self.decays, settings.corrected(rate, update)
        weights = updated(load_vector(memory, self.master, self.count), steps, self.frac, corrected, decay)
        memory = store_ints(store_vector(memory, self.first_moment, m), self.second_moment, v, 8)
        return store_vector(store_vector(memory, self.master, weights), self.sums, [0] * self.count)

    def spans(self) -> Iterator[Span]:
        yield from trains((self.master, 4 * self.count))
        yield from writes((self.sums, 4 * self.count), (self.first_moment, 4 * self.count), (self.second_moment, 8 * self.count, MOMENTS))


def moments(g: int, m: int, v: int, settings: Settings) -> tuple[int, int]:
    """The means of gradients and of their squares after one more gradient; at most 2^30 and 2^46."""
    limited = clamp(g, -SUM_LIMIT, SUM_LIMIT)
    first = round_shift(((limited << MOMENT_SHIFT) - m) * settings.first_moment_q16, 16)
    return m + first, v + round_shift((limited * limited - v) * settings.second_moment_q16, 16)


def adam_step(m: int, v: int) -> int:
    """`m / √v`, Q24, at most 128; both moments with the fraction bits that the operation keeps them in."""
    t = (64 - (v + 1).bit_length()) // 2 * 2
    return sat32(round_shift(m * rsqrt((v + 1) << t), 62 + MOMENT_SHIFT - STEP_BITS - t // 2))


@frozen(slots=False)
class Sgd(BatchOperation, opcode=93):
    """Steps of the gradient itself."""

    master: int
    sums: int
    count: int
    frac: int
    sum_frac: int
    rate_q16: int
    decays: int

    def execute(self, memory: Memory, update: int) -> Memory:
        settings = Settings.read(memory)
        rate = settings.rate(update, self.rate_q16)
        master, sums = load_vector(memory, self.master, self.count), load_vector(memory, self.sums, self.count)
        weights = updated(master, sums, self.frac, rate, settings.decay(rate) * self.decays, self.sum_frac)
        return store_vector(store_vector(memory, self.master, weights), self.sums, [0] * self.count)

    def spans(self) -> Iterator[Span]:
        yield from trains((self.master, 4 * self.count))
        yield from writes((self.sums, 4 * self.count))


@frozen(slots=False)
class Muon(BatchOperation, opcode=94):
    """Steps of the gradient's momentum, made nearly orthogonal."""

    master: int
    sums: int
    momentum: int  # i32 (matrix_rows, columns)
    matrix_rows: int
    columns: int
    frac: int
    rate_q16: int
    decays: int

    def execute(self, memory: Memory, update: int) -> Memory:
        settings, count = Settings.read(memory), self.matrix_rows * self.columns
        rate, mu = settings.rate(update, self.rate_q16), settings.momentum_q16
        sums = load_vector(memory, self.sums, count)
        momentum = [sat32(round_shift(old * mu, 16) + g) for old, g in zip(load_vector(memory, self.momentum, count), sums, strict=True)]
        ahead = [g + round_shift(m * mu, 16) for g, m in zip(sums, momentum, strict=True)]
        x, e = orthogonal(in_rows(ahead, self.columns))
        steps = [sat32(round_shift(value, e - STEP_BITS)) for row in x for value in row]
        weights = updated(load_vector(memory, self.master, count), steps, self.frac, rate, settings.decay(rate) * self.decays)
        memory = store_vector(store_vector(memory, self.master, weights), self.momentum, momentum)
        return store_vector(memory, self.sums, [0] * count)

    def spans(self) -> Iterator[Span]:
        size = 4 * self.matrix_rows * self.columns
        yield from trains((self.master, size))
        yield from writes((self.sums, size), (self.momentum, size))

    def bounds(self) -> Iterator[Bound]:
        yield Bound("Σ q²", self.matrix_rows * self.columns << 30)


def orthogonal(matrix: Rows) -> Scaled:
    """Five iterations towards the nearest orthogonal matrix, of a matrix first divided by its norm."""
    if len(matrix) > len(matrix[0]):
        x, e = orthogonal(transposed(matrix))
        return transposed(x), e
    q, _ = scaled(matrix, 0)
    square = sum(dot(row, row) for row in q)
    if square == 0:
        return q, 0
    t = (64 - square.bit_length()) // 2 * 2
    inverse = rsqrt(square << t)
    x, e = scaled([[value * inverse for value in row] for row in q], 62 - t // 2)
    for _ in range(NEWTON_SCHULZ_ITERATIONS):
        x, e = newton_schulz(x, e)
    return x, e


def newton_schulz(x: Rows, e: int) -> Scaled:
    """`a·X + (b·A + c·A²)·X` with `A = X·Xᵀ`."""
    a, b, c = NEWTON_SCHULZ_Q12
    gram, e_a = scaled([[dot(row, other) for other in x] for row in x], 2 * e)
    mixed = [[b * gram[i][j] + round_shift(c * dot(gram[i], gram[j]), e_a) for j in range(len(x))] for i in range(len(x))]
    mix, e_b = scaled(mixed, e_a + 12)
    products = [[dot(row, column) for column in transposed(x)] for row in mix]
    raised = [[a * v + round_shift(p, e_b - 12) for v, p in zip(*pair, strict=True)] for pair in zip(x, products, strict=True)]
    return scaled(raised, e + 12)


def scaled(matrix: Rows, fraction_bits: int) -> Scaled:
    """A matrix of these fraction bits, normalised to 15 bits as a whole."""
    values = [value for row in matrix for value in row]
    q, e = normalise(values, [fraction_bits] * len(values))
    return in_rows(q, len(matrix[0])), e


def transposed(matrix: Rows) -> Rows:
    return [list(column) for column in zip(*matrix, strict=True)]
