"""Tensors of a whole batch: rows of integers with an exponent each, and the two ways in which rows of different exponents are added.

*Source*: spec §6.3.
"""

from collections.abc import Sequence

from attrs import frozen

from opml_spec.arithmetic.fixed import ZERO_EXPONENT, normalise, round_shift, sat32
from opml_spec.machine.memory import Memory
from opml_spec.model.tensors import ALIGNMENT, load_ints, store_ints

ACTIVATION_BYTES = 2  # of a value: an activation's or a working weight's
GRADIENT_BYTES = 4
GRADIENT_BITS = 30  # of the magnitude of a gradient's value
EXPONENT_BYTES = 4

Rows = list[list[int]]


@frozen
class RowTensor:
    """Where a tensor of rows lies: an i32 exponent for each row, then, from the next multiple of 32 on, the values row after row."""

    address: int
    rows: int
    length: int
    value_bytes: int

    @property
    def values(self) -> int:
        """Address of the first value."""
        return self.address + -(-EXPONENT_BYTES * self.rows // ALIGNMENT) * ALIGNMENT

    @property
    def size(self) -> int:
        """In bytes."""
        return self.values - self.address + self.value_bytes * self.rows * self.length

    def load(self, memory: Memory) -> tuple[Rows, list[int]]:
        """The rows and their exponents: element i of row t stands for `rows[t][i] · 2^-exponents[t]`."""
        values = load_ints(memory, self.values, self.rows * self.length, self.value_bytes)
        return in_rows(values, self.length), load_ints(memory, self.address, self.rows, EXPONENT_BYTES)

    def store(self, memory: Memory, rows: Sequence[tuple[Sequence[int], int]]) -> Memory:
        memory = store_ints(memory, self.address, [sat32(e) for _, e in rows], EXPONENT_BYTES)
        return store_ints(memory, self.values, [value for row, _ in rows for value in row], self.value_bytes)


def activation(address: int, rows: int, length: int) -> RowTensor:
    """i16 values of at most 15 bits."""
    return RowTensor(address, rows, length, ACTIVATION_BYTES)


def gradient(address: int, rows: int, length: int) -> RowTensor:
    """i32 values of at most 30 bits."""
    return RowTensor(address, rows, length, GRADIENT_BYTES)


def working(address: int, count: int) -> RowTensor:
    """Working weights: a matrix as one row, with one exponent."""
    return activation(address, 1, count)


def in_rows(values: list[int], length: int) -> Rows:
    """Cut a list into rows."""
    return [values[i : i + length] for i in range(0, len(values), length)]


def gradient_row(values: Sequence[int], fraction_bits: Sequence[int]) -> tuple[list[int], int]:
    """A row of a gradient: normalised to 30 bits."""
    return normalise(values, fraction_bits, GRADIENT_BITS)


def align(rows: Rows, exponents: Sequence[int]) -> tuple[Rows, int]:
    """ALIGN: the rows on the coarsest grid among those of the rows that are not all zero, and its exponent. Nothing is shifted left."""
    used = [e for row, e in zip(rows, exponents, strict=True) if any(row)]
    common = min(used, default=ZERO_EXPONENT)
    return [[round_shift(value, e - common) for value in row] for row, e in zip(rows, exponents, strict=True)], common


def accumulate(sums: Sequence[int], parts: Sequence[Sequence[int]], shifts: Sequence[int]) -> list[int]:
    """ACCUMULATE: each part is rounded and saturated by itself, their sum is exact and joins the sums, which saturate once."""
    if not parts:
        return list(sums)
    terms = [[sat32(round_shift(value, shift)) for value in part] for part, shift in zip(parts, shifts, strict=True)]
    return [sat32(old + sum(column)) for old, column in zip(sums, zip(*terms, strict=True), strict=True)]
