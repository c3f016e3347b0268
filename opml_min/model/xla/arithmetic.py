"""Fixed point on arrays of i64, whose results are those in ℤ: where the page's numbers are longer, each function says how it avoids that.

*Source*: spec §1.1 and §1.2.
"""

import jax.numpy as jnp
from jax import Array, lax

LEAST_32, MOST_32 = -(1 << 31), (1 << 31) - 1
ACTIVATION_BITS = 15
ALL_ZERO = 127  # the exponent of an activation without any number but 0
NO_EXPONENT = 1 << 40  # larger than any
EXP2 = (234018, 1333042, 10395076, 59573866, 257944889, 744260928, 1073741824)  # Q30, highest power first


def i64(x: Array) -> Array:
    return x.astype(jnp.int64)


def u64(x: Array) -> Array:
    return x.astype(jnp.uint64)


def bits(v: Array) -> Array:
    """Return the bit length of |v|."""
    return 64 - i64(lax.clz(jnp.abs(v)))


def sat32(v: Array) -> Array:
    return jnp.clip(v, LEAST_32, MOST_32)


def _shift_down(v: Array, s: Array) -> Array:
    """Return v · 2^-s rounded half up, for s > 0.

    Adding half is adding bit s − 1, so no sum overflows. From bit 63 on, all bits are the sign."""
    return (v >> jnp.clip(s, 0, 63)) + ((v >> jnp.clip(s - 1, 0, 63)) & 1)


def round_shift(v: Array, s: Array) -> Array:
    """Return round_shift(v, s), which must fit 64 bits."""
    return jnp.where(s > 0, _shift_down(v, s), v << jnp.clip(-s, 0, 63))


def round_shift_sat32(v: Array, s: Array) -> Array:
    """Return sat32(round_shift(v, s)) for any s.

    A number that is multiplied may saturate before as well, and 32 places make all numbers but 0 saturate."""
    return sat32(jnp.where(s > 0, _shift_down(v, s), sat32(v) << jnp.clip(-s, 0, 32)))


def normalise(v: Array, fraction: Array, width: int = ACTIVATION_BITS) -> tuple[Array, Array]:
    """Return the exponent of the whole array, and its integers of so many bits. fraction: one, or of the shape of v"""
    grids = jnp.where(v == 0, NO_EXPONENT, fraction + width - bits(v))
    exponent = jnp.min(grids)
    most = (1 << width) - 1
    numbers = jnp.clip(round_shift(v, fraction - exponent), -most, most)
    return jnp.where(exponent == NO_EXPONENT, ALL_ZERO, exponent), numbers


def product_high(a: Array, b: Array) -> Array:
    """Return the upper 64 bits of a product of two u64."""
    low = jnp.uint64(0xFFFFFFFF)
    a0, a1, b0, b1 = a & low, a >> 32, b & low, b >> 32
    middle = a1 * b0 + (a0 * b0 >> 32)
    high: Array = a1 * b1 + (middle >> 32) + ((middle & low) + a0 * b1 >> 32)
    return high


def rsqrt(v: Array) -> Array:
    """Return floor(2^62 / √v) of one u64 from 2^62 on: the largest R with R²·v ≤ 2^124, found byte by byte among 256 candidates at once."""
    root = jnp.uint64(0)
    for place in (24, 16, 8, 0):
        candidates = root + (jnp.arange(256, dtype=jnp.uint64) << place)
        high, low = product_high(candidates * candidates, v), candidates * candidates * v
        fits = (high < 1 << 60) | ((high == 1 << 60) & (low == 0))
        root = jnp.max(jnp.where(fits, candidates, 0))
    return i64(root)


def reciprocal(v: Array) -> Array:
    """Return floor(2^(bits(v) + 30) / v) for 1 ≤ v ≤ 2^47, as a long division of two digits."""
    second = jnp.maximum(bits(v) - 32, 0)
    first = jnp.left_shift(jnp.int64(1), bits(v) + 30 - second)
    quotient: Array = (first // v << second) + (first % v << second) // v
    return quotient


def exp2(z: Array) -> Array:
    """Return 2^z in Q24 for z ≤ 0 in Q16."""
    f, p = (z & 0xFFFF) << 14, jnp.zeros_like(z)
    for coefficient in EXP2:
        p = _shift_down(p * f, jnp.int64(30)) + coefficient
    return _shift_down(p, 6 - (z >> 16))


def sigmoid(g: Array, table: Array) -> Array:
    """Return the sigmoid in Q30 of g in Q14. table: its values at k/256 for k = 0 … 4096"""
    size = jnp.abs(g)
    k = jnp.minimum(size >> 6, 4095)
    at, after = i64(table)[k], i64(table)[k + 1]
    positive = jnp.where(size >= 1 << 18, 1 << 30, at + _shift_down((after - at) * (size & 63), jnp.int64(6)))
    return jnp.where(g >= 0, positive, (1 << 30) - positive)
