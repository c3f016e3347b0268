"""What a stage writes: runs of words, each with its place. The stage computes them, and the loop around it puts them.

Were the words themselves a result of the stage, which is one branch of many, XLA would copy all of them in every stage. So each branch
returns its runs in pieces of one length, in an array of one size, and a loop puts as many pieces as there are.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from opml_min.model.xla.words import HEAD_WORDS, short

PIECE_WORDS = 256


class Put(NamedTuple):
    """Words for a place."""

    at: Array
    words: Array


class PutPieces(NamedTuple):
    """Puts in pieces: how many are used, and of each its place, how many words count, and the words (pieces, PIECE_WORDS)."""

    used: Array
    at: Array
    lengths: Array
    words: Array


def put_vector(at: Array, numbers: Array) -> Put:
    """Put i32."""
    return Put(at, numbers.astype(jnp.int32))


def put_short(before: Array, at: Array, numbers: Array) -> Put:
    """Put i16 or i8, and leave the rest of the last word as it was in the words before."""
    per_word = 4 // numbers.dtype.itemsize
    whole = -(-len(numbers) // per_word) * per_word
    if whole > len(numbers):
        numbers = jnp.concatenate([numbers, short(before, at, whole, numbers.dtype)[len(numbers) :]])
    return Put(at, lax.bitcast_convert_type(numbers.reshape(-1, per_word), jnp.int32))


def put_activation(before: Array, at: Array, exponent: Array, numbers: Array) -> tuple[Put, Put]:
    return put_vector(at, exponent.reshape(1)), put_short(before, at + HEAD_WORDS, numbers.reshape(-1).astype(jnp.int16))


def piece_count(puts: tuple[Put, ...]) -> int:
    return sum(-(-len(put.words) // PIECE_WORDS) for put in puts)


def in_pieces(puts: tuple[Put, ...], room: int) -> PutPieces:
    """Cut puts into pieces, in arrays with room for so many."""
    count, places, lengths, words = piece_count(puts), [], [], []
    for put in puts:
        for start in range(0, len(put.words), PIECE_WORDS):
            places.append(put.at + start)
            lengths.append(min(PIECE_WORDS, len(put.words) - start))
        words.append(jnp.pad(put.words, (0, -len(put.words) % PIECE_WORDS)))
    whole = jnp.concatenate([*words, jnp.zeros((room - count) * PIECE_WORDS, jnp.int32)])
    at = jnp.stack([*places, *[jnp.int64(0)] * (room - count)])
    return PutPieces(jnp.int64(count), at, jnp.array(lengths + [0] * (room - count)), whole.reshape(room, PIECE_WORDS))


def put_all(words: Array, pieces: PutPieces) -> Array:
    """Return the words with all pieces in place. After the last word of any put there must be room for a piece."""

    def put(number: Array, words: Array) -> Array:
        at = pieces.at[number]
        before = lax.dynamic_slice(words, (at,), (PIECE_WORDS,))
        counts = jnp.arange(PIECE_WORDS) < pieces.lengths[number]
        return lax.dynamic_update_slice(words, jnp.where(counts, pieces.words[number], before), (at,))

    done: Array = lax.fori_loop(0, pieces.used, put, words)
    return done
