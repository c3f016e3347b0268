"""Weight matrices as the machine reads them: groups of 32 small integers with a half-precision scale, 8 rows interleaved in a tile.

*Source*: spec §3.4.
"""

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

TILE_ROWS = 8
GROUP = 32  # columns of a block
Q8_0, Q4_0, Q4_1 = 0, 1, 2
F32 = 3  # float arithmetic: no groups, no scales
BLOCK_BYTES = (272, 144, 160)  # of 8 rows × 32 columns; this and the next two are indexed by the quantisation
LARGEST_WEIGHT = (128, 8, 15)
SCALE_OFFSET = (256, 128, 128)  # where the scales begin in a block
MINIMUM_OFFSET = 144  # and the minimums, Q4_1 only

Halfs = NDArray[np.uint16]


@frozen(eq=False)
class Groups:
    """A matrix in groups of 32 columns: row i's group g stands for `weights[i, g]·scales[i, g] (+ minimums[i, g])`."""

    weights: NDArray[np.int8]  # (rows, groups, 32); unsigned nibbles as they are stored, for Q4_0 and Q4_1
    scales: Halfs  # (rows, groups), bit patterns
    minimums: Halfs | None = None  # (rows, groups), Q4_1 only


def matrix_bytes(quantisation: int, rows: int, columns: int) -> int:
    if quantisation == F32:
        return -(-rows // TILE_ROWS) * TILE_ROWS * columns * 4
    return -(-rows // TILE_ROWS) * (columns // GROUP) * BLOCK_BYTES[quantisation]


def problem_of_scales(quantisation: int, scales: Halfs, minimums: Halfs | None) -> str | None:
    """Say why the kernels could not multiply by a matrix with such halfs (rows, groups), or return None if they can.

    A sum must fit 62 bits."""
    sizes = np.abs(scales.view(np.float16).astype(np.float64))
    least = np.zeros_like(sizes) if minimums is None else np.abs(minimums.view(np.float16).astype(np.float64))
    if not (sizes < 128).all() or not (least < 128).all():
        return "a scale or minimum is not finite or not below 128"
    largest = (32 * LARGEST_WEIGHT[quantisation] * sizes + 32 * least).sum(axis=1).max(initial=0) * 2**24 * 32768
    return None if largest < 2**62 else "a row of the matrix may overflow"


def pack(quantisation: int, groups: Groups) -> NDArray[np.uint8]:
    """Return the bytes of a matrix: tiles of 8 rows (the last one padded with zero rows) in blocks of 8 × 32."""
    rows, group_count, _ = groups.weights.shape
    tiles = -(-rows // TILE_ROWS)
    padded = np.zeros((tiles * TILE_ROWS, group_count, GROUP), np.uint8)
    padded[:rows] = groups.weights.view(np.uint8)
    if quantisation == Q4_0:
        padded[rows:] = 8  # the nibble that stands for 0
    out = np.zeros((tiles, group_count, BLOCK_BYTES[quantisation]), np.uint8)
    paired = padded if quantisation == Q8_0 else padded[:, :, :16] | padded[:, :, 16:] << 4
    pairs = paired.reshape(tiles, TILE_ROWS, group_count, -1, 2).transpose(0, 2, 3, 1, 4)  # (tiles, groups, pairs, lanes, 2)
    out[:, :, : SCALE_OFFSET[quantisation]] = pairs.reshape(tiles, group_count, -1)
    _put_halfs(out, SCALE_OFFSET[quantisation], groups.scales)
    if quantisation == Q4_1 and groups.minimums is not None:
        _put_halfs(out, MINIMUM_OFFSET, groups.minimums)
    return out.reshape(-1)


def _put_halfs(out: NDArray[np.uint8], offset: int, halfs: Halfs) -> None:
    tiles, group_count, _ = out.shape
    padded = np.zeros((tiles * TILE_ROWS, group_count), np.uint16)
    padded[: len(halfs)] = halfs
    lanes = np.ascontiguousarray(padded.reshape(tiles, TILE_ROWS, group_count).transpose(0, 2, 1))
    out[:, :, offset : offset + 2 * TILE_ROWS] = lanes.view(np.uint8)


def block_halfs(data: NDArray[np.uint8], offset: int, quantisation: int, columns: int) -> Halfs:
    """Return the halfs at an offset of every block, by row: (rows, groups)."""
    group_count = columns // GROUP
    blocks = data.reshape(-1, group_count, BLOCK_BYTES[quantisation])[:, :, offset : offset + 2 * TILE_ROWS]
    lanes = np.ascontiguousarray(blocks).view(np.uint16)  # (tiles, groups, lanes)
    return lanes.transpose(0, 2, 1).reshape(-1, group_count)


def unpack(data: NDArray[np.uint8], quantisation: int, rows: int, columns: int) -> Groups:
    """Return the matrix in packed bytes."""
    group_count, weight_bytes = columns // GROUP, SCALE_OFFSET[quantisation]
    blocks = data.reshape(-1, group_count, BLOCK_BYTES[quantisation])[:, :, :weight_bytes]
    pairs = blocks.reshape(len(blocks), group_count, -1, TILE_ROWS, 2)
    stored = pairs.transpose(0, 3, 1, 2, 4).reshape(-1, group_count, weight_bytes // TILE_ROWS)
    if quantisation != Q8_0:
        stored = np.concatenate([stored & 15, stored >> 4], axis=2)
    scales = block_halfs(data, SCALE_OFFSET[quantisation], quantisation, columns)[:rows]
    minimums = block_halfs(data, MINIMUM_OFFSET, quantisation, columns)[:rows] if quantisation == Q4_1 else None
    return Groups(stored.view(np.int8)[:rows], scales, minimums)


def dequantise(quantisation: int, groups: Groups) -> NDArray[np.float32]:
    """Return exactly the floats that a matrix stands for: (rows, columns)."""
    weights = groups.weights.astype(np.float32) - (8 if quantisation == Q4_0 else 0)
    values = weights * groups.scales.view(np.float16).astype(np.float32)[:, :, None]
    if groups.minimums is not None:
        values += groups.minimums.view(np.float16).astype(np.float32)[:, :, None]
    return values.reshape(len(values), -1)


def pack_f32(matrix: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the bytes of a float matrix (rows, columns): tiles of 8 rows, each column by column.

    The last tile is padded with zero rows."""
    rows, columns = matrix.shape
    tiles = np.zeros((-(-rows // TILE_ROWS), columns, TILE_ROWS), np.float32)
    whole = rows // TILE_ROWS
    tiles[:whole] = matrix[: whole * TILE_ROWS].reshape(whole, TILE_ROWS, columns).transpose(0, 2, 1)
    if whole * TILE_ROWS < rows:
        tiles[whole, :, : rows - whole * TILE_ROWS] = matrix[whole * TILE_ROWS :].T
    return tiles.reshape(-1).view(np.uint8)


def unpack_f32(data: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.float32]:
    """Return the float matrix in packed bytes."""
    tiles = data.view(np.float32).reshape(-1, columns, TILE_ROWS)
    return tiles.transpose(0, 2, 1).reshape(-1, columns)[:rows]
