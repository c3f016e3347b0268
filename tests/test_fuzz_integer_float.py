"""binary32 by integer algorithms against the processor's floats: all pairs of edge cases, random patterns, and chosen halfway cases."""

import struct
from itertools import product

import numpy as np
import pytest
from opml_fuzz.conformance.hardware_float import OPERATIONS as HARDWARE
from opml_fuzz.conformance.integer_float import OPERATIONS

CORNERS = [
    0x00000000, 0x00000001, 0x00000002, 0x00000003, 0x003FFFFF, 0x00400000, 0x007FFFFF, 0x00800000, 0x00800001, 0x00FFFFFF, 0x01000000,
    0x33800000, 0x34000000, 0x3E800000, 0x3F000000, 0x3F000001, 0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x3FC00000, 0x40000000, 0x40490FDB,
    0x4B000000, 0x4B000001, 0x4B7FFFFF, 0x4B800000, 0x4EFFFFFF, 0x4F000000, 0x4F7FFFFF, 0x4F800000, 0x5EFFFFFF, 0x5F000000, 0x5F7FFFFF,
    0x5F800000, 0x7E800000, 0x7F000000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FBFFFFF, 0x7FC00000, 0x7FFFFFFF,
]  # fmt: skip
CORNERS += [pattern | 1 << 31 for pattern in CORNERS]
OPERANDS = {"f32_sqrt": 1, "f32_mulAdd": 3}
NAN, WIDTHS = 0x7FC00000, {"i32": 32, "ui32": 32, "i64": 64, "ui64": 64}


def patterns(rng, count):
    """Patterns of uniform bits, and some whose exponents are close to one another, so that sums are not trivial."""
    wild = rng.integers(0, 1 << 32, count, np.uint64)
    near = rng.integers(0, 2, count, np.uint64) << np.uint64(31) | rng.integers(100 << 23, 154 << 23, count, np.uint64)
    return np.where(rng.random(count) < 0.5, wild, near).astype(np.uint32)


@pytest.mark.parametrize("name", [name for name in HARDWARE if name.startswith("f32_")])
def test_operation_on_floats(name):
    count = OPERANDS.get(name, 2)
    rng = np.random.default_rng(11)
    columns = [patterns(rng, 20_000) for _ in range(count)]
    if count < 3:
        corners = np.array(list(product(CORNERS, repeat=count)), np.uint32).T
    else:
        corners = rng.choice(np.array(CORNERS, np.uint32), (3, 20_000))
    columns = [np.concatenate(pair) for pair in zip(columns, corners, strict=True)]
    expected = HARDWARE[name](*columns).tolist()
    operation = OPERATIONS[name]
    wrong = [(row, want) for *row, want in zip(*(column.tolist() for column in columns), expected, strict=True) if operation(*row) != want]
    assert not wrong, [hex(bits) for bits in (*wrong[0][0], wrong[0][1], operation(*wrong[0][0]))]


def test_fma_that_cancels():
    """c is near −a·b, so most of the product cancels, or all of it but what rounding would have lost."""
    rng = np.random.default_rng(5)
    a, b = patterns(rng, 20_000), patterns(rng, 20_000)
    c = HARDWARE["f32_mul"](a, b) ^ np.uint32(1 << 31)
    c = (c.astype(np.int64) + rng.integers(-2, 3, len(c))).astype(np.uint32)
    expected = HARDWARE["f32_mulAdd"](a, b, c)
    assert [OPERATIONS["f32_mulAdd"](*row) for row in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)] == expected.tolist()


@pytest.mark.parametrize("kind", WIDTHS)
def test_from_integers(kind):
    width, rng = WIDTHS[kind], np.random.default_rng(3)
    dtype = np.uint64 if width == 64 else np.uint32
    small = [(1 << place) + difference for place in range(width) for difference in (-1, 0, 1)]
    values = [value & ((1 << width) - 1) for value in (*small, *(-value for value in small))]
    values += (rng.integers(0, 1 << 63, 10_000, np.uint64) >> rng.integers(0, 63, 10_000).astype(np.uint64)).tolist()
    column = np.array([value & ((1 << width) - 1) for value in values], dtype)
    expected = HARDWARE[f"{kind}_to_f32"](column).tolist()
    assert [OPERATIONS[f"{kind}_to_f32"](value) for value in column.tolist()] == expected


@pytest.mark.parametrize("kind", WIDTHS)
def test_to_integers(kind):
    """Python's round is to nearest even, and exact on what a float holds."""
    low, high = (0, (1 << WIDTHS[kind]) - 1) if kind[0] == "u" else (-(1 << WIDTHS[kind] - 1), (1 << WIDTHS[kind] - 1) - 1)
    rng = np.random.default_rng(4)
    tested = CORNERS + patterns(rng, 10_000).tolist() + rng.integers(0x3E000000, 0x60000000, 10_000).tolist()
    for bits in tested:
        (value,) = struct.unpack("<f", struct.pack("<I", bits))
        if value != value:
            expected = high
        elif abs(value) == float("inf"):
            expected = low if value < 0 else high
        else:
            expected = min(max(round(value), low), high)
        assert OPERATIONS[f"f32_to_{kind}"](bits) == expected % (1 << WIDTHS[kind]), hex(bits)


def test_min_and_max():
    for a, b in product(CORNERS, CORNERS):
        x, y = (struct.unpack("<f", struct.pack("<I", bits))[0] for bits in (a, b))
        if x != x or y != y:
            number = NAN if x != x and y != y else b if x != x else a
            least = greatest = number
        elif x == y:
            least, greatest = max(a, b), min(a, b)  # −0 has the larger pattern
            if x != 0:
                least = greatest = a
        else:
            least, greatest = (a, b) if x < y else (b, a)
        assert (OPERATIONS["f32_min"](a, b), OPERATIONS["f32_max"](a, b)) == (least, greatest)
