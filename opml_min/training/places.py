"""Places of a training tape's tensors: one after the other in each quarter, from a multiple of 32 on; and what some of them hold at first.

*Source*: spec §6.1 and §6.3.
"""

from collections.abc import Callable, Iterator

from attrs import define, field, frozen

from opml_min.memory_map import MODEL, STATE
from opml_min.model.image.segments import Bytes, Piece, Streamed, parts_of
from opml_min.training.layout import TENSORS
from opml_min.training.operations import padded, row_tensor_bytes

DATA = MODEL + (1 << 32)  # (= 0x41_0000_0000), behind any tape
MATRIX_FRACTION_BITS, GAIN_FRACTION_BITS = 26, 24


@define
class Stretch:
    """What is free from an address on, and the pieces that lie before it."""

    start: int
    next: int = field(init=False)
    contents: list[tuple[int, Piece]] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self.next = self.start

    def take(self, size: int) -> int:
        address, self.next = self.next, padded(self.next + size, 32)
        return address

    def put(self, piece: Piece) -> int:
        """Take a place for a piece that lies there at first."""
        address = self.take(len(piece))
        self.contents.append((address, piece))
        return address

    def segments(self) -> tuple[tuple[int, Piece], ...]:
        """Return all pieces, with the zeros between them, as one segment; or none."""
        if not self.contents:
            return ()
        address, last = self.contents[-1]
        return ((self.start, Streamed(address + len(last) - self.start, self._parts)),)

    def _parts(self) -> Iterator[bytes | Bytes]:
        done = self.start
        for address, piece in self.contents:
            yield bytes(address - done)
            yield from parts_of(piece)
            done = address + len(piece)


@define
class Places:
    """The regions of a training model: data in the model quarter, tensors in the io quarter, weights in the state quarter."""

    data: Stretch = field(init=False, factory=lambda: Stretch(DATA))
    tensors: Stretch = field(init=False, factory=lambda: Stretch(TENSORS))
    state: Stretch = field(init=False, factory=lambda: Stretch(STATE))

    def numbers(self, count: int, number_bytes: int = 4) -> int:
        return self.tensors.take(count * number_bytes)

    def activation(self, rows: int, length: int) -> int:
        return self.tensors.take(row_tensor_bytes(rows, length, 2))

    def gradient(self, rows: int, length: int) -> int:
        return self.tensors.take(row_tensor_bytes(rows, length, 4))

    def matrix(self, rows: int, columns: int, content: Piece | None = None) -> "Weights":
        """Take the places of a matrix that is trained. content: its master weights at first"""
        return self._trained(rows, columns, MATRIX_FRACTION_BITS, self.activation(1, rows * columns), content)

    def gains(self, length: int, content: Piece | None = None) -> "Weights":
        """Take the places of the gains of a NORM that are trained."""
        return self._trained(1, length, GAIN_FRACTION_BITS, 0, content)

    def _trained(self, rows: int, columns: int, frac: int, working: int, content: Piece | None) -> "Weights":
        count = rows * columns
        master = self.state.take(4 * count) if content is None else self.state.put(content)
        return Weights(rows, columns, frac, master, working, self.numbers(count), self.numbers(count), self.numbers(count, 8))


@frozen
class Weights:
    """A matrix, or the gains of a NORM: its shape, and the addresses of its master weights and of what follows from them."""

    rows: int
    columns: int
    frac: int  # of the master weights
    master: int
    working: int  # 0 for gains
    sums: int = 0  # this and the next ones: 0 if it is not trained
    m: int = 0
    v: int = 0

    @property
    def count(self) -> int:
        return self.rows * self.columns

    @property
    def is_matrix(self) -> bool:
        return self.working != 0


@define
class Buffers:
    """Tensors with the rows of a batch that several ops use in turn: one for each use and length."""

    places: Places
    rows: int
    taken: dict[tuple[str, str, int], int] = field(init=False, factory=dict)

    def vectors(self, use: str, length: int) -> int:
        return self._once("vectors", use, length, lambda: self.places.numbers(self.rows * length))

    def activation(self, use: str, length: int) -> int:
        return self._once("activation", use, length, lambda: self.places.activation(self.rows, length))

    def gradient(self, use: str, length: int) -> int:
        return self._once("gradient", use, length, lambda: self.places.gradient(self.rows, length))

    def _once(self, kind: str, use: str, length: int, take: Callable[[], int]) -> int:
        key = (kind, use, length)
        if key not in self.taken:
            self.taken[key] = take()
        return self.taken[key]
