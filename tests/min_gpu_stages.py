"""Random ops on random memory, with the extremes of every range: each is one stage, whose result the specification knows."""

import random
import struct
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from opml_spec.machine.memory import MODEL, STATE
from opml_spec.machine.memory import Memory as SpecMemory
from opml_spec.model.layout import HEADER, OUTPUT, REQUEST, encode_words
from opml_spec.model.layout import Header as SpecHeader
from opml_spec.model.operations import fixed as spec
from opml_spec.model.operations.operation import Operation

from opml_min.machine import Memory
from opml_min.model.image.header import BYTES, TEXT, Header
from opml_min.model.image.ops import Op, Tape, ops_of
from opml_min.model.image.weights import Groups, pack, problem_of_scales

INT32 = (-(2**31), 2**31 - 1)
TENSORS = MODEL + (1 << 29)
Q4_0, Q4_1 = 1, 2


@frozen
class RandomStage:
    """An op at a position, or several, with the memory that they find and what they may look up in the header."""

    operations: tuple[Operation, ...]
    position: int
    segments: dict[int, bytes]
    request: bytes
    context: int
    vocabulary: int
    is_text: bool = True


class Places:
    """Bytes placed one after the other in a quarter, with a gap between."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.segments = rng, dict[int, bytes]()
        self._next = {TENSORS: TENSORS, STATE: STATE}

    def _put(self, quarter: int, data: bytes) -> int:
        address = self._next[quarter]
        self.segments[address] = data
        self._next[quarter] = -(-(address + len(data)) // 32) * 32 + self.rng.choice([0, 32])
        return address

    def tensor(self, data: bytes) -> int:
        return self._put(TENSORS, data)

    def state(self, data: bytes) -> int:
        return self._put(STATE, data)

    def vector(self, values: list[int]) -> int:
        return self.state(struct.pack(f"<{len(values)}i", *values))

    def rubbish(self, length: int) -> int:
        return self.state(self.rng.randbytes(length))

    def activation_out(self, length: int) -> int:
        return self.rubbish(32 + 2 * -(-length // 32) * 32)

    def activation(self, length: int) -> int:
        rng = self.rng
        exponent = rng.choice([127, 0, rng.randint(-20, 40), rng.randint(-300, 300), -100_000, 100_000])
        numbers = [clipped(rng, 15) for _ in range(length)]
        return self.state(struct.pack(f"<i28x{length}h", exponent, *numbers))


def clipped(rng: random.Random, most_bits: int) -> int:
    """A number of any size up to the one with so many bits, the ends often."""
    most = 2**most_bits - 1
    size = rng.randint(0, most_bits)
    return rng.choice([most, -most, 0, 1, -1, rng.randint(-(2**size), 2**size), rng.randint(-most, most)])


def numbers(rng: random.Random, count: int, most_bits: int = 31) -> list[int]:
    """A vector of one common size, with extremes in it; all zero now and then."""
    size = rng.choice([0, 1, most_bits, rng.randint(0, most_bits)])
    found = [clipped(rng, size) if size else 0 for _ in range(count)]
    if most_bits == 31 and rng.random() < 0.2:
        found[rng.randrange(count)] = rng.choice(INT32)
    return found


def halfs(generator: np.random.Generator, rows: int, groups: int, exponents: int) -> NDArray[np.uint16]:
    """Halfs below 2^(exponents − 15): signs, subnormals and zeros included, the largest one often."""
    most = exponents << 10
    kinds = [np.zeros((rows, groups)), generator.integers(0, 1024, (rows, groups)), generator.integers(0, most, (rows, groups))]
    kinds.append(np.full((rows, groups), most - 1))
    sizes = np.choose(generator.integers(0, 4, (rows, groups)), kinds)
    return (sizes + (generator.integers(0, 2, (rows, groups)) << 15)).astype(np.uint16)


def matrix(rng: random.Random, places: Places, quantisation: int, rows: int, columns: int) -> int:
    groups, exponents = columns // 32, 22
    low, high = [(-128, 128), (0, 16), (0, 16)][quantisation]
    generator = np.random.default_rng(rng.getrandbits(32))
    weights = generator.integers(low, high, (rows, groups, 32))
    if rng.random() < 0.3:
        weights[:] = rng.choice([low, high - 1])
    while True:
        scales, minimums = (halfs(generator, rows, groups, exponents) for _ in range(2))
        if problem_of_scales(quantisation, scales, minimums if quantisation == Q4_1 else None) is None:
            break
        exponents -= 1
    return places.tensor(pack(quantisation, Groups(weights.astype(np.int8), scales, minimums if quantisation == Q4_1 else None)).tobytes())


def embed(rng: random.Random, places: Places) -> tuple[Operation, int, int]:
    quantisation, columns, vocabulary = rng.randrange(3), 32 * rng.randint(1, 4), rng.randint(1, 20)
    length = rng.randint(1, columns)
    out = places.rubbish(4 * length)
    operation = spec.Embed(out, matrix(rng, places, quantisation, vocabulary, columns), quantisation, columns, length, rng.randint(4, 14))
    return operation, rng.randrange(4), vocabulary


def norm(rng: random.Random, places: Places, length: int = 0) -> Operation:
    length = length or rng.choice([1, 2, rng.randint(1, 100), rng.randint(1, 600), 3000])
    if length == 3000:  # even rows, in which the last bit of the mean shows
        x, weight_numbers = [rng.randint(*INT32) for _ in range(length)], [1 << 24] * length
    else:
        x, weight_numbers = numbers(rng, length), numbers(rng, length)
    weights = places.tensor(struct.pack(f"<{length}i", *weight_numbers))
    epsilon = rng.choice([0, 1, 2**36 - 1, rng.getrandbits(36), round(1e-5 * 2**48)])
    return spec.Norm(places.activation_out(length), places.vector(x), weights, length, rng.randint(4, 14), epsilon)


def matmul(rng: random.Random, places: Places, quantisation: int | None = None, size: tuple[int, int] | None = None) -> Operation:
    quantisation = rng.randrange(3) if quantisation is None else quantisation
    rows, groups = size or rng.choice([(rng.randint(1, 40), 1), (rng.randint(1, 9), rng.randint(1, 4)), (1, rng.randint(1, 36))])
    columns = 32 * groups
    weights = matrix(rng, places, quantisation, rows, columns)
    out_frac = rng.choice([0, 62, rng.randint(0, 62), 12, 14])
    return spec.MatMul(places.rubbish(4 * rows), places.activation(columns), weights, quantisation, rows, columns, out_frac)


def rope(rng: random.Random, places: Places) -> tuple[Operation, int, int]:
    heads, head_size, position = rng.randint(1, 5), 2 * rng.randint(1, 20), rng.randrange(6)
    angles = [rng.choice([2**30, -(2**30), 0, rng.randint(-(2**30), 2**30)]) for _ in range(8 * head_size)]
    table = places.tensor(struct.pack(f"<{len(angles)}i", *angles))
    return spec.Rope(places.vector(numbers(rng, heads * head_size)), heads, head_size, table), position, 8


def store_kv(rng: random.Random, places: Places) -> tuple[Operation, int, int]:
    kv_heads, head_size, context = rng.randint(1, 4), 2 * rng.randint(1, 40), rng.randint(2, 9)
    rows, count = 2 * kv_heads * head_size * context, kv_heads * head_size
    vectors = places.vector(numbers(rng, count)), places.vector(numbers(rng, count))
    caches = [places.rubbish(size) for size in (rows, kv_heads * context, rows, kv_heads * context)]
    return spec.Cache(*vectors, *caches, kv_heads, head_size, context), rng.randrange(context), context


def attention(rng: random.Random, places: Places, size: tuple[int, int, int, int] | None = None) -> tuple[Operation, int, int]:
    kv_heads, share = rng.randint(1, 3), rng.randint(1, 3)
    head_size = rng.choice([2, 4, 6, 8, 16, 24, 32, 40, 64, 128, 2 * rng.randint(1, 150)])
    context = rng.choice([2, rng.randint(2, 20), rng.randint(2, 200) if head_size <= 32 else 30])
    kv_heads, share, head_size, context = size or (kv_heads, share, head_size, context)
    heads, position = kv_heads * share, rng.randrange(context)
    most_scale = (2**63 - 1) // (head_size * 8191 * 32768)
    scale = rng.choice([1, most_scale, rng.randint(1, most_scale), min(most_scale, round(2**30 * 1.4427 / head_size**0.5))])

    def rows() -> int:
        size, count, zero_head = rng.choice([15, rng.randint(0, 15)]), context * head_size, rng.choice([-1, 0, 1])
        heads = [[0] * count if head == zero_head else [clipped(rng, size) for _ in range(count)] for head in range(kv_heads)]
        return places.state(struct.pack(f"<{kv_heads * count}h", *(number for head in heads for number in head)))

    def exponents() -> int:
        low, high = rng.choice([(-128, 127), (127, 127), (-3, 28), (10, 14)])
        return places.state(struct.pack(f"<{kv_heads * context}b", *(rng.randint(low, high) for _ in range(kv_heads * context))))

    q = places.vector([v for _ in range(heads) for v in numbers(rng, head_size)])
    out = places.activation_out(heads * head_size)
    operation = spec.Attention(out, q, rows(), exponents(), rows(), exponents(), heads, kv_heads, head_size, context, scale)
    return operation, position, context


def swiglu(rng: random.Random, places: Places, length: int = 0) -> Operation:
    length = length or rng.choice([1, rng.randint(1, 100), rng.randint(1, 400)])
    gate, up = (places.vector(numbers(rng, length, rng.choice([31, 18, 14]))) for _ in range(2))
    return spec.SwiGlu(places.activation_out(length), gate, up, length)


def add(rng: random.Random, places: Places) -> Operation:
    length = rng.randint(1, 100)
    y = numbers(rng, length)
    other = places.vector(y) if rng.random() < 0.7 else places.tensor(struct.pack(f"<{length}i", *y))
    return spec.Add(places.vector(numbers(rng, length)), other, length)


def sample(rng: random.Random, places: Places, length: int = 0) -> Operation:
    length = length or rng.choice([1, rng.randint(1, 50), rng.randint(1, 700)])
    logits = numbers(rng, length, rng.choice([31, 16, 3]))
    return spec.Sample(places.vector(logits), length)


def input_bytes(rng: random.Random, places: Places) -> Operation:
    return spec.Input(places.activation_out(60), rng.randint(1, 60))


def relu(rng: random.Random, places: Places) -> Operation:
    length = rng.randint(1, 100)
    return spec.Relu(places.activation_out(length), places.vector(numbers(rng, length)), length, rng.choice([0, 62, rng.randint(0, 62)]))


AT_ANY_POSITION: tuple[Callable[[random.Random, Places], Operation], ...] = (norm, matmul, swiglu, add, sample, input_bytes, relu)
OPS = (*AT_ANY_POSITION, embed, rope, store_kv, attention)


def random_stage(make: Callable[..., object], seed: int, **sizes: object) -> RandomStage:
    """Op number `seed` of a kind, and a request in which the position exists and draws a token.

    Sizes that are not given are random."""
    rng = random.Random(f"{make.__name__} {seed}")
    places, context, position, vocabulary = Places(rng), 8, 0, 8
    made = make(rng, places, **sizes)
    if isinstance(made, tuple):
        made, position, bound = made
        context, vocabulary = (8, bound) if make is embed else (bound, 8)
    assert isinstance(made, Operation)
    if make is input_bytes or (make in (norm, sample) and rng.random() < 0.2):
        return RandomStage((made,), 0, places.segments, rng.randbytes(60), 60, 0, is_text=False)
    prompt = [rng.randrange(vocabulary) for _ in range(position + 1)]
    temperature = rng.choice([0, 1 << 10, 1 << 16, 1 << 22, rng.randint(1 << 10, 1 << 22)])
    seed_64 = rng.choice([0, 2**64 - 1, rng.getrandbits(64)])
    request = struct.pack(f"<4IQ{len(prompt)}I", len(prompt), 1, temperature, 0, seed_64, *prompt)
    return RandomStage((made,), position, places.segments, request, context, max(vocabulary, 800) if make is sample else vocabulary)


@frozen(eq=False)
class LooseTape:
    """What the engine looks up in an image."""

    header: Header
    ops: list[Op]
    path: Path = Path("random")
    identity: object = object()


def written_by_specification(stage: RandomStage) -> SpecMemory:
    kind = TEXT if stage.is_text else BYTES
    words = SpecHeader(ops=1, tape=HEADER + 4096, context=stage.context, vocabulary=stage.vocabulary, request_kind=kind)
    request = (1).to_bytes(8, "little") + len(stage.request).to_bytes(8, "little") + bytes(16) + stage.request
    memory = SpecMemory.from_segments({**stage.segments, HEADER: encode_words(words.words), REQUEST: request})
    for operation in stage.operations:
        memory = operation.execute(memory, stage.position)
    return memory


def run_stages(engine: Any, first: int, end: int) -> None:
    engine.run(first, end)


def check_stage(
    engine_of: Callable[[Any, Tape], Any],
    stage: RandomStage,
    memory: Memory,
    expected: SpecMemory | None = None,
    compute: Callable[[Any, int, int], None] = run_stages,
) -> None:
    """The stage in an engine, compared byte for byte in every buffer and in the output."""
    tape: Tape = np.zeros((len(stage.operations), 16), np.int64)
    for words, record in zip(tape, [operation.record() for operation in stage.operations], strict=True):
        words[: 2 + len(record.operands)] = [record.opcode, 0, *record.operands]
    kind = TEXT if stage.is_text else BYTES
    header = Header(0, kind, len(tape), HEADER + 4096, stage.context, stage.vocabulary, (), 0, 0, 0, 0)
    for address, data in stage.segments.items():
        memory.write(address, data)
    memory.write(REQUEST + 32, stage.request)
    memory.write(OUTPUT, bytes(64))
    engine = engine_of(LooseTape(header, ops_of(tape), identity=object()), tape)
    compute(engine, stage.position * len(tape), (stage.position + 1) * len(tape))
    expected = expected or written_by_specification(stage)
    for address, length in chain(((at, len(data)) for at, data in stage.segments.items()), [(OUTPUT, 64)]):
        assert memory.read(address, length) == expected.load_bytes(address, length), f"{stage.operations} at {stage.position}, {address:#x}"


def seed_that_draws(number: int, position: int) -> int:
    """The seed with which splitmix64 gives a number at a position: each of its steps backwards."""

    def without_shift(z: int, shift: int) -> int:
        found = z
        for _ in range(64 // shift):
            found = z ^ found >> shift
        return found

    z = without_shift(number, 31) * pow(0x94D049BB133111EB, -1, 2**64) % 2**64
    z = without_shift(z, 27) * pow(0xBF58476D1CE4E5B9, -1, 2**64) % 2**64
    return (without_shift(z, 30) - (position + 1) * 0x9E3779B97F4A7C15) % 2**64


def stage_that_draws_at_an_end(place: int, below: int) -> RandomStage:
    """64 equal logits, so each has as many of the numbers. The first number of a place is drawn, or the last one below it."""
    seed = seed_that_draws(((place << 58) - below) % 2**64, 0)
    request = struct.pack("<4IQI", 1, 1, 1 << 16, 0, seed, 0)
    return RandomStage((spec.Sample(STATE, 64),), 0, {STATE: struct.pack("<64i", *[5] * 64)}, request, 8, 64)


def norms_that_show_24_bits() -> list[RandomStage]:
    """Rows of 32, found by search, that come out differently with 23 or with 25 bits of each number."""
    found = []
    for seed in (29, 115, 1127):
        rng = random.Random(seed)
        row, weights = [rng.randint(-(2**31), 2**31 - 1) for _ in range(32)], [1 << 24] * 32
        segments = {TENSORS: struct.pack("<32i", *weights), STATE: struct.pack("<32i", *row), STATE + 128: bytes(96)}
        operation = spec.Norm(STATE + 128, STATE, TENSORS, 32, 14, 0)
        found.append(RandomStage((operation,), 0, segments, struct.pack("<4IQI", 1, 1, 0, 0, 0, 0), 8, 8))
    return found
