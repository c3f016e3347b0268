"""The kernels of the card, in the emulator: random stages with the extremes of every range leave the bytes that the specification says."""

import os
import random
from collections.abc import Callable

import numpy as np
import pytest
from min_gpu_emulator import EmulatedCard, Schedule, library
from min_gpu_stages import OPS, RandomStage, check_stage, norms_that_show_24_bits, random_stage, stage_that_draws_at_an_end
from opml_spec.arithmetic import elementary
from opml_spec.machine.memory import Memory as SpecMemory
from opml_spec.model.layout import OUTPUT

from opml_min.machine import Memory
from opml_min.model.gpu.engine import AcceleratorEngine
from opml_min.model.native.kernels.fixed.fixed_point import sigmoid_table

STAGES_PER_OP = 200 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 40


@pytest.fixture(scope="module")
def memory() -> Memory:
    return Memory()


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
    check_stage(lambda image, tape: AcceleratorEngine(memory, image, tape, card), stage, memory, expected, compute)


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


@pytest.mark.parametrize("place", [0, 1, 2, 37, 63])
@pytest.mark.parametrize("below", [0, 1])
def test_a_token_drawn_exactly_where_its_share_begins(place: int, below: int, memory: Memory) -> None:
    """64 equal logits, so each has as many of the numbers, and the first or last number of one is drawn."""
    stage = stage_that_draws_at_an_end(place, below)
    for threads in (32, 64):
        check_on(EmulatedCard(2, threads), stage, memory)
    assert int(memory.view(OUTPUT + 32, 1, np.uint32)[0]) == (place - below) % 64


def test_norm_keeps_24_bits(memory: Memory) -> None:
    """Rows, found by search, that come out differently with 23 or with 25 bits of each number."""
    for stage in norms_that_show_24_bits():
        check_on(EmulatedCard(), stage, memory)


@pytest.mark.parametrize("make", OPS, ids=lambda make: make.__name__)
def test_random_stages(make, memory: Memory) -> None:
    for seed in range(STAGES_PER_OP):
        rng = random.Random(seed)
        card = EmulatedCard(rng.choice([1, 2, 3, 5]), 32 * rng.choice([1, 2, 4, 8]), Schedule(rng.randrange(4)), seed)
        check_on(card, random_stage(make, seed), memory)
