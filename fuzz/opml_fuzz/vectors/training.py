"""Vectors of training: each operation on small tensors, four times, and the worked example of the specification stage by stage.

The four have usual numbers, numbers of all sizes, the largest magnitudes with exponents far apart, and many zeros. Their operands are usual
ones and others at the ends of their ranges. What an operation writes holds other bytes before, so a byte that it must not write shows.

*Source*: spec §6.
"""

import struct
from collections.abc import Iterator
from random import Random
from typing import Any

from attrs import fields
from opml_spec.machine.memory import MODEL, STATE
from opml_spec.model.layout import HEADER, Record, encode_tape, encode_words
from opml_spec.training.layout import SETTINGS_BYTES, TENSORS, TrainingHeader
from opml_spec.training.operations.backward import CrossEntropy
from opml_spec.training.operations.batch_operation import BYTES, BatchOperation, Span
from opml_spec.training.operations.forward import ForwardAdd, ForwardMatMul
from opml_spec.training.operations.opcodes import BATCH_OPERATIONS, RANGES
from opml_spec.training.operations.optimisers import Sgd
from opml_spec.training.operations.products import MatMulWeights, TargetWeights
from opml_spec.training.operations.weights import Cast, Export, Init, Pictures
from opml_spec.training.tensors import RowTensor
from opml_spec.training.training_stage import run_training_stage

from opml_fuzz.vectors.notation import Json
from opml_fuzz.vectors.operations import stage_case

TAPE, DATA = HEADER + 4096, MODEL + (1 << 29)
UPDATES, APART = 4, 1 << 12
USUAL, OF_ALL_SIZES, LARGEST, MANY_ZEROS = range(4)
OPERANDS = {
    **{"rows": 3, "length": 5, "columns": 4, "matrix_rows": 6, "first": 1, "taken": 3, "vocabulary": 7, "count": 9},
    **{"sequences": 2, "period": 3, "heads": 2, "kv_heads": 1, "head_size": 4, "token_bytes": 2, "per_update": 5, "stream": 1},
    **{"mean": 1 << 24, "scale_q16": 1 << 24, "width": 15, "r": 12, "eps_q48": 1 << 31, "frac": 26, "sum_frac": 16},
    **{"out_frac": 14, "vector_frac": 14, "rate_q16": 1 << 16, "decays": 1},
}
OTHERS: dict[int, dict[str, int]] = {
    USUAL: {},
    OF_ALL_SIZES: {"matrix_rows": 4, "columns": 6, "first": 0, "taken": 4, "kv_heads": 2, "token_bytes": 1, "width": 12, "sum_frac": 20},
    LARGEST: {
        **{"mean": (1 << 31) - 1, "scale_q16": (1 << 31) - 1, "r": 4, "eps_q48": (1 << 36) - 1, "frac": 30, "sum_frac": 24, "out_frac": 30},
        **{"vector_frac": 30, "rate_q16": 1 << 24, "stream": (1 << 32) - 1, "token_bytes": 4, "heads": 3},
    },
    MANY_ZEROS: {"width": 7, "r": 18, "eps_q48": 0, "frac": 18, "sum_frac": 0, "out_frac": 0, "vector_frac": 0, "decays": 0, "mean": 0},
}
EXPONENTS = {USUAL: (13, 14, 15), OF_ALL_SIZES: tuple(range(8, 31)), LARGEST: (-8, 0, 14, 29, 60, 126), MANY_ZEROS: (-50, 10, 127)}
SETTINGS = struct.Struct("<Q8I")


def operation_of(kind: type[BatchOperation], level: int) -> BatchOperation:
    """Makes an operation of this kind, with its tensors in their places. level: one of the four"""
    given, place = OPERANDS | OTHERS[level], 0
    for field in fields(kind):
        if field.name not in RANGES:
            in_state = field.name == "master" or (field.name == "out" and kind in (Init, Export))
            in_model = field.name in ("text", "pictures", "labels", "table")
            place += 1
            given[field.name] = (STATE if in_state else DATA if in_model else TENSORS) + APART * place
    if kind.in_place and level == LARGEST:
        given["out"] = given["x"]
    return kind(*(given[field.name] for field in fields(kind)))


def number(rng: Random, most: int, level: int) -> int:
    """Draws a number of at most this magnitude."""
    match level:
        case 0:
            return rng.randrange(-(most >> 5), (most >> 5) + 1)
        case 1:
            return rng.choice((1, -1)) * (rng.getrandbits(rng.randrange(most.bit_length() + 1)) % (most + 1))
        case 2:
            return rng.choice((most, -most, most, -most, most - 1, 1, -1, 0))
        case _:
            return rng.choice((0, 0, 1, -1, rng.randrange(-most, most + 1)))


def content(rng: Random, operation: BatchOperation, span: Span, level: int) -> bytes:
    """Draws what lies in a tensor: numbers that the operation may find there, or other bytes where it reads nothing."""
    if isinstance(span.form, RowTensor):
        tensor, data = span.form, bytearray(rng.randbytes(span.size))
        for t in range(tensor.rows):
            row = [number(rng, (1 << (15 if tensor.value_bytes == 2 else 30)) - 1, level) for _ in range(tensor.length)]
            if level == MANY_ZEROS and rng.randrange(2):
                row = [0] * tensor.length
            at = tensor.values - tensor.address + tensor.value_bytes * tensor.length * t
            struct.pack_into("<i", data, 4 * t, rng.choice(EXPONENTS[level]))
            struct.pack_into(f"<{tensor.length}{'h' if tensor.value_bytes == 2 else 'i'}", data, at, *row)
        return bytes(data)
    role: dict[int, Any] = {getattr(operation, field.name): field.name for field in fields(type(operation))}
    count = span.size // span.form
    match role[span.address]:
        case "text" | "pictures" | "labels":
            return rng.randbytes(span.size)
        case "tokens" | "targets":
            return struct.pack(f"<{count}I", *(rng.choice((0, 1, 2, 3, 5, 6, 1 << 31, (1 << 32) - 1)) for _ in range(count)))
        case "of_target":
            return struct.pack(f"<{count}i", *(-abs(number(rng, 1 << 30, level)) for _ in range(count)))
        case "second_moment":
            return struct.pack(f"<{count}q", *(abs(number(rng, 1 << 46, level)) for _ in range(count)))
        case "table" | "first_moment":
            return struct.pack(f"<{count}i", *(number(rng, 1 << 30, level) for _ in range(count)))
        case _ if span.form == BYTES:
            return rng.randbytes(span.size)
    return struct.pack(f"<{count}i", *(number(rng, (1 << 31) - 1, level) for _ in range(count)))


def request(rng: Random, level: int, updates: int = UPDATES) -> bytes:
    """Writes a request; its rates and shares are usual ones, drawn ones, the largest or the smallest."""
    usual = updates, 1, 171798692, 1 << 20, 6554, 3277, 62259, 6554
    warmup, rate = rng.randrange(updates + 1), rng.getrandbits(31)
    drawn = updates, warmup, rate, rng.randrange(rate + 1), *(rng.randrange(1, 65537) for _ in range(4))
    largest = updates, updates, (1 << 31) - 1, (1 << 31) - 1, 65536, 65536, 65536, 65536
    smallest = updates, 0, 0, 0, 1, 1, 0, 0
    return SETTINGS.pack(rng.getrandbits(64), *(usual, drawn, largest, smallest)[level]).ljust(SETTINGS_BYTES, b"\0")


def segments(tape: list[Record], data: dict[int, bytes]) -> dict[int, bytes]:
    """Returns the memory of a training model without the zeros at the end of each segment."""
    header = TrainingHeader(ops=len(tape), tape=TAPE)
    every = {HEADER: encode_words(header.words), TAPE: encode_tape(tape), **data}
    return {address: short for address, given in every.items() if (short := given.rstrip(b"\0"))}


def training_operations(rng: Random) -> Iterator[Json]:
    """Yields each operation at its four levels, in the first update or a later one; conditions and refusals; the worked example."""
    for kind in sorted(BATCH_OPERATIONS.values(), key=lambda each: each.opcode):
        for level in range(4):
            operation = operation_of(kind, level)
            data = {span.address: content(rng, operation, span, level) for span in operation.spans()}
            update = rng.randrange(UPDATES)
            yield case(f"{kind.__name__}, {level}", [operation.record()], data, request(rng, level), UPDATES, update)
    yield from conditions(rng)
    yield from worked_example()


def case(name: str, tape: list[Record], data: dict[int, bytes], asked: bytes, stages: int, stage: int) -> Json:
    return stage_case(name, segments(tape, data), asked, stages, stage, run_training_stage)


def conditions(rng: Random) -> Iterator[Json]:
    """Yields stages that do nothing, and requests and opcodes that are refused."""
    add = ForwardAdd(TENSORS, TENSORS, TENSORS + APART, 3)
    data = {TENSORS: struct.pack("<3i", 1, -2, 3), TENSORS + APART: struct.pack("<3i", (1 << 31) - 1, -(1 << 31), 4)}
    asked, short = request(rng, USUAL), request(rng, USUAL, 0)
    for condition in (1, 2, 3):
        for update in (0, 1, UPDATES - 1):
            yield case(f"condition {condition}, update {update}", [add.record(condition)], data, asked, UPDATES, update)
    for name, given, stages in (
        ("no updates", short, 0),
        ("a wrong number of stages", asked, UPDATES + 1),
        ("a byte too many", asked + b"\1", UPDATES),
        ("a number after the settings", asked[:-1] + b"\1", UPDATES),
        ("a warmup that is too long", asked[:12] + struct.pack("<I", UPDATES + 1) + asked[16:], UPDATES),
    ):
        yield case(f"{name} exits with 1", [add.record()], data, given, stages, 0)
    unknown = Record(64, 0, add.record().operands)
    yield case("a record of no operation exits with 2", [unknown], data, asked, UPDATES, 1)
    yield case("two ops: the second one in the third update", [unknown, add.record()], data, asked, 2 * UPDATES, 5)


def worked_example() -> Iterator[Json]:
    """Yields the stages of the worked example of the specification, each from what the one before has left."""
    x, targets, working, logits, g, of_target, sums = (TENSORS + 0x100 * i for i in range(7))
    operations: list[BatchOperation] = [
        Init(STATE, 6, 0, 1 << 23, 1),
        Pictures(x, targets, DATA, DATA + 0x100, 3, 2, 3, 0, 2, 0),
        Cast(working, STATE, 6, 26, 15),
        ForwardMatMul(logits, x, working, 2, 3, 2, 0, 2, 12),
        CrossEntropy(g, of_target, logits, targets, 2, 2, 15),
        MatMulWeights(sums, g, x, 2, 3, 2, 0, 2, 16),
        TargetWeights(sums, of_target, targets, x, 2, 3, 2, 16),
        Sgd(STATE, sums, 6, 26, 16, 1 << 16, 1),
    ]
    tape = [operation.record(int(isinstance(operation, Init))) for operation in operations]
    data = {DATA: bytes((200, 0, 100, 10, 250, 30, 0, 0, 128)), DATA + 0x100: bytes((0, 1, 1))}
    asked = SETTINGS.pack(7, 1, 0, 171798692, 0, 6554, 3277, 62259, 6554).ljust(SETTINGS_BYTES, b"\0")
    for stage in range(len(tape)):
        found = case(f"the worked example, stage {stage}", tape, data, asked, len(tape), stage)
        yield found
        data |= {int(address, 16): bytes.fromhex(leaves) for address, leaves in found["post"]["written"].items()}
