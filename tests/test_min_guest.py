"""The guest computes what spec §1 and §3 say: every op in the machine against its formula, restated here in unbounded integers.

Inputs are drawn by bit length, so that the extremes (0, -2^31, shifts of more than 64 bits either way) are as frequent as the middle.
"""

import math
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

import pytest
from min_guest import (
    OUTPUT,
    WEIGHTS,
    A,
    B,
    C,
    D,
    E,
    Guest,
    i32s,
    run_op,
    seed_of,
    splitmix64,
    text_request,
)

EMBED, NORM, MATMUL, ROPE, CACHE, ATTENTION, SWIGLU, ADD, SAMPLE, INPUT, RELU = range(1, 12)
Q8_0, Q4_0, Q4_1 = range(3)
QMAX = {Q8_0: (-128, 127), Q4_0: (-8, 7), Q4_1: (0, 15)}

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


# --- the formulas of spec §1


def bits(v: int) -> int:
    return abs(v).bit_length()


def sat32(v: int) -> int:
    return max(INT32_MIN, min(INT32_MAX, v))


def round_shift(v: int, s: int) -> int:
    return (v + (1 << (s - 1))) >> s if s > 0 else v << -s


def normalise(values: Sequence[tuple[int, int]], width: int = 15) -> tuple[int, list[int]]:
    """(exponent, q) of values with their fraction bits."""
    exponents = [f + width - bits(v) for v, f in values if v]
    if not exponents:
        return 127, [0] * len(values)
    e, limit = min(exponents), 2**width - 1
    return e, [max(-limit, min(limit, round_shift(v, f - e))) for v, f in values]


def exp2(z_q16: int) -> int:
    i, f = z_q16 >> 16, (z_q16 % 2**16) << 14
    p = 0
    for coefficient in (234018, 1333042, 10395076, 59573866, 257944889, 744260928, 1073741824):
        p = round_shift(p * f, 30) + coefficient
    return round_shift(p, 6 - i)


def sigmoid_table(k: int) -> int:
    with localcontext() as context:
        context.prec = 50
        return int((2**30 / (1 + (Decimal(-k) / 256).exp())).to_integral_value())


SIGMOID_TABLE = [sigmoid_table(k) for k in range(4097)]


def sigmoid(g: int) -> int:
    a = abs(g)
    s = 2**30
    if a < 2**18:
        k = a >> 6
        s = SIGMOID_TABLE[k] + round_shift((SIGMOID_TABLE[k + 1] - SIGMOID_TABLE[k]) * (a % 64), 6)
    return 2**30 - s if g < 0 else s


def half(h: int) -> int:
    """half * 2^24."""
    x, f = h >> 10 & 31, h & 1023
    return (-1 if h >> 15 else 1) * (f if x == 0 else (1024 + f) << (x - 1))


def shrink(values: Sequence[int]) -> tuple[int, list[int]]:
    """Values rounded to 31 bits, and the shift."""
    c = max(0, max(map(bits, values)) - 31)
    return c, [round_shift(v, c) for v in values]


# --- inputs and layouts


def any_int(rng: random.Random, most_bits: int) -> int:
    """A signed number of a random bit length up to `most_bits`, the two ends of the range among them."""
    length = rng.randint(0, most_bits)
    if length == most_bits and rng.random() < 0.5:
        return rng.choice([-(1 << most_bits), 1 - (1 << most_bits), (1 << most_bits) - 1])
    return rng.choice([-1, 1]) * rng.getrandbits(length)


def any_vector(rng: random.Random, n: int, most_bits: int = 31) -> list[int]:
    """Numbers of one common size: all zero now and then."""
    size = rng.choice([0, 1, most_bits, rng.randint(0, most_bits)])
    return [any_int(rng, size) if size else 0 for _ in range(n)]


def activation(exponent: int, q: Sequence[int]) -> bytes:
    return struct.pack("<i28x", exponent) + struct.pack(f"<{len(q)}h", *q)


def matrix(fmt: int, w: Sequence[Sequence[int]], d: Sequence[Sequence[int]], m: Sequence[Sequence[int]]) -> bytes:
    """Weights w[row][column], half patterns d and m [row][group] in tiles of 8 rows."""
    out = bytearray()
    for tile in range(0, len(w), 8):
        rows = [*range(tile, min(tile + 8, len(w)))]
        for group in range(len(w[0]) // 32):
            size = {Q8_0: 272, Q4_0: 144, Q4_1: 160}[fmt]
            block = bytearray(size)
            for row in rows:
                lane = row % 8
                for c in range(32):
                    v = w[row][group * 32 + c]
                    if fmt == Q8_0:
                        block[c // 2 * 16 + lane * 2 + c % 2] = v & 255
                    else:
                        nibble, at = v + 8 * (fmt == Q4_0), c % 16
                        block[at // 2 * 16 + lane * 2 + at % 2] |= nibble << (0 if c < 16 else 4)
                scales = 256 if fmt == Q8_0 else 128
                struct.pack_into("<H", block, scales + 2 * lane, d[row][group])
                if fmt == Q4_1:
                    struct.pack_into("<H", block, 144 + 2 * lane, m[row][group])
            out += block
    return bytes(out)


def any_half(rng: random.Random) -> int:
    """A finite half below 128: signs, subnormals and zeros included."""
    return rng.getrandbits(1) << 15 | rng.choice([0, rng.getrandbits(10), rng.randrange(22 << 10), (22 << 10) - 1])


def any_matrix(rng: random.Random, fmt: int, rows: int, columns: int) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    low, high = QMAX[fmt]
    pick: Callable[[], int] = rng.choice([lambda: rng.randint(low, high), lambda: rng.choice([low, high]), lambda: low, lambda: high])
    w = [[pick() for _ in range(columns)] for _ in range(rows)]
    halves = [[[any_half(rng) for _ in range(columns // 32)] for _ in range(rows)] for _ in range(2)]
    return w, halves[0], halves[1]


CASES = pytest.mark.parametrize("case", range(12))


# --- the ops of spec §3.5


@CASES
@pytest.mark.parametrize("fmt", [Q8_0, Q4_0, Q4_1])
def test_matmul(fmt: int, case: int) -> None:
    rng = random.Random(f"matmul {fmt} {case}")
    rows, columns = rng.choice([1, 7, 8, 9, 20]), rng.choice([32, 64, 160])
    w, d, m = any_matrix(rng, fmt, rows, columns)
    q, e = any_vector(rng, columns, 15), rng.choice([127, -50, 14, rng.randint(-10, 70)])
    q = [max(-32767, v) for v in q] if case % 2 else q
    out_frac = rng.choice([12, 14, 90])
    buffers = {A: i32s([-1] * (rows + 1)), B: activation(e, q), WEIGHTS: matrix(fmt, w, d, m)}
    guest = run_op(MATMUL, [A, B, WEIGHTS, fmt, rows, columns, out_frac], buffers)
    expected = []
    for row in range(rows):
        acc = 0
        for g in range(columns // 32):
            at = slice(32 * g, 32 * g + 32)
            acc += half(d[row][g]) * sum(x * y for x, y in zip(w[row][at], q[at], strict=True))
            acc += half(m[row][g]) * sum(q[at]) if fmt == Q4_1 else 0
        expected.append(sat32(round_shift(acc, e + 24 - out_frac)))
    assert guest.read_i32s(A, rows + 1) == [*expected, -1]  # nothing is written beyond the rows


@CASES
@pytest.mark.parametrize("fmt", [Q8_0, Q4_0, Q4_1])
def test_embed(fmt: int, case: int) -> None:
    rng = random.Random(f"embed {fmt} {case}")
    columns, position, r = 64, rng.randrange(12), rng.randint(4, 14)
    length = rng.choice([33, 64])
    w, d, m = any_matrix(rng, fmt, 13, columns)
    buffers = {A: i32s([-1] * (length + 1)), WEIGHTS: matrix(fmt, w, d, m)}
    guest = run_op(EMBED, [A, WEIGHTS, fmt, columns, length, r], buffers, position)
    row = position + 1  # the prompt is 1, 2, 3, …
    minimum = [half(h) if fmt == Q4_1 else 0 for h in m[row]]
    expected = [sat32(round_shift(w[row][c] * half(d[row][c // 32]) + minimum[c // 32], 24 - r)) for c in range(length)]
    assert guest.read_i32s(A, length + 1) == [*expected, -1]


def norm(x: Sequence[int], weights: Sequence[int], r: int, eps: int) -> tuple[int, list[int]]:
    if not any(x):
        return 127, [0] * len(x)
    b = max(map(bits, x))
    xs = [round_shift(v, b - 24) for v in x]
    f = r - (b - 24)
    mean = sum(v * v for v in xs) // len(x) + round_shift(eps, 48 - 2 * f)
    t = next(t for t in range(0, 64, 2) if 2**62 <= mean << t < 2**64)
    root = math.isqrt(2**124 // (mean << t))
    c, p = shrink([v * w for v, w in zip(x, weights, strict=True)])
    return normalise([(v * root, r + 24 - c + 62 - f - t // 2) for v in p])


def check_norm(x: Sequence[int], weights: Sequence[int], r: int, eps: int) -> None:
    guest = run_op(NORM, [A, B, WEIGHTS, len(x), r, eps], {B: i32s(x), WEIGHTS: i32s(weights)})
    assert guest.read_activation(A, len(x)) == norm(x, weights, r, eps)


@CASES
def test_norm(case: int) -> None:
    rng = random.Random(f"norm {case}")
    length, r, eps = rng.choice([1, 5, 96, 1000]), rng.randint(4, 14), rng.choice([0, 2815, 2**36 - 1])
    check_norm(any_vector(rng, length), any_vector(rng, length), r, eps)


@pytest.mark.parametrize(
    ("x", "weight", "length"),
    [
        (INT32_MIN, INT32_MIN, 1000),
        (0, INT32_MAX, 96),
        (INT32_MAX, INT32_MAX, 2**15),  # the sum of squares is 2^63
        (590965591, 1723957251, 1),  # one bit less in xs shows
        (396962098, 1405386754, 1),  # one bit more in xs shows
        (1860657668, 2002419709, 1),  # one bit more in p shows
    ],
)
def test_norm_at_its_edges(x: int, weight: int, length: int) -> None:
    check_norm([x] * length, [weight] * length, 14, 2815)


@CASES
def test_rope(case: int) -> None:
    rng = random.Random(f"rope {case}")
    heads, head_size, position = rng.choice([1, 3]), rng.choice([2, 8, 24]), rng.randrange(10)
    x = any_vector(rng, heads * head_size)
    pick: Callable[[], int] = rng.choice([lambda: rng.choice([-(2**30), 2**30]), lambda: rng.randint(-(2**30), 2**30)])
    table = [pick() for _ in range(10 * head_size)]
    guest = run_op(ROPE, [A, heads, head_size, WEIGHTS], {A: i32s(x), WEIGHTS: i32s(table)}, position)
    expected = []
    for k in range(0, len(x), 2):
        a, b = x[k : k + 2]
        cos, sin = table[position * head_size + k % head_size :][:2]
        expected += [sat32(round_shift(a * cos - b * sin, 30)), sat32(round_shift(a * sin + b * cos, 30))]
    assert guest.read_i32s(A, len(x)) == expected


@CASES
def test_cache(case: int) -> None:
    rng = random.Random(f"cache {case}")
    kv_heads, head_size, context, position = rng.choice([1, 3]), rng.choice([2, 8, 64]), 16, rng.randrange(16)
    vectors = [[any_vector(rng, head_size) for _ in range(kv_heads)] for _ in range(2)]
    keys, key_exponents, values, value_exponents = A, B, C, D
    guest = run_op(
        CACHE,
        [E, E + 0x10000, keys, key_exponents, values, value_exponents, kv_heads, head_size, context],
        {E: b"".join(map(i32s, vectors[0])), E + 0x10000: b"".join(map(i32s, vectors[1]))},
        position,
    )
    for heads, cached, exponents in zip(vectors, (keys, values), (key_exponents, value_exponents), strict=True):
        expected, expected_exponents = bytearray(kv_heads * context * head_size * 2), bytearray(kv_heads * context)
        for h, v in enumerate(heads):
            e, q = normalise([(x, 14) for x in v])
            row = h * context + position
            struct.pack_into(f"<{head_size}h", expected, row * head_size * 2, *q)
            struct.pack_into("<b", expected_exponents, row, e)
        assert guest.read(cached, len(expected)) == expected
        assert guest.read(exponents, len(expected_exponents)) == expected_exponents


@dataclass(frozen=True)
class Attention:
    """The inputs of ATTENTION at the last position of a context."""

    q: list[int]  # (heads, head_size)
    keys: list[int]  # (kv_heads, context, head_size)
    key_exponents: list[int]  # (kv_heads, context)
    values: list[int]
    value_exponents: list[int]
    heads: int
    kv_heads: int
    head_size: int
    context: int

    @property
    def scale(self) -> int:
        return round(2**30 * math.log2(math.e) / math.sqrt(self.head_size))

    def expected(self, position: int) -> tuple[int, list[int]]:
        joined: list[tuple[int, int]] = []
        size = self.head_size
        for h in range(self.heads):
            e_q, q = normalise([(x, 14) for x in self.q[h * size : (h + 1) * size]], 13)
            rows = [h // (self.heads // self.kv_heads) * self.context + t for t in range(position + 1)]
            scores = []
            for row in rows:
                dot = sum(x * y for x, y in zip(q, self.keys[row * size : (row + 1) * size], strict=True))
                scores.append(sat32(round_shift(dot * self.scale, e_q + self.key_exponents[row] + 14)))
            w = [exp2(score - max(scores)) for score in scores]
            lowest, total = min(self.value_exponents[row] for row in rows), sum(w)
            aligned = [round_shift(w_t, self.value_exponents[row] - lowest) for w_t, row in zip(w, rows, strict=True)]
            acc = [sum(a * self.values[row * size + i] for a, row in zip(aligned, rows, strict=True)) for i in range(size)]
            c, shrunk = shrink(acc)
            reciprocal = 2 ** (bits(total) + 30) // total
            joined += [(v * reciprocal, lowest + bits(total) + 30 - c) for v in shrunk]
        return normalise(joined)

    def check(self, position: int) -> None:
        guest = run_op(
            ATTENTION,
            [E, E + 0x10000, A, B, C, D, self.heads, self.kv_heads, self.head_size, self.context, self.scale],
            {
                E + 0x10000: i32s(self.q),
                A: struct.pack(f"<{len(self.keys)}h", *self.keys),
                B: struct.pack(f"<{len(self.key_exponents)}b", *self.key_exponents),
                C: struct.pack(f"<{len(self.values)}h", *self.values),
                D: struct.pack(f"<{len(self.value_exponents)}b", *self.value_exponents),
            },
            position,
        )
        assert guest.read_activation(E, self.heads * self.head_size) == self.expected(position)


@pytest.mark.parametrize("case", range(40))
def test_attention(case: int) -> None:
    rng = random.Random(f"attention {case}")
    kv_heads, shared, head_size, context = rng.choice([1, 2]), rng.choice([1, 3]), rng.choice([2, 8, 64]), 16
    heads, rows = kv_heads * shared, kv_heads * context
    like_a_model = case % 2 == 1  # scores that differ little

    def exponents() -> list[int]:
        if like_a_model:
            return [rng.randint(12, 16) for _ in range(rows)]
        return [rng.choice([127, -128, 5, rng.randint(-3, 28), rng.randint(8, 14)]) for _ in range(rows)]

    def cached() -> list[int]:
        return [max(-32767, x) for _ in range(rows) for x in any_vector(rng, head_size, 15)]

    q = [x for _ in range(heads) for x in any_vector(rng, head_size, 14 if like_a_model else 31)]
    Attention(q, cached(), exponents(), cached(), exponents(), heads, kv_heads, head_size, context).check(rng.randrange(context))


def test_attention_at_the_largest_product_of_a_head_of_128() -> None:
    for sign in (-1, 1):
        keys = [32767] * 256 + [-32767] * 128
        Attention([sign * (2**31 - 1)] * 128, keys, [127, 9, 30], [5] * 128 + [-3] * 256, [12] * 3, 1, 1, 128, 3).check(2)


def test_attention_where_only_a_small_weight_counts() -> None:
    """The position of weight 1 has no value, so what is seen is 2^z of the other one, down to where it rounds to 0."""
    for key in range(0, 32768, 257):
        Attention([8191, 0], [0, 0, -key, 0], [14, 9], [0, 0, 32767, 0], [15, 15], 1, 1, 2, 2).check(1)


@CASES
def test_swiglu(case: int) -> None:
    rng = random.Random(f"swiglu {case}")
    length = rng.choice([1, 40, 300])
    gate = [INT32_MIN] * length if case == 0 else any_vector(rng, length, rng.choice([17, 18, 19, 31]))
    up = [INT32_MIN] * length if case == 0 else any_vector(rng, length)
    guest = run_op(SWIGLU, [A, B, C, length], {B: i32s(gate), C: i32s(up)})
    c, p = shrink([g * sigmoid(g) for g in gate])
    assert guest.read_activation(A, length) == normalise([(v * u, 58 - c) for v, u in zip(p, up, strict=True)])


def test_swiglu_rounds_p_to_31_bits() -> None:
    gate, up = 169036, 913037236  # one bit more shows
    guest = run_op(SWIGLU, [A, B, C, 1], {B: i32s([gate]), C: i32s([up])})
    c, p = shrink([gate * sigmoid(gate)])
    assert guest.read_activation(A, 1) == normalise([(p[0] * up, 58 - c)])


def test_sigmoid_at_every_table_step() -> None:
    gate = [sign * (64 * k + offset) for k in range(0, 4098, 3) for offset in (-1, 0, 1, 33) for sign in (-1, 1)]
    guest = run_op(SWIGLU, [A, B, C, len(gate)], {B: i32s(gate), C: i32s([1 << 14] * len(gate))})
    c, p = shrink([g * sigmoid(g) for g in gate])
    assert guest.read_activation(A, len(gate)) == normalise([(v << 14, 58 - c) for v in p])


@CASES
def test_add(case: int) -> None:
    rng = random.Random(f"add {case}")
    x, y = any_vector(rng, 50), any_vector(rng, 50)
    bias = case % 2 == 1
    guest = run_op(ADD, [A, WEIGHTS if bias else B, 50], {A: i32s(x), (WEIGHTS if bias else B): i32s(y)})
    assert guest.read_i32s(A, 50) == [sat32(a + b) for a, b in zip(x, y, strict=True)]


@CASES
def test_relu(case: int) -> None:
    rng = random.Random(f"relu {case}")
    x, frac = any_vector(rng, 40), rng.choice([14, 8, 0])
    guest = run_op(RELU, [A, B, 40, frac], {B: i32s(x)})
    assert guest.read_activation(A, 40) == normalise([(max(v, 0), frac) for v in x])


def test_input() -> None:
    payload = bytes(range(256)) + bytes(3)
    guest = Guest([(INPUT, 0, A, len(payload))], kind=1, context=len(payload))
    guest.request(payload, 1)
    assert guest.stage(0) == 0
    assert guest.read_activation(A, len(payload) + 1) == (8, [*payload, 0])


@pytest.mark.parametrize(("drawn", "token"), [(0, 0), (2**62 - 1, 0), (2**62, 1), (2**63 - 1, 1), (2**63, 2), (2**64 - 1, 3)])
def test_sample_at_the_border_of_two_tokens(drawn: int, token: int) -> None:
    seed = seed_of(drawn, 0)
    assert splitmix64(seed, 0) == drawn
    guest = Guest([(SAMPLE, 1, A, 4)])
    guest.request(text_request([1], 1, 2**16, seed), 1)
    guest.write(A, i32s([7, 7, 7, 7]))
    assert guest.stage(0) == 0
    assert guest.output() == (1, 0, [token])


def test_sample_shows_the_last_bit_of_exp2() -> None:
    """The second of two tokens is the likelier one; the least random number that draws it depends on every bit of the first's weight."""
    scale = 6196328018 // 2**16
    for distance in [*range(1, 3000, 5), *range(3000, 90_000, 997)]:
        weight = exp2(-round_shift(distance * scale, 12))
        least = -(-(weight << 64) // (weight + 2**24))
        for drawn in (least - 1, least):
            guest = Guest([(SAMPLE, 1, A, 2)])
            guest.request(text_request([1], 1, 2**16, seed_of(drawn % 2**64, 0)), 1)
            guest.write(A, i32s([-distance, 0]))
            assert guest.stage(0) == 0
            assert guest.output() == (1, 0, [int(drawn in (least, -1))])


@pytest.mark.parametrize("case", range(30))
def test_sample(case: int) -> None:
    rng = random.Random(f"sample {case}")
    length = rng.choice([1, 5, 300])
    logits = any_vector(rng, length, rng.choice([13, 16, 31]))
    temperature = rng.choice([0, 2**10, 2**16, 2**22, rng.randint(2**10, 2**22)])
    seed, prompted = rng.getrandbits(64), rng.randint(1, 4)
    position = prompted - 1 + rng.randrange(3)
    largest = max(logits)
    if temperature:
        c = 6196328018 // temperature
        w = [exp2(-min(round_shift((largest - v) * c, 12), 2**31 - 1)) for v in logits]
        u = splitmix64(seed, position) * sum(w) >> 64
        expected = next(j for j in range(length) if sum(w[: j + 1]) > u)
    else:
        expected = logits.index(largest)
    stops = [expected] if case % 3 == 0 else [length]
    guest = Guest([(SAMPLE, 1, A, length)], stop_tokens=stops)
    guest.request(text_request([1] * prompted, 3, temperature, seed), prompted + 2)
    guest.write(A, i32s(logits))
    index = position - (prompted - 1)
    assert guest.stage(position) == 0
    count, done, tokens = guest.output()
    assert (count, done, tokens[index]) == (index + 1, int(case % 3 == 0), expected)


# --- stages and requests (spec §3)


def fresh_counter(guest: Guest, step: int = 1) -> None:
    """Vector A counts how often ADD ran: A += B."""
    guest.write(B, i32s([step]))


COUNT_UP = (ADD, 0, A, B, 1)


@pytest.mark.parametrize(
    ("payload", "stage_count", "byte_length", "code"),
    [
        (text_request([299, 0, 5], 4), 6, None, 0),
        (text_request([1], 63), 63, None, 0),
        (text_request([1], 1, 2**10), 1, None, 0),
        (text_request([1], 1, 2**22), 1, None, 0),
        (text_request([1], 1, 2**10 - 1), 1, None, 1),
        (text_request([1], 1, 2**22 + 1), 1, None, 1),
        (text_request([1], 1, 1), 1, None, 1),
        (text_request([1], 1, zero=1), 1, None, 1),
        (text_request([1], 64), 64, None, 1),  # beyond the context
        (text_request([1], 2**32 - 1), 2**32 - 1, None, 1),
        (text_request([], 2), 1, None, 1),
        (text_request([1, 2], 0), 1, None, 1),
        (text_request([300], 1), 1, None, 1),
        (text_request([1, 300], 1), 2, None, 1),
        (text_request([299, 0, 5], 4), 5, None, 1),
        (text_request([299, 0, 5], 4), 7, None, 1),
        (text_request([299, 0, 5], 4), 6, 35, 1),
        (text_request([299, 0, 5], 4), 6, 37, 1),
    ],
)
@pytest.mark.parametrize("single", [False, True])
def test_text_request_check(payload: bytes, stage_count: int, byte_length: int | None, code: int, single: bool) -> None:
    guest = Guest([COUNT_UP], single=single)
    fresh_counter(guest)
    prompted, drawn = struct.unpack_from("<II", payload)
    wrong_count = stage_count != prompted + drawn - 1
    guest.request(payload, 1 + wrong_count if single else stage_count, byte_length)
    assert guest.stage(0) == code
    ran = prompted + drawn - 1 if single else 1
    assert guest.read_i32s(A, 1) == [0 if code else ran]


@pytest.mark.parametrize(("length", "stage_count", "single", "code"), [
    (10, 2, False, 0), (10, 1, True, 0), (9, 2, False, 1), (11, 2, False, 1), (10, 1, False, 1), (10, 3, False, 1), (10, 2, True, 1),
])  # fmt: skip
def test_bytes_request_check(length: int, stage_count: int, single: bool, code: int) -> None:
    guest = Guest([COUNT_UP, COUNT_UP], kind=1, context=10, single=single)
    fresh_counter(guest)
    guest.request(bytes(range(length)), stage_count)
    assert guest.stage(0) == code
    assert guest.read_i32s(A, 1) == [0 if code else 2 if single else 1]


def test_only_stage_0_checks_the_request() -> None:
    guest = Guest([COUNT_UP])
    fresh_counter(guest)
    guest.request(text_request([300, 300], 4, 7), 99)
    assert guest.stage(0) == 1
    assert guest.stage(1) == 0
    assert guest.read_i32s(A, 1) == [1]


def test_stage_is_op_and_position() -> None:
    guest = Guest([COUNT_UP, (ADD, 1, A, C, 1), (SAMPLE, 1, D, 4)], stop_tokens=[77])
    guest.request(text_request([5, 6, 7], 2), 12)
    fresh_counter(guest)
    guest.write(C, i32s([100]))
    guest.write(D, i32s([1, 3, 3, 2]))
    seen = []
    for index in range(14):
        assert guest.stage(index) == 0
        seen.append(guest.read_i32s(A, 1)[0])
    assert seen == [1, 1, 1, 2, 2, 2, 3, 103, 103, 104, 204, 204, 204, 204]
    assert guest.output() == (2, 0, [1, 1])


def test_tokens_come_from_prompt_then_output() -> None:
    w = [[row] * 32 for row in range(8)]
    one = [[0x3C00] for _ in range(8)]
    guest = Guest([(EMBED, 0, A, WEIGHTS, Q8_0, 32, 1, 4)])
    guest.write(WEIGHTS, matrix(Q8_0, w, one, one))
    guest.request(text_request([5, 6], 3), 4)
    guest.write(OUTPUT, struct.pack("<QQ16xII", 2, 0, 3, 7))
    seen = []
    for index in range(4):
        assert guest.stage(index) == 0
        seen.append(guest.read_i32s(A, 1)[0] >> 4)
    assert seen == [5, 6, 3, 7]


def test_nothing_happens_after_done() -> None:
    guest = Guest([COUNT_UP, (99, 0)])
    fresh_counter(guest)
    guest.request(text_request([5], 3), 6)
    guest.write(OUTPUT, struct.pack("<QQ", 0, 1))
    assert [guest.stage(k) for k in range(6)] == [0] * 6
    assert guest.read_i32s(A, 1) == [0]


@pytest.mark.parametrize("opcode", [0, 12, 2**63, 2**64 - 1])
def test_unknown_opcode(opcode: int) -> None:
    guest = Guest([COUNT_UP, (opcode, 0), (opcode, 1)])
    guest.request(text_request([5, 6], 1), 6)
    assert [guest.stage(k) for k in range(6)] == [0, 2, 0, 0, 2, 2]
    single = Guest([COUNT_UP, (opcode, 0), COUNT_UP], single=True)
    fresh_counter(single)
    single.request(text_request([5, 6], 1), 1)
    assert single.stage(0) == 2
    assert single.read_i32s(A, 1) == [1]


def test_single_phase_stops_where_done_is_set() -> None:
    guest = Guest([COUNT_UP, (SAMPLE, 1, D, 4), COUNT_UP], single=True, stop_tokens=[0, 1])
    fresh_counter(guest)
    guest.request(text_request([5, 6, 7], 5), 1)
    guest.write(D, i32s([1, 3, 3, 2]))
    assert guest.stage(0) == 0
    assert guest.read_i32s(A, 1) == [5]  # two at each of two positions, one at the third
    assert guest.output() == (1, 1, [1])


def test_matmul_twice_in_one_stage() -> None:
    """What an op leaves in scratch does not reach the next op."""
    rng = random.Random("twice")
    w, d, m = any_matrix(rng, Q4_1, 8, 32)
    op = (MATMUL, 0, A, B, WEIGHTS, Q4_1, 8, 32, 14)
    results = []
    for ops in ([op], [op, op]):
        guest = Guest(ops, single=True)
        guest.request(text_request([1], 1), 1)
        guest.write(B, activation(20, list(range(32))))
        guest.write(WEIGHTS, matrix(Q4_1, w, d, m))
        assert guest.stage(0) == 0
        results.append(guest.read_i32s(A, 8))
    assert results[0] == results[1]


@pytest.mark.parametrize(("fmt", "most"), [(Q8_0, 3.0), (Q4_0, 3.1), (Q4_1, 3.4)])
def test_steps_a_weight(fmt: int, most: float) -> None:
    rows, columns = 256, 512
    guest = run_op(MATMUL, [A, B, WEIGHTS, fmt, rows, columns, 14], {B: activation(14, [1] * columns)})
    assert guest.machine.steps <= most * rows * columns


def test_mnist_steps() -> None:
    """Pixels, 20 hidden units, 10 digits, in a single phase: within 320,000 steps."""
    hidden_weights, digit_weights, biases = WEIGHTS, WEIGHTS + 0x10_0000, WEIGHTS + 0x20_0000
    guest = Guest(
        [
            (INPUT, 0, A, 784),
            (MATMUL, 0, B, A, hidden_weights, Q8_0, 20, 800, 14),
            (ADD, 0, B, biases, 20),
            (RELU, 0, C, B, 20, 14),
            (MATMUL, 0, D, C, digit_weights, Q8_0, 10, 32, 12),
            (ADD, 0, D, biases, 10),
            (SAMPLE, 0, D, 10),
        ],
        kind=1,
        context=784,
        single=True,
    )
    rng = random.Random("mnist")
    for address, rows, columns in ((hidden_weights, 20, 800), (digit_weights, 10, 32)):
        guest.write(address, matrix(Q8_0, *any_matrix(rng, Q8_0, rows, columns)))
    guest.request(rng.randbytes(784), 1)
    assert guest.stage(0) == 0
    assert guest.output()[:2] == (1, 1)
    assert guest.machine.steps <= 100_000
