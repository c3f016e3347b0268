"""What a replay file may ask of models, of training and of related runs: what has a meaning, and what takes the specification some seconds.

A replay file may come from anybody. A model that no loader takes has no meaning, so implementations may differ; and a size or a shift in it
may be so large that it takes all memory. A stage is also asked about an opcode that is none, and whatever its condition is. So both are put
right before the loader is asked. Two runs must be related as the file says, or their ends say nothing.

*Source*: spec §3.8 and §6.8; `relation.py`.
"""

import struct
from collections.abc import Callable, Iterable
from math import prod

from attrs import asdict, evolve
from opml_spec.errors import SpecError
from opml_spec.machine.memory import Memory
from opml_spec.model.layout import HEADER, REQUEST_BYTES, TEXT, WHEN_DRAWING, Record, encode_tape, encode_words
from opml_spec.model.loader import check_model
from opml_spec.model.operations.table import OPERATIONS, decode_operation
from opml_spec.model.places import addend, weights
from opml_spec.training.loader import check_training
from opml_spec.training.operations.attention import BackwardAttention, ForwardAttention
from opml_spec.training.operations.backward import BackwardRope
from opml_spec.training.operations.batch_operation import BatchOperation
from opml_spec.training.operations.forward import ForwardMatMul, ForwardRope
from opml_spec.training.operations.opcodes import BATCH_OPERATIONS, decode_batch_operation
from opml_spec.training.operations.optimisers import Muon
from opml_spec.training.operations.products import MatMulData, MatMulWeights

from opml_fuzz.machine import model_case, training_case
from opml_fuzz.machine.model_case import (
    MOST_STAGES,
    MOST_WEIGHTS,
    ModelImage,
    OneStage,
    Segments,
    WholeRun,
    header_of,
    records_of,
    weights_of,
)
from opml_fuzz.machine.numbers import ENTRY, TEXT_BYTES
from opml_fuzz.machine.relation import Related
from opml_fuzz.machine.training_case import TrainingStages, TrainingTape, header_in, records_in

MOST_NUMBERS = 1 << 22  # that all ops go through: some seconds of the specification
SIZES = "rows", "columns", "length", "heads", "kv_heads", "head_size", "context"
MUON_PRODUCTS = 15  # of a matrix with a square one, three in each of five rounds
PROGRAM = range(ENTRY, ENTRY + TEXT_BYTES)
Limited = Related | OneStage | WholeRun | ModelImage | TrainingStages | TrainingTape


def within_limits(case: Limited) -> Limited:
    """Returns the case; raises ValueError if it asks for too much, if no loader takes its model, or if its runs are not related."""
    match case:
        case Related() if not case.holds():
            raise ValueError(f"its runs are not related as {case.relation!r} says")
        case OneStage(memory, stage):
            position, op = divmod(stage, header_of(memory).ops)
            check_numbers(memory, bytes_at(memory, REQUEST_BYTES, 8), position + 1, [records_of(memory)[op]])
            check_meaning(memory)
        case WholeRun(memory, request, _, until):
            positions, records = until // header_of(memory).ops + 1, records_of(memory)
            check_numbers(memory, request[:8].ljust(8, b"\0"), positions, records * positions)
            check_meaning(memory)
        case ModelImage(memory):
            check_weights(weights_of(record, header_of(memory)) for record in records_of(memory))
        case TrainingStages(memory, _, count):
            check_training_stages(memory, count)
        case TrainingTape(memory):
            check_weights(map(angles_of, map(training_case.operation_in, records_in(memory))))
    return case


def is_within_limits(case: Limited) -> bool:
    """Tells whether a replay file may hold this case."""
    try:
        within_limits(case)
    except ValueError:
        return False
    return True


def check_weights(counts: Iterable[int]) -> None:
    """Raises ValueError if a loader would be busy. counts: of numbers at which it looks for each op"""
    counted = list(counts)
    if any(count > MOST_WEIGHTS for count in counted) or sum(counted) > MOST_NUMBERS:
        raise ValueError("a loader would have too many numbers to look at")


def check_loader(check: Callable[[Memory], None], memory: Segments) -> None:
    """Raises ValueError if a loader refuses a model."""
    try:
        check(Memory.from_segments(memory))
    except SpecError as error:
        raise ValueError(f"no loader takes its model: {error}") from error


def check_apart_from_program(places: Iterable[range]) -> None:
    """Raises ValueError if something lies where an implementation has its program, whatever that is."""
    if any(place.start < PROGRAM.stop and PROGRAM.start < place.stop for place in places):
        raise ValueError("an operation reads where an implementation has its program")


# Models ----------------------------------------------------------------------------------------------------------------------------------


def numbers_in(record: Record, positions: int) -> int:
    """How many numbers an operation goes through. positions: whose keys and values are in the cache"""
    sizes = asdict(operation) if (operation := model_case.operation_in(record)) else {}
    if any(sizes.get(name) == 0 for name in SIZES):
        raise ValueError("one of its operations has no numbers")
    heads = max(sizes.get("heads", 1), sizes.get("kv_heads", 1))
    numbers: int = prod((heads, *(sizes.get(name, 1) for name in ("rows", "columns", "head_size"))))
    length: int = sizes.get("length", 1)
    return max(length, numbers * (positions if "kv_heads" in sizes else 1))


def check_numbers(memory: Segments, lengths: bytes, positions: int, records: list[Record]) -> None:
    """Raises ValueError if the specification would be busy. lengths: of prompt and output; records: of what is run"""
    if header_of(memory).single_phase:  # one stage is the whole run
        positions = sum(struct.unpack("<II", lengths)) if header_of(memory).request_kind == TEXT else 1
        records = records_of(memory) * min(positions, MOST_STAGES)
    if positions > MOST_STAGES or sum(numbers_in(each, positions) for each in records) > MOST_NUMBERS:
        raise ValueError("its operations would go through too many numbers")
    check_weights(weights_of(record, header_of(memory)) for record in records_of(memory))


def check_meaning(memory: Segments) -> None:
    """Raises ValueError if no loader takes the operations of a model, or if they read where an implementation has its program."""
    header, records = header_of(memory), [each for each in records_of(memory) if each.opcode in OPERATIONS]
    tape = [evolve(record, condition=WHEN_DRAWING) for record in records]
    if tape:
        check_loader(check_model, {**memory, HEADER: encode_words(evolve(header, ops=len(tape)).words), header.tape: encode_tape(tape)})
    for operation in map(decode_operation, records):
        check_apart_from_program((*weights(operation, header), *addend(operation)))


def bytes_at(memory: Segments, start: int, length: int) -> bytes:
    """Reads bytes, zeros where no segment lies."""
    found = bytearray(length)
    for address, data in memory.items():
        for at in range(max(start, address), min(start + length, address + len(data))):
            found[at - start] = data[at - address]
    return bytes(found)


# Training --------------------------------------------------------------------------------------------------------------------------------


def angles_of(operation: BatchOperation | None) -> int:
    """How many angles of an operation a loader looks at."""
    if isinstance(operation, ForwardRope | BackwardRope):
        return max(1, operation.period) * max(1, operation.head_size)
    return 0


def work(operation: BatchOperation) -> int:
    """How many numbers an operation goes through, or bytes: each tensor, and what it multiplies."""
    match operation:
        case ForwardMatMul() | MatMulData() | MatMulWeights():
            products = operation.rows * operation.columns * operation.taken
        case ForwardAttention() | BackwardAttention():
            products = operation.sequences * operation.heads * operation.head_size * operation.period**2
        case Muon():
            products = MUON_PRODUCTS * operation.matrix_rows * operation.columns * min(operation.matrix_rows, operation.columns)
        case _:
            products = 0
    return products + sum(span.size for span in operation.spans())


def check_training_stages(memory: Segments, count: int) -> None:
    """Raises ValueError if the specification would be busy, or if no loader takes the operations. count: of stages"""
    header, records = header_in(memory), records_in(memory)
    tape = [record for record in records if record.opcode in BATCH_OPERATIONS]
    operations = list(map(decode_batch_operation, tape))
    check_weights(map(angles_of, operations))
    if -(-count // len(records)) * sum(map(work, operations)) > MOST_NUMBERS:
        raise ValueError("its operations would go through too many numbers")
    if tape:
        check_loader(check_training, {**memory, HEADER: encode_words(evolve(header, ops=len(tape)).words), header.tape: encode_tape(tape)})
    check_apart_from_program(range(span.address, span.end) for operation in operations for span in operation.spans())
