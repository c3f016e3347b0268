"""The tensors of a training op: where they lie, and numbers that an op may find in them.

Numbers are drawn by magnitude: zeros, the largest and the most negative, halfway cases of any shift, and those in between. A tensor that
an op only writes holds other bytes before, so a byte that it must not write shows.

*Source*: spec §6.3 and §6.8.
"""

import struct
from enum import Enum
from random import Random

from attrs import define, field, fields
from opml_spec.machine.memory import MODEL, STATE
from opml_spec.model.layout import REQUEST_BYTES
from opml_spec.training.layout import SETTINGS_BYTES, TENSORS
from opml_spec.training.operations.backward import Sum
from opml_spec.training.operations.batch_operation import BYTES, MOMENTS, Access, BatchOperation, Span
from opml_spec.training.operations.forward import ForwardAdd
from opml_spec.training.operations.opcodes import RANGES, operands
from opml_spec.training.tensors import RowTensor

ALIGNMENT = 32
DATA = MODEL + (1 << 29)
IN_REQUEST = REQUEST_BYTES + SETTINGS_BYTES
MOST_IN_REQUEST = 512  # bytes of data
LARGEST = {1: 127, 2: (1 << 15) - 1, 4: (1 << 31) - 1, 8: 1 << 46}  # magnitudes, by bytes of a number without an exponent
LARGEST_OF_ROWS = {2: (1 << 15) - 1, 4: (1 << 30) - 1}
LARGEST_ANGLE = 1 << 30
EXPONENTS = ((10, 20), (14, 14), (-8, 126), (-300, 300), (-5000, 5000), (-70_000, 70_000))
INDICES = (0, 1, 2, 3, 5, 6, 1 << 31, (1 << 32) - 1)
LENGTHS = ("length", "vocabulary", "columns", "head_size")  # of a row of vectors
DATA_TENSORS, INDEX_TENSORS = ("text", "pictures", "labels"), ("tokens", "targets")


class Level(Enum):
    """What all numbers in the tensors of an op are like."""

    ZEROS = "zeros"
    LARGEST = "the largest"
    LEAST = "the most negative"
    ENDS = "either of them, and so large that sums saturate"
    APART = "rows of zeros and others, with exponents far apart"
    HALVES = "odd numbers, with exponents one apart"


EXPONENTS_OF_LEVELS = {Level.ENDS: (-8, -8), Level.APART: (-8, 126), Level.HALVES: (14, 15)}


def role(operation: BatchOperation, address: int) -> str:
    """Names the tensor at an address, as the operation does."""
    return next(name for name, value in operands(operation) if value == address and name not in RANGES)


def number(rng: Random, most: int) -> int:
    """Draws a number of at most this magnitude."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice((most, -most, most - 1, 0, 1, -1))
    if kind == 1:  # halfway, for a shift to the right by one more than its zeros
        shift = rng.randrange(most.bit_length())
        return rng.choice((1, -1)) * ((2 * rng.getrandbits(max(most.bit_length() - shift - 1, 1)) + 1 << shift) % (most + 1))
    return rng.choice((1, -1)) * (rng.getrandbits(rng.randrange(most.bit_length() + 1)) % (most + 1))


def row(rng: Random, length: int, most: int, level: Level | None) -> list[int]:
    """Draws a row. Without a level it is all zero, all equal, or has numbers of at most one magnitude, which is drawn."""
    match level:
        case Level.LARGEST | Level.LEAST:
            return [most if level is Level.LARGEST else -most] * length
        case Level.ENDS:
            return [rng.choice((most, most - 1, -most, 1 - most)) for _ in range(length)]
        case Level.HALVES:
            return [rng.choice((1, -1, 3, -3)) for _ in range(length)]
        case Level.APART:
            return [rng.choice((most, -most, 1, -1, 0)) for _ in range(length)] if rng.randrange(3) else [0] * length
    kind = rng.randrange(8)
    if kind == 0 or level is Level.ZEROS:
        return [0] * length
    if kind == 1:
        return [rng.choice((most, -most, 1))] * length
    limit = rng.choice((most, most, most >> 4, 1 + rng.randrange(most), 1))
    return [number(rng, limit) for _ in range(length)]


def exponents(rng: Random, rows: int, level: Level | None) -> list[int]:
    """Draws exponents. Without a level they are near one another, or far apart."""
    if level is not None:
        first, second = EXPONENTS_OF_LEVELS.get(level, (14, 14))
        return [(first, second)[t % 2] for t in range(rows)]
    ends = rng.choices(EXPONENTS, (6, 3, 4, 2, 2, 1))[0]
    return [rng.choice((*ends, rng.randint(*ends))) for _ in range(rows)]


def content(rng: Random, operation: BatchOperation, span: Span, level: Level | None = None) -> bytes:
    """Draws what lies in a tensor."""
    if isinstance(span.form, RowTensor):
        tensor, data = span.form, bytearray(rng.randbytes(span.size))
        values = [row(rng, tensor.length, LARGEST_OF_ROWS[tensor.value_bytes], level) for _ in range(tensor.rows)]
        struct.pack_into(f"<{tensor.rows}i", data, 0, *exponents(rng, tensor.rows, level))
        at, count = tensor.values - tensor.address, tensor.rows * tensor.length
        struct.pack_into(f"<{count}{'h' if tensor.value_bytes == 2 else 'i'}", data, at, *(value for each in values for value in each))
        return bytes(data)
    name, count = role(operation, span.address), span.size // span.form
    if span.form == BYTES or name in DATA_TENSORS:
        byte = {Level.ZEROS: b"\0", Level.LARGEST: b"\xff"}.get(level) if level else rng.choice((None, None, b"\0", b"\xff"))
        return byte * span.size if byte else rng.randbytes(span.size)
    if name in INDEX_TENSORS:
        index = {Level.ZEROS: 0, Level.LARGEST: INDICES[-1]}.get(level) if level else None
        return struct.pack(f"<{count}I", *(rng.choice(INDICES) if index is None else index for _ in range(count)))
    if span.form == MOMENTS:
        return struct.pack(f"<{count}q", *map(abs, row(rng, count, LARGEST[8], level)))
    if name == "table":
        return struct.pack(f"<{count}i", *row(rng, count, LARGEST_ANGLE, level))
    given = dict(operands(operation))
    length = next((given[name] for name in LENGTHS if count % given.get(name, count + 1) == 0), count)
    numbers = [value for _ in range(count // length) for value in row(rng, length, LARGEST[4], level)]
    return struct.pack(f"<{count}i", *(-(1 << 31) if value == -LARGEST[4] else value for value in numbers))


@define
class TensorPlaces:
    """The tensors of a training model as it grows: places that are taken, and what lies there. Tensors lie close to one another."""

    rng: Random
    level: Level | None = None
    data: dict[int, bytes] = field(factory=dict)
    in_request: bytes = b""
    _free: dict[int, int] = field(factory=lambda: {MODEL: DATA, TENSORS: TENSORS, STATE: STATE})
    _pool: dict[tuple[object, ...], list[int]] = field(factory=dict)

    def placed(self, operation: BatchOperation, reuses: bool = False) -> BatchOperation:
        """Gives the tensors of an operation their places, and content to each new one. reuses: those of earlier ones if they fit"""
        given, taken = dict(operands(operation)), set[int]()
        for span in operation.spans():
            name = role(operation, span.address)
            where = self._quarter(span, name)
            key = (where, name == "table", span.size, _form(span))
            known = [address for address in self._pool.get(key, ()) if address not in taken]
            if reuses and known and self.rng.random() < 0.7:
                address = self.rng.choice(known)
            else:
                address = self._new(operation, span, where)
                self._pool.setdefault(key, []).append(address)
            taken.add(address)
            given[name] = address
        if isinstance(operation, ForwardAdd | Sum) and self.level is None and self.rng.random() < 0.3:
            given["out"] = given[self.rng.choice(("x", "y"))]
            if not TENSORS <= given["out"] < STATE:
                given["out"] = given["x"] = self._new(operation, next(operation.spans()), TENSORS)
        return type(operation)(**given)

    def _quarter(self, span: Span, name: str) -> int:
        if span.access == Access.WEIGHTS:
            return STATE
        if name == "table":
            return MODEL
        if span.access == Access.WRITE or isinstance(span.form, RowTensor) or span.form == MOMENTS:
            return TENSORS
        if not self.in_request and span.size <= MOST_IN_REQUEST and self.rng.random() < 0.1:
            return IN_REQUEST
        return self.rng.choice((MODEL, TENSORS, STATE))

    def _new(self, operation: BatchOperation, span: Span, where: int) -> int:
        drawn = content(self.rng, operation, span, self.level)
        if where == IN_REQUEST:
            self.in_request = drawn
            return IN_REQUEST
        address = self._free[where] + ALIGNMENT * self.rng.choice((0, 0, 0, 1, 40))
        self.data[address] = drawn
        self._free[where] = address + -(-span.size // ALIGNMENT) * ALIGNMENT
        return address


def _form(span: Span) -> tuple[int, ...]:
    if isinstance(span.form, RowTensor):
        return span.form.rows, span.form.length, span.form.value_bytes
    return (span.form,)


def with_addresses(kind: type[BatchOperation], numbers: dict[str, int]) -> BatchOperation:
    """Makes an operation with these numbers, whose tensors lie far apart, each in a place that a loader allows."""
    given, place = dict(numbers), 0
    for each in fields(kind):
        if each.name not in RANGES:
            place += 1
            given[each.name] = TENSORS + (place << 25)
    apart = kind(**{each.name: given[each.name] for each in fields(kind)})
    for span in apart.spans():
        name = role(apart, span.address)
        base = STATE if span.access == Access.WEIGHTS else DATA if name == "table" else TENSORS
        given[name] = span.address - TENSORS + base
    return kind(**{each.name: given[each.name] for each in fields(kind)})
