"""A range of stages, computed natively by one or more threads that all enter here once.

Stage i is op `i mod n` of the tape at position `i div n`. Heavy ops (MATMUL, ATTENTION) are shared between the threads, the others
are done by thread 0; the threads meet where one needs what another wrote. The result does not depend on their number.

*Source*: spec/README.md §3.3.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from opml_min.model.kernels.addressing import int32s, int64s, wait_for_all
from opml_min.model.kernels.attention import attention_heads, attention_output
from opml_min.model.kernels.elementwise import add, input_bytes, relu, swiglu
from opml_min.model.kernels.embed import embed
from opml_min.model.kernels.kv_cache import kv_cache
from opml_min.model.kernels.matmul import matmul
from opml_min.model.kernels.norm import norm
from opml_min.model.kernels.rope import rope
from opml_min.model.kernels.sample import sample
from opml_min.model.layout import BYTES, OUTPUT, REQUEST, TEXT, WHEN_DRAWN, Opcode

EMBED, NORM, MATMUL, ROPE, CACHE, ATTENTION, SWIGLU, ADD, SAMPLE, INPUT, RELU = (int(opcode) for opcode in Opcode)
NOTHING = 0
STOP, DECISION, CONTROL_WORDS = 8, 16, 24  # words of the control array, in different cache lines; word 0 counts at the barrier
STOPPED = 2


class Workspace(NamedTuple):
    """Scratch of the kernels, outside the machine's memory."""

    z: Any  # i64 (longest vector)
    fractions: Any  # i64 (heads)
    scores: Any  # i64 (threads, context)
    queries: Any  # i64 (threads, head_size)
    group_sums: Any  # i32 (threads, groups)
    sums: Any  # i64 (threads, 8)
    sigmoid_table: Any  # i32 (4097)
    control: Any  # i64 (CONTROL_WORDS): the barrier's counter, the wish to stop, whether to go on


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


SHARE_FROM_WEIGHTS = 1 << 16  # multiplications of an op, below which a meeting of the threads costs more than it saves


@njit
def is_shared(opcode, operands, position):
    """Whether the threads share the op. For ATTENTION this changes with the position."""
    if opcode == MATMUL:
        return operands[4] * operands[5] >= SHARE_FROM_WEIGHTS
    if opcode == ATTENTION:
        return operands[6] * operands[8] * 2 * (position + 1) >= SHARE_FROM_WEIGHTS
    return False


def native_stages(build: int) -> Any:
    """The compiled entry. `build` tells kernels of different sources apart in the cache of compiled code."""

    @njit(cache=True, nogil=True)
    def run_stages(base, kind, tape, stop_tokens, first, end, always_drawn, workspace, thread, threads):
        """Computes the stages [first, end) and returns the first one not computed: `end` unless stopped before.

        tape: i64 (ops, 16) · stop_tokens: i64 (count) · always_drawn: run the ops of condition 1 at every position"""
        generation = np.int64(build & 0)
        counter = workspace.control.ctypes.data
        request = int32s(base, REQUEST + 32, 6)
        prompt_length = np.int64(request[0]) if kind == TEXT else np.int64(1)
        temperature = np.int64(request[2]) if kind == TEXT else np.int64(0)
        seed = np.uint64(int64s(base, REQUEST + 48, 1)[0])
        output = int64s(base, OUTPUT, 2)
        op_count = len(tape)

        was_shared, shared_x, free_from = False, np.int64(0), np.int64(0)
        for stage in range(first, end):
            position, op = stage // op_count, stage % op_count
            if op == 0 or stage == first:
                place = DECISION + position % 2  # thread 0 may be a position ahead of those who have not read it yet
                if thread == 0:
                    workspace.control[place] = STOPPED if workspace.control[STOP] != 0 else output[1] != 0
                generation += 1
                wait_for_all(counter, thread, threads, generation)
                was_shared = False
                if workspace.control[place] != 0:
                    return stage if workspace.control[place] == STOPPED else end
            opcode, operands = tape[op, 0], tape[op, 2:]
            if tape[op, 1] == WHEN_DRAWN and position < prompt_length - 1 and not always_drawn:
                opcode = NOTHING

            shared = threads > 1 and is_shared(opcode, operands, position)
            # products of one activation into places that ascend are independent: the threads need not meet between them
            independent = was_shared and shared and opcode == MATMUL and operands[1] == shared_x and operands[0] >= free_from
            if (shared or was_shared) and not independent:
                generation += 1
                wait_for_all(counter, thread, threads, generation)
            was_shared, shared_x, free_from = shared, np.int64(0), np.int64(0)
            workers = threads if shared else 1
            if thread >= workers:
                pass
            elif opcode == MATMUL:
                matmul(base, operands, workspace.group_sums[thread], workspace.sums[thread], thread, workers)
                shared_x, free_from = operands[1], operands[0] + 4 * operands[4]
            elif opcode == ATTENTION:
                scores, query = workspace.scores[thread], workspace.queries[thread]
                attention_heads(base, operands, position, workspace.z, workspace.fractions, scores, query, thread, workers)
                if shared:
                    generation += 1
                    wait_for_all(counter, thread, threads, generation)
                if thread == 0:
                    attention_output(base, operands, workspace.z, workspace.fractions)
            elif opcode == EMBED:
                token_place = REQUEST + 56 + 4 * position if position < prompt_length else OUTPUT + 32 + 4 * (position - prompt_length)
                embed(base, operands, np.int64(int32s(base, token_place, 1)[0]))
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
            if opcode == SAMPLE:
                generation += 1
                wait_for_all(counter, thread, threads, generation)
                done = output[1] != 0
                generation += 1
                wait_for_all(counter, thread, threads, generation)
                if done:
                    return end
        return end

    return run_stages
