"""Training tapes that a loader must refuse, and tapes at the very end of what it takes: its verdict is a number, and both must agree on it.

One op or a few that share tensors are changed in one place or two: an operand at the end of its range or beyond it, a tensor moved over an
edge of its place or onto another one, an entry of a RoPE table, a word of the header. Nothing is computed, so sizes may be as large as they
go.

*Source*: spec §6.8.
"""

import struct
from collections.abc import Iterator
from itertools import count, product
from random import Random

from attrs import evolve, fields
from opml_spec.machine.memory import IO, MEMORY_BYTES, MODEL, STATE
from opml_spec.model.layout import HEADER, REQUEST, REQUEST_BYTES, Record, encode_tape, encode_words
from opml_spec.training.layout import TENSORS
from opml_spec.training.operations.attention import BackwardAttention, ForwardAttention
from opml_spec.training.operations.backward import BackwardNorm, BackwardRope
from opml_spec.training.operations.batch_operation import Access, BatchOperation
from opml_spec.training.operations.forward import ForwardMatMul, ForwardNorm, ForwardRope
from opml_spec.training.operations.opcodes import BATCH_OPERATIONS, RANGES, operands
from opml_spec.training.operations.optimisers import Muon
from opml_spec.training.operations.products import MatMulData, MatMulWeights
from opml_spec.training.operations.weights import Pictures, Tokens

from opml_fuzz.machine.training_case import TAPE, TrainingStages, TrainingTape, header_in, operation_in, records_in, training_model
from opml_fuzz.models.random_training import random_training_operation, random_training_stages, usual_of
from opml_fuzz.models.training_tensors import ALIGNMENT, LARGEST_ANGLE, with_addresses

MOST_TABLE = 1 << 12  # numbers, since a loader looks at each
EDGES = (0, HEADER, MODEL, IO, REQUEST_BYTES, REQUEST_BYTES + 16384, TENSORS, STATE, MEMORY_BYTES, 1 << 63, 1 << 64)
HALF_EDGES = (4096, 4097, 8192, 1 << 10, 1 << 17, 1 << 18, (1 << 18) + 1, 1 << 20)  # near the bounds of sizes
BAD_OPCODES = (0, 1, 64, 95, 1 << 32, (1 << 64) - 1)
FITS: tuple[tuple[type[BatchOperation], dict[str, int], dict[str, int]], ...] = (
    *((kind, {"first": 2, "taken": 4, "matrix_rows": 6}, {"taken": 5}) for kind in (ForwardMatMul, MatMulData, MatMulWeights)),
    *((kind, {"first": 0, "taken": 1 << 20, "matrix_rows": 1 << 20}, {"first": 1}) for kind in (ForwardMatMul, MatMulData, MatMulWeights)),
    (Tokens, {"first": 3, "sequences": 2, "per_update": 5}, {"first": 4}),
    (Tokens, {"count": 4, "period": 3}, {"count": 3}),
    *((Tokens, {"token_bytes": each}, {"token_bytes": 3}) for each in (1, 4)),
    (Pictures, {"first": 2, "rows": 3, "per_update": 5}, {"first": 3}),
    *((kind, {"heads": 4, "kv_heads": 2}, {"heads": 3}) for kind in (ForwardAttention, BackwardAttention)),
    *((kind, {"head_size": 4}, {"head_size": 3}) for kind in (ForwardRope, BackwardRope)),
)
"""Kinds of ops, operands that just fit each other, and others that do not."""


def random_training_tape(rng: Random) -> TrainingTape:
    """Draws a tape with faults, or with none in every sixth."""
    return with_faults(rng, random_training_operation(rng) if rng.random() < 0.6 else random_training_stages(rng))


def tapes_at_bounds() -> Iterator[TrainingTape]:
    """Yields tapes of one op with which a number of its code is just below 2^63, or reaches it, which may take two large operands. Those
    of NORM also have the longest row, or a longer one."""
    for columns in ((1 << 13) - 1, 1 << 13):
        yield tape_of(Muon, {"matrix_rows": 1 << 20, "columns": columns})
    for period in ((1 << 18) - 1, 1 << 18):
        yield tape_of(BackwardAttention, {"period": period, "heads": 1, "head_size": 1})
    norms: tuple[type[BatchOperation], ...] = ForwardNorm, BackwardNorm
    for kind, length in product(norms, (4096, 4097)):
        yield tape_of(kind, {"length": length})
    for kind, r in product(norms, range(*RANGES["r"])):
        reaches = (1 << 63) - (1 << 48) >> 2 * (r + 23) - 48
        for eps in (reaches - 1, reaches):
            if eps <= RANGES["eps_q48"][1]:
                yield tape_of(kind, {"r": r, "eps_q48": eps})


def tapes_that_just_fit() -> Iterator[TrainingTape]:
    """Yields tapes of one op whose operands just fit each other, of one in which they just do not, and with each operand in turn at the
    end of its range, and beyond it."""
    for kind, numbers, others in FITS:
        for given in (numbers, numbers | others):
            yield TrainingTape(training_model([with_addresses(kind, usual_of(kind) | given).record()], {}))
    for kind in BATCH_OPERATIONS.values():
        for name in usual_of(kind):
            for value in (RANGES[name][1], RANGES[name][1] + 1):
                tape = tape_of(kind, {name: value})
                if not has_a_long_table(records_in(tape.memory)[0]):
                    yield tape


def tapes_at_edges() -> Iterator[TrainingTape]:
    """Yields tapes of one op with each tensor in turn right before the next edge of memory, or another tensor, then a bit further on."""
    for kind in BATCH_OPERATIONS.values():
        operation = with_addresses(kind, usual_of(kind))
        spans = list(operation.spans())
        for place, span in enumerate(spans):
            aligned = -(-span.size // ALIGNMENT) * ALIGNMENT
            for end in (min(edge for edge in EDGES if edge > span.address), spans[place - 1].address):
                for start in (end - aligned, end - aligned + ALIGNMENT):
                    given = {name: start if value == span.address else value for name, value in operands(operation)}
                    yield TrainingTape(training_model([kind(**given).record()], {}))


def tape_of(kind: type[BatchOperation], numbers: dict[str, int]) -> TrainingTape:
    """Makes a tape of one op with these operands and usual ones; its tensors may be large."""
    numbers = usual_of(kind) | numbers
    places = (TENSORS + (place << 35) for place in count())
    given = {each.name: numbers[each.name] if each.name in RANGES else next(places) for each in fields(kind)}
    apart = kind(**given)
    weights = {span.address for span in apart.spans() if span.access == Access.WEIGHTS}
    trained = {name: STATE for name, value in given.items() if value in weights}
    return TrainingTape(training_model([kind(**(given | trained)).record()], {}))


def with_faults(rng: Random, drawn: TrainingStages) -> TrainingTape:
    """Puts faults into the tape of some stages, or none in every sixth."""
    memory = {address: data for address, data in drawn.memory.items() if not REQUEST <= address < TENSORS}
    records = drawn.records
    if rng.random() < 0.1:
        return TrainingTape(with_other_header(rng, memory))
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2))):
        place = rng.randrange(len(records))
        records[place] = changed(rng, records[place], records)
    return TrainingTape(with_other_table(rng, records, {**memory, TAPE: encode_tape(records)}))


def changed(rng: Random, record: Record, records: list[Record]) -> Record:
    """Changes one word of a record."""
    operation = operation_in(record)
    if operation is None or rng.random() < 0.05:
        return Record(rng.choice(BAD_OPCODES), record.condition, record.operands)
    given = [*operands(operation)]
    place = rng.randrange(len(given))
    name, value = given[place]
    if name in RANGES:
        low, high = RANGES[name]
        other = rng.choice((low, high, high, low - 1, high + 1, value + 1, 3, rng.choice(HALF_EDGES), 1 << 63, (1 << 64) - 1))
    else:
        other = another_address(rng, operation, value, records)
    words = [*record.operands]
    words[place] = other % (1 << 64)
    new = Record(record.opcode, record.condition, tuple(words))
    return record if has_a_long_table(new) else new


def another_address(rng: Random, operation: BatchOperation, value: int, records: list[Record]) -> int:
    """Moves a tensor: off its alignment, to an edge, so that it ends at one, or onto another tensor of this op or another one."""
    size = next((span.size for span in operation.spans() if span.address == value), ALIGNMENT)
    edge, aligned = rng.choice(EDGES), -(-size // ALIGNMENT) * ALIGNMENT
    all_spans = [span for record in records if (each := operation_in(record)) for span in each.spans()]
    other = rng.choice(all_spans)
    return rng.choice((
        *(value + 4, value + 1, edge, edge - aligned, edge - aligned + ALIGNMENT, edge - ALIGNMENT, other.address, other.address),
        *(other.address + ALIGNMENT, other.address - aligned, other.address - aligned + ALIGNMENT, -(-other.end // ALIGNMENT) * ALIGNMENT),
    ))  # fmt: skip


def has_a_long_table(record: Record) -> bool:
    """Tells whether a loader that looks at a RoPE table would be busy for long."""
    if BATCH_OPERATIONS.get(record.opcode) not in (ForwardRope, BackwardRope):
        return False
    operation = operation_in(record)
    assert isinstance(operation, ForwardRope | BackwardRope)
    return operation.period * operation.head_size > MOST_TABLE


def with_other_table(rng: Random, records: list[Record], memory: dict[int, bytes]) -> dict[int, bytes]:
    """Puts the largest angle, or one more, into a RoPE table, now and then."""
    for record in records:
        operation = operation_in(record)
        if isinstance(operation, ForwardRope | BackwardRope) and operation.table in memory and rng.random() < 0.5:
            table = bytearray(memory[operation.table])
            entry = rng.choice((LARGEST_ANGLE, LARGEST_ANGLE + 1, -LARGEST_ANGLE, -LARGEST_ANGLE - 1, (1 << 31) - 1, -(1 << 31)))
            struct.pack_into("<i", table, 4 * rng.randrange(len(table) // 4), entry)
            memory = {**memory, operation.table: bytes(table)}
    return memory


def with_other_header(rng: Random, memory: dict[int, bytes]) -> dict[int, bytes]:
    """Changes a word of the header."""
    header, tape = header_in(memory), memory[TAPE]
    place = rng.choice((IO, MODEL, IO - len(tape), IO - len(tape) + 8, 0, MODEL - 8, (1 << 64) - 8, TAPE + 128))
    words: tuple[dict[str, int], ...] = (
        *({"magic": header.magic ^ 1}, {"version": 2}, {"version": 0}, {"ops": 0}, {"ops": (1 << 24) + 1}, {"ops": 1 << 63}),
        *({"tape": place}, {"tape": place}, *({"request_bytes": size} for size in (63, 64, 16384, 16385))),
    )
    return {**memory, HEADER: encode_words(evolve(header, **rng.choice(words)).words)}


def faults(operation: BatchOperation) -> Iterator[str]:
    """Names the operands that are at an end of their range or beyond it, and the tensors that are off their alignment or place."""
    for name, value in operands(operation):
        if name in RANGES:
            low, high = RANGES[name]
            if value < low or value >= high:
                yield f"{name} {'below' if value < low else 'largest' if value == high else 'above'}"
        elif value % ALIGNMENT:
            yield f"{name} misaligned"
        else:
            yield f"{name} {min(value >> 38, 4)}"
