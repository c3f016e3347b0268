"""Kernels that write beyond their memory, or read there what they did not write: the fuzzer finds both, though no result need show it."""

from random import Random

import numpy as np
import pytest
from numba import njit
from opml_fuzz.engines.guarded_kernels import ALIGNMENT, guarded_kernels, with_border
from opml_fuzz.engines.model_runs import NativeModels, SpecModels
from opml_fuzz.engines.training_runs import NativeTraining, SpecTraining
from opml_fuzz.machine.model_case import OneStage
from opml_fuzz.machine.training_case import TrainingStages
from opml_fuzz.models.random_models import one_operation, random_shape
from opml_fuzz.models.random_training import one_training_operation
from opml_spec.model.operations.fixed import SwiGlu
from opml_spec.training.operations.backward import BackwardSwiGlu
from opml_spec.training.operations.batch_operation import BatchOperation
from opml_spec.training.operations.forward import ForwardAdd

from opml_min.model.native import engine
from opml_min.model.native.kernels.addressing import int32s, int64s
from opml_min.training import plans
from opml_min.training.engine import TrainingEngine
from opml_min.training.kernels import elementwise
from opml_min.training.operations import TrainingOpcode


def training(kind: type[BatchOperation]) -> TrainingStages:
    return one_training_operation(Random(kind.__name__), kind)


def swiglu() -> OneStage:
    rng = Random(2)
    return one_operation(rng, random_shape(rng), False, SwiGlu)


def test_kernels_stay_in_their_memory() -> None:
    for case in (training(BackwardSwiGlu), training(ForwardAdd)):
        assert NativeTraining().answer(case) == NativeTraining(threads=2).answer(case) == SpecTraining().answer(case)
    assert NativeModels().answer(swiglu()) == SpecModels().answer(swiglu())


def test_a_kernel_of_training_that_is_given_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs two lines as long as a row."""
    one_line = plans._rows(elementwise.swiglu_backward, 1, plans._SIGMOID)
    monkeypatch.setitem(plans._PLANS, TrainingOpcode.SWIGLU_BACKWARD, one_line)
    assert NativeTraining().answer(training(BackwardSwiGlu)) == ["raised BorderCrossed: swiglu_backward wrote beyond its memory"]


@njit
def lost_add(base, words, first, end, chunk, scratch, shared):  # type: ignore[no-untyped-def]
    """Takes the number of elements for an address."""
    int32s(base, words[3], 1)[0] = 1


def test_a_kernel_that_writes_where_no_tensor_can_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plans._PLANS, TrainingOpcode.ADD, plans._numbers(lost_add))
    for each in (NativeTraining(), NativeTraining(threads=2)):
        assert each.answer(training(ForwardAdd)) == ["raised BorderCrossed: a kernel wrote to the scratch quarter"]


@pytest.mark.parametrize("size", [0, 1, 64])
def test_a_border_begins_where_the_memory_ends(size: int) -> None:
    memory, border = with_border(size)
    assert memory.ctypes.data + memory.nbytes == border.ctypes.data
    assert memory.ctypes.data % ALIGNMENT == 0


@njit
def greedy_add(base, words, first, end, chunk, scratch, shared):  # type: ignore[no-untyped-def]
    """Writes behind what all share."""
    shared_and_more = int64s(0, shared.ctypes.data, len(shared) + 1)
    shared_and_more[len(shared)] = 1


@njit
def trusting_add(base, words, first, end, chunk, scratch, shared):  # type: ignore[no-untyped-def]
    """Takes new memory for zero."""
    out, x, y = int32s(base, words[0], words[3]), int32s(base, words[1], words[3]), int32s(base, words[2], words[3])
    for i in range(first, end):
        out[i] = min(max(np.int64(x[i]) + np.int64(y[i]) + int64s(0, scratch, 1)[0], -(1 << 31)), (1 << 31) - 1)


def test_a_kernel_that_writes_behind_what_all_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plans._PLANS, TrainingOpcode.ADD, plans._numbers(greedy_add))
    assert NativeTraining().answer(training(ForwardAdd)) == ["raised BorderCrossed: greedy_add wrote beyond its memory"]


def test_a_kernel_that_reads_what_it_did_not_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plans._PLANS, TrainingOpcode.ADD, plans._numbers(trusting_add))
    case = training(ForwardAdd)
    assert NativeTraining().answer(case) != SpecTraining().answer(case)


def test_a_workspace_that_is_too_small_for_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = engine._workspace
    monkeypatch.setattr(engine, "_workspace", lambda *sizes: usual(*sizes)._replace(z=np.zeros((1, 1), np.int64)))
    assert NativeModels().answer(swiglu()) == ["raised BorderCrossed: a kernel wrote beyond its memory"]


def test_the_engines_are_as_before_when_the_block_is_left() -> None:
    before = engine._workspace, TrainingEngine._compute
    with guarded_kernels():
        assert engine._workspace != before[0]
        assert TrainingEngine._compute != before[1]
    assert before == (engine._workspace, TrainingEngine._compute)
