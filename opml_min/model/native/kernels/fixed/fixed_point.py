"""The integer arithmetic of all ops: one rounding, normalisation, and the elementary functions. Every intermediate fits int64.

*Source*: spec §1.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

INT32_MAX = (1 << 31) - 1
INT32_MIN = -(1 << 31)
ZERO_EXPONENT = 127  # for an activation or a cached vector that is all zero
VECTOR_FRACTION_BITS = 14  # of q, k and v
QUERY_BITS = 13  # of a normalised query's elements, without sign
EXP2_Q30 = (234018, 1333042, 10395076, 59573866, 257944889, 744260928, 1073741824)  # Horner, highest first
_EXP2_Q62 = tuple(np.uint64((c << 32) + (1 << 31)) for c in EXP2_Q30[1:])  # with the half that rounds
ONE_Q30 = 1 << 30


@intrinsic
def _leading_zeros(typing: Any, value: Any) -> Any:
    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), code


@intrinsic
def _multiply_high(typing: Any, a: Any, b: Any) -> Any:
    """Return the upper half of the product of two u64."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), code


@njit
def bits(v):
    """Return the bit length of |v|, |v| < 2^63."""
    return 64 - _leading_zeros(abs(np.int64(v)))


@njit
def sat32(v):
    return min(max(v, INT32_MIN), INT32_MAX)


@njit
def round_shift(v, s):
    """Return floor(v / 2^s + 1/2). For s < 0 the caller ensures that v·2^-s fits."""
    if s > 63:
        return np.int64(0)
    if s > 0:
        return (v >> s) + ((v >> (s - 1)) & 1)
    return v << -s


@njit
def round_shift_sat32(v, s):
    """Return sat32(round_shift(v, s)) for every s."""
    if s >= 0:
        return sat32(round_shift(v, s))
    return sat32(sat32(v) << min(-s, 31))  # 31 places take every v ≠ 0 to the bounds


@njit
def largest_bits(values):
    """Return max bits(values_i), |values_i| < 2^63."""
    union = np.int64(0)
    for value in values:
        union |= abs(np.int64(value))
    return bits(union)


@njit
def quantise(values, shift, limit, out):
    """Write out_i = clamp(round_shift(values_i, shift), ±limit). The shift must keep every value within int64."""
    if shift > 63:
        out[:] = 0
    elif shift > 0:
        for i in range(len(values)):
            v = np.int64(values[i])
            out[i] = min(max((v >> shift) + ((v >> (shift - 1)) & 1), -limit), limit)
    else:
        for i in range(len(values)):
            out[i] = min(max(np.int64(values[i]) << -shift, -limit), limit)


@njit
def normalise(values, fraction_bits, width, out):
    """Write out_i, |out_i| < 2^width, and return the exponent e: values_i·2^-fraction_bits ≈ out_i·2^-e."""
    return normalise_sized(values, largest_bits(values), fraction_bits, width, out)


@njit
def normalise_sized(values, size, fraction_bits, width, out):
    """Normalise values whose largest bit length is already known. size: max bits(values_i)"""
    if size == 0:
        out[:] = 0
        return np.int64(ZERO_EXPONENT)
    quantise(values, size - width, (1 << width) - 1, out)
    return np.int64(fraction_bits + width - size)


@njit
def _is_at_most_rsqrt(root, v):
    """Tell whether root²·v ≤ 2^124, for u64."""
    square = root * root
    high = _multiply_high(square, v)
    return high < np.uint64(1 << 60) or (high == np.uint64(1 << 60) and square * v == np.uint64(0))


@njit
def rsqrt(v):
    """Return floor(2^62 / √v) for 2^62 ≤ v < 2^64, v a uint64: the largest R with R²·v ≤ 2^124.

    A float guess is off by at most 1, because its relative error is below 2^-50 and R ≤ 2^31; integers decide."""
    root = np.uint64(np.float64(1 << 62) / math.sqrt(np.float64(v)))
    if not _is_at_most_rsqrt(root, v):
        root -= np.uint64(1)
    elif _is_at_most_rsqrt(root + np.uint64(1), v):
        root += np.uint64(1)
    return np.int64(root)


@njit
def reciprocal(v):
    """Return floor(2^(b + 30) / v), b = bits(v), for 1 ≤ v < 2^62, by long division where the processor's is too short."""
    size = bits(v)
    if size <= 33:  # almost always
        return np.int64((np.uint64(1) << np.uint64(size + 30)) // np.uint64(v))
    remainder = np.int64(1) << (size - 1)
    quotient = np.int64(0)
    for _ in range(32):
        quotient <<= 1
        if remainder >= v:
            remainder -= v
            quotient |= 1
        remainder <<= 1
    return quotient


@njit
def exp2(z):
    """Return 2^z in Q24 for z ≤ 0 in Q16.

    f is in Q32, because LLVM sees that what is shifted by 32 fits 32 bits: two such numbers are multiplied fastest."""
    i = max(z >> 16, -57)  # below −32 the result is 0, which a shift by at most 63 places gives without a branch
    f = np.uint64((z & 0xFFFF) << 16)
    p = np.uint64(EXP2_Q30[0])
    for c in _EXP2_Q62:
        p = (p * f + c) >> np.uint64(32)
    return np.int64(((p >> np.uint64(5 - i)) + np.uint64(1)) >> np.uint64(1))


@njit
def sigmoid(g, table):
    """Return σ(g) in Q30 for g in Q14. table: i32 (4097), σ(k/256) in Q30"""
    a = abs(np.int64(g))
    if a >= 1 << 18:
        s = np.int64(ONE_Q30)
    else:
        k = a >> 6
        low = np.int64(table[k])
        s = low + ((((np.int64(table[k + 1]) - low) * (a & 63)) + 32) >> 6)
    return s if g >= 0 else ONE_Q30 - s


@njit
def splitmix64(seed, position):
    """Return the random u64 of a position."""
    z = seed + (np.uint64(position) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit
def scaled(random, total):
    """Return (random·total) >> 64, a number below total."""
    return np.int64(_multiply_high(random, np.uint64(total)))


def sigmoid_table() -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Return σ(k/256) in Q30 for k = 0 … 4096, each the nearest integer (a test checks them with 50 digits)."""
    return np.rint((1 << 30) / (1 + np.exp(-np.arange(4097) / 256))).astype(np.int32)
