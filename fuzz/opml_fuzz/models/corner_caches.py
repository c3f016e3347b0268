"""Caches with every exponent that a byte can hold, heads that have only zeros, and heads in which the last bit of a weight shows.

The exponents that CACHE writes are 127 and those of vectors of i32, from -3 to 28. But an image may begin with any, and ATTENTION is
defined for all of them. So a score is shifted by every number of places, and so are a weight and the output of a head.

Where all numbers of a head are 0, nothing else tells its exponent, and the zeros must still be written. Chance never draws such a head.

A weight has 25 bits, a result 15. A weight that is wrong by one changes one result in 2^9 or fewer, so these have hundreds of columns.

*Source*: spec §3.4 and §3.5 (ATTENTION).
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from random import Random

from opml_spec.model.bounds import I16, QUERY
from opml_spec.model.llama import attention_scale_q30, padded
from opml_spec.model.operations import fixed

from opml_fuzz.machine.model_case import OneStage
from opml_fuzz.models.tiny_models import SMALL, ModelBuilder, once

HEADS, HEAD_SIZE, LEAST, USUAL = 256, 2, -128, 14  # a head for each exponent
FEW_HEADS = 3  # the first, one between others, and the last
QUERIES, COLUMNS, KEY_EXPONENT = 32, 448, 20  # heads that share keys and values; the scores are a few units apart
ONE, UNLIKE = 1 << fixed.VECTOR_BITS, 24  # a query, and how much it differs from head to head
DROP, DROP_BITS, DROPS = 504, 9, range(9, 27)  # a key, and its fraction bits, of which the score is -1 in powers of 2, rounded up
SWEEPS: tuple[Callable[[int, int], tuple[int, int]], ...] = (
    lambda head, row: (LEAST + head, USUAL),
    lambda head, row: (USUAL, LEAST + head),
    lambda head, row: (USUAL, LEAST + head * (row % 2)),
)
"""The exponents of the key and of the value in a row of a head. The third sweep has two exponents of values in each head."""


def attention_to_any_exponents(rng: Random) -> Iterator[OneStage]:
    """Builds an ATTENTION for each sweep. But for the exponents, its heads are alike, so no shift is left out."""
    for exponents in SWEEPS:
        at = ModelBuilder(rng)
        rows = [exponents(head, row) for head, row in product(range(HEADS), range(SMALL.context))]
        query = at.reserve(HEADS * at.numbers(HEAD_SIZE))
        cache = [
            at.reserve(data)
            for of_row in zip(*rows, strict=True)
            for data in (HEADS * rng.randbytes(2 * HEAD_SIZE * SMALL.context), bytes(exponent & 0xFF for exponent in of_row))
        ]
        yield attention(rng, at, query, cache, HEADS)


def attention_to_zeros(rng: Random) -> Iterator[OneStage]:
    """Builds an ATTENTION for each set of three heads, whose queries, keys or values are zeros."""
    for which, zeros in product(range(3), product((False, True), repeat=FEW_HEADS)):
        at = ModelBuilder(rng)
        sizes = 4 * HEAD_SIZE, *(2 * HEAD_SIZE * SMALL.context,) * 2
        query, keys, values = (
            at.reserve(b"".join(bytes(size) if is_zero and each == which else rng.randbytes(size) for is_zero in zeros))
            for each, size in enumerate(sizes)
        )
        exponents = [at.reserve(bytes([USUAL]) * FEW_HEADS * SMALL.context) for _ in range(2)]
        yield attention(rng, at, query, [keys, exponents[0], values, exponents[1]], FEW_HEADS)


def attention_that_shows_weights(rng: Random) -> OneStage:
    """Builds an ATTENTION of many columns."""
    at = ModelBuilder(rng)
    query = at.reserve(at.numbers(QUERIES * COLUMNS))
    keys, values = (at.reserve(rng.randbytes(2 * COLUMNS * SMALL.context)) for _ in range(2))
    key_exponents, exponents = (at.reserve(bytes([exponent]) * SMALL.context) for exponent in (KEY_EXPONENT, USUAL))
    return attention(rng, at, query, [keys, key_exponents, values, exponents], QUERIES, 1, COLUMNS)


def attention_to_the_least_keys(rng: Random) -> OneStage:
    """Builds an ATTENTION to keys of -2^15, which CACHE never writes, with the largest scale that a loader takes."""
    at, scale_q30 = ModelBuilder(rng), ((1 << 63) - 1) // (HEAD_SIZE * QUERY * I16)
    query, rows = at.reserve(struct.pack("<2i", -QUERY, -QUERY)), SMALL.context
    keys = at.reserve(struct.pack(f"<{HEAD_SIZE * rows}h", *(-I16 * (row % 2) for row in range(rows) for _ in range(HEAD_SIZE))))
    values, exponents = at.reserve(rng.randbytes(2 * HEAD_SIZE * rows)), [at.reserve(bytes([USUAL]) * rows) for _ in range(2)]
    return attention(rng, at, query, [keys, exponents[0], values, exponents[1]], 1, scale_q30=scale_q30)


def attention_to_unlikely_keys(rng: Random) -> Iterator[OneStage]:
    """Builds an ATTENTION for each integer part of an exponent of 2 that gives a weight of few bits, and the next one.

    The likeliest value is zero, so of the result each bit of the others' weights shows, be they 1 or 2 of 2^24."""
    for exponent in DROPS:
        at = ModelBuilder(rng)
        query = at.reserve(struct.pack(f"<{2 * QUERIES}i", *(each for head in range(QUERIES) for each in (ONE + UNLIKE * head, 0))))
        steps = [exponent * DROP + row for row in range(1, SMALL.context)]
        keys = at.reserve(struct.pack(f"<{2 * SMALL.context}h", 0, 0, *(each for step in steps for each in (-step, 0))))
        values = at.reserve(bytes(2 * HEAD_SIZE) + rng.randbytes(2 * HEAD_SIZE * (SMALL.context - 1)))
        exponents = [at.reserve(bytes([each]) * SMALL.context) for each in (DROP_BITS, USUAL)]
        yield attention(rng, at, query, [keys, exponents[0], values, exponents[1]], QUERIES, 1)


def attention(
    rng: Random,
    at: ModelBuilder,
    query: int,
    cache: Sequence[int],
    heads: int,
    kv_heads: int = 0,
    head_size: int = HEAD_SIZE,
    scale_q30: int = 0,
) -> OneStage:
    """Builds an ATTENTION whose result has other bytes before. cache: addresses of keys, of their exponents, of values and of theirs"""
    out = at.reserve(bytes(32) + rng.randbytes(2 * padded(heads * head_size)))
    operands = [out, query, *cache, heads, kv_heads or heads, head_size, SMALL.context, scale_q30 or attention_scale_q30(head_size)]
    return once(rng, at.segments([fixed.Attention(*operands).record()]))
