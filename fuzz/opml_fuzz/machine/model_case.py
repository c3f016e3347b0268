"""Questions about models: one stage on any memory, a whole run, or whether a loader takes one; and about one operation on floats.

A memory is written as segments: bytes by address. The program is not part of it, because the implementations bring their own.

*Source*: spec §1, §3 and §4.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import evolve, field, frozen
from opml_spec.arithmetic.binary32 import Rounding
from opml_spec.model.layout import (
    HEADER,
    HEADER_WORDS,
    RECORD_BYTES,
    RECORD_WORDS,
    REQUEST,
    REQUEST_BYTES,
    WORD_BYTES,
    Header,
    Record,
    encode_tape,
    encode_words,
)
from opml_spec.model.operations.fixed import Embed, MatMul, Rope
from opml_spec.model.operations.float import FloatEmbed, FloatMatMul, FloatRope
from opml_spec.model.operations.operation import Operation
from opml_spec.model.operations.table import OPERATIONS, decode_operation
from opml_spec.model.tensors import whole_tiles

from opml_fuzz.machine.simpler import parts
from opml_fuzz.machine.start import MEMORY_BYTES, listed, whole

LEAF = 32
MOST_WEIGHTS = 1 << 20  # numbers of an op, since a loader looks at each
HEADER_BYTES = WORD_BYTES * HEADER_WORDS
MOST_STAGES, MOST_BYTES, MOST_SEGMENTS = 1 << 12, 1 << 22, 1 << 12  # in a replay file
FIXED_PART = 24  # bytes of a text request before its tokens
Segments = Mapping[int, bytes]


@frozen
class OneStage:
    """One stage on a memory that also holds a request: it leads to the root of the carry, or to an exit code."""

    memory: Segments = field(hash=False)
    stage: int

    def simpler(self) -> Iterator["OneStage"]:
        """Yields the stage on the tape of its op alone, at an earlier position, and on a memory with more zeros."""
        header = header_of(self.memory)
        stages, length = struct.unpack_from("<QQ", self.memory[REQUEST])
        position, op = divmod(self.stage, header.ops)
        if header.single_phase:
            yield from (evolve(self, memory=with_tape(self.memory, kept)) for kept in fewer_ops(header.ops))
        elif header.ops > 1:
            io = struct.pack("<QQ", stages // header.ops, length)
            yield OneStage({**with_tape(self.memory, [op]), REQUEST: io}, position)
        if position:
            yield evolve(self, stage=op)
        yield from (evolve(self, memory=memory) for memory in with_zeros(self.memory, {REQUEST, REQUEST_BYTES}))

    def to_json(self) -> dict[str, Any]:
        return {"case": "stage", "memory": memory_to_json(self.memory), "stage": self.stage}

    @classmethod
    def from_json(cls, text: Mapping[str, Any]) -> "OneStage":
        memory, stage = memory_from_json(text["memory"]), whole(text["stage"], 0, MOST_STAGES)
        if len(memory.get(REQUEST, b"")) < 16:
            raise ValueError("there is no request in its memory")
        return cls(memory, stage)


@frozen
class WholeRun:
    """The first stages of a run: each leads to a run hash. stages: as the request says"""

    memory: Segments = field(hash=False)
    request: bytes
    stages: int
    until: int

    def simpler(self) -> Iterator["WholeRun"]:
        """Yields the run with fewer stages, ops, tokens and numbers."""
        for until in dict.fromkeys((1, self.until // 2, self.until - 1)):
            if 0 < until < self.until:
                yield evolve(self, until=until)
        header = header_of(self.memory)
        ops, positions = header.ops, self.stages // header.ops
        if header.single_phase or self.stages == ops * positions:
            for kept in fewer_ops(ops):
                stages = self.stages if header.single_phase else len(kept) * positions
                yield evolve(self, memory=with_tape(self.memory, kept), stages=stages, until=min(self.until, stages))
        if self.stages == ops * positions and positions > 1 and len(self.request) > FIXED_PART:
            prompt, new, *_ = struct.unpack_from("<II", self.request)
            for fewer in ((1, 1), (prompt, 1), (1, new)):
                if fewer != (prompt, new):
                    request = struct.pack("<II", *fewer) + self.request[8 : FIXED_PART + 4 * fewer[0]]
                    stages = ops * (sum(fewer) - 1)
                    yield evolve(self, request=request, stages=stages, until=min(self.until, stages))
        yield from (evolve(self, memory=memory) for memory in with_zeros(self.memory, set()))

    def to_json(self) -> dict[str, Any]:
        counts = {"request": self.request.hex(), "stages": self.stages, "until": self.until}
        return {"case": "model", "memory": memory_to_json(self.memory), **counts}

    @classmethod
    def from_json(cls, text: Mapping[str, Any]) -> "WholeRun":
        stages = whole(text["stages"], 0, MOST_STAGES)
        until, memory, request = whole(text["until"], 1, max(stages, 1)), memory_from_json(text["memory"]), bytes.fromhex(text["request"])
        return cls(memory, request, stages, until)


@frozen
class ModelImage:
    """A model, of which a loader says whether native code may run it."""

    memory: Segments = field(hash=False)

    def simpler(self) -> Iterator["ModelImage"]:
        """Yields the model with less data, with fewer ops, and with plainer words in its records."""
        header, records = header_of(self.memory), records_of(self.memory)
        for left_out in parts([address for address in self.memory if address not in (HEADER, header.tape)]):
            yield ModelImage({address: data for address, data in self.memory.items() if address not in left_out})
        if header.ops == len(records):
            yield from (ModelImage(with_tape(self.memory, kept)) for kept in fewer_ops(header.ops))
        for place, record in enumerate(records):
            for operand, value in enumerate(record.operands):
                for plainer in (number for number in (0, 1, 32, value & value - 1) if number < value):
                    words = (*record.operands[:operand], plainer, *record.operands[operand + 1 :])
                    tape = [*records[:place], evolve(record, operands=words), *records[place + 1 :]]
                    yield ModelImage({**self.memory, header.tape: encode_tape(tape)})

    def to_json(self) -> dict[str, Any]:
        return {"case": "image", "memory": memory_to_json(self.memory)}

    @classmethod
    def from_json(cls, text: Mapping[str, Any]) -> "ModelImage":
        memory = segments_from_json(text["memory"])
        if len(memory.get(HEADER, b"")) < HEADER_BYTES:
            raise ValueError("its memory has no header")
        return cls(memory)


@frozen
class FloatOperation:
    """One operation on binary32 patterns or integers, by TestFloat's name, with the direction of its rounding."""

    operation: str
    operands: tuple[int, ...]
    rounding: str = "RNE"

    def simpler(self) -> Iterator["FloatOperation"]:
        """Yields the operation to nearest, and on plainer numbers: 0, 1, 2, then fewer digits."""
        if self.rounding != "RNE":
            yield evolve(self, rounding="RNE")
        for place, value in enumerate(self.operands):
            plain = (0, 0x3F800000, 0x40000000, value & ~(1 << 31), *(value >> shift << shift for shift in (23, 16, 12, 8, 4)))
            for other in plain[: plain.index(value)] if value in plain else plain:
                yield evolve(self, operands=(*self.operands[:place], other, *self.operands[place + 1 :]))

    def to_json(self) -> dict[str, Any]:
        operands = [f"{each:#x}" for each in self.operands]
        return {"case": "float", "operation": self.operation, "operands": operands, "rounding": self.rounding}

    @classmethod
    def from_json(cls, text: Mapping[str, Any]) -> "FloatOperation":
        operands = tuple(whole(each, 0, (1 << 64) - 1) for each in listed(text["operands"]))
        rounding = str(text["rounding"])
        if rounding not in Rounding.__members__:
            raise ValueError(f"no direction of rounding {rounding[:50]!r}")
        return cls(str(text["operation"]), operands, rounding)


def fewer_ops(ops: int) -> Iterator[list[int]]:
    """Yields the numbers of the ops that are kept when some in a row are left out; at least one is kept."""
    for left_out in parts(range(ops)):
        if kept := [op for op in range(ops) if op not in left_out]:
            yield kept


def header_of(memory: Segments) -> Header:
    """Reads the header of a model."""
    return Header(*struct.unpack_from(f"<{HEADER_WORDS}Q", memory[HEADER]))


def records_of(memory: Segments) -> list[Record]:
    """Reads the records of the tape that are there."""
    header = header_of(memory)
    return decoded_tape(memory.get(header.tape, b"")[: RECORD_BYTES * header.ops])


def decoded_tape(tape: bytes) -> list[Record]:
    """Decodes the whole records in these bytes."""
    words = struct.iter_unpack(f"<{RECORD_WORDS}Q", tape[: len(tape) // RECORD_BYTES * RECORD_BYTES])
    return [Record(opcode, condition, tuple(operands)) for opcode, condition, *operands in words]


def operation_in(record: Record) -> Operation | None:
    """Decodes a record; None if its opcode is none."""
    return decode_operation(record) if record.opcode in OPERATIONS else None


def weights_of(record: Record, header: Header) -> int:
    """How many weights of an operation a loader looks at; of a matrix, whole tiles."""
    match operation_in(record):
        case MatMul() | FloatMatMul() as operation:
            return whole_tiles(max(1, operation.rows)) * max(1, operation.columns)
        case Embed() | FloatEmbed() as operation:
            return whole_tiles(max(1, header.vocabulary)) * max(1, operation.columns)
        case Rope() | FloatRope() as operation:
            return max(1, header.context) * max(1, operation.head_size)
    return 0


def is_long(record: Record, header: Header) -> bool:
    """Tells whether a loader would have many weights to look at."""
    return weights_of(record, header) > MOST_WEIGHTS


def without_request(memory: Segments) -> dict[int, bytes]:
    return {address: data for address, data in memory.items() if address not in (REQUEST, REQUEST_BYTES)}


def with_tape(memory: Segments, kept: list[int]) -> dict[int, bytes]:
    """Returns the memory with some of the records of the tape."""
    header = header_of(memory)
    records = [memory[header.tape][RECORD_BYTES * op :][:RECORD_BYTES] for op in kept]
    return {**memory, HEADER: encode_words(evolve(header, ops=len(kept)).words), header.tape: b"".join(records)}


def with_zeros(memory: Segments, spared: set[int]) -> Iterator[dict[int, bytes]]:
    """Yields the memory with zeros in weights and buffers: in all, in halves, at last in each leaf that is not zero."""
    header = header_of(memory)
    for address, data in memory.items():
        if address in (HEADER, header.tape, *spared):
            continue
        for erased in parts([at for at in range(0, len(data), LEAF) if any(data[at : at + LEAF])]):
            zeroed = bytearray(data)
            for at in erased:
                zeroed[at : at + LEAF] = bytes(len(data[at : at + LEAF]))
            yield {**memory, address: bytes(zeroed)}


def memory_to_json(memory: Segments) -> dict[str, str]:
    return {hex(address): data.hex() for address, data in sorted(memory.items())}


def segments_from_json(text: Mapping[str, str]) -> dict[int, bytes]:
    """Reads segments; what overlaps, leaves the memory or is too much is refused."""
    memory, free_from = dict[int, bytes](), 0
    if len(text) > MOST_SEGMENTS:
        raise ValueError(f"its memory has {len(text)} segments; at most {MOST_SEGMENTS} are tried")
    for address, data in sorted((whole(address, 0, MEMORY_BYTES - 1), bytes.fromhex(data)) for address, data in text.items()):
        if address < free_from or address + len(data) > MEMORY_BYTES:
            raise ValueError(f"the segment at {address:#x} overlaps another one, or leaves the memory")
        memory[address], free_from = data, address + len(data)
    if sum(map(len, memory.values())) > MOST_BYTES:
        raise ValueError("its memory is too large")
    return memory


def memory_from_json(text: Mapping[str, str]) -> dict[int, bytes]:
    """Reads the segments of a model; what is none is refused."""
    memory = segments_from_json(text)
    if len(memory.get(HEADER, b"")) < HEADER_BYTES:
        raise ValueError("its memory has no header")
    header = header_of(memory)
    if not 0 < header.ops <= MOST_STAGES or len(memory.get(header.tape, b"")) < RECORD_BYTES * header.ops:
        raise ValueError("its memory has no tape")
    return memory
