"""What the specification's machine computes with when nothing is known: its integers, its bytes, its registers, its witness.

They extend `symbols.py` by what the machine needs. A `Value` is a vector that is simplified after each operation, becomes bytes, and can be
the number of a register. `Octets` stand for `bytes` of known length, `Unread` for what is left of a witness, whose length is not known.

Where Python wants an answer, as in the place of a slice, the exploration gives each possible one (`known`).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import z3

from opml_fuzz.proofs.evm.pieces import Pieces, cut, length, of_bytes, part, value
from opml_fuzz.proofs.evm.words import reduced
from opml_fuzz.proofs.symbols import VECTOR_BITS, Paths, Truth, Vector
from opml_fuzz.proofs.unsupported import Unsupported

LEAF_BYTES = 32
MOST_CHOICES = 64


class Value(Vector):
    """An integer of the machine. What is known is an int again."""

    __hash__ = None  # type: ignore[assignment]  # else Enum would look it up by its hash, and not compare

    def of(self, term: Any) -> Any:
        return number(term, self.paths)

    def __format__(self, how: str) -> str:
        """In the text of an error, where nobody reads it."""
        return "?"

    def __rrshift__(self, other: int) -> Any:
        return self.of(z3.BitVecVal(other, VECTOR_BITS) >> self.term)

    def __floordiv__(self, other: Any) -> Any:
        if isinstance(other, int) and other > 0 and other & (other - 1) == 0:
            return self >> other.bit_length() - 1  # rounds down, as an integer's division does
        return super().__floordiv__(other)

    def __rfloordiv__(self, other: int) -> Any:
        return Value(z3.BitVecVal(other, VECTOR_BITS), self.paths) // self

    def __divmod__(self, other: int) -> tuple[Any, Any]:
        return self // other, self % other

    def to_bytes(self, size: int, order: str) -> "Octets":
        """The bytes, of a number that has no more of them."""
        if not is_zero(z3.LShR(self.term, 8 * size)) and (self < 0 or self >= 1 << 8 * size):
            raise OverflowError(f"more than {size} bytes")
        octets = Octets(((part_of(self.term, size), size),), self.paths)
        return octets if order == "big" else octets.reversed()


def is_zero(term: Any) -> bool:
    """Tells whether a term is 0 by its form alone."""
    word = reduced(term)
    return isinstance(word, int) and word == 0


def part_of(term: Any, size: int) -> Any:
    return reduced(z3.Extract(8 * size - 1, 0, term))


def number(term: Any, paths: Paths) -> Any:
    """Makes a term of 256 bits, or fewer, an integer: an int if it is known."""
    if isinstance(term, int):
        return term
    missing = VECTOR_BITS - term.size()
    word = reduced(z3.ZeroExt(missing, term) if missing else term)
    if isinstance(word, int):
        return word - (1 << VECTOR_BITS) if word >> (VECTOR_BITS - 1) else word
    return Value(word, paths)


def known(symbol: Any) -> int:
    """The integer, where it must be known: each of the few values that it can have is explored."""
    if isinstance(symbol, int):
        return symbol
    for _ in range(MOST_CHOICES):
        solver = symbol.paths.solver
        if solver.check(*symbol.paths.conditions) != z3.sat:
            raise Unsupported("z3 finds no value")
        candidate = solver.model().eval(symbol.term, model_completion=True).as_signed_long()
        if symbol == candidate:
            return int(candidate)
    raise Unsupported("too many values")


class Octets:
    """Bytes, of which some are not known. `hash` is what a node of the Merkle tree has: they stand for such a node too."""

    def __init__(self, pieces: Pieces, paths: Paths) -> None:
        self.pieces, self.paths = pieces, paths

    @property
    def hash(self) -> "Octets":
        return self

    def of(self, pieces: Pieces) -> "Octets":
        return Octets(pieces, self.paths)

    def __len__(self) -> int:
        return length(self.pieces)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            if at.step is not None:
                raise Unsupported("a slice with a step")
            return self.slice(at.start, at.stop)
        place = range(len(self))[at]  # raises, as the index of real bytes does
        return number(value(cut(self.pieces, place, place + 1)), self.paths)

    def slice(self, start: Any, stop: Any) -> "Octets":
        """A part; its length must be known, or is split into its possible values."""
        start, stop = 0 if start is None else start, len(self) if stop is None else stop
        if isinstance(start, int) and isinstance(stop, int):
            return self.of(cut(self.pieces, *slice(start, stop).indices(len(self))[:2]))
        size = stop - start
        if isinstance(size, int) and len(self) >= LEAF_BYTES:
            if start < 0 or stop > len(self):
                raise Unsupported("a slice beyond the end")
            distance = (8 * (len(self) - size) - (start << 3)).term
            wider = 8 * len(self) - distance.size()
            word = z3.LShR(self.term, z3.ZeroExt(wider, distance) if wider else distance)
            return self.of(((part_of(word, size), size),))
        if isinstance(start, int) and not isinstance(stop, int) and stop >= len(self):
            return self.slice(start, None)
        if isinstance(stop, int) and not isinstance(start, int) and start >= len(self):
            return self.of(())
        return self.slice(known(start), known(stop))

    @property
    def term(self) -> Any:
        """The bytes as one vector, highest first."""
        one = value(self.pieces)
        return z3.BitVecVal(one, 8 * len(self)) if isinstance(one, int) else one

    def reversed(self) -> "Octets":
        """The bytes in the other order."""
        (piece,) = ((value(self.pieces), len(self)),)
        return self.of(tuple(part(piece, i, i + 1) for i in reversed(range(len(self)))))

    def __add__(self, other: Any) -> "Octets":
        return self.of((*self.pieces, *pieces_of(other)))

    def __radd__(self, other: Any) -> "Octets":
        return self.of((*pieces_of(other), *self.pieces))

    def __eq__(self, other: object) -> Any:
        pieces = pieces_of(other)
        if length(pieces) != len(self):
            return False
        return Truth(self.term == Octets(pieces, self.paths).term, self.paths)

    def __ne__(self, other: object) -> Any:
        equal = self == other
        return Truth(z3.Not(equal.formula), self.paths) if isinstance(equal, Truth) else not equal

    def __hash__(self) -> int:
        return id(self)


def pieces_of(data: Any) -> Pieces:
    """The pieces of bytes of either kind."""
    return data.pieces if isinstance(data, Octets) else of_bytes(data)


class RegisterFile(tuple[Any, ...]):
    """The 32 registers; the number of one may be unknown, and then it is a choice of all, which `name` may give a name."""

    name: Callable[[Any, Any], Any]

    def __getitem__(self, at: Any) -> Any:
        return self.name(at, self.choice(at)) if isinstance(at, Value) else super().__getitem__(at)

    def choice(self, at: Value) -> Any:
        """The register of that number, whichever it is."""
        if not is_zero(z3.LShR(at.term, 5)):
            raise Unsupported("a register beyond x31")
        chain = z3.BitVecVal(0, VECTOR_BITS)
        for i in range(1, len(self)):
            one = super().__getitem__(i)
            chain = z3.If(at.term == i, one.term if isinstance(one, Value) else z3.BitVecVal(one, VECTOR_BITS), chain)
        return number(chain, at.paths)

    def put(self, at: Any, value: Any) -> "RegisterFile":
        """The registers with another value in one of them, which is not x0."""
        if isinstance(at, int):
            return registers((*self[:at], value, *self[at + 1 :]), self.name)
        term = value.term if isinstance(value, Value) else z3.BitVecVal(value, VECTOR_BITS)
        terms = [one.term if isinstance(one, Value) else z3.BitVecVal(one, VECTOR_BITS) for one in self]
        return registers((0, *(number(z3.If(at.term == i, term, terms[i]), at.paths) for i in range(1, len(self)))), self.name)


def registers(values: Iterable[Any], name: Callable[[Any, Any], Any]) -> RegisterFile:
    made = RegisterFile(values)
    made.name = name
    return made


class Unread:
    """What is left of a witness, from place `at` on."""

    def __init__(self, at: Any, witness: "UnknownWitness") -> None:
        self.at, self.witness = at, witness

    def __getitem__(self, at: slice) -> Any:
        """What is behind so many bytes, or so many bytes, which must be there: of real bytes there would be fewer."""
        if at.step is not None or (at.start is None) == (at.stop is None) or self.length < (at.start or at.stop):
            raise Unsupported(f"of a witness, {at}")
        if at.stop is None:
            return Unread(self.at + at.start, self.witness)
        place = self.at if isinstance(self.at, int) else self.at.term
        return Octets(self.witness.read(place, at.stop), self.witness.paths)

    @property
    def length(self) -> Any:
        return self.witness.length - self.at

    def __bool__(self) -> bool:
        return bool(self.length != 0)


class UnknownWitness:
    """A witness of which nothing is known but names for what stands at some places. Both worlds read it.

    length: a Value"""

    def __init__(self, length: Any, paths: Paths) -> None:
        self.length, self.paths = length, paths
        self.at_places: list[tuple[Any, Pieces]] = []

    def name(self, place: Any, pieces: Pieces) -> None:
        """Gives names to the bytes from a place on."""
        self.at_places.append((place, pieces))

    def read(self, at: Any, size: int) -> Pieces:
        """The bytes from a place on; they must have names."""
        for place, pieces in self.at_places:
            offset = at - place if isinstance(at, int) and isinstance(place, int) else reduced(z3.simplify(at - place))
            if isinstance(offset, int) and 0 <= offset <= length(pieces) - size:
                return cut(pieces, offset, offset + size)
        raise Unsupported(f"{size} bytes of the witness at {at}")
