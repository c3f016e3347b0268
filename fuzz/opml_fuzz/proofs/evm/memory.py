"""The memory of the symbolic EVM: single bytes by address, and regions whose length is not known.

A byte is an int, or one byte of a word that was stored; so a word that is read where it was written comes back as it was, without any
arithmetic. A region is what a copy of unknown length left: the argument of the call, or a copy of it. A byte written later hides it.

What was never written is not zero here but an error, and so is a read of which it cannot be shown that it ends inside its region. The
real memory is zero there; the bytecode never reads it.
"""

from collections.abc import Callable
from typing import Any, Protocol

import z3
from attrs import evolve, field, frozen

from opml_fuzz.proofs.evm.pieces import Piece, Pieces, part, value
from opml_fuzz.proofs.evm.words import Word, choice, reduced, vector
from opml_fuzz.proofs.unsupported import Unsupported

WORD_BYTES = 32
CHOICE_BITS = 6
"""An address may depend on unknown bits of this number at most; each of its values is looked up."""

Prove = Callable[[Any], bool]
"""Tells whether a condition holds on the path, for certain."""


class Source(Protocol):
    """What a region is a copy of."""

    def read(self, at: Word, size: int) -> Pieces:
        """The bytes from there on."""
        ...


@frozen
class Region:
    """Bytes from address `at` on, `length` of them, at most `room`."""

    at: int
    length: Word
    room: int
    source: Source


Cell = int | tuple[Word, int, int]
"""A byte: its value; or the word that it is part of, that word's length, and which byte of it."""


@frozen
class Memory:
    """A memory. It is a value: each change gives another one."""

    cells: dict[int, Cell] = field(factory=dict)
    regions: tuple[Region, ...] = ()

    # Writing ---------------------------------------------------------------------------------------------------------------------

    def store(self, at: int, word: Word, size: int = WORD_BYTES) -> "Memory":
        """The memory with a word there."""
        return self.store_pieces(at, ((word, size),))

    def store_pieces(self, at: int, pieces: Pieces) -> "Memory":
        """The memory with these bytes there."""
        cells = dict(self.cells)
        for word, size in pieces:
            if isinstance(word, int):
                cells.update(zip(range(at, at + size), word.to_bytes(size, "big"), strict=True))
            else:
                cells.update({at + i: (word, size, i) for i in range(size)})
            at += size
        return evolve(self, cells=cells)

    def store_region(self, region: Region) -> "Memory":
        """The memory with this region; nothing is known any more of the bytes that it may reach."""
        end = region.at + region.room
        cells = {at: cell for at, cell in self.cells.items() if not region.at <= at < end}
        kept = tuple(one for one in self.regions if one.at + one.room <= region.at or end <= one.at)
        return Memory(cells, (*kept, region))

    def forget(self, start: int, stop: int) -> "Memory":
        """The memory of which these bytes are not known."""
        return evolve(self, cells={at: cell for at, cell in self.cells.items() if not start <= at < stop})

    # Reading ---------------------------------------------------------------------------------------------------------------------

    def load(self, at: Word, prove: Prove) -> Word:
        """The word at an address."""
        if isinstance(at, int):
            cell = self.cells.get(at)
            if isinstance(cell, tuple) and cell[1:] == (WORD_BYTES, 0) and self.is_whole(at, cell[0]):
                return cell[0]
            return value(self.read(at, WORD_BYTES, prove))
        if z3.is_app_of(at, z3.Z3_OP_ITE):
            condition, yes, no = at.children()
            return choice(condition, self.load(reduced(yes), prove), self.load(reduced(no), prove))
        unknown = variables(at)
        if sum(one.size() for one in unknown) <= CHOICE_BITS:
            return self.look_up(at, unknown, prove)
        for region in self.regions:
            offset = reduced(at - region.at)
            ends_inside = z3.UGE(vector(region.length), vector(offset) + WORD_BYTES)
            if prove(z3.And(z3.UGE(vector(at), region.at), ends_inside, z3.ULE(vector(offset), region.room))):
                if any(region.at <= cell < region.at + region.room for cell in self.cells):
                    raise Unsupported("a read of unknown place in a region that was written over")
                return value(region.source.read(offset, WORD_BYTES))
        raise Unsupported(f"a read at {at}")

    def is_whole(self, at: int, word: Word) -> bool:
        """Tells whether nothing was stored over a word."""
        cells = (self.cells.get(at + i) for i in range(1, WORD_BYTES))
        return all(isinstance(cell, tuple) and cell[0] is word and cell[1:] == (WORD_BYTES, i) for i, cell in enumerate(cells, 1))

    def look_up(self, at: Any, unknown: list[Any], prove: Prove) -> Word:
        """The word at an address that depends on few bits: one after the other."""
        (name,) = unknown
        found: Word = None
        for number in reversed(range(1 << name.size())):
            place = reduced(z3.substitute(at, (name, z3.BitVecVal(number, name.size()))))
            word = self.load(place, prove)
            found = word if found is None else choice(name == number, word, found)
        return found

    def read(self, at: int, size: int, prove: Prove) -> Pieces:
        """The bytes from an address on."""
        pieces: list[Piece] = []
        end = at + size
        while at < end:
            pieces.append(self.next_piece(at, end, prove))
            at += pieces[-1][1]
        return tuple(pieces)

    def next_piece(self, at: int, end: int, prove: Prove) -> Piece:
        """Returns as many bytes from an address on as belong together."""
        cell = self.cells.get(at)
        if isinstance(cell, int):
            number = size = 0
            while at + size < end and isinstance(one := self.cells.get(at + size), int):
                number, size = number << 8 | one, size + 1
            return number, size
        if cell is not None:
            word, width, first = cell
            size = 1
            while at + size < end and first + size < width and belongs(self, at - first, first + size, cell):
                size += 1
            return part((vector(word) if z3.is_bool(word) else word, width), first, first + size)
        for region in self.regions:
            if region.at <= at < region.at + region.room:
                size = 1
                while at + size < end and at + size not in self.cells:
                    size += 1
                offset = at - region.at
                if not prove(z3.UGE(vector(region.length), offset + size)):
                    raise Unsupported(f"a read behind the end of the region at {region.at:#x}")
                read = region.source.read(offset, size)
                return read[0] if len(read) == 1 else (value(read), size)
        raise Unsupported(f"a read at {at:#x}, where nothing was written")

    def region_at(self, at: int) -> Region:
        """The region that begins there, if nothing was written over it."""
        for region in self.regions:
            if region.at == at and not any(at <= cell < at + region.room for cell in self.cells):
                return region
        raise Unsupported(f"there is no whole region at {at:#x}")

    def substituted(self, substitute: Callable[[Any], Any]) -> "Memory":
        """The memory with names replaced in all words."""
        done: dict[int, Any] = {}
        cells: dict[int, Cell] = {}
        for at, cell in self.cells.items():
            if isinstance(cell, int):
                cells[at] = cell
                continue
            word, width, i = cell
            if id(word) not in done:
                done[id(word)] = substitute(word)
            new = done[id(word)]
            cells[at] = new >> 8 * (width - 1 - i) & 255 if isinstance(new, int) else (new, width, i)
        return Memory(cells, self.regions)


def merged(condition: Any, yes: Memory, no: Memory) -> Memory:
    """The memory that is `yes` where the condition holds, else `no`; what only one of them knows is forgotten."""
    if yes.regions != no.regions:
        raise Unsupported("two paths meet with different regions")
    common = ((at, cell, no.cells[at]) for at, cell in yes.cells.items() if at in no.cells)
    shared = {at: cell for at, cell, other in common if cell is other or same(cell, other)}
    cells, done = dict(shared), set[int]()
    for at, one in yes.cells.items():
        if at in shared or at in done or at not in no.cells:
            continue
        first, second = word_around(yes, at), word_around(no, at)
        if first[1:] != second[1:]:
            first, second = (byte_of(one), 1, 0), (byte_of(no.cells[at]), 1, 0)
        width, start = first[1], at - first[2]
        word = merged_word(condition, first[0], second[0], width)
        for i in range(width):
            if belongs(yes, start, i, first) and belongs(no, start, i, second):
                cells[start + i] = word >> 8 * (width - 1 - i) & 255 if isinstance(word, int) else (word, width, i)
                done.add(start + i)
    return Memory(cells, yes.regions)


def same(one: Cell, other: Cell) -> bool:
    """Tells whether two bytes are written the same way."""
    if isinstance(one, int) or isinstance(other, int):
        return one is other or (isinstance(one, int) and isinstance(other, int) and one == other)
    return one[1:] == other[1:] and (one[0] is other[0] or bool(one[0].eq(other[0])))


def word_around(memory: Memory, at: int) -> tuple[Word, int, int]:
    """The word that a byte belongs to: the one that was stored, or, of ints, the aligned 32 bytes around it."""
    cell = memory.cells[at]
    if not isinstance(cell, int):
        return cell
    start = at // WORD_BYTES * WORD_BYTES
    around = [one for i in range(start, start + WORD_BYTES) if isinstance(one := memory.cells.get(i), int)]
    if len(around) == WORD_BYTES:
        return int.from_bytes(bytes(around), "big"), WORD_BYTES, at - start
    return cell, 1, 0


def belongs(memory: Memory, start: int, i: int, word: tuple[Word, int, int]) -> bool:
    """Tells whether the byte is still byte i of the word that begins at `start`."""
    cell = memory.cells.get(start + i)
    if word[1] == 1:
        return True
    if isinstance(word[0], int) or isinstance(cell, int):
        return isinstance(word[0], int) and isinstance(cell, int) and cell == word[0] >> 8 * (word[1] - 1 - i) & 255
    return cell is not None and same(cell, (word[0], word[1], i))


def byte_of(cell: Cell) -> Word:
    if isinstance(cell, int):
        return cell
    word, width, i = cell
    return part((vector(word) if z3.is_bool(word) else word, width), i, i + 1)[0]


def merged_word(condition: Any, yes: Word, no: Word, width: int) -> Word:
    if width == WORD_BYTES:
        return choice(condition, yes, no)
    bits = 8 * width
    first, second = (z3.BitVecVal(one, bits) if isinstance(one, int) else one for one in (yes, no))
    return reduced(z3.If(condition, first, second))


def variables(term: Any) -> list[Any]:
    """The names in a term."""
    found: dict[int, Any] = {}
    waiting, seen = [term], set[int]()
    while waiting:
        one = waiting.pop()
        if one.get_id() in seen:
            continue
        seen.add(one.get_id())
        if z3.is_const(one) and one.decl().kind() == z3.Z3_OP_UNINTERPRETED:
            found[one.get_id()] = one
        waiting.extend(one.children())
    return list(found.values())
