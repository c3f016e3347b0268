"""Which token the logits give: the likeliest, or one drawn by splitmix64.

*Source*: spec §3.5 (SAMPLE).
"""

import jax.numpy as jnp
from jax import Array

from opml_min.model.xla.arithmetic import exp2, i64, product_high, round_shift, u64

LOG2_E_Q32 = 6196328018


def greedy(logits: Array) -> Array:
    """Return the lowest index of the largest logit."""
    return i64(jnp.argmax(logits))


def drawn(logits: Array, temperature: Array, seed: Array, position: Array) -> Array:
    """Return the first index at which the sum of weights exceeds the random share of all. temperature: Q16, not 0; seed: u64"""
    c = LOG2_E_Q32 // temperature
    distances = round_shift((jnp.max(logits) - logits) * c, jnp.int64(12))
    sums = jnp.cumsum(exp2(-jnp.minimum(distances, (1 << 31) - 1)))
    share = i64(product_high(random(seed, position), u64(sums[-1])))
    return i64(jnp.argmax(sums > share))


def random(seed: Array, position: Array) -> Array:
    """Return the random u64 of a position."""
    z = seed + u64(position + 1) * jnp.uint64(0x9E3779B97F4A7C15)
    z = (z ^ z >> 30) * jnp.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> 27) * jnp.uint64(0x94D049BB133111EB)
    mixed: Array = z ^ z >> 31
    return mixed
