"""Bytes of which not even the number is known: an argument of type Bytes in calldata, in memory, in a hash and in an event.

Both worlds name such bytes by one object, with a length and a word for each place where one may begin. Nothing ever looks at all of them.
Among pieces they are the last one, of size 0, since what has a size is what comes before them. The symbolic EVM keeps them as a region, and
here are the rules of the opcodes that may meet their end: a copy, a hash, an event.
"""

from functools import cached_property
from typing import Any

import z3
from attrs import evolve, field, frozen

from opml_fuzz.proofs.evm.calldata import Argument
from opml_fuzz.proofs.evm.memory import Memory, Prove, Region
from opml_fuzz.proofs.evm.pieces import Pieces, cut, length
from opml_fuzz.proofs.evm.words import BITS, Word, reduced, vector
from opml_fuzz.proofs.step.machine_symbols import Octets, pieces_of
from opml_fuzz.proofs.symbols import Truth
from opml_fuzz.proofs.unsupported import Unsupported

HASH_BYTES = WORD_BYTES = 32
PADDING = 31  # bytes at most behind others, up to the next word


@frozen(eq=False)
class OpenBytes:
    """Some bytes. length: a vector of 256 bits; word: from a place to the word that begins there; room: how many bytes there are at most

    beginnings: the same bytes up to some place, where it has a name"""

    length: Any
    word: Any
    room: int
    beginnings: list["OpenBytes"] = field(factory=list)

    def get_id(self) -> int:
        """Identifies them, as a term does."""
        return int(self.length.get_id())

    @cached_property
    def padded(self) -> "PaddedBytes":
        """These bytes, and zeros up to the next word."""
        return PaddedBytes(self, rounded_up(self.length))

    def beginning(self, length: Any) -> "OpenBytes":
        """The first of these bytes, so many."""
        self.beginnings.append(OpenBytes(reduced(length), self.word, self.room))
        return self.beginnings[-1]

    def read(self, at: Word, size: int) -> Pieces:
        """The bytes from a place on: one word, or nothing."""
        if size not in (0, WORD_BYTES):
            raise Unsupported(f"{size} bytes out of an unknown number")
        return ((self.word(vector(at)), size),) if size else ()


@frozen(eq=False)
class PaddedBytes:
    """Bytes as an encoded argument has them: with zeros behind them, up to the next word. length: of both"""

    bytes: OpenBytes
    length: Any

    def get_id(self) -> int:
        return int(self.length.get_id())


def rounded_up(length: Any) -> Any:
    """The number of bytes in whole words."""
    return reduced(length + 31 & ~z3.BitVecVal(31, BITS))


def same_end(one: OpenBytes | PaddedBytes | None, other: OpenBytes | PaddedBytes | None) -> Any:
    """The condition under which two sequences of bytes end alike. Without zeros behind them, bytes must be whole words to be padded."""
    if isinstance(one, PaddedBytes) and one.bytes is other:
        return one.bytes.length == one.length
    return z3.BoolVal(one is other)


def open_bytes(name: str, room: int) -> OpenBytes:
    """Any bytes, as long as they have room."""
    bits = room.bit_length()
    size = z3.simplify(z3.ZeroExt(BITS - bits, z3.BitVec(f"{name}_length", bits)))
    return OpenBytes(size, z3.Function(f"{name}_word", *2 * [z3.BitVecSort(BITS)]), room)


def open_end(pieces: Pieces) -> Any:
    """The bytes of unknown number with which a sequence ends, if it does."""
    return pieces[-1][0] if pieces and isinstance(pieces[-1][0], OpenBytes | PaddedBytes) else None


class OpenOctets(Octets):
    """The bytes of the specification that end with an unknown number of them."""

    def __len__(self) -> int:
        raise Unsupported("the number of bytes of which it is not known")

    def __bool__(self) -> bool:
        return bool(Truth(self.length != 0, self.paths))

    def __radd__(self, other: Any) -> Octets:
        return self.of((*pieces_of(other), *self.pieces))

    def slice(self, start: Any, stop: Any) -> Octets:
        """A beginning: of a number of bytes that is known, or one that has a name."""
        if start is not None or length(self.pieces) or stop is None:
            raise Unsupported("a slice of an unknown number of bytes")
        size = stop if isinstance(stop, int) else stop.term
        if self.paths.possible(z3.ULT(self.length, size)):
            raise Unsupported("a slice beyond the end")
        if isinstance(stop, int) and not 0 <= stop <= WORD_BYTES:
            raise Unsupported("a slice of more than a word of bytes of unknown number")
        if isinstance(stop, int):
            return Octets(cut(self.bytes.read(0, WORD_BYTES), 0, stop), self.paths)
        for one in self.bytes.beginnings:
            if not self.paths.possible(one.length != size):
                return self.of(((one, 0),))
        raise Unsupported("a beginning that has no name")

    @property
    def bytes(self) -> OpenBytes:
        found = open_end(self.pieces)
        assert isinstance(found, OpenBytes)
        return found

    @property
    def length(self) -> Any:
        """How many there are: a vector of 256 bits."""
        return reduced(self.bytes.length + length(self.pieces))

    def of(self, pieces: Pieces) -> Octets:
        return (OpenOctets if open_end(pieces) is not None else Octets)(pieces, self.paths)

    def hash_at(self, place: Any) -> Any:
        """The hash that is there, if all of them are hashes: the vector of 256 bits."""
        (piece,) = self.bytes.read(place * HASH_BYTES, HASH_BYTES)
        return piece[0]


@frozen
class ZeroPadded:
    """What a region is a copy of behind which there are zeros, up to the next word."""

    source: Any

    def read(self, at: Word, size: int) -> Pieces:
        found: Pieces = self.source.read(at, size)
        return found


def without_padding(source: Any) -> Any:
    return source.source if isinstance(source, ZeroPadded) else source


@frozen
class Shifted:
    """What a region is a copy of that begins later."""

    source: Any
    by: int

    def read(self, at: Word, size: int) -> Pieces:
        found: Pieces = self.source.read(at + self.by if isinstance(at, int) else reduced(vector(at) + self.by), size)
        return found


# The EVM -----------------------------------------------------------------------------------------------------------------------------


def argument_at(at: int, given: OpenBytes, size: Word) -> Region:
    """The region that holds an argument: its length, then its bytes. size: a word that is the number of both"""
    return Region(at, size, given.room + WORD_BYTES, Argument(given.length, given))


def same(one: Word, other: Word, prove: Prove) -> bool:
    """Tells whether two words are the same for certain."""
    return reduced(vector(one) - vector(other)) == 0 or prove(vector(one) == vector(other))


def read_to_end(memory: Memory, at: int, size: Any, prove: Prove) -> Pieces:
    """Reads from memory bytes that end with a region."""
    for region in memory.regions:
        if at <= region.at and same(size, region.at - at + vector(region.length), prove):
            return *memory.read(at, region.at - at, prove), *to_end(memory, region, prove)
        is_padded = at <= region.at and isinstance(region.source, ZeroPadded)
        if is_padded and same(size, region.at - at + rounded_up(vector(region.length)), prove):
            *head, (content, _) = to_end(memory, region, prove)
            return *memory.read(at, region.at - at, prove), *head, (content.padded, 0)
        if region.at < at <= region.at + region.room and same(vector(size) + (at - region.at), region.length, prove):
            return to_end(memory, later_part(memory, region, at), prove)
    raise Unsupported(f"{size} bytes from {at:#x} on, which end nowhere")


def to_end(memory: Memory, region: Region, prove: Prove) -> Pieces:
    """Reads all of a region."""
    check_whole(memory, region)
    head, source, by = region.source.read(0, 0), region.source, 0
    while isinstance(source, Shifted | ZeroPadded):
        source, by = source.source, by + (source.by if isinstance(source, Shifted) else 0)
    if isinstance(source, Argument):
        head, source, by = (source.read(by, WORD_BYTES - by) if by < WORD_BYTES else ()), source.content, by - WORD_BYTES
    if not isinstance(source, OpenBytes) or by > 0:
        raise Unsupported("a read of a part of unknown bytes")
    return *head, (source, 0)


def check_whole(memory: Memory, region: Region) -> None:
    """Raises Unsupported if something was written over a region."""
    if any(region.at <= cell < region.at + region.room for cell in memory.cells):
        raise Unsupported(f"a region that was written over, at {region.at:#x}")


def later_part(memory: Memory, region: Region, at: int) -> Region:
    """A region from a place in it on."""
    check_whole(memory, region)
    inside = at - region.at
    source = Shifted(region.source, inside) if inside else region.source
    return Region(at, reduced(vector(region.length) - inside), region.room - inside, source)


def copied(memory: Memory, to: int, source: int, size: Any, prove: Prove) -> Memory:
    """Copies what ends with a region, or some of its first bytes. The zeros behind it are not copied."""
    for region in memory.regions:
        inside = source - region.at
        if -region.room <= inside < 0 and same(vector(size) + inside, region.length, prove):
            check_whole(memory, region)
            head = memory.read(source, -inside, prove)
            alone = evolve(region, at=to - inside, source=without_padding(region.source))
            return memory.store_region(alone).store_pieces(to, head)
        if 0 <= inside <= region.room and same(vector(size) + inside, region.length, prove):
            part = later_part(memory, region, source)
            return memory.store_region(evolve(part, at=to, length=size, source=without_padding(part.source)))
        given = without_padding(region.source)
        content: Any = given.content if inside == WORD_BYTES and isinstance(given, Argument) else None
        for one in content.beginnings if isinstance(content, OpenBytes) else ():
            if same(size, one.length, prove) and prove(z3.ULE(one.length, content.length)):
                check_whole(memory, region)
                return memory.store_region(Region(to, size, region.room - inside, one))
    raise Unsupported(f"a copy of {size} bytes from {source:#x} on")


def padded(memory: Memory, to: Any, size: Any, prove: Prove) -> Memory:
    """The memory with zeros behind a region, up to the next word. Behind its end nothing is known, so what lies there is forgotten."""
    for region in memory.regions:
        length = vector(region.length)
        if prove(z3.And(vector(to) == region.at + length, z3.ULE(vector(size), PADDING))):
            check_whole(memory, region)
            end = region.at + region.room
            if any(end <= other.at < end + PADDING for other in memory.regions):
                raise Unsupported("zeros over bytes of unknown number")
            memory = memory.forget(end, end + PADDING)
            reaches = same(vector(size) + length, rounded_up(length), prove)
            return memory.store_region(evolve(region, source=ZeroPadded(region.source))) if reaches else memory
    raise Unsupported(f"{size} zeros at {to}")
