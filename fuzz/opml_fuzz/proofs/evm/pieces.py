"""Bytes of which some are not known: a sequence of pieces, each an int or a z3 vector, with its length in bytes.

Both worlds use them: what the EVM's memory gives, and the `bytes` of the specification. They are compared piece by piece, so that a
question to z3 is about one register, not about a state of 297 bytes.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import z3

from opml_fuzz.proofs.evm.words import reduced

Piece = tuple[Any, int]
"""An int or a vector, and how many bytes it has."""

Pieces = tuple[Piece, ...]


def length(pieces: Pieces) -> int:
    """How many bytes there are."""
    return sum(size for _, size in pieces)


def of_bytes(data: bytes) -> Pieces:
    """Known bytes as one piece."""
    return ((int.from_bytes(data, "big"), len(data)),) if data else ()


def part(piece: Piece, start: int, stop: int) -> Piece:
    """The bytes of one piece from `start` up to `stop`."""
    value, size = piece
    if (start, stop) == (0, size):
        return piece
    if isinstance(value, int):
        return value >> 8 * (size - stop) & (1 << 8 * (stop - start)) - 1, stop - start
    return reduced(z3.Extract(8 * (size - start) - 1, 8 * (size - stop), value)), stop - start


def cut(pieces: Pieces, start: int, stop: int) -> Pieces:
    """The bytes from `start` up to `stop`."""
    found, at = [], 0
    for piece in pieces:
        first, last = max(start - at, 0), min(stop - at, piece[1])
        if first < last:
            found.append(part(piece, first, last))
        at += piece[1]
    return tuple(found)


def value(pieces: Pieces) -> Any:
    """The bytes as one big-endian number: an int, or a vector of as many bits."""
    if all(isinstance(one, int) for one, _ in pieces):
        total = 0
        for one, size in pieces:
            total = total << 8 * size | one
        return total
    if len(pieces) == 1:
        return pieces[0][0]
    return reduced(z3.Concat(*(z3.BitVecVal(one, 8 * size) if isinstance(one, int) else one for one, size in pieces)))


def borders(pieces: Pieces) -> list[int]:
    """Where a piece ends."""
    ends, at = [], 0
    for _, size in pieces:
        at += size
        ends.append(at)
    return ends


def pairs(left: Pieces, right: Pieces) -> Iterable[tuple[Any, Any, int]]:
    """Yields what stands in the same place in two sequences of the same length, and its length."""
    begin = 0
    for end in sorted({*borders(left), *borders(right)}):
        yield value(cut(left, begin, end)), value(cut(right, begin, end)), end - begin
        begin = end


def known(pieces: Sequence[Piece]) -> bytes | None:
    """The bytes, if all are known."""
    if not all(isinstance(one, int) for one, _ in pieces):
        return None
    return b"".join(one.to_bytes(size, "big") for one, size in pieces)
