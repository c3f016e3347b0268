"""Where the kernel's blocks must wait for one another: before an op that needs what an op since the last barrier wrote, or overwrites what
it read.

Products of one activation, such as q, k and v, thus run side by side.
"""

import numpy as np
from numpy.typing import NDArray

from opml_min.memory_map import OUTPUT
from opml_min.model.image.ops import Buffer, Op, Opcode, buffers

SCRATCH_OF_ATTENTION: Buffer = (0, 1)  # stands for memory that only the card has
TOKENS: Buffer = (OUTPUT, 1)  # stands for the output


def barriers_before(ops: list[Op]) -> NDArray[np.uint8]:
    """Return for each op whether to wait before it: (ops). A position always begins with a barrier."""
    flags = np.zeros(len(ops), np.uint8)
    written: list[Buffer] = []
    read: list[Buffer] = []
    for index, op in enumerate(ops):
        writes, reads = _touched(op)
        if index == 0 or _meet(writes, written + read) or _meet(reads, written):
            flags[index] = 1
            written, read = [], []
        written, read = written + writes, read + reads
    return flags


def _touched(op: Op) -> tuple[list[Buffer], list[Buffer]]:
    """Return what the op writes, and what it only reads, outside the model quarter."""
    writes, reads, _ = buffers(op)
    match op.opcode:
        case Opcode.ATTENTION:
            return [*writes, SCRATCH_OF_ATTENTION], reads
        case Opcode.SAMPLE:
            return [TOKENS], reads
        case Opcode.EMBED:
            return writes, [TOKENS]
        case _:
            return writes, reads


def _meet(some: list[Buffer], others: list[Buffer]) -> bool:
    return any(a < b + m and b < a + n for a, n in some for b, m in others)
