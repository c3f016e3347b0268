"""Vectors of arithmetic: binary32 in all rounding directions, fixed point, and the elementary functions of both.

*Source*: spec §1; IEEE 754.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from random import Random

from opml_spec.arithmetic import binary32, elementary, fixed, float_functions
from opml_spec.arithmetic.binary32 import RNE, Rounding

from opml_fuzz.conformance.spec_float import COMPARISONS, ROUNDED, Operations
from opml_fuzz.vectors.notation import Json

EDGES = (
    *(0x00000000, 0x00000001, 0x007FFFFF, 0x00800000, 0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x40490FDB, 0x4B7FFFFF, 0x7F7FFFFF, 0x7F800000),
    *(0x7FC00000, 0x7F800001, 0x80000000, 0x80000001, 0xBF800000, 0xC0000000, 0xFF7FFFFF, 0xFF800000),
)
UNROUNDED: Operations = {
    **COMPARISONS,
    "minimum": (2, binary32.minimum),
    "maximum": (2, binary32.maximum),
    "exp": (1, float_functions.exp),
    "sigmoid": (1, float_functions.sigmoid),
}
EACH_MODE, OF_EACH = 12, 40
FIXED: dict[str, Callable[..., int]] = {
    "round_shift": fixed.round_shift,
    "sat32": fixed.sat32,
    "rsqrt": elementary.rsqrt,
    "reciprocal": elementary.reciprocal,
    "exp2": elementary.exp2,
    "sigmoid": elementary.sigmoid,
}


def binary32_cases(rng: Random) -> Iterator[Json]:
    """Yields edge cases rounded to nearest-even, and random operands in each direction."""
    for name, (count, function) in ROUNDED.items():
        edges = product(EDGES, repeat=count) if count < 3 else (tuple(rng.choice(EDGES) for _ in range(3)) for _ in range(200))
        for operands in edges:
            yield float_case(name, operands, function(*operands), RNE)
        for mode in Rounding:
            for _ in range(EACH_MODE):
                operands = random_operands(rng, count)
                yield float_case(name, operands, function(*operands, mode), mode)
    for name, (count, function) in UNROUNDED.items():
        for operands in [*product(EDGES[::2], repeat=count), *(random_operands(rng, count) for _ in range(OF_EACH))]:
            yield float_case(name, operands, int(function(*operands)))


def random_operands(rng: Random, count: int) -> tuple[int, ...]:
    """Draws operands, half of the time of similar size, so that sums keep digits and products stay finite."""
    exponent = rng.choice((rng.randrange(255), rng.randrange(120, 135)))
    near = [min(max(exponent + rng.randrange(-13, 14), 0), 254) for _ in range(count)]
    return tuple(rng.getrandbits(1) << 31 | e << 23 | rng.getrandbits(23) & -1 << rng.choice((0, 0, 11, 20)) for e in near)


def float_case(name: str, operands: Sequence[int], result: int, mode: Rounding | None = None) -> Json:
    given: Json = {"operation": name, "operands": [f"{each:08x}" for each in operands]}
    return {"name": name, "pre": given | ({"rounding": mode.name} if mode else {}), "post": f"{result:08x}"}


def fixed_cases(rng: Random) -> Iterator[Json]:
    """Yields each function at its edges and at random; `normalise` on short rows."""
    signed = [sign * value for value in (0, 1, 2, 3, 63, 64, 65, 1 << 31, (1 << 31) - 1, 1 << 62) for sign in (1, -1)]
    wide = [rng.getrandbits(rng.randrange(1, 90)) * rng.choice((1, -1)) for _ in range(OF_EACH)]

    def some(low: int, high: int) -> list[int]:
        return [rng.randrange(low, high) for _ in range(OF_EACH)]

    lengths = [rng.getrandbits(rng.randrange(1, 64)) | 1 for _ in range(OF_EACH)]
    arguments: dict[str, list[tuple[int, ...]]] = {
        "round_shift": [(value, shift) for value in signed + wide[:10] for shift in (-3, 0, 1, 2, 31, 64, 200)],
        "sat32": [(value,) for value in signed + wide],
        "rsqrt": [(v,) for v in (1 << 62, (1 << 62) + 1, 1 << 63, (1 << 64) - 1, *some(1 << 62, 1 << 64))],
        "reciprocal": [(v,) for v in (1, 2, 3, 4, (1 << 63) - 1, *lengths)],
        "exp2": [(-v,) for v in (0, 1, 32768, 65535, 65536, 32 << 16, 33 << 16, (1 << 31) - 1, *some(0, 34 << 16))],
        "sigmoid": [(v,) for v in (0, 1, -1, 64, (1 << 18) - 1, 1 << 18, -(1 << 31), *some(-(1 << 18), 1 << 18))],
    }
    for name, rows in arguments.items():
        for row in rows:
            yield {"name": name, "pre": {"function": name, "arguments": list(map(hex, row))}, "post": hex(FIXED[name](*row))}
    for width in (13, 15):
        for bits in (0, 1, 14, 15, 16, 31, 63, 90):
            values = [rng.getrandbits(rng.randrange(bits + 1)) * rng.choice((1, -1)) for _ in range(6)] + [(1 << bits) - 1]
            fractions = [rng.randrange(10, 60) for _ in values]
            q, e = fixed.normalise(values, fractions, width)
            given = {"values": list(map(hex, values)), "fraction_bits": list(map(hex, fractions)), "width": hex(width)}
            yield {"name": "normalise", "pre": {"function": "normalise", **given}, "post": {"q": list(map(hex, q)), "e": hex(e)}}
