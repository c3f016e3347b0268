"""The functions of float arithmetic: exp, sigmoid, and the canonical NaN.

*Source*: spec/README.md §7. The polynomial is for e^r, |r| ≤ ln 2 / 2; the two halves of ln 2 let `n ⊗ 0x3f318000` be exact.
"""

import numpy as np
from numba import njit


def _float(bits: int) -> np.float32:
    return np.uint32(bits).view(np.float32)


NAN = _float(0x7FC00000)
INFINITY = np.float32(np.inf)
ZERO, ONE = np.float32(0), np.float32(1)
LARGEST_EXPONENT, SMALLEST_EXPONENT = _float(0x42B17218), _float(0xC2CFF1B5)  # the bounds of x for a finite and for a positive e^x
LOG2_E = _float(0x3FB8AA3B)
ROUNDER = _float(0x4B400000)  # 12582912 (= 1.5·2^23): adding it leaves no fraction bits
LN2_HIGH, LN2_LOW = _float(0x3F318000), _float(0xB95E8083)
C5, C4, C3, C2, C1 = (_float(bits) for bits in (0x3AB6DA15, 0x3C091DAB, 0x3D2AAA2F, 0x3E2AAA47, 0x3F000000))  # highest first


@njit
def canonical(v):
    """Return v, or the canonical NaN if v is any NaN. The test is on the pattern, because a compiler may optimise float comparisons."""
    return NAN if (np.float32(v).view(np.int32) & 0x7FFFFFFF) > 0x7F800000 else v


@njit
def power_of_two(n):
    """Return 2^n for −126 ≤ n ≤ 127."""
    return np.int32((n + 127) << 23).view(np.float32)


@njit
def exp(x):
    """Return e^x; a NaN result may have any pattern."""
    if not x <= LARGEST_EXPONENT:
        return INFINITY if x > LARGEST_EXPONENT else x
    if x < SMALLEST_EXPONENT:
        return ZERO
    n = ((x * LOG2_E) + ROUNDER) - ROUNDER
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    p = C5 * r + C4
    p = p * r + C3
    p = p * r + C2
    p = p * r + C1
    p = ((p * r) * r + r) + ONE
    m = np.int32(n)
    half = m >> 1
    return (p * power_of_two(half)) * power_of_two(m - half)


@njit
def sigmoid(x):
    return ONE / (ONE + exp(-x))
