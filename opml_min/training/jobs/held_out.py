"""How well a model does on what it does not learn from: the forward ops of the training tape, on examples that are put into its batch.

*Source*: spec §6.4 (TOKENS and PICTURES) and §6.5.
"""

from collections.abc import Callable

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.training.engine import TrainingEngine
from opml_min.training.jobs.description import Score
from opml_min.training.jobs.loss import losses_of
from opml_min.training.layout import LAST_UPDATE
from opml_min.training.operations import TrainingOp, TrainingOpcode, padded
from opml_min.training.request import Settings
from opml_min.training.run import TrainingRun

PIXEL_EXPONENT = 8
SOURCES_OF_DATA = (TrainingOpcode.TOKENS, TrainingOpcode.PICTURES)


@frozen(eq=False)
class Examples:
    """Inputs with their targets: windows of a text with the windows one token later, or pictures with their labels."""

    inputs: NDArray[np.integer]  # (examples, length)
    targets: NDArray[np.integer]  # (examples, targets of each)


def fits(examples: Examples, run: TrainingRun) -> bool:
    """Tell whether examples have the shape of those in the batches of a run."""
    data = next(op for op in run.ops if op.opcode in SOURCES_OF_DATA)
    sizes = (data["period"], data["period"]) if data.opcode == TrainingOpcode.TOKENS else (data["length"], 1)
    arrays = examples.inputs, examples.targets
    shapes_fit = all(each.ndim == 2 and each.shape[1] == size for each, size in zip(arrays, sizes, strict=True))
    return shapes_fit and 0 < len(arrays[0]) == len(arrays[1]) and all(each.dtype.kind == "u" for each in arrays)


def scored(run: TrainingRun, examples: Examples, threads: int, watch: Callable[[int], None] = lambda done: None) -> Score:
    """Score the weights that a run has now; before its first stage, those with which it begins. Afterwards the run cannot go on.

    watch: called with how many examples are done"""
    settings = Settings.unpack(run.request)
    end = next(i for i, op in enumerate(run.ops) if op.opcode == TrainingOpcode.CROSS_ENTROPY)
    data = next(op for op in run.ops if op.opcode in SOURCES_OF_DATA)
    ops = [op for op in run.ops[: end + 1] if op.opcode not in SOURCES_OF_DATA and op.condition != LAST_UPDATE]
    begun = [op for op in ops if op.opcode == TrainingOpcode.CAST or (op.opcode == TrainingOpcode.INIT and run.stage == 0)]
    TrainingEngine(run.memory, begun, threads).run(0, len(begun), settings, 0)
    forward = [op for op in ops if op.opcode not in (TrainingOpcode.CAST, TrainingOpcode.INIT)]
    engine = TrainingEngine(run.memory, forward, threads)
    at_once = data["sequences"] if data.opcode == TrainingOpcode.TOKENS else data["rows"]
    losses, right = [], []
    for first in range(0, len(examples.inputs), at_once):
        count = min(at_once, len(examples.inputs) - first)
        picked = np.minimum(np.arange(first, first + at_once), len(examples.inputs) - 1)
        _put(run, data, examples.inputs[picked], examples.targets[picked])
        engine.run(0, len(forward), settings, 0)
        batch_losses, batch_right = losses_of(run.memory, run.ops[end])
        taken = count * examples.targets.shape[1]
        losses.append(batch_losses[:taken])
        right.append(batch_right[:taken])
        watch(first + count)
    everything = np.concatenate(losses)
    return Score(float(everything.mean()), float(np.concatenate(right).mean()), len(everything))


def _put(run: TrainingRun, data: TrainingOp, inputs: NDArray[np.integer], targets: NDArray[np.integer]) -> None:
    """Leave examples where the op would have left those that it draws."""
    count = targets.size
    run.memory.view(data["targets"], count, np.uint32)[:] = targets.reshape(-1)
    if data.opcode == TrainingOpcode.TOKENS:
        run.memory.view(data["out"], count, np.uint32)[:] = inputs.reshape(-1)
        return
    run.memory.view(data["out"], count, np.int32)[:] = PIXEL_EXPONENT
    values = data["out"] + padded(4 * count, 32)
    run.memory.view(values, inputs.size, np.int16)[:] = inputs.reshape(-1)
