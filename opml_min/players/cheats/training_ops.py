"""Where trainers cheat: a stage of a training run, the op that it computes, and the bytes that the op writes."""

from collections.abc import Callable
from random import Random

from attrs import frozen

from opml_min.model.errors import CheckFailed
from opml_min.players.computation import Computation
from opml_min.training.image import TrainingImage
from opml_min.training.layout import FIRST_UPDATE, LAST_UPDATE
from opml_min.training.operations import TrainingOp

Wanted = Callable[[TrainingOp], bool]


@frozen
class OpOfStage:
    """A stage, with the update that it belongs to and the op that it computes."""

    stage: int
    update: int
    op: TrainingOp


def ops_of(computation: Computation) -> list[TrainingOp]:
    """Return the ops of an update; the list is empty if the run is no training run that native code could compute."""
    if not isinstance(computation.image, TrainingImage):
        return []
    try:
        return computation.image.ops
    except CheckFailed:
        return []


def updates_of(computation: Computation) -> int:
    return computation.stage_count // len(ops_of(computation))


def drawn_op(honest: Computation, random: Random, stage: int | None, wanted: Wanted = lambda op: True) -> OpOfStage | None:
    """Draws a stage that computes such an op; None if there is none, or if the named stage computes another one."""
    ops = ops_of(honest)
    fitting = [index for index, op in enumerate(ops) if wanted(op) and (stage is None or index == stage % len(ops))]
    if not fitting:
        return None
    index, updates = random.choice(fitting), updates_of(honest)
    condition = ops[index].condition
    done_in = {FIRST_UPDATE: range(1), LAST_UPDATE: range(updates - 1, updates)}.get(condition, range(updates))
    update = random.choice(done_in) if stage is None else stage // len(ops)
    return OpOfStage(update * len(ops) + index, update, ops[index]) if update in done_in else None


def place_written(honest: Computation, random: Random, stage: int | None) -> tuple[int, int, int] | None:
    """Draws a stage, and the address and length of a tensor that it writes."""
    found = drawn_op(honest, random, stage)
    if found is None:
        return None
    tensor = random.choice([tensor for tensor in found.op.tensors() if tensor.written])
    return found.stage, tensor.address, tensor.size
