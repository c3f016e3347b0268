"""Whether a model's numbers fit the fixed formats, and which fraction bits they get. It is decided from the weights alone, before a build.

After RMSNorm a vector x of length n has ‖x‖ ≤ √n, apart from the norm's weights w. So a row m of the next matrix gives at most √n·‖m ⊙ w‖
(Cauchy and Schwarz), and usually about ‖m ⊙ w‖. The first says what can never saturate. The second says how large the residual stream
becomes, and what share of each vector is lost by rounding it to the fraction bits that it has. These shares add up along the layers.

*Source*: spec §3.4 (formats), §3.5 (attention's scores) and §3.8 (bounds); RMSNorm (arXiv:1910.07467).
"""

from math import ceil, hypot, log2, sqrt

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.model.build.quantise import share_lost_by_scales
from opml_min.model.build.tape import LOGIT_FRAC, RESIDUAL_FRAC, VECTOR_FRAC, Fractions, query_frac
from opml_min.model.errors import CheckpointError
from opml_min.model.sources.checkpoint import Checkpoint, Layer, Shape
from opml_min.model.sources.matrices import Floats, StoredBlocks, StoredMatrix, Weights

VECTOR_REACH = 2.0 ** (31 - VECTOR_FRAC)
LOGIT_REACH = 2.0 ** (31 - LOGIT_FRAC)
PEAK = 1024  # how much larger a few numbers of the residual stream are than the others. In LLaMA 2 they are some 1000 times larger
LEAST_RESIDUAL_FRAC = 4
LARGEST_EPSILON = 2.0**-12
MOST_LOST, NOTED_LOST = 0.05, 0.01  # shares of the logits
MOST_SCORE_ERROR = 0.1  # of the logarithm to base 2 of an attention weight
KEY_BITS_ERROR = 1e-4  # of a score: queries have 13 bits
NORM_WEIGHT_STEP = 2.0**-24
WAY_OUT = "--arithmetic float has no such limit"

Doubles = NDArray[np.float64]


@frozen
class Fit:
    """The fraction bits for a model, and the share of its logits that they lose."""

    fractions: Fractions
    lost: float
    where: str  # most of it is lost

    @property
    def note(self) -> str:
        """What a person should know; it is empty if the model fits well."""
        text = f"fixed point loses about {self.lost:.1%} of the logits, most of it in {self.where}; {WAY_OUT}"
        return text if self.lost > NOTED_LOST else ""


def _step_error(fraction_bits: int) -> float:
    """Return the standard deviation of the error of rounding to so many fraction bits."""
    return float(2.0**-fraction_bits / sqrt(12))


def check_shape_of_tape(shape: Shape) -> None:
    """Refuse what no tape can hold, in either arithmetic."""
    if shape.heads * shape.head_size % 8:
        raise CheckpointError(f"{shape.heads} heads of {shape.head_size} are not a multiple of 8, and buffers must be aligned")


def fit(checkpoint: Checkpoint) -> Fit:
    """Return the fraction bits. A model that does not fit is an error that names its tensor."""
    shape = checkpoint.shape
    if not shape.epsilon < LARGEST_EPSILON:
        raise CheckpointError(f"an epsilon of {shape.epsilon:.6g} is too large for fixed point, below {LARGEST_EPSILON:.6g}; {WAY_OUT}")
    layers = [_LayerSizes(layer, shape, index) for index, layer in enumerate(checkpoint.layers)]
    rows = _row_norms(checkpoint.embedding, None, "the embedding") / sqrt(shape.dim)
    embedding = float(np.median(rows[rows > 0])) if (rows > 0).any() else 1.0
    classifier = checkpoint.embedding if checkpoint.classifier is None else checkpoint.classifier
    logits = _row_norms(classifier, checkpoint.final_norm, "the classifier")
    _require_reach(logits, shape.dim, LOGIT_REACH, "the logits")
    residual = _residual_frac(hypot(float(rows.max(initial=0)), *(size for layer in layers for size in layer.outputs(1.0))))
    signal, lost = embedding**2, {"the embedding": (_step_error(residual) / embedding) ** 2}
    for index, layer in enumerate(layers):
        for part, size, share in layer.shares(signal, shape.epsilon, residual):
            signal += size**2
            lost[f"{part} of layer {index}"] = (share**2 * size**2 + (_step_error(residual) ** 2 if size else 0)) / max(signal, 1e-60)
    inner = sqrt(signal / (signal + shape.epsilon))
    lost["the final norm"] = _norm_share(checkpoint.final_norm) ** 2
    if logits.any():
        lost["the logits"] = (_step_error(LOGIT_FRAC) / max(inner * _rms(logits), 1e-30)) ** 2
    total, where = sqrt(sum(lost.values())), max(lost, key=lambda name: lost[name])
    if total > MOST_LOST:
        raise CheckpointError(f"fixed point would lose about {min(total, 1):.0%} of the logits, most of it in {where}; {WAY_OUT}")
    return Fit(Fractions(residual, query_frac(shape.head_size)), total, where)


def requantised(checkpoint: Checkpoint) -> dict[str, int]:
    """Return how many matrices of each type are rounded to Q8_0. Those in blocks are kept without loss."""
    kinds: dict[str, int] = {}
    for matrix in _matrices(checkpoint):
        if not isinstance(matrix, StoredBlocks):
            kind = matrix.kind if isinstance(matrix, StoredMatrix) and matrix.kind else "F32"
            kinds[kind] = kinds.get(kind, 0) + 1
    return dict(sorted(kinds.items()))


def _matrices(checkpoint: Checkpoint) -> list[Weights]:
    own = [] if checkpoint.classifier is None else [checkpoint.classifier]
    return [checkpoint.embedding, *own, *(tensor for layer in checkpoint.layers for tensor in layer if len(tensor.shape) == 2)]


class _LayerSizes:
    """How large a layer's vectors are if its input has a root mean square of 1."""

    def __init__(self, layer: Layer, shape: Shape, index: int) -> None:
        self._index = index
        named = {name: getattr(getattr(layer, name), "name", "") or f"{name} of layer {index}" for name in Layer._fields}
        q, k, v = (_row_norms(getattr(layer, name), layer.attention_norm, named[name]) for name in ("wq", "wk", "wv"))
        gate, up = (_row_norms(getattr(layer, name), layer.ffn_norm, named[name]) for name in ("gate", "up"))
        halved = 2.0 ** (query_frac(shape.head_size) - VECTOR_FRAC)
        for norms, factor, name in ((q, sqrt(2) * halved, "wq"), (k, sqrt(2), "wk"), (v, 1.0, "wv"), (gate, 1.0, "gate"), (up, 1.0, "up")):
            _require_reach(norms, shape.dim, VECTOR_REACH / factor, named[name])
        self._heads = _by_head(q, shape.heads), np.repeat(_by_head(k, shape.kv_heads), shape.heads // shape.kv_heads)
        self._v, self._gate, self._up = _rms(v), _rms(gate), _rms(up)
        self._wo, self._down = (_rms(_row_norms(getattr(layer, name), None, named[name])) for name in ("wo", "down"))
        self._norms = _norm_share(layer.attention_norm), _norm_share(layer.ffn_norm)

    def outputs(self, inner: float) -> tuple[float, float]:
        """Return the size of what attention and the feed-forward network add. inner: the size of a normalised vector, at most 1"""
        return self._wo * self._v * inner, self._down * 0.6 * self._gate * self._up * inner**2

    def shares(self, signal: float, epsilon: float, residual: int) -> list[tuple[str, float, float]]:
        """Return the name, the size and the lost share of each of the two. signal: the mean square of the residual stream"""
        inner, error = sqrt(signal / (signal + epsilon)), _step_error(VECTOR_FRAC)
        q, k = (each * inner for each in self._heads)
        scores = log2(np.e) * (error * (q + k) + KEY_BITS_ERROR * q * k)
        if scores.max(initial=0) > MOST_SCORE_ERROR:
            raise CheckpointError(f"the attention scores of layer {self._index} are too large for fixed point; {WAY_OUT}")
        attention, ffn = self.outputs(inner)
        of_v, of_gate, of_up = (error / max(size * inner, 1e-30) for size in (self._v, self._gate, self._up))
        return [("attention", attention, hypot(of_v, self._norms[0])), ("feed-forward", ffn, hypot(of_gate, of_up, self._norms[1]))]


def _residual_frac(size: float) -> int:
    """Return the fraction bits of a residual stream of this root mean square."""
    bits = RESIDUAL_FRAC - max(0, ceil(log2(max(size, 1e-30) * PEAK / 2.0 ** (31 - RESIDUAL_FRAC))))
    if bits < LEAST_RESIDUAL_FRAC:
        raise CheckpointError(f"the residual stream would reach about {size:.3g}, too large for fixed point; {WAY_OUT}")
    return bits


def _require_reach(norms: Doubles, length: int, reach: float, name: str) -> None:
    most = sqrt(length) * float(norms.max(initial=0))
    if not most < reach:
        raise CheckpointError(f"{name} may give numbers as large as {most:.3g}, too large for fixed point (below {reach:.6g}); {WAY_OUT}")


def _row_norms(matrix: Weights, norm: Floats | None, name: str) -> Doubles:
    """Return ‖m ⊙ w‖ of every row. Weights that Q8_0 cannot hold are an error."""
    stored = matrix if isinstance(matrix, StoredMatrix) else StoredMatrix(matrix.shape, lambda rows: matrix[rows])
    norms, energy, lost = np.zeros(stored.shape[0]), 0.0, 0.0
    for rows in stored.slices():
        part = stored.floats(rows)
        if not isinstance(stored, StoredBlocks):
            if not np.isfinite(part).all():
                raise CheckpointError(f"{name} holds a weight that is not a finite number")
            of_part = float(_squares(part).sum())
            energy, lost = energy + of_part, lost + share_lost_by_scales(part) * of_part
        norms[rows] = np.sqrt(_squares(part if norm is None else part * norm))
    if not np.isfinite(norms).all():
        raise CheckpointError(f"{name} holds a weight that is not a finite number")
    if lost > (MOST_LOST / 2) ** 2 * energy:
        raise CheckpointError(f"{name} has weights too small for Q8_0's scales; {WAY_OUT}")
    return norms


def _squares(part: Floats) -> Doubles:
    """Return the sum of squares of each row: in float32, unless it does not lie safely within it."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        sums: Doubles = np.einsum("ij,ij->i", part, part).astype(np.float64)
    if not ((sums > 1e-20) & (sums < 1e30)).all():
        sums = np.square(part, dtype=np.float64).sum(axis=1)
    return sums


def _by_head(norms: Doubles, heads: int) -> Doubles:
    """Return the root mean square of each head's rows."""
    sizes: Doubles = np.sqrt(np.square(norms.reshape(heads, -1)).mean(axis=1))
    return sizes


def _rms(values: Doubles) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _norm_share(weights: Floats) -> float:
    """Return the share of a norm's weights that rounding loses."""
    size = _rms(weights.astype(np.float64))
    return float(NORM_WEIGHT_STEP / sqrt(12) / size) if size else 0.0
