"""Statements about overflow in training: within the bounds that a loader checks, no number of an operation leaves 64 bits.

A sum of n terms, none larger than m in magnitude, is at most n·m. So there is one statement about the terms and the bound together: if the
loader accepts the sizes, which are symbols here, then n·m fits an i64. Of the operands' ranges only that of head sizes is used: each bound
is enough alone. Functions of the specification also run on numbers that note whether each result of their arithmetic fits.

*Source*: spec §6.5 to §6.8.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from opml_spec.arithmetic.fixed import INT32_MAX, INT32_MIN, clamp, round_shift, sat32
from opml_spec.errors import ImageBound
from opml_spec.model.bounds import I16, ROOT, UNIT_Q24, UNIT_Q30
from opml_spec.training.loader import check_angles
from opml_spec.training.operations.attention import BackwardAttention, ForwardAttention, scale_q24
from opml_spec.training.operations.backward import HEAVY_BITS, BackwardNorm, CrossEntropy, silu_slope
from opml_spec.training.operations.batch_operation import BatchOperation
from opml_spec.training.operations.forward import ForwardMatMul, ForwardNorm, inverse_root, rotated
from opml_spec.training.operations.optimisers import Muon, moments, updated
from opml_spec.training.operations.products import EmbedWeights, MatMulData, MatMulWeights, TargetWeights
from opml_spec.training.request import LARGEST_RATE, UNIT_Q16, Settings
from opml_spec.training.tensors import align

from opml_fuzz.statements.bounds import CHUNK, DROPPED, within
from opml_fuzz.statements.fitting import LIMIT, Fitting, all_fit, plain
from opml_fuzz.statements.statement import Integer, NotAdmitted, Statement

SIZE = Integer(1, 1 << 40)
I32 = Integer(INT32_MIN, INT32_MAX)
HEAVY, UNIT = 1 << HEAVY_BITS, 1 << 24  # gradient times gain, normalised; x divided by its root mean square
LARGEST_DROP = 19  # bits that a mean of such products loses, to have 31
FINEST_MEAN = 35  # bits of a mean of squares, at least
OneSize = Callable[[Any], BatchOperation]


def accept(operation: BatchOperation, names: str = "") -> None:
    """Claims nothing about an operation that a loader refuses for one of its bounds. names: only for those that begin so"""
    for bound in operation.bounds():
        if bound.name.startswith(names) and bound.magnitude >= bound.limit:
            raise NotAdmitted


def sum_fits(name: str, operation: OneSize, most_x: int, most_y: int, size: Any, x: Any, y: Any) -> Any:
    """A sum of so many products, each of two numbers of at most these magnitudes, if only the bounds of sums hold."""
    accept(operation(size), "Σ")
    term = clamp(x, -most_x, most_x) * clamp(y, -most_y, most_y)
    return within(term, most_x * most_y) & (size * (most_x * most_y) < LIMIT)


SUMS: tuple[tuple[str, OneSize, int, int], ...] = (
    ("MATMUL", lambda size: ForwardMatMul(0, 0, 0, 1, size, 1, 0, 1, 0), I16, I16),
    ("MATMUL_DATA", lambda size: MatMulData(0, 0, 0, 1, 1, 1, 0, size), I16, I16),
    ("MATMUL_WEIGHTS", lambda size: MatMulWeights(0, 0, 0, size, 1, 1, 0, 1, 0), I16, I16),
    ("MUON, one row", lambda size: Muon(0, 0, 0, 1, size, 26, 0, 0), I16, I16),
    ("ATTENTION", lambda size: ForwardAttention(0, 0, 0, 0, 1, size, 1, 1, 1, 7), UNIT_Q24, I16),
    ("CROSS_ENTROPY", lambda size: CrossEntropy(0, 0, 0, 0, 1, size, 7), UNIT_Q24, 1),
    ("NORM_BACKWARD", lambda size: BackwardNorm(0, 0, 0, 0, 0, 1, size, 8, 0, 0), HEAVY, UNIT),
)


def muon_fits(side: Any, rows: Any, columns: Any) -> Any:
    """The sum of squares of a matrix, and 8321·A·A of its shorter side. rows, columns: how much longer than that side"""
    accept(Muon(0, 0, 0, side + rows, side + columns, 26, 0, 0))
    return ((side + rows) * (side + columns) * (1 << 30) < LIMIT) & (side * (8321 << 30) + (19558 << 15) < LIMIT)


def aligned_is_no_larger(shift: int, x: Any, y: Any) -> Any:
    """ALIGN shifts to the right alone, so what was at most 15 bits is so afterwards."""
    (a, b), _ = align([[x], [y]], [shift, 0])
    return within(a[0], I16) & within(b[0], I16)


def accumulated_fits(kind: str, operation: OneSize, shift: int, rows: Any, part: Any) -> Any:
    """What a part adds to the sums is an i32, so all rows together and the sum before them fit."""
    accept(operation(rows))
    return within(sat32(round_shift(part, shift)), 1 << 31) & ((rows + 1) * (1 << 31) < LIMIT)


ACCUMULATING: tuple[tuple[str, OneSize], ...] = (
    ("TARGET_WEIGHTS", lambda rows: TargetWeights(0, 0, 0, 0, rows, 1, 1, 0)),
    ("EMBED_WEIGHTS", lambda rows: EmbedWeights(0, 0, 0, rows, 1, 1, 0)),
    ("NORM_BACKWARD", lambda rows: BackwardNorm(0, 0, 0, 0, 0, rows, 1, 8, 0, 0)),
)


def scores_fit(chunk: int) -> bool:
    """Sums of products of queries and keys, scaled, for each head size of a chunk that a loader accepts; the largest are near 125,950."""
    sizes = range(CHUNK * chunk + 1, CHUNK * chunk + CHUNK + 1)
    bounds = ((size, max(bound.magnitude for bound in ForwardAttention(0, 0, 0, 0, 1, 1, 1, 1, size, 7).bounds())) for size in sizes)
    return all(size * I16 * I16 * scale_q24(size) < LIMIT for size, most in bounds if most < LIMIT)


def shares_fit(head_size: int, period: Any) -> Any:
    """Sums of shares times the gradients of shares, which are sums over a head; and of weights times values."""
    accept(BackwardAttention(0, 0, 0, 0, 0, 0, 0, 1, period, 1, 1, head_size, 15))
    return (period * (head_size * I16**3) < LIMIT) & (period * (UNIT_Q24 * I16) < LIMIT)


def length_fits(length: Any) -> Any:
    """Any length that NORM takes: the sum of 24-bit squares, that of the backward pass, and how small a mean of squares can be.

    One of the numbers has 24 bits, so that the sum of squares is at least 2^46."""
    accept(ForwardNorm(0, 0, 0, 1, length, 8, 0, 7))
    return (length * (1 << 48) < LIMIT) & (length * (HEAVY * UNIT) < LIMIT) & (length * (1 << (FINEST_MEAN - 1)) <= 1 << 46)


def mean_fits(r: int, dropped: int, eps: Any) -> Any:
    """NORM's mean of squares and its ε, for each r and each number of bits that x has."""
    accept(operation := ForwardNorm(0, 0, 0, 1, 1, r, eps, 7))
    mean = next(bound.magnitude for bound in operation.bounds() if bound.name == "mean")
    value = (1 << 48) + round_shift(eps, 48 - 2 * (r - dropped))
    return (value <= mean) & (value < LIMIT)


SHIFTS = range(2 * (31 - (64 - FINEST_MEAN) // 2) - LARGEST_DROP, 63)
"""By how much NORM_BACKWARD shifts x̂·m: 2u − c for each number of bits that the mean may have."""


def unit_fits(x: Any, root: Any) -> Any:
    """x̂ has 24 bits, and what leads there fits."""
    results = list[Any]()
    scaled: Any = Fitting(x, results) * root
    unit = round_shift(scaled, 31)
    return within(plain(unit), UNIT) & results[0] & results[1] & results[2]


def rest_fits(shift: int, heavy: Any, unit: Any, mean: Any) -> Any:
    """H − round_shift(x̂·m, 2u − c)."""
    return all_fit(lambda h, v, m: h - round_shift(v * m, shift), heavy, unit, mean)


def shifts_are_those(length: int) -> bool:
    """For the row of this length whose mean of squares is least. A larger mean, or a shorter row, makes the shift larger, up to 62."""
    t = inverse_root([1 << 23] + [0] * (length - 1), 8, 0)[3]
    return all(2 * (31 - t // 2) - dropped in SHIFTS for dropped in range(LARGEST_DROP + 1))


def rotation_fits(sign: int, a: Any, b: Any, cosine: Any, sine: Any) -> Any:
    """A pair, rotated by an angle that the loader accepts, and rounded."""
    try:
        check_angles([cosine, sine])
    except ImageBound as error:
        raise NotAdmitted from error
    return all_fit(lambda *numbers: [round_shift(v, 30) for v in rotated(list(numbers[:2]), list(numbers[2:]), sign)], a, b, cosine, sine)


def slope_fits(gate: Any, sigma: Any) -> Any:
    return all_fit(silu_slope, gate, sigma)


def is_its_sigmoid(gate: Any, sigma: Any) -> Any:
    """Beyond ±16 it is 0 or 1."""
    far = 1 << 18
    return ((gate > -far) & (gate < far)) | ((gate >= far) & (sigma == UNIT_Q30)) | ((gate <= -far) & (sigma == 0))


def moments_fit(gradient: Any, m: Any, v: Any, first: Any, second: Any) -> Any:
    """ADAM's moments stay as small as they are at the start, however often."""
    results = list[Any]()
    settings = Settings(1, 64, 0, 1, 0, 0, 0, first, second, 0, 0)
    before: list[Any] = [Fitting(value, results) for value in (gradient, m, v)]
    after, squares = map(plain, moments(before[0], before[1], before[2], settings))
    every = within(after, 1 << 30) & (squares >= 0) & (squares <= 1 << 46)
    for one in results:
        every = one & every
    return every


def update_fits(frac: int, step_bits: int, weight: Any, step: Any, rate: Any, decay: Any) -> Any:
    """A weight less rate times step, and less its decay."""

    def update(w: Any, u: Any, fitting_rate: Any, share: Any) -> Sequence[Any]:
        settings = Settings(1, 64, 0, 1, 0, 0, 0, 1, 1, 0, share)
        return updated([w], [u], frac, fitting_rate, settings.decay(fitting_rate), step_bits)

    return all_fit(update, weight, step, rate, decay)


STATEMENTS = (
    Statement("training.sums", "sums of products", {"size": SIZE, "x": I32, "y": I32}, sum_fits, cases=SUMS),
    Statement("training.muon", "MUON's sums", {"side": SIZE, "rows": Integer(0, 1 << 40), "columns": Integer(0, 1 << 40)}, muon_fits),
    Statement(
        "training.align",
        "aligned rows have no more bits",
        {"x": Integer(-I16, I16), "y": Integer(-I16, I16)},
        aligned_is_no_larger,
        cases=tuple((shift,) for shift in range(64)),
    ),
    Statement(
        "training.accumulate",
        "the gradients of weights, added up over a batch",
        {"rows": SIZE, "part": Integer(-(1 << 61), 1 << 61)},
        accumulated_fits,
        cases=tuple((*each, shift) for each, shift in product(ACCUMULATING, (-31, -1, 0, 1, 30, 63))),
    ),
    Statement("training.scores", "scores of head sizes", {}, scores_fit, cases=tuple((chunk,) for chunk in range(496))),
    Statement(
        "training.shares",
        "sums over a period in attention",
        {"period": SIZE},
        shares_fit,
        cases=tuple((size,) for size in (*range(1, 129), 256, 512, 1024)),
    ),
    Statement("training.norm_length", "NORM's sums, for each length", {"length": SIZE}, length_fits),
    Statement(
        "training.norm_mean",
        "NORM's mean of squares",
        {"eps": Integer(0, 1 << 62)},
        mean_fits,
        cases=tuple(product(range(4, 19), DROPPED)),
    ),
    Statement("training.norm_unit", "NORM_BACKWARD's x̂", {"x": Integer(-UNIT, UNIT), "root": Integer(1 << 30, ROOT)}, unit_fits),
    Statement("training.norm_shifts", "by how much NORM_BACKWARD shifts", {}, shifts_are_those, cases=tuple((1 << k,) for k in range(13))),
    Statement(
        "training.norm_rest",
        "what NORM_BACKWARD takes away",
        {"heavy": Integer(-HEAVY, HEAVY), "unit": Integer(-UNIT, UNIT), "mean": Integer(-(1 << 31), 1 << 31)},
        rest_fits,
        cases=tuple((shift,) for shift in SHIFTS),
    ),
    Statement(
        "training.rotation",
        "ROPE and ROPE_BACKWARD",
        {"a": I32, "b": I32, "cosine": I32, "sine": I32},
        rotation_fits,
        cases=((1,), (-1,)),
    ),
    Statement("training.slope", "the slope of SWIGLU", {"gate": I32, "sigma": Integer(0, UNIT_Q30)}, slope_fits, is_its_sigmoid),
    Statement(
        "training.moments",
        "ADAM's moments",
        {
            **{"gradient": I32, "m": Integer(-(1 << 30), 1 << 30), "v": Integer(0, 1 << 46)},
            **{"first": Integer(1, UNIT_Q16), "second": Integer(1, UNIT_Q16)},
        },
        moments_fit,
    ),
    Statement(
        "training.update",
        "what an optimiser does to a weight",
        {"weight": I32, "step": I32, "rate": Integer(0, LARGEST_RATE), "decay": Integer(0, UNIT_Q16)},
        update_fits,
        cases=(*((30, bits) for bits in range(25)), *((18, bits) for bits in range(13, 25))),  # every shift, from 4 to 40
    ),
)
