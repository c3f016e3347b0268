"""Tensors in memory: vectors, activations, matrices of quantised weights, the KV cache.

One idea: a tensor is an address and a formula that says where each element lies; here it is read and written whole, or a row at a time.

*Source*: spec §3.4. The blocks hold GGUF's numbers (ggml, `block_q8_0`, `block_q4_0`, `block_q4_1`) in another order.
"""

from collections.abc import Sequence

from attrs import frozen

from opml_spec.errors import MatrixFormat
from opml_spec.machine.memory import Memory
from opml_spec.words import bits, signed

ALIGNMENT = 32
HEAD_BYTES = 32  # before an activation's values: the exponent, then zeros
TILE_ROWS = 8
GROUP = 32  # columns that share a scale
HALF_FRACTION_BITS = 24


def load_ints(memory: Memory, address: int, count: int, size: int) -> list[int]:
    """`count` signed numbers of `size` bytes."""
    data = memory.load_bytes(address, count * size)
    return [int.from_bytes(data[i : i + size], "little", signed=True) for i in range(0, len(data), size)]


def store_ints(memory: Memory, address: int, values: Sequence[int], size: int) -> Memory:
    """The memory with these signed numbers of `size` bytes there."""
    return memory.store_bytes(address, b"".join(value.to_bytes(size, "little", signed=True) for value in values))


def load_vector(memory: Memory, address: int, length: int) -> list[int]:
    """i32[length]."""
    return load_ints(memory, address, length, 4)


def store_vector(memory: Memory, address: int, values: Sequence[int]) -> Memory:
    return store_ints(memory, address, values, 4)


def load_activation(memory: Memory, address: int, length: int) -> tuple[list[int], int]:
    """`(q, e)`: i16[length] and its exponent. The value of an element is `q · 2^-e`."""
    return load_ints(memory, address + HEAD_BYTES, length, 2), load_ints(memory, address, 1, 4)[0]


def store_activation(memory: Memory, address: int, activation: tuple[Sequence[int], int]) -> Memory:
    q, e = activation
    return store_ints(store_ints(memory, address, [e], 4), address + HEAD_BYTES, q, 2)


def load_floats(memory: Memory, address: int, count: int) -> list[int]:
    """f32[count], each as its bits."""
    data = memory.load_bytes(address, 4 * count)
    return [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]


def store_floats(memory: Memory, address: int, values: Sequence[int]) -> Memory:
    return memory.store_bytes(address, b"".join(value.to_bytes(4, "little") for value in values))


def whole_tiles(rows: int) -> int:
    """The number of rows with those that fill the last tile."""
    return -(-rows // TILE_ROWS) * TILE_ROWS


def float_rows(memory: Memory, address: int, rows: int, columns: int) -> list[list[int]]:
    """The first rows of an f32 matrix: tiles of 8 rows, in which the 8 elements of a column are neighbours."""
    elements = load_floats(memory, address, whole_tiles(rows) * columns)
    starts = (row // TILE_ROWS * TILE_ROWS * columns + row % TILE_ROWS for row in range(rows))
    return [elements[start : start + TILE_ROWS * columns : TILE_ROWS] for start in starts]


# The three quantisations. A block is 8 rows (lanes) × 32 columns: first the weights, then a half for each lane, then perhaps a second one.


@frozen
class Quantisation:
    """Where a block keeps its parts, in bytes, and what a stored weight w stands for: `w − bias`, at most `qmax` in magnitude."""

    weight_bits: int
    bias: int
    has_minimum: bool
    qmax: int

    @property
    def scales(self) -> int:
        """Offset of the halfs d. (Q8_0: 256, else 128.)"""
        return TILE_ROWS * GROUP * self.weight_bits // 8

    @property
    def minimums(self) -> int:
        """Offset of the halfs m, if there are any."""
        return self.scales + 2 * TILE_ROWS

    @property
    def block_bytes(self) -> int:
        return self.minimums + (2 * TILE_ROWS if self.has_minimum else 0)


QUANTISATIONS = {
    0: Quantisation(weight_bits=8, bias=0, has_minimum=False, qmax=128),  # Q8_0
    1: Quantisation(weight_bits=4, bias=8, has_minimum=False, qmax=8),  # Q4_0
    2: Quantisation(weight_bits=4, bias=0, has_minimum=True, qmax=15),  # Q4_1
}


def half(encoding: int) -> int:
    """The IEEE binary16 number as the integer `number · 2^24`: exact for each of them, subnormal or not."""
    exponent, fraction = bits(encoding, 14, 10), bits(encoding, 9, 0)
    magnitude = fraction if exponent == 0 else (1024 + fraction) << (exponent - 1)
    return -magnitude if bits(encoding, 15, 15) else magnitude


@frozen
class Group:
    """32 neighbouring weights of a row: column c stands for `(weights[c]·scale + minimum) · 2^-24`."""

    weights: list[int]
    scale: int
    minimum: int


@frozen
class Matrix:
    """Quantised weights; `columns` is a multiple of 32."""

    address: int
    quantisation_number: int
    columns: int

    @property
    def quantisation(self) -> Quantisation:
        if self.quantisation_number not in QUANTISATIONS:
            raise MatrixFormat(f"{self.quantisation_number}")
        return QUANTISATIONS[self.quantisation_number]

    @property
    def tile_bytes(self) -> int:
        """The size of a tile of 8 rows."""
        return self.columns // GROUP * self.quantisation.block_bytes

    def row(self, memory: Memory, row: int) -> list[Group]:
        """The groups of one row."""
        return self.tile(memory, row // TILE_ROWS)[row % TILE_ROWS]

    def rows(self, memory: Memory, count: int) -> list[list[Group]]:
        """The first `count` rows."""
        return [row for tile in range(-(-count // TILE_ROWS)) for row in self.tile(memory, tile)][:count]

    def tile(self, memory: Memory, tile: int) -> list[list[Group]]:
        """The eight rows of a tile."""
        data = memory.load_bytes(self.address + tile * self.tile_bytes, self.tile_bytes)
        size = self.quantisation.block_bytes
        blocks = [data[i : i + size] for i in range(0, len(data), size)]
        return [[read_group(self.quantisation, block, lane) for block in blocks] for lane in range(TILE_ROWS)]


def read_group(quantisation: Quantisation, block: bytes, lane: int) -> Group:
    """The group that a lane of a block holds."""
    if quantisation.weight_bits == 8:
        weights = [signed(block[place(c, lane)], 8) for c in range(GROUP)]
    else:
        weights = [bits(block[place(c % 16, lane)] >> c // 16 * 4, 3, 0) - quantisation.bias for c in range(GROUP)]
    scale = read_half(block, quantisation.scales + 2 * lane)
    return Group(weights, scale, read_half(block, quantisation.minimums + 2 * lane) if quantisation.has_minimum else 0)


def place(column: int, lane: int) -> int:
    """The byte of that column and lane: two neighbouring columns of a lane side by side, then the next lane."""
    return column // 2 * 16 + lane * 2 + column % 2


def read_half(block: bytes, offset: int) -> int:
    return half(int.from_bytes(block[offset : offset + 2], "little"))
