"""Fused groups: consecutive ops of a tape that threads may compute at once, namely matrix products of one activation, such as q, k and v.

After each group all threads wait for the last one, so fewer groups mean less waiting.
"""

import numpy as np
from numpy.typing import NDArray

from opml_min.model.image.ops import Buffer, Op, Opcode, buffers, writes

MAX_OPS = 16


def fused_lengths(ops: list[Op]) -> NDArray[np.int64]:
    """Return how many ops form the fused group that begins with each op: (ops)."""
    return np.array([_length(ops[first : first + MAX_OPS]) for first in range(len(ops))], np.int64)


def _length(ops: list[Op]) -> int:
    first = ops[0]
    if first.opcode.kind != Opcode.MATMUL:
        return 1
    same = ("x", "columns")
    written: list[Buffer] = []
    for count, op in enumerate(ops):
        if (op.opcode, op.condition) != (first.opcode, first.condition) or any(op.operands[name] != first.operands[name] for name in same):
            return count
        out, read = writes(op), buffers(op)[1]
        if any(_overlap(a, b) for a in written for b in out + read) or any(_overlap(a, b) for a in out for b in read):
            return count
        written += out
    return len(ops)


def _overlap(a: Buffer, b: Buffer) -> bool:
    return a[0] < b[0] + b[1] and b[0] < a[0] + a[1]
