"""When a tape's positions may be computed in blocks, op by op, and what every position of a block then has a copy of.

Between two positions a LLaMA carries nothing but the KV cache; all other buffers are written anew before they are read. Where a tape is
like that, a block of positions can do its first op for every position, then its second, and so on, each position in a copy of the buffers:
the memory afterwards is the same as if the positions had come one after the other. Another tape is done position by position.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opml_min.model.image.header import FIXED
from opml_min.model.image.ops import OPERANDS, RECORD_WORDS, WHEN_DRAWN, Op, Opcode
from opml_min.model.native.check import Buffer, buffers, writes
from opml_min.model.native.kernels.batch import BLOCK_POSITIONS, Block
from opml_min.model.native.kernels.fixed.batch_attention import attention_scratch_bytes
from opml_min.model.native.kernels.vector.packed import MAX_HEAD_SIZE
from opml_min.model.native.kernels.vector.panel import panel_scratch_bytes
from opml_min.model.native.kernels.vector.tile import GROUP

OPERAND_WORDS = RECORD_WORDS - 2
CACHE_LINE_BYTES = 64
MAX_COPY_BYTES = 1 << 23  # of one position
MOVED = {"out", "x", "y", "vector", "k", "v", "q", "gate", "up"}  # operands that may be addresses of buffers
CACHE_OPERANDS = ("keys", "key_exps", "values", "value_exps", "kv_heads", "head_size", "context")


class Copied(NamedTuple):
    """The memory that each position has a copy of, and which operands are addresses in it."""

    address: int
    length: int
    is_copied: NDArray[np.int64]  # (ops, OPERAND_WORDS), 0 or 1


def copied_buffers(ops: list[Op]) -> Copied | None:
    """None if the positions must come one after the other."""
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
    if not _is_written_before_read(flows, first, end):
        return None
    is_copied = np.zeros((len(ops), OPERAND_WORDS), np.int64)
    for index, op in enumerate(ops):
        for place, name in enumerate(OPERANDS[op.opcode]):
            is_copied[index, place] = name in MOVED and first <= op.operands[name] < end
    return Copied(first, end - first, is_copied)


def _flow(op: Op) -> tuple[list[Buffer], list[Buffer]]:
    """The buffers that the op reads and the bytes that it writes, the KV cache left out."""
    whole, read, _ = buffers(op)
    match op.opcode:
        case Opcode.CACHE:
            return read, []
        case Opcode.ATTENTION:
            return read[:1], writes(op)
        case Opcode.ROPE | Opcode.ADD:
            return read + whole, writes(op)
        case _:
            return read, writes(op)


def _caches_are_separate(ops: list[Op], caches: list[Buffer]) -> bool:
    """Whether no caches overlap, and each ATTENTION reads one that was written before it in the same position."""
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


def _is_written_before_read(flows: list[tuple[list[Buffer], list[Buffer]]], first: int, end: int) -> bool:
    """Whether no op reads a byte that an earlier position wrote."""
    sometime, now = np.zeros(end - first, np.bool_), np.zeros(end - first, np.bool_)
    for _, written in flows:
        for address, length in written:
            sometime[address - first : address - first + length] = True
    for reads, written in flows:
        for address, length in reads:
            place = slice(address - first, address - first + length)
            if bool((sometime[place] & ~now[place]).any()):
                return False
        for address, length in written:
            now[address - first : address - first + length] = True
    return True


def block_scratch(ops: list[Op], threads: int, copied: Copied | None) -> Block:
    """As good as nothing if no positions are done in blocks."""
    positions, groups, scratch_bytes = 1, 1, 1
    if copied is None:
        copied = Copied(0, 0, np.zeros((len(ops), OPERAND_WORDS), np.int64))
    else:
        positions = BLOCK_POSITIONS
        for op in ops:
            o = op.operands
            if op.opcode == Opcode.MATMUL:
                groups = max(groups, o["columns"] // GROUP)
            elif op.opcode == Opcode.ATTENTION:
                scratch_bytes = max(scratch_bytes, attention_scratch_bytes(o["heads"], o["head_size"], o["context"]))
        scratch_bytes = max(scratch_bytes, panel_scratch_bytes(groups))
    return Block(
        prefill=np.zeros(2, np.int64),
        copied=np.array([copied.address, copied.length], np.int64),
        copies=_rows_of_lines(positions, copied.length),
        is_copied=copied.is_copied,
        operands=np.zeros((threads, OPERAND_WORDS), np.int64),
        group_sums=np.zeros((positions, groups), np.int32),
        scratch=_rows_of_lines(threads, scratch_bytes),
    )


def _rows_of_lines(rows: int, length: int) -> NDArray[np.uint8]:
    """Zeros, `length` or more a row: an odd number of whole cache lines, so that rows do not compete for the same sets."""
    step = -(-length // CACHE_LINE_BYTES) * CACHE_LINE_BYTES | CACHE_LINE_BYTES
    room = np.zeros(rows * step + CACHE_LINE_BYTES, np.uint8)
    start = -room.ctypes.data % CACHE_LINE_BYTES
    return room[start : start + rows * step].reshape(rows, step)
