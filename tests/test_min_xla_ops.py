"""The ops of XLA, on its processor: stages with the extremes of every range leave the bytes that the specification says.

Every size is compiled anew, so few sizes get many values.
"""

import os
import random
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import pytest
from min_gpu_stages import (
    OPS,
    RandomStage,
    attention,
    check_stage,
    matmul,
    norm,
    norms_that_show_24_bits,
    random_stage,
    sample,
    stage_that_draws_at_an_end,
    swiglu,
)
from opml_spec.arithmetic import elementary

from opml_min.machine import Memory
from opml_min.memory_map import OUTPUT
from opml_min.model.native.kernels.fixed.fixed_point import sigmoid_table
from opml_min.model.xla.first_device import open_device

if find_spec("jax") is None and not os.environ.get("CI"):
    pytest.skip("needs JAX, which the dev extra installs", allow_module_level=True)

import jax
from jax import numpy as jnp

from opml_min.model.xla import arithmetic
from opml_min.model.xla.engine import XlaEngine
from opml_min.model.xla.walk import exact

IS_NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
SIZES_PER_OP, VALUES_PER_SIZE = (20, 400) if IS_NIGHTLY else (1, 25)
SIZES: list[tuple[Callable[..., object], dict[str, object]]] = [
    (norm, {"length": 32}),
    *((matmul, {"quantisation": quantisation, "size": (11, 3)}) for quantisation in range(3)),
    (attention, {"size": (2, 3, 6, 150)}),  # more positions than are attended to at once
    (swiglu, {"length": 39}),
    (sample, {"length": 64}),
]
OTHER_OPS = [make for make in OPS if make not in [with_sizes for with_sizes, _ in SIZES]]


@pytest.fixture(scope="module")
def memory() -> Memory:
    return Memory()


def check_on_xla(stage: RandomStage, memory: Memory) -> None:
    check_stage(lambda image, tape: XlaEngine(memory, image, tape, open_device()), stage, memory)


def same(function: Callable[..., object], expected: Callable[[int], int], arguments: list[int], dtype: str, *more: object) -> None:
    """A function on all arguments at once gives what is expected of each."""
    with exact(open_device()):
        found = jax.jit(jax.vmap(function, (0, *(None for _ in more))))(np.array(arguments, dtype), *more)
    assert found.tolist() == [expected(v) for v in arguments]


def test_elementary_functions() -> None:
    """Floors at and beside the arguments where they jump; everything else at the ends and in between."""
    rng = random.Random(1)
    roots = [rng.randint(2**30, 2**31) for _ in range(500)] + [2**30, 2**30 + 1, 2**31 - 1, 2**31]
    jumps = [2**124 // (root * root) + more for root in roots for more in (-1, 0, 1)]
    between = [*jumps, 2**62, 2**63, 2**64 - 1, *(rng.randrange(2**62, 2**64) for _ in range(500))]
    same(arithmetic.rsqrt, elementary.rsqrt, [v for v in between if 2**62 <= v < 2**64], "uint64")
    sized = [rng.randrange(2 ** (size - 1), 2**size) for size in range(1, 48) for _ in range(9)]
    ends = [v for size in range(1, 48) for v in (2 ** (size - 1), 2**size - 1)]
    same(arithmetic.reciprocal, elementary.reciprocal, [*sized, *ends, 2**47], "int64")
    exponents = [0, -1, -(2**16), -33 * 2**16, -(2**31) + 1, -(2**33), *(-rng.randrange(40 << 16) for _ in range(1000))]
    same(arithmetic.exp2, elementary.exp2, exponents, "int64")
    edges = [0, 1, -1, 2**18 - 1, 2**18, -(2**18), 2**31 - 1, -(2**31), 63, 64, *(rng.randrange(-(2**19), 2**19) for _ in range(1000))]
    same(arithmetic.sigmoid, elementary.sigmoid, edges, "int64", sigmoid_table())


def test_round_shift_over_all_shifts() -> None:
    """Also far beyond 64 places, where a plain shift of 64 bits would give something else."""
    rng = random.Random(2)
    shifts = [*range(-70, 71), -100_000, 100_000]

    def values() -> list[int]:
        sign_and_size = rng.choice([-1, 1]) << rng.randrange(63)
        return [0, 1, -1, 2**63 - 1, -(2**63) + 1, sign_and_size, rng.randrange(-(2**62), 2**62)]

    cases = [(v, s) for s in shifts for v in values()]
    numbers, by = (np.array(column, np.int64) for column in zip(*cases, strict=True))
    with exact(open_device()):
        found = jax.jit(arithmetic.round_shift_sat32)(numbers, by)
        assert found.dtype == jnp.int64

    def by_definition(v: int, s: int) -> int:
        shifted = (v + (1 << s - 1)) >> s if s > 0 else v << -s
        return max(-(2**31), min(2**31 - 1, shifted))

    assert found.tolist() == [by_definition(v, s) for v, s in cases]


@pytest.mark.parametrize(("make", "sizes"), SIZES, ids=lambda value: getattr(value, "__name__", ""))
def test_random_values(make: Callable[..., object], sizes: dict[str, object], memory: Memory) -> None:
    for seed in range(VALUES_PER_SIZE):
        check_on_xla(random_stage(make, seed, **sizes), memory)


def test_norm_keeps_24_bits(memory: Memory) -> None:
    for stage in norms_that_show_24_bits():
        check_on_xla(stage, memory)


def test_a_token_drawn_exactly_where_its_share_begins(memory: Memory) -> None:
    for place in (0, 1, 2, 37, 63):
        for below in (0, 1):
            check_on_xla(stage_that_draws_at_an_end(place, below), memory)
            assert int(memory.view(OUTPUT + 32, 1, np.uint32)[0]) == (place - below) % 64


@pytest.mark.parametrize("make", OPS if IS_NIGHTLY else OTHER_OPS, ids=lambda make: make.__name__)
def test_random_sizes(make: Callable[..., object], memory: Memory) -> None:
    for seed in range(SIZES_PER_OP):
        check_on_xla(random_stage(make, seed), memory)
