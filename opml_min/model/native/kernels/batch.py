"""A block of prompt positions, op by op: what each op then does, in chunks that threads share.

Every position has its own copy of the buffers that live within a position; `opml_min.model.native.batching` says when that is allowed.
An op runs for all positions before the next one, so a matrix is read once a block. The kernels are those of a single position: only the
addresses among their operands are moved, from the machine's memory to the position's copy.

*Source*: spec/README.md §3.3 (what stages do one after the other may be done in any order that leaves the same memory).
"""

from typing import Any, NamedTuple

from numba import njit

from opml_min.model.image.ops import Opcode
from opml_min.model.native.kernels.addressing import uint8s
from opml_min.model.native.kernels.fixed.batch_attention import POSITIONS, attend
from opml_min.model.native.kernels.fixed.matmul import sum_groups
from opml_min.model.native.kernels.unshared import light_op
from opml_min.model.native.kernels.vector.panel import TILES, TOGETHER, matmul_panel
from opml_min.model.native.kernels.vector.tile import LANES, Q8_0

MATMUL, ATTENTION = int(Opcode.MATMUL), int(Opcode.ATTENTION)
BLOCK_POSITIONS = 128  # at most; a multiple of TOGETHER
LIGHT_POSITIONS = 4  # of a chunk of a light op


class Block(NamedTuple):
    """What blocks of positions need, outside the machine's memory."""

    prefill: Any  # i64 (2): the positions [first, end) that are done in blocks
    copied: Any  # i64 (2): address and length of the memory that holds the buffers of a position
    copies: Any  # u8 (positions of a block, at least that length): such buffers, one set for each position of a block
    is_copied: Any  # i64 (ops, OPERAND_WORDS): 1 for the operands that are addresses in them, else 0
    operands: Any  # i64 (threads, OPERAND_WORDS)
    group_sums: Any  # i32 (positions of a block, groups)
    scratch: Any  # u8 (threads, what a MATMUL or an ATTENTION needs)


@njit
def block_length(block, position):
    """How many positions the block that begins at `position` has; 0 if none does."""
    first, end = block.prefill
    return min(BLOCK_POSITIONS, end - position) if first <= position < end else 0


@njit
def move_operands(base, tape, op, copy, block, thread):
    """The op's operands with the addresses of the copy's buffers."""
    moved = block.operands[thread]
    distance = block.copies[copy].ctypes.data - base - block.copied[0]
    for i in range(len(moved)):
        moved[i] = tape[op, 2 + i] + block.is_copied[op, i] * distance
    return moved


@njit
def do_chunk_of_block(base, tape, op, position, chunk, positions, workspace, thread):
    """Of a MATMUL a panel, at all positions; of another op all of it, at some positions."""
    opcode, block = tape[op, 0], workspace.block
    if opcode == MATMUL:
        operands, step = move_operands(base, tape, op, 0, block, thread), block.copies.shape[1]
        matmul_panel(base, operands, chunk, positions, step, block.group_sums, block.scratch[thread].ctypes.data)
        return
    each = POSITIONS if opcode == ATTENTION else LIGHT_POSITIONS
    first, end = chunk * each, min((chunk + 1) * each, positions)
    if opcode == ATTENTION:
        operands, step = move_operands(base, tape, op, first, block, thread), block.copies.shape[1]
        attend(base, operands, step, position + first, end - first, block.scratch[thread].ctypes.data)
        return
    for i in range(first, end):
        operands = move_operands(base, tape, op, i, block, thread)
        light_op(base, opcode, operands, position + i, position + i + 1, workspace.z[thread], workspace.sigmoid_table)


@njit
def chunks_of_block(opcode, operands, positions):
    if opcode == MATMUL:
        return (operands[4] + TILES * LANES - 1) // (TILES * LANES)
    each = POSITIONS if opcode == ATTENTION else LIGHT_POSITIONS
    return (positions + each - 1) // each


@njit
def begin_block(base, positions, block):
    """Fills the copies: what no op writes, such as padding, is then there too."""
    first, length = block.copied
    for i in range((positions + TOGETHER - 1) // TOGETHER * TOGETHER):
        block.copies[i, :length] = uint8s(base, first, length)


@njit
def begin_op_of_block(base, tape, op, positions, block):
    if tape[op, 0] == MATMUL and tape[op, 5] != Q8_0:
        for i in range(positions):
            sum_groups(base, move_operands(base, tape, op, i, block, 0), block.group_sums[i])


@njit
def end_block(base, positions, block):
    """The buffers in memory become those of the last position."""
    first, length = block.copied
    uint8s(base, first, length)[:] = block.copies[positions - 1, :length]
