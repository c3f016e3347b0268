"""Why no number of a model overflows: the largest magnitude that each sum and each product of an operation can reach, exactly.

The operations are stated in ℤ. Whoever computes them in 64 bits relies on these bounds, which depend on the sizes and scales of an image
alone: not on the prompt, nor on what any operation before has computed. All but the rows of a matrix follow from the operands.

*Source*: spec §3.8.
"""

from collections.abc import Iterator

from attrs import frozen

from opml_spec.arithmetic.elementary import LOG2_E_Q32
from opml_spec.arithmetic.fixed import round_shift
from opml_spec.errors import ImageBound
from opml_spec.machine.memory import Memory
from opml_spec.model.layout import MIN_TEMPERATURE_Q16, RECORD_BYTES, Header, Record
from opml_spec.model.operations.fixed import QUERY_BITS, Attention, Embed, MatMul, Norm, Rope, Sample, SwiGlu
from opml_spec.model.operations.operation import Operation
from opml_spec.model.operations.table import decode_operation
from opml_spec.model.tensors import GROUP, QUANTISATIONS, Group, Matrix, load_ints, whole_tiles

I32 = 1 << 31
"""The largest magnitude of an i32. (= 2147483648)"""

I16 = 1 << 15
"""The largest magnitude of an i16: what is normalised stays below, but a buffer may hold what something else left there. (= 32768)"""

QUERY = (1 << QUERY_BITS) - 1
"""The largest magnitude of a normalised query. (= 8191)"""

UNIT_Q24 = 1 << 24
UNIT_Q30 = 1 << 30
SHORTENED = 1 << 31  # what `shorten` leaves of 31 bits; a rounding may carry
ROOT = 1 << 31  # rsqrt and reciprocal
LARGEST_HALF = 128 << 24  # |d| and |m| are below 128, Q24


@frozen
class Bound:
    """A number inside an operation: its name, and the largest magnitude that it can have, which must stay below `limit`."""

    name: str
    magnitude: int
    limit: int = 1 << 63


def check_bounds(memory: Memory) -> None:
    """Raise unless no number on the tape of this model can overflow 64 bits."""
    header = Header.read(memory)
    for op in range(header.ops):
        operation = decode_operation(Record.read(memory, header.tape + RECORD_BYTES * op))
        for bound in bounds(memory, operation):
            if bound.magnitude >= bound.limit:
                raise ImageBound(f"op {op}, {type(operation).__name__}: {bound.name} can reach {bound.magnitude}")


def bounds(memory: Memory, operation: Operation) -> Iterator[Bound]:
    """Yield the bounds of one operation. Operations that only add, copy or compare i32 have none."""
    match operation:
        case Embed(_, matrix, quantisation, columns, _, _) | MatMul(_, _, matrix, quantisation, _, columns, _):
            rows = operation.rows if isinstance(operation, MatMul) else Header.read(memory).vocabulary
            weights = Matrix(matrix, quantisation, columns).rows(memory, whole_tiles(rows))
            halfs = [abs(number) for row in weights for group in row for number in (group.scale, group.minimum)]
            yield Bound("d, m", max(halfs, default=0), LARGEST_HALF)
            yield Bound("Σ w·q in a group", QUANTISATIONS[quantisation].qmax * GROUP * I16, I32)
            sums = (row_bound(row, QUANTISATIONS[quantisation].qmax) for row in weights)
            yield Bound("Σ d·Σ w·q + m·Σ q", max(sums, default=0), 1 << 62)
        case Norm(_, _, _, length, r, eps_q48):
            yield Bound("Σ xs²", length << 48)
            yield Bound("x·w", I32 * I32)
            yield Bound("mean", (1 << 48) + round_shift(eps_q48, 48 - 2 * (r + 23)))  # x has one bit at least
            yield Bound("x·w·R", SHORTENED * ROOT)
        case Rope(_, _, head_size, table):
            entries = load_ints(memory, table, Header.read(memory).context * head_size, 4)
            yield Bound("cos, sin", max(map(abs, entries)), UNIT_Q30 + 1)
            yield Bound("a·cos ∓ b·sin", 2 * I32 * UNIT_Q30)
        case Attention():
            yield Bound("Σ q·K·scale", operation.head_size * QUERY * I16 * operation.scale_q30)
            yield Bound("Σ w·V", operation.context * UNIT_Q24 * I16)
            yield Bound("o·R", SHORTENED * ROOT)
        case SwiGlu():
            yield Bound("gate·σ", I32 * UNIT_Q30)
            yield Bound("silu·up", SHORTENED * I32)
        case Sample(_, length):
            yield Bound("(M − l)·c", 2 * I32 * (LOG2_E_Q32 // MIN_TEMPERATURE_Q16))
            yield Bound("Σ w", length * UNIT_Q24)


def row_bound(row: list[Group], qmax: int) -> int:
    """The largest magnitude that a row's sum can have, whatever the activations and the weights."""
    return sum(GROUP * (qmax * abs(group.scale) + abs(group.minimum)) * I16 for group in row)
