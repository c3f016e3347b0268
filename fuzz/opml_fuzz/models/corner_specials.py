"""Every operation on what only floats have: infinities that meet a zero or each other, NaNs with a sign and payload, zeros with a sign.

Processors do not agree on the bits of a NaN, so an operation whose NaN is not made the usual one is wrong. Each sort of special numbers
stands among others that are finite, so that it comes in any place.

*Source*: IEEE 754-2019, 6.1 and 6.2; spec §1.3 and §3.6.
"""

from collections.abc import Iterator
from random import Random

from opml_spec.model.operations import fixed
from opml_spec.model.operations.operation import Operation
from opml_spec.model.operations.table import FIXED_OPERATIONS

from opml_fuzz.machine.model_case import OneStage
from opml_fuzz.models.random_models import one_operation, random_shape

ZERO, NEGATIVE_ZERO, INFINITE, NEGATIVE_INFINITE, LARGEST, NEGATIVE_LARGEST = 0, 1 << 31, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0xFF7FFFFF
SPECIALS = (
    *((INFINITE,), (NEGATIVE_INFINITE,), (INFINITE, ZERO), (INFINITE, NEGATIVE_INFINITE), (LARGEST, NEGATIVE_LARGEST)),
    *((0xFFC12345,), (0x7F812345,), (0xFF800001, INFINITE), (ZERO, NEGATIVE_ZERO), (1, 0x807FFFFF)),
)
"""Sorts of special numbers: infinite ones, the largest, NaNs of which the second and third signal, zeros, subnormal ones."""

DRAWS = 4  # of a token by each sort, since the place of a special logit and the temperature matter


def operations_on_specials(rng: Random) -> Iterator[OneStage]:
    """Yields each operation on numbers among which those of each sort are."""
    kinds: list[type[Operation]] = [*(each for each in FIXED_OPERATIONS if each is not fixed.Input), *[fixed.Sample] * (DRAWS - 1)]
    for specials in SPECIALS:
        for kind in kinds:
            yield one_operation(rng, random_shape(rng), True, kind, specials=specials)
