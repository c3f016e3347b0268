"""How large the numbers of a model become on a text, measured by running its float reference on it.

Measured sizes are exact for that text. What a number may reach on another text is taken as a few times more, but never as more than the
weights allow. The image depends on these sizes only through powers of two.
"""

from collections.abc import Callable
from math import isfinite, sqrt

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.model.build.sizes import LayerSizes, Sizes
from opml_min.model.errors import CheckpointError
from opml_min.model.quality.reference import logits_of_windows
from opml_min.model.sources.checkpoint import Checkpoint, Shape

MOST_TOKENS = 2048
WINDOW = 512
MARGIN = 8  # by which another text may exceed the largest number

Doubles = NDArray[np.float64]


@frozen
class Calibration:
    """The tokens of a text, and who is told how many layers are done, of how many."""

    tokens: list[int]
    show: Callable[[int, int], None] = lambda done, layers: None


def measured_sizes(checkpoint: Checkpoint, text: Calibration, estimated: Sizes) -> Sizes:
    """Return the sizes on the first tokens of a text. estimated: from the weights, with what can never be exceeded"""
    tokens, window = text.tokens[:MOST_TOKENS], min(WINDOW, checkpoint.shape.context)
    if len(tokens) < 2:
        raise CheckpointError("the text to calibrate on has fewer than two tokens")
    watched = _Watched(checkpoint.shape, text.show)
    windows = [tokens[first : first + window] for first in range(0, len(tokens), window)]
    with np.errstate(over="ignore", invalid="ignore"):
        logits = [_Vector(values) for values in logits_of_windows(checkpoint, windows, watched)]
    text.show(checkpoint.shape.layers, checkpoint.shape.layers)
    if not all(isfinite(each.most) for each in (*logits, *watched.stream)):
        raise CheckpointError("the model gives numbers that are not finite on the text to calibrate on")
    return Sizes(
        watched.embedding,
        MARGIN * max(each.most for each in watched.stream),
        tuple(watched.layer(index, estimate) for index, estimate in enumerate(estimated.layers)),
        sqrt(sum(each.rms**2 for each in logits) / len(logits)),
        min(MARGIN * max(each.most for each in logits), estimated.most_logits),
    )


class _Vector:
    """The root mean square of some numbers, and the largest one."""

    def __init__(self, values: Doubles) -> None:
        self.rms, self.most = float(np.sqrt(np.square(values).mean())), float(np.abs(values).max(initial=0))


class _Watched:
    """Receives what the reference computes, in its order."""

    def __init__(self, shape: Shape, show: Callable[[int, int], None]) -> None:
        self.embedding = 1.0  # the root mean square of a typical one
        self.stream: list[_Vector] = []  # at the start, and after each addition
        self._shape, self._show = shape, show
        self._vectors: list[dict[str, _Vector]] = []
        self._heads: list[dict[str, Doubles]] = []

    def __call__(self, name: str, values: Doubles) -> None:
        if name == "stream":
            if not self.stream:
                self.embedding = float(np.median(np.sqrt(np.square(values).mean(axis=1)))) or 1.0
            self.stream.append(_Vector(values))
            return
        if name == "wq":
            self._show(len(self._vectors), self._shape.layers)
            self._vectors.append({})
            self._heads.append({})
        self._vectors[-1][name] = _Vector(values)
        if name in ("wq", "wk"):
            by_head = np.square(values.reshape(len(values), -1, self._shape.head_size)).mean(axis=(0, 2))
            self._heads[-1][name] = np.sqrt(np.repeat(by_head, self._shape.heads // len(by_head)))

    def layer(self, index: int, estimated: LayerSizes) -> LayerSizes:
        vectors, heads = self._vectors[index], self._heads[index]
        most = {}
        for name, bound in estimated.most.items():
            turned = sqrt(2) if name in heads else 1.0  # a rotation may put a pair's length into one number
            most[name] = min(MARGIN * turned * vectors[name].most, bound)
        signal = self.stream[2 * index + 1].rms ** 2, self.stream[2 * index + 2].rms ** 2
        rms = {name: vectors[name].rms for name in estimated.rms}
        return LayerSizes((heads["wq"], heads["wk"]), rms, most, signal)
