"""Vectors of operations: each one on a small memory.

The model is a tape of a single operation, so a case checks both the operation and the stage that calls it.

*Source*: spec §3.
"""

import struct
from collections.abc import Callable, Iterator
from random import Random

from opml_spec.machine.memory import CARRY_HEIGHT, Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.model.layout import BYTES, REQUEST, REQUEST_BYTES, Record
from opml_spec.model.llama import attention_scale_q30
from opml_spec.model.operations import fixed
from opml_spec.model.operations.operation import Operation
from opml_spec.model.operations.table import FIXED_OPERATIONS
from opml_spec.model.stage import run_stage

from opml_fuzz.machine.model_case import Segments
from opml_fuzz.models.corner_caches import attention_to_any_exponents, attention_to_zeros
from opml_fuzz.models.corner_requests import corner_requests
from opml_fuzz.models.corner_roots import norms_at_borders
from opml_fuzz.models.tiny_models import POSITIONS, SMALL, TEMPERATURE_Q16, ModelBuilder, as_float, text_request
from opml_fuzz.vectors.notation import Json, make_case, memory_text, written

Meaning = Callable[[Memory, int], tuple[Memory, int]]


def operation_of(at: ModelBuilder, kind: type[Operation], number: int) -> Operation:
    """Makes an operation of this kind and places its operands; `number` varies quantisations and magnitudes."""
    size, bits = 40, (3, 14, 20, 31)[number]
    vector, other, row = (at.reserve(at.numbers(96, bits)) for _ in range(3))
    match kind:
        case fixed.Embed:
            matrix = at.matrix(SMALL.vocabulary, 64, number % 3)
            return fixed.Embed(vector, matrix.address, matrix.quantisation, 64, 64 if at.is_float else size, 4 + 3 * number)
        case fixed.Norm:
            return fixed.Norm(row, vector, at.place(at.numbers(96, 25)), size, 4 + 3 * number, 1 << 32)
        case fixed.MatMul:
            matrix, x = at.matrix(11, 64, number % 3), at.reserve(at.activation(64, 14 - 9 * number))
            return fixed.MatMul(vector, x, matrix.address, matrix.quantisation, 11, 64, 14)
        case fixed.Rope:
            return fixed.Rope(vector, SMALL.heads + SMALL.kv_heads, SMALL.head_size, at.rotations())
        case fixed.Cache:
            return fixed.Cache(vector, other, *at.cache(), SMALL.kv_heads, SMALL.head_size, SMALL.context)
        case fixed.Attention:
            sizes = SMALL.heads, SMALL.kv_heads, SMALL.head_size, SMALL.context
            return fixed.Attention(row, vector, *at.cache(), *sizes, attention_scale_q30(SMALL.head_size))
        case fixed.SwiGlu:
            return fixed.SwiGlu(row, vector, other, size)
        case fixed.Add:
            return fixed.Add(vector, other, size)
        case fixed.Sample:
            return fixed.Sample(vector, SMALL.vocabulary)
        case fixed.Input:
            return fixed.Input(row, size)
    return fixed.Relu(row, vector, size, 14)


def fixed_operations(rng: Random) -> Iterator[Json]:
    """Yields the operations, then caches with every exponent, heads of zeros, roots that floats guess wrongly, requests at their bounds."""
    yield from operations(rng, is_float=False)
    corners = {"Attention, exponents": attention_to_any_exponents, "Attention, zeros": attention_to_zeros, "Norm, root": norms_at_borders}
    for name, number, case in ((name, *each) for name, make in corners.items() for each in enumerate(make(rng))):
        yield memory_case(f"{name} {number}", case.memory, case.stage)
    for name, case in corner_requests(rng):
        yield memory_case(f"a request: {name}", case.memory, case.stage)


def float_operations(rng: Random) -> Iterator[Json]:
    return operations(rng, is_float=True)


def operations(rng: Random, is_float: bool) -> Iterator[Json]:
    """Yields each operation on numbers of four magnitudes, at the first position and later; then stages that do nothing or fail."""
    for kind in FIXED_OPERATIONS:
        for number in range(4):
            at = ModelBuilder(rng, is_float)
            operation = operation_of(at, kind, number)
            record = (as_float(operation) if is_float else operation).record()
            data, changes = text_request(rng, TEMPERATURE_Q16 * (number % 2)), {}
            if kind is fixed.Input:
                data, changes = rng.randbytes(40), {"request_kind": BYTES, "context": 40}
            stage = 0 if changes else (0, 2, 1, 3)[number] or int(kind is fixed.Sample)  # nothing is drawn before the prompt ends
            yield stage_case(f"{kind.__name__}, {number}", at.segments([record], **changes), data, 1 if changes else POSITIONS, stage)
    add = Record(40 if is_float else 8, 0, (at.reserve(at.numbers(8)), at.reserve(at.numbers(8)), 8))
    for name, record, stages, stage in (
        ("a record of no operation exits with 2", Record(99, 0, ()), POSITIONS, 0),
        ("a wrong number of stages exits with 1", add, POSITIONS + 1, 0),
        ("beyond the last position nothing happens", add, POSITIONS, POSITIONS),
        ("on condition 1, nothing happens in the prompt", Record(add.opcode, 1, add.operands), POSITIONS, 0),
        ("on condition 1, a later position", Record(add.opcode, 1, add.operands), POSITIONS, 1),
    ):
        yield stage_case(name, at.segments([record]), text_request(rng), stages, stage)


def stage_case(name: str, segments: dict[int, bytes], data: bytes, stages: int, stage: int, meaning: Meaning = run_stage) -> Json:
    """Writes a case about one stage of a model and a request."""
    return memory_case(name, segments | {REQUEST: struct.pack("<QQ", stages, len(data)), REQUEST_BYTES: data}, stage, meaning)


def memory_case(name: str, memory: Segments, stage: int, meaning: Meaning = run_stage) -> Json:
    """Writes a case about one stage on a memory. meaning: what a stage of such a tape does"""
    before = Memory.from_segments(memory)

    def answer() -> Json:
        after, exit_code = meaning(before, stage)
        carry = hash_of(after.subtree(CARRY_HEIGHT, 1)).hex()
        return {"exit_code": exit_code, "written": memory_text(written(before, after)), "carry_root": carry}

    return make_case(name, {"memory": memory_text(memory), "stage": stage}, answer)
