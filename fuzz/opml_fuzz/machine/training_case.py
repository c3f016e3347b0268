"""Questions about training: stages one after the other on any memory, and whether a loader takes a tape.

Each tensor of an op is a segment of its own, so a case can be made smaller without knowing what the op computes: rows and columns are cut
off, and what is left keeps its place. What an op may find in a tensor it still finds there, since nothing but smaller numbers is put in.

*Source*: spec §6.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import evolve, field, frozen
from opml_spec.errors import SpecError
from opml_spec.machine.memory import Memory
from opml_spec.model.layout import (
    HEADER,
    RECORD_BYTES,
    REQUEST,
    REQUEST_BYTES,
    WORD_BYTES,
    Record,
    encode_tape,
    encode_words,
)
from opml_spec.training.layout import SETTINGS_BYTES, TRAINING_HEADER_WORDS, TrainingHeader
from opml_spec.training.loader import check_operation
from opml_spec.training.operations.batch_operation import MOMENTS, BatchOperation, Span
from opml_spec.training.operations.opcodes import BATCH_OPERATIONS, RANGES, decode_batch_operation, operands
from opml_spec.training.tensors import RowTensor

from opml_fuzz.machine.model_case import MOST_STAGES, Segments, decoded_tape, fewer_ops, memory_to_json, segments_from_json
from opml_fuzz.machine.simpler import parts
from opml_fuzz.machine.start import whole

TAPE = HEADER + 4096
SETTINGS = struct.Struct("<Q8I")
PLAIN_SETTINGS = (0, 1, 0, 1 << 24, 0, 1 << 15, 1 << 15, 0, 0)
PLAIN_OPERANDS = {
    **{"width": 15, "r": 12, "eps_q48": 0, "frac": 24, "sum_frac": 16, "out_frac": 14, "vector_frac": 14, "rate_q16": 1 << 16},
    **{"decays": 0, "stream": 0, "mean": 0, "scale_q16": 1 << 16, "first": 0, "token_bytes": 1},
}
CHOSEN = (0, 1, -1, 2, 3, (1 << 15) - 1, (1 << 30) - 1, (1 << 31) - 1, -(1 << 31))  # numbers that a person tries first
MOST_FIRST = 1 << 24  # in a replay file, as many as a run can have stages


@frozen
class TrainingStages:
    """Some stages in a row on a memory that also holds a request. Each leads to the root of the carry; one that fails, to its exit code,
    and it is the last one."""

    memory: Segments = field(hash=False)
    first: int
    count: int = 1

    @property
    def records(self) -> list[Record]:
        return records_in(self.memory)

    def operation(self, stage: int) -> BatchOperation | None:
        """Decodes the op of a stage; None if there is none with its opcode."""
        records = self.records
        return operation_in(records[stage % len(records)])

    def simpler(self) -> Iterator["TrainingStages"]:
        """Yields fewer stages on fewer ops, then a smaller op with plainer operands, settings and numbers."""
        for count in dict.fromkeys((1, self.count // 2, self.count - 1)):
            if 0 < count < self.count:
                yield evolve(self, count=count)
        records = self.records
        update, number = divmod(self.first, len(records))
        if self.count == 1:
            yield from self._on(records[number], update)
        else:
            for kept in fewer_ops(len(records)):
                tape = [records[i] for i in kept]
                yield TrainingStages(with_records(self.memory, tape), update * len(tape), min(self.count, len(tape)))
        yield from (evolve(self, memory=memory) for memory in plainer_settings(self.memory))
        for record in records[number : number + 1] if self.count == 1 else records:
            operation = operation_in(record)
            if operation is not None:
                yield from (evolve(self, memory=memory) for memory in plainer_tensors(self.memory, operation))

    def _on(self, record: Record, update: int) -> Iterator["TrainingStages"]:
        """Yields the one stage on a tape of its op alone, then in an earlier update, then with a smaller op."""
        alone = with_records(self.memory, [record])
        if len(self.records) > 1:
            yield TrainingStages(alone, update)
        if update:
            yield from (TrainingStages(alone, earlier) for earlier in dict.fromkeys((0, 1, update // 2, update - 1)) if earlier < update)
        if record.condition:
            yield TrainingStages(with_records(self.memory, [evolve(record, condition=0)]), update)
        operation = operation_in(record)
        if operation is not None:
            for smaller in smaller_operations(operation):
                for from_end in (False, True):
                    resized = with_tensors_of(alone, operation, smaller, from_end)
                    yield TrainingStages(with_records(resized, [smaller.record(record.condition)]), update)

    def to_json(self) -> dict[str, Any]:
        return {"case": "training", "memory": memory_to_json(self.memory), "first": self.first, "count": self.count}

    @classmethod
    def from_json(cls, text: Mapping[str, Any]) -> "TrainingStages":
        memory = with_header(segments_from_json(text["memory"]))
        if len(memory.get(REQUEST, b"")) < 2 * WORD_BYTES:
            raise ValueError("there is no request in its memory")
        return cls(memory, whole(text["first"], 0, MOST_FIRST), whole(text["count"], 1, MOST_STAGES))


@frozen
class TrainingTape:
    """A training model, of which a loader says whether native code may compute it, or the number of its first fault."""

    memory: Segments = field(hash=False)

    def simpler(self) -> Iterator["TrainingTape"]:
        """Yields the model with less data, with fewer ops, and with plainer operands."""
        header, records = header_in(self.memory), records_in(self.memory)
        for left_out in parts([address for address in self.memory if address not in (HEADER, header.tape)]):
            yield TrainingTape({address: data for address, data in self.memory.items() if address not in left_out})
        if header.ops == len(records):
            yield from (TrainingTape(with_records(self.memory, [records[i] for i in kept])) for kept in fewer_ops(len(records)))
        for place, record in enumerate(records):
            kind = BATCH_OPERATIONS.get(record.opcode)
            if kind is not None:
                for plainer in plainer_operands(decode_batch_operation(record)):
                    tape = [*records[:place], plainer.record(record.condition), *records[place + 1 :]]
                    yield TrainingTape({**self.memory, header.tape: encode_tape(tape)})

    def to_json(self) -> dict[str, Any]:
        return {"case": "training_tape", "memory": memory_to_json(self.memory)}

    @classmethod
    def from_json(cls, text: Mapping[str, Any]) -> "TrainingTape":
        return cls(with_header(segments_from_json(text["memory"]), with_tape=False))


# What is in a memory ---------------------------------------------------------------------------------------------------------------------


def header_in(memory: Segments) -> TrainingHeader:
    """Reads the header of a training model."""
    return TrainingHeader(*struct.unpack_from(f"<{TRAINING_HEADER_WORDS}Q", memory[HEADER]))


def records_in(memory: Segments) -> list[Record]:
    """Reads the records of the tape that are there."""
    header = header_in(memory)
    return decoded_tape(memory.get(header.tape, b"")[: RECORD_BYTES * header.ops])


def operation_in(record: Record) -> BatchOperation | None:
    """Decodes a record; None if its opcode is none of training."""
    return decode_batch_operation(record) if record.opcode in BATCH_OPERATIONS else None


def with_header(memory: Segments, with_tape: bool = True) -> Segments:
    """Returns the memory, which must have a header and, if so wanted, the tape that it names."""
    if len(memory.get(HEADER, b"")) < TRAINING_HEADER_WORDS * WORD_BYTES:
        raise ValueError("its memory has no header")
    header = header_in(memory)
    if with_tape and not 0 < header.ops == len(records_in(memory)) <= MOST_STAGES:
        raise ValueError("its memory has no tape")
    return memory


def training_model(tape: list[Record], data: Segments, request_bytes: int = SETTINGS_BYTES) -> dict[int, bytes]:
    """Returns the segments of a training model with this tape."""
    header = TrainingHeader(ops=len(tape), tape=TAPE, request_bytes=request_bytes)
    return {HEADER: encode_words(header.words), TAPE: encode_tape(tape), **data}


def with_training_request(memory: Segments, request: bytes, stages: int) -> dict[int, bytes]:
    """Returns the memory with a request in it. stages: N, as requested"""
    return {**memory, REQUEST: struct.pack("<QQ", stages, len(request)), **({REQUEST_BYTES: request} if request else {})}


def with_records(memory: Segments, tape: list[Record]) -> dict[int, bytes]:
    """Returns the memory with another tape. N remains the product of ops and updates if it was one; a tensor of no op is left out."""
    header = header_in(memory)
    changed = {**memory, HEADER: encode_words(evolve(header, ops=len(tape)).words), header.tape: encode_tape(tape)}
    if REQUEST in memory:
        stages, length = struct.unpack_from("<QQ", memory[REQUEST])
        updates, rest = divmod(stages, header.ops)
        changed[REQUEST] = struct.pack("<QQ", stages if rest else updates * len(tape), length)
    operations = [operation_in(record) for record in tape]
    used = {HEADER, header.tape, REQUEST, REQUEST_BYTES, *(span.address for each in operations if each for span in each.spans())}
    return {address: data for address, data in changed.items() if address in used or None in operations}


# What is simpler -------------------------------------------------------------------------------------------------------------------------


def smaller_operations(operation: BatchOperation) -> Iterator[BatchOperation]:
    """Yields operations on smaller tensors in the same places, and with plainer operands, that a loader takes."""
    for smaller in plainer_operands(operation):
        try:
            check_operation(smaller)
        except SpecError:
            continue
        if all(new.size <= old.size for old, new in zip(operation.spans(), smaller.spans(), strict=True)):
            yield smaller


def plainer_operands(operation: BatchOperation) -> Iterator[BatchOperation]:
    """Yields operations of which one operand is plainer, or two sizes that belong together are."""
    given = dict(operands(operation))
    for name, value in given.items():
        if name in PLAIN_OPERANDS:
            candidates: Iterable[int] = (PLAIN_OPERANDS[name],)
        else:
            candidates = (1, 2, value // 2, value - 1) if name in RANGES else ()
        for plainer in dict.fromkeys(candidates):
            if plainer != value and (name in PLAIN_OPERANDS or 0 < plainer < value):
                yield type(operation)(**{**given, name: plainer})
                if name == "matrix_rows" and "taken" in given:
                    yield type(operation)(**{**given, name: plainer, "first": 0, "taken": plainer})
                if name == "heads":
                    yield type(operation)(**{**given, name: plainer, **({"kv_heads": plainer} if "kv_heads" in given else {})})


def with_tensors_of(memory: Segments, old: BatchOperation, new: BatchOperation, from_end: bool) -> dict[int, bytes]:
    """Cuts the tensors of an op down to those of a smaller one. from_end: the last numbers are kept, in place of the first"""
    content, before = dict(memory), Memory.from_segments(memory)
    for was, now in zip(old.spans(), new.spans(), strict=True):
        if isinstance(was.form, RowTensor) and isinstance(now.form, RowTensor):
            rows, exponents = was.form.load(before)
            length, first = now.form.length, len(rows) - now.form.rows if from_end else 0
            kept = [(row[-length:] if from_end else row[:length], e) for row, e in zip(rows, exponents, strict=True)]
            padded = [([*row, *[0] * (length - len(row))], e) for row, e in kept[first:]]
            data = now.form.store(Memory(), padded[: now.form.rows]).load_bytes(now.address, now.size)
        else:
            data = before.load_bytes(was.end - now.size if from_end else now.address, now.size)
        if was.address in content:
            content[was.address] = data
    return content


def plainer_settings(memory: Segments) -> Iterator[dict[int, bytes]]:
    """Yields the memory with one plainer setting in its request."""
    request = memory.get(REQUEST_BYTES, b"")
    if len(request) < SETTINGS.size:
        return
    settings = SETTINGS.unpack_from(request)
    for place, plain in enumerate(PLAIN_SETTINGS):
        if settings[place] != plain:
            changed = dict(memory)
            changed[REQUEST_BYTES] = SETTINGS.pack(*settings[:place], plain, *settings[place + 1 :]) + request[SETTINGS.size :]
            if place == 1:  # the number of updates, and with it N
                header, (_, length) = header_in(memory), struct.unpack_from("<QQ", memory[REQUEST])
                changed[REQUEST] = struct.pack("<QQ", header.ops * plain, length)
            yield changed


def plainer_tensors(memory: Segments, operation: BatchOperation) -> Iterator[dict[int, bytes]]:
    """Yields the memory with zeros in the tensors of an op: in all, in halves, at last in single numbers; then with plainer numbers."""
    segments = {span.address: span for span in operation.spans() if any(memory.get(span.address, b""))}
    for span in segments.values():
        numbers = list(numbers_in(span, memory[span.address]))
        for erased in parts([number for number in numbers if number[2]]):
            yield {**memory, span.address: with_numbers(memory[span.address], [(at, size, 0) for at, size, _ in erased])}
    for span in segments.values():
        for at, size, value in numbers_in(span, memory[span.address]):
            for plainer in plainer_numbers(value, is_natural=span.form == MOMENTS):
                yield {**memory, span.address: with_numbers(memory[span.address], [(at, size, plainer)])}


def numbers_in(span: Span, data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields the numbers in a tensor: offset, bytes and value."""
    if isinstance(span.form, RowTensor):
        tensor = span.form
        runs = [(0, 4, tensor.rows), (tensor.values - tensor.address, tensor.value_bytes, tensor.rows * tensor.length)]
    else:
        runs = [(0, span.form, span.size // span.form)]
    for first, size, count in runs:
        for at in range(first, min(first + size * count, len(data) - size + 1), size):
            yield at, size, int.from_bytes(data[at : at + size], "little", signed=True)


def with_numbers(data: bytes, numbers: Iterable[tuple[int, int, int]]) -> bytes:
    """Writes numbers into a tensor."""
    changed = bytearray(data)
    for at, size, value in numbers:
        changed[at : at + size] = value.to_bytes(size, "little", signed=True)
    return bytes(changed)


def plainer_numbers(value: int, is_natural: bool) -> Iterator[int]:
    """Yields plainer numbers that are no larger than this one, the plainest first."""
    magnitude, sign = abs(value), -1 if value < 0 else 1
    top = 1 << max(magnitude.bit_length() - 1, 0)
    near = [sign * each for each in (top, top - 1, *(magnitude >> shift << shift for shift in (24, 16, 8, 4)))]
    for other in sorted(dict.fromkeys((*CHOSEN, *near)), key=_complexity):
        if abs(other) <= magnitude and _complexity(other) < _complexity(value) and (other >= 0 or not is_natural):
            yield other


def _complexity(value: int) -> int:
    if value in CHOSEN:
        return CHOSEN.index(value)
    return len(CHOSEN) + 2 * min(abs(value).bit_count(), (abs(value) + 1).bit_count()) + (value < 0)
