"""The ops that one thread computes alone, in either arithmetic: all but MATMUL, ATTENTION and SAMPLE.

*Source*: spec §3.5 and §3.6.
"""

import numpy as np
from numba import njit

from opml_min.memory_map import OUTPUT, REQUEST
from opml_min.model.image.ops import FIXED, FLOAT_OPCODES, Opcode
from opml_min.model.native.kernels.addressing import int32s
from opml_min.model.native.kernels.fixed.elementwise import add, input_bytes, relu, swiglu
from opml_min.model.native.kernels.fixed.embed import embed
from opml_min.model.native.kernels.fixed.kv_cache import kv_cache
from opml_min.model.native.kernels.fixed.norm import norm
from opml_min.model.native.kernels.fixed.rope import rope
from opml_min.model.native.kernels.floats.elementwise import (
    float_add,
    float_embed,
    float_input,
    float_kv_cache,
    float_norm,
    float_relu,
    float_rope,
    float_swiglu,
)

EMBED, NORM, MATMUL, ROPE, CACHE, ATTENTION, SWIGLU, ADD, SAMPLE, INPUT, RELU = (int(op) for op in Opcode if op.arithmetic == FIXED)


@njit
def token_at(base, position, prompt_length):
    """Return the token at a position of the prompt followed by the output."""
    place = REQUEST + 56 + 4 * position if position < prompt_length else OUTPUT + 32 + 4 * (position - prompt_length)
    return np.int64(int32s(base, place, 1)[0]) & 0xFFFFFFFF


@njit
def unshared_op(base, opcode, operands, position, prompt_length, z, sigmoid_table):
    """Compute an op of fixed point. Return the losses. z: i64 (longest vector), scratch"""
    if opcode == EMBED:
        return embed(base, operands, token_at(base, position, prompt_length))
    elif opcode == NORM:
        norm(base, operands, z)
    elif opcode == ROPE:
        return rope(base, operands, position)
    elif opcode == CACHE:
        kv_cache(base, operands, position)
    elif opcode == SWIGLU:
        swiglu(base, operands, sigmoid_table, z)
    elif opcode == ADD:
        return add(base, operands)
    elif opcode == INPUT:
        input_bytes(base, operands, REQUEST + 32)
    elif opcode == RELU:
        relu(base, operands, z)
    return np.int64(0)


@njit
def unshared_float_op(base, opcode, operands, position, prompt_length):
    kind = opcode - FLOAT_OPCODES
    if kind == EMBED:
        float_embed(base, operands, token_at(base, position, prompt_length))
    elif kind == NORM:
        float_norm(base, operands)
    elif kind == ROPE:
        float_rope(base, operands, position)
    elif kind == CACHE:
        float_kv_cache(base, operands, position)
    elif kind == SWIGLU:
        float_swiglu(base, operands)
    elif kind == ADD:
        float_add(base, operands)
    elif kind == INPUT:
        float_input(base, operands, REQUEST + 32)
    elif kind == RELU:
        float_relu(base, operands)
