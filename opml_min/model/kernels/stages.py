"""A range of stages, computed natively.

Stage i is op `i mod n` of the tape at position `i div n`. Thread 0 enters here to lead, other threads enter to help with the heavy ops.

*Source*: spec/README.md §3.3.
"""

import numpy as np
from numba import njit

from opml_min.model.cache import compiled
from opml_min.model.kernels.addressing import int32s, int64s
from opml_min.model.kernels.attention import attention_output
from opml_min.model.kernels.elementwise import add, input_bytes, relu, swiglu
from opml_min.model.kernels.embed import embed
from opml_min.model.kernels.floats.elementwise import (
    float_add,
    float_embed,
    float_input,
    float_kv_cache,
    float_norm,
    float_relu,
    float_rope,
    float_swiglu,
)
from opml_min.model.kernels.floats.sample import float_sample
from opml_min.model.kernels.kv_cache import kv_cache
from opml_min.model.kernels.matmul import sum_groups
from opml_min.model.kernels.norm import norm
from opml_min.model.kernels.rope import rope
from opml_min.model.kernels.sample import sample
from opml_min.model.kernels.sharing import STOP, chunk_count, do_chunk, end_sharing, help_leader, is_worth_sharing, share
from opml_min.model.layout import BYTES, FIXED, FLOAT_OPCODES, OUTPUT, REQUEST, TEXT, WHEN_DRAWN, Opcode

EMBED, NORM, MATMUL, ROPE, CACHE, ATTENTION, SWIGLU, ADD, SAMPLE, INPUT, RELU = (int(op) for op in Opcode if op.arithmetic == FIXED)
HEAVY = (MATMUL, ATTENTION, MATMUL + FLOAT_OPCODES, ATTENTION + FLOAT_OPCODES)
DRAWING = (SAMPLE, SAMPLE + FLOAT_OPCODES)


@njit
def write_token(base, token, index, done, stop_tokens):
    """Appends to the output; sets `done` at a stop token."""
    int32s(base, OUTPUT + 32 + 4 * index, 1)[0] = token
    head = int64s(base, OUTPUT, 2)  # count, done
    for stop in stop_tokens:
        if token == stop:
            done = True
    if done:
        head[1] = 1
    head[0] = index + 1


@njit
def token_at(base, position, prompt_length):
    """prompt[position], or the output behind it."""
    place = REQUEST + 56 + 4 * position if position < prompt_length else OUTPUT + 32 + 4 * (position - prompt_length)
    return np.int64(int32s(base, place, 1)[0])


@njit
def heavy_op(base, tape, stage, position, workspace, floats, threads):
    """A MATMUL or an ATTENTION, shared if that pays."""
    op = stage % len(tape)
    opcode, operands = tape[op, 0], tape[op, 2:]
    if floats is None and opcode == MATMUL:
        sum_groups(base, operands, workspace.group_sums)
    if threads > 1 and is_worth_sharing(opcode, operands, position):
        share(base, tape, stage, workspace, floats)
    else:
        for chunk in range(chunk_count(opcode, operands)):
            do_chunk(base, opcode, operands, position, chunk, workspace, floats, 0)
    if floats is None and opcode == ATTENTION:
        attention_output(base, operands, workspace.z, workspace.fractions)


@njit
def light_op(base, opcode, operands, position, prompt_length, workspace):
    """One of fixed point that is neither heavy nor draws a token."""
    if opcode == EMBED:
        embed(base, operands, token_at(base, position, prompt_length))
    elif opcode == NORM:
        norm(base, operands, workspace.z)
    elif opcode == ROPE:
        rope(base, operands, position)
    elif opcode == CACHE:
        kv_cache(base, operands, position)
    elif opcode == SWIGLU:
        swiglu(base, operands, workspace.sigmoid_table, workspace.z)
    elif opcode == ADD:
        add(base, operands)
    elif opcode == INPUT:
        input_bytes(base, operands, REQUEST + 32)
    elif opcode == RELU:
        relu(base, operands, workspace.z)


@njit
def light_float_op(base, opcode, operands, position, prompt_length):
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


@compiled
def run_stages(base, kind, tape, stop_tokens, first, end, always_drawn, workspace, floats, thread, threads):
    """Computes the stages [first, end) until done or told to stop; a helper (thread > 0) returns when the leader does.

    tape: i64 (ops, 16), all of one arithmetic · stop_tokens: i64 (count) · always_drawn: run the ops of condition 1 at every position
    floats: see `sharing`"""
    if thread > 0:
        help_leader(base, tape, workspace, floats, thread)
        return
    request = int32s(base, REQUEST + 32, 6)
    prompt_length = np.int64(request[0]) if kind == TEXT else np.int64(1)
    temperature = np.int64(request[2]) if kind == TEXT else np.int64(0)
    seed = np.uint64(int64s(base, REQUEST + 48, 1)[0])
    output = int64s(base, OUTPUT, 2)

    for stage in range(first, end):
        position, op = stage // len(tape), stage % len(tape)
        if output[1] != 0 or (op == 0 and workspace.control[STOP] != 0):
            break
        if tape[op, 1] == WHEN_DRAWN and position < prompt_length - 1 and not always_drawn:
            continue
        opcode, operands = tape[op, 0], tape[op, 2:]
        if opcode in HEAVY:
            heavy_op(base, tape, stage, position, workspace, floats, threads)
        elif opcode in DRAWING:
            if position >= prompt_length - 1:
                if floats is None:
                    token = sample(base, operands, temperature, seed, position)
                else:
                    token = float_sample(base, operands, temperature, seed, position)
                write_token(base, token, position - (prompt_length - 1), kind == BYTES, stop_tokens)
        else:
            if floats is None:
                light_op(base, opcode, operands, position, prompt_length, workspace)
            else:
                light_float_op(base, opcode, operands, position, prompt_length)
    end_sharing(workspace)
