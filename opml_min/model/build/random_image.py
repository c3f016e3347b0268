"""Images of a known shape with random weights, to measure what depends on a shape alone. One seed always gives the same bytes.

All matrices with as many columns are cut from one pool of blocks, so an image of any size is written as fast as the disk takes it. Weights
are uniform, and scaled so that a product is about as large as its input.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opml_min.memory_map import HEADER
from opml_min.model.build.build import Pieces, rope_turns, write_model
from opml_min.model.build.tape import LayerWeights, Matrix, ModelWeights, llama_tape, op_count
from opml_min.model.image.header import HEADER_WORDS, NO_TOKEN, TEXT, TOKENIZER_NONE, Header
from opml_min.model.image.ops import RECORD_BYTES, Op, align
from opml_min.model.image.program import shipped_program
from opml_min.model.image.segments import Streamed
from opml_min.model.image.weights import BLOCK_BYTES, GROUP, Q8_0, SCALE_OFFSET, TILE_ROWS, matrix_bytes
from opml_min.model.sources.checkpoint import Shape

POOL_BLOCKS = 1 << 18
DEVIATIONS = {Q8_0: (256**2 / 12) ** 0.5, Q8_0 + 1: (16**2 / 12) ** 0.5}  # of the integers of Q8_0 and Q4_0


class _RandomPieces(Pieces):
    """The second segment, with random tensors."""

    def __init__(self, start: int, quantisation: int, seed: int) -> None:
        super().__init__(start)
        self._quantisation, self._random = quantisation, np.random.Generator(np.random.SFC64(seed))
        self._pools: dict[int, NDArray[np.uint8]] = {}

    def random_matrix(self, rows: int, columns: int) -> Matrix:
        length = matrix_bytes(self._quantisation, rows, columns)

        def parts() -> Iterator[NDArray[np.uint8]]:
            pool = self._pool(columns)
            for done in range(0, length, len(pool)):
                yield pool[: length - done]

        return Matrix(self.add(Streamed(length, parts)), self._quantisation, rows, columns)

    def random_norm(self, length: int) -> int:
        return self.norm(self._random.uniform(0.5, 1.5, length).astype(np.float32))

    def _pool(self, columns: int) -> NDArray[np.uint8]:
        """Return the bytes of many blocks whose weights have a standard deviation of about 1/√columns."""
        if columns not in self._pools:
            blocks = self._random.integers(0, 256, (POOL_BLOCKS, BLOCK_BYTES[self._quantisation]), np.uint8)
            scales = self._random.uniform(0.5, 1.5, (POOL_BLOCKS, TILE_ROWS)) / (DEVIATIONS[self._quantisation] * columns**0.5)
            first = SCALE_OFFSET[self._quantisation]
            blocks[:, first : first + 2 * TILE_ROWS] = scales.astype("<f2").view(np.uint8)
            self._pools[columns] = blocks.reshape(-1)
        return self._pools[columns]


def write_random_image(path: Path, shape: Shape, quantisation: int, seed: int) -> None:
    """Write an image without a tokenizer. Its columns must be whole groups, and it stops at no token."""
    assert all(size % GROUP == 0 for size in (shape.dim, shape.hidden_dim))
    tape_address = align(HEADER + 8 * HEADER_WORDS)
    pieces = _RandomPieces(align(tape_address + RECORD_BYTES * op_count(shape)), quantisation, seed)
    attention_dim, kv_dim = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    table, embedding = pieces.rotations(rope_turns(shape)), pieces.random_matrix(shape.vocabulary, shape.dim)
    layers = [
        LayerWeights(
            attention_norm=pieces.random_norm(shape.dim),
            wq=pieces.random_matrix(attention_dim, shape.dim),
            wk=pieces.random_matrix(kv_dim, shape.dim),
            wv=pieces.random_matrix(kv_dim, shape.dim),
            wo=pieces.random_matrix(shape.dim, attention_dim),
            ffn_norm=pieces.random_norm(shape.dim),
            gate=pieces.random_matrix(shape.hidden_dim, shape.dim),
            up=pieces.random_matrix(shape.hidden_dim, shape.dim),
            down=pieces.random_matrix(shape.dim, shape.hidden_dim),
        )
        for _ in range(shape.layers)
    ]
    classifier = pieces.random_matrix(shape.vocabulary, shape.dim)
    ops = llama_tape(shape, ModelWeights(embedding, table, layers, pieces.random_norm(shape.dim), classifier))
    write_random_tape(path, ops, pieces, shape.context, shape.vocabulary)


def write_random_tape(path: Path, ops: list[Op], pieces: Pieces | None, context: int, vocabulary: int) -> None:
    """Write an image of these ops, for text."""
    header = Header(0, TEXT, len(ops), align(HEADER + 8 * HEADER_WORDS), context, vocabulary, (), 0, 0, TOKENIZER_NONE, NO_TOKEN)
    write_model(path, shipped_program(), header, ops, [] if pieces is None else pieces.pieces)
