"""A range of stages, computed natively.

Stage i is op `i mod n` of the tape at position `i div n`. Thread 0 enters here to lead, other threads enter to help with the heavy ops.

*Source*: spec/README.md §3.3.
"""

import numpy as np
from numba import njit

from opml_min.model.cache import compiled
from opml_min.model.kernels.addressing import int32s, int64s
from opml_min.model.kernels.attention import attention_output
from opml_min.model.kernels.floats.sample import float_sample
from opml_min.model.kernels.light import ATTENTION, MATMUL, SAMPLE, light_float_op, light_op
from opml_min.model.kernels.matmul import sum_groups
from opml_min.model.kernels.prefill import begin_block, begin_op_of_block, block_length, end_block
from opml_min.model.kernels.sample import sample
from opml_min.model.kernels.sharing import STOP, chunks_of_stage, do_chunk, end_sharing, help_leader, is_worth_sharing, share
from opml_min.model.layout import BYTES, FLOAT_OPCODES, OUTPUT, REQUEST, TEXT, WHEN_DRAWN

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
def heavy_op(base, tape, stage, position, workspace, floats, threads):
    """A MATMUL or an ATTENTION, shared if that pays."""
    op = stage % len(tape)
    opcode, operands = tape[op, 0], tape[op, 2:]
    if floats is None and opcode == MATMUL:
        sum_groups(base, operands, workspace.group_sums[0])
    if threads > 1 and is_worth_sharing(opcode, operands, position):
        share(base, tape, stage, workspace, floats)
    else:
        for chunk in range(chunks_of_stage(tape, stage, workspace)):
            do_chunk(base, tape, stage, chunk, workspace, floats, 0)
    if floats is None and opcode == ATTENTION:
        attention_output(base, operands, workspace.z[0], workspace.fractions[0])


@njit
def run_block(base, tape, position, positions, workspace, threads):
    """The positions [position, position + positions), which draw no token, op by op."""
    begin_block(base, positions, workspace)
    for op in range(len(tape)):
        if tape[op, 1] == WHEN_DRAWN:
            continue
        if workspace.control[STOP] != 0:
            return
        stage = position * len(tape) + op
        begin_op_of_block(base, tape, op, positions, workspace)
        if threads > 1:
            share(base, tape, stage, workspace, None)
        else:
            for chunk in range(chunks_of_stage(tape, stage, workspace)):
                do_chunk(base, tape, stage, chunk, workspace, None, 0)
    end_block(base, positions, workspace)


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

    stage = first - 1
    while stage + 1 < end:
        stage += 1
        position, op = stage // len(tape), stage % len(tape)
        if output[1] != 0 or (op == 0 and workspace.control[STOP] != 0):
            break
        if floats is None and op == 0:
            positions = block_length(workspace, position)
            if positions > 0:
                run_block(base, tape, position, positions, workspace, threads)
                stage += positions * len(tape) - 1
                continue
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
                light_op(base, opcode, operands, position, prompt_length, workspace.z[0], workspace.sigmoid_table)
            else:
                light_float_op(base, opcode, operands, position, prompt_length)
    end_sharing(workspace)
