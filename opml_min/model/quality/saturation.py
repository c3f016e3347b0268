"""Numbers that reached the end of their format. The run hash stays valid, but the model computes something else than its weights mean.

A saturated i32 is the largest or the smallest one. Nothing has to count while the model runs: the values are still in the buffers.

*Source*: spec §3.4 and §3.5 (sat32).
"""

import numpy as np
from numpy.typing import NDArray

from opml_min.machine import Memory
from opml_min.model.image.image import Image
from opml_min.model.image.ops import FLOAT, Op, Opcode, writes

SATURATING = (Opcode.EMBED, Opcode.MATMUL, Opcode.ROPE, Opcode.ADD)
INT32 = np.iinfo(np.int32)
LARGEST_EXPONENT, LARGEST_KEY = -2, 32767  # of a row of the cache whose vector had a saturated number


def saturated_by(op: Op, memory: Memory) -> int:
    """Return how many numbers are saturated in what the op has just written."""
    if op.opcode not in SATURATING:
        return 0
    return sum(_extremes(memory.view(address, length // 4, np.int32).view(np.int32)) for address, length in writes(op))


def saturated_after_run(image: Image, memory: Memory, positions: int) -> int:
    """Return how many saturated numbers a run has left behind: in keys and values of all positions, and in the vectors of the last one."""
    if image.header.arithmetic == FLOAT:
        return 0
    found = 0
    for op in {op.operands.get("out", op.operands.get("x", op.operands.get("vector"))): op for op in image.ops}.values():
        found += saturated_by(op, memory)
    for op in image.ops:
        if op.opcode == Opcode.CACHE:
            for vectors, exponents in (("keys", "key_exps"), ("values", "value_exps")):
                found += _in_cache(op.operands, vectors, exponents, memory, positions)
    return found


def _in_cache(o: dict[str, int], vectors: str, exponents: str, memory: Memory, positions: int) -> int:
    heads, context, head_size = o["kv_heads"], o["context"], o["head_size"]
    found = 0
    for head in range(heads):
        scales = memory.view(o[exponents] + head * context, positions, np.int8).view(np.int8)
        for position in np.flatnonzero(scales <= LARGEST_EXPONENT).tolist():
            row = memory.view(o[vectors] + 2 * (head * context + position) * head_size, head_size, np.int16)
            found += int((np.abs(row.astype(np.int64)) >= LARGEST_KEY).sum())
    return found


def _extremes(values: NDArray[np.int32]) -> int:
    return int(((values == INT32.max) | (values == INT32.min)).sum())
