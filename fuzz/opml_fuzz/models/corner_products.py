"""Products of matrices, and rows of them: one group or a few, scales of every exponent, and rows whose sums come close to 2^62.

Random models have small scales, as those of people do, and few columns. So nobody would notice a sum that is cut to 48 bits. Nor is there
often a product of each quantisation with each small number of groups.

*Source*: spec §3.5 and §3.8.
"""

import struct
from collections.abc import Iterator
from random import Random

from opml_spec.model.operations import fixed
from opml_spec.model.operations.operation import Operation
from opml_spec.model.tensors import GROUP, QUANTISATIONS, TILE_ROWS

from opml_fuzz.machine.model_case import OneStage
from opml_fuzz.models.tiny_models import SMALL, ModelBuilder, once

LARGEST_SCALE, SIGN, FRACTION_BITS = 0x57FF, 1 << 15, 10  # 127.9, as a binary16
EXPONENTS = range((LARGEST_SCALE >> FRACTION_BITS) + 1)
FEW, PLAIN_SCALES = (1, 2, 3, 5, 8), [0x3801, 0x3555, 0x3C00, 0x2FFF, 0x3AAA]  # 1 and less: whatever is forgotten shows
LARGEST_WEIGHTS = (b"\x80", b"\x00", b"\xff")  # by quantisation: -128; -8, twice in a byte; 15, twice
GROUPS = 16  # of the largest scales: with one more, a loader refuses the row
LARGEST, SHIFTED, OUT_BITS, R = 32_767, 33, 20, 14  # a number of an activation; by how many bits sums are shifted


def corner_products(rng: Random) -> Iterator[OneStage]:
    """Builds for each quantisation products and rows: of a few groups, of scales of every exponent, and of the largest ones."""
    for number in QUANTISATIONS:
        for groups in FEW:
            yield from products_and_rows(rng, number, PLAIN_SCALES, groups, same=False)
        scales = [exponent << FRACTION_BITS | rng.getrandbits(FRACTION_BITS) for exponent in EXPONENTS]
        yield from products_and_rows(rng, number, scales, len(EXPONENTS), same=False)
        yield from products_and_rows(rng, number, [LARGEST_SCALE], GROUPS, same=True)


def products_and_rows(rng: Random, number: int, scales: list[int], groups: int, same: bool) -> Iterator[OneStage]:
    """Builds a product and the first row of its matrix. same: all numbers are the largest, and of one sign, so that nothing cancels out"""
    columns, at = GROUP * groups, ModelBuilder(rng)
    each = [scales[group % len(scales)] for _ in range(SMALL.vocabulary // TILE_ROWS) for group in range(groups)]
    matrix = at.place(b"".join(block(rng, number, [scale] * TILE_ROWS, same) for scale in each))
    values = [LARGEST] * columns if same else [rng.choice((LARGEST, -LARGEST, rng.randrange(-LARGEST, LARGEST))) for _ in range(columns)]
    x = at.reserve(struct.pack(f"<i28x{columns}h", SHIFTED - 24 + OUT_BITS, *values))
    out = at.reserve(bytes(4 * columns))
    operations: list[Operation] = [fixed.MatMul(out, x, matrix, number, SMALL.vocabulary, columns, OUT_BITS)]
    operations.append(fixed.Embed(out, matrix, number, columns, columns, R))
    for operation in operations:
        yield once(rng, at.segments([operation.record()]))


def block(rng: Random, number: int, scales: list[int], same: bool) -> bytes:
    """Makes a block of eight rows of any weights, or of none but the largest; every other scale is negative."""
    quantisation = QUANTISATIONS[number]
    weights = LARGEST_WEIGHTS[number] * quantisation.scales if same else rng.randbytes(quantisation.scales)
    halfs = [scale | (SIGN if lane % 2 else 0) for lane, scale in enumerate(scales)]
    minimums = [scale | (SIGN if lane % 4 < 2 else 0) for lane, scale in enumerate(scales)] if quantisation.has_minimum else []
    return weights + struct.pack(f"<{len(halfs + minimums)}H", *halfs, *minimums)
