"""What travels to and from the contract, on symbols: arguments, events and results, word by word.

The events that an act must log are told by `disputes/wire/logs.py`, as in the differential fuzzer; only the encoding is done here.

*Source*: the contract ABI specification; spec §5.11.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import z3
from attrs import frozen
from opml_spec.dispute.narrowing import Segment

from opml_fuzz.disputes.wire import logs
from opml_fuzz.disputes.wire.abi import SEGMENT
from opml_fuzz.proofs.evm.memory import Memory
from opml_fuzz.proofs.evm.pieces import Pieces, cut, length, value
from opml_fuzz.proofs.evm.words import Word, reduced, vector
from opml_fuzz.proofs.game.machine_state import integers
from opml_fuzz.proofs.game.numbers import GamePaths
from opml_fuzz.proofs.game.open_bytes import OpenBytes, OpenOctets, PaddedBytes, argument_at, same
from opml_fuzz.proofs.game.segments import ENDS
from opml_fuzz.proofs.step.machine_symbols import Octets, pieces_of
from opml_fuzz.proofs.symbols import Truth
from opml_fuzz.proofs.unsupported import Unsupported

WORD_BYTES = 32


def word(value: Any) -> Pieces:
    """One word: a number, a hash, or an address; nothing is zero."""
    if isinstance(value, Octets | bytes):
        padding = WORD_BYTES - len(value)
        return (*(((0, padding),) if padding else ()), *pieces_of(value))
    if z3.is_expr(value):
        return ((value, WORD_BYTES),)
    if isinstance(value, Truth):
        return ((z3.If(value.formula, z3.BitVecVal(1, 256), z3.BitVecVal(0, 256)), WORD_BYTES),)
    return ((value.term if hasattr(value, "term") else int(value or 0) % (1 << 8 * WORD_BYTES), WORD_BYTES),)


def words(values: Iterable[Any]) -> Pieces:
    return tuple(piece for one in values for piece in word(one))


def encode(kinds: tuple[str, ...], values: tuple[Any, ...]) -> Pieces:
    """Encodes arguments of these types."""
    head: list[Any] = []
    tail: Pieces = ()
    size = WORD_BYTES * sum(5 if kind == SEGMENT else 1 for kind in kinds)
    for kind, given in zip(kinds, values, strict=True):
        if kind == "bytes":
            head.append(place_behind(size, tail))
            tail = (*tail, *bytes_argument(given))
        else:
            head += [getattr(given, name) for name in ENDS] if isinstance(given, Segment) else [given]
    return (*words(head), *tail)


def place_behind(start: int, pieces: Pieces) -> Word:
    """Where the next argument begins behind others, of which some may be of unknown number."""
    unknown = [piece.length for piece, _ in pieces if isinstance(piece, PaddedBytes)]
    place: Word = reduced(sum(unknown, z3.BitVecVal(start + length(pieces), 256)))
    return place


def bytes_argument(given: Any) -> Pieces:
    """The number of bytes, then these, then zeros up to the next word."""
    if isinstance(given, OpenOctets):
        if length(given.pieces) % WORD_BYTES:
            raise Unsupported("bytes of unknown number that do not begin with a word")
        return (given.length, WORD_BYTES), *given.pieces[:-1], (given.bytes.padded, 0)
    padding = -len(given) % WORD_BYTES
    return *word(len(given)), *pieces_of(given), *(((0, padding),) if padding else ())


@frozen(eq=False)
class Section:
    """A part of a call's data: `data`, and behind it bytes of unknown number, if any. at: where it begins"""

    at: Word
    data: Pieces
    rest: OpenBytes | None = None

    @property
    def known(self) -> int:
        return length(self.data)


def sections(data: Pieces) -> Iterator[Section]:
    """Yields the parts of a call's data, each up to the end of some bytes of unknown number."""
    at, pieces = 0, list[Any]()
    for place, piece in enumerate(data):
        if isinstance(piece[0], PaddedBytes):
            yield Section(at, tuple(pieces), piece[0].bytes)
            at, pieces = place_behind(0, data[: place + 1]), []
        else:
            pieces.append(piece)
    if pieces or not data:
        yield Section(at, tuple(pieces))


class Given:
    """A call whose data is known but for what its arguments are."""

    def __init__(self, data: Pieces, sent: Word) -> None:
        self.value, (self.first, *self.others) = sent, sections(data)
        self.size: Word = place_behind(0, data)

    def load(self, at: Word) -> Word:
        if isinstance(at, int):
            return value(self.part(at, WORD_BYTES))
        section = next((one for one in self.others if is_same(at, one.at) and one.known == WORD_BYTES), None)
        if section is None:
            raise Unsupported(f"a word of the call's data at {at}")
        return value(section.data)

    def part(self, at: int, size: int) -> Pieces:
        inside = cut(self.first.data, at, min(at + size, self.first.known))
        missing = size - length(inside)
        if missing and self.first.rest is not None:
            raise Unsupported("a part of bytes of unknown number")
        return (*inside, *(((0, missing),) if missing else ()))

    def copy(self, memory: Memory, to: int, at: Word, size: Word, path: Any, machine: Any) -> Memory:
        if isinstance(size, int) and isinstance(at, int):
            return memory.store_pieces(to, self.part(at, size)) if size else memory
        if isinstance(size, int) and not isinstance(at, int) and at.eq(self.size):  # beyond the end there are zeros
            return memory.store_pieces(to, ((0, size),))
        for one in (self.first, *self.others):
            if one.rest is None or not is_same(at, vector(one.at) + (one.known - WORD_BYTES)):
                continue
            if same(size, one.rest.length + WORD_BYTES, machine.prove(path)):
                return memory.store_region(argument_at(to, one.rest, size))
        raise Unsupported(f"a copy of {size} bytes of the call's data from {at} on")


def is_same(one: Word, other: Word) -> bool:
    """Tells whether two places are the same, by their form."""
    return bool(reduced(vector(one) - vector(other)) == 0)


@contextmanager
def encoding(paths: GamePaths) -> Iterator[None]:
    """Events are encoded on symbols while this is entered."""
    with patch.multiple(logs, create=True, word=word, encode=encode, int=integers(paths)):
        yield
