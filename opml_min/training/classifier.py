"""The tape of a classifier's update: pictures through matrices with RELU between them, the loss, and one step of an optimiser.

*Source*: spec §6.4 to §6.7.
"""

from itertools import pairwise
from math import isqrt

from attrs import field, frozen

from opml_min.training.operations import TrainingOpcode
from opml_min.training.places import Places, Weights
from opml_min.training.tape_writer import ONE_Q16, WIDTH, TapeWriter

HIDDEN_FRACTION_BITS, LOGIT_FRACTION_BITS = 14, 12
DEVIATION_OF_FOUR = 37837  # of the sum of four u16
PICTURE_STREAM = 0  # the matrices' streams are 1, 2, …
OPTIMISERS = (TrainingOpcode.ADAM, TrainingOpcode.SGD, TrainingOpcode.MUON)


@frozen
class PictureBatch:
    """Where pictures and labels lie, and what an update takes from them."""

    pictures: int
    labels: int
    count: int
    rows: int
    sum_frac: int = 16


def init_scale_q16(columns: int) -> int:
    """Return INIT's scale for the deviation √(2/columns), with which RELU keeps the size of what passes through."""
    return isqrt((1 << 85) // columns) // DEVIATION_OF_FOUR


@frozen
class ClassifierTape:
    """The ops of an update, and where the matrices lie. sizes: bytes of a picture, hidden lengths, classes"""

    sizes: tuple[int, ...]
    batch: PictureBatch
    optimiser: TrainingOpcode = field(default=TrainingOpcode.ADAM)
    writer: TapeWriter = field(init=False)

    @optimiser.validator
    def _is_an_optimiser(self, _: object, opcode: TrainingOpcode) -> None:
        if opcode not in OPTIMISERS:
            raise ValueError(f"{opcode.name} is no optimiser")

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "writer", self._write())

    def _write(self) -> TapeWriter:
        batch, sizes, places = self.batch, self.sizes, Places()
        rows, tape = batch.rows, TapeWriter(batch.rows, batch.sum_frac)
        matrices = [places.weights(length, columns) for columns, length in pairwise(sizes)]
        x = [places.activation(rows, length) for length in sizes[:-1]]  # what each matrix reads
        vectors = [places.numbers(rows * length) for length in sizes[1:]]  # what it gives
        g = [places.activation(rows, length) for length in sizes[1:]]  # the gradients of those
        d = [places.gradient(rows, length) for length in sizes[:-1]]  # and of x
        part = places.gradient(rows, sizes[-2])
        targets, of_target = places.numbers(rows), places.numbers(rows)

        for stream, w in enumerate(matrices, start=1):
            tape.init(w, 0, init_scale_q16(w.columns), stream)
        tape.add(TrainingOpcode.PICTURES, x[0], targets, batch.pictures, batch.labels, batch.count, rows, sizes[0], 0, rows, PICTURE_STREAM)
        tape.cast(matrices)
        for i, w in enumerate(matrices[:-1]):
            tape.matmul(vectors[i], x[i], w, HIDDEN_FRACTION_BITS)
            tape.add(TrainingOpcode.RELU, x[i + 1], vectors[i], rows, w.rows, HIDDEN_FRACTION_BITS, WIDTH)
        last = matrices[-1]
        tape.matmul(vectors[-1], x[-1], last, LOGIT_FRACTION_BITS)
        tape.add(TrainingOpcode.CROSS_ENTROPY, g[-1], of_target, vectors[-1], targets, rows, last.rows, WIDTH)
        tape.matmul_weights(last, g[-1], x[-1])
        tape.add(TrainingOpcode.TARGET_WEIGHTS, last.sums, of_target, targets, x[-1], rows, last.columns, last.rows, batch.sum_frac)
        if len(matrices) > 1:
            tape.add(TrainingOpcode.TARGET_DATA, d[-1], of_target, targets, last.working, rows, last.columns, last.rows)
            tape.matmul_data_sum(d[-1], part, g[-1], last)
        for i in reversed(range(len(matrices) - 1)):
            tape.add(TrainingOpcode.RELU_BACKWARD, g[i], d[i + 1], vectors[i], rows, sizes[i + 1], WIDTH)
            tape.matmul_weights(matrices[i], g[i], x[i])
            if i > 0:
                tape.matmul_data(d[i], g[i], matrices[i])
        self._steps(tape, matrices)
        tape.export(matrices)
        return tape

    def _steps(self, tape: TapeWriter, matrices: list[Weights]) -> None:
        for w in matrices:
            if self.optimiser == TrainingOpcode.ADAM:
                tape.adam([w])
            elif self.optimiser == TrainingOpcode.SGD:
                tape.add(TrainingOpcode.SGD, w.master, w.sums, w.count, w.frac, self.batch.sum_frac, ONE_Q16, 1)
            else:
                tape.add(TrainingOpcode.MUON, w.master, w.sums, w.m, w.rows, w.columns, w.frac, ONE_Q16, 1)
