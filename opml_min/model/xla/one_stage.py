"""One stage: an op takes its operands out of the carried words, and returns what to put there.

*Source*: spec §3.3 and §3.5.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from opml_min.model.image.header import TEXT
from opml_min.model.image.ops import Opcode
from opml_min.model.xla import operations
from opml_min.model.xla.arithmetic import i64, u64
from opml_min.model.xla.attention import Cache, attention, cached
from opml_min.model.xla.puts import Put, put_activation, put_short, put_vector
from opml_min.model.xla.sample import drawn, greedy
from opml_min.model.xla.shapes import SIZES, OpShape
from opml_min.model.xla.words import activation, short, vector

PROMPT = 6  # words of a text request before its tokens


class Fixed(NamedTuple):
    """What all stages of a run read: where request and output lie, the stop tokens, and the table of the sigmoid."""

    request: Array
    output: Array
    stop_tokens: Array
    sigmoid_table: Array


Operands = dict[str, Array]
Compute = Callable[[Array, Array, Operands], tuple[Put, ...]]  # of words, a position and operands


def prompt_length(kind: int, fixed: Fixed, words: Array) -> Array:
    return vector(words, fixed.request, 1)[0] if kind == TEXT else jnp.int64(1)


def stage_of(shape: OpShape, kind: int, fixed: Fixed, stack: operations.UnpackedMatrix | Array | tuple[()]) -> Compute:
    """Return the function that computes a stage of this shape."""
    size = dict(zip(SIZES[shape.opcode], shape.sizes, strict=True))

    def tensor(o: Operands) -> Array:
        return i64(jnp.asarray(stack)[o["tensor"]])

    def matrix(o: Operands) -> operations.UnpackedMatrix:
        return jax.tree.map(lambda part: part[o["tensor"]], stack)  # type: ignore[no-any-return]

    def embed(words: Array, position: Array, o: Operands) -> tuple[Put, ...]:
        row = jax.tree.map(lambda part: part[o["tensor"], _token(fixed, words, position)], stack)
        return (put_vector(o["out"], operations.embed(row, size["length"], o["r"])),)

    def norm(words: Array, position: Array, o: Operands) -> tuple[Put, ...]:
        x = vector(words, o["x"], size["length"])
        return put_activation(words, o["out"], *operations.norm(x, tensor(o), o["r"], o["eps_q48"]))

    def matmul(words: Array, position: Array, o: Operands) -> tuple[Put, ...]:
        return (put_vector(o["out"], operations.matmul(matrix(o), *activation(words, o["x"], size["columns"]), o["out_frac"])),)

    def rope(words: Array, position: Array, o: Operands) -> tuple[Put, ...]:
        pairs = vector(words, o["vector"], size["heads"] * size["head_size"]).reshape(size["heads"], -1, 2)
        angles = i64(jnp.asarray(stack)[o["tensor"], position])
        return (put_vector(o["vector"], operations.rope(pairs, angles).reshape(-1)),)

    def cache(words: Array, position: Array, o: Operands) -> tuple[Put, ...]:
        heads, head_size, context = (size[name] for name in SIZES[Opcode.CACHE])
        puts: list[Put] = []
        for name, numbers_at, exponents_at in (("k", "keys", "key_exps"), ("v", "values", "value_exps")):
            exponents, numbers = cached(vector(words, o[name], heads * head_size).reshape(heads, head_size))
            rows = jnp.arange(heads) * context + position
            puts += [put_vector(o[numbers_at] + row * head_size // 2, pairs) for row, pairs in zip(rows, _as_words(numbers), strict=True)]
            whole = short(words, o[exponents_at], heads * context, jnp.int8).at[rows].set(exponents.astype(jnp.int8))
            puts.append(put_short(words, o[exponents_at], whole))
        return tuple(puts)

    def attend(words: Array, position: Array, o: Operands) -> tuple[Put, ...]:
        heads, kv_heads, head_size, context = (size[name] for name in SIZES[Opcode.ATTENTION])

        def part(first: Array, count: int) -> Cache:
            def numbers(name: str) -> Array:
                whole = short(words, o[name], kv_heads * context * head_size, jnp.int16)
                return lax.dynamic_slice_in_dim(whole.reshape(kv_heads, context, head_size), first, count, axis=1)

            def exponents(name: str) -> Array:
                whole = short(words, o[name], kv_heads * context, jnp.int8)
                return lax.dynamic_slice_in_dim(whole.reshape(kv_heads, context), first, count, axis=1)

            return Cache(numbers("keys"), exponents("key_exps"), numbers("values"), exponents("value_exps"))

        q = vector(words, o["q"], heads * head_size).reshape(heads, head_size)
        return put_activation(words, o["out"], *attention(q, part, kv_heads, context, position, o["scale_q30"]))

    def swiglu(words: Array, position: Array, o: Operands) -> tuple[Put, ...]:
        gate, up = (vector(words, o[name], size["length"]) for name in ("gate", "up"))
        return put_activation(words, o["out"], *operations.swiglu(gate, up, fixed.sigmoid_table))

    def add(words: Array, position: Array, o: Operands) -> tuple[Put, ...]:
        y = tensor(o) if shape.has_tensor else vector(words, o["y"], size["length"])
        return (put_vector(o["x"], operations.add(vector(words, o["x"], size["length"]), y)),)

    def relu(words: Array, position: Array, o: Operands) -> tuple[Put, ...]:
        return put_activation(words, o["out"], *operations.relu(vector(words, o["x"], size["length"]), o["frac"]))

    def read_input(words: Array, position: Array, o: Operands) -> tuple[Put, ...]:
        numbers = short(words, fixed.request, size["length"], jnp.int8).astype(jnp.uint8)
        return put_activation(words, o["out"], jnp.int64(8), numbers)

    def sample(words: Array, position: Array, o: Operands) -> tuple[Put, ...]:
        logits = vector(words, o["logits"], size["length"])
        return _put_token(kind, fixed, words, position, _chosen(kind, fixed, words, position, logits))

    return {
        Opcode.EMBED: embed,
        Opcode.NORM: norm,
        Opcode.MATMUL: matmul,
        Opcode.ROPE: rope,
        Opcode.CACHE: cache,
        Opcode.ATTENTION: attend,
        Opcode.SWIGLU: swiglu,
        Opcode.ADD: add,
        Opcode.SAMPLE: sample,
        Opcode.INPUT: read_input,
        Opcode.RELU: relu,
    }[shape.opcode]


def _as_words(numbers: Array) -> Array:
    """Return rows of an even number of i16 as words."""
    return lax.bitcast_convert_type(numbers.astype(jnp.int16).reshape(*numbers.shape[:-1], -1, 2), jnp.int32)


def _token(fixed: Fixed, words: Array, position: Array) -> Array:
    """Return the token at a position: one of the prompt, or of those drawn."""
    length = prompt_length(TEXT, fixed, words)
    in_prompt, in_output = fixed.request + PROMPT + position, fixed.output + 8 + position - length
    return vector(words, jnp.where(position < length, in_prompt, in_output), 1)[0] & 0xFFFFFFFF


def _chosen(kind: int, fixed: Fixed, words: Array, position: Array, logits: Array) -> Array:
    if kind != TEXT:
        return greedy(logits)
    head = vector(words, fixed.request, PROMPT) & 0xFFFFFFFF
    temperature, seed = head[2], u64(head[4]) | u64(head[5]) << 32
    token: Array = lax.cond(temperature == 0, lambda: greedy(logits), lambda: drawn(logits, temperature, seed, position))
    return token


def _put_token(kind: int, fixed: Fixed, words: Array, position: Array, token: Array) -> tuple[Put, Put]:
    index = position - (prompt_length(kind, fixed, words) - 1)
    is_last = jnp.any(fixed.stop_tokens == token) if kind == TEXT else jnp.bool_(True)
    head = jnp.stack([index + 1, jnp.int64(0), i64(is_last), jnp.int64(0)])
    return put_vector(fixed.output, head), put_vector(fixed.output + 8 + index, token.reshape(1))
