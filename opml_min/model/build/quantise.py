"""Q8_0 of a float matrix, as ggml rounds it: the largest weight of a group becomes ±127.

*Source*: ggml's `quantize_row_q8_0_ref`.
"""

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.model.errors import CheckpointError
from opml_min.model.image.weights import GROUP, Groups, problem_of_scales

SMALLEST_NORMAL_HALF = 2.0**-14
LARGEST_WEIGHT = 127.0 * 127  # a scale is below 128
LARGEST_ROW = 127.0 * 2040  # Σ of a row's scales is below 2^11: 128·32·32768 times it, in units of 2^-24, must stay below 2^62


def quantise_q8_0(matrix: NDArray[np.float32], *, restore: bool = True) -> Groups:
    """Return a float matrix (rows, columns) as Q8_0: d = max|x|/127, q = round(x/d), columns padded by zeros to whole groups.

    restore: groups that are exactly the floats of some Q8_0 group come back unchanged. For weights with few bits (bfloat16) the search is
    slow and rarely finds any."""
    rows, columns = matrix.shape
    x = np.zeros((rows, -(-columns // GROUP), GROUP), np.float32)
    x.reshape(rows, -1)[:, :columns] = matrix
    if not np.isfinite(x).all():
        raise CheckpointError("a weight is not a finite number")
    d = np.abs(x).max(axis=2) / np.float32(127)  # (rows, groups)
    if d.max(initial=0) >= 128:
        raise CheckpointError(f"a weight of {np.abs(x).max():.6g} is too large")
    inverse = np.divide(np.float32(1), d, out=np.zeros_like(d), where=d > 0)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = x * inverse[:, :, None]
        scaled = np.where(np.isfinite(scaled), scaled, 0)  # 1/d overflows where d is far below the smallest half
    weights = (np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5))).astype(np.int8)
    scales = d.astype(np.float16)
    if restore:
        _restore_exact_groups(x, weights, scales)
    return Groups(weights, scales.view(np.uint16))


@frozen
class ScaleLoss:
    """What the scales of a matrix cannot hold because they are halfs. Energies are sums of squared weights."""

    largest: float = 0.0  # |weight|
    heaviest_row: float = 0.0  # the sum of the largest weights of its groups
    energy: float = 0.0  # only looked at where something is lost
    lost: float = 0.0

    @property
    def share(self) -> float:
        """The share of the energy that is lost. It is large only where scales are subnormal."""
        return self.lost / self.energy if self.lost else 0.0

    def and_of(self, other: "ScaleLoss") -> "ScaleLoss":
        """Return what two parts of a matrix have lost together."""
        sums = self.energy + other.energy, self.lost + other.lost
        return ScaleLoss(max(self.largest, other.largest), max(self.heaviest_row, other.heaviest_row), *sums)


def loss_by_scales(matrix: NDArray[np.float32]) -> ScaleLoss:
    """Return what the scales of some rows cannot hold."""
    rows, columns = matrix.shape
    x = matrix if columns % GROUP == 0 else np.pad(matrix, ((0, 0), (0, -columns % GROUP)))
    groups = x.reshape(rows, -1, GROUP)
    largest = np.maximum(groups.max(axis=2), -groups.min(axis=2)).astype(np.float64)
    d = largest / 127
    small = (d > 0) & (d < SMALLEST_NORMAL_HALF)
    sizes = float(largest.max(initial=0)), float(largest.sum(axis=1).max(initial=0))
    kept = d[small].astype(np.float16).astype(np.float64) / d[small]
    wrong = np.square(kept - 1) * np.square(groups[small], dtype=np.float64).sum(axis=1)
    return ScaleLoss(*sizes, float(squares_of_rows(matrix).sum()), float(wrong.sum()))


def squares_of_rows(part: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sum of squares of each row: in float32, unless it does not lie safely within it."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        sums: NDArray[np.float64] = np.einsum("ij,ij->i", part, part).astype(np.float64)
    if not ((sums > 1e-20) & (sums < 1e30)).all():
        sums = np.square(part, dtype=np.float64).sum(axis=1)
    return sums


def check_groups(quantisation: int, groups: Groups) -> None:
    """Raise CheckpointError if native code would refuse a matrix of these groups."""
    problem = problem_of_scales(quantisation, groups.scales, groups.minimums)
    if problem:
        raise CheckpointError(problem)


def _restore_exact_groups(x: NDArray[np.float32], weights: NDArray[np.int8], scales: NDArray[np.float16]) -> None:
    """Where some weights and scale give a group exactly, although the largest weight is not ±127, put them in place."""
    inexact = (weights * scales.astype(np.float32)[:, :, None] != x).any(axis=2)
    short = ((x.view(np.uint32) & 31) == 0).all(axis=2)  # 8 bits times 11 bits leave 5 of the 24 significand bits clear
    for row, group in zip(*np.nonzero(inexact & short), strict=True):
        values = x[row, group].astype(np.float64)
        for largest in range(128, 0, -1):
            d = np.float16(np.abs(values).max() / largest)
            q = values / np.float64(d) if d else values
            if (q == np.rint(q)).all() and q.max() <= 127 and q.min() >= -128 and d:
                weights[row, group], scales[row, group] = q.astype(np.int8), d
                break
