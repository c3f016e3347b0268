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
from opml_min.model.kernels.prefill import block_length, chunks_of_block, do_chunk_of_block, do_tiles_of_block
from opml_min.model.kernels.tile import LANES
from opml_min.model.layout import RECORD_WORDS, Opcode

MATMUL, ATTENTION = int(Opcode.MATMUL), int(Opcode.ATTENTION)
FLOAT_MATMUL, FLOAT_ATTENTION = int(Opcode.FLOAT_MATMUL), int(Opcode.FLOAT_ATTENTION)
SHARE_FROM_WEIGHTS = 1 << 16  # multiplications of an op, below which sharing costs more than it saves
CHUNK_WEIGHTS = 1 << 14  # of a MATMUL, at least; about 1 µs
TAKEN, DONE, STOP, CONTROL_WORDS = 0, 8, 16, 24  # words of the control array, in different cache lines
NOTHING, OVER = 0, (1 << 31) - 1  # instead of a stage + 1 in TAKEN
CHUNK_BITS = 32
OPERAND_WORDS = RECORD_WORDS - 2


class Workspace(NamedTuple):
    """Scratch of the kernels, outside the machine's memory."""

    z: Any  # i64 (threads, longest vector)
    fractions: Any  # i64 (threads, heads)
    scores: Any  # i64 (threads, context)
    queries: Any  # i16 (threads, head_size)
    sums: Any  # i64 (threads, TOGETHER · 8)
    group_sums: Any  # i32 (positions of a block, groups)
    sigmoid_table: Any  # i32 (4097)
    control: Any  # i64 (CONTROL_WORDS): stage + 1 and the next chunk; chunks done; the wish to stop
    prefill: Any  # i64 (2): the positions [first, end) that are done in blocks
    copied: Any  # i64 (2): address and length of the memory that holds the buffers of a position
    copies: Any  # u8 (positions of a block, at least that length): such buffers, one set for each position of a block
    is_copied: Any  # i64 (ops, OPERAND_WORDS): 1 for the operands that are addresses in them, else 0
    operands: Any  # i64 (threads, OPERAND_WORDS): scratch


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
def chunk_count(opcode, operands, positions):
    """Of a MATMUL some tiles; of an ATTENTION a head. positions: of a block, of which other ops cut out some; 0 for a single one."""
    if opcode in (MATMUL, FLOAT_MATMUL):
        rows, columns = (operands[4], operands[5]) if opcode == MATMUL else (operands[3], operands[4])
        tiles = (rows + LANES - 1) // LANES
        return (tiles + tiles_a_chunk(columns) - 1) // tiles_a_chunk(columns)
    if positions > 0:
        return chunks_of_block(opcode, positions)
    return operands[6] if opcode == ATTENTION else operands[4]


@njit
def do_chunk(base, tape, stage, chunk, workspace, floats, thread):
    """A chunk of the stage, or of its op in the block of positions that begins there."""
    position, op = stage // len(tape), stage % len(tape)
    opcode, operands = tape[op, 0], tape[op, 2:]
    if floats is None:
        positions = block_length(workspace, position)
        if opcode == MATMUL:
            size = tiles_a_chunk(operands[5])
            first, end = chunk * size, (chunk + 1) * size
            if positions > 0:
                do_tiles_of_block(base, tape, op, first, end, positions, workspace, thread)
            else:
                matmul_tiles(base, operands, first, end, workspace.group_sums[0], workspace.sums[thread])
        elif positions > 0:
            do_chunk_of_block(base, tape, op, position, chunk, positions, workspace, thread)
        else:
            scores, query = workspace.scores[thread], workspace.queries[thread]
            attention_head(base, operands, position, chunk, workspace.z[0], workspace.fractions[0], scores, query)
    else:
        if opcode == FLOAT_MATMUL:
            size = tiles_a_chunk(operands[4])
            float_matmul_tiles(base, operands, chunk * size, (chunk + 1) * size, workspace.sums[thread])
        else:
            float_attention_head(base, operands, position, chunk, floats[thread])


@njit
def chunks_of_stage(tape, stage, workspace):
    op = stage % len(tape)
    return chunk_count(tape[op, 0], tape[op, 2:], block_length(workspace, stage // len(tape)))


@njit
def take_chunks(base, tape, workspace, floats, thread):
    """Does chunks of the published op until none is left."""
    control = workspace.control.ctypes.data
    while True:
        taken = atomic_add(control + 8 * TAKEN, 1)
        published, chunk = taken >> CHUNK_BITS, taken & ((1 << CHUNK_BITS) - 1)
        if published in (NOTHING, OVER):
            return
        if chunk >= chunks_of_stage(tape, published - 1, workspace):
            return
        do_chunk(base, tape, published - 1, chunk, workspace, floats, thread)
        atomic_add(control + 8 * DONE, 1)


@njit
def share(base, tape, stage, workspace, floats):
    """The leader's part: publishes the stage, helps, and returns when all of it is done."""
    control = workspace.control.ctypes.data
    atomic_store(control + 8 * DONE, 0)
    atomic_store(control + 8 * TAKEN, (stage + 1) << CHUNK_BITS)
    take_chunks(base, tape, workspace, floats, 0)
    chunks = chunks_of_stage(tape, stage, workspace)
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
