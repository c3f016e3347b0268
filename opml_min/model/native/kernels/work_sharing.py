"""How threads share a fused group (one or more ops that may be computed at once): what its chunks are, and which thread computes which.

The leader, thread 0, walks the tape and publishes each group that is worth sharing. A thread first takes chunks from its own queue, whose
weights lie one after the other, and then from the other queues. It reports what it has finished whenever a queue is empty. So if the
operating system suspends a helper, the others compute the chunks that it has not taken. What a chunk writes does not depend on who computes
it.

`floats` is scratch for float arithmetic, f32 (threads, context). In fixed point it is None, and numba leaves the float code out.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from opml_min.model.image.ops import Opcode
from opml_min.model.image.weights import TILE_ROWS
from opml_min.model.native.kernels.atomic import wait_a_moment
from opml_min.model.native.kernels.batch import batch_length, move_operands
from opml_min.model.native.kernels.fixed.attention import attention_head
from opml_min.model.native.kernels.fixed.batch_attention import ATTENTION_POSITIONS, attend
from opml_min.model.native.kernels.fixed.losses import note_losses
from opml_min.model.native.kernels.fixed.matmul import matmul_tiles
from opml_min.model.native.kernels.floats.attention import float_attention_head
from opml_min.model.native.kernels.floats.matmul import float_matmul_tiles
from opml_min.model.native.kernels.unshared import unshared_op
from opml_min.model.native.kernels.vector.panel import TILES, matmul_panel
from opml_min.model.native.kernels.work_queues import (
    NOTHING,
    OVER,
    count_done,
    publish,
    published_work,
    take_chunk,
    wait_until_done,
)

MATMUL, ATTENTION = int(Opcode.MATMUL), int(Opcode.ATTENTION)
FLOAT_MATMUL, FLOAT_ATTENTION = int(Opcode.FLOAT_MATMUL), int(Opcode.FLOAT_ATTENTION)
SHARE_FROM_WEIGHTS = 1 << 16  # multiplications of a MATMUL, below which sharing costs more than it saves
SHARE_FROM_PRODUCTS = 1 << 13  # likewise of an ATTENTION, where each takes longer
CHUNK_WEIGHTS = 1 << 14  # at least, in a chunk of a MATMUL; about 1 µs
MAX_CHUNKS = 64  # about, in a MATMUL: taking one waits for all memory that is being read
UNSHARED_POSITIONS = 4  # in a chunk of another op in a batch


class Workspace(NamedTuple):
    """Scratch of the kernels, outside the machine's memory. A tuple, because numba takes it apart."""

    z: Any  # i64 (threads, longest vector)
    fractions: Any  # i64 (threads, heads)
    scores: Any  # i64 (threads, context)
    queries: Any  # i16 (threads, head_size)
    sums: Any  # i64 (threads, 8)
    group_sums: Any  # i32 (groups)
    sigmoid_table: Any  # i32 (4097)
    losses: Any  # i64 (threads, ops or more, 2): numbers that saturated, and numbers that lost all bits
    control: Any  # i64 (control_words): the work queues, and the wish to stop
    fused_lengths: Any  # i64 (ops): how many ops form the fused group that begins with each one
    batch: Any  # a Batch


@njit
def is_worth_sharing(opcode, operands, position):
    if opcode == MATMUL:
        return operands[4] * operands[5] >= SHARE_FROM_WEIGHTS
    if opcode == FLOAT_MATMUL:
        return operands[3] * operands[4] >= SHARE_FROM_WEIGHTS
    if opcode == ATTENTION:
        return operands[6] * operands[8] * 2 * (position + 1) >= SHARE_FROM_PRODUCTS
    if opcode == FLOAT_ATTENTION:
        return operands[4] * operands[6] * 2 * (position + 1) >= SHARE_FROM_PRODUCTS
    return False


@njit
def tiles_per_chunk(rows, columns):
    return max(1, CHUNK_WEIGHTS // (TILE_ROWS * columns), rows // (TILE_ROWS * MAX_CHUNKS))


@njit
def chunk_count(opcode, operands, positions):
    """Return how many chunks an op has. At a single position a chunk is some tiles of a MATMUL, or a head of an ATTENTION.

    In a batch it is a panel of a MATMUL at all positions, or any other op at some positions. positions: of the batch; 0 outside one"""
    if positions > 0:
        if opcode == MATMUL:
            return (operands[4] + TILES * TILE_ROWS - 1) // (TILES * TILE_ROWS)
        each = ATTENTION_POSITIONS if opcode == ATTENTION else UNSHARED_POSITIONS
        return (positions + each - 1) // each
    if opcode in (MATMUL, FLOAT_MATMUL):
        rows, columns = (operands[4], operands[5]) if opcode == MATMUL else (operands[3], operands[4])
        tiles = (rows + TILE_ROWS - 1) // TILE_ROWS
        return (tiles + tiles_per_chunk(rows, columns) - 1) // tiles_per_chunk(rows, columns)
    return operands[6] if opcode == ATTENTION else operands[4]


@njit
def fused_group_at(tape, stage, end, workspace):
    """Return the fused group that begins with the stage: (stage, its stages before `end`, positions if it is a batch, chunks)."""
    positions, op = batch_length(workspace.batch, stage // len(tape)), stage % len(tape)
    length = 1 if positions > 0 else min(workspace.fused_lengths[op], end - stage)
    chunks = 0
    for each in range(op, op + length):
        chunks += chunk_count(tape[each, 0], tape[each, 2:], positions)
    return stage, length, positions, chunks


@njit(inline="always")  # passing the workspace costs as much as a chunk
def do_chunk(base, tape, group, chunk, workspace, floats, thread):
    """Compute a chunk of the fused group. The chunks of its stages are numbered one after the other."""
    stage, length, positions, _ = group
    position, op = stage // len(tape), stage % len(tape)
    if length > 1:
        chunks = chunk_count(tape[op, 0], tape[op, 2:], positions)
        while chunk >= chunks:
            chunk -= chunks
            op += 1
            chunks = chunk_count(tape[op, 0], tape[op, 2:], positions)
    if floats is None and positions == 0 and tape[op, 0] == MATMUL:
        size = tiles_per_chunk(tape[op, 6], tape[op, 7])
        found = matmul_tiles(base, tape[op, 2:], chunk * size, (chunk + 1) * size, workspace.group_sums, workspace.sums[thread])
    else:
        found = do_other_chunk(base, tape, op, position, positions, chunk, workspace, floats, thread)
    note_losses(workspace.losses[thread], op, found)


@njit
def do_other_chunk(base, tape, op, position, positions, chunk, workspace, floats, thread):
    """Compute any chunk except that of a fixed-point MATMUL at a single position. Return the losses."""
    opcode, operands = tape[op, 0], tape[op, 2:]
    if floats is None:
        if positions > 0:
            return do_batch_chunk(base, tape, op, position, positions, chunk, workspace, thread)
        else:
            scores, query = workspace.scores[thread], workspace.queries[thread]
            return attention_head(base, operands, position, chunk, workspace.z[0], workspace.fractions[0], scores, query)
    else:
        if opcode == FLOAT_MATMUL:
            size = tiles_per_chunk(operands[3], operands[4])
            float_matmul_tiles(base, operands, chunk * size, (chunk + 1) * size, workspace.sums[thread])
        else:
            float_attention_head(base, operands, position, chunk, floats[thread])
        return np.int64(0)


@njit
def do_batch_chunk(base, tape, op, position, positions, chunk, workspace, thread):
    opcode, batch = tape[op, 0], workspace.batch
    if opcode == MATMUL:
        operands, stride = move_operands(base, tape, op, 0, batch, thread), batch.copies.shape[1]
        return matmul_panel(base, operands, chunk, positions, stride, batch.group_sums, batch.scratch[thread].ctypes.data)
    each = ATTENTION_POSITIONS if opcode == ATTENTION else UNSHARED_POSITIONS
    first, end = chunk * each, min((chunk + 1) * each, positions)
    if opcode == ATTENTION:
        operands, stride = move_operands(base, tape, op, first, batch, thread), batch.copies.shape[1]
        return attend(base, operands, stride, position + first, end - first, batch.scratch[thread].ctypes.data)
    found = np.int64(0)
    for i in range(first, end):
        operands = move_operands(base, tape, op, i, batch, thread)
        found += unshared_op(base, opcode, operands, position + i, position + i + 1, workspace.z[thread], workspace.sigmoid_table)
    return found


@njit
def take_chunks(base, tape, end, workspace, floats, thread, threads):
    """Compute chunks of the published group until none is left."""
    group = 0, 0, 0, 0
    known, finished = NOTHING, 0
    for distance in range(threads):
        owner = (thread + distance) % threads
        while True:
            work, chunk = take_chunk(workspace.control, owner)
            if work in (NOTHING, OVER):
                return
            if work != known:
                group, known = fused_group_at(tape, work - 1, end, workspace), work
            if chunk >= (owner + 1) * group[3] // threads:
                break
            do_chunk(base, tape, group, chunk, workspace, floats, thread)
            finished += 1
        if finished > 0:  # reported once per queue, because every report moves a cache line between the threads' processors
            count_done(workspace.control, finished)
            finished = 0


@njit
def do_fused_group(base, tape, stage, end, workspace, floats, threads):
    """The leader's part: publish the group that begins with the stage, help, and return when all of it is done."""
    group = fused_group_at(tape, stage, end, workspace)
    if threads == 1:
        for chunk in range(group[3]):
            do_chunk(base, tape, group, chunk, workspace, floats, np.int64(0))
        return
    publish(workspace.control, stage + 1, group[3], threads)
    take_chunks(base, tape, end, workspace, floats, np.int64(0), threads)  # numba would compile another version for a literal 0
    wait_until_done(workspace.control, group[3])


@njit
def help_leader(base, tape, end, workspace, floats, thread, threads):
    """A helper's part: take chunks of whatever is published until the run is over."""
    last, times = 0, 0
    while last != OVER:
        work = published_work(workspace.control, thread)
        if work != last:
            take_chunks(base, tape, end, workspace, floats, thread, threads)
            last, times = work, 0
        else:
            times += 1
            wait_a_moment(times)
