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
from opml_min.model.kernels.kv_cache import kv_cache
from opml_min.model.kernels.matmul import sum_groups
from opml_min.model.kernels.norm import norm
from opml_min.model.kernels.rope import rope
from opml_min.model.kernels.sample import sample
from opml_min.model.kernels.sharing import STOP, chunk_count, do_chunk, end_sharing, help_leader, is_worth_sharing, share
from opml_min.model.layout import BYTES, OUTPUT, REQUEST, TEXT, WHEN_DRAWN, Opcode

EMBED, NORM, MATMUL, ROPE, CACHE, ATTENTION, SWIGLU, ADD, SAMPLE, INPUT, RELU = (int(opcode) for opcode in Opcode)


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
def heavy_op(base, tape, stage, position, workspace, threads):
    """A MATMUL or an ATTENTION, shared if that pays."""
    op = stage % len(tape)
    opcode, operands = tape[op, 0], tape[op, 2:]
    if opcode == MATMUL:
        sum_groups(base, operands, workspace.group_sums)
    if threads > 1 and is_worth_sharing(opcode, operands, position):
        share(base, tape, stage, workspace)
    else:
        for chunk in range(chunk_count(opcode, operands)):
            do_chunk(base, opcode, operands, position, chunk, workspace, 0)
    if opcode == ATTENTION:
        attention_output(base, operands, workspace.z, workspace.fractions)


@compiled
def run_stages(base, kind, tape, stop_tokens, first, end, always_drawn, workspace, thread, threads):
    """Computes the stages [first, end) until done or told to stop; a helper (thread > 0) returns when the leader does.

    tape: i64 (ops, 16) · stop_tokens: i64 (count) · always_drawn: run the ops of condition 1 at every position"""
    if thread > 0:
        help_leader(base, tape, workspace, thread)
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
        if opcode in (MATMUL, ATTENTION):
            heavy_op(base, tape, stage, position, workspace, threads)
        elif opcode == EMBED:
            place = REQUEST + 56 + 4 * position if position < prompt_length else OUTPUT + 32 + 4 * (position - prompt_length)
            embed(base, operands, np.int64(int32s(base, place, 1)[0]))
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
        elif opcode == SAMPLE:
            if position >= prompt_length - 1:
                token = sample(base, operands, temperature, seed, position)
                write_token(base, token, position - (prompt_length - 1), kind == BYTES, stop_tokens)
        elif opcode == INPUT:
            input_bytes(base, operands, REQUEST + 32)
        elif opcode == RELU:
            relu(base, operands, workspace.z)
    end_sharing(workspace)
