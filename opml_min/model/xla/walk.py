"""The walk over a tape: one loop over stages, compiled for all tapes of the same shapes, in which the tape itself is data.

So it starts and stops at any stage. A loop over stages does the positions of the prompt, and those of the tokens that it draws.

*Source*: spec §3.3.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from opml_min.model.errors import AcceleratorUnusable
from opml_min.model.image.ops import WHEN_DRAWN
from opml_min.model.xla.first_device import XlaDevice, first_line
from opml_min.model.xla.one_stage import Fixed, prompt_length, stage_of
from opml_min.model.xla.puts import Put, PutPieces, in_pieces, piece_count, put_all
from opml_min.model.xla.shapes import OpShape
from opml_min.model.xla.tensors import Stack
from opml_min.model.xla.words import vector


@contextmanager
def exact(device: XlaDevice) -> Iterator[None]:
    """Within it JAX has 64 bits, and refuses to mix types of numbers. What the device reports raises AcceleratorUnusable."""
    try:
        with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
            yield
    except jax.errors.JaxRuntimeError as error:
        raise AcceleratorUnusable(f"{device.name} reports: {first_line(error)}") from error


class TapeArrays(NamedTuple):
    """The tape on the device: for each op its shape's number, its condition, and its operands."""

    shape: Array
    condition: Array
    operands: Array  # (ops, operands), in the order of `names`


@partial(jax.jit, static_argnames=("shapes", "names", "kind"), donate_argnames="words")
def walk(
    words: Array, first: Array, end: Array, tape: TapeArrays, stacks: tuple[Stack, ...], fixed: Fixed, *,
    shapes: tuple[OpShape, ...], names: tuple[tuple[str, ...], ...], kind: int,
) -> Array:  # fmt: skip
    """Return the words after the stages [first, end), or after the stage that sets done."""
    ops = len(tape.shape)
    computes = [stage_of(shape, kind, fixed, stack) for shape, stack in zip(shapes, stacks, strict=True)]

    def goes_on(state: tuple[Array, Array]) -> Array:
        stage, words = state
        return (stage < end) & (vector(words, fixed.output + 2, 1)[0] == 0)

    def branch(number: int, words: Array, position: Array, operands: Array) -> tuple[Put, ...]:
        return computes[number](words, position, dict(zip(names[number], operands, strict=False)))

    op_zero = (words, jnp.int64(0), tape.operands[0])
    room = max(piece_count(jax.eval_shape(partial(branch, number), *op_zero)) for number in range(len(shapes)))

    def pieces(number: int, *arguments: Array) -> PutPieces:
        return in_pieces(branch(number, *arguments) if number < len(shapes) else (), room)

    branches = [partial(pieces, number) for number in range(len(shapes) + 1)]  # the last one is for a stage that is skipped

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        stage, words = state
        op, position = stage % ops, stage // ops
        is_drawn = position >= prompt_length(kind, fixed, words) - 1
        chosen = jnp.where(is_drawn | (tape.condition[op] != WHEN_DRAWN), tape.shape[op], len(shapes))
        return stage + 1, put_all(words, lax.switch(chosen, branches, words, position, tape.operands[op]))

    return lax.while_loop(goes_on, step, (first, words))[1]
