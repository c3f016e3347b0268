"""A linear layer, y = W·x, whose matrix is trained, or frozen, or frozen with a trained adapter of low rank beside it (LoRA).

*Source*: spec §6.5 and §6.6; E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021), for adapters.
"""

from abc import abstractmethod
from math import isqrt

from attrs import field, frozen

from opml_min.training.layout import FIRST_UPDATE, LAST_UPDATE
from opml_min.training.operations import TrainingOpcode, matrix_bytes
from opml_min.training.places import Buffers, Places, Weights
from opml_min.training.recipes.part import Part, step_of
from opml_min.training.recipes.recipe import Optimiser
from opml_min.training.tape_writer import WHOLE, WIDTH, OutputGradient, TapeWriter
from opml_min.training.training_model import Trained

DEVIATION_OF_FOUR = 37837  # of the sum of the four u16 that INIT draws
LOW_FRACTION_BITS = 20  # of the vectors between the matrices of an adapter, which then reach ±2^11


class Linear(Part):
    """A matrix with its forward and its backward pass."""

    w: Weights

    @abstractmethod
    def forward(self, tape: TapeWriter, out: int, x: int, out_frac: int, tile_rows: int = WHOLE) -> None:
        """Write vectors y to `out`."""

    @abstractmethod
    def gradient(self, tape: TapeWriter, of: OutputGradient, x: int) -> None:
        """Add the gradient of what is trained to its sums."""

    @abstractmethod
    def backward(self, tape: TapeWriter, out: int, of: OutputGradient, part: int, *, adds: bool = False) -> None:
        """Write the gradient of x to `out`, or add it to what is there, by way of `part`. `gradient` comes before it."""


@frozen
class TrainedLinear(Linear):
    """A matrix all of which is trained."""

    name: str
    w: Weights
    optimiser: Optimiser
    drawn: tuple[int, int] | None  # INIT's scale_q16 and stream; None: the weights lie in the image
    trains = True

    def begin(self, tape: TapeWriter) -> None:
        if self.drawn is not None:
            tape.init(self.w, 0, *self.drawn)

    def cast(self, tape: TapeWriter) -> None:
        tape.cast(self.w)

    def forward(self, tape: TapeWriter, out: int, x: int, out_frac: int, tile_rows: int = WHOLE) -> None:
        tape.matmul(out, x, self.w, out_frac, tile_rows)

    def gradient(self, tape: TapeWriter, of: OutputGradient, x: int) -> None:
        tape.weights_gradient(self.w, of, x)

    def backward(self, tape: TapeWriter, out: int, of: OutputGradient, part: int, *, adds: bool = False) -> None:
        tape.data_gradient(out, part, of, self.w, adds=adds)

    def step(self, tape: TapeWriter) -> None:
        step_of(tape, self.w, self.optimiser)

    def finish(self, tape: TapeWriter, places: Places) -> tuple[Trained, ...]:
        return (exported(tape, places, self.name, self.w, self.w.master, self.w.frac),)


@frozen
class FrozenLinear(Linear):
    """A matrix that stays. Its working weights are written once."""

    name: str
    w: Weights
    trains = False

    def begin(self, tape: TapeWriter) -> None:
        pass

    def cast(self, tape: TapeWriter) -> None:
        tape.cast(self.w, FIRST_UPDATE)

    def forward(self, tape: TapeWriter, out: int, x: int, out_frac: int, tile_rows: int = WHOLE) -> None:
        tape.matmul(out, x, self.w, out_frac, tile_rows)

    def gradient(self, tape: TapeWriter, of: OutputGradient, x: int) -> None:
        pass

    def backward(self, tape: TapeWriter, out: int, of: OutputGradient, part: int, *, adds: bool = False) -> None:
        tape.data_gradient(out, part, of, self.w, adds=adds)

    def step(self, tape: TapeWriter) -> None:
        pass

    def finish(self, tape: TapeWriter, places: Places) -> tuple[Trained, ...]:
        return ()


@frozen
class AdaptedLinear(Linear):
    """A frozen matrix W beside an adapter: y = W·x + B·(A·x). A is drawn, and B begins as zero, so y begins as W·x.

    In the last update W + B·A is exported."""

    name: str
    w: Weights
    a: Weights  # (rank, columns)
    b: Weights  # (rows, rank)
    optimiser: Optimiser
    stream: int
    buffers: Buffers
    low: int = field(init=False)  # A·x, an activation
    g_low: int = field(init=False)  # its gradient
    trains = True

    @low.default
    @g_low.default
    def _place(self) -> int:
        return self.buffers.places.activation(self.buffers.rows, self.rank)

    @property
    def rank(self) -> int:
        return self.a.rows

    def begin(self, tape: TapeWriter) -> None:
        tape.init(self.a, 0, isqrt((1 << 84) // self.w.columns) // DEVIATION_OF_FOUR, self.stream)  # deviation 1/√columns

    def cast(self, tape: TapeWriter) -> None:
        tape.cast(self.w, FIRST_UPDATE)
        tape.cast(self.a)
        tape.cast(self.b)

    def forward(self, tape: TapeWriter, out: int, x: int, out_frac: int, tile_rows: int = WHOLE) -> None:
        low, added = self.buffers.vectors("low", self.rank), self.buffers.vectors("adapted", self.w.rows)
        tape.matmul(out, x, self.w, out_frac, tile_rows)
        tape.matmul(low, x, self.a, LOW_FRACTION_BITS)
        tape.add(TrainingOpcode.HEADS, self.low, low, tape.rows, 1, 1, self.rank, LOW_FRACTION_BITS, WIDTH)  # each row by itself
        tape.matmul(added, self.low, self.b, out_frac, tile_rows)
        tape.add(TrainingOpcode.ADD, out, out, added, tape.rows * self.w.rows)

    def gradient(self, tape: TapeWriter, of: OutputGradient, x: int) -> None:
        d_low, part = (self.buffers.gradient(use, self.rank) for use in ("low", "part of low"))
        tape.weights_gradient(self.b, of, self.low)
        tape.data_gradient(d_low, part, of, self.b)
        tape.round(self.g_low, d_low, self.rank)
        tape.weights_gradient(self.a, OutputGradient(self.g_low), x)

    def backward(self, tape: TapeWriter, out: int, of: OutputGradient, part: int, *, adds: bool = False) -> None:
        tape.data_gradient(out, part, of, self.w, adds=adds)
        tape.data_gradient(out, part, OutputGradient(self.g_low), self.a, adds=True)

    def step(self, tape: TapeWriter) -> None:
        step_of(tape, self.a, self.optimiser)
        step_of(tape, self.b, self.optimiser)

    def finish(self, tape: TapeWriter, places: Places) -> tuple[Trained, ...]:
        w, rank = self.w, self.rank
        b_columns, a_rows, merged = places.activation(rank, w.rows), places.activation(rank, w.columns), places.numbers(w.count)

        def add(opcode: TrainingOpcode, *operands: int) -> None:
            tape.add(opcode, *operands, condition=LAST_UPDATE)

        add(TrainingOpcode.HEADS, b_columns, self.b.master, 1, w.rows, rank, 1, self.b.frac, WIDTH)
        add(TrainingOpcode.HEADS, a_rows, self.a.master, rank, w.columns, 1, 1, self.a.frac, WIDTH)
        add(TrainingOpcode.MATMUL_WEIGHTS, merged, b_columns, a_rows, rank, w.columns, w.rows, 0, w.rows, w.frac)
        add(TrainingOpcode.ADD, merged, merged, w.master, w.count)
        return (exported(tape, places, self.name, w, merged, w.frac),)


def exported(tape: TapeWriter, places: Places, name: str, w: Weights, master: int, frac: int) -> Trained:
    """Export master weights of the shape of w into a place in the state quarter."""
    address = places.state.take(matrix_bytes(w.rows, w.columns))
    tape.export(address, master, w, frac)
    return Trained(name, address, w.rows, w.columns, is_matrix=True)
