"""Kernels that must stay in their memory.

No result shows that a kernel wrote beyond its memory, or read there what it had not written: nothing may lie behind it, and new memory is
zero. So kernels are given memory of just the size that is planned, with a border behind it that must keep its pattern. A kernel of training
finds the pattern in its own memory, too.

*Source*: the calling convention of `opml_min.training.kernels`; `Workspace` of `opml_min.model.native`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from attrs import evolve

from opml_min.model.native import engine as model_engine
from opml_min.training import engine as training_engine
from opml_min.training.plans import Phase, Plan

BORDER_BYTES, ALIGNMENT = 1 << 14, 64
PATTERN = 0xA5

Bytes = npt.NDArray[np.uint8]


class BorderCrossed(Exception):
    """A kernel wrote beyond its memory."""


def with_border(size: int) -> tuple[Bytes, Bytes]:
    """Allocates memory full of the pattern, and its border."""
    room = np.full(ALIGNMENT + size + BORDER_BYTES, PATTERN, np.uint8)
    begin = -room.ctypes.data % ALIGNMENT
    return room[begin : begin + size], room[begin + size :]


def check_borders(borders: list[Bytes], what: str) -> None:
    if any((border != PATTERN).any() for border in borders):
        raise BorderCrossed(f"{what} wrote beyond its memory")


@contextmanager
def guarded_kernels() -> Iterator[None]:
    """Raises BorderCrossed at the end of the block, or earlier, if a kernel that one thread calls there wrote beyond its memory."""
    of_models: Any = model_engine
    of_training: Any = training_engine
    workspace, plan_of, borders = of_models._workspace, of_training.plan_of, list[Bytes]()
    of_models._workspace = lambda *sizes: _guarded_arrays(workspace(*sizes), borders)
    of_training.plan_of = lambda op, memory: _guarded_plan(plan_of(op, memory))
    try:
        yield
    finally:
        of_models._workspace, of_training.plan_of = workspace, plan_of
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


def _guarded_plan(plan: Plan) -> Plan:
    """Returns a plan whose kernels raise BorderCrossed when they have written beyond their own memory or that which all share."""
    memory, border = with_border(plan.shared.nbytes)
    shared = memory.view(np.int64)
    shared[:] = plan.shared
    return evolve(plan, phases=tuple(_guarded_phase(phase, border) for phase in plan.phases), shared=shared)


def _guarded_phase(phase: Phase, border_of_shared: Bytes) -> Phase:
    scratch, border = with_border(phase.scratch)
    kernel: Callable[..., None] = phase.kernel

    def call(base: int, words: Any, first: int, end: int, chunk: int, _: int, shared: Any) -> None:
        kernel(base, words, first, end, chunk, scratch.ctypes.data, shared)
        check_borders([border, border_of_shared], getattr(kernel, "__name__", "a kernel"))

    return evolve(phase, kernel=call)
