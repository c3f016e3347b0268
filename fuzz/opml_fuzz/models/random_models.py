"""Random questions about models: each operation on buffers of random sizes, stages and whole runs of tiny models of random shape.

Numbers are drawn by magnitude, so that rounding, saturation and the loss of all bits are as frequent as the middle.

*Source*: spec §3.
"""

import struct
from collections.abc import Callable, Sequence
from random import Random

from attrs import evolve
from opml_spec.machine.memory import STATE, Memory
from opml_spec.model.layout import ALWAYS, BYTES, HEADER, OUTPUT, SINGLE_PHASE, WHEN_DRAWING, WORD_BYTES, encode_words
from opml_spec.model.llama import Shape, attention_scale_q30
from opml_spec.model.operations import fixed
from opml_spec.model.operations.operation import Operation
from opml_spec.model.operations.table import FIXED_OPERATIONS
from opml_spec.model.stage import run_stage

from opml_fuzz.machine.model_case import OneStage, Segments, WholeRun, header_of
from opml_fuzz.models.rearranged import rearranged
from opml_fuzz.models.tiny_models import ModelBuilder, as_float, llama, with_request

OUTPUT_BYTES = 64
BITS, FLOAT_BITS = (0, 3, 14, 20, 31), (-110, 0, 20, 31, 140)  # magnitudes of vectors; of floats, subnormals and sums that overflow
SPECIAL = (0x7FC00000, 0xFFC00001, 0x7F800001, 0x7F800000, 0xFF800000, 0x80000000, 1, 0x807FFFFF, 0x7F7FFFFF)
"""Floats: the NaN and two others, infinities, -0, the smallest, a subnormal and the largest."""

Load = Callable[[int, int], bytes]  # what a memory holds: address and length
RunStages = Callable[[Segments, int], Load]  # runs the first stages on a memory

TEMPERATURES_Q16 = (0, 0, 1 << 10, 45_000, 1 << 22)


def random_shape(rng: Random) -> Shape:
    """Draws the sizes of a tiny LLaMA. In every other one they are multiples of 32, as in all that people use: native code computes the
    positions of only such a prompt together. In the others few are multiples of anything, but a row of queries always fills its last leaf.
    """
    if rng.random() < 0.5:
        return aligned_shape(rng)
    kv_heads, head_size = rng.choice((1, 1, 2, 3)), (8 if rng.random() < 0.6 else 2) * rng.randrange(1, 4)
    return Shape(
        dim=rng.randrange(1, 41),
        hidden_dim=rng.randrange(1, 41),
        layers=rng.randrange(3),
        heads=kv_heads * (rng.choice((1, 1, 2, 3)) if head_size % 8 == 0 else 4),
        kv_heads=kv_heads,
        head_size=head_size,
        context=rng.randrange(20, 50) if rng.random() < 0.1 else rng.randrange(4, 9),  # prompts of one packed group of keys or several
        vocabulary=rng.randrange(1, 24),
        r=rng.randrange(4, 15),
        eps_q48=rng.choice((0, 1 << 20, 1 << 32)),
    )


def aligned_shape(rng: Random) -> Shape:
    """Draws the sizes of a tiny LLaMA whose activations have no padding."""
    kv_heads = rng.choice((1, 1, 2))
    return Shape(
        dim=32 * rng.randrange(1, 3),
        hidden_dim=32 * rng.randrange(1, 3),
        layers=rng.randrange(3),
        heads=4 * kv_heads,
        kv_heads=kv_heads,
        head_size=8 * rng.randrange(1, 5),
        context=rng.randrange(4, 24),
        vocabulary=rng.randrange(1, 40),
        r=rng.randrange(4, 15),
        eps_q48=rng.choice((0, 1 << 20, 1 << 32)),
    )


def text_request(rng: Random, shape: Shape) -> tuple[bytes, int, int]:
    """Draws a request that stage 0 accepts; returns it with the lengths of the prompt and of what is asked for."""
    prompt = rng.randrange(1, shape.context)
    new = rng.randrange(1, shape.context - prompt + 1)
    tokens = [rng.randrange(shape.vocabulary) for _ in range(prompt)]
    words = struct.pack("<IIIIQ", prompt, new, rng.choice(TEMPERATURES_Q16), 0, rng.getrandbits(64))
    return words + struct.pack(f"<{prompt}I", *tokens), prompt, new


def spoiled_request(rng: Random, request: bytes) -> bytes:
    """Changes a request so that stage 0 refuses it, almost always."""
    token = 24 + 4 * rng.randrange(max(1, (len(request) - 24) // 4))
    at, value = rng.choice(((0, 0), (4, 0), (8, 1), (8, (1 << 22) + 1), (12, 1), (token, 1 << 20), (0, 1 << 31)))
    changed = request[:at] + struct.pack("<I", value) + request[at + 4 :]
    return rng.choice((changed, request + b"\0", request[:-1], b""))


def random_operation(rng: Random) -> OneStage:
    """Draws an operation of either arithmetic, on a tape of its own, at a position of a request."""
    return one_operation(rng, random_shape(rng), rng.random() < 0.5, rng.choice(FIXED_OPERATIONS))


def corner_operation(rng: Random) -> OneStage:
    """Draws an operation on numbers at the corners of their range, of which many are equal; with stop tokens, any condition, or done.

    A tenth have an opcode that is none."""
    kinds: list[type[Operation]] = [*FIXED_OPERATIONS, fixed.Sample]
    case = one_operation(rng, random_shape(rng), rng.random() < 0.4, rng.choice(kinds), corners=True)
    memory, header = case.memory, header_of(case.memory)
    stops = {f"stop_{place}": rng.randrange(header.vocabulary) for place in range(4) if header.vocabulary}
    header = evolve(header, stop_tokens=rng.randrange(len(stops) + 1), **stops)
    condition = struct.pack("<Q", rng.choice((0, 0, 1, 1, 2, 1 << 63)))
    opcode = memory[header.tape][:WORD_BYTES]
    if rng.random() < 0.1:
        opcode = struct.pack("<Q", rng.choice((0, 12, 31, 44, 255, int.from_bytes(opcode, "little") + (1 << 32), (1 << 64) - 1)))
    tape = opcode + condition + memory[header.tape][2 * WORD_BYTES :]
    done = {OUTPUT: struct.pack("<QQ", rng.randrange(3), 1)} if rng.random() < 0.1 else {}
    return OneStage({**memory, HEADER: encode_words(header.words), header.tape: tape, **done}, case.stage)


def one_operation(
    rng: Random, shape: Shape, is_float: bool, kind: type[Operation], corners: bool = False, specials: Sequence[int] = ()
) -> OneStage:
    """Draws the buffers of an operation of this kind, and a position. corners, specials: what its numbers are"""
    at = ModelBuilder(rng, is_float, shape, corners=corners, specials=specials)
    operation = operation_of(at, kind)
    condition = WHEN_DRAWING if kind is fixed.Sample else ALWAYS  # else native code would not take it
    record = (as_float(operation) if at.is_float else operation).record(condition)
    if kind is fixed.Input:
        request = rng.randbytes(rng.randrange(1, 50))
        length = min(record.operands[1], len(request))
        record = evolve(record, operands=(record.operands[0], length, *record.operands[2:]))
        return OneStage(with_request(at.segments([record], request_kind=BYTES, context=len(request)), request, 1), 0)
    request, prompt, new = text_request(rng, shape)
    position = rng.randrange(prompt - 1 if kind is fixed.Sample else 0, prompt + new - 1)
    return OneStage(with_request(at.segments([record]), request, prompt + new - 1), position)


def operation_of(at: ModelBuilder, kind: type[Operation]) -> Operation:
    """Makes an operation of this kind on buffers of random sizes and places its operands."""
    rng, shape, size = at.rng, at.shape, at.rng.randrange(1, 70)
    columns, number, r = 32 * rng.randrange(1, 4), rng.randrange(3), rng.randrange(4, 15)
    rows = max(size, (shape.heads + shape.kv_heads) * shape.head_size, shape.vocabulary, 96)

    def vector(bits: int | None = None) -> int:
        if bits is None and rng.random() < 0.2:  # zeros, or equal powers of two, of which some roots are exact
            return at.reserve(rng.choice((bytes(4), struct.pack("<f" if at.is_float else "<i", 1 << rng.randrange(31)))) * rows)
        drawn = at.numbers(rows, rng.choice(FLOAT_BITS if at.is_float else BITS) if bits is None else bits)
        return at.reserve(with_special(rng, drawn) if at.is_float and bits is None and rng.random() < 0.2 else drawn)

    def cache() -> tuple[int, int, int, int]:
        keys, key_exponents, values, value_exponents = at.cache()
        if not at.is_float and rng.random() < 0.2:  # any exponents
            key_exponents, value_exponents = (at.reserve(rng.randbytes(shape.kv_heads * shape.context)) for _ in range(2))
        return keys, key_exponents, values, value_exponents

    makers: dict[type[Operation], Callable[[], Operation]] = {
        fixed.Embed: lambda: fixed.Embed(
            vector(0), at.matrix(shape.vocabulary, columns, number).address, number, columns, rng.randrange(1, columns + 1), r
        ),
        fixed.Norm: lambda: fixed.Norm(
            vector(0), vector(), at.place(at.numbers(rows, rng.choice((3, 25, 31)))), size, r, rng.choice((0, 1 << 32))
        ),
        fixed.MatMul: lambda: fixed.MatMul(
            vector(0),
            at.reserve(at.activation(columns, rng.choice((127, -20, 0, 14, 40)))),
            at.matrix(size, columns, number).address,
            *(number, size, columns, rng.choice((12, 14, 40))),
        ),
        fixed.Rope: lambda: fixed.Rope(vector(), shape.heads + shape.kv_heads, shape.head_size, at.rotations()),
        fixed.Cache: lambda: fixed.Cache(vector(), vector(), *cache(), shape.kv_heads, shape.head_size, shape.context),
        fixed.Attention: lambda: fixed.Attention(
            vector(0),
            vector(),
            *cache(),
            *(shape.heads, shape.kv_heads, shape.head_size, shape.context, attention_scale_q30(shape.head_size)),
        ),
        fixed.SwiGlu: lambda: fixed.SwiGlu(vector(0), vector(), vector(), size),
        fixed.Add: lambda: fixed.Add(vector(), vector(), size),
        fixed.Sample: lambda: fixed.Sample(vector(), shape.vocabulary),
        fixed.Input: lambda: fixed.Input(vector(0), size),
        fixed.Relu: lambda: fixed.Relu(vector(0), vector(), size, rng.randrange(63)),
    }
    return makers[kind]()


def with_special(rng: Random, floats: bytes) -> bytes:
    """Puts special values in the place of others, a few or half of them."""
    words = list(struct.unpack(f"<{len(floats) // 4}I", floats))
    for _ in range(rng.choice((1, 3, len(words) // 2))):  # so many that opposite infinities meet
        words[rng.randrange(len(words))] = rng.choice(SPECIAL)
    return struct.pack(f"<{len(words)}I", *words)


def random_model(rng: Random) -> WholeRun:
    """Draws a tiny LLaMA and a request, with all stages of its run."""
    return one_model(rng, random_shape(rng), rng.random() < 0.5)


def one_model(rng: Random, shape: Shape, is_float: bool) -> WholeRun:
    """Draws the weights of a LLaMA of this shape, and a request."""
    memory = llama(rng, is_float, shape, (rng.randrange(3), rng.randrange(3), rng.randrange(3)))
    header = header_of(memory)
    request, prompt, new = text_request(rng, shape)
    stop_tokens = rng.randrange(3) if rng.random() < 0.3 else 0
    stops = {f"stop_{i}": rng.randrange(shape.vocabulary) for i in range(stop_tokens)}
    header = evolve(header, stop_tokens=stop_tokens, **stops, flags=SINGLE_PHASE if rng.random() < 0.2 else 0)
    stages = 1 if header.single_phase else header.ops * (prompt + new - 1)
    memory = {**memory, HEADER: encode_words(header.words)}
    return WholeRun(memory, request, stages, stages)


def random_run(rng: Random) -> WholeRun:
    """Draws a run of a tiny model, one in three with another tape than a LLaMA's; one request in six is refused."""
    model = random_model(rng)
    return sometimes_refused(rng, rearranged(rng, model) if rng.random() < 1 / 3 else model)


def sometimes_refused(rng: Random, run: WholeRun) -> WholeRun:
    """Spoils the request of one run in six."""
    if rng.random() < 1 / 6:
        return evolve(run, request=spoiled_request(rng, run.request), until=min(run.stages, 2))
    return run


def specified_stages(memory: Segments, count: int) -> Load:
    """Runs the first stages by the specification."""
    after = Memory.from_segments(memory)
    for number in range(count):
        after, _ = run_stage(after, number)
    return after.load_bytes


def random_stage(rng: Random, run_stages: RunStages = specified_stages) -> OneStage:
    """Draws a stage of a tiny model, on the memory that the stages before it leave; or one that is refused. run_stages: runs these"""
    return stage_of(rng, random_model(rng), run_stages)


def stage_of(rng: Random, run: WholeRun, run_stages: RunStages = specified_stages) -> OneStage:
    """Draws a stage of a run, and runs those before it."""
    if rng.random() < 0.1:
        request = spoiled_request(rng, run.request)
        return OneStage(with_request(run.memory, request, run.stages), 0)
    stage = rng.randrange(run.stages) if rng.random() < 0.9 else run.stages
    load = run_stages(with_request(run.memory, run.request, run.stages), 0 if header_of(run.memory).flags else stage)
    return OneStage(with_request(written_out(run.memory, load), run.request, run.stages), stage)


def written_out(before: Segments, load: Load) -> dict[int, bytes]:
    """Writes down what a run may have written: the state quarter as far as there are buffers, and the output."""
    changed = {STATE: load(STATE, len(before.get(STATE, b""))), OUTPUT: load(OUTPUT, OUTPUT_BYTES)}
    return {**before, **{address: data for address, data in changed.items() if any(data)}}
