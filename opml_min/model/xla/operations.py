"""What each op computes, as a function of arrays: numbers are i64 inside, and the sums may run in any order, since they are exact.

Attention and the choice of a token have files of their own.

*Source*: spec §3.5, and the bounds of spec §3.8 under which 64 bits suffice.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from opml_min.model.xla.arithmetic import bits, i64, normalise, round_shift, round_shift_sat32, rsqrt, sat32, sigmoid, u64


class UnpackedMatrix(NamedTuple):
    """Weights with a leading axis for rows: i8 (…, groups, 32), and scales and perhaps minimums in units of 2^-24, i32 (…, groups)."""

    weights: Array
    scales: Array
    minimums: Array | None


def embed(row: UnpackedMatrix, length: int, r: Array) -> Array:
    """Return the numbers of one row of a matrix, with r fraction bits."""
    values = i64(row.weights) * i64(row.scales)[:, None]
    if row.minimums is not None:
        values += i64(row.minimums)[:, None]
    return round_shift_sat32(values.reshape(-1)[:length], 24 - r)


def norm(x: Array, weights: Array, r: Array, eps_q48: Array) -> tuple[Array, Array]:
    """Return the activation of a row divided by its root mean square, times the weights."""
    b = jnp.max(bits(x))
    shrunk = u64(jnp.abs(round_shift(x, b - 24)))
    fraction = r - (b - 24)
    mean = jnp.sum(shrunk * shrunk) // len(x) + u64(round_shift(eps_q48, 48 - 2 * fraction))
    t = (64 - bits(mean)) // 2 * 2
    root = rsqrt(mean << u64(t))
    product = x * weights
    z, c = _in_31_bits(product)
    return normalise(z * root, r + 24 - c + 62 - fraction - t // 2)


def matmul(matrix: UnpackedMatrix, exponent: Array, x: Array, out_frac: Array) -> Array:
    """Return a matrix times an activation (groups, 32). Only the dot products of groups fit 32 bits."""
    dots = jnp.sum(matrix.weights.astype(jnp.int32) * x, axis=2, dtype=jnp.int32)
    total = jnp.sum(i64(dots) * i64(matrix.scales), axis=1)
    if matrix.minimums is not None:
        total += jnp.sum(i64(matrix.minimums) * i64(jnp.sum(x, axis=1, dtype=jnp.int32)), axis=1)
    return round_shift_sat32(total, exponent + 24 - out_frac)


def rope(pairs: Array, angles: Array) -> Array:
    """Return pairs (heads, pairs, 2) turned by angles (pairs, 2), of which each is a cosine and a sine."""
    a, b, cos, sin = pairs[..., 0], pairs[..., 1], angles[:, 0], angles[:, 1]
    turned = jnp.stack([a * cos - b * sin, a * sin + b * cos], axis=-1)
    return sat32(round_shift(turned, jnp.int64(30)))


def swiglu(gate: Array, up: Array, table: Array) -> tuple[Array, Array]:
    """Return the activation of gate · sigmoid(gate) · up."""
    z, c = _in_31_bits(gate * sigmoid(gate, table))
    return normalise(z * up, 58 - c)


def add(x: Array, y: Array) -> Array:
    return sat32(x + y)


def relu(x: Array, frac: Array) -> tuple[Array, Array]:
    """Return the activation of the numbers that are not negative, 0 for the others."""
    return normalise(jnp.maximum(x, 0), frac)


def _in_31_bits(product: Array) -> tuple[Array, Array]:
    """Shift a row down so that none has more than 31 bits before rounding, and say by how much."""
    c = jnp.maximum(jnp.max(bits(product)) - 31, 0)
    return round_shift(product, c), c
