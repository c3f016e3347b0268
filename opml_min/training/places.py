"""Places of a training tape's tensors: one after the other, in the state quarter and in the io quarter, each from a multiple of 32 on.

*Source*: spec §6.1 and §6.3.
"""

from attrs import define, frozen

from opml_min.memory_map import STATE
from opml_min.training.layout import TENSORS
from opml_min.training.operations import matrix_bytes, padded, row_tensor_bytes

MATRIX_FRACTION_BITS, GAIN_FRACTION_BITS = 26, 24


@define
class Places:
    """What is free: the next address of the state quarter, and of the tensors in the io quarter."""

    state: int = STATE
    io: int = TENSORS

    def in_state(self, size: int) -> int:
        address, self.state = self.state, padded(self.state + size, 32)
        return address

    def numbers(self, count: int, number_bytes: int = 4) -> int:
        address, self.io = self.io, padded(self.io + count * number_bytes, 32)
        return address

    def activation(self, rows: int, length: int) -> int:
        return self.numbers(row_tensor_bytes(rows, length, 2), 1)

    def gradient(self, rows: int, length: int) -> int:
        return self.numbers(row_tensor_bytes(rows, length, 4), 1)

    def weights(self, rows: int, columns: int, *, is_matrix: bool = True) -> "Weights":
        """Take the places of a matrix, or of gains, with all that its training needs."""
        count = rows * columns
        return Weights(
            rows,
            columns,
            is_matrix,
            master=self.in_state(4 * count),
            exported=self.in_state(matrix_bytes(rows, columns)) if is_matrix else 0,
            working=self.activation(1, count) if is_matrix else 0,
            sums=self.numbers(count),
            m=self.numbers(count),
            v=self.numbers(count, 8),
        )


@frozen
class Weights:
    """A matrix, or the gains of a NORM: its shape, and the addresses of its master weights and of what follows from them."""

    rows: int
    columns: int
    is_matrix: bool
    master: int
    exported: int
    working: int
    sums: int
    m: int
    v: int

    @property
    def count(self) -> int:
        return self.rows * self.columns

    @property
    def frac(self) -> int:
        return MATRIX_FRACTION_BITS if self.is_matrix else GAIN_FRACTION_BITS
