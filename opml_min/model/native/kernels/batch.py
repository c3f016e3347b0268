"""A batch: neighbouring prompt positions that are computed together, op by op, so that a matrix is read once per batch.

Each position has a copy of the buffers that live within a position; `opml_min.model.native.batching` says when that is allowed. The kernels
are those for a single position. Only their address operands change: they point into the position's copy.

*Source*: spec/README.md §3.3, by which stages may be computed in any order that leaves the same memory.
"""

from typing import Any, NamedTuple

from numba import njit

from opml_min.model.native.kernels.addressing import uint8s

BATCH_POSITIONS = 128  # at most
PANEL_POSITIONS = 4  # they share one reading of a panel of weights; BATCH_POSITIONS is a multiple


class Batch(NamedTuple):
    """The memory that batches need besides the machine's. A tuple, because numba takes it apart."""

    range: Any  # i64 (2): the positions [first, end) that are computed in batches
    copied: Any  # i64 (2): address and length of the memory that holds the buffers of a position
    copies: Any  # u8 (BATCH_POSITIONS, at least that length): a copy of it for each position
    is_copied: Any  # i64 (ops, OPERAND_WORDS): 1 for the operands that are addresses in it, else 0
    operands: Any  # i64 (threads, OPERAND_WORDS)
    group_sums: Any  # i32 (BATCH_POSITIONS, groups)
    scratch: Any  # u8 (threads, what a MATMUL or an ATTENTION needs)


@njit
def batch_length(batch, position):
    """Return how many positions the batch that begins at `position` has; 0 if none begins there."""
    first, end = batch.range
    return min(BATCH_POSITIONS, end - position) if first <= position < end else 0


@njit
def move_operands(base, tape, op, copy, batch, thread):
    """Return the op's operands with addresses in the given copy of the buffers."""
    moved = batch.operands[thread]
    distance = batch.copies[copy].ctypes.data - base - batch.copied[0]
    for i in range(len(moved)):
        moved[i] = tape[op, 2 + i] + batch.is_copied[op, i] * distance
    return moved


@njit
def begin_batch(base, positions, batch):
    """Fill the copies, including bytes that no op writes, such as padding."""
    first, length = batch.copied
    for i in range((positions + PANEL_POSITIONS - 1) // PANEL_POSITIONS * PANEL_POSITIONS):
        batch.copies[i, :length] = uint8s(base, first, length)


@njit
def end_batch(base, positions, batch):
    """Copy the buffers of the last position back into the memory."""
    first, length = batch.copied
    uint8s(base, first, length)[:] = batch.copies[positions - 1, :length]
