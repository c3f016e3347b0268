"""Matrices that stay in their file until they are needed, and are then read a few rows at a time.

*Source*: ggml's block formats, `ggml-common.h` (`block_q8_0`, `block_q4_0`, `block_q4_1`).
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from opml_min.model.image.weights import GROUP, Q4_0, Q4_1, Q8_0, TILE_ROWS, Groups, dequantise

Floats = NDArray[np.float32]
Rows = slice | NDArray[np.int64]
SLICE_WEIGHTS = 1 << 22
GGML_BLOCK_BYTES = {Q8_0: 34, Q4_0: 18, Q4_1: 20}  # of 32 weights: scale, minimum (Q4_1), weights


class StoredMatrix:
    """A float matrix (rows, columns) in a file."""

    def __init__(self, shape: tuple[int, int], read: Callable[[Rows], Floats], name: str = "", kind: str = "") -> None:
        """read: returns some of the rows · name, kind: the tensor's, as the file has them"""
        self.shape, self.name, self.kind = shape, name, kind
        self._read = read

    def slices(self) -> Iterator[slice]:
        """Cover all rows by slices of whole tiles, with about SLICE_WEIGHTS weights each."""
        rows = max(SLICE_WEIGHTS // self.shape[1] // TILE_ROWS, 1) * TILE_ROWS
        for first in range(0, self.shape[0], rows):
            yield slice(first, min(first + rows, self.shape[0]))

    def floats(self, rows: Rows = slice(None)) -> Floats:
        return self._read(rows)


class StoredBlocks(StoredMatrix):
    """A matrix in GGML blocks whose weights and scales an image can hold unchanged."""

    def __init__(self, quantisation: int, blocks: NDArray[np.uint8], name: str = "") -> None:
        """blocks: (rows, bytes)"""
        columns = blocks.shape[1] // GGML_BLOCK_BYTES[quantisation] * GROUP
        super().__init__((len(blocks), columns), lambda rows: dequantise(quantisation, self.groups(rows)), name)
        self.quantisation = quantisation
        self._blocks = blocks.reshape(len(blocks), -1, GGML_BLOCK_BYTES[quantisation])

    def groups(self, rows: Rows) -> Groups:
        blocks = self._blocks[rows]
        halfs = np.ascontiguousarray(blocks[:, :, :4]).view("<u2")  # scale, and minimum if there is one
        if self.quantisation == Q8_0:
            return Groups(blocks[:, :, 2:].view(np.int8), halfs[:, :, 0])
        pairs = blocks[:, :, 4 if self.quantisation == Q4_1 else 2 :]
        weights = np.concatenate([pairs & 15, pairs >> 4], axis=2).view(np.int8)
        return Groups(weights, halfs[:, :, 0], halfs[:, :, 1] if self.quantisation == Q4_1 else None)


Weights = Floats | StoredMatrix


def floats_of(matrix: Weights) -> Floats:
    """Read the whole matrix."""
    return matrix.floats() if isinstance(matrix, StoredMatrix) else matrix


def rows_of(matrix: Weights, rows: NDArray[np.int64]) -> Floats:
    return matrix.floats(rows) if isinstance(matrix, StoredMatrix) else matrix[rows]
