"""Attention over the KV cache, some positions at a time: first the largest score and the smallest exponent, then the weighted sums.

*Source*: spec §3.5 (CACHE, ATTENTION).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from opml_min.model.xla.arithmetic import bits, exp2, i64, normalise, reciprocal, round_shift, round_shift_sat32

AT_ONCE = 128  # positions
QUERY_BITS = 13
LEAST_SCORE = -(1 << 31)
FRACTION = 14  # of q, k and v


class Cache(NamedTuple):
    """What one layer keeps: numbers (kv_heads, positions, head_size) and exponents (kv_heads, positions), for keys and values."""

    keys: Array
    key_exponents: Array
    values: Array
    value_exponents: Array


def cached(vector: Array) -> tuple[Array, Array]:
    """Return what the cache keeps of keys or values (kv_heads, head_size): an exponent per head, and the numbers."""
    return jax.vmap(lambda head: normalise(head, jnp.int64(FRACTION)))(vector)


def attention(
    q: Array, cache: Callable[[Array, int], Cache], kv_heads: int, context: int, position: Array, scale_q30: Array
) -> tuple[Array, Array]:
    """Return the activation of all heads. q: (heads, head_size); cache: gives so many positions from a first one on"""
    heads, head_size = q.shape
    share, at_once = heads // kv_heads, min(AT_ONCE, context)
    exponents, queries = jax.vmap(lambda head: normalise(head, jnp.int64(FRACTION), QUERY_BITS))(q)
    queries, exponents = queries.reshape(kv_heads, share, 1, head_size), exponents.reshape(kv_heads, share, 1)
    chunks = position // at_once + 1

    def chunk(number: Array) -> tuple[Cache, Array, Array]:
        """Return part of the cache, its first position, and which of its positions count. The last part may begin within the one before."""
        first = jnp.minimum(number * at_once, context - at_once)
        at = first + jnp.arange(at_once)
        return cache(first, at_once), first, (at >= number * at_once) & (at <= position)

    def score(number: Array, found: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        scores, largest, smallest = found
        part, first, counts = chunk(number)
        dots = jnp.sum(queries * i64(part.keys)[:, None], axis=3)
        here = round_shift_sat32(dots * scale_q30, exponents + i64(part.key_exponents)[:, None] + 14)
        scores = lax.dynamic_update_slice_in_dim(scores, here, first, axis=2)
        largest = jnp.maximum(largest, jnp.max(jnp.where(counts, here, LEAST_SCORE), axis=2))
        smallest = jnp.minimum(smallest, jnp.min(jnp.where(counts, i64(part.value_exponents), 127), axis=1))
        return scores, largest, smallest

    def weigh(number: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
        total, sums = found
        part, first, counts = chunk(number)
        here = lax.dynamic_slice_in_dim(scores, first, at_once, axis=2)
        weights = jnp.where(counts, exp2(here - largest[:, :, None]), 0)
        shifts = (i64(part.value_exponents) - smallest[:, None])[:, None]
        shifted = round_shift(weights, jnp.maximum(shifts, 0))
        return total + jnp.sum(weights, axis=2), sums + jnp.sum(shifted[..., None] * i64(part.values)[:, None], axis=2)

    at_first = (
        jnp.zeros((kv_heads, share, context), jnp.int64),
        jnp.full((kv_heads, share), LEAST_SCORE, jnp.int64),
        jnp.full(kv_heads, 127, jnp.int64),
    )
    scores, largest, smallest = lax.fori_loop(0, chunks, score, at_first)
    nothing = jnp.zeros((kv_heads, share), jnp.int64), jnp.zeros((kv_heads, share, head_size), jnp.int64)
    total, sums = lax.fori_loop(0, chunks, weigh, nothing)
    c = jnp.maximum(jnp.max(bits(sums), axis=2) - 31, 0)
    out = round_shift(sums, c[..., None]) * reciprocal(total)[..., None]
    fractions = smallest[:, None] + bits(total) + 30 - c
    return normalise(out.reshape(heads, head_size), fractions.reshape(heads, 1))
