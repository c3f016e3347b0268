"""Native execution of a tape: the threads, their scratch, and the call into compiled code."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import numpy.typing as npt

from opml_min.machine import Memory
from opml_min.memory_map import OUTPUT, REQUEST
from opml_min.model.errors import CheckFailed
from opml_min.model.image.header import TEXT, Header
from opml_min.model.image.ops import FLOAT, WHEN_DRAWN, Op, Opcode, Tape, ops_of
from opml_min.model.image.weights import GROUP, TILE_ROWS
from opml_min.model.native.batching import Copied, batch_scratch, copied_buffers
from opml_min.model.native.fusion import fused_lengths
from opml_min.model.native.kernel_cache import require_compiler
from opml_min.model.native.kernels.batch import BATCH_POSITIONS
from opml_min.model.native.kernels.fixed.fixed_point import sigmoid_table
from opml_min.model.native.kernels.stages import run_stages
from opml_min.model.native.kernels.work_queues import STOP, control_words
from opml_min.model.native.kernels.work_sharing import Workspace, is_worth_sharing
from opml_min.model.written import written_ranges

POLL_SECONDS = 0.02  # how often `watch` is called
STAGES_WITHOUT_WATCH = 1000
THREADS_PAY_FROM_STAGES = 8  # for fewer stages, starting threads takes longer than they save
CACHE_LINE_PAIR_BYTES = 128  # processors fetch lines in pairs


class Engine:
    """Computes stages in place, on a memory whose tape has been checked. The result does not depend on `threads`."""

    def __init__(self, memory: Memory, header: Header, tape: Tape, threads: int) -> None:
        require_compiler()
        self._memory, self._base, self._kind = memory, memory.base_address, header.request_kind
        self._tape = np.array(tape, np.int64)
        self._stop_tokens = np.array(header.stop_tokens, np.uint64).view(np.int64)
        ops = self._ops = ops_of(tape)
        self._threads = threads if any(_ever_shared(op, header.context) for op in ops) else 1
        copied = copied_buffers(ops) if self._kind == TEXT else None
        self._in_batches = copied is not None
        self._has_conditions = any(op.condition == WHEN_DRAWN for op in ops)  # which batches leave out
        self._workspace = _workspace(ops, header.context, self._threads, copied)
        self._floats = np.zeros((self._threads, header.context), np.float32) if header.arithmetic == FLOAT else None
        if self._floats is not None and np.float32(2.0**-126) * np.float32(0.5) == 0:
            raise CheckFailed("a library has made this process round subnormal floats to zero; --device vm still works")
        self._enter(0, 0, 0, 1)  # compiles, or loads what was compiled before

    def run(self, first: int, end: int, *, watch: Callable[[], None] = lambda: None) -> None:
        """Compute the stages [first, end), calling `watch` from time to time, and put what they wrote on the memory's record."""
        if first >= end:
            return
        self._compute(first, end, watch)
        for address, length in written_ranges(self._ops, first, end, int(self._memory.view(OUTPUT, 1, np.uint64)[0])):
            self._memory.mark_written(address, length)

    def _compute(self, first: int, end: int, watch: Callable[[], None]) -> None:
        self._workspace.control[:] = 0
        self._workspace.batch.range[:] = self._batched_positions(first, end)
        if (self._threads == 1 and end - first < STAGES_WITHOUT_WATCH) or end - first < THREADS_PAY_FROM_STAGES:
            self._enter(first, end, 0, 1)
            return
        with ThreadPoolExecutor(self._threads) as workers:
            try:
                computed = [workers.submit(self._enter, first, end, thread, self._threads) for thread in range(self._threads)]
                while wait(computed, POLL_SECONDS).not_done:
                    watch()
            finally:
                self._workspace.control[STOP] = 1  # matters only after an interrupt: the threads then leave at the next position

    @property
    def batch_positions(self) -> int:
        """The most positions whose buffers all survive a run, so that `buffers` can return them."""
        return BATCH_POSITIONS if self._in_batches else 1

    def buffers(self, address: int, length: int, positions: int) -> npt.NDArray[np.uint8]:
        """Return what each position of the last run left in the bytes of a buffer: (positions, length).

        That run must have computed exactly these positions, at most `batch_positions`, and drawn no token."""
        if not self._in_batches:
            left: npt.NDArray[Any] = self._memory.view(address, length, np.uint8)[None]
        else:
            start = address - int(self._workspace.batch.copied[0])
            left = self._workspace.batch.copies[:positions, start : start + length]
        return left

    def losses(self) -> npt.NDArray[np.int64]:
        """Return how many numbers of each op have saturated so far, and how many have lost all bits: (ops, 2)."""
        return self._workspace.losses.sum(axis=0)[: len(self._tape)]  # type: ignore[no-any-return]

    def _batched_positions(self, first: int, end: int) -> tuple[int, int]:
        """Return the range of positions to compute in batches: those whose stages are all asked for, and that meet no condition."""
        if not self._in_batches:
            return 0, 0
        prompt_length = int(self._memory.view(REQUEST + 32, 1, np.uint32)[0])
        return -(-first // len(self._tape)), min(end // len(self._tape), prompt_length - self._has_conditions)

    def _enter(self, first: int, end: int, thread: int, threads: int) -> None:
        where, scratch = (self._base, self._kind, self._tape, self._stop_tokens), (self._workspace, self._floats)
        run_stages(*where, first, end, *scratch, thread, threads)


def _ever_shared(op: Op, context: int) -> bool:
    return bool(is_worth_sharing.py_func(op.opcode, op.words()[2:], context - 1))


def _workspace(ops: list[Op], context: int, threads: int, copied: Copied | None) -> Workspace:
    def largest(*names: str, opcode: Opcode | None = None) -> int:
        """Return the largest product of these operands over all ops that have them."""
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
        sums=_rows(threads, TILE_ROWS, np.int64),
        sigmoid_table=sigmoid_table(),
        losses=_rows(threads, 2 * len(ops), np.int64).reshape(threads, -1, 2),
        control=np.zeros(control_words(threads), np.int64),
        fused_lengths=fused_lengths(ops),
        batch=batch_scratch(ops, threads, copied),
    )


def _rows(threads: int, length: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return zeros (threads, at least length), with no two rows in one pair of cache lines."""
    return np.zeros((threads, length + CACHE_LINE_PAIR_BYTES // np.dtype(dtype).itemsize), dtype)
