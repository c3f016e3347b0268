"""Which ops of a tape that follow one another may be done at once: matrix products of one activation, such as q, k and v.

A phase is what threads share between two moments at which all of them must have finished; the fewer there are, the less they wait.
"""

import numpy as np
from numpy.typing import NDArray

from opml_min.model.image.ops import Op, Opcode
from opml_min.model.native.check import Buffer, buffers, writes

MOST_OPS = 16


def phase_lengths(ops: list[Op]) -> NDArray[np.int64]:
    """(ops): how many ops, from each one on, are a phase."""
    return np.array([_length(ops[first : first + MOST_OPS]) for first in range(len(ops))], np.int64)


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
