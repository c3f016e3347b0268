"""Weights that are stored times a power of two, because scales or norm weights could not hold them as they are.

Whatever reads them makes up for it: a matrix product, by the fraction bits that it rounds to; an embedding, by its r. A power of two
changes no bit of a significand.

*Source*: spec §3.4 (formats) and §3.7 (what a builder may choose).
"""

from collections.abc import Iterator, Sequence
from math import ceil, floor, log2, sqrt

import numpy as np
from attrs import frozen

from opml_min.model.build.sizes import MOST_LOST_BY_SCALES, WeightSizes, lost_by_scales
from opml_min.model.build.tape import LEAST_RESIDUAL_FRAC, LOGIT_FRAC, VECTOR_FRAC, Fractions, LayerFractions
from opml_min.model.errors import CheckpointError
from opml_min.model.sources.checkpoint import Checkpoint
from opml_min.model.sources.matrices import Floats, StoredBlocks, Weights
from opml_min.model.sources.scaling import scaled

NORM_WEIGHT_STEP, LARGEST_NORM_WEIGHT = 2.0**-24, 127.0
MOST_LOST_BY_NORM = 1e-3


@frozen
class VectorFractions:
    """The fraction bits that the vectors of a layer have. The tape's are others where a matrix is stored times a power of two."""

    wq: int
    wk: int = VECTOR_FRAC
    wv: int = VECTOR_FRAC
    gate: int = VECTOR_FRAC
    up: int = VECTOR_FRAC


def stored(old: Checkpoint, weights: WeightSizes, vectors: Sequence[VectorFractions], residual: int) -> tuple[Checkpoint, Fractions]:
    """Return the checkpoint as it is to be stored, and the fraction bits of the tape. residual: those of the residual stream"""
    layers, fractions = [], []
    for layer, matrices, bits in zip(old.layers, weights.layers, vectors, strict=True):
        out = {name: getattr(bits, name) for name in ("wq", "wk", "wv", "gate", "up")}
        out |= {"wo": residual - bits.wv + VECTOR_FRAC, "down": residual - bits.up + VECTOR_FRAC}
        new = {}
        for norm, readers in (("attention_norm", ("wq", "wk", "wv")), ("ffn_norm", ("gate", "up"))):
            places = _places_of_norm(getattr(layer, norm), min(out[name] - max(matrices[name].places, 0) for name in readers))
            new[norm] = scaled(getattr(layer, norm), places)
            out |= {name: out[name] - places for name in readers}
        for name, matrix in matrices.items():
            places = min(matrix.places, out[name])
            new[name], out[name] = scaled(getattr(layer, name), places), out[name] - places
        layers.append(layer._replace(**new))
        fractions.append(LayerFractions(**out, scores=bits.wq + bits.wk))
    of_norm = _places_of_norm(old.final_norm, LOGIT_FRAC - max(weights.classifier.places, 0))
    logits = LOGIT_FRAC - of_norm
    of_embedding, of_classifier = min(weights.embedding.places, residual - LEAST_RESIDUAL_FRAC), min(weights.classifier.places, logits)
    if old.classifier is None:
        of_embedding = of_classifier = min(of_embedding, of_classifier)
    classifier = None if old.classifier is None else scaled(old.classifier, of_classifier)
    checkpoint = Checkpoint(old.shape, scaled(old.embedding, of_embedding), layers, scaled(old.final_norm, of_norm), classifier)
    return checkpoint, Fractions(residual - of_embedding, residual, logits - of_classifier, tuple(fractions))


def check_scales(checkpoint: Checkpoint, weights: WeightSizes) -> None:
    """Refuse a matrix that even a power of two does not bring into the range of Q8_0's scales."""
    for matrix, name in _with_wanted_places(checkpoint, weights):
        if not isinstance(matrix, StoredBlocks) and lost_by_scales(matrix) > MOST_LOST_BY_SCALES:
            raise CheckpointError(f"{name} has weights too small for Q8_0's scales; --arithmetic float has no such limit")


def _with_wanted_places(checkpoint: Checkpoint, weights: WeightSizes) -> Iterator[tuple[Weights, str]]:
    """Yield the matrices that could not be stored as they are."""
    if weights.embedding.places:
        yield checkpoint.embedding, weights.embedding.name
    if checkpoint.classifier is not None and weights.classifier.places:
        yield checkpoint.classifier, weights.classifier.name
    for layer, matrices in zip(checkpoint.layers, weights.layers, strict=True):
        for field, matrix in matrices.items():
            if matrix.places:
                yield getattr(layer, field), matrix.name


def _places_of_norm(weights: Floats, most: int) -> int:
    """Return the power of two to store a norm's weights with: 0, unless they are too large or lose much. most: that its readers allow"""
    largest = float(np.abs(weights).max(initial=0))
    if largest >= LARGEST_NORM_WEIGHT + 1:
        return -ceil(log2(largest / LARGEST_NORM_WEIGHT))
    if norm_share(weights) <= MOST_LOST_BY_NORM:
        return 0
    return max(min(floor(log2(LARGEST_NORM_WEIGHT / largest)), most), 0)


def norm_share(weights: Floats) -> float:
    """Return the share of a norm's weights that rounding loses."""
    size = float(np.sqrt(np.square(weights, dtype=np.float64).mean()))
    return min(float(NORM_WEIGHT_STEP / sqrt(12) / size), 1.0) if size else 0.0
