"""The threads that compute an op: each takes the next piece of a phase until none is left. No result depends on their number.

*Source*: the calling convention of `kernels`.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count

import numpy as np

from opml_min.machine import Memory
from opml_min.model.native.kernel_cache import require_compiler
from opml_min.training.kernels.batch_rows import SETTINGS
from opml_min.training.operations import TrainingOp, TrainingOpcode
from opml_min.training.plans import Phase, Words, plan_of
from opml_min.training.request import Settings
from opml_min.training.written import spans_written_by


class TrainingEngine:
    """Computes ops in place, on a memory whose tape a loader has checked."""

    def __init__(self, memory: Memory, threads: int) -> None:
        require_compiler()
        self._memory, self._threads = memory, threads
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        self._scratch = [np.zeros(64, np.uint8) for _ in range(threads)]
        self._first_calls: set[object] = set()

    def run(self, op: TrainingOp, settings: Settings, update: int) -> None:
        """Compute an op in an update, and put what it wrote on the memory's record."""
        plan = plan_of(op, self._memory)
        words = np.array([*_operands(op), *_settings(op, settings, update), *plan.words], np.int64)
        for phase in plan.phases:
            self._run_phase(phase, words, plan.shared)
        for address, size in spans_written_by(op, self._memory):
            self._memory.mark_written(address, size)

    def _run_phase(self, phase: Phase, words: Words, shared: Words) -> None:
        chunks = count()
        if phase.kernel not in self._first_calls:  # it is compiled or loaded once, by one thread
            self._first_calls.add(phase.kernel)
            self._take_chunks(phase, words, shared, chunks, 0)
            return
        helpers: list[Future[None]] = []
        if self._pool is not None:
            for thread in range(1, min(self._threads, phase.chunks)):
                helpers.append(self._pool.submit(self._take_chunks, phase, words, shared, chunks, thread))
        self._take_chunks(phase, words, shared, chunks, 0)
        for helper in helpers:
            helper.result()

    def _take_chunks(self, phase: Phase, words: Words, shared: Words, chunks: "count[int]", thread: int) -> None:
        if len(self._scratch[thread]) < phase.scratch + 64:
            self._scratch[thread] = np.zeros(phase.scratch + 64, np.uint8)
        scratch = (int(self._scratch[thread].ctypes.data) + 63) // 64 * 64
        for chunk in chunks:
            first = chunk * phase.units_at_once
            if first >= phase.units:
                return
            end = min(first + phase.units_at_once, phase.units)
            phase.kernel(self._memory.base_address, words, first, end, chunk, scratch, shared)


def _operands(op: TrainingOp) -> list[int]:
    operands = list(op.words()[2:])
    return operands + [0] * (SETTINGS - len(operands))


def _settings(op: TrainingOp, settings: Settings, update: int) -> list[int]:
    """Return seed, update, rate, decay, momentum and the factors of both moments."""
    seed = settings.seed - (settings.seed >> 63 << 64)  # as an i64
    rate = decay = 0
    if "rate_q16" in op.operands:
        of = settings.corrected_rate if op.opcode == TrainingOpcode.ADAM else settings.rate
        rate = of(update, op["rate_q16"])
        decay = settings.decay(update, op["rate_q16"]) if op["decays"] == 1 else 0
    return [seed, update, rate, decay, settings.momentum_q16, settings.first_moment_q16, settings.second_moment_q16]
