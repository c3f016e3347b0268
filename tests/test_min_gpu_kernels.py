"""The kernels of the card, in the emulator: random stages with the extremes of every range leave the bytes that the specification says."""

import os
import random
import struct
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from attrs import frozen
from min_gpu_emulator import EmulatedCard, Schedule, library
from min_gpu_stages import OPS, TENSORS, RandomStage, random_stage
from opml_spec.arithmetic import elementary
from opml_spec.machine.memory import STATE
from opml_spec.machine.memory import Memory as SpecMemory
from opml_spec.model.layout import HEADER, OUTPUT, REQUEST, encode_words
from opml_spec.model.layout import Header as SpecHeader
from opml_spec.model.operations import fixed as spec

from opml_min.machine import Memory
from opml_min.model.gpu.engine import AcceleratorEngine
from opml_min.model.image.header import BYTES, TEXT, Header
from opml_min.model.image.ops import Op, Tape, ops_of
from opml_min.model.native.kernels.fixed.fixed_point import sigmoid_table

STAGES_PER_OP = 200 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 40


@frozen(eq=False)
class LooseTape:
    """What the engine looks up in an image."""

    header: Header
    ops: list[Op]
    path: Path = Path("random")
    identity: object = object()


@pytest.fixture(scope="module")
def memory() -> Memory:
    return Memory()


def written_by_specification(stage: RandomStage) -> SpecMemory:
    kind = TEXT if stage.is_text else BYTES
    words = SpecHeader(ops=1, tape=HEADER + 4096, context=stage.context, vocabulary=stage.vocabulary, request_kind=kind)
    request = (1).to_bytes(8, "little") + len(stage.request).to_bytes(8, "little") + bytes(16) + stage.request
    memory = SpecMemory.from_segments({**stage.segments, HEADER: encode_words(words.words), REQUEST: request})
    for operation in stage.operations:
        memory = operation.execute(memory, stage.position)
    return memory


Compute = Callable[[AcceleratorEngine, int, int], None]


def in_a_batch(engine: AcceleratorEngine, first: int, end: int) -> None:
    """Computes all stages of a position in a batch of its own."""
    position = end // (end - first) - 1
    engine.batches.run([engine.span(position, position + 1)], lambda: None)


def behind_others(engine: AcceleratorEngine, first: int, end: int) -> None:
    """Computes all stages of a position in a batch with all earlier ones."""
    assert end // (end - first) <= engine.batch_positions
    engine.batches.run([engine.span(0, end // (end - first))], lambda: None)


def check_on(
    card: EmulatedCard,
    stage: RandomStage,
    memory: Memory,
    expected: SpecMemory | None = None,
    compute: Compute = AcceleratorEngine.run,
) -> None:
    """The stage on the card, compared byte for byte in every buffer and in the output."""
    tape: Tape = np.zeros((len(stage.operations), 16), np.int64)
    for words, record in zip(tape, [operation.record() for operation in stage.operations], strict=True):
        words[: 2 + len(record.operands)] = [record.opcode, 0, *record.operands]
    kind = TEXT if stage.is_text else BYTES
    header = Header(0, kind, len(tape), HEADER + 4096, stage.context, stage.vocabulary, (), 0, 0, 0, 0)
    for address, data in stage.segments.items():
        memory.write(address, data)
    memory.write(REQUEST + 32, stage.request)
    memory.write(OUTPUT, bytes(64))
    engine = AcceleratorEngine(memory, LooseTape(header, ops_of(tape), identity=object()), tape, card)  # type: ignore[arg-type]
    compute(engine, stage.position * len(tape), (stage.position + 1) * len(tape))
    expected = expected or written_by_specification(stage)
    for address, length in chain(((at, len(data)) for at, data in stage.segments.items()), [(OUTPUT, 64)]):
        assert memory.read(address, length) == expected.load_bytes(address, length), f"{stage.operations} at {stage.position}, {address:#x}"


def test_elementary_functions() -> None:
    """Floors at and beside the arguments where they jump; everything else at the ends and in between."""
    rng, emulator = random.Random(1), library()
    roots = [rng.randint(2**30, 2**31) for _ in range(500)] + [2**30, 2**30 + 1, 2**31 - 1, 2**31]
    jumps = [2**124 // (root * root) + more for root in roots for more in (-1, 0, 1)]
    for v in [v for v in [*jumps, 2**62, 2**63, 2**64 - 1, *(rng.randrange(2**62, 2**64) for _ in range(500))] if 2**62 <= v < 2**64]:
        assert emulator.elementary_rsqrt(v) == elementary.rsqrt(v), v
    for size in range(1, 48):
        for v in [2 ** (size - 1), 2**size - 1, *(rng.randrange(2 ** (size - 1), 2**size) for _ in range(10))]:
            assert emulator.elementary_reciprocal(v) == elementary.reciprocal(v), v
    for z in [0, -1, -(2**16), -33 * 2**16, -(2**31) + 1, -(2**33), *(-rng.randrange(40 << 16) for _ in range(1000))]:
        assert emulator.elementary_exp2(z) == elementary.exp2(z), z
    table = sigmoid_table()
    edges = [0, 1, -1, 2**18 - 1, 2**18, -(2**18), 2**31 - 1, -(2**31), 63, 64]
    for g in [*edges, *(rng.randrange(-(2**19), 2**19) for _ in range(1000))]:
        assert emulator.elementary_sigmoid(g, table.ctypes.data) == elementary.sigmoid(g), g


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


@pytest.mark.parametrize("place", [0, 1, 2, 37, 63])
@pytest.mark.parametrize("below", [0, 1])
def test_a_token_drawn_exactly_where_its_share_begins(place: int, below: int, memory: Memory) -> None:
    """64 equal logits, so each has as many of the numbers, and the first or last number of one is drawn."""
    seed = seed_that_draws(((place << 58) - below) % 2**64, 0)
    request = struct.pack("<4IQI", 1, 1, 1 << 16, 0, seed, 0)
    stage = RandomStage((spec.Sample(STATE, 64),), 0, {STATE: struct.pack("<64i", *[5] * 64)}, request, 8, 64)
    for threads in (32, 64):
        check_on(EmulatedCard(2, threads), stage, memory)
    assert int(memory.view(OUTPUT + 32, 1, np.uint32)[0]) == (place - below) % 64


def test_norm_keeps_24_bits(memory: Memory) -> None:
    """Rows, found by search, that come out differently with 23 or with 25 bits of each number."""
    for seed in (29, 115, 1127):
        rng = random.Random(seed)
        row, weights = [rng.randint(-(2**31), 2**31 - 1) for _ in range(32)], [1 << 24] * 32
        segments = {TENSORS: struct.pack("<32i", *weights), STATE: struct.pack("<32i", *row), STATE + 128: bytes(96)}
        operation = spec.Norm(STATE + 128, STATE, TENSORS, 32, 14, 0)
        check_on(EmulatedCard(), RandomStage((operation,), 0, segments, struct.pack("<4IQI", 1, 1, 0, 0, 0, 0), 8, 8), memory)


@pytest.mark.parametrize("make", OPS, ids=lambda make: make.__name__)
def test_random_stages(make, memory: Memory) -> None:
    for seed in range(STAGES_PER_OP):
        rng = random.Random(seed)
        card = EmulatedCard(rng.choice([1, 2, 3, 5]), 32 * rng.choice([1, 2, 4, 8]), Schedule(rng.randrange(4)), seed)
        check_on(card, random_stage(make, seed), memory)
