"""Caches with every exponent that a byte can hold.

The exponents that CACHE writes are 127 and those of vectors of i32, from -3 to 28. But an image may begin with any, and ATTENTION is
defined for all of them. So a score is shifted by every number of places, and so are a weight and the output of a head.

*Source*: spec §3.4 and §3.5 (ATTENTION).
"""

from collections.abc import Callable, Iterator
from itertools import product
from random import Random

from opml_spec.model.llama import attention_scale_q30
from opml_spec.model.operations import fixed

from opml_fuzz.machine.model_case import OneStage
from opml_fuzz.models.tiny_models import SMALL, ModelBuilder, once

HEADS, HEAD_SIZE, LEAST, USUAL = 256, 2, -128, 14  # a head for each exponent
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
        out, query = at.reserve(bytes(32 + 2 * HEADS * HEAD_SIZE)), at.reserve(HEADS * at.numbers(HEAD_SIZE))
        cache = [
            at.reserve(data)
            for of_row in zip(*rows, strict=True)
            for data in (HEADS * rng.randbytes(2 * HEAD_SIZE * SMALL.context), bytes(exponent & 0xFF for exponent in of_row))
        ]
        operands = [out, query, *cache, HEADS, HEADS, HEAD_SIZE, SMALL.context, attention_scale_q30(HEAD_SIZE)]
        yield once(rng, at.segments([fixed.Attention(*operands).record()]))
