"""A classifier's update: pictures through matrices with RELU between them, the loss, and one step of an optimiser.

*Source*: spec §6.4 to §6.7.
"""

from itertools import pairwise
from math import isqrt

from attrs import frozen

from opml_min.training.operations import TrainingOpcode
from opml_min.training.places import Buffers, Places
from opml_min.training.recipes.assembly import assembled
from opml_min.training.recipes.division import require_fit
from opml_min.training.recipes.linear import DEVIATION_OF_FOUR, TrainedLinear
from opml_min.training.recipes.recipe import Optimiser
from opml_min.training.tape_writer import WIDTH, OutputGradient, TapeWriter, Targets
from opml_min.training.training_model import TrainingModel

HIDDEN_FRACTION_BITS, LOGIT_FRACTION_BITS = 14, 12
PICTURE_STREAM = 0  # the matrices' streams are 1, 2, …


@frozen
class Pictures:
    """Pictures of equally many bytes one after the other, and a byte for the class of each."""

    pictures: bytes
    labels: bytes


@frozen
class PictureRecipe:
    """A training of a classifier. rows: pictures of an update"""

    optimiser: Optimiser = Optimiser.ADAM
    rows: int = 64
    sum_frac: int = 16


def classifier_training(sizes: tuple[int, ...], recipe: PictureRecipe, data: Pictures) -> TrainingModel:
    """Return the training of a classifier from scratch. sizes: bytes of a picture, hidden lengths, classes"""
    places, rows = Places(), recipe.rows
    buffers, tape = Buffers(places, rows), TapeWriter(rows, recipe.sum_frac)
    data_places = places.data.put(data.pictures), places.data.put(data.labels)
    matrices = [
        TrainedLinear(f"{i}.weight", places.matrix(length, columns), recipe.optimiser, (init_scale_q16(columns), i + 1))
        for i, (columns, length) in enumerate(pairwise(sizes))
    ]
    x = [places.activation(rows, length) for length in sizes[:-1]]  # what each matrix reads
    vectors = [places.numbers(rows * length) for length in sizes[1:]]  # what it gives
    g = [places.activation(rows, length) for length in sizes[1:]]  # the gradients of those
    targets = Targets(buffers.vectors("targets", 1), buffers.vectors("of target", 1))

    for matrix in matrices:
        matrix.begin(tape)
    drawn = (len(data.labels), rows, sizes[0], 0, rows, PICTURE_STREAM)
    tape.add(TrainingOpcode.PICTURES, x[0], targets.indices, *data_places, *drawn)
    for matrix in matrices:
        matrix.cast(tape)
    for i, matrix in enumerate(matrices[:-1]):
        matrix.forward(tape, vectors[i], x[i], HIDDEN_FRACTION_BITS)
        tape.add(TrainingOpcode.RELU, x[i + 1], vectors[i], rows, sizes[i + 1], HIDDEN_FRACTION_BITS, WIDTH)
    matrices[-1].forward(tape, vectors[-1], x[-1], LOGIT_FRACTION_BITS)
    tape.add(TrainingOpcode.CROSS_ENTROPY, g[-1], targets.of_target, vectors[-1], targets.indices, rows, sizes[-1], WIDTH)
    for i in reversed(range(len(matrices))):
        of = OutputGradient(g[i], targets if i == len(matrices) - 1 else None)
        matrices[i].gradient(tape, of, x[i])
        if i > 0:
            d, part = buffers.gradient("d", sizes[i]), buffers.gradient("part", sizes[i])
            matrices[i].backward(tape, d, of, part)
            tape.add(TrainingOpcode.RELU_BACKWARD, g[i - 1], d, vectors[i - 1], rows, sizes[i], WIDTH)
    for matrix in matrices:
        matrix.step(tape)
    trained = tuple(trained for matrix in matrices for trained in matrix.finish(tape, places))
    require_fit(tape.ops)
    return assembled(places, tape, trained, rows)


def init_scale_q16(columns: int) -> int:
    """Return INIT's scale for the deviation √(2/columns), with which RELU keeps the size of what passes through."""
    return isqrt((1 << 85) // columns) // DEVIATION_OF_FOUR
