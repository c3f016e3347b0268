"""Whether a model's numbers fit the fixed formats, and which fraction bits they get. It is decided before a build.

Rounding a vector to its fraction bits loses a share of it, and these shares add up along the layers. Most vectors keep 14 fraction bits.
Where that loses much, or a vector could saturate, its matrix rounds to other ones, and whatever reads the vector makes up for it. Queries
and keys change the scale of the scores, values and `up` the fraction bits of the next matrix. Only gate and logits have fixed fraction
bits, since they are not read linearly. A matrix or norm that its own format cannot hold is stored times a power of two.

*Source*: spec §3.4 (formats), §3.5 (attention's scores), §3.7 (what a builder may choose) and §3.8 (bounds).
"""

from contextlib import suppress
from math import floor, hypot, log2, sqrt

import numpy as np
from attrs import asdict, frozen
from numpy.typing import NDArray

from opml_min.model.build.calibration import Calibration, measured_sizes
from opml_min.model.build.powers_of_two import VectorFractions, check_scales, norm_share, stored
from opml_min.model.build.sizes import LayerSizes, Sizes, WeightSizes, sizes_of, weight_sizes
from opml_min.model.build.tape import (
    LEAST_RESIDUAL_FRAC,
    LOGIT_FRAC,
    MOST_OUT_FRAC,
    RESIDUAL_FRAC,
    VECTOR_FRAC,
    Fractions,
    most_score_bits,
    query_frac,
)
from opml_min.model.errors import CheckpointError
from opml_min.model.sources.checkpoint import Checkpoint, Shape
from opml_min.model.sources.matrices import StoredBlocks, StoredMatrix, Weights

LARGEST_EPSILON = 2.0**-12
MOST_LOST, NOTED_LOST = 0.05, 0.01  # shares of the logits
MOST_SCORE_ERROR = 0.1  # of the logarithm to base 2 of an attention weight
MOST_MOVED_SCORE = 1.0  # of that logarithm, by errors of the vectors before
KEY_BITS_ERROR = 1e-4  # of a score: queries have 13 bits
PLENTY_OF_BITS = 16  # of a typical number; activations keep 15 bits of the largest one
WAY_OUT = "--arithmetic float has no such limit"
UNMEASURED = "opml model build --calibrate TEXT measures what a text needs, and "

Doubles = NDArray[np.float64]


@frozen(eq=False)
class Fit:
    """How a model fits: the checkpoint as it is to be stored, its fraction bits, and the share of the logits that is lost."""

    checkpoint: Checkpoint
    fractions: Fractions
    lost: float
    where: str  # most of it is lost

    @property
    def note(self) -> str:
        """What a person should know; it is empty if the model fits well."""
        text = f"fixed point loses about {self.lost:.1%} of the logits, most of it in {self.where}; {WAY_OUT}"
        return text if self.lost > NOTED_LOST else ""


def check_shape_of_tape(shape: Shape) -> None:
    """Refuse what no tape can hold, in either arithmetic."""
    if shape.heads * shape.head_size % 8:
        raise CheckpointError(f"{shape.heads} heads of {shape.head_size} are not a multiple of 8, and buffers must be aligned")


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


def fit(checkpoint: Checkpoint, calibration: Calibration | None = None) -> Fit:
    """Return the fraction bits. A model that does not fit is an error that names its tensor.

    calibration: a text, on which sizes are measured in float arithmetic instead of being estimated"""
    shape = checkpoint.shape
    if not shape.epsilon < LARGEST_EPSILON:
        raise CheckpointError(f"an epsilon of {shape.epsilon:.6g} is too large for fixed point, below {LARGEST_EPSILON:.6g}; {WAY_OUT}")
    weights = weight_sizes(checkpoint)
    sizes = sizes_of(weights, shape)
    if calibration is not None:
        sizes = measured_sizes(checkpoint, calibration, sizes)
    return _Fitting(checkpoint, weights, sizes, WAY_OUT if calibration is not None else UNMEASURED + WAY_OUT).best(calibration is None)


class _Fitting:
    """One model, while its fraction bits are chosen."""

    def __init__(self, checkpoint: Checkpoint, weights: WeightSizes, sizes: Sizes, way_out: str) -> None:
        self._checkpoint, self._shape = checkpoint, checkpoint.shape
        self._weights, self._sizes, self._way_out = weights, sizes, way_out
        self._residual = self._residual_frac()
        self._require_reach("the logits", sizes.most_logits, LOGIT_FRAC)

    def best(self, prefer_usual: bool) -> Fit:
        """Return the usual fraction bits if they lose little, and else those that the sizes ask for."""
        usual = None
        if prefer_usual:
            with suppress(CheckpointError):
                usual = self._fit([VectorFractions(query_frac(self._shape.head_size))] * self._shape.layers)
        if usual is not None and usual.lost <= NOTED_LOST:
            return usual
        try:
            chosen = self._fit([self._chosen(index) for index in range(self._shape.layers)])
        except CheckpointError:
            if usual is None:
                raise
            return usual
        return usual if usual is not None and usual.lost <= chosen.lost else chosen

    def _residual_frac(self) -> int:
        bits = min(RESIDUAL_FRAC, _most_bits(self._sizes.residual))
        if bits < LEAST_RESIDUAL_FRAC:
            raise self._error(f"the residual stream would reach about {self._sizes.residual:.3g}, too large for fixed point")
        return bits

    def _require_reach(self, name: str, most: float, fraction_bits: int) -> None:
        reach = 2.0 ** (31 - fraction_bits)
        if not most < reach:
            raise self._error(f"{name} may give numbers as large as {most:.3g}, too large for fixed point (below {reach:.6g})")

    def _require_bits(self, fractions: Fractions) -> None:
        """Refuse fraction bits that no tape can have."""
        for index, layer in enumerate(fractions.layers):
            for name, bits in asdict(layer).items():
                if not 0 <= bits <= MOST_OUT_FRAC:
                    raise self._error(f"{name} of layer {index} would need {bits} fraction bits, from 0 to {MOST_OUT_FRAC} are possible")
        if not 0 <= fractions.logits <= MOST_OUT_FRAC or not LEAST_RESIDUAL_FRAC <= fractions.embedding <= RESIDUAL_FRAC:
            raise self._error("the embedding or the classifier has weights of a size that fixed point cannot hold")

    def _error(self, problem: str) -> CheckpointError:
        return CheckpointError(f"{problem}; {self._way_out}")

    # Choosing ---------------------------------------------------------------------------------------------------------------------

    def _chosen(self, index: int) -> VectorFractions:
        """Return the fraction bits that the sizes of a layer ask for."""
        size, matrices = self._sizes.layers[index], self._weights.layers[index]

        def bits(name: str, reader: str) -> int:
            wanted = PLENTY_OF_BITS - floor(log2(size.rms[name])) if size.rms[name] > 0 else VECTOR_FRAC
            most = VECTOR_FRAC + self._residual - matrices[reader].places
            return min(max(wanted, matrices[name].places), _most_bits(size.most[name]), most)

        q, k = _most_bits(size.most["wq"]), _most_bits(size.most["wk"])
        while q + k > most_score_bits(self._shape.head_size):
            q, k = (q - 1, k) if q > k else (q, k - 1)
        return VectorFractions(q, k, bits("wv", "wo"), VECTOR_FRAC, bits("up", "down"))

    def _fit(self, vectors: list[VectorFractions]) -> Fit:
        for index, (bits, size) in enumerate(zip(vectors, self._sizes.layers, strict=True)):
            for name, most in size.most.items():
                self._require_reach(self._weights.layers[index][name].name, most, getattr(bits, name))
            if bits.wq + bits.wk < query_frac(self._shape.head_size) + VECTOR_FRAC:
                raise self._error(f"{self._queries_and_keys(index)} give numbers too large for fixed point")
        checkpoint, fractions = stored(self._checkpoint, self._weights, vectors, self._residual)
        check_scales(checkpoint, self._weights)
        self._require_bits(fractions)
        lost = self._lost(vectors, checkpoint)
        total, where = sqrt(sum(lost.values())), max(lost, key=lambda name: lost[name])
        if not total <= MOST_LOST:
            raise self._error(f"fixed point would lose about {min(total, 1):.0%} of the logits, most of it in {where}")
        for index, size in enumerate(self._sizes.layers):
            self._check_moved_scores(size, index, sqrt(sum(list(lost.values())[: 1 + 2 * index])))
        return Fit(checkpoint, fractions, total, where)

    # What is lost -----------------------------------------------------------------------------------------------------------------

    def _lost(self, vectors: list[VectorFractions], stored: Checkpoint) -> dict[str, float]:
        """Return the squares of the shares that are lost, by their place."""
        sizes, step = self._sizes, _step_error(self._residual)
        lost = {"the embedding": (step / sizes.embedding) ** 2}
        for index, (size, bits, layer) in enumerate(zip(sizes.layers, vectors, stored.layers, strict=True)):
            self._check_scores(size, bits, index)
            of_v, of_gate, of_up = (min(_step_error(getattr(bits, n)) / max(size.rms[n], 1e-30), 1.0) for n in ("wv", "gate", "up"))
            shares = hypot(of_v, norm_share(layer.attention_norm)), hypot(of_gate, of_up, norm_share(layer.ffn_norm))
            for part, name, share, signal in zip(("attention", "feed-forward"), ("wo", "down"), shares, size.signal, strict=True):
                added = size.rms[name]
                lost[f"{part} of layer {index}"] = (share**2 * added**2 + (step**2 if added else 0)) / max(signal, 1e-60)
        lost["the final norm"] = norm_share(stored.final_norm) ** 2
        if sizes.logits:
            lost["the logits"] = (_step_error(LOGIT_FRAC) / max(sizes.logits, 1e-30)) ** 2
        return lost

    def _check_scores(self, size: LayerSizes, bits: VectorFractions, index: int) -> None:
        (q, k), ln = size.heads, log2(np.e)
        error: Doubles = ln * (_step_error(bits.wq) * k + _step_error(bits.wk) * q + KEY_BITS_ERROR * q * k)
        if error.max(initial=0) > MOST_SCORE_ERROR:
            raise self._error(f"{self._queries_and_keys(index)} give attention scores too large for fixed point")

    def _check_moved_scores(self, size: LayerSizes, index: int, lost: float) -> None:
        """Refuse scores so large that what is lost before them decides where attention looks. lost: that share of the stream"""
        q, k = size.heads
        if log2(np.e) * sqrt(2) * lost * float((q * k).max(initial=0)) > MOST_MOVED_SCORE:
            raise self._error(f"{self._queries_and_keys(index)} give attention scores too large for what is lost before them")

    def _queries_and_keys(self, index: int) -> str:
        return " and ".join(self._weights.layers[index][name].name for name in ("wq", "wk"))

def _step_error(fraction_bits: int) -> float:
    """Return the standard deviation of the error of rounding to so many fraction bits."""
    return float(2.0**-fraction_bits / sqrt(12))


def _most_bits(most: float) -> int:
    """Return the most fraction bits with which a number of this size fits i32."""
    return 30 - floor(log2(most)) if most > 0 else 62
