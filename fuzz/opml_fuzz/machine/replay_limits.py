"""What a replay file may ask of models, of training and of related runs: what has a meaning, and what takes the specification some seconds.

A replay file may come from anybody. A model that no loader takes has no meaning, so implementations may differ; and a size or a shift in it
may be so large that it takes all memory. A stage is also asked about an opcode that is none, and whatever its condition is. So both are put
right before the loader is asked; all else is asked about as it lies in the memory. After a first stage that refuses the request there is no
other one. Two runs must be related as the file says, or their ends say nothing.

*Source*: spec §3.1, §3.3, §3.8, §6.2 and §6.8; `relation.py`.
"""

import struct
from collections.abc import Callable, Iterable
from math import prod

from attrs import asdict, evolve
from opml_spec.errors import SpecError
from opml_spec.machine.memory import IO, STATE, Memory
from opml_spec.model.image import SEGMENT_ALIGNMENT
from opml_spec.model.layout import (
    HEADER,
    RECORD_BYTES,
    REQUEST_BYTES,
    TEXT,
    TOKEN_BYTES,
    WHEN_DRAWING,
    WORD_BYTES,
    Record,
    encode_tape,
    encode_words,
)
from opml_spec.model.loader import check_model
from opml_spec.model.operations.fixed import Sample
from opml_spec.model.operations.float import FloatSample
from opml_spec.model.operations.table import OPERATIONS, decode_operation
from opml_spec.model.places import addend, weights
from opml_spec.model.request import RequestHeader, token_at
from opml_spec.training.layout import TRAINING_HEADER_WORDS
from opml_spec.training.loader import check_training
from opml_spec.training.operations.attention import BackwardAttention, ForwardAttention
from opml_spec.training.operations.backward import BackwardRope
from opml_spec.training.operations.batch_operation import BatchOperation
from opml_spec.training.operations.forward import ForwardMatMul, ForwardRope
from opml_spec.training.operations.opcodes import BATCH_OPERATIONS, decode_batch_operation
from opml_spec.training.operations.optimisers import Muon
from opml_spec.training.operations.products import MatMulData, MatMulWeights
from opml_spec.training.request import Settings
from opml_spec.training.tensors import EXPONENT_BYTES, RowTensor

from opml_fuzz.machine import model_case, training_case
from opml_fuzz.machine.model_case import (
    FIXED_PART,
    HEADER_BYTES,
    MOST_BYTES,
    MOST_STAGES,
    MOST_WEIGHTS,
    ModelImage,
    OneStage,
    Segments,
    WholeRun,
    decoded_tape,
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
MOST_EXPONENT = 1 << 20  # of a row, up or down: a shift by more takes memory
PROGRAM = range(ENTRY, ENTRY + TEXT_BYTES)
Limited = Related | OneStage | WholeRun | ModelImage | TrainingStages | TrainingTape


def within_limits(case: Limited) -> Limited:
    """Returns the case; raises ValueError if it asks for too much, if no loader takes its model, or if its runs are not related."""
    match case:
        case Related():
            if not case.holds():
                raise ValueError(f"its runs are not related as {case.relation!r} says")
        case OneStage(memory, stage):
            check_image(memory, with_request=True)
            position, op = divmod(stage, header_of(memory).ops)
            check_numbers(memory, bytes_at(memory, REQUEST_BYTES, 8), position + 1, [records_of(memory)[op]])
            check_meaning(memory)
            check_stage(memory, position, op)
        case WholeRun(memory, request, _, until):
            check_image(memory, with_request=False)
            positions, records = until // header_of(memory).ops + 1, records_of(memory)
            check_numbers(memory, request[:8].ljust(8, b"\0"), positions, records * positions)
            check_meaning(memory)
        case ModelImage(memory):
            check_image(memory, with_request=False)
            header = header_of(memory)
            check_weights(weights_of(record, header) for record in tape_at(memory, header.tape, header.ops))
        case TrainingStages(memory, first, count):
            check_segments(memory)
            check_training_stages(memory, count)
            check_training_request(memory, first, count)
        case TrainingTape(memory):
            check_segments(memory)
            training_header = header_in(memory)
            records = tape_at(memory, training_header.tape, training_header.ops)
            check_weights(map(angles_of, map(training_case.operation_in, records)))
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


def check_loader(check: Callable[[Memory], None], memory: Segments, header: bytes, tape_start: int, tape: list[Record]) -> None:
    """Raises ValueError if a loader refuses a model. header, tape: in place of those that are in the memory, and no longer than they are"""
    shown = Memory.from_segments(memory).store_bytes(HEADER, header).store_bytes(tape_start, encode_tape(tape))
    try:
        check(shown)
    except SpecError as error:
        raise ValueError(f"no loader takes its model: {error}") from error


def check_apart_from_program(places: Iterable[range]) -> None:
    """Raises ValueError if something lies where an implementation has its program or its scratch memory, whatever is there."""
    if any(place.start < PROGRAM.stop for place in places):
        raise ValueError("something lies or is read where an implementation has its program")


def check_apart_from_tape(places: Iterable[range], header_bytes: int, tape: int, ops: int) -> None:
    """Raises ValueError if numbers are read from the header or the tape: a loader was not shown those that are there."""
    for own in (range(HEADER, HEADER + header_bytes), range(tape, tape + RECORD_BYTES * ops)):
        if any(place.start < own.stop and own.start < place.stop for place in places):
            raise ValueError("an operation reads a tape that no loader takes")


def check_segments(memory: Segments) -> None:
    """Raises ValueError if a segment lies where an implementation has its program."""
    check_apart_from_program(range(address, address + len(data)) for address, data in memory.items())


def tape_at(memory: Segments, start: int, ops: int) -> list[Record]:
    """Reads the records of a tape as a loader does, wherever they lie; behind the last segment there are no ops any more."""
    return decoded_tape(bytes_at(memory, start, RECORD_BYTES * min(ops, MOST_BYTES // RECORD_BYTES)))


def bytes_at(memory: Segments, start: int, length: int) -> bytes:
    """Reads bytes, zeros where no segment lies."""
    found = bytearray(length)
    for address, data in memory.items():
        first, end = max(start, address), min(start + length, address + len(data))
        if first < end:
            found[first - start : end - start] = data[first - address : end - address]
    return bytes(found)


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


def check_image(memory: Segments, with_request: bool) -> None:
    """Raises ValueError if no image can hold these segments beside a program. with_request: there may be segments in the io quarter"""
    check_segments(memory)
    for address, data in memory.items():
        is_of_request = IO <= address < STATE
        is_right = with_request if is_of_request else address % SEGMENT_ALIGNMENT == 0
        if not is_right or any(address < border < address + len(data) for border in (IO, STATE)):
            raise ValueError(f"no image has a segment at {address:#x}")


def check_meaning(memory: Segments) -> None:
    """Raises ValueError if no loader takes the operations of a model, or if they read its tape or the program of an implementation."""
    header, records = header_of(memory), [each for each in records_of(memory) if each.opcode in OPERATIONS]
    tape = [evolve(record, condition=WHEN_DRAWING) if is_never_taken(record) else record for record in records]
    if tape:
        check_loader(check_model, memory, encode_words(evolve(header, ops=len(tape)).words), header.tape, tape)
    places = [place for operation in map(decode_operation, records) for place in (*weights(operation, header), *addend(operation))]
    check_apart_from_program(places)
    if tape != records_of(memory):
        check_apart_from_tape(places, HEADER_BYTES, header.tape, header.ops)


def check_stage(memory: Segments, position: int, op: int) -> None:
    """Raises ValueError if the first stage refuses the request, and this is a later one, or if it reads or draws what no run has there."""
    run, header, record = Memory.from_segments(memory), header_of(memory), records_of(memory)[op]
    request = RequestHeader.read(run, header)
    if request.prompt_length > MOST_STAGES and request.byte_length == FIXED_PART + TOKEN_BYTES * request.prompt_length:
        raise ValueError("its prompt is too long")
    if not request.acceptable(run, header):
        if position or op:
            raise ValueError("its first stage refuses the request, so there is no later one")
        return
    if not header.single_phase and request.prompt_length <= position < request.positions and token_at(run, position) >= header.vocabulary:
        raise ValueError("a token that is no token was drawn before")
    early = [position] if not header.single_phase else range(request.positions)
    done = records_of(memory) if header.single_phase else [record]
    if any(is_never_taken(each) and is_drawing(each) for each in done) and not all(map(request.draws_at, early)):
        raise ValueError("a token is drawn in the middle of the prompt")


def is_never_taken(record: Record) -> bool:
    """Tells whether no loader takes the condition of an operation."""
    return record.condition > WHEN_DRAWING or (is_drawing(record) and record.condition != WHEN_DRAWING)


def is_drawing(record: Record) -> bool:
    return isinstance(model_case.operation_in(record), Sample | FloatSample)


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
        check_loader(check_training, memory, encode_words(evolve(header, ops=len(tape)).words), header.tape, tape)
    spans = [span for operation in operations for span in operation.spans()]
    places = [range(span.address, span.end) for span in spans]
    check_apart_from_program(places)
    if tape != records:
        check_apart_from_tape(places, WORD_BYTES * TRAINING_HEADER_WORDS, header.tape, header.ops)
    for tensor in {span.form for span in spans if isinstance(span.form, RowTensor)}:
        exponents = struct.iter_unpack("<i", bytes_at(memory, tensor.address, EXPONENT_BYTES * tensor.rows))
        if any(abs(exponent) > MOST_EXPONENT for (exponent,) in exponents):
            raise ValueError("a number in it is too large or too small")


def check_training_request(memory: Segments, first: int, count: int) -> None:
    """Raises ValueError if there are no such stages: the first one refuses the request, or they are behind the last one."""
    run = Memory.from_segments(memory)
    settings = Settings.read(run)
    if settings.acceptable(run, header_in(memory)):
        if first + count > settings.stage_count:
            raise ValueError("there are not so many stages")
    elif first:
        raise ValueError("its first stage refuses the request, so there is no later one")
