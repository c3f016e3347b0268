"""Every native kernel against its formula, restated here on Python's integers, on random and extreme values."""

import struct
from decimal import Decimal, localcontext
from fractions import Fraction
from math import isqrt

import numpy as np
import pytest

from opml_min.machine import Memory
from opml_min.memory_map import OUTPUT, REQUEST, STATE
from opml_min.model.image.header import BYTES, TEXT, Header
from opml_min.model.image.ops import Op, Opcode
from opml_min.model.image.request import TextRequest
from opml_min.model.image.weights import Q4_0, Q4_1, Q8_0, Groups, pack
from opml_min.model.native.engine import Engine
from opml_min.model.native.kernels.fixed.fixed_point import exp2, reciprocal, rsqrt, sigmoid_table
from opml_min.model.native.kernels.unshared import token_at

IN, OTHER, OUT, CACHE = STATE, STATE + (1 << 20), STATE + (2 << 20), STATE + (3 << 20)
WEIGHTS = (1 << 38) + (1 << 30)
EXP2 = (234018, 1333042, 10395076, 59573866, 257944889, 744260928, 1073741824)


# --------------------------------------------------------------------------------------------------- the formulas of the page


def bits(v):
    return abs(v).bit_length()


def sat32(v):
    return max(-(2**31), min(2**31 - 1, v))


def round_shift(v, s):
    return (v + (1 << (s - 1))) >> s if s > 0 else v << -s


def normalise(values, fractions, width=15):
    exponents = [f + width - bits(v) for v, f in zip(values, fractions, strict=True) if v]
    if not exponents:
        return [0] * len(values), 127
    e, limit = min(exponents), 2**width - 1
    return [max(-limit, min(limit, round_shift(v, f - e))) for v, f in zip(values, fractions, strict=True)], e


def exp2_formula(z):
    i, f, p = z >> 16, (z % 65536) << 14, 0
    for coefficient in EXP2:
        p = round_shift(p * f, 30) + coefficient
    return round_shift(p, 6 - i)


def sigmoid_formula(g, table):
    a = abs(g)
    if a >= 2**18:
        s = 2**30
    else:
        k = a >> 6
        s = table[k] + round_shift((table[k + 1] - table[k]) * (a % 64), 6)
    return s if g >= 0 else 2**30 - s


def rsqrt_formula(v):
    return isqrt(2**124 // v)


# --------------------------------------------------------------------------------------------------------------------- a bench


class Bench:
    """One op on a memory."""

    def __init__(self, request=None, kind=TEXT, stop_tokens=()):
        self.memory, self.kind, self.stop_tokens = Memory(), kind, stop_tokens
        request = TextRequest((3,), 4).pack() if request is None else request
        self.memory.write(REQUEST, struct.pack("<QQ16x", 1, len(request)) + request)

    def put(self, address, values, dtype):
        self.memory.write(address, np.array(values, dtype).tobytes())

    def put_activation(self, address, q, e):
        self.memory.write(address, struct.pack("<i28x", e) + np.array(q, np.int16).tobytes())

    def activation(self, address, length):
        return self.get(address + 32, length, np.int16), self.get(address, 1, np.int32)[0]

    def get(self, address, count, dtype):
        return self.memory.view(address, count, dtype).tolist()

    def run(self, opcode, position=0, threads=1, **operands):
        tape = np.array([Op(opcode, 0, operands).words()], np.int64)
        header = Header(0, self.kind, 1, 0, 64, 512, tuple(self.stop_tokens), 0, 0, 0, 1)
        Engine(self.memory, header, tape, threads).run(position, position + 1)


def vectors(rng, length, count=12):
    """i32 vectors of all magnitudes, and the extremes."""
    yield [0] * length
    yield [-(2**31)] * length
    yield [2**31 - 1] * length
    yield [2**31 - 1 if i % 2 else -(2**31) for i in range(length)]
    yield [0] * (length - 1) + [1]
    yield [2**31 - 1] + [0] * (length - 2) + [-1]
    for i in range(count):
        yield rng.integers(-(2 ** (1 + 30 * i // (count - 1))), 2 ** (1 + 30 * i // (count - 1)), length).tolist()


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def random_groups(rng, quantisation, rows, groups):
    low, high = {Q8_0: (-128, 128), Q4_0: (0, 16), Q4_1: (0, 16)}[quantisation]
    weights = rng.integers(low, high, (rows, groups, 32)).astype(np.int8)
    halfs = (rng.integers(0, 0x5800, (2, rows, groups)) | rng.integers(0, 2, (2, rows, groups)) << 15).astype(np.uint16)  # |half| < 128
    halfs[:, 0, 0] = (0x8001, 0x57FF)  # a negative subnormal and the largest
    return Groups(weights, halfs[0], halfs[1] if quantisation == Q4_1 else None)


def half_q24(pattern):
    return int(Fraction(float(np.uint16(pattern).view(np.float16))) * 2**24)


# ------------------------------------------------------------------------------------------------------------------ elementary


def test_rsqrt_is_the_floor_at_every_border():
    values = [2**62, 2**62 + 1, 2**63, 2**64 - 1, 2**64 - 2, 3 * 2**62]
    values += [2**124 // (root * root) + d for root in range(2**31 - 5, 2**30, -(10**7)) for d in (-1, 0, 1)]
    for v in values:
        if 2**62 <= v < 2**64:
            assert rsqrt(np.uint64(v)) == rsqrt_formula(v), v


def test_reciprocal_is_the_floor():
    for v in [1, 2, 3, 5, 2**24, 2**24 - 1, 2**24 + 1, 2**33 - 1, 2**33, 2**33 + 1, 2**40 - 1, 2**48, 2**61 + 1, 10**12 + 39]:
        assert reciprocal(v) == 2 ** (bits(v) + 30) // v, v


def test_exp2_of_every_kind_of_argument():
    for z in [
        0,
        -1,
        -65535,
        -65536,
        -65537,
        -(2**21),
        -32 * 65536,
        -32 * 65536 - 1,
        -33 * 65536,
        -(2**31),
        -(2**32),
        *range(-300000, -65536, 997),
        *range(-65536, 0),
    ]:
        assert exp2(z) == exp2_formula(z), z


def test_sigmoid_table_holds_the_nearest_integers():
    with localcontext() as context:
        context.prec = 50
        for k, value in enumerate(sigmoid_table().tolist()):
            exact = Decimal(2**30) / (1 + (-Decimal(k) / 256).exp())
            assert abs(value - exact) < Decimal("0.49999"), k  # a float64 errs by 10^-6 at most


# -------------------------------------------------------------------------------------------------------------------------- ops


@pytest.mark.parametrize("quantisation", [Q8_0, Q4_0, Q4_1])
@pytest.mark.parametrize("threads", [1, 2])
def test_matmul(rng, quantisation, threads):
    rows, columns = 21, 96
    groups = random_groups(rng, quantisation, rows, columns // 32)
    bench = Bench()
    bench.memory.write(WEIGHTS, pack(quantisation, groups).tobytes())
    offset = 8 if quantisation == Q4_0 else 0
    cases = [(rng.integers(-32767, 32768, columns).tolist(), e, out) for e in (-40, -5, 0, 9, 14, 28, 60, 127) for out in (12, 14)]
    cases += [([32767] * columns, 20, 14), ([-32767] * columns, 3, 14), ([0] * columns, 127, 14)]
    for q, e, out_frac in cases:
        bench.put_activation(IN, q, e)
        sizes = {"rows": rows, "columns": columns, "out_frac": out_frac}
        bench.run(Opcode.MATMUL, threads=threads, out=OUT, x=IN, matrix=WEIGHTS, quantisation=quantisation, **sizes)
        expected = []
        for row in range(rows):
            total = 0
            for g in range(columns // 32):
                part = q[32 * g : 32 * g + 32]
                dot = sum((int(w) - offset) * x for w, x in zip(groups.weights[row, g], part, strict=True))
                total += half_q24(groups.scales[row, g]) * dot
                if quantisation == Q4_1:
                    total += half_q24(groups.minimums[row, g]) * sum(part)
            expected.append(sat32(round_shift(total, e + 24 - out_frac)))
        assert bench.get(OUT, rows + 1, np.int32) == [*expected, 0]


@pytest.mark.parametrize("quantisation", [Q8_0, Q4_0, Q4_1])
def test_embed(rng, quantisation):
    groups = random_groups(rng, quantisation, 16, 2)
    for token, r in ((0, 14), (3, 4), (9, 14), (15, 10)):
        bench = Bench(TextRequest((token,), 4).pack())
        bench.memory.write(WEIGHTS, pack(quantisation, groups).tobytes())
        bench.run(Opcode.EMBED, out=OUT, matrix=WEIGHTS, quantisation=quantisation, columns=64, length=50, r=r)
        expected = []
        for c in range(50):
            weight = int(groups.weights[token, c // 32, c % 32]) - (8 if quantisation == Q4_0 else 0)
            value = weight * half_q24(groups.scales[token, c // 32])
            value += half_q24(groups.minimums[token, c // 32]) if quantisation == Q4_1 else 0
            expected.append(sat32(round_shift(value, 24 - r)))
        assert bench.get(OUT, 51, np.int32) == [*expected, 0]


def test_tokens_are_words_without_a_sign():
    """A matrix of floats with one column may have more than 2^31 rows in the model quarter."""
    bench = Bench(TextRequest((0x8000_0001, 2**32 - 1), 4).pack())
    assert [token_at(bench.memory.base_address, position, 2) for position in range(2)] == [0x8000_0001, 2**32 - 1]


def test_norm(rng):
    bench, length = Bench(), 40
    for index, x in enumerate(vectors(rng, length)):
        weights = [2**31 - 1] * length if index == 3 else rng.integers(-(2**31), 2**31, length).tolist()
        for r, eps in ((14, 2814749767), (4, 2**36 - 1), (9, 0)):
            bench.put(IN, x, np.int32)
            bench.put(WEIGHTS, weights, np.int32)
            bench.run(Opcode.NORM, out=OUT, x=IN, weights=WEIGHTS, length=length, r=r, eps_q48=eps)
            assert bench.activation(OUT, length) == norm_formula(x, weights, r, eps)


def norm_formula(x, weights, r, eps):
    b = max(map(bits, x))
    if b == 0:
        return [0] * len(x), 127
    xs = [round_shift(v, b - 24) for v in x]
    fraction = r - (b - 24)
    mean = sum(v * v for v in xs) // len(x) + round_shift(eps, 48 - 2 * fraction)
    t = next(t for t in range(0, 64, 2) if 2**62 <= mean << t < 2**64)
    p = [a * w for a, w in zip(x, weights, strict=True)]
    c = max(0, max(map(bits, p)) - 31)
    z = [round_shift(v, c) * rsqrt_formula(mean << t) for v in p]
    return normalise(z, [r + 24 - c + 62 - fraction - t // 2] * len(z))


def test_norm_of_the_longest_saturated_vector():
    """The sum of squares reaches 2^63."""
    bench, length = Bench(), 1 << 15
    x, weights = [2**31 - 1] * length, [1 << 24] * length
    bench.put(IN, x, np.int32)
    bench.put(WEIGHTS, weights, np.int32)
    bench.run(Opcode.NORM, out=OUT, x=IN, weights=WEIGHTS, length=length, r=14, eps_q48=1)
    assert bench.activation(OUT, length) == norm_formula(x, weights, 14, 1)


@pytest.mark.parametrize("head_size", [8, 40])
def test_rope(rng, head_size):
    bench, heads, position = Bench(), 3, 5
    table = rng.integers(-(2**30), 2**30 + 1, (6, head_size // 2, 2))
    table[position, 0] = (2**30, -(2**30))
    bench.put(WEIGHTS, table, np.int32)
    for x in vectors(rng, heads * head_size, 4):
        bench.put(IN, x, np.int32)
        bench.run(Opcode.ROPE, position, vector=IN, heads=heads, head_size=head_size, table=WEIGHTS)
        expected = []
        for i in range(0, len(x), 2):
            cos, sin = table[position, i % head_size // 2].tolist()
            expected += [sat32(round_shift(x[i] * cos - x[i + 1] * sin, 30)), sat32(round_shift(x[i] * sin + x[i + 1] * cos, 30))]
        assert bench.get(IN, len(x), np.int32) == expected


def cache_operands(kv_heads, head_size, context):
    names = ("keys", "key_exps", "values", "value_exps")
    return {name: CACHE + (i << 16) for i, name in enumerate(names)} | {"kv_heads": kv_heads, "head_size": head_size, "context": context}


def test_cache(rng):
    bench, position = Bench(), 2
    o = cache_operands(2, 6, 4)
    for k, v in zip(vectors(rng, 12, 6), reversed(list(vectors(rng, 12, 6))), strict=True):
        bench.put(IN, k, np.int32)
        bench.put(OTHER, v, np.int32)
        bench.run(Opcode.CACHE, position, k=IN, v=OTHER, **o)
        for x, rows, exps in ((k, "keys", "key_exps"), (v, "values", "value_exps")):
            for head in range(2):
                q, e = normalise(x[6 * head : 6 * head + 6], [14] * 6)
                row = head * 4 + position
                assert bench.get(o[rows] + 12 * row, 6, np.int16) == q
                assert bench.get(o[exps] + row, 1, np.int8) == [e]
    assert not any(bench.get(o["keys"], 12, np.int16)), "the rows of other positions stay"


@pytest.mark.parametrize(("threads", "head_size"), [(1, 6), (2, 6), (2, 128)])
def test_attention(rng, threads, head_size):
    heads, kv_heads, context, position = 4, 2, 8, 6
    o = cache_operands(kv_heads, head_size, context)
    scale = round(2**30 * 1.4426950408889634 / head_size**0.5)
    bench = Bench()
    for index, q in enumerate(vectors(rng, heads * head_size)):
        keys, values = rng.integers(-32767, 32768, (2, kv_heads, context, head_size)).tolist()
        key_exps, value_exps = rng.integers(-3, 29, (2, kv_heads, context)).tolist()
        if index % 4 == 0:  # everything of one size, so that many weights count
            key_exps, value_exps = [[14] * context] * kv_heads, [[12] * context] * kv_heads
        if index == 1:  # all that a score's product can reach: with q = −2^31, 2^62.03 for a head of 128
            keys = np.full((kv_heads, context, head_size), -32767).tolist()
        if index % 4 == 1:  # one head attends to zeros
            values[0], value_exps[0] = [[0] * head_size] * context, [127] * context
        for name, value in (("keys", keys), ("values", values)):
            bench.put(o[name], value, np.int16)
        for name, value in (("key_exps", key_exps), ("value_exps", value_exps)):
            bench.put(o[name], value, np.int8)
        bench.put(IN, q, np.int32)
        bench.run(Opcode.ATTENTION, position, threads, out=OUT, q=IN, **o, heads=heads, scale_q30=scale)
        outputs, fractions = [], []
        for head in range(heads):
            kv = head // (heads // kv_heads)
            q_h, e_q = normalise(q[head * head_size : (head + 1) * head_size], [14] * head_size, 13)
            dots = [sum(a * b for a, b in zip(q_h, keys[kv][t], strict=True)) for t in range(position + 1)]
            scores = [sat32(round_shift(dot * scale, e_q + key_exps[kv][t] + 14)) for t, dot in enumerate(dots)]
            w = [exp2_formula(score - max(scores)) for score in scores]
            least = min(value_exps[kv][: position + 1])
            shifted = [round_shift(w[t], value_exps[kv][t] - least) for t in range(position + 1)]
            acc = [sum(shifted[t] * values[kv][t][i] for t in range(position + 1)) for i in range(head_size)]
            c = max(0, max(map(bits, acc)) - 31)
            inverse = 2 ** (bits(sum(w)) + 30) // sum(w)
            outputs += [round_shift(a, c) * inverse for a in acc]
            fractions += [least + bits(sum(w)) + 30 - c] * head_size
        assert bench.activation(OUT, heads * head_size) == normalise(outputs, fractions)


def test_swiglu(rng):
    bench, table = Bench(), sigmoid_table().tolist()
    gates, ups = list(vectors(rng, 33)), list(vectors(rng, 33))
    for gate, up in [*zip(gates, ups, strict=True), *zip(gates, reversed(ups), strict=True)]:
        bench.put(IN, gate, np.int32)
        bench.put(OTHER, up, np.int32)
        bench.run(Opcode.SWIGLU, out=OUT, gate=IN, up=OTHER, length=33)
        p = [g * sigmoid_formula(g, table) for g in gate]
        c = max(0, max(map(bits, p)) - 31)
        z = [round_shift(v, c) * u for v, u in zip(p, up, strict=True)]
        assert bench.activation(OUT, 33) == normalise(z, [58 - c] * 33)


def test_add_relu_and_input(rng):
    for x, y in zip(vectors(rng, 20, 4), reversed(list(vectors(rng, 20, 4))), strict=True):
        bench = Bench()
        bench.put(IN, x, np.int32)
        bench.put(OTHER, y, np.int32)
        bench.run(Opcode.RELU, out=OUT, x=IN, length=20, frac=11)
        assert bench.activation(OUT, 20) == normalise([max(v, 0) for v in x], [11] * 20)
        bench.run(Opcode.ADD, x=IN, y=OTHER, length=20)
        assert bench.get(IN, 20, np.int32) == [sat32(a + b) for a, b in zip(x, y, strict=True)]
    bench = Bench(bytes(range(250, 256)) + b"ab", BYTES)
    bench.run(Opcode.INPUT, out=OUT, length=8)
    assert bench.activation(OUT, 8) == ([250, 251, 252, 253, 254, 255, 97, 98], 8)


def sample_formula(logits, temperature, seed, position):
    top = max(logits)
    if temperature == 0:
        return logits.index(top)
    c = 6196328018 // temperature
    w = [exp2_formula(-min(round_shift((top - v) * c, 12), 2**31 - 1)) for v in logits]
    z = (seed + (position + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    u = ((z ^ z >> 31) * sum(w)) >> 64
    return next(j for j in range(len(w)) if sum(w[: j + 1]) > u)


def test_sample(rng):
    drawn = set()
    for index, logits in enumerate(vectors(rng, 37)):
        logits = [v >> 12 for v in logits] if index > 5 else logits
        for temperature in (0, 1 << 10, 1 << 16, 1 << 22):
            seed = 2**64 - 1 - index
            bench = Bench(TextRequest((3,), 9, temperature, seed).pack(), stop_tokens=(5, 36))
            bench.put(IN, logits, np.int32)
            bench.run(Opcode.SAMPLE, index % 9, logits=IN, length=37)
            token = sample_formula(logits, temperature, seed, index % 9)
            drawn.add(token)
            assert bench.get(OUTPUT, 2, np.int64) == [index % 9 + 1, int(token in (5, 36))]
            assert bench.get(OUTPUT + 32 + 4 * (index % 9), 1, np.int32) == [token]
    assert len(drawn) > 10
