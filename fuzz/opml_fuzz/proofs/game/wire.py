"""What travels to and from the contract, on symbols: arguments, events and results, word by word.

The events that an act must log are told by `disputes/wire/logs.py`, as in the differential fuzzer; only the encoding is done here.

*Source*: the contract ABI specification; spec §5.11.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import z3
from opml_spec.dispute.narrowing import Segment

from opml_fuzz.disputes.wire import logs
from opml_fuzz.disputes.wire.abi import SEGMENT
from opml_fuzz.proofs.evm.memory import Memory
from opml_fuzz.proofs.evm.pieces import Pieces, cut, length, value
from opml_fuzz.proofs.evm.words import Word, reduced
from opml_fuzz.proofs.game.open_bytes import OpenOctets, argument_at, open_end, same
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
            if open_end(tail) is not None:
                raise Unsupported("something after bytes of unknown number")
            head.append(size + length(tail))
            tail = (*tail, *bytes_argument(given))
        else:
            head += [getattr(given, name) for name in ENDS] if isinstance(given, Segment) else [given]
    return (*words(head), *tail)


def bytes_argument(given: Any) -> Pieces:
    """The number of bytes, then these, then zeros up to the next word."""
    if isinstance(given, OpenOctets):
        if length(given.pieces) % WORD_BYTES:
            raise Unsupported("bytes of unknown number that do not begin with a word")
        return (given.length, WORD_BYTES), *given.pieces[:-1], (given.bytes.padded, 0)
    padding = -len(given) % WORD_BYTES
    return *word(len(given)), *pieces_of(given), *(((0, padding),) if padding else ())


class Given:
    """A call whose data is known but for what its arguments are."""

    def __init__(self, data: Pieces, sent: Word) -> None:
        self.data, self.known, self.value = data, length(data), sent
        end = open_end(data)
        self.rest = None if end is None else end.bytes
        self.size: Word = self.known if end is None else reduced(self.known + end.length)

    def load(self, at: Word) -> Word:
        return value(self.part(at, WORD_BYTES))

    def part(self, at: int, size: int) -> Pieces:
        inside = cut(self.data, at, min(at + size, self.known))
        missing = size - length(inside)
        if missing and self.rest is not None:
            raise Unsupported("a part of bytes of unknown number")
        return (*inside, *(((0, missing),) if missing else ()))

    def copy(self, memory: Memory, to: int, at: Word, size: Word, path: Any, machine: Any) -> Memory:
        if isinstance(size, int) and isinstance(at, int):
            return memory.store_pieces(to, self.part(at, size)) if size else memory
        if isinstance(size, int) and not isinstance(at, int) and at.eq(self.size):  # beyond the end there are zeros
            return memory.store_pieces(to, ((0, size),))
        if self.rest is not None and at == self.known - WORD_BYTES and same(size, self.rest.length + WORD_BYTES, machine.prove(path)):
            return memory.store_region(argument_at(to, self.rest, size))
        raise Unsupported(f"a copy of {size} bytes of the call's data from {at} on")


@contextmanager
def encoding() -> Iterator[None]:
    """Events are encoded on symbols while this is entered."""
    with patch.object(logs, "word", word), patch.object(logs, "encode", encode):
        yield
