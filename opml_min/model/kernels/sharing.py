"""How threads share an op: the leader cuts it into chunks, and whoever is free takes the next one.

The leader, thread 0, walks the tape. Where an op is worth sharing it publishes its stage in one atomic word; taking a chunk is adding 1
to that word, which tells the taker both the stage and the chunk, so nobody can mix up two ops. A helper that the operating system has put
to sleep holds nobody up, unless it sleeps in the middle of a chunk. What a chunk writes does not depend on who does it.

`floats` is scratch of float arithmetic, f32 (threads, context), or None in fixed point: the other arithmetic's code is then left out.
"""

from typing import Any, NamedTuple

from numba import njit

from opml_min.model.kernels.atomic import atomic_add, atomic_load, atomic_store, wait_a_moment
from opml_min.model.kernels.attention import attention_head
from opml_min.model.kernels.floats.attention import float_attention_head
from opml_min.model.kernels.floats.matmul import float_matmul_tiles
from opml_min.model.kernels.matmul import matmul_tiles
from opml_min.model.kernels.tile import LANES
from opml_min.model.layout import Opcode

MATMUL, ATTENTION = int(Opcode.MATMUL), int(Opcode.ATTENTION)
FLOAT_MATMUL, FLOAT_ATTENTION = int(Opcode.FLOAT_MATMUL), int(Opcode.FLOAT_ATTENTION)
SHARE_FROM_WEIGHTS = 1 << 16  # multiplications of an op, below which sharing costs more than it saves
CHUNK_WEIGHTS = 1 << 14  # of a MATMUL, at least; about 1 µs
TAKEN, DONE, STOP, CONTROL_WORDS = 0, 8, 16, 24  # words of the control array, in different cache lines
NOTHING, OVER = 0, (1 << 31) - 1  # instead of a stage + 1 in TAKEN
CHUNK_BITS = 32


class Workspace(NamedTuple):
    """Scratch of the kernels, outside the machine's memory."""

    z: Any  # i64 (longest vector)
    fractions: Any  # i64 (heads)
    scores: Any  # i64 (threads, context)
    queries: Any  # i64 (threads, head_size)
    sums: Any  # i64 (threads, 8)
    group_sums: Any  # i32 (groups)
    sigmoid_table: Any  # i32 (4097)
    control: Any  # i64 (CONTROL_WORDS): stage + 1 and the next chunk; chunks done; the wish to stop


@njit
def is_worth_sharing(opcode, operands, position):
    if opcode == MATMUL:
        return operands[4] * operands[5] >= SHARE_FROM_WEIGHTS
    if opcode == FLOAT_MATMUL:
        return operands[3] * operands[4] >= SHARE_FROM_WEIGHTS
    if opcode == ATTENTION:
        return operands[6] * operands[8] * 2 * (position + 1) >= SHARE_FROM_WEIGHTS
    if opcode == FLOAT_ATTENTION:
        return operands[4] * operands[6] * 2 * (position + 1) >= SHARE_FROM_WEIGHTS
    return False


@njit
def tiles_a_chunk(columns):
    return max(1, CHUNK_WEIGHTS // (LANES * columns))


@njit
def chunk_count(opcode, operands):
    """Of a MATMUL some tiles, of an ATTENTION a head."""
    if opcode in (ATTENTION, FLOAT_ATTENTION):
        return operands[6] if opcode == ATTENTION else operands[4]
    rows, columns = (operands[4], operands[5]) if opcode == MATMUL else (operands[3], operands[4])
    tiles = (rows + LANES - 1) // LANES
    return (tiles + tiles_a_chunk(columns) - 1) // tiles_a_chunk(columns)


@njit
def do_chunk(base, opcode, operands, position, chunk, workspace, floats, thread):
    if floats is None:
        if opcode == MATMUL:
            size = tiles_a_chunk(operands[5])
            matmul_tiles(base, operands, chunk * size, (chunk + 1) * size, workspace.group_sums, workspace.sums[thread])
        else:
            scores, query = workspace.scores[thread], workspace.queries[thread]
            attention_head(base, operands, position, chunk, workspace.z, workspace.fractions, scores, query)
    else:
        if opcode == FLOAT_MATMUL:
            size = tiles_a_chunk(operands[4])
            float_matmul_tiles(base, operands, chunk * size, (chunk + 1) * size, workspace.sums[thread])
        else:
            float_attention_head(base, operands, position, chunk, floats[thread])


@njit
def take_chunks(base, tape, workspace, floats, thread):
    """Does chunks of the published op until none is left."""
    control = workspace.control.ctypes.data
    while True:
        taken = atomic_add(control + 8 * TAKEN, 1)
        published, chunk = taken >> CHUNK_BITS, taken & ((1 << CHUNK_BITS) - 1)
        if published in (NOTHING, OVER):
            return
        position, op = (published - 1) // len(tape), (published - 1) % len(tape)
        opcode, operands = tape[op, 0], tape[op, 2:]
        if chunk >= chunk_count(opcode, operands):
            return
        do_chunk(base, opcode, operands, position, chunk, workspace, floats, thread)
        atomic_add(control + 8 * DONE, 1)


@njit
def share(base, tape, stage, workspace, floats):
    """The leader's part: publishes the op, helps, and returns when all of it is done."""
    control = workspace.control.ctypes.data
    op = stage % len(tape)
    atomic_store(control + 8 * DONE, 0)
    atomic_store(control + 8 * TAKEN, (stage + 1) << CHUNK_BITS)
    take_chunks(base, tape, workspace, floats, 0)
    chunks = chunk_count(tape[op, 0], tape[op, 2:])
    times = 0
    while atomic_load(control + 8 * DONE) < chunks:
        times += 1
        wait_a_moment(times)


@njit
def help_leader(base, tape, workspace, floats, thread):
    """A helper's part: takes chunks of whatever is published until the run is over."""
    control = workspace.control.ctypes.data
    last, times = 0, 0
    while last != OVER:
        published = atomic_load(control + 8 * TAKEN) >> CHUNK_BITS
        if published != last:
            take_chunks(base, tape, workspace, floats, thread)
            last, times = published, 0
        else:
            times += 1
            wait_a_moment(times)


@njit
def end_sharing(workspace):
    atomic_store(workspace.control.ctypes.data + 8 * TAKEN, OVER << CHUNK_BITS)
