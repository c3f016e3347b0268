"""The guest's float ops in the machine give the bits of the formulas of spec §3.6, restated here in numpy's float32: each of its
operations on arrays rounds once, and sums are loops. A NaN of numpy stands for the canonical one.
"""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from min_guest import WEIGHTS, A, B, C, D, E, Guest, memory_with_elf, run_op, seed_of, splitmix64, text_request

from opml_min.guest import build
from opml_min.machine import HALTED, Machine

F32 = np.float32
Floats = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint32]

EMBED, NORM, MATMUL, ROPE, CACHE, ATTENTION, SWIGLU, ADD, SAMPLE, INPUT, RELU = range(33, 44)
NAN = 0x7FC00000
ONE = F32(1)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow and NaNs are among the cases


# --- the formulas


def canonical(values: npt.ArrayLike) -> Bits:
    floats = np.asarray(values, dtype=np.float32)
    return np.where(np.isnan(floats), np.uint32(NAN), floats.view(np.uint32))


def constant(bits: int) -> np.float32:
    return np.uint32(bits).view(np.float32)


def in_order(terms: Floats) -> Floats:
    """The sums over the last axis, from +0 on."""
    total = np.zeros(terms.shape[:-1], F32)
    for c in range(terms.shape[-1]):
        total = total + terms[..., c]
    return total


def power_of_two(k: npt.NDArray[np.int32]) -> Floats:
    return ((k + 127).astype(np.uint32) << np.uint32(23)).view(np.float32)


def exp(x: Floats) -> Floats:
    low, high, rounder = constant(0xC2CFF1B5), constant(0x42B17218), constant(0x4B400000)
    inside = np.where((x >= low) & (x <= high), x, F32(0))
    n = ((inside * constant(0x3FB8AA3B)) + rounder) - rounder
    r = (inside - (n * constant(0x3F318000))) - (n * constant(0xB95E8083))
    p = np.full(x.shape, constant(0x3AB6DA15))
    for c in (0x3C091DAB, 0x3D2AAA2F, 0x3E2AAA47, 0x3F000000):
        p = (p * r) + constant(c)
    p = (((p * r) * r) + r) + ONE
    m = n.astype(np.int32)
    h = m >> 1
    result = (p * power_of_two(h)) * power_of_two(m - h)
    result = np.where(x > high, F32(np.inf), np.where(x < low, F32(0), result))
    return np.where(np.isnan(x), F32(np.nan), result)


def sigmoid(x: Floats) -> Floats:
    return ONE / (ONE + exp(-x))


# --- inputs


EDGES = np.array(
    [
        *(0, 1, 2, 0x7FFFFF, 0x800000, 0x800001, 0x33800000, 0x3EFFFFFF, 0x3F800000, 0x3F800001, 0x4B7FFFFF, 0x5F000000, 0x7F000000),
        *(0x7F7FFFFF, 0x7F800000, 0x7F800001, NAN, 0x7FFFFFFF),
    ],
    dtype=np.uint32,
)
EDGES = np.concatenate([EDGES, EDGES | np.uint32(1 << 31)])


def with_exponents(rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> Floats:
    """Random significands and signs with exponent fields from low to high."""
    bits = rng.integers(0, 2**32, shape, dtype=np.uint32) & np.uint32(0x807FFFFF)
    return (bits | rng.integers(low, high + 1, shape, dtype=np.uint32) << np.uint32(23)).view(np.float32)


def sprinkled(rng: np.random.Generator, values: Floats, others: Bits, share: float) -> Floats:
    return np.where(rng.random(values.shape) < share, rng.choice(others, values.shape).view(np.float32), values)


ZEROS = np.array([0, 1 << 31], dtype=np.uint32)

KINDS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Floats]] = {
    "like a model": lambda rng, shape: rng.normal(size=shape).astype(F32),
    "anything": lambda rng, shape: rng.integers(0, 2**32, shape, dtype=np.uint32).view(np.float32),
    "close": lambda rng, shape: with_exponents(rng, shape, 125, 129),
    "wide": lambda rng, shape: with_exponents(rng, shape, 100, 150),
    "few bits": lambda rng, shape: rng.integers(-4, 5, shape).astype(F32) * F32(2) ** rng.integers(-13, 13, shape).astype(F32),
    "powers of two": lambda rng, shape: (with_exponents(rng, shape, 115, 139).view(np.uint32) & np.uint32(0xFF800000)).view(np.float32),
    "all ones": lambda rng, shape: (with_exponents(rng, shape, 120, 133).view(np.uint32) | np.uint32(0x7FFFFC)).view(np.float32),
    "zeros among them": lambda rng, shape: sprinkled(rng, with_exponents(rng, shape, 120, 130), ZEROS, 0.5),
    "small": lambda rng, shape: with_exponents(rng, shape, 60, 80),
    "tiny": lambda rng, shape: with_exponents(rng, shape, 0, 30),
    "huge": lambda rng, shape: with_exponents(rng, shape, 180, 254),
    "edges among them": lambda rng, shape: sprinkled(rng, with_exponents(rng, shape, 120, 130), EDGES, 0.01),
    "edges": lambda rng, shape: rng.choice(EDGES, shape).view(np.float32),
}
ALL_KINDS = pytest.mark.parametrize("kind", KINDS)


def of_kind(kind: str, *shape: int) -> Floats:
    seed = int.from_bytes(f"{kind} {shape}".encode(), "little")
    return KINDS[kind](np.random.default_rng(seed), shape)


def tiles(matrix: Floats) -> bytes:
    """Format 3: (tiles of 8 rows, columns, 8)."""
    rows, columns = matrix.shape
    padded = np.zeros((-(-rows // 8) * 8, columns), F32)
    padded[:rows] = matrix
    return padded.reshape(-1, 8, columns).transpose(0, 2, 1).tobytes()


def read(guest: Guest, address: int, n: int) -> Bits:
    return np.frombuffer(guest.read(address, 4 * n), dtype=np.uint32)


def same(found: Bits, expected: Floats) -> None:
    wanted = canonical(expected).ravel()
    different = np.flatnonzero(found != wanted)
    assert not len(different), [(int(i), f"{found[i]:#x}", f"{wanted[i]:#x}") for i in different[:5]]


# --- the ops


@pytest.mark.parametrize("matrix_kind", KINDS)
@pytest.mark.parametrize("vector_kind", KINDS)
def test_matmul(matrix_kind: str, vector_kind: str) -> None:
    rows, columns = 61, 50
    w, x = of_kind(matrix_kind, rows, columns), of_kind(vector_kind, columns)
    guest = run_op(MATMUL, [A, B, WEIGHTS, rows, columns], {B: x.tobytes(), WEIGHTS: tiles(w)})
    same(read(guest, A, rows), in_order(w * x))
    assert not read(guest, A + 4 * rows, 3).any()  # nothing is written beyond the rows


@ALL_KINDS
def test_matmul_of_numbers_that_cancel(kind: str) -> None:
    """Each product is followed by one close to its negative, and many sums are exactly 0."""
    rows, columns = 64, 40
    w, x = of_kind(kind, rows, columns), of_kind("close", columns)
    w[:, 1::2], x[1::2] = -w[:, ::2], x[::2]
    w[::2] = (w[::2].view(np.uint32) + np.random.default_rng(7).integers(0, 3, (rows // 2, columns), dtype=np.uint32)).view(np.float32)
    guest = run_op(MATMUL, [A, B, WEIGHTS, rows, columns], {B: x.tobytes(), WEIGHTS: tiles(w)})
    same(read(guest, A, rows), in_order(w * x))


@pytest.mark.parametrize("exponent", [*range(1, 140, 3), *range(140, 254, 3)])
def test_matmul_at_every_size(exponent: int) -> None:
    """Through underflow and overflow, where the inner loop for plain numbers gives up."""
    rows, columns = 32, 12
    rng = np.random.default_rng(exponent)
    w = with_exponents(rng, (rows, columns), max(1, exponent - 20), min(254, exponent + 20))
    x = with_exponents(rng, (columns,), 120, 134)
    x[columns // 2 :] = with_exponents(rng, (columns // 2,), 60, 200)
    guest = run_op(MATMUL, [A, B, WEIGHTS, rows, columns], {B: x.tobytes(), WEIGHTS: tiles(w)})
    same(read(guest, A, rows), in_order(w * x))


ENDS = np.array([1, 1 + 2**-23, 1 + 2**-22, 1.5, 2 - 2**-22, 2 - 2**-23], dtype=F32)


@pytest.mark.parametrize("end", ENDS)
def test_matmul_where_the_smaller_number_is_about_half_a_last_place(end: np.float32) -> None:
    """A sum and a product some 20 to 30 places below it, both at the ends of their binades or close to them, down to underflow."""
    x = np.array([1, end * F32(2**-40)], F32)
    below = F32(2) ** np.arange(10, 21, dtype=F32)
    for exponent in (0, *range(-110, -95)):
        size = F32(2**exponent)
        first, second, sign, place = (v.ravel() for v in np.meshgrid(ENDS, ENDS, np.array([1, -1], F32), below))
        w = np.stack([first * size, second * sign * place * size], axis=-1)
        guest = run_op(MATMUL, [A, B, WEIGHTS, len(w), 2], {B: x.tobytes(), WEIGHTS: tiles(w)})
        same(read(guest, A, len(w)), in_order(w * x))


def test_matmul_of_nothing() -> None:
    guest = run_op(MATMUL, [A, B, WEIGHTS, 3, 0], {A: b"\1" * 12})
    assert not read(guest, A, 3).any()


@pytest.mark.parametrize("kind", ["anything", "edges"])
def test_embed(kind: str) -> None:
    rows, columns, position = 13, 20, 10
    w = of_kind(kind, rows, columns)
    guest = run_op(EMBED, [A, WEIGHTS, columns], {WEIGHTS: tiles(w)}, position)
    assert guest.read(A, 4 * columns) == w[position + 1].tobytes()  # the prompt is 1, 2, 3, …; NaNs are copied as they are


@ALL_KINDS
@pytest.mark.parametrize("length", [1, 7, 64])
def test_norm(kind: str, length: int) -> None:
    x, weights, eps = of_kind(kind, length), of_kind("like a model", length), F32(1e-5)
    guest = run_op(NORM, [A, B, WEIGHTS, length, int(eps.view(np.uint32))], {B: x.tobytes(), WEIGHTS: weights.tobytes()})
    r = ONE / np.sqrt((in_order(x * x) / F32(length)) + eps)
    same(read(guest, A, length), weights * (r * x))


@ALL_KINDS
def test_rope(kind: str) -> None:
    heads, head_size, position = 3, 10, 6
    x, table = of_kind(kind, heads, head_size // 2, 2), of_kind("like a model", 9, head_size // 2, 2)
    guest = run_op(ROPE, [A, heads, head_size, WEIGHTS], {A: x.tobytes(), WEIGHTS: table.tobytes()}, position)
    (a, b), (cos, sin) = np.moveaxis(x, -1, 0), np.moveaxis(table[position], -1, 0)
    same(read(guest, A, x.size), np.stack([(a * cos) - (b * sin), (a * sin) + (b * cos)], axis=-1))


def test_cache() -> None:
    kv_heads, head_size, context, position = 3, 6, 16, 11
    k, v = of_kind("anything", kv_heads, head_size), of_kind("edges", kv_heads, head_size)
    guest = run_op(CACHE, [D, E, A, B, kv_heads, head_size, context], {D: k.tobytes(), E: v.tobytes()}, position)
    for cached, heads in ((A, k), (B, v)):
        expected = np.zeros((kv_heads, context, head_size), F32)
        expected[:, position] = heads
        assert guest.read(cached, expected.nbytes) == expected.tobytes()


def attention(q: Floats, keys: Floats, values: Floats, root: np.float32) -> Floats:
    """q (heads, head_size), keys and values (kv_heads, positions, head_size)."""
    out = []
    for h, q_h in enumerate(q):
        cached = h // (len(q) // len(keys))
        scores = in_order(q_h * keys[cached]) / root
        largest = scores[0]
        for score in scores[1:]:
            largest = score if score > largest else largest
        w = exp(scores - largest)
        out.append(in_order((w / in_order(w)) * values[cached].T))
    return np.stack(out)


@ALL_KINDS
@pytest.mark.parametrize("position", [0, 1, 12])
def test_attention(kind: str, position: int) -> None:
    heads, kv_heads, head_size, context = 4, 2, 8, 16
    q, keys, values = of_kind(kind, heads, head_size), of_kind(kind, kv_heads, context, head_size), of_kind(kind, kv_heads, context, 8)
    root = np.sqrt(F32(head_size))
    guest = run_op(
        ATTENTION,
        [A, B, C, D, heads, kv_heads, head_size, context, int(root.view(np.uint32))],
        {B: q.tobytes(), C: keys.tobytes(), D: values.tobytes()},
        position,
    )
    seen = slice(0, position + 1)
    same(read(guest, A, q.size), attention(q, keys[:, seen], values[:, seen], root))


@ALL_KINDS
def test_swiglu(kind: str) -> None:
    gate, up = of_kind(kind, 400), of_kind("edges among them", 400)
    guest = run_op(SWIGLU, [A, B, C, 400], {B: gate.tobytes(), C: up.tobytes()})
    same(read(guest, A, 400), (gate * sigmoid(gate)) * up)


@ALL_KINDS
def test_add(kind: str) -> None:
    x, y = of_kind(kind, 300), of_kind("edges", 300)
    guest = run_op(ADD, [A, WEIGHTS, 300], {A: x.tobytes(), WEIGHTS: y.tobytes()})
    same(read(guest, A, 300), x + y)


@ALL_KINDS
def test_relu(kind: str) -> None:
    x = of_kind(kind, 200)
    guest = run_op(RELU, [A, B, 200], {B: x.tobytes()})
    same(read(guest, A, 200), np.where(x > 0, x, F32(0)))


def test_input() -> None:
    payload = bytes(range(256))
    guest = Guest([(INPUT, 0, A, 256)], kind=1, context=256)
    guest.request(payload, 1)
    assert guest.stage(0) == 0
    same(read(guest, A, 256), np.arange(256, dtype=F32) / F32(256))


# --- SAMPLE


def first_largest(logits: Floats) -> int:
    best = 0
    for j in range(1, len(logits)):
        best = j if logits[j] > logits[best] else best
    return best


def drawn_token(logits: Floats, temperature: int, random: int) -> int:
    best = first_largest(logits)
    likelihoods = exp((logits - logits[best]) / (F32(temperature) * F32(2**-16))) * F32(2**24)
    w = [0 if np.isnan(v) else int(np.rint(v)) for v in likelihoods]
    if not any(w):
        return best
    threshold, total = random * sum(w) >> 64, 0
    for j, weight in enumerate(w):
        total += weight
        if total > threshold:
            return j
    raise AssertionError


def sampled(logits: Floats, temperature: int, seed: int, position: int = 0) -> int:
    guest = Guest([(SAMPLE, 1, A, len(logits))], stop_tokens=[len(logits)])
    guest.request(text_request([1], position + 1, temperature, seed), position + 1)
    guest.write(A, logits.tobytes())
    assert guest.stage(position) == 0
    count, done, tokens = guest.output()
    assert (count, done) == (position + 1, 0)
    return tokens[position]


@ALL_KINDS
def test_sample(kind: str) -> None:
    for length, temperature, seed in ((1, 2**16, 5), (30, 0, 6), (30, 2**10, 7), (31, 2**16, 2**64 - 1), (300, 2**22, 0), (40, 70_001, 8)):
        logits, position = of_kind(kind, length), seed % 5
        random = splitmix64(seed, position)
        expected = drawn_token(logits, temperature, random) if temperature else first_largest(logits)
        assert sampled(logits, temperature, seed, position) == expected


@pytest.mark.parametrize(
    ("logits", "token"),
    [
        ([np.nan, 1, 2], 0),  # nothing is larger than a NaN
        ([1, np.inf, np.nan, np.inf], 1),  # inf - inf is a NaN, all else too far away
        ([-np.inf, -np.inf], 0),
        ([np.nan], 0),
    ],
)
def test_sample_where_no_token_is_likely(logits: list[float], token: int) -> None:
    assert drawn_token(np.array(logits, F32), 2**16, 2**63) == token
    assert sampled(np.array(logits, F32), 2**16, seed_of(2**63, 0)) == token


@pytest.mark.parametrize(("logits", "token"), [([0.0, -0.0], 0), ([-0.0, 0.0], 0), ([1, np.nan, 3, 3], 2), ([-np.inf, -1e38], 1)])
def test_greedy_sample(logits: list[float], token: int) -> None:
    assert sampled(np.array(logits, F32), 0, 0) == token


def test_sample_shows_the_last_bit_of_a_likelihood() -> None:
    """The second of two tokens is the likelier one; the least random number that draws it depends on every bit of the first's weight."""
    for distance in np.random.default_rng(3).uniform(0, 18, 150).astype(F32):
        logits = np.array([-distance, 0], F32)
        weight = int(np.rint(exp(logits)[0] * F32(2**24)))
        least = -(-(weight << 64) // (weight + 2**24))
        for random in (least - 1, least):
            if 0 <= random < 2**64:
                assert sampled(logits, 2**16, seed_of(random, 0)) == int(random == least)


def test_sample_ends_the_output_at_a_stop_token() -> None:
    guest = Guest([(SAMPLE, 1, A, 3)], stop_tokens=[2])
    guest.request(text_request([1], 4), 4)
    guest.write(A, np.array([1, 2, 3], F32).tobytes())
    assert guest.stage(0) == 0
    assert guest.output() == (1, 1, [2])


# --- exp


PROGRAM = """
#include "float_elementary.h"
int main(long unused)
{
    const uint64_t count = *(const uint64_t *)0x8000000000;
    const f32 *arguments = (const f32 *)0x8000000020;
    f32 *results = (f32 *)0x8040000000;
    for (uint64_t i = 0; i < count; i++)
        results[i] = f32_exp(arguments[i]);
    return 0;
}
"""


def test_exp(tmp_path: Path) -> None:
    """All edges, both borders, and a dense sample of all magnitudes."""
    source, elf = tmp_path / "program.c", tmp_path / "program.elf"
    source.write_text(PROGRAM)
    files = [build.FOLDER / "program.S", source, build.FOLDER / "binary32.c", build.FOLDER / "float_elementary.c"]
    build.compile_elf(files, build.FOLDER / "program.ld", elf, [f"-I{build.FOLDER}"])
    every = np.arange(0, 2**32, 32_749, dtype=np.uint64).astype(np.uint32)
    borders = np.array([[b + d for d in range(-20, 21)] for b in (0x42B17218, 0xC2CFF1B5, 0xC2AEAC50)], dtype=np.uint32).ravel()
    inside = np.linspace(-105, 90, 100_000).astype(F32).view(np.uint32)
    arguments = np.concatenate([EDGES, borders, every, inside])
    machine = Machine(memory_with_elf(elf.read_bytes()))
    machine.memory.write(0x80_0000_0000, struct.pack("<Q24x", len(arguments)) + arguments.tobytes())
    machine.begin_stage(0)
    machine.run(2**32)
    assert machine.status == (HALTED, 0)
    found = np.frombuffer(machine.memory.read(0x80_4000_0000, arguments.nbytes), dtype=np.uint32)
    same(found, exp(arguments.view(np.float32)))


# --- steps


def test_steps_a_multiplication_and_addition() -> None:
    rows, columns = 128, 256
    w, x = of_kind("like a model", rows, columns), of_kind("like a model", columns)
    guest = run_op(MATMUL, [A, B, WEIGHTS, rows, columns], {B: x.tobytes(), WEIGHTS: tiles(w)})
    assert guest.machine.steps <= 45 * rows * columns
