"""A training tape, op by op: records with the operands that the weights bring along.

*Source*: spec §6.4 to §6.7; J. Liu et al., "Muon is Scalable for LLM Training" (2025), for the size of MUON's steps.
"""

from collections.abc import Iterator
from math import isqrt

from attrs import define, field, frozen

from opml_min.training.layout import EACH_UPDATE, FIRST_UPDATE, LAST_UPDATE, pack_tape
from opml_min.training.operations import OPERANDS, TrainingOp, TrainingOpcode
from opml_min.training.places import Weights

ONE_Q16 = 1 << 16
WIDTH = 15
WHOLE = 1 << 20  # rows of a matrix in one op: all


@frozen
class Targets:
    """The indices that should have been likely, and the gradients of their logits, which lie apart."""

    indices: int
    of_target: int


@frozen
class OutputGradient:
    """The gradient of what a matrix gives, perhaps with that of targets apart. tile_rows: rows of the matrix in one op"""

    g: int
    targets: Targets | None = None
    tile_rows: int = WHOLE


def tiles(rows: int, tile_rows: int) -> Iterator[tuple[int, int]]:
    """Yield first row and number of rows of each part of a matrix."""
    for first in range(0, rows, tile_rows):
        yield first, min(tile_rows, rows - first)


@define
class TapeWriter:
    """Ops in the order in which they are done."""

    rows: int  # of a batch
    sum_frac: int
    ops: list[TrainingOp] = field(factory=list)

    def add(self, opcode: TrainingOpcode, *operands: int, condition: int = EACH_UPDATE) -> None:
        self.ops.append(TrainingOp(opcode, condition, dict(zip(OPERANDS[opcode], operands, strict=True))))

    def pack(self) -> bytes:
        return pack_tape(op.words() for op in self.ops)

    # Weights ---------------------------------------------------------------------------------------------------------

    def init(self, w: Weights, mean: int, scale_q16: int, stream: int) -> None:
        self.add(TrainingOpcode.INIT, w.master, w.count, mean, scale_q16, stream, condition=FIRST_UPDATE)

    def cast(self, w: Weights, condition: int = EACH_UPDATE) -> None:
        self.add(TrainingOpcode.CAST, w.working, w.master, w.count, w.frac, WIDTH, condition=condition)

    def export(self, out: int, master: int, w: Weights, frac: int) -> None:
        """Export master weights of the shape of w."""
        self.add(TrainingOpcode.EXPORT, out, master, w.rows, w.columns, frac, condition=LAST_UPDATE)

    # Products --------------------------------------------------------------------------------------------------------

    def matmul(self, out: int, x: int, w: Weights, out_frac: int, tile_rows: int = WHOLE) -> None:
        for first, taken in tiles(w.rows, tile_rows):
            self.add(TrainingOpcode.MATMUL, out, x, w.working, self.rows, w.columns, w.rows, first, taken, out_frac)

    def weights_gradient(self, w: Weights, of: OutputGradient, x: int) -> None:
        """Add the gradient of a matrix to its sums."""
        for first, taken in tiles(w.rows, of.tile_rows):
            self.add(TrainingOpcode.MATMUL_WEIGHTS, w.sums, of.g, x, self.rows, w.columns, w.rows, first, taken, self.sum_frac)
        if of.targets is not None:
            sizes = (self.rows, w.columns, w.rows, self.sum_frac)
            self.add(TrainingOpcode.TARGET_WEIGHTS, w.sums, of.targets.of_target, of.targets.indices, x, *sizes)

    def data_gradient(self, out: int, part: int, of: OutputGradient, w: Weights, *, adds: bool = False) -> None:
        """Write the gradient of what the matrix multiplies to `out`, or add it to what is there. What is added goes by way of `part`."""
        parts: list[tuple[TrainingOpcode, tuple[int, ...]]] = []
        if of.targets is not None:
            sources = (of.targets.of_target, of.targets.indices, w.working)
            parts.append((TrainingOpcode.TARGET_DATA, (*sources, self.rows, w.columns, w.rows)))
        for tile in tiles(w.rows, of.tile_rows):
            parts.append((TrainingOpcode.MATMUL_DATA, (of.g, w.working, self.rows, w.columns, w.rows, *tile)))
        for opcode, operands in parts:
            self.add(opcode, part if adds else out, *operands)
            if adds:
                self.sum(out, part, w.columns)
            adds = True

    def round(self, out: int, x: int, length: int) -> None:
        self.add(TrainingOpcode.ROUND, out, x, self.rows, length, WIDTH)

    def sum(self, out: int, part: int, length: int) -> None:
        """Add a gradient to another one."""
        self.add(TrainingOpcode.SUM, out, out, part, self.rows, length)

    # Optimisers: matrices decay, gains do not --------------------------------------------------------------------------

    def adam(self, w: Weights) -> None:
        self.add(TrainingOpcode.ADAM, w.master, w.sums, w.m, w.v, w.count, w.frac, ONE_Q16, int(w.is_matrix))

    def sgd(self, w: Weights) -> None:
        self.add(TrainingOpcode.SGD, w.master, w.sums, w.count, w.frac, self.sum_frac, ONE_Q16, int(w.is_matrix))

    def muon(self, w: Weights) -> None:
        """Give the steps of an orthogonal matrix the size of those of ADAM, so that one rate suits both: 0.2 on average."""
        factor = isqrt((max(w.rows, w.columns) << 32) // 25)
        self.add(TrainingOpcode.MUON, w.master, w.sums, w.m, w.rows, w.columns, w.frac, factor, 1)
