"""Weights times a power of two, which changes no bit of their significands."""

from typing import overload

import numpy as np

from opml_min.model.sources.matrices import Floats, Rows, StoredMatrix, Weights


@overload
def scaled(weights: Floats, places: int) -> Floats: ...
@overload
def scaled(weights: Weights, places: int) -> Weights: ...
def scaled(weights: Weights, places: int) -> Weights:
    """Return the weights times 2^places. A matrix stays in its file."""
    if not places:
        return weights
    factor = np.float32(2.0**places)
    if not isinstance(weights, StoredMatrix):
        return weights * factor

    def floats(rows: Rows) -> Floats:
        return weights.floats(rows) * factor

    return StoredMatrix(weights.shape, floats, weights.name, weights.kind)
