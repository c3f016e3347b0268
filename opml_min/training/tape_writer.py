"""A training tape, op by op: records with the operands that the weights bring along.

*Source*: spec §6.4 to §6.7.
"""

from collections.abc import Sequence

from attrs import define, field

from opml_min.training.layout import EACH_UPDATE, FIRST_UPDATE, LAST_UPDATE, pack_tape
from opml_min.training.operations import OPERANDS, TrainingOp, TrainingOpcode
from opml_min.training.places import Weights

ONE_Q16 = 1 << 16
WIDTH = 15


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

    def init(self, w: Weights, mean: int, scale_q16: int, stream: int) -> None:
        self.add(TrainingOpcode.INIT, w.master, w.count, mean, scale_q16, stream, condition=FIRST_UPDATE)

    def cast(self, weights: Sequence[Weights]) -> None:
        for w in weights:
            self.add(TrainingOpcode.CAST, w.working, w.master, w.count, w.frac, WIDTH)

    def export(self, weights: Sequence[Weights]) -> None:
        for w in weights:
            self.add(TrainingOpcode.EXPORT, w.exported, w.master, w.rows, w.columns, w.frac, condition=LAST_UPDATE)

    def adam(self, weights: Sequence[Weights]) -> None:
        """Matrices decay, gains do not."""
        for w in weights:
            self.add(TrainingOpcode.ADAM, w.master, w.sums, w.m, w.v, w.count, w.frac, ONE_Q16, int(w.is_matrix))

    def matmul(self, out: int, x: int, w: Weights, out_frac: int, first: int = 0, taken: int = 0) -> None:
        """Multiply with some rows of a matrix, by default with all."""
        self.add(TrainingOpcode.MATMUL, out, x, w.working, self.rows, w.columns, w.rows, first, taken or w.rows, out_frac)

    def matmul_weights(self, w: Weights, g: int, x: int, first: int = 0, taken: int = 0) -> None:
        self.add(TrainingOpcode.MATMUL_WEIGHTS, w.sums, g, x, self.rows, w.columns, w.rows, first, taken or w.rows, self.sum_frac)

    def matmul_data(self, out: int, g: int, w: Weights, first: int = 0, taken: int = 0) -> None:
        self.add(TrainingOpcode.MATMUL_DATA, out, g, w.working, self.rows, w.columns, w.rows, first, taken or w.rows)

    def matmul_data_sum(self, total: int, part: int, g: int, w: Weights, first: int = 0, taken: int = 0) -> None:
        """Add a gradient to the one in `total`, by way of `part`."""
        self.matmul_data(part, g, w, first, taken)
        self.add(TrainingOpcode.SUM, total, total, part, self.rows, w.columns)
