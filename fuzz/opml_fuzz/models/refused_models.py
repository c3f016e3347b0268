"""Models that a loader must refuse, and models at the very end of what it takes: both loaders must agree on each.

A model of one op or a whole LLaMA is changed in one place or two: an operand at the end of its range or beyond it, a tensor moved over an
edge of its place or onto another one, a scale or an entry of a RoPE table, a condition, a word of the header. Nothing is computed, so sizes
may be as large as a loader can look at.

*Source*: spec §3.8.
"""

import struct
from collections.abc import Iterator
from functools import cache
from itertools import product
from random import Random

from attrs import asdict, evolve
from opml_spec.machine.memory import IO, MEMORY_BYTES, MODEL, STATE
from opml_spec.model.bounds import I16, QUERY
from opml_spec.model.layout import BYTES, HEADER, RECORD_BYTES, TEXT, Header, Record, encode_tape, encode_words
from opml_spec.model.loader import RANGES
from opml_spec.model.operations.fixed import Attention, Embed, MatMul, Norm, Rope
from opml_spec.model.operations.operation import Operation
from opml_spec.model.operations.table import FIXED_OPERATIONS, decode_operation
from opml_spec.model.places import addend, read, weights, written
from opml_spec.model.tensors import ALIGNMENT, GROUP, QUANTISATIONS, TILE_ROWS

from opml_fuzz.machine.model_case import ModelImage, OneStage, Segments, header_of, is_long, operation_in, records_of, without_request
from opml_fuzz.models.random_models import one_operation, random_model, random_operation
from opml_fuzz.models.tiny_models import SMALL, TAPE, WEIGHTS, is_accepted

EDGES = (0, HEADER, MODEL, IO, STATE, MEMORY_BYTES, 1 << 63, 1 << 64)
BAD_OPCODES = (0, 12, 31, 32, 44, 1 << 32, (1 << 64) - 1)
HALFS = (0x57FF, 0x5800, 0xD7FF, 0xD800, 0x7C00, 0xFC00, 0x7E00, 0x7BFF, 0x03FF, 0x8000)
"""±127.9, ±128, infinities, no number, the largest one, a subnormal, −0."""

LARGEST_HALF, LAST_HALFS = 0x57FF, (0x3C40, 0x3C41)
"""127.9; in Q8_0 the sum of a row of 16 such scales just stays below 2^62 if the last one is 1.0625, and with the next it does not."""

LARGEST_SUM = 1 << 63
ONE = 1 << 30  # the largest sine of a RoPE table
ENTRIES = (ONE, ONE + 1, -ONE, -ONE - 1, (1 << 31) - 1, -(1 << 31))


def random_image(rng: Random) -> ModelImage:
    """Draws a model of which a word or two, or a number, are changed; about half of them are refused."""
    drawn = random_operation(rng) if rng.random() < 0.7 else random_model(rng)
    memory = without_request(drawn.memory)
    if rng.random() < 0.15:
        return ModelImage(with_other_header(rng, memory))
    records = records_of(memory)
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2))):
        place = rng.randrange(len(records))
        records[place] = changed(rng, records[place], header_of(memory), records)
    memory[header_of(memory).tape] = encode_tape(records)
    return ModelImage(with_other_numbers(rng, memory, records) if rng.random() < 0.3 else memory)


def moved_operation(rng: Random) -> OneStage:
    """Draws an operation of which a tensor was moved to wherever a loader takes it, such as the end of memory."""
    while True:
        case = random_operation(rng)
        (record,), header = records_of(case.memory), header_of(case.memory)
        operation = decode_operation(record)
        name, address = rng.choice([each for each in asdict(operation).items() if each[1] >= MODEL])
        moved = with_operand(operation, name, rng.choice(other_addresses(operation, address, header, [record])) % (1 << 64))
        memory = {**case.memory, TAPE: encode_tape([moved.record(record.condition)])}
        if is_accepted(memory) and not any(span.start < HEADER for span in spans(moved, header)):  # where each program is another one
            return evolve(case, memory=memory)


def changed(rng: Random, record: Record, header: Header, records: list[Record]) -> Record:
    """Changes a word of a record, unless a loader would then be busy for long."""
    if rng.random() < 0.1:
        return evolve(record, opcode=rng.choice((*BAD_OPCODES, record.opcode ^ 32)), operands=record.words[2:])
    if rng.random() < 0.1:
        return evolve(record, condition=rng.choice((0, 1, 2, 1 << 63)))
    operation = operation_in(record)
    if operation is None:
        return record
    name, value = rng.choice([*asdict(operation).items()])
    if name in RANGES:
        values = RANGES[name]
        other = rng.choice((values[0], values[-1], values[-1], values[0] - 1, values[-1] + 1, value + 1, value - 1, 3, 1 << 63))
    elif name == "quantisation":
        other = rng.randrange(5)
    else:
        other = rng.choice(other_addresses(operation, value, header, records))
    new = with_operand(operation, name, other % (1 << 64)).record(record.condition)
    return record if is_long(new, header) else new


def with_operand(operation: Operation, name: str, value: int) -> Operation:
    return type(operation)(**{**asdict(operation), name: value})


def spans(operation: Operation, header: Header) -> list[range]:
    """Lists the places of all that an operation reads or writes; none if it has a quantisation that is none."""
    if getattr(operation, "quantisation", 0) not in QUANTISATIONS:
        return []
    return [*written(operation), *read(operation), *weights(operation, header), *addend(operation)]


def other_addresses(operation: Operation, address: int, header: Header, records: list[Record]) -> list[int]:
    """Lists places for a tensor: off its alignment, at an edge, right before one, and on or beside another tensor of this op or another."""
    size = next((span.stop - span.start for span in spans(operation, header) if span.start == address), ALIGNMENT)
    aligned = -(-size // ALIGNMENT) * ALIGNMENT
    beside = [span for record in records if (each := operation_in(record)) for span in spans(each, header)]
    own = spans(operation, header)
    found = [address + 1, address + 4, address + ALIGNMENT // 2, address + ALIGNMENT]
    found += [at for edge in EDGES for at in (edge, edge - aligned, edge - aligned + ALIGNMENT, edge - ALIGNMENT)]
    for span in (*beside, *own, *own):
        end = -(-span.stop // ALIGNMENT) * ALIGNMENT
        found += [span.start, span.start + ALIGNMENT, span.start - aligned, span.start - aligned + ALIGNMENT, end, end - ALIGNMENT]
    return found


def with_other_header(rng: Random, memory: Segments) -> Segments:
    """Changes a word of the header, unless a loader would then be busy for long."""
    header, tape = header_of(memory), memory[TAPE]
    place = rng.choice((IO, MODEL, IO - len(tape), IO - len(tape) + 8, 0, MODEL - 8, (1 << 64) - 8, TAPE + RECORD_BYTES, STATE))
    words: tuple[dict[str, int], ...] = (
        *({"magic": header.magic ^ 1}, {"version": 2}, {"version": 0}, {"ops": 0}, {"ops": (1 << 24) + 1}, {"ops": 1 << 63}),
        *({"tape": place}, {"tape": place}, {"flags": 1}, {"flags": 2}, {"flags": 1 << 63}, {"arithmetic": 1}, {"arithmetic": 2}),
        *({"request_kind": kind} for kind in (TEXT, BYTES, 2)),
        *({"context": size} for size in (0, 1, header.context - 1, header.context + 1, 1 << 23, (1 << 23) + 1)),
        *({"vocabulary": size} for size in (0, 1, header.vocabulary - 1, header.vocabulary + 1, 1 << 10)),
        *({"stop_tokens": count} for count in (4, 5, 1 << 63)),
    )
    other = evolve(header, **{name: value % (1 << 64) for name, value in rng.choice(words).items()})
    return memory if any(is_long(record, other) for record in records_of(memory)) else {**memory, HEADER: encode_words(other.words)}


def with_other_numbers(rng: Random, memory: Segments, records: list[Record]) -> Segments:
    """Puts a scale or a sine at the end of its range, or beyond it, into the weights."""
    record = rng.choice(records)
    match operation_in(record):
        case (Embed() | MatMul()) as operation if operation.quantisation in QUANTISATIONS:
            quantisation = QUANTISATIONS[operation.quantisation]
            at = operation.matrix + quantisation.scales + 2 * rng.randrange((quantisation.block_bytes - quantisation.scales) // 2)
            blocks = operation.columns // GROUP * (getattr(operation, "rows", TILE_ROWS) // TILE_ROWS)
            return stored(memory, at + quantisation.block_bytes * rng.randrange(max(blocks, 1)), struct.pack("<H", rng.choice(HALFS)))
        case Rope() as operation:
            at = operation.table + 4 * rng.randrange(max(operation.head_size, 1))
            return stored(memory, at, struct.pack("<i", rng.choice(ENTRIES)))
    return memory


def stored(memory: Segments, address: int, data: bytes) -> Segments:
    """Stores bytes into the segment that has this address; into none if there is none."""
    for start, content in memory.items():
        if start <= address <= start + len(content) - len(data):
            return {**memory, start: content[: address - start] + data + content[address - start + len(data) :]}
    return memory


# Models at the end of what a loader takes ------------------------------------------------------------------------------------------------


@cache
def usual_images() -> tuple[ModelImage, ...]:
    """Makes a model of one op for each operation of either arithmetic."""
    rng = Random("usual images")
    kinds = product((False, True), FIXED_OPERATIONS)
    return tuple(ModelImage(without_request(one_operation(rng, SMALL, *kind).memory)) for kind in kinds)


def images_at_ranges() -> Iterator[ModelImage]:
    """Yields models of one op with each operand in turn at both ends of its range, and beyond them, and with each condition."""
    for image in usual_images():
        (record,), header = records_of(image.memory), header_of(image.memory)
        operation = decode_operation(record)
        for condition in (0, 1, 2, 1 << 63):
            yield ModelImage({**image.memory, TAPE: encode_tape([evolve(record, condition=condition)])})
        for name in [name for name in asdict(operation) if name in RANGES]:
            values = RANGES[name]
            for value in (values[0] - 1, values[0], values[-1], values[-1] + 1):
                new = with_operand(operation, name, value % (1 << 64)).record(record.condition)
                if not is_long(new, header):
                    yield ModelImage({**image.memory, TAPE: encode_tape([new])})


def images_at_edges() -> Iterator[ModelImage]:
    """Yields models of one op with each tensor in turn right before each edge of memory and each other tensor, a leaf further, and half
    a leaf."""
    for image in usual_images():
        (record,), header = records_of(image.memory), header_of(image.memory)
        operation = decode_operation(record)
        own = spans(operation, header)
        for span in own:
            names = [name for name, value in asdict(operation).items() if value == span.start]
            aligned = -(-(span.stop - span.start) // ALIGNMENT) * ALIGNMENT
            ends = [IO, STATE, MEMORY_BYTES, *(other.start for other in own if other is not span)]
            for start in (end - aligned + further for end in ends for further in (0, ALIGNMENT // 2, ALIGNMENT)):
                moved = type(operation)(**{**asdict(operation), **dict.fromkeys(names, start)})
                yield ModelImage({**image.memory, TAPE: encode_tape([moved.record(record.condition)])})


def images_at_bounds() -> Iterator[ModelImage]:
    """Yields models in which a number is just below what a loader takes, or just beyond it: the sum of a row, of a NORM, of scores, a
    scale, an entry of a RoPE table."""
    for number, row in product(QUANTISATIONS, (0, TILE_ROWS - 1)):  # of seven rows the last one only fills the tile
        yield from (with_halfs(number, row, [LARGEST_HALF] * 16 + [last], LARGEST_HALF) for last in LAST_HALFS)
        yield from (with_halfs(number, row, [half], 0) for half in HALFS)
        if QUANTISATIONS[number].has_minimum:
            yield from (with_halfs(number, row, [0], half) for half in HALFS)
    for entry in ENTRIES:
        table = struct.pack("<i", entry).rjust(4 * SMALL.context * SMALL.head_size, b"\0")
        yield one_op(Rope(STATE, SMALL.heads, SMALL.head_size, WEIGHTS), {WEIGHTS: table})
    (attention, *_) = (each for image in usual_images() for each in records_of(image.memory) if each.opcode == Attention.opcode)
    operation, most = decode_operation(attention), (LARGEST_SUM - 1) // (SMALL.head_size * QUERY * I16)
    yield from (one_op(with_operand(operation, "scale_q30", scale), {}) for scale in (most, most + 1))
    for length in ((1 << 15) - 1, 1 << 15):
        yield one_op(Norm(STATE, STATE + (1 << 20), STATE + (1 << 21), length, 14, 0), {})


def with_halfs(number: int, row: int, scales: list[int], minimum: int) -> ModelImage:
    """Makes a product of a matrix with these scales in one row. number: the quantisation; minimum: of each group, if there are any"""
    quantisation, blocks = QUANTISATIONS[number], b""
    for scale in scales:
        block = bytearray(quantisation.block_bytes)
        struct.pack_into("<H", block, quantisation.scales + 2 * row, scale)
        if quantisation.has_minimum:
            struct.pack_into("<H", block, quantisation.minimums + 2 * row, minimum % (1 << 16))
        blocks += block
    columns = GROUP * len(scales)
    return one_op(MatMul(STATE, STATE + 4096, WEIGHTS, number, TILE_ROWS - 1, columns, 14), {WEIGHTS: blocks})


def one_op(operation: Operation, data: Segments) -> ModelImage:
    """Makes a model of one op."""
    header = Header(ops=1, tape=TAPE, context=SMALL.context, vocabulary=SMALL.vocabulary)
    return ModelImage({HEADER: encode_words(header.words), TAPE: encode_tape([operation.record()]), **data})
