"""Kernels that must stay in their memory.

No result shows that a kernel wrote beyond its memory, or read there what it had not written: nothing may lie behind it, and new memory is
zero. So kernels are given memory of just the size that is planned, with a border behind it that must keep its pattern. A kernel of training
finds the pattern in its own memory, too.

*Source*: the calling convention of `opml_min.training.kernels`; `Workspace` of `opml_min.model.native`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from opml_min.machine import Memory
from opml_min.model.native import engine as model_engine
from opml_min.training.engine import TrainingEngine
from opml_min.training.plans import Plan, Words

BORDER_BYTES, ALIGNMENT = 1 << 14, 64
PATTERN = 0xA5
SCRATCH_BYTES = 1 << 16  # that are looked at

Bytes = npt.NDArray[np.uint8]


class BorderCrossed(Exception):
    """A kernel wrote beyond its memory."""


def with_border(size: int) -> tuple[Bytes, Bytes]:
    """Allocates memory full of the pattern, and its border."""
    room = np.full(ALIGNMENT + size + BORDER_BYTES, PATTERN, np.uint8)
    begin = -room.ctypes.data % ALIGNMENT
    memory = np.ndarray(size, np.uint8, room, begin)  # a slice of no bytes would begin where the room does
    return memory, room[begin + size :]


def check_scratch(memory: Memory) -> None:
    """Raises BorderCrossed if something lies at the beginning of the scratch quarter, which is zero between two stages. There a kernel
    writes that takes an operand for an address though it is none; no root shows it, because nobody reports it as written."""
    if any(memory.read(0, SCRATCH_BYTES)):
        raise BorderCrossed("a kernel wrote to the scratch quarter")


def check_borders(borders: list[Bytes], what: str) -> None:
    if any((border != PATTERN).any() for border in borders):
        raise BorderCrossed(f"{what} wrote beyond its memory")


@contextmanager
def guarded_kernels() -> Iterator[None]:
    """Raises BorderCrossed at the end of the block, or earlier, if a kernel that one thread calls there wrote beyond its memory."""
    of_models: Any = model_engine
    of_training: Any = TrainingEngine
    workspace, compute, borders = of_models._workspace, of_training._compute, list[Bytes]()
    of_models._workspace = lambda *sizes: _guarded_arrays(workspace(*sizes), borders)
    of_training._compute = _compute_guarded
    try:
        yield
    finally:
        of_models._workspace, of_training._compute = workspace, compute
    check_borders(borders, "a kernel")


def _guarded_arrays(arrays: Any, borders: list[Bytes]) -> Any:
    """Copies the arrays of a workspace to where borders are behind them."""
    if isinstance(arrays, tuple):
        return type(arrays)(*(_guarded_arrays(each, borders) for each in arrays))
    memory, border = with_border(arrays.nbytes)
    borders.append(border)
    copied = memory.view(arrays.dtype).reshape(arrays.shape)
    copied[:] = arrays
    return copied


def _compute_guarded(engine: Any, first: int, end: int) -> None:
    """Computes phases as `TrainingEngine._compute` does, and raises BorderCrossed as soon as a kernel has written beyond its memory."""
    for plan, words, place in zip(engine._plans, engine._words, engine._first_phases, strict=False):
        if first <= place < end:
            _compute_plan(plan, engine._memory.base_address, words)


def _compute_plan(plan: Plan, base: int, words: Words) -> None:
    memory, border_of_shared = with_border(8 * (plan.shared if isinstance(plan.shared, int) else len(plan.shared)))
    shared = memory.view(np.int64)
    if not isinstance(plan.shared, int):
        shared[:] = plan.shared
    for phase in plan.phases:
        scratch, border = with_border(phase.scratch)
        for chunk in range(phase.chunks):
            first = chunk * phase.units_at_once
            end = min(first + phase.units_at_once, phase.units)
            phase.kernel(base, words, first, end, chunk, scratch.ctypes.data, shared)
            check_borders([border, border_of_shared], getattr(phase.kernel, "__name__", "a kernel"))
