"""The guest's binary32 in the machine gives the bits of this computer's floating-point unit, on edges and at random.

NaNs are compared as NaNs on the hardware's side and must be the canonical one on the guest's.
"""

import ctypes
import ctypes.util
import functools
import struct
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from min_guest import memory_with_elf

from opml_min.guest import build
from opml_min.machine import HALTED, Machine

Bits = npt.NDArray[np.uint32]

ARGUMENTS, RESULTS = 0x80_0000_0000, 0x80_4000_0000
NAN = 0x7FC00000
RANDOM_CASES = 50_000
OPERATIONS = ("add", "sub", "mul", "div", "fma", "sqrt", "equal", "less", "less_or_equal", "from_i64", "to_i64")

PROGRAM = """
#include "binary32.h"
struct arguments { uint32_t a, b, c; };
int main(long operation)
{
    const uint64_t count = *(const uint64_t *)0x8000000000;
    const struct arguments *argument = (const struct arguments *)0x8000000020;
    const int64_t *integers = (const int64_t *)argument;
    int64_t *results = (int64_t *)0x8040000000;
    for (uint64_t i = 0; i < count; i++, argument++) {
        f32 a = argument->a, b = argument->b, c = argument->c;
        switch (operation) {
        case 0: results[i] = f32_add(a, b); break;
        case 1: results[i] = f32_sub(a, b); break;
        case 2: results[i] = f32_mul(a, b); break;
        case 3: results[i] = f32_div(a, b); break;
        case 4: results[i] = f32_fma(a, b, c); break;
        case 5: results[i] = f32_sqrt(a); break;
        case 6: results[i] = f32_equal(a, b); break;
        case 7: results[i] = f32_less(a, b); break;
        case 8: results[i] = f32_less_or_equal(a, b); break;
        case 9: results[i] = f32_from_i64(integers[i]); break;
        case 10: results[i] = f32_to_i64(a); break;
        }
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The machine with the soft float and a loop around it."""
    folder = tmp_path_factory.mktemp("binary32")
    source, elf_file = folder / "program.c", folder / "program.elf"
    source.write_text(PROGRAM)
    files: list[Path] = [build.FOLDER / "program.S", source, build.FOLDER / "binary32.c"]
    build.compile_elf(files, build.FOLDER / "program.ld", elf_file, [f"-I{build.FOLDER}"])
    return Machine(memory_with_elf(elf_file.read_bytes()))


def run(machine: Machine, operation: str, arguments: npt.NDArray[np.generic], count: int) -> npt.NDArray[np.int64]:
    machine.memory.write(ARGUMENTS, struct.pack("<Q24x", count) + arguments.tobytes())
    machine.begin_stage(OPERATIONS.index(operation))
    machine.run(2**32)
    assert machine.status == (HALTED, 0)
    return np.frombuffer(machine.memory.read(RESULTS, 8 * count), dtype=np.int64)


# --- cases


def edges() -> list[int]:
    """Zero, the ends of each binade class, infinity, NaNs; both signs."""
    positive = [0, 1, 2, 0x3FFFFF, 0x400000, 0x7FFFFE, 0x7FFFFF, 0x800000, 0x800001, 0xFFFFFF, 0x1000000, 0x33800000, 0x33800001]
    positive += [0x3EFFFFFF, 0x3F000000, 0x3F000001, 0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x3FFFFFFF, 0x40000000, 0x40400000, 0x4B000001]
    positive += [0x4B7FFFFF, 0x4B800000, 0x5EFFFFFF, 0x5F000000, 0x7E800000, 0x7F000000, 0x7F7FFFFE, 0x7F7FFFFF, 0x7F800000]
    positive += [0x7F800001, NAN, 0x7FFFFFFF]
    return [sign | bits for sign in (0, 1 << 31) for bits in positive]


def random_triples(seed: int) -> Bits:
    """Any bits; exponents that lie close together; products that nearly cancel the third number."""
    rng = np.random.default_rng(seed)
    anything = rng.integers(0, 2**32, (RANDOM_CASES, 3), dtype=np.uint32)
    close = rng.integers(0, 2**32, (RANDOM_CASES, 3), dtype=np.uint32) & np.uint32(0x807FFFFF)
    close |= rng.integers(100, 154, (RANDOM_CASES, 3), dtype=np.uint32) << np.uint32(23)
    tiny = anything & np.uint32(0x83FFFFFF)
    tiny[:, 0] = close[:, 0]
    cancelling = close.copy()
    with np.errstate(all="ignore"):
        negated = -(cancelling[:, 0].view(np.float32) * cancelling[:, 1].view(np.float32))
    cancelling[:, 2] = negated.view(np.uint32) + rng.integers(-2, 3, RANDOM_CASES).astype(np.uint32)
    return np.concatenate([anything, close, tiny, cancelling])


def cases(arity: int) -> Bits:
    some = edges()[:: 3 if arity == 3 else 1]
    tuples = np.array([(*t, 0, 0)[:3] for t in product(some, repeat=arity)], dtype=np.uint32)
    return np.concatenate([tuples, random_triples(arity)])


# --- what the hardware says


@functools.cache
def hardware_fma() -> Callable[[float, float, float], float]:
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    library.fmaf.restype, library.fmaf.argtypes = ctypes.c_float, [ctypes.c_float] * 3
    return library.fmaf  # type: ignore[no-any-return]


def fma(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], c: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    function = hardware_fma()
    return np.array([function(x, y, z) for x, y, z in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)], dtype=np.float32)


def canonical_bits(values: npt.NDArray[np.float32]) -> Bits:
    return np.where(np.isnan(values), np.uint32(NAN), values.view(np.uint32))


HARDWARE: dict[str, tuple[int, Callable[..., npt.NDArray[np.float32]]]] = {
    "add": (2, lambda a, b, c: a + b),
    "sub": (2, lambda a, b, c: a - b),
    "mul": (2, lambda a, b, c: a * b),
    "div": (2, lambda a, b, c: a / b),
    "fma": (3, fma),
    "sqrt": (1, lambda a, b, c: np.sqrt(a)),
}


@pytest.mark.parametrize("operation", HARDWARE)
def test_arithmetic(machine: Machine, operation: str) -> None:
    arity, hardware = HARDWARE[operation]
    arguments = cases(arity)
    results = run(machine, operation, arguments, len(arguments))
    with np.errstate(all="ignore"):
        expected = canonical_bits(hardware(*(arguments[:, k].copy().view(np.float32) for k in range(3))))
    different = np.flatnonzero(results != expected)
    assert not len(different), [[f"{v:#x}" for v in (*arguments[i], results[i], expected[i])] for i in different[:5]]


COMPARISONS = {"equal": np.equal, "less": np.less, "less_or_equal": np.less_equal}


@pytest.mark.parametrize("operation", COMPARISONS)
def test_comparison(machine: Machine, operation: str) -> None:
    arguments = cases(2)
    arguments[::5, 1] = arguments[::5, 0]
    results = run(machine, operation, arguments, len(arguments))
    a, b = (arguments[:, k].copy().view(np.float32) for k in range(2))
    assert np.array_equal(results, COMPARISONS[operation](a, b).astype(np.int64))


def test_from_integer(machine: Machine) -> None:
    rng = np.random.default_rng(1)
    near_ties = (rng.integers(2**24, 2**25, RANDOM_CASES) * 2 + 1) << rng.integers(0, 36, RANDOM_CASES)
    scattered = rng.integers(-(2**63), 2**63, RANDOM_CASES) >> rng.integers(0, 64, RANDOM_CASES)
    ends = np.array([0, 1, -1, 2**63 - 1, -(2**63), 2**24 + 1, 2**62, 2**63 - 2**38, 2**63 - 2**38 - 1], dtype=np.int64)
    integers = np.concatenate([ends, near_ties, -near_ties, scattered, near_ties + 1, near_ties - 1])
    assert np.array_equal(run(machine, "from_i64", integers, len(integers)), integers.astype(np.float32).view(np.uint32))


def test_to_integer(machine: Machine) -> None:
    arguments = cases(1)
    halves = np.arange(-4000, 4000, dtype=np.float32) / np.float32(4)
    arguments[-len(halves) :, 0] = halves.view(np.uint32)
    with np.errstate(all="ignore"):
        values = arguments[:, 0].copy().view(np.float32).astype(np.float64)
        whole = np.nan_to_num(np.rint(values), nan=0.0, posinf=2.0**64, neginf=-(2.0**64))
    expected = [max(-(2**63), min(2**63 - 1, int(v))) for v in whole.tolist()]
    assert run(machine, "to_i64", arguments, len(arguments)).tolist() == expected


@pytest.mark.parametrize(("operation", "most"), [("add", 95), ("mul", 75), ("div", 95), ("sqrt", 275), ("fma", 145)])
def test_steps(machine: Machine, operation: str, most: int) -> None:
    """Steps an operation, the loop around it included, on numbers of one size."""
    arguments = random_triples(2)[RANDOM_CASES : RANDOM_CASES + 1000] & np.uint32(0x7FFFFFFF)
    run(machine, operation, arguments, len(arguments))
    assert machine.steps <= most * len(arguments)
