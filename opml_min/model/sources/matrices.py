"""Matrices that stay in their file until they are needed, and are then read a few rows at a time."""

from collections.abc import Callable, Iterator

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.model.image.weights import GROUP, TILE_ROWS, Groups, dequantise

Floats = NDArray[np.float32]
Blocks = NDArray[np.uint8]  # (rows, blocks, bytes)
Rows = slice | NDArray[np.int64]
SLICE_WEIGHTS = 1 << 22


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


@frozen
class BlockFormat:
    """How blocks of 32 weights are stored: their size, the quantisation that they have in an image, and how to read them."""

    block_bytes: int
    quantisation: int
    groups: Callable[[Blocks], Groups]


class StoredBlocks(StoredMatrix):
    """A matrix in GGML blocks whose weights and scales an image holds without loss."""

    def __init__(self, stored: BlockFormat, blocks: NDArray[np.uint8], name: str = "") -> None:
        """blocks: (rows, bytes)"""
        self.quantisation = stored.quantisation
        self._read_groups, self._blocks = stored.groups, blocks.reshape(len(blocks), -1, stored.block_bytes)
        shape = (len(blocks), self._blocks.shape[1] * GROUP)
        super().__init__(shape, lambda rows: dequantise(self.quantisation, self.groups(rows)), name)

    def groups(self, rows: Rows) -> Groups:
        return self._read_groups(self._blocks[rows])


Weights = Floats | StoredMatrix


def floats_of(matrix: Weights) -> Floats:
    """Read the whole matrix."""
    return matrix.floats() if isinstance(matrix, StoredMatrix) else matrix


def rows_of(matrix: Weights, rows: NDArray[np.int64]) -> Floats:
    return matrix.floats(rows) if isinstance(matrix, StoredMatrix) else matrix[rows]
