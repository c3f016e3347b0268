"""How threads share a phase, that is one op or some that may be done at once: in chunks, of which each thread has a queue.

The leader, thread 0, walks the tape. Where a phase is worth sharing it writes its first stage into the queues, one atomic word each. Taking
a chunk is adding 1 to such a word, which tells the taker both the stage and the chunk, so nobody can mix up two phases. A thread takes from
its own queue, which is a stretch of the weights without gaps, and then from the others', and tells what it has finished whenever a queue
is empty: what a helper has not yet taken when the operating system puts it to sleep is done by the others. What a chunk writes does not
depend on who does it.

`floats` is scratch of float arithmetic, f32 (threads, context), or None in fixed point: the other arithmetic's code is then left out.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from opml_min.model.image.ops import Opcode
from opml_min.model.native.kernels.atomic import atomic_add, atomic_load, atomic_store, wait_a_moment
from opml_min.model.native.kernels.batch import block_length, chunks_of_block, do_chunk_of_block
from opml_min.model.native.kernels.fixed.attention import attention_head
from opml_min.model.native.kernels.fixed.matmul import matmul_tiles
from opml_min.model.native.kernels.floats.attention import float_attention_head
from opml_min.model.native.kernels.floats.matmul import float_matmul_tiles
from opml_min.model.native.kernels.vector.tile import LANES

MATMUL, ATTENTION = int(Opcode.MATMUL), int(Opcode.ATTENTION)
FLOAT_MATMUL, FLOAT_ATTENTION = int(Opcode.FLOAT_MATMUL), int(Opcode.FLOAT_ATTENTION)
SHARE_FROM_WEIGHTS = 1 << 16  # multiplications of an op, below which sharing costs more than it saves
SHARE_FROM_PRODUCTS = 1 << 13  # the same of an ATTENTION, where each takes longer
CHUNK_WEIGHTS = 1 << 14  # of a MATMUL, at least; about 1 µs
CHUNKS_AT_MOST = 64  # about, of a MATMUL: taking one waits for all memory that is being read
DONE, STOP, QUEUES, QUEUE_WORDS = 0, 16, 32, 16  # places in the control array, far enough apart for caches that fetch lines in pairs
NOTHING, OVER = 0, (1 << 31) - 1  # instead of a stage + 1 in TAKEN
CHUNK_BITS = 32


class Workspace(NamedTuple):
    """Scratch of the kernels, outside the machine's memory."""

    z: Any  # i64 (threads, longest vector)
    fractions: Any  # i64 (threads, heads)
    scores: Any  # i64 (threads, context)
    queries: Any  # i16 (threads, head_size)
    sums: Any  # i64 (threads, 8)
    group_sums: Any  # i32 (groups)
    sigmoid_table: Any  # i32 (4097)
    control: Any  # i64 (control_words): chunks done; the wish to stop; the queues: stage + 1 and the next chunk
    phase_lengths: Any  # i64 (ops): how many ops, from each one on, are a phase
    block: Any  # a prefill.Block


def control_words(threads: int) -> int:
    return QUEUES + QUEUE_WORDS * threads


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
def tiles_a_chunk(rows, columns):
    return max(1, CHUNK_WEIGHTS // (LANES * columns), rows // (LANES * CHUNKS_AT_MOST))


@njit
def chunk_count(opcode, operands, positions):
    """Of a MATMUL some tiles; of an ATTENTION a head. positions: of a block; 0 for a single one."""
    if positions > 0:
        return chunks_of_block(opcode, operands, positions)
    if opcode in (MATMUL, FLOAT_MATMUL):
        rows, columns = (operands[4], operands[5]) if opcode == MATMUL else (operands[3], operands[4])
        tiles = (rows + LANES - 1) // LANES
        return (tiles + tiles_a_chunk(rows, columns) - 1) // tiles_a_chunk(rows, columns)
    return operands[6] if opcode == ATTENTION else operands[4]


@njit
def phase_at(tape, stage, end, workspace):
    """The phase that begins with the stage: this stage, how many stages before `end` it has, its positions if it is a block, its chunks."""
    positions, op = block_length(workspace.block, stage // len(tape)), stage % len(tape)
    length = 1 if positions > 0 else min(workspace.phase_lengths[op], end - stage)
    chunks = 0
    for each in range(op, op + length):
        chunks += chunk_count(tape[each, 0], tape[each, 2:], positions)
    return stage, length, positions, chunks


@njit(inline="always")  # handing over the workspace costs as much as a chunk
def do_chunk(base, tape, phase, chunk, workspace, floats, thread):
    """A chunk of the phase. Its stages' chunks follow one another."""
    stage, length, positions, _ = phase
    position, op = stage // len(tape), stage % len(tape)
    if length > 1:
        chunks = chunk_count(tape[op, 0], tape[op, 2:], positions)
        while chunk >= chunks:
            chunk -= chunks
            op += 1
            chunks = chunk_count(tape[op, 0], tape[op, 2:], positions)
    if floats is None and positions == 0 and tape[op, 0] == MATMUL:
        size = tiles_a_chunk(tape[op, 6], tape[op, 7])
        matmul_tiles(base, tape[op, 2:], chunk * size, (chunk + 1) * size, workspace.group_sums, workspace.sums[thread])
    else:
        do_other_chunk(base, tape, op, position, positions, chunk, workspace, floats, thread)


@njit
def do_other_chunk(base, tape, op, position, positions, chunk, workspace, floats, thread):
    """A chunk of an op, or of an op in a block of positions, that is not a MATMUL of fixed point at one position."""
    opcode, operands = tape[op, 0], tape[op, 2:]
    if floats is None:
        if positions > 0:
            do_chunk_of_block(base, tape, op, position, chunk, positions, workspace, thread)
        else:
            scores, query = workspace.scores[thread], workspace.queries[thread]
            attention_head(base, operands, position, chunk, workspace.z[0], workspace.fractions[0], scores, query)
    else:
        if opcode == FLOAT_MATMUL:
            size = tiles_a_chunk(operands[3], operands[4])
            float_matmul_tiles(base, operands, chunk * size, (chunk + 1) * size, workspace.sums[thread])
        else:
            float_attention_head(base, operands, position, chunk, floats[thread])


@njit
def queue_address(workspace, thread):
    return workspace.control.ctypes.data + 8 * (QUEUES + QUEUE_WORDS * thread)


@njit
def take_chunks(base, tape, end, workspace, floats, thread, threads):
    """Does chunks of the published phase until none is left."""
    done = workspace.control.ctypes.data + 8 * DONE
    phase = 0, 0, 0, 0
    known, finished = NOTHING, 0
    for distance in range(threads):
        owner = (thread + distance) % threads
        queue = queue_address(workspace, owner)
        while True:
            taken = atomic_add(queue, 1)
            published, chunk = taken >> CHUNK_BITS, taken & ((1 << CHUNK_BITS) - 1)
            if published in (NOTHING, OVER):
                return
            if published != known:
                phase, known = phase_at(tape, published - 1, end, workspace), published
            if chunk >= (owner + 1) * phase[3] // threads:
                break
            do_chunk(base, tape, phase, chunk, workspace, floats, thread)
            finished += 1
        if finished > 0:  # not told chunk by chunk, which would make both threads' caches exchange a line each time
            atomic_add(done, finished)
            finished = 0


@njit
def do_phase(base, tape, stage, end, workspace, floats, threads):
    """The leader's part: publishes the phase that begins with the stage, helps, and returns when all of it is done."""
    phase = phase_at(tape, stage, end, workspace)
    if threads == 1:
        for chunk in range(phase[3]):
            do_chunk(base, tape, phase, chunk, workspace, floats, np.int64(0))
        return
    done = workspace.control.ctypes.data + 8 * DONE
    atomic_store(done, 0)
    for thread in range(threads):
        atomic_store(queue_address(workspace, thread), (stage + 1) << CHUNK_BITS | thread * phase[3] // threads)
    take_chunks(base, tape, end, workspace, floats, np.int64(0), threads)  # a literal 0 would be compiled for separately
    times = 0
    while atomic_load(done) < phase[3]:
        times += 1
        wait_a_moment(times)


@njit
def help_leader(base, tape, end, workspace, floats, thread, threads):
    """A helper's part: takes chunks of whatever is published until the run is over."""
    queue = queue_address(workspace, thread)
    last, times = 0, 0
    while last != OVER:
        published = atomic_load(queue) >> CHUNK_BITS
        if published != last:
            take_chunks(base, tape, end, workspace, floats, thread, threads)
            last, times = published, 0
        else:
            times += 1
            wait_a_moment(times)


@njit
def end_sharing(workspace, threads):
    for thread in range(threads):
        atomic_store(queue_address(workspace, thread), OVER << CHUNK_BITS)
