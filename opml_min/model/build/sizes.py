"""How large the numbers of a model become, decided from its weights alone.

After RMSNorm a vector x of length n has ‖x‖ ≤ √n, apart from the norm's weights w. So a row m of the next matrix gives at most √n·‖m ⊙ w‖
(Cauchy and Schwarz), and usually about ‖m ⊙ w‖. The first says what can never saturate. The second says how large the residual stream
becomes.

*Source*: RMSNorm (arXiv:1910.07467).
"""

from math import ceil, floor, hypot, log2, sqrt

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.model.build.quantise import LARGEST_ROW, LARGEST_WEIGHT, ScaleLoss, loss_by_scales, squares_of_rows
from opml_min.model.errors import CheckpointError
from opml_min.model.sources.checkpoint import Checkpoint, Layer, Shape
from opml_min.model.sources.matrices import Floats, StoredBlocks, StoredMatrix, Weights

PEAK = 1024  # how much larger a few numbers of the residual stream are than the others. In LLaMA 2 they are some 1000 times larger
MOST_LOST_BY_SCALES = 0.025**2  # of a matrix's energy

Doubles = NDArray[np.float64]


@frozen(eq=False)
class LayerSizes:
    """The root mean squares of a layer's vectors, by the names of the matrices that give them, and bounds of what they can reach."""

    heads: tuple[Doubles, Doubles]  # q and k, by query head
    rms: dict[str, float]  # wv, gate and up; wo and down: what they add to the residual stream
    most: dict[str, float]  # wq, wk, wv, gate and up
    signal: tuple[float, float]  # the mean square of the residual stream after each of the two additions


@frozen(eq=False)
class Sizes:
    """The sizes of all vectors of a model."""

    embedding: float  # root mean square of a typical row
    residual: float  # the most that the stream reaches
    layers: tuple[LayerSizes, ...]
    logits: float  # root mean square
    most_logits: float


@frozen(eq=False)
class MatrixSize:
    """What one pass over a matrix finds."""

    name: str
    rows: Doubles  # ‖m ⊙ w‖ of each row
    places: int  # the power of two to store it with: 0, unless its scales would lose much, or be too large


@frozen(eq=False)
class WeightSizes:
    """The sizes of all matrices. Those of a layer have the names of its fields."""

    embedding: MatrixSize
    layers: tuple[dict[str, MatrixSize], ...]
    classifier: MatrixSize


def weight_sizes(checkpoint: Checkpoint) -> WeightSizes:
    """Read every matrix once. A weight that is not a finite number is an error that names its tensor."""
    classifier = checkpoint.embedding if checkpoint.classifier is None else checkpoint.classifier
    return WeightSizes(
        _matrix_size(checkpoint.embedding, None, "the embedding"),
        tuple(_layer_matrices(layer, index) for index, layer in enumerate(checkpoint.layers)),
        _matrix_size(classifier, checkpoint.final_norm, "the classifier"),
    )


def _layer_matrices(layer: Layer, index: int) -> dict[str, MatrixSize]:
    norms = dict.fromkeys(("wq", "wk", "wv"), layer.attention_norm) | dict.fromkeys(("gate", "up"), layer.ffn_norm)
    found = {}
    for name in ("wq", "wk", "wv", "gate", "up", "wo", "down"):
        matrix = getattr(layer, name)
        found[name] = _matrix_size(matrix, norms.get(name), getattr(matrix, "name", "") or f"{name} of layer {index}")
    return found


def sizes_of(weights: WeightSizes, shape: Shape) -> Sizes:
    """Follow the residual stream through the layers."""
    rows = weights.embedding.rows / sqrt(shape.dim)
    embedding = float(np.median(rows[rows > 0])) if (rows > 0).any() else 1.0
    signal, layers, peak = embedding**2, [], float(rows.max(initial=0))
    for matrices in weights.layers:
        inner = sqrt(signal / (signal + shape.epsilon))
        layer = _layer_sizes(matrices, shape, signal, inner)
        peak = hypot(peak, *(size for size in _branches(matrices, 1.0)))
        signal = layer.signal[1]
        layers.append(layer)
    inner, logits = sqrt(signal / (signal + shape.epsilon)), weights.classifier.rows
    return Sizes(embedding, peak * PEAK, tuple(layers), inner * _rms(logits), sqrt(shape.dim) * float(logits.max(initial=0)))


def _branches(matrices: dict[str, MatrixSize], inner: float) -> tuple[float, float]:
    """Return the size of what attention and the feed-forward network add. inner: the size of a normalised vector, at most 1"""
    v, gate, up, wo, down = (_rms(matrices[name].rows) for name in ("wv", "gate", "up", "wo", "down"))
    return wo * v * inner, down * 0.6 * gate * up * inner**2


def _layer_sizes(matrices: dict[str, MatrixSize], shape: Shape, signal: float, inner: float) -> LayerSizes:
    q, k = (matrices[name].rows for name in ("wq", "wk"))
    heads = inner * _by_head(q, shape.heads), inner * np.repeat(_by_head(k, shape.kv_heads), shape.heads // shape.kv_heads)
    attention, ffn = _branches(matrices, inner)
    rms = {name: inner * _rms(matrices[name].rows) for name in ("wv", "gate", "up")} | {"wo": attention, "down": ffn}
    turned = {"wq": sqrt(2), "wk": sqrt(2)}  # a rotation may put a pair's length into one number
    most = {
        name: sqrt(shape.dim) * turned.get(name, 1.0) * float(matrices[name].rows.max(initial=0))
        for name in ("wq", "wk", "wv", "gate", "up")
    }
    return LayerSizes(heads, rms, most, (signal + attention**2, signal + attention**2 + ffn**2))


def lost_by_scales(matrix: Weights) -> float:
    """Return the share of a matrix's energy that is lost because its scales are halfs."""
    return _scale_loss(as_stored(matrix)).share


def as_stored(matrix: Weights) -> StoredMatrix:
    return matrix if isinstance(matrix, StoredMatrix) else StoredMatrix(matrix.shape, lambda rows: matrix[rows])


def _scale_loss(stored: StoredMatrix) -> ScaleLoss:
    total = ScaleLoss()
    for rows in stored.slices():
        total = total.and_of(loss_by_scales(stored.floats(rows)))
    return total


def _matrix_size(matrix: Weights, norm: Floats | None, name: str) -> MatrixSize:
    stored, total = as_stored(matrix), ScaleLoss()
    norms = np.zeros(stored.shape[0])
    for rows in stored.slices():
        part = stored.floats(rows)
        if not isinstance(stored, StoredBlocks):
            if not np.isfinite(part).all():
                raise CheckpointError(f"{name} holds a weight that is not a finite number")
            total = total.and_of(loss_by_scales(part))
        norms[rows] = np.sqrt(squares_of_rows(part if norm is None else part * norm))
    if not np.isfinite(norms).all():
        raise CheckpointError(f"{name} holds a weight that is not a finite number")
    return MatrixSize(name, norms, _wanted_places(total))


def _wanted_places(found: ScaleLoss) -> int:
    """Return the power of two that brings the largest weight near 1, or only below what can be stored."""
    if found.largest >= LARGEST_WEIGHT or found.heaviest_row >= LARGEST_ROW:
        return -ceil(log2(max(found.largest / LARGEST_WEIGHT, found.heaviest_row / LARGEST_ROW)) + 1e-9)
    return -floor(log2(found.largest)) if found.share > MOST_LOST_BY_SCALES else 0


def _by_head(norms: Doubles, heads: int) -> Doubles:
    """Return the root mean square of each head's rows."""
    sizes: Doubles = np.sqrt(np.square(norms.reshape(heads, -1)).mean(axis=1))
    return sizes


def _rms(values: Doubles) -> float:
    return float(np.sqrt(np.square(values).mean()))
