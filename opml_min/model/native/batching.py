"""Batching: when a tape's prompt positions may be computed together, op by op, and which buffers each position then has a copy of.

From position to position a LLaMA carries only the KV cache; every other buffer is written before it is read. For such a tape native code
can compute the first op at every position of a batch, then the second, and so on, with a copy of the buffers per position. Afterwards the
memory is the same as if the positions had been computed one by one, which is how other tapes are computed.
"""

from itertools import pairwise

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.model.image.ops import FIXED, OPERANDS, RECORD_WORDS, WHEN_DRAWN, Buffer, Op, Opcode, buffers, writes
from opml_min.model.image.weights import GROUP
from opml_min.model.native.kernels.batch import BATCH_POSITIONS, Batch
from opml_min.model.native.kernels.fixed.batch_attention import attention_scratch_bytes
from opml_min.model.native.kernels.vector.packed import MAX_HEAD_SIZE
from opml_min.model.native.kernels.vector.panel import panel_scratch_bytes

OPERAND_WORDS = RECORD_WORDS - 2
CACHE_LINE_BYTES = 64
EXPONENT_BYTES, ACTIVATION_HEAD_BYTES = 4, 32  # of an activation. Source: spec §3.4
MAX_COPY_BYTES = 1 << 23  # per position
MOVED = {"out", "x", "y", "vector", "k", "v", "q", "gate", "up"}  # operands that may be addresses of buffers
CACHE_OPERANDS = ("keys", "key_exps", "values", "value_exps", "kv_heads", "head_size", "context")


@frozen(eq=False)
class Copied:
    """The memory that each position has a copy of, and the operands that are addresses in it."""

    address: int
    length: int
    is_copied: NDArray[np.int64]  # (ops, OPERAND_WORDS), 0 or 1


def copied_buffers(ops: list[Op]) -> Copied | None:
    """Return the memory to copy, or None if positions must be computed one by one."""
    always = [op for op in ops if op.condition != WHEN_DRAWN]
    if any(op.opcode.arithmetic != FIXED or op.opcode in (Opcode.SAMPLE, Opcode.INPUT) for op in always):
        return None
    if any(op.operands.get("head_size", 0) > MAX_HEAD_SIZE for op in always):
        return None
    caches = [buffer for op in always if op.opcode == Opcode.CACHE for buffer in buffers(op)[0]]
    flows = [_flow(op) for op in always]
    touched = [buffer for reads, written in flows for buffer in reads + written]
    if not touched or not _caches_are_separate(always, caches):
        return None
    first, end = min(address for address, _ in touched), max(address + length for address, length in touched)
    if end - first > MAX_COPY_BYTES or any(address < end and first < address + length for address, length in caches):
        return None
    if not _is_written_before_read(flows, first, end) or not _may_draw_with_others(ops):
        return None
    is_copied = np.zeros((len(ops), OPERAND_WORDS), np.int64)
    for index, op in enumerate(ops):
        for place, name in enumerate(OPERANDS[op.opcode]):
            is_copied[index, place] = name in MOVED and first <= op.operands[name] < end
    return Copied(first, end - first, is_copied)


def _flow(op: Op) -> tuple[list[Buffer], list[Buffer]]:
    """Return the buffers that the op reads and the bytes that it certainly writes, apart from the KV cache."""
    whole, read, _ = buffers(op)
    match op.opcode:
        case Opcode.CACHE:
            return read, []
        case Opcode.ATTENTION:
            return read[:1], _activation_written(op)
        case Opcode.NORM | Opcode.SWIGLU | Opcode.RELU:
            return read, _activation_written(op)
        case Opcode.ROPE | Opcode.ADD:
            return read + whole, writes(op)
        case _:
            return read, writes(op)


def _activation_written(op: Op) -> list[Buffer]:
    """Return the exponent and the numbers of the activation that the op writes. What lies between them keeps its bytes."""
    ((address, length),) = writes(op)
    return [(address, EXPONENT_BYTES), (address + ACTIVATION_HEAD_BYTES, length - ACTIVATION_HEAD_BYTES)]


def _caches_are_separate(ops: list[Op], caches: list[Buffer]) -> bool:
    """Tell whether no caches overlap, and each ATTENTION reads one that an earlier op of the same position wrote."""
    ascending = sorted(caches)
    if any(a[0] + a[1] > b[0] for a, b in pairwise(ascending)):
        return False
    written = set()
    for op in ops:
        cache = tuple(op.operands.get(name) for name in CACHE_OPERANDS)
        if op.opcode == Opcode.CACHE:
            written.add(cache)
        elif op.opcode == Opcode.ATTENTION and cache not in written:
            return False
    return True


def _may_draw_with_others(ops: list[Op]) -> bool:
    """Tell whether the ops of a position that draws read nothing from earlier positions either, so that it may be in their batch."""
    if any(op.condition == WHEN_DRAWN and op.opcode in (Opcode.CACHE, Opcode.ATTENTION) for op in ops):
        return False
    flows = [_flow(op) for op in ops]
    touched = [buffer for reads, written in flows for buffer in reads + written]
    first, end = min(address for address, _ in touched), max(address + length for address, length in touched)
    return end - first <= 4 * MAX_COPY_BYTES and _is_written_before_read(flows, first, end)


def _is_written_before_read(flows: list[tuple[list[Buffer], list[Buffer]]], first: int, end: int) -> bool:
    """Tell whether no op reads a byte that an earlier position wrote."""
    ever, now = np.zeros(end - first, np.bool_), np.zeros(end - first, np.bool_)
    for _, written in flows:
        for address, length in written:
            ever[address - first : address - first + length] = True
    for reads, written in flows:
        for address, length in reads:
            place = slice(address - first, address - first + length)
            if bool((ever[place] & ~now[place]).any()):
                return False
        for address, length in written:
            now[address - first : address - first + length] = True
    return True


def batch_scratch(ops: list[Op], threads: int, copied: Copied | None) -> Batch:
    """Allocate the memory for batches, or almost none if there are none."""
    positions, groups, scratch_bytes = 1, 1, 1
    if copied is None:
        copied = Copied(0, 0, np.zeros((len(ops), OPERAND_WORDS), np.int64))
    else:
        positions = BATCH_POSITIONS
        for op in ops:
            o = op.operands
            if op.opcode == Opcode.MATMUL:
                groups = max(groups, o["columns"] // GROUP)
            elif op.opcode == Opcode.ATTENTION:
                scratch_bytes = max(scratch_bytes, attention_scratch_bytes(o["heads"], o["head_size"], o["context"]))
        scratch_bytes = max(scratch_bytes, panel_scratch_bytes(groups))
    return Batch(
        range=np.zeros(2, np.int64),
        copied=np.array([copied.address, copied.length], np.int64),
        copies=_rows_of_lines(positions, copied.length),
        is_copied=copied.is_copied,
        operands=np.zeros((threads, OPERAND_WORDS), np.int64),
        group_sums=np.zeros((positions, groups), np.int32),
        scratch=_rows_of_lines(threads, scratch_bytes),
    )


def _rows_of_lines(rows: int, length: int) -> NDArray[np.uint8]:
    """Return zeros with at least `length` per row: an odd number of cache lines, so that rows do not compete for the same sets."""
    stride = -(-length // CACHE_LINE_BYTES) * CACHE_LINE_BYTES | CACHE_LINE_BYTES
    memory = np.zeros(rows * stride + CACHE_LINE_BYTES, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE_BYTES
    return memory[start : start + rows * stride].reshape(rows, stride)
