"""What a call brings along: data that is known, any data at all, or what nobody may look at.

Of any data only its words are spoken of, by the place where they begin, as the EVM reads them: with zeros beyond the end.
"""

from typing import Any

import z3
from attrs import frozen

from opml_fuzz.proofs.evm.machine import Machine
from opml_fuzz.proofs.evm.memory import Memory, Region, Source
from opml_fuzz.proofs.evm.path import Path
from opml_fuzz.proofs.evm.pieces import Piece, Pieces, cut
from opml_fuzz.proofs.evm.words import BITS, Word, formula, reduced, vector
from opml_fuzz.proofs.unsupported import Unsupported

WORD_BYTES = 32
CALLDATA = z3.Function("calldata", *2 * [z3.BitVecSort(BITS)])
"""The word of the call's data that begins there."""


class Known:
    """A call whose data is known. It sends no money."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size, self.value = data, len(data), 0

    def load(self, at: Word) -> Word:
        return int.from_bytes(self.data[at : at + WORD_BYTES].ljust(WORD_BYTES, b"\0"), "big")

    def copy(self, memory: Memory, to: int, at: Word, size: Word, path: Path, machine: Machine) -> Memory:
        return memory.store_pieces(to, tuple((one, 1) for one in self.data[at : at + size].ljust(size, b"\0")))


class Unseen:
    """A call of which nothing may be used, because what is proved must hold in every call: whoever looks at it ends the proof."""

    @property
    def size(self) -> Word:
        raise Unsupported("the size of the call's data is used")

    @property
    def value(self) -> Word:
        raise Unsupported("the money of the call is used")

    def load(self, at: Word) -> Word:
        raise Unsupported("the call's data is used")

    def copy(self, memory: Memory, to: int, at: Word, size: Word, path: Path, machine: Machine) -> Memory:
        raise Unsupported("the call's data is copied")


class Anything:
    """A call of any size, data and value, whose one argument of type Bytes is at most `room` bytes long.

    `length` is the argument's length word, which stands at `place`; `argument` is what lies behind it."""

    place: Any = reduced(CALLDATA(z3.BitVecVal(4, BITS)) + 4)

    def __init__(self, room: int, length: Any, argument: Source) -> None:
        self.room, self.length, self.argument = room, length, argument
        self.size: Word = z3.BitVec("calldatasize", BITS)
        self.value: Word = z3.BitVec("callvalue", BITS)

    def load(self, at: Word) -> Word:
        return self.length if not isinstance(at, int) and at.eq(self.place) else CALLDATA(vector(at))

    def copy(self, memory: Memory, to: int, at: Word, size: Word, path: Path, machine: Machine) -> Memory:
        """Zeros if the copy begins at the data's end; else it must be the whole argument with its length."""
        if isinstance(size, int) and not isinstance(at, int) and at.eq(self.size):
            return memory.store_pieces(to, ((0, size),))
        if formula(vector(at) == self.place) is not True or formula(vector(size) == self.length + WORD_BYTES) is not True:
            raise Unsupported(f"a copy of {size} bytes of the call's data from {at} on")
        if not machine.prove(path)(z3.ULE(self.length, self.room)):
            raise Unsupported(f"an argument of more than {self.room} bytes")
        return memory.store_region(argument_region(to, size, self.room, self.length, self.argument))


@frozen
class Argument:
    """An argument of type Bytes as it lies in memory: its length, then its bytes."""

    length: Any
    content: Source

    def read(self, at: Word, size: int) -> Pieces:
        if isinstance(at, int) and at < WORD_BYTES:
            head: Piece = (self.length, WORD_BYTES)
            inside = min(size, WORD_BYTES - at)
            rest = self.content.read(0, size - inside) if size > inside else ()
            return (*cut((head,), at, at + inside), *rest)
        return self.content.read(at - WORD_BYTES if isinstance(at, int) else reduced(at - WORD_BYTES), size)


def argument_region(at: int, size: Word, room: int, length: Any, content: Source) -> Region:
    """The region that holds an argument of at most `room` bytes."""
    return Region(at, size, room + WORD_BYTES, Argument(length, content))
