"""Operations on weights and data: how weights begin, which data an update sees, what the network reads, and what is left at the end.

*Source*: spec §6.4.
"""

from collections.abc import Iterator

from attrs import frozen

from opml_spec.arithmetic.fixed import normalise, round_shift, sat32
from opml_spec.machine.memory import Memory
from opml_spec.model.operations.fixed import BYTE_BITS, splitmix64
from opml_spec.model.tensors import GROUP, HALF_FRACTION_BITS, QUANTISATIONS, TILE_ROWS, Matrix, half, load_vector, place, store_vector
from opml_spec.training.operations.batch_operation import BYTES, BatchOperation, Span, reads, trains, writes
from opml_spec.training.request import Settings
from opml_spec.training.tensors import activation, in_rows, working
from opml_spec.words import bits

FOUR_UNIFORM_MEAN = 2 * 0xFFFF  # of the sum of four uniform u16; its deviation is 37837.2
Q8_0 = 0


@frozen(slots=False)
class Init(BatchOperation, opcode=65):
    """Weights that are nearly normal: the sum of four uniform numbers from one hash."""

    out: int  # master
    count: int
    mean: int
    scale_q16: int  # of a number whose deviation is 37837.2
    stream: int

    def execute(self, memory: Memory, update: int) -> Memory:
        key = Settings.read(memory).key(self.stream)
        sums = (sum(bits(splitmix64(key, i), 16 * j + 15, 16 * j) for j in range(4)) for i in range(self.count))
        return store_vector(memory, self.out, [sat32(self.mean + round_shift((s - FOUR_UNIFORM_MEAN) * self.scale_q16, 16)) for s in sums])

    def spans(self) -> Iterator[Span]:
        yield from trains((self.out, 4 * self.count))


@frozen(slots=False)
class Tokens(BatchOperation, opcode=66):
    """Sequences from random places of a text; the target of a position is the token after it."""

    out: int  # u32 (sequences, period)
    targets: int  # u32 (sequences, period)
    text: int  # tokens of token_bytes each
    token_bytes: int
    count: int  # of the text's tokens
    sequences: int
    period: int  # positions of a sequence
    first: int  # index of its first sequence in the update
    per_update: int  # sequences of an update, all its batches together
    stream: int

    def execute(self, memory: Memory, update: int) -> Memory:
        key, size = Settings.read(memory).key(self.stream), self.token_bytes
        inputs, targets = b"", b""
        for index in range(self.first, self.first + self.sequences):
            start = splitmix64(key, update * self.per_update + index) * (self.count - self.period) >> 64
            data = memory.load_bytes(self.text + size * start, size * (self.period + 1))
            wide = [data[i : i + size].ljust(4, b"\0") for i in range(0, len(data), size)]
            inputs, targets = inputs + b"".join(wide[:-1]), targets + b"".join(wide[1:])
        return memory.store_bytes(self.out, inputs).store_bytes(self.targets, targets)

    def spans(self) -> Iterator[Span]:
        yield from reads((self.text, self.token_bytes * self.count, BYTES))
        yield from writes(*((address, 4 * self.sequences * self.period) for address in (self.out, self.targets)))

    @property
    def consistent(self) -> bool:
        return self.token_bytes in (1, 2, 4) and self.count > self.period and self.first + self.sequences <= self.per_update


@frozen(slots=False)
class Pictures(BatchOperation, opcode=67):
    """Random pictures of a set, as fractions of 256, and their labels."""

    out: int  # activation (rows, length)
    targets: int  # u32[rows]
    pictures: int  # u8 (count, length)
    labels: int  # u8[count]
    count: int
    rows: int
    length: int
    first: int
    per_update: int
    stream: int

    def execute(self, memory: Memory, update: int) -> Memory:
        key = Settings.read(memory).key(self.stream)
        numbers = range(update * self.per_update + self.first, update * self.per_update + self.first + self.rows)
        chosen = [splitmix64(key, number) * self.count >> 64 for number in numbers]
        pictures = [list(memory.load_bytes(self.pictures + self.length * i, self.length)) for i in chosen]
        labels = b"".join(memory.load_bytes(self.labels + i, 1) + bytes(3) for i in chosen)
        memory = activation(self.out, self.rows, self.length).store(memory, [(picture, BYTE_BITS) for picture in pictures])
        return memory.store_bytes(self.targets, labels)

    def spans(self) -> Iterator[Span]:
        yield from reads((self.pictures, self.count * self.length, BYTES), (self.labels, self.count, BYTES))
        yield from writes(activation(self.out, self.rows, self.length), (self.targets, 4 * self.rows))

    @property
    def consistent(self) -> bool:
        return self.first + self.rows <= self.per_update


@frozen(slots=False)
class Cast(BatchOperation, opcode=68):
    """Working weights from master weights: one exponent for the whole matrix."""

    out: int  # working
    master: int
    count: int
    frac: int  # fraction bits of the master weights
    width: int

    def execute(self, memory: Memory, update: int) -> Memory:
        master = load_vector(memory, self.master, self.count)
        return working(self.out, self.count).store(memory, [normalise(master, [self.frac] * self.count, self.width)])

    def spans(self) -> Iterator[Span]:
        yield from reads((self.master, 4 * self.count))
        yield from writes(working(self.out, self.count))


@frozen(slots=False)
class Export(BatchOperation, opcode=69):
    """A Q8_0 matrix from master weights, as inference reads it."""

    out: int  # matrix
    master: int
    rows: int
    columns: int
    frac: int

    def execute(self, memory: Memory, update: int) -> Memory:
        groups = -(-self.columns // GROUP)
        size = QUANTISATIONS[Q8_0].block_bytes
        data = bytearray(self.size)
        for r, row in enumerate(in_rows(load_vector(memory, self.master, self.rows * self.columns), self.columns)):
            tile, lane = divmod(r, TILE_ROWS)
            for g in range(groups):
                block = (tile * groups + g) * size
                scale, weights = quantise(row[GROUP * g : GROUP * (g + 1)], self.frac)
                for c, weight in enumerate(weights):
                    data[block + place(c, lane)] = weight % 256
                start = block + QUANTISATIONS[Q8_0].scales + 2 * lane
                data[start : start + 2] = scale.to_bytes(2, "little")
        return memory.store_bytes(self.out, bytes(data))

    @property
    def size(self) -> int:
        return -(-self.rows // TILE_ROWS) * Matrix(self.out, Q8_0, -(-self.columns // GROUP) * GROUP).tile_bytes

    def spans(self) -> Iterator[Span]:
        yield from reads((self.master, 4 * self.rows * self.columns))
        yield from trains((self.out, self.size, BYTES))


def quantise(group: list[int], frac: int) -> tuple[int, list[int]]:
    """The half d, as its encoding, and the weights of a group: d is the least half with which no weight exceeds 127."""
    most = max(map(abs, group))
    scale = next_half(-(-(most << HALF_FRACTION_BITS) // (127 << frac)))
    d = half(scale)
    if d == 0:
        return 0, [0] * len(group)
    return scale, [((w << HALF_FRACTION_BITS + 1) + (d << frac)) // (d << frac + 1) for w in group]


def next_half(value: int) -> int:
    """The encoding of the least half, among the numbers `half·2^24`, that is not below `value` ≥ 0."""
    dropped = max(0, value.bit_length() - 11)
    fraction = -(-value >> dropped)
    return (dropped << 10) + fraction
