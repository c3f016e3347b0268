"""Weight matrices as the machine reads them: groups of 32 small integers with a half-precision scale, 8 rows interleaved.

*Source*: spec/README.md §3.4; the rounding of Q8_0 is ggml's `quantize_row_q8_0_ref`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opml_min.model.errors import CheckpointError

LANES = 8  # rows of a tile
GROUP = 32  # columns of a block
Q8_0, Q4_0, Q4_1 = 0, 1, 2
F32 = 3  # float arithmetic: no groups, no scales
BLOCK_BYTES = {Q8_0: 272, Q4_0: 144, Q4_1: 160}  # of 8 rows × 32 columns
LARGEST_WEIGHT = {Q8_0: 128, Q4_0: 8, Q4_1: 15}
SCALE_OFFSET = {Q8_0: 256, Q4_0: 128, Q4_1: 128}
MINIMUM_OFFSET = 144  # Q4_1 only

Halfs = NDArray[np.uint16]


class Groups(NamedTuple):
    """A matrix in groups of 32 columns: row i's group g stands for `weights[i, g]·scales[i, g] (+ minimums[i, g])`."""

    weights: NDArray[np.int8]  # (rows, groups, 32); unsigned nibbles as they are stored, for Q4_0 and Q4_1
    scales: Halfs  # (rows, groups), bit patterns
    minimums: Halfs | None = None  # (rows, groups), Q4_1 only


def matrix_bytes(form: int, rows: int, columns: int) -> int:
    if form == F32:
        return -(-rows // LANES) * LANES * columns * 4
    return -(-rows // LANES) * (columns // GROUP) * BLOCK_BYTES[form]


def quantise_q8_0(matrix: NDArray[np.float32], *, restore: bool = True) -> Groups:
    """Q8_0 of a float matrix (rows, columns), columns padded with zeros to whole groups.

    Weights are rounded as ggml does: d = max|x|/127, q = round(x/d). restore: those that some Q8_0 group already represents come
    back exactly, which is slow where weights are short (bfloat16) for another reason."""
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


def problem_of_scales(form: int, scales: Halfs, minimums: Halfs | None) -> str | None:
    """Why the kernels could not multiply by a matrix of such halfs (rows, groups): a sum must fit 62 bits. None if they can."""
    sizes = np.abs(scales.view(np.float16).astype(np.float64))
    least = np.zeros_like(sizes) if minimums is None else np.abs(minimums.view(np.float16).astype(np.float64))
    if not (sizes < 128).all() or not (least < 128).all():
        return "a scale or minimum is not finite or not below 128"
    largest = (32 * LARGEST_WEIGHT[form] * sizes + 32 * least).sum(axis=1).max(initial=0) * 2**24 * 32767
    return None if largest < 2**62 else "a row of the matrix may overflow"


def check_groups(form: int, groups: Groups) -> None:
    """CheckpointError if a matrix of these groups would be refused."""
    problem = problem_of_scales(form, groups.scales, groups.minimums)
    if problem:
        raise CheckpointError(problem)


def _restore_exact_groups(x: NDArray[np.float32], weights: NDArray[np.int8], scales: NDArray[np.float16]) -> None:
    """Finds the exact form of the groups that have one but whose largest weight is not ±127."""
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


def pack(form: int, groups: Groups) -> NDArray[np.uint8]:
    """The bytes of a matrix: tiles of 8 rows (the last one padded with zero rows), blocks of 8 × 32."""
    rows, group_count, _ = groups.weights.shape
    tiles = -(-rows // LANES)
    padded = np.zeros((tiles * LANES, group_count, GROUP), np.uint8)
    padded[:rows] = groups.weights.view(np.uint8)
    if form == Q4_0:
        padded[rows:] = 8  # the nibble that stands for 0
    out = np.zeros((tiles, group_count, BLOCK_BYTES[form]), np.uint8)
    paired = padded if form == Q8_0 else padded[:, :, :16] | padded[:, :, 16:] << 4
    pairs = paired.reshape(tiles, LANES, group_count, -1, 2).transpose(0, 2, 3, 1, 4)  # (tiles, groups, pairs, lanes, 2)
    out[:, :, : SCALE_OFFSET[form]] = pairs.reshape(tiles, group_count, -1)
    _put_halfs(out, SCALE_OFFSET[form], groups.scales)
    if form == Q4_1 and groups.minimums is not None:
        _put_halfs(out, MINIMUM_OFFSET, groups.minimums)
    return out.reshape(-1)


def _put_halfs(out: NDArray[np.uint8], offset: int, halfs: Halfs) -> None:
    tiles, group_count, _ = out.shape
    padded = np.zeros((tiles * LANES, group_count), np.uint16)
    padded[: len(halfs)] = halfs
    lanes = np.ascontiguousarray(padded.reshape(tiles, LANES, group_count).transpose(0, 2, 1))
    out[:, :, offset : offset + 2 * LANES] = lanes.view(np.uint8)


def block_halfs(data: NDArray[np.uint8], offset: int, form: int, columns: int) -> Halfs:
    """The halfs at an offset of every block, by row: (rows, groups)."""
    group_count = columns // GROUP
    blocks = data.reshape(-1, group_count, BLOCK_BYTES[form])[:, :, offset : offset + 2 * LANES]
    lanes = np.ascontiguousarray(blocks).view(np.uint16)  # (tiles, groups, lanes)
    return lanes.transpose(0, 2, 1).reshape(-1, group_count)


def unpack(data: NDArray[np.uint8], form: int, rows: int, columns: int) -> Groups:
    """The matrix in packed bytes."""
    group_count = columns // GROUP
    pairs = data.reshape(-1, group_count, BLOCK_BYTES[form])[:, :, : SCALE_OFFSET[form]]
    stored = (
        pairs.reshape(len(pairs), group_count, -1, LANES, 2).transpose(0, 3, 1, 2, 4).reshape(-1, group_count, SCALE_OFFSET[form] // LANES)
    )
    if form != Q8_0:
        stored = np.concatenate([stored & 15, stored >> 4], axis=2)
    minimums = block_halfs(data, MINIMUM_OFFSET, form, columns)[:rows] if form == Q4_1 else None
    return Groups(stored.view(np.int8)[:rows], block_halfs(data, SCALE_OFFSET[form], form, columns)[:rows], minimums)


def dequantise(form: int, groups: Groups) -> NDArray[np.float32]:
    """The floats that a matrix stands for: (rows, columns), exact."""
    weights = groups.weights.astype(np.float32) - (8 if form == Q4_0 else 0)
    values = weights * groups.scales.view(np.float16).astype(np.float32)[:, :, None]
    if groups.minimums is not None:
        values += groups.minimums.view(np.float16).astype(np.float32)[:, :, None]
    return values.reshape(len(values), -1)


def pack_f32(matrix: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The bytes of a float matrix (rows, columns): tiles of 8 rows (the last one padded with zero rows), the 8 of a column together."""
    rows, columns = matrix.shape
    tiles = np.zeros((-(-rows // LANES), columns, LANES), np.float32)
    whole = rows // LANES
    tiles[:whole] = matrix[: whole * LANES].reshape(whole, LANES, columns).transpose(0, 2, 1)
    if whole * LANES < rows:
        tiles[whole, :, : rows - whole * LANES] = matrix[whole * LANES :].T
    return tiles.reshape(-1).view(np.uint8)


def unpack_f32(data: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.float32]:
    """The float matrix in packed bytes."""
    tiles = data.view(np.float32).reshape(-1, columns, LANES)
    return tiles.transpose(0, 2, 1).reshape(-1, columns)[:rows]
