"""Floats at every exponent: results that are shifted by every number of places, and sums of nothing but zeros, of either sign.

A vector holds a number for each exponent field, and is multiplied by a constant, or added to one. So the result of a product lies at every
distance below the least normal number, and the smaller one of two terms at every distance below the larger one. Pairs of edge numbers have
only a few of these distances.

*Source*: spec §3.6.
"""

import struct
from collections.abc import Iterator
from random import Random

from attrs import evolve
from opml_spec.model.operations import fixed
from opml_spec.model.tensors import TILE_ROWS

from opml_fuzz.machine.model_case import OneStage
from opml_fuzz.models.tiny_models import SMALL, ModelBuilder, as_float, once

FINITE_FIELDS = 255
CONSTANTS = (0x3F800000, 0x20123456, 0x0E800000, 0x00800001, 0x00000001, 0xBF800001, 0x7F7FFFFF)
"""±1, two numbers whose products with others are subnormal or less, the least ones, and the largest."""

ROWS, COLUMNS = 5, 7
NEGATIVE_ZERO = struct.pack("<f", -0.0)


def floats_at_every_exponent(rng: Random) -> Iterator[OneStage]:
    """Builds a SWIGLU and an ADD of each constant and numbers of every exponent, of either sign."""
    for is_product in (True, False):
        at = ModelBuilder(rng, is_float=True)
        constants = [constant for constant in CONSTANTS for _ in range(FINITE_FIELDS)]
        others = [rng.getrandbits(1) << 31 | field << 23 | rng.getrandbits(23) for _ in CONSTANTS for field in range(FINITE_FIELDS)]
        x, y = (at.reserve(struct.pack(f"<{len(each)}I", *each)) for each in (constants, others))
        out = at.reserve(bytes(4 * len(others)))
        operation = fixed.SwiGlu(out, x, y, len(others)) if is_product else fixed.Add(x, y, len(others))
        yield once(rng, at.segments([as_float(operation).record()]))


def sums_of_zeros(rng: Random) -> OneStage:
    """Builds a product of a matrix and a vector of zeros, whose result has other bytes before."""
    at = ModelBuilder(rng, is_float=True)
    matrix, x, out = at.matrix(ROWS, COLUMNS), at.reserve(bytes(4 * COLUMNS)), at.reserve(rng.randbytes(4 * ROWS))
    return once(rng, at.segments([as_float(fixed.MatMul(out, x, matrix.address, 0, ROWS, COLUMNS, 0)).record()]))


def sums_of_negative_zeros(rng: Random) -> Iterator[OneStage]:
    """Builds sums of which each term is −0: of a positive matrix and a vector, and of the values that attention reads."""
    at = ModelBuilder(rng, is_float=True)
    positive = at.place(struct.pack(f"<{TILE_ROWS * COLUMNS}f", *(rng.uniform(0.1, 2) for _ in range(TILE_ROWS * COLUMNS))))
    x, out = at.reserve(NEGATIVE_ZERO * COLUMNS), at.reserve(rng.randbytes(4 * ROWS))
    yield once(rng, at.segments([as_float(fixed.MatMul(out, x, positive, 0, ROWS, COLUMNS, 0)).record()]))
    at = ModelBuilder(rng, is_float=True)
    size, sizes = SMALL.head_size, (SMALL.heads, SMALL.kv_heads, SMALL.head_size, SMALL.context)
    out, q = at.reserve(rng.randbytes(4 * SMALL.heads * size)), at.reserve(at.numbers(SMALL.heads * size))
    keys, values = at.cache()[0], at.reserve(NEGATIVE_ZERO * SMALL.kv_heads * SMALL.context * size)
    case = once(rng, at.segments([as_float(fixed.Attention(out, q, keys, 0, values, 0, *sizes, 1)).record()]))
    yield from (case, evolve(case, stage=0))  # of several values, and of one
