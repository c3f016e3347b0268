"""The carried memory on the device, as one array of 32-bit words: how ops read their buffers there.

Every buffer begins at a word. Numbers that are shorter than a word are taken out of words, so buffers may overlap in any way, as they may
in the machine's memory.

*Source*: spec §3.4.
"""

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from opml_min.model.xla.arithmetic import i64

HEAD_WORDS = 8  # of an activation: its exponent, and room
GROUP = 32


def vector(words: Array, at: Array, length: int) -> Array:
    """Return i32 numbers as i64."""
    return i64(lax.dynamic_slice(words, (at,), (length,)))


def short(words: Array, at: Array, count: int, dtype: DTypeLike) -> Array:
    """Return so many i16 or i8."""
    per_word = 4 // jnp.dtype(dtype).itemsize
    return lax.bitcast_convert_type(lax.dynamic_slice(words, (at,), (-(-count // per_word),)), dtype).reshape(-1)[:count]


def activation(words: Array, at: Array, columns: int) -> tuple[Array, Array]:
    """Return an exponent, and the numbers as i32 (groups, 32)."""
    numbers = short(words, at + HEAD_WORDS, columns, jnp.int16).astype(jnp.int32)
    return vector(words, at, 1)[0], numbers.reshape(-1, GROUP)
