"""A range of stages in native code: stage i is op `i mod n` of the tape at position `i div n`.

Thread 0 enters here to lead. Other threads enter to help with MATMUL and ATTENTION.

*Source*: spec §3.3.
"""

import numpy as np
from numba import njit

from opml_min.memory_map import OUTPUT, REQUEST
from opml_min.model.image.header import BYTES, TEXT
from opml_min.model.image.ops import FLOAT_OPCODES, WHEN_DRAWN
from opml_min.model.native.kernel_cache import compiled
from opml_min.model.native.kernels.addressing import int32s, int64s
from opml_min.model.native.kernels.batch import batch_length, begin_batch, end_batch, move_operands
from opml_min.model.native.kernels.fixed.attention_output import attention_output
from opml_min.model.native.kernels.fixed.losses import note_losses
from opml_min.model.native.kernels.fixed.matmul import needs_group_sums, sum_groups
from opml_min.model.native.kernels.fixed.sample import sample
from opml_min.model.native.kernels.floats.sample import float_sample
from opml_min.model.native.kernels.unshared import ATTENTION, MATMUL, SAMPLE, unshared_float_op, unshared_op
from opml_min.model.native.kernels.work_queues import STOP, end_sharing
from opml_min.model.native.kernels.work_sharing import do_fused_group, fused_group_at, help_leader, is_worth_sharing

SHARED = (MATMUL, ATTENTION, MATMUL + FLOAT_OPCODES, ATTENTION + FLOAT_OPCODES)
DRAWING = (SAMPLE, SAMPLE + FLOAT_OPCODES)


@njit
def write_token(base, token, index, done, stop_tokens):
    """Append a token to the output, and set its `done` word at a stop token."""
    int32s(base, OUTPUT + 32 + 4 * index, 1)[0] = token
    head = int64s(base, OUTPUT, 2)  # count, done
    for stop in stop_tokens:
        if token == stop:
            done = True
    if done:
        head[1] = 1
    head[0] = index + 1


@njit
def run_fused_group(base, tape, stage, end, position, workspace, floats, threads):
    """Compute MATMULs of one activation, or an ATTENTION, shared if that is faster. Return the number of stages."""
    first = stage % len(tape)
    opcode, length = tape[first, 0], fused_group_at(tape, stage, end, workspace)[1]
    is_faster = False
    for op in range(first, first + length):
        is_faster |= is_worth_sharing(opcode, tape[op, 2:], position)
    if floats is None and opcode == MATMUL:
        for op in range(first, first + length):
            if needs_group_sums(tape[op, 2:]):
                sum_groups(base, tape[op, 2:], workspace.group_sums)
                break
    do_fused_group(base, tape, stage, end, workspace, floats, threads if is_faster else 1)
    if floats is None and opcode == ATTENTION:
        attention_output(base, tape[first, 2:], workspace.z[0], workspace.fractions[0])
    return length


@njit
def run_batch(base, tape, position, positions, workspace, threads):
    """Compute the positions [position, position + positions), which draw no token, op by op."""
    batch = workspace.batch
    begin_batch(base, positions, batch)
    for op in range(len(tape)):
        if tape[op, 1] == WHEN_DRAWN:
            continue
        if workspace.control[STOP] != 0:
            return
        stage = position * len(tape) + op
        if tape[op, 0] == MATMUL and needs_group_sums(tape[op, 2:]):
            for i in range(positions):
                sum_groups(base, move_operands(base, tape, op, i, batch, 0), batch.group_sums[i])
        do_fused_group(base, tape, stage, stage + 1, workspace, None, threads)
    end_batch(base, positions, batch)


@compiled
def run_stages(base, kind, tape, stop_tokens, first, end, workspace, floats, thread, threads):
    """Compute the stages [first, end), or fewer after a stop token or an interrupt. A helper (thread > 0) returns when the leader does.

    tape: i64 (ops, 16), in one arithmetic · stop_tokens: i64 (count) · floats: see `work_sharing`"""
    if thread > 0:
        help_leader(base, tape, end, workspace, floats, thread, threads)
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
            positions = batch_length(workspace.batch, position)
            if positions > 0:
                run_batch(base, tape, position, positions, workspace, threads)
                stage += positions * len(tape) - 1
                continue
        if tape[op, 1] == WHEN_DRAWN and position < prompt_length - 1:
            continue
        opcode, operands = tape[op, 0], tape[op, 2:]
        if opcode in SHARED:
            stage += run_fused_group(base, tape, stage, end, position, workspace, floats, threads) - 1
        elif opcode in DRAWING:
            if position >= prompt_length - 1:
                if floats is None:
                    token = sample(base, operands, temperature, seed, position)
                else:
                    token = float_sample(base, operands, temperature, seed, position)
                write_token(base, token, position - (prompt_length - 1), kind == BYTES, stop_tokens)
        else:
            if floats is None:
                found = unshared_op(base, opcode, operands, position, prompt_length, workspace.z[0], workspace.sigmoid_table)
                note_losses(workspace.losses[0], op, found)
            else:
                unshared_float_op(base, opcode, operands, position, prompt_length)
    end_sharing(workspace.control, threads)
