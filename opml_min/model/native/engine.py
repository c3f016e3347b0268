"""Native execution of a tape: the threads, their scratch, and the call into compiled code."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from opml_min.machine import Memory
from opml_min.memory_map import REQUEST
from opml_min.model.errors import CheckFailed
from opml_min.model.image.header import FLOAT, TEXT, Header
from opml_min.model.image.ops import Op, Opcode, Tape
from opml_min.model.native.batching import Copied, block_scratch, copied_buffers
from opml_min.model.native.fusion import phase_lengths
from opml_min.model.native.kernels.batch import BLOCK_POSITIONS
from opml_min.model.native.kernels.fixed.fixed_point import sigmoid_table
from opml_min.model.native.kernels.stages import run_stages
from opml_min.model.native.kernels.vector.tile import GROUP, LANES
from opml_min.model.native.kernels.work_sharing import STOP, Workspace, control_words, is_worth_sharing

POLL_SECONDS = 0.02  # how often a long run is looked at
STAGES_WITHOUT_WATCH = 1000
THREADS_PAY_FROM_STAGES = 8  # a thread takes 0.3 ms to start
CACHE_LINES_BYTES = 128  # two, which processors fetch together


class Engine:
    """Computes stages in place on a memory whose tape has been checked. The result does not depend on `threads`."""

    def __init__(self, memory: Memory, header: Header, tape: Tape, threads: int) -> None:
        self._memory, self._base, self._kind = memory, memory.base_address, header.request_kind
        self._tape = np.array(tape, np.int64)
        self._stop_tokens = np.array(header.stop_tokens, np.int64)
        ops = [Op.from_words(words) for words in tape.tolist()]
        self._threads = threads if any(_ever_shared(op, header.context) for op in ops) else 1
        copied = copied_buffers(ops) if self._kind == TEXT else None
        self._in_blocks = copied is not None
        self._draws = any(op.opcode.kind == Opcode.SAMPLE for op in ops)
        self._workspace = _workspace(ops, header.context, self._threads, copied)
        self._floats = np.zeros((self._threads, header.context), np.float32) if header.arithmetic == FLOAT else None
        if self._floats is not None and np.float32(2.0**-126) * np.float32(0.5) == 0:
            raise CheckFailed("a library has made this process round subnormal floats to zero; --device vm does not need it")
        self._enter(0, 0, 0, 1)  # compiles, or loads what was compiled before

    def run(self, first: int, end: int, *, watch: Callable[[], None] = lambda: None) -> None:
        """Computes the stages [first, end), calling `watch` now and then."""
        if first >= end:
            return
        self._workspace.control[:] = 0
        self._workspace.block.prefill[:] = self._prefill(first, end)
        if (self._threads == 1 and end - first < STAGES_WITHOUT_WATCH) or end - first < THREADS_PAY_FROM_STAGES:
            self._enter(first, end, 0, 1)
            return
        workers = [
            threading.Thread(target=self._enter, args=(first, end, thread, self._threads)) for thread in range(self._threads)
        ]
        for worker in workers:
            worker.start()
        try:
            while any(worker.is_alive() for worker in workers):
                workers[0].join(POLL_SECONDS)
                watch()
        finally:
            self._workspace.control[STOP] = 1  # does nothing unless interrupted: the threads then leave at the next position
            for worker in workers:
                worker.join()

    @property
    def positions_together(self) -> int:
        """How many positions `buffers` can still tell apart after a run."""
        return BLOCK_POSITIONS if self._in_blocks else 1

    def buffers(self, address: int, length: int, positions: int) -> npt.NDArray[np.uint8]:
        """What the last `positions` positions left in the bytes of a buffer: (positions, length).

        They were the only ones of the last run, began with it, drew nothing, and are at most `positions_together`."""
        if not self._in_blocks:
            left: npt.NDArray[Any] = self._memory.view(address, length, np.uint8)[None]
        else:
            start = address - int(self._workspace.block.copied[0])
            left = self._workspace.block.copies[:positions, start : start + length]
        return left

    def _prefill(self, first: int, end: int) -> tuple[int, int]:
        """The positions of these stages that are done in blocks: whole ones that draw no token."""
        if not self._in_blocks:
            return 0, 0
        prompt_length = int(self._memory.view(REQUEST + 32, 1, np.uint32)[0])
        return -(-first // len(self._tape)), min(end // len(self._tape), prompt_length - self._draws)

    def _enter(self, first: int, end: int, thread: int, threads: int) -> None:
        where, scratch = (self._base, self._kind, self._tape, self._stop_tokens), (self._workspace, self._floats)
        run_stages(*where, first, end, *scratch, thread, threads)


def _ever_shared(op: Op, context: int) -> bool:
    return bool(is_worth_sharing.py_func(op.opcode, op.words()[2:], context - 1))


def _workspace(ops: list[Op], context: int, threads: int, copied: Copied | None) -> Workspace:
    def largest(*names: str, opcode: Opcode | None = None) -> int:
        """The largest product of the operands of these names over all ops that have them."""
        sizes = [1]
        for op in ops:
            if all(name in op.operands for name in names) and opcode in (None, op.opcode):
                sizes.append(int(np.prod([op.operands[name] for name in names])))
        return max(sizes)

    attends = any(op.opcode == Opcode.ATTENTION for op in ops)
    return Workspace(
        z=_rows(threads, max(largest("length"), largest("heads", "head_size")), np.int64),
        fractions=_rows(threads, largest("heads"), np.int64),
        scores=_rows(threads, context if attends else 1, np.int64),
        queries=_rows(threads, largest("head_size"), np.int16),
        group_sums=np.zeros(largest("columns") // GROUP + 1, np.int32),
        sums=_rows(threads, LANES, np.int64),
        sigmoid_table=sigmoid_table(),
        control=np.zeros(control_words(threads), np.int64),
        phase_lengths=phase_lengths(ops),
        block=block_scratch(ops, threads, copied),
    )


def _rows(threads: int, length: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """(threads, at least length) zeros, no two rows in one pair of cache lines."""
    return np.zeros((threads, length + CACHE_LINES_BYTES // np.dtype(dtype).itemsize), dtype)
