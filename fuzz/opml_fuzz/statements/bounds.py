"""Statements about overflow: no term of an operation's sums and products is larger than the loader's check says.

The bounds are those that the specification's own check computes, from sizes that are symbols here. A sum of n terms, none larger than m in
magnitude, is at most n·m, so each statement is about one term: what the operation's own functions can make of numbers in range.

*Source*: spec §3.5, §3.8.
"""

from typing import Any

from opml_spec.arithmetic.elementary import LOG2_E_Q32, SIGMOID_Q30, exp2
from opml_spec.arithmetic.fixed import INT32_MAX, INT32_MIN, clamp, round_shift
from opml_spec.model.bounds import I16, QUERY, UNIT_Q24, UNIT_Q30, bounds, row_bound
from opml_spec.model.layout import MIN_TEMPERATURE_Q16
from opml_spec.model.operations.fixed import QUERY_BITS, Attention, Norm, Sample, SwiGlu
from opml_spec.model.tensors import GROUP, QUANTISATIONS, Group

from opml_fuzz.statements.statement import Integer, Statement

SIZE = Integer(1, 1 << 32)
I32 = Integer(INT32_MIN, INT32_MAX)
DROPPED = range(-23, 9)  # what leaves 24 bits of the 1 to 32 bits of an i32
CHUNK = 256


def bound(operation: Any, name: str) -> Any:
    """The magnitude that the specification gives the number of this name."""
    nowhere: Any = None
    return next(one.magnitude for one in bounds(nowhere, operation) if one.name == name)


def within(value: Any, magnitude: Any) -> Any:
    return (value <= magnitude) & (-value <= magnitude)


def squares_fit(dropped: int, length: Any, x: Any) -> Any:
    """NORM's shortened x has 24 bits, and its bound is that of `length` squares of such numbers."""
    return within(round_shift(x, dropped), 1 << 24) & (bound(Norm(0, 0, 0, length, 8, 0), "Σ xs²") == length * (1 << 48))


def has_those_bits(dropped: int, length: Any, x: Any) -> Any:
    return (-(1 << (24 + dropped)) < x) & (x < 1 << (24 + dropped))


def mean_fits(r: int, dropped: int, eps: Any) -> Any:
    """NORM's mean of squares and its ε are largest if x has a single bit."""
    return (1 << 48) + round_shift(eps, 48 - 2 * (r - dropped)) <= bound(Norm(0, 0, 0, 1, r, eps), "mean")


def shortens(dropped: int, v: Any) -> Any:
    """What `shorten` leaves of 31 bits; the bounds say 2^31."""
    return within(round_shift(v, dropped), 1 << 31)


def is_short(dropped: int, v: Any) -> Any:
    return (-(1 << (31 + dropped)) < v) & (v < 1 << (31 + dropped))


def product_fits(operation: Any, name: str, most: int, x: Any, y: Any) -> Any:
    """An i32 times a number up to `most`."""
    return within(x * y, bound(operation, name))


def is_at_most(operation: Any, name: str, most: int, x: Any, y: Any) -> Any:
    return within(y, most)


def scores_fit(head_size: Any, scale: Any, query: Any, key: Any) -> Any:
    """A query's element is clamped to its bits, and the bound is that of `head_size` products, scaled."""
    lane = clamp(query, -(1 << QUERY_BITS) + 1, (1 << QUERY_BITS) - 1) * key
    operation = Attention(0, 0, 0, 0, 0, 0, 1, 1, head_size, 1, scale)
    return within(lane, QUERY * I16) & (bound(operation, "Σ q·K·scale") == head_size * (QUERY * I16) * scale)


def values_fit(shift: int, context: Any, weight: Any, value: Any) -> Any:
    """A probability, aligned by a shift to the right, times a value; the bound is that of `context` such products."""
    operation = Attention(0, 0, 0, 0, 0, 0, 1, 1, 1, context, 1)
    return within(round_shift(weight, shift) * value, UNIT_Q24 * I16) & (bound(operation, "Σ w·V") == context * (UNIT_Q24 * I16))


def exponential_fits(chunk: int) -> bool:
    """2^z is at most 1 for all fractions between two powers of two; below them it is the same number, shifted further."""
    return all(0 <= exp2(z) <= UNIT_Q24 for z in range(-CHUNK * (chunk + 1), -CHUNK * chunk + 1))


def sigmoid_fits(chunk: int, part: Any) -> Any:
    """Between two entries of the table σ is between them, and no entry is above 1."""
    result: Any = True
    for low, high in zip(SIGMOID_Q30[CHUNK * chunk : CHUNK * (chunk + 1)], SIGMOID_Q30[CHUNK * chunk + 1 :], strict=False):
        value = low + round_shift((high - low) * part, 6)
        result = (low <= value) & (value <= high) & result & (high <= UNIT_Q30)
    return result


def drops_fit(temperature: Any, drop: Any) -> Any:
    """SAMPLE's distance of two i32 times its slope, which is largest for the least temperature."""
    return drop * (LOG2_E_Q32 // temperature) <= bound(Sample(0, 1), "(M − l)·c")


def group_fits(qmax: int, scale: Any, minimum: Any, dot: Any, total: Any) -> Any:
    """What one group of 32 adds to a row: its scale times Σ w·q, and its minimum times Σ q."""
    return within(scale * dot + minimum * total, row_bound([Group([], scale, minimum)], qmax))


def are_sums_of_a_group(qmax: int, scale: Any, minimum: Any, dot: Any, total: Any) -> Any:
    return within(dot, GROUP * qmax * I16) & within(total, GROUP * I16)


HALF = Integer(-(1 << 31), 1 << 31)
SUM = Integer(-(1 << 28), 1 << 28)
STATEMENTS = (
    Statement("bounds.norm", "NORM's squares", {"length": SIZE, "x": I32}, squares_fit, has_those_bits, tuple((d,) for d in DROPPED)),
    Statement(
        "bounds.mean",
        "NORM's mean, for each r and each number of bits",
        {"eps": Integer(0, (1 << 36) - 1)},
        mean_fits,
        cases=tuple((r, dropped) for r in range(4, 15) for dropped in DROPPED),
    ),
    Statement(
        "bounds.shorten",
        "shortened numbers",
        {"v": Integer(-(1 << 65), 1 << 65)},
        shortens,
        is_short,
        tuple((dropped,) for dropped in range(34)),
    ),
    Statement(
        "bounds.products",
        "products with an i32: NORM's with its weights, SWIGLU's with σ and of its two vectors",
        {"x": I32, "y": Integer(-(1 << 31), 1 << 31)},
        product_fits,
        is_at_most,
        (
            (Norm(0, 0, 0, 1, 8, 0), "x·w", 1 << 31),
            (SwiGlu(0, 0, 0, 1), "gate·σ", UNIT_Q30),
            (SwiGlu(0, 0, 0, 1), "silu·up", 1 << 31),
        ),
    ),
    Statement(
        "bounds.scores",
        "ATTENTION's products of queries and keys",
        {"head_size": SIZE, "scale": SIZE, "query": I32, "key": Integer(-I16, I16)},
        scores_fit,
    ),
    Statement(
        "bounds.values",
        "ATTENTION's products of weights and values",
        {"context": SIZE, "weight": Integer(0, UNIT_Q24), "value": Integer(-I16, I16)},
        values_fit,
        cases=tuple((shift,) for shift in range(26)),
    ),
    Statement(
        "bounds.exp2",
        "no weight is above 1",
        {},
        exponential_fits,
        cases=tuple((chunk,) for chunk in range((1 << 16) // CHUNK)),
    ),
    Statement("bounds.sigmoid", "σ is at most 1", {"part": Integer(0, 63)}, sigmoid_fits, cases=tuple((chunk,) for chunk in range(16))),
    Statement(
        "bounds.sample",
        "SAMPLE's scaled logits",
        {"temperature": Integer(MIN_TEMPERATURE_Q16, (1 << 32) - 1), "drop": Integer(0, (1 << 32) - 1)},
        drops_fit,
    ),
    Statement(
        "bounds.group",
        "a group's part of a row of MATMUL and EMBED",
        {"scale": HALF, "minimum": HALF, "dot": SUM, "total": SUM},
        group_fits,
        are_sums_of_a_group,
        tuple((one.qmax,) for one in QUANTISATIONS.values()),
    ),
)
