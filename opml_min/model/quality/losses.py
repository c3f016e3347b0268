"""What fixed point has lost: numbers that reached the end of their format, and numbers of which rounding left no bit.

The kernels count both for every op and position. The run hash stays valid. But a model that loses much computes something else than its
weights mean.

*Source*: spec §3.4 and §3.5 (sat32, round_shift).
"""

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.model.build.tape import op_name
from opml_min.model.image.image import Image
from opml_min.model.image.ops import WHEN_DRAWN, Op, Opcode, writes

ROUNDED = (Opcode.EMBED, Opcode.MATMUL)  # the ops that can lose all bits of a number
MOST_LOST = 0.05  # of the numbers of an op. A share of lost numbers is about the relative error of all of them; usual are 0.0001
WAY_OUT = "so the answer may differ from the model's; build its image with --calibrate TEXT, or use --arithmetic float"


@frozen
class Loss:
    """What an op has lost at all its positions. `lost` counts numbers that are not 0 but became 0."""

    op: str
    saturated: int
    lost: int
    numbers: int  # that it rounded


@frozen
class Losses:
    """What a run, or the scoring of a text, has lost."""

    saturated: int
    lost: int
    notable: tuple[Loss, ...]  # ops that saturated or lost so much that the answer may suffer

    @property
    def warnings(self) -> list[str]:
        """What a person should know."""
        found = []
        if self.saturated:
            worst = max(self.notable, key=lambda loss: loss.saturated)
            found.append(f"{self.saturated:,} numbers saturated, most of them in {worst.op}, {WAY_OUT}")
        share, name = max(((loss.lost / max(loss.numbers, 1), loss.op) for loss in self.notable), default=(0.0, ""))
        if share > MOST_LOST:
            found.append(f"{share:.0%} of the numbers of {name} were rounded to 0, {WAY_OUT}")
        return found


def losses_of(image: Image, counts: NDArray[np.int64], positions: int, drawn: int) -> Losses:
    """Name the ops that lost much.

    counts: (ops, 2) · positions: how many were computed, `drawn` of them for a token"""
    # What is added to the stream may be small beside it, and small scores all mean the same. Bits that are lost there matter to nobody.
    harmless = [op.operands["y"] for op in image.ops if op.opcode == Opcode.ADD]
    turned = [writes(op)[0] for op in image.ops if op.opcode == Opcode.ROPE]
    notable = []
    for index, (op, (saturated, lost)) in enumerate(zip(image.ops, counts.tolist(), strict=True)):
        numbers = _numbers(op) * (drawn if op.condition == WHEN_DRAWN else positions)
        out = op.operands.get("out", -1)
        matters = out not in harmless and not any(first <= out < first + length for first, length in turned)
        if saturated or (matters and lost > MOST_LOST * numbers):
            notable.append(Loss(op_name(image.header, index), saturated, lost, numbers))
    saturated, lost = counts.sum(axis=0).tolist()
    return Losses(saturated, lost, tuple(notable))


def _numbers(op: Op) -> int:
    return sum(length // 4 for _, length in writes(op)) if op.opcode in ROUNDED else 0
