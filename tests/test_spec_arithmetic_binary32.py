"""binary32 against the hardware's own floats in its four rounding directions, and against the definition in the fifth.

numpy's float32 arithmetic is the processor's; `fesetround` turns its rounding direction, and C's `fmaf` is correctly rounded.
"""

import ctypes
import ctypes.util
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.arithmetic import binary32
from opml_spec.arithmetic.binary32 import INFINITY, LARGEST, NAN, ONE, SIGN, Rounding

POSITIVE_CORNERS = [
    0, 1, 2, 3, 0x003FFFFF, 0x00400000, 0x007FFFFE, 0x007FFFFF, 0x00800000, 0x00800001,
    0x00FFFFFF, 0x01000000, 0x0C000000, 0x1F800000, 0x20000000, 0x33800000, 0x34000000, 0x3EFFFFFF, 0x3F000000, 0x3F7FFFFF,
    ONE, 0x3F800001, 0x3FC00000, 0x40000000, 0x40490FDB, 0x4B000000, 0x4B000001, 0x4B7FFFFF, 0x4EFFFFFF, 0x4F000000,
    0x4F7FFFFF, 0x5F000000, 0x5F7FFFFF, 0x7E800000, 0x7F000000, LARGEST, INFINITY, NAN, INFINITY + 1, 0x7FFFFFFF,
]  # fmt: skip
CORNERS = POSITIVE_CORNERS + [a | SIGN for a in POSITIVE_CORNERS]

libm = ctypes.CDLL(ctypes.util.find_library("m"))
FENV = {  # the numbers of C's <fenv.h>
    "x86_64": {"RNE": 0, "RDN": 0x400, "RUP": 0x800, "RTZ": 0xC00},
    "aarch64": {"RNE": 0, "RUP": 0x400000, "RDN": 0x800000, "RTZ": 0xC00000},
}.get(platform.machine().lower().replace("arm64", "aarch64").replace("amd64", "x86_64"))
HARDWARE_MODES = [Rounding.RNE, Rounding.RTZ, Rounding.RDN, Rounding.RUP] if FENV else [Rounding.RNE]


@contextmanager
def hardware_rounding(mode: Rounding) -> Iterator[None]:
    if FENV:
        assert libm.fesetround(FENV[mode.name]) == 0
    try:
        yield
    finally:
        if FENV:
            libm.fesetround(FENV["RNE"])


def operands(count: int, width: int, seed: int) -> np.ndarray:
    """(count, width) floats as bits: any bits, half of the exponents in a row near one another, so that sums cancel."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 1 << 32, (count, width), dtype=np.uint32)
    near = (a[:, :1] >> 23) + rng.integers(-3, 4, (count, width)).astype(np.uint32)
    close = (a & np.uint32(0x807FFFFF)) | ((near & np.uint32(0xFF)) << np.uint32(23))
    return np.where(rng.random((count, 1)) < 0.5, a, close).astype(np.uint32)


PAIRS = np.concatenate([np.array(list(product(CORNERS, CORNERS)), dtype=np.uint32), operands(3000, 2, 1)])


def same(results: list[int], expected: np.ndarray) -> None:
    """Bit for bit, any NaN of the hardware standing for the canonical one."""
    wanted = np.where(np.isnan(expected), np.uint32(NAN), expected.view(np.uint32))
    wrong = np.flatnonzero(np.array(results, dtype=np.uint32) != wanted)
    assert wrong.size == 0, [(int(i), hex(results[i]), hex(int(wanted[i]))) for i in wrong[:5]]


@pytest.mark.parametrize("mode", HARDWARE_MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_two_operands(name: str, mode: Rounding) -> None:
    numpy_name = {"add": "add", "sub": "subtract", "mul": "multiply", "div": "divide"}[name]
    floats = PAIRS.view(np.float32)
    with np.errstate(all="ignore"), hardware_rounding(mode):
        expected = getattr(np, numpy_name)(floats[:, 0], floats[:, 1])
    same([getattr(binary32, name)(a, b, mode) for a, b in PAIRS.tolist()], expected)


@pytest.mark.parametrize("mode", HARDWARE_MODES, ids=lambda mode: mode.name)
def test_sqrt(mode: Rounding) -> None:
    a = np.concatenate([np.array(CORNERS, dtype=np.uint32), operands(3000, 1, 2)[:, 0] & np.uint32(SIGN - 1)])
    with np.errstate(all="ignore"), hardware_rounding(mode):
        expected = np.sqrt(a.view(np.float32))
    same([binary32.sqrt(x, mode) for x in a.tolist()], expected)


@pytest.mark.parametrize("mode", HARDWARE_MODES, ids=lambda mode: mode.name)
def test_fma(mode: Rounding) -> None:
    rng = np.random.default_rng(3)
    triples = np.concatenate([rng.choice(np.array(CORNERS, dtype=np.uint32), (3000, 3)), operands(3000, 3, 4)])
    products = triples[3000:].view(np.float32)
    with np.errstate(all="ignore"):
        products[::2, 2] = -(products[::2, 0] * products[::2, 1])  # the product's rounding error is what is left
    libm.fmaf.restype, libm.fmaf.argtypes = ctypes.c_float, [ctypes.c_float] * 3
    rows = [tuple(map(float, row)) for row in triples.view(np.float32)]
    with hardware_rounding(mode):
        expected = [libm.fmaf(*row) for row in rows]
    same([binary32.fma(a, b, c, mode) for a, b, c in triples.tolist()], np.array(expected, dtype=np.float32))


def test_comparisons_and_order() -> None:
    floats = PAIRS.view(np.float32)
    with np.errstate(all="ignore"):
        for function, expected in (
            (binary32.eq, floats[:, 0] == floats[:, 1]),
            (binary32.lt, floats[:, 0] < floats[:, 1]),
            (binary32.le, floats[:, 0] <= floats[:, 1]),
        ):
            assert [function(a, b) for a, b in PAIRS.tolist()] == expected.tolist()


def test_minimum_and_maximum_prefer_numbers_and_order_the_zeros() -> None:
    floats = PAIRS.view(np.float32)
    both_zero = (floats[:, 0] == 0) & (floats[:, 1] == 0)
    with np.errstate(all="ignore"):
        least = np.where(both_zero, (PAIRS[:, 0] | PAIRS[:, 1]).view(np.float32), np.fmin(floats[:, 0], floats[:, 1]))
        most = np.where(both_zero, (PAIRS[:, 0] & PAIRS[:, 1]).view(np.float32), np.fmax(floats[:, 0], floats[:, 1]))
    same([binary32.minimum(a, b) for a, b in PAIRS.tolist()], least)
    same([binary32.maximum(a, b) for a, b in PAIRS.tolist()], most)


@pytest.mark.parametrize("mode", HARDWARE_MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("kind", [np.int32, np.uint32, np.int64, np.uint64], ids=lambda kind: kind.__name__)
def test_from_integers(kind: type[np.integer], mode: Rounding) -> None:
    info = np.iinfo(kind)
    rng = np.random.default_rng(5)
    random = rng.integers(info.min, info.max, 2000, dtype=kind, endpoint=True) >> rng.integers(0, info.bits - 1, 2000).astype(kind)
    values = np.concatenate([np.array([info.min, info.max, 0, 1, (1 << 24) + 1, (1 << 25) - 1], dtype=kind), random])
    with hardware_rounding(mode):
        expected = values.astype(np.float32)
    same([binary32.from_fixed(v, mode=mode) for v in values.tolist()], expected)


def test_to_integers_clamps_as_risc_v_does() -> None:
    """The table "Domains of float-to-integer conversions" of the manual, chapter "F"; elsewhere numpy's truncation."""
    i32, u32 = (-(1 << 31), (1 << 31) - 1), (0, (1 << 32) - 1)
    to = binary32.to_fixed
    assert [to(a, *i32) for a in (NAN, INFINITY, INFINITY | SIGN, 0x4F000000, 0xCF000000, 0xCF000001)] == [
        i32[1],
        i32[1],
        i32[0],
        i32[1],
        i32[0],
        i32[0],
    ]
    assert [to(a, *u32) for a in (NAN, INFINITY, INFINITY | SIGN, 0xBF800000, 0x4F800000)] == [u32[1], u32[1], 0, 0, u32[1]]
    finite = [a for a in CORNERS + operands(3000, 1, 6)[:, 0].tolist() if abs(float(np.uint32(a).view(np.float32))) < 2**31]
    assert [to(a, *i32, mode=Rounding.RTZ) for a in finite] == [int(np.uint32(a).view(np.float32)) for a in finite]
    assert [to(a, *i32) for a in finite] == [int(np.rint(np.uint32(a).view(np.float32))) for a in finite]


def number(a: int) -> Fraction:
    return Fraction(binary32.interpret(a), 1 << 149)


def exponent(a: int) -> int:
    return max((a >> 23) & 0xFF, 1) - 127


any_float = st.one_of(st.sampled_from(CORNERS), st.integers(0, (1 << 32) - 1))
finite_float = any_float.filter(lambda a: not binary32.is_nan(a) and not binary32.is_infinite(a))


@given(finite_float, finite_float, st.sampled_from(Rounding))
def test_a_rounded_sum_is_next_to_the_exact_one(a: int, b: int, mode: Rounding) -> None:
    """Each direction by its definition, with the two neighbours of the exact sum: the only witness for ties away from zero."""
    exact = number(a) + number(b)
    down, up = binary32.add(a, b, Rounding.RDN), binary32.add(a, b, Rounding.RUP)
    result = binary32.add(a, b, mode)
    assert result in (down, up)
    if binary32.is_infinite(down) or binary32.is_infinite(up):
        return
    low, high = number(down), number(up)
    assert low <= exact <= high
    assert low == high or binary32.order(up) == binary32.order(down) + 1, "neighbours"
    if mode in (Rounding.RNE, Rounding.RMM):
        assert abs(number(result) - exact) == min(exact - low, high - exact)
    if low != high and exact - low == high - exact and mode is Rounding.RMM:
        assert abs(number(result)) == max(abs(low), abs(high))


@given(st.integers(-(1 << 70), 1 << 70), st.integers(0, 160), st.sampled_from(Rounding))
def test_fixed_point_goes_there_and_back(value: int, fraction_bits: int, mode: Rounding) -> None:
    a = binary32.from_fixed(value, fraction_bits, mode)
    if not binary32.is_infinite(a):
        back = binary32.to_fixed(a, -(1 << 80), 1 << 80, fraction_bits, mode)
        exact_again = binary32.from_fixed(back, fraction_bits, mode) == a
        ulp = Fraction(2) ** (exponent(a) - 23)
        assert exact_again or ulp * Fraction(2) ** fraction_bits < 2, "it comes back unless the float's grid is the finer one"
        assert abs(back - value) <= ulp * Fraction(2) ** fraction_bits + 1


def test_overflow_goes_where_the_direction_points() -> None:
    double: Callable[[int, Rounding], int] = lambda a, mode: binary32.add(a, a, mode)  # noqa: E731
    positive = {mode.name: double(LARGEST, mode) for mode in Rounding}
    negative = {mode.name: double(LARGEST | SIGN, mode) for mode in Rounding}
    assert positive == {"RNE": INFINITY, "RTZ": LARGEST, "RDN": LARGEST, "RUP": INFINITY, "RMM": INFINITY}
    assert negative == {name: SIGN | a for name, a in {**positive, "RDN": INFINITY, "RUP": LARGEST}.items()}


@given(any_float, any_float, any_float)
def test_every_nan_is_the_canonical_one(a: int, b: int, c: int) -> None:
    for result in (
        binary32.fma(a, b, c), binary32.add(a, b), binary32.sub(a, b), binary32.mul(a, b), binary32.div(a, b), binary32.sqrt(a),
        binary32.minimum(a, b), binary32.maximum(a, b),
    ):  # fmt: skip
        assert not binary32.is_nan(result) or result == NAN
