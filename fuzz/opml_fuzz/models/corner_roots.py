"""Norms that show the last bit of a root, and whose roots are next to an integer.

A result has 15 bits, a root has 31, so chance hardly ever shows a root that is wrong by one. Here some products of weight and root lie at
the border where they round up: with a root that is one less, or one more, they would not. And since many compute 2^62 / √v as a float
first, the roots are those for which a float is on the wrong side of an integer.

*Source*: spec §1.2 (rsqrt) and §3.5 (NORM).
"""

import struct
from collections.abc import Iterator
from itertools import chain
from math import isqrt, sqrt
from random import Random

from opml_spec.arithmetic.elementary import rsqrt
from opml_spec.arithmetic.fixed import INT32_MAX, round_shift
from opml_spec.model.llama import padded
from opml_spec.model.operations import fixed

from opml_fuzz.machine.model_case import OneStage
from opml_fuzz.models.tiny_models import ModelBuilder, once

R, MEAN_SHIFT = 12, 16  # fraction bits of x; t of a mean of squares that have 47 or 48 bits
BITS = 24  # of x: nothing is rounded before it is squared
JUST_BELOW = 9_110_917, 10_325_701, 16_005_665
"""Divisors of 2^54 + 1: 2^62 / √(x² · 2^16) is 1/x less than an integer, which a float with 53 bits cannot tell from it."""

JUST_ABOVE, HITS = 2, 2  # norms of this kind; products at each side of a border


def norms_at_borders(rng: Random) -> Iterator[OneStage]:
    """Builds norms of equal numbers, whose root is exact or just below an integer, and of three, whose root is just above one."""
    for x in (1, *JUST_BELOW):
        yield norm(rng, (x,), 0)
    for _ in range(JUST_ABOVE):
        yield norm(rng, *just_above(rng))


def just_above(rng: Random) -> tuple[tuple[int, int, int], int]:
    """Draws three numbers and an epsilon whose root is a float less than an integer, though it is not less."""
    while True:
        root = rng.randrange(3 << 29, 1 << 31)
        mean = (1 << 124) // root**2 >> MEAN_SHIFT
        if guess(mean << MEAN_SHIFT) < root == rsqrt(mean << MEAN_SHIFT):
            largest = isqrt(3 * mean // 2) + rng.randrange(1 << 20)
            second = isqrt(3 * mean - largest**2)
            third = isqrt(3 * mean - largest**2 - second**2)
            return (largest, second, third), mean - (largest**2 + second**2 + third**2) // 3 << 48 - 2 * R


def guess(v: int) -> int:
    """Computes a root as floats do."""
    return int(float(1 << 62) / sqrt(float(v)))


def norm(rng: Random, numbers: tuple[int, ...], eps_q48: int) -> OneStage:
    """Builds a NORM of these numbers, again and again, with weights that bring products to a border."""
    first = numbers[0]
    dropped = first.bit_length() - BITS
    mean = sum(round_shift(x, dropped) ** 2 for x in numbers) // len(numbers) + round_shift(eps_q48, 48 - 2 * (R - dropped))
    root = rsqrt(mean << (64 - mean.bit_length()) // 2 * 2)
    cut = max(0, (first * INT32_MAX).bit_length() - 31)
    largest = round_shift(first * INT32_MAX, cut) * root
    half = 1 << largest.bit_length() - 16  # of the unit of the results

    def weight(is_above: bool) -> int:
        nearest = 1 << cut >> 1
        while True:  # up to a million times, so what randrange(1, INT32_MAX) does is done here
            drawn = rng.getrandbits(31) + 1
            short = (first * drawn + nearest) >> cut
            over = short * root % (2 * half) - half
            if (0 <= over < short if is_above else -short <= over < 0) and drawn < INT32_MAX:
                return drawn

    sides = (True, False) if root & root - 1 else (True,)  # all products of a power of two lie too far below
    found = [INT32_MAX, *(weight(is_above) for is_above in sides for _ in range(HITS))]
    weights = [*chain.from_iterable((each, *(0 for _ in numbers[1:])) for each in found)]
    at = ModelBuilder(rng)
    out = at.reserve(bytes(32 + 2 * padded(len(weights))))
    x = at.reserve(struct.pack(f"<{len(weights)}i", *numbers * len(found)))
    operation = fixed.Norm(out, x, at.place(struct.pack(f"<{len(weights)}i", *weights)), len(weights), R, eps_q48)
    return once(rng, at.segments([operation.record()]))
