"""A block of prompt positions, op by op: what each op then does, in chunks that threads share.

Every position has its own copy of the buffers that live within a position; `opml_min.model.prefill` says when that is allowed. An op runs
for all positions before the next one, so a matrix is read once a block. The kernels are those of a single position: only the addresses
among their operands are moved, from the machine's memory to the position's copy.

*Source*: spec/README.md §3.3 (what stages do one after the other may be done in any order that leaves the same memory).
"""

from numba import njit

from opml_min.model.kernels.addressing import uint8s
from opml_min.model.kernels.attention import attention_head, attention_output
from opml_min.model.kernels.light import light_op
from opml_min.model.kernels.matmul import matmul_tiles_of_block, sum_groups
from opml_min.model.kernels.tile import TOGETHER
from opml_min.model.layout import Opcode

MATMUL, ATTENTION = int(Opcode.MATMUL), int(Opcode.ATTENTION)
BLOCK_POSITIONS = 64  # at most; a multiple of TOGETHER
LIGHT_POSITIONS = 4  # of a chunk of a light op


@njit
def block_length(workspace, position):
    """How many positions the block that begins at `position` has; 0 if none does."""
    first, end = workspace.prefill
    return min(BLOCK_POSITIONS, end - position) if first <= position < end else 0


@njit
def move_operands(base, tape, op, copy, workspace, thread):
    """The op's operands with the addresses of the copy's buffers."""
    moved = workspace.operands[thread]
    distance = workspace.copies[copy].ctypes.data - base - workspace.copied[0]
    for i in range(len(moved)):
        moved[i] = tape[op, 2 + i] + workspace.is_copied[op, i] * distance
    return moved


@njit
def do_chunk_of_block(base, tape, op, position, chunk, positions, workspace, thread):
    """An op that is not a MATMUL, at some positions."""
    opcode = tape[op, 0]
    each = 1 if opcode == ATTENTION else LIGHT_POSITIONS
    for i in range(chunk * each, min((chunk + 1) * each, positions)):
        operands = move_operands(base, tape, op, i, workspace, thread)
        if opcode == ATTENTION:
            z, fractions = workspace.z[thread], workspace.fractions[thread]
            for head in range(operands[6]):
                attention_head(base, operands, position + i, head, z, fractions, workspace.scores[thread], workspace.queries[thread])
            attention_output(base, operands, z, fractions)
        else:
            light_op(base, opcode, operands, position + i, position + i + 1, workspace.z[thread], workspace.sigmoid_table)


@njit
def do_tiles_of_block(base, tape, op, first, end, positions, workspace, thread):
    """The tiles [first, end) of a MATMUL for the whole block."""
    operands, step = move_operands(base, tape, op, 0, workspace, thread), workspace.copies.shape[1]
    matmul_tiles_of_block(base, operands, first, end, positions, step, workspace.group_sums, workspace.sums[thread])


@njit
def chunks_of_block(opcode, positions):
    """Of an op that is not a MATMUL."""
    each = 1 if opcode == ATTENTION else LIGHT_POSITIONS
    return (positions + each - 1) // each


@njit
def begin_block(base, positions, workspace):
    """Fills the copies: what no op writes, such as padding, is then there too."""
    first, length = workspace.copied
    for i in range((positions + TOGETHER - 1) // TOGETHER * TOGETHER):
        workspace.copies[i, :length] = uint8s(base, first, length)


@njit
def begin_op_of_block(base, tape, op, positions, workspace):
    if tape[op, 0] == MATMUL:
        for i in range(positions):
            sum_groups(base, move_operands(base, tape, op, i, workspace, 0), workspace.group_sums[i])


@njit
def end_block(base, positions, workspace):
    """The buffers in memory become those of the last position."""
    first, length = workspace.copied
    uint8s(base, first, length)[:] = workspace.copies[positions - 1, :length]
