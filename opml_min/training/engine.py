"""The threads that compute the ops of a tape, and the table from which compiled code takes what to do: no op needs Python.

No result depends on the number of threads.

*Source*: the calling convention of `kernels`.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from opml_min.machine import Memory
from opml_min.model.native.kernel_cache import require_compiler
from opml_min.model.native.kernels.work_queues import control_words
from opml_min.training.kernels.batch_rows import DECAY, MOMENTUM, RATE, SECOND_MOMENT, SEED, UPDATE, WORDS
from opml_min.training.kernels.phases import COLUMNS, KERNEL, RAISED, address_of, run_phases
from opml_min.training.operations import TrainingOp, TrainingOpcode
from opml_min.training.plans import Plan, plan_of
from opml_min.training.request import Settings
from opml_min.training.written import Span, depends_on_indices, spans_written_by, whole_pages

ALIGNMENT = 64  # of scratch and of shared room
APART = 128  # bytes between what two threads write: processors fetch lines in pairs

Room = npt.NDArray[np.uint8]


class TrainingEngine:
    """Computes ops of a tape in place, on a memory whose tape a loader has checked."""

    def __init__(self, memory: Memory, ops: Sequence[TrainingOp], threads: int) -> None:
        require_compiler()
        self._memory, self._ops, self._threads = memory, ops, threads
        self._plans = [plan_of(op) for op in ops]
        self._first_phases = list(accumulate((len(plan.phases) for plan in self._plans), initial=0))
        self._rated = [index for index, op in enumerate(ops) if "rate_q16" in op.operands]
        self._words = np.zeros((len(ops), WORDS + max((len(plan.words) for plan in self._plans), default=0)), np.int64)
        self._settled: tuple[Settings, int] | None = None
        room = max((plan.shared for plan in self._plans if isinstance(plan.shared, int)), default=0)
        self._shared = _room(8 * room)
        scratch = max((phase.scratch for plan in self._plans for phase in plan.phases), default=0)
        self._scratch = [_room(scratch + APART) for _ in range(threads)]
        self._control = np.zeros(control_words(threads), np.int64)
        self._phases = np.zeros((self._first_phases[-1], COLUMNS), np.int64)
        for index, (op, plan) in enumerate(zip(ops, self._plans, strict=True)):
            self._prepare(index, op, plan)
        self._written: dict[tuple[int, int], list[Span]] = {}
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def run(self, first: int, end: int, settings: Settings, update: int) -> None:
        """Compute the ops [first, end) in an update, and put what they wrote on the memory's record."""
        self._settle(settings, update)
        for start, stop in self._groups(first, end):
            self._load_kernels(start, stop)
            self._compute(self._first_phases[start], self._first_phases[stop])
            for address, size in self._spans(start, stop):
                self._memory.mark_written(address, size)

    def _prepare(self, index: int, op: TrainingOp, plan: Plan) -> None:
        operands, words = op.words()[2:], self._words[index]
        words[: len(operands)], words[WORDS : WORDS + len(plan.words)] = operands, plan.words
        where = (_start(self._shared), plan.shared) if isinstance(plan.shared, int) else (plan.shared.ctypes.data, len(plan.shared))
        for place, phase in enumerate(plan.phases, self._first_phases[index]):
            self._phases[place] = (0, phase.units, phase.units_at_once, words.ctypes.data, len(words), *where)

    def _load_kernels(self, first: int, end: int) -> None:
        """Resolve the kernels of ops that have not been computed before. A kernel is compiled, or loaded from the disk, once."""
        places = range(self._first_phases[first], self._first_phases[end])
        if self._phases[places.start : places.stop, KERNEL].all():
            return
        phases = [phase for plan in self._plans[first:end] for phase in plan.phases]
        for place, phase in zip(places, phases, strict=True):
            self._phases[place, KERNEL] = address_of(phase.kernel)

    def _settle(self, settings: Settings, update: int) -> None:
        """Write what does not depend on the operands into the words of all ops."""
        if self._settled == (settings, update):
            return
        self._settled = settings, update
        seed = settings.seed - (settings.seed >> 63 << 64)  # as an i64
        self._words[:, SEED], self._words[:, UPDATE] = seed, update
        self._words[:, MOMENTUM : SECOND_MOMENT + 1] = settings.momentum_q16, settings.first_moment_q16, settings.second_moment_q16
        for index in self._rated:
            op = self._ops[index]
            rate_of = settings.corrected_rate if op.opcode == TrainingOpcode.ADAM else settings.rate
            self._words[index, RATE] = rate_of(update, op["rate_q16"])
            self._words[index, DECAY] = settings.decay(update, op["rate_q16"]) if op["decays"] == 1 else 0

    def _groups(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Divide ops so that one that writes where indices say ends its group: then these are what they were when it was computed."""
        for index in range(first, end):
            if depends_on_indices(self._ops[index]) or index + 1 == end:
                yield first, index + 1
                first = index + 1

    def _compute(self, first: int, end: int) -> None:
        self._control[:] = 0
        helpers = [self._pool.submit(self._enter, first, end, thread) for thread in range(1, self._threads)] if self._pool else []
        self._enter(first, end, 0)
        for helper in helpers:
            if not helper.cancel():
                helper.result()
        if self._control[RAISED]:
            raise RuntimeError("a kernel of training raised an exception")

    def _enter(self, first: int, end: int, thread: int) -> None:
        scratch, threads = _start(self._scratch[thread]), self._threads
        run_phases(self._memory.base_address, self._phases, first, end, scratch, self._control, thread, threads)

    def _spans(self, first: int, end: int) -> list[Span]:
        """Return what the ops of a group have written."""
        if first < end and depends_on_indices(self._ops[end - 1]):
            return [*self._spans(first, end - 1), *whole_pages(spans_written_by(self._ops[end - 1], self._memory))]
        if (first, end) not in self._written:
            self._written[first, end] = whole_pages(span for op in self._ops[first:end] for span in spans_written_by(op, self._memory))
        return self._written[first, end]


def _room(size: int) -> Room:
    """Return bytes with an aligned start in front of at least `size` of them."""
    return np.empty(size + ALIGNMENT, np.uint8)


def _start(room: Room) -> int:
    return -(-int(room.ctypes.data) // ALIGNMENT) * ALIGNMENT
