"""Strings of bytes that stand for all strings of their length, and the hash of such strings.

A `String` is a row of pieces: numbers of a given width, as the formats of the specification are. It can be joined, cut between pieces,
compared, and hashed. Keccak-256 is an unknown function for each length that is hashed, from the pieces to a number of 32 bytes; it is known
only that different preimages have different hashes. So a hash that appears from somewhere may or may not be that of a given preimage.

*Source*: spec §5.1 and §5.2 for the formats.
"""

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import Any

import z3
from opml_spec.hashing import HASH_BYTES

from opml_fuzz.proofs.symbols import Number, Paths, Truth
from opml_fuzz.proofs.unsupported import Unsupported

Piece = tuple[Any, int]  # a term, and how many bytes it has

MOST_COUNTED = 8
SEGMENT = (1, 8, 8, 32, 32)
FORMATS = {
    sum(widths): widths
    for widths in (
        *((32,), (32, 1), (32, 20), (32, 32), (32, 32, 8), (32, 20, 32), (20, 8, 32, 8, 8, 32, 32, 20, 32)),
        *((256, 1, 8, 32), *((*SEGMENT, *count * (32,)) for count in range(64))),
    )
}
"""The widths of the pieces of all that is hashed, by length: claim id and request bytes, run state or part, seal, tree node, model, claim,
request, machine state (the pc and the registers are one piece), segments with posted hashes."""


class String:
    """Some bytes, as pieces."""

    def __init__(self, pieces: Sequence[Piece], paths: Paths) -> None:
        self.pieces, self.paths = tuple(pieces), paths

    @property
    def hash(self) -> "String":
        """What a node of a Merkle tree is asked for: a mere hash is its own."""
        return self

    def __len__(self) -> int:
        return sum(width for _, width in self.pieces)

    def __bool__(self) -> bool:
        return len(self) > 0

    def __add__(self, other: Any) -> "String":
        return String((*self.pieces, *pieces_of(other)), self.paths)

    def __radd__(self, other: Any) -> "String":
        return String((*pieces_of(other), *self.pieces), self.paths)

    def __getitem__(self, at: slice) -> "String":
        begin, end, step = at.indices(len(self))
        if step != 1:
            raise Unsupported("a slice with a step")
        starts = [0, *accumulate(width for _, width in self.pieces)]
        if not {begin, end} <= {*starts}:
            raise Unsupported("a cut inside a piece")
        return String([piece for start, piece in zip(starts, self.pieces, strict=False) if begin <= start < end], self.paths)

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, String | bytes) or len(self) != len(other):
            return False
        theirs = pieces_of(other)
        widths = [width for _, width in (theirs if isinstance(other, String) else self.pieces)]
        return Truth(z3.And(*(a == b for a, b in zip(cut(self.pieces, widths), cut(theirs, widths), strict=True))), self.paths)

    def __ne__(self, other: object) -> Any:
        same = self == other
        return Truth(z3.Not(same.formula), self.paths) if isinstance(same, Truth) else not same

    def __hash__(self) -> int:
        return 0  # so that a dict compares them, and each comparison is decided

    def term(self) -> Any:
        """The one term of a string that is one piece."""
        ((term, _),) = self.pieces
        return term


def pieces_of(data: Any) -> tuple[Piece, ...]:
    """The pieces of a string, or of bytes."""
    if isinstance(data, String):
        return data.pieces
    return ((z3.IntVal(int.from_bytes(data, "big")), len(data)),) if data else ()


def cut(pieces: Sequence[Piece], widths: Sequence[int]) -> list[Any]:
    """The terms of the same bytes, cut to these widths. Only what is known byte by byte can be cut anew."""
    rest, terms = list(pieces), list[Any]()
    for width in widths:
        term, has = rest.pop(0)
        while has != width:
            if not z3.is_int_value(term):
                raise Unsupported(f"a piece of {has} bytes where {width} are wanted")
            if has > width:
                rest.insert(0, (z3.IntVal(term.as_long() % (1 << 8 * (has - width))), has - width))
                term, has = z3.IntVal(term.as_long() >> 8 * (has - width)), width
            else:
                more, its = rest.pop(0)
                if not z3.is_int_value(more):
                    raise Unsupported("an unknown piece that lies across a border")
                term, has = z3.IntVal(term.as_long() << 8 * its | more.as_long()), has + its
        terms.append(term)
    return terms


class Quantity(Number):
    """A number that can also be written down and counted to, and of which the lowest bits can be taken. If it is one that a world made,
    its bounds are known."""

    def __init__(self, term: Any, paths: Paths, low: int | None = None, high: int | None = None) -> None:
        super().__init__(term, paths)
        self.low, self.high = low, high

    def __index__(self) -> int:
        for value in range(MOST_COUNTED):
            if self == value:
                return value
        raise Unsupported("too many paths, one for each number")

    def to_bytes(self, width: int, order: str) -> String:
        most = (1 << 8 * width) - 1
        is_inside = self.low is not None and self.high is not None and self.low >= 0 and self.high <= most
        if not is_inside and not (self >= 0) & (self <= most):
            raise OverflowError("int too big to convert")
        return String([(self.term, width)], self.paths)

    def __and__(self, mask: int) -> Any:
        if mask & (mask + 1):
            raise Unsupported("a mask with a hole")
        return self % (mask + 1)


def keccak(data: String, known: dict[tuple[int, ...], tuple[Any, list[z3.BoolRef]]]) -> tuple[String, list[z3.BoolRef]]:
    """The hash of a string, and what is known about it: whoever knows the hash knows its length and its pieces.

    known: the hashes that were asked for before, with that, by what z3 calls length and pieces"""
    length = len(data)
    terms = cut(data.pieces, FORMATS[length])
    key = length, *(term.get_id() for term in terms)
    if key not in known:
        digest = unknown_function(f"keccak_{length}", len(terms))(*terms)
        facts = [unknown_function(f"preimage_{length}_{place}", 1)(digest) == term for place, term in enumerate(terms)]
        known[key] = digest, [*facts, unknown_function("preimage_length", 1)(digest) == length]
    digest, facts = known[key]  # the digest keeps its terms, and so z3 gives their numbers to no others
    return String([(digest, HASH_BYTES)], data.paths), facts


@cache
def unknown_function(name: str, arguments: int) -> Any:
    return z3.Function(name, *(arguments + 1) * [z3.IntSort()])
