"""Every native float kernel against its formula, restated here in bit-level operations, on ordinary and on extreme values."""

import struct
from fractions import Fraction

import numpy as np
import pytest
from opml_fuzz.conformance.integer_float import OPERATIONS

from opml_min.machine import Memory
from opml_min.memory_map import OUTPUT, REQUEST, STATE
from opml_min.model.image.header import BYTES, TEXT, Header
from opml_min.model.image.ops import FLOAT, Op, Opcode
from opml_min.model.image.request import TextRequest
from opml_min.model.image.weights import pack_f32, unpack_f32
from opml_min.model.native.engine import Engine

IN, OTHER, OUT, CACHE = STATE, STATE + (1 << 20), STATE + (2 << 20), STATE + (3 << 20)
WEIGHTS = (1 << 38) + (1 << 30)
ZERO, ONE, NAN, INFINITY = 0, 0x3F800000, 0x7FC00000, 0x7F800000
ODD = [0, 1 << 31, 1, 0x80000001, 0x007FFFFF, 0x7F7FFFFF, INFINITY, INFINITY | 1 << 31, NAN, 0x7F800001, 0xFFC12345, 0x00800000, ONE]
add, sub, mul, div, sqrt, less = (OPERATIONS[f"f32_{name}"] for name in ("add", "sub", "mul", "div", "sqrt", "lt"))
to_i32, from_i64 = OPERATIONS["f32_to_i32"], OPERATIONS["i64_to_f32"]


# --------------------------------------------------------------------------------------------------- the formulas of the page


def dot(a, b):
    total = ZERO
    for x, y in zip(a, b, strict=True):
        total = add(total, mul(x, y))
    return total


def exp(x):
    if OPERATIONS["f32_eq"](x, x) == 0:
        return NAN
    if less(0x42B17218, x):
        return INFINITY
    if less(x, 0xC2CFF1B5):
        return ZERO
    n = sub(add(mul(x, 0x3FB8AA3B), 0x4B400000), 0x4B400000)
    r = sub(sub(x, mul(n, 0x3F318000)), mul(n, 0xB95E8083))
    p = 0x3AB6DA15
    for c in (0x3C091DAB, 0x3D2AAA2F, 0x3E2AAA47, 0x3F000000):
        p = add(mul(p, r), c)
    p = add(add(mul(mul(p, r), r), r), ONE)
    m = to_i32(n)
    m -= (m >> 31) << 32
    h = m >> 1
    return mul(mul(p, (h + 127) << 23), (m - h + 127) << 23)


def sigmoid(x):
    return div(ONE, add(ONE, exp(x ^ 1 << 31)))


# --------------------------------------------------------------------------------------------------------------------- a bench


class Bench:
    """One op on a memory; vectors are lists of patterns."""

    def __init__(self, request=None, kind=TEXT):
        self.memory, self.kind = Memory(), kind
        request = TextRequest((3,), 4).pack() if request is None else request
        self.memory.write(REQUEST, struct.pack("<QQ16x", 1, len(request)) + request)

    def put(self, address, patterns):
        self.memory.write(address, np.array(patterns, np.uint32).tobytes())

    def get(self, address, count):
        return self.memory.view(address, count, np.uint32).tolist()

    def run(self, opcode, position=0, threads=1, **operands):
        tape = np.array([Op(opcode, 0, operands).words()], np.int64)
        header = Header(0, self.kind, 1, 0, 64, 512, (), 0, 0, 0, 1, arithmetic=FLOAT)
        Engine(self.memory, header, tape, threads).run(position, position + 1)


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def floats(rng, count, scale=1.0):
    return rng.normal(0, scale, count).astype(np.float32).view(np.uint32).tolist()


def vectors(rng, length):
    """Ordinary ones, tiny and huge ones, and all that is odd."""
    for scale in (1.0, 30.0, 1e-38, 1e-20, 1e19, 1e38):
        yield floats(rng, length, scale)
    for _ in range(3):
        yield rng.choice(np.array(ODD), length).tolist()
    yield rng.integers(0, 1 << 32, length).tolist()


# ----------------------------------------------------------------------------------------------------------------------- ops


def put_matrix(bench, patterns):
    """patterns: (rows, columns)"""
    bench.memory.write(WEIGHTS, pack_f32(np.array(patterns, np.uint32).view(np.float32)).tobytes())


def test_packing_is_undone_and_pads_with_zero_rows(rng):
    matrix = np.array(rng.integers(0, 1 << 32, (13, 5)), np.uint32).view(np.float32)
    packed = pack_f32(matrix)
    assert len(packed) == 16 * 5 * 4
    assert (unpack_f32(packed, 13, 5).view(np.uint32) == matrix.view(np.uint32)).all()
    assert not unpack_f32(packed, 16, 5)[13:].any()
    for row, column in ((0, 0), (3, 4), (12, 2)):
        place = ((row // 8 * 5 + column) * 8 + row % 8) * 4
        assert packed[place : place + 4].view(np.uint32)[0] == matrix.view(np.uint32)[row, column]


@pytest.mark.parametrize("rows", [1, 8, 13, 32, 47])
def test_matmul(rng, rows):
    columns = 11
    for x in vectors(rng, columns):
        bench = Bench()
        matrix = [vector for _ in range(5) for vector in vectors(rng, columns)][:rows]
        put_matrix(bench, matrix)
        bench.put(IN, x)
        bench.put(OUT, [77] * (rows + 8))
        bench.run(Opcode.FLOAT_MATMUL, out=OUT, x=IN, matrix=WEIGHTS, rows=rows, columns=columns)
        assert bench.get(OUT, rows) == [dot(row, x) for row in matrix]
        assert bench.get(OUT + 4 * rows, 8) == [77] * 8


def test_matmul_shared_by_threads(rng):
    rows, columns = 301, 256
    matrix, x = rng.normal(0, 1, (rows, columns)).astype(np.float32), floats(rng, columns)
    results = []
    for threads in (1, 2, 3):
        bench = Bench()
        put_matrix(bench, matrix.view(np.uint32))
        bench.put(IN, x)
        bench.run(Opcode.FLOAT_MATMUL, threads=threads, out=OUT, x=IN, matrix=WEIGHTS, rows=rows, columns=columns)
        results.append(bench.get(OUT, rows))
    assert results[0] == results[1] == results[2]
    assert results[0][300] == dot(matrix[300].view(np.uint32).tolist(), x)


def test_embed_copies_patterns(rng):
    matrix = rng.integers(0, 1 << 32, (12, 5)).tolist()
    for token in (0, 7, 11):
        bench = Bench(TextRequest((token,), 4).pack())
        put_matrix(bench, matrix)
        bench.run(Opcode.FLOAT_EMBED, out=OUT, matrix=WEIGHTS, columns=5)
        assert bench.get(OUT, 5) == matrix[token]


def test_norm(rng):
    for x in vectors(rng, 9):
        weights, eps = floats(rng, 9), 0x3727C5AC
        bench = Bench()
        bench.put(IN, x)
        bench.put(WEIGHTS, weights)
        bench.run(Opcode.FLOAT_NORM, out=OUT, x=IN, weights=WEIGHTS, length=9, eps_bits=eps)
        inverse = div(ONE, sqrt(add(div(dot(x, x), from_i64(9)), eps)))
        assert bench.get(OUT, 9) == [mul(w, mul(inverse, v)) for w, v in zip(weights, x, strict=True)]


def test_rope(rng):
    heads, head_size, position = 3, 4, 5
    for x in vectors(rng, heads * head_size):
        table = floats(rng, 6 * head_size)
        bench = Bench()
        bench.put(IN, x)
        bench.put(WEIGHTS, table)
        bench.run(Opcode.FLOAT_ROPE, position, vector=IN, heads=heads, head_size=head_size, table=WEIGHTS)
        expected = []
        for i in range(0, len(x), 2):
            cosine, sine = table[position * head_size + i % head_size :][:2]
            expected += [sub(mul(x[i], cosine), mul(x[i + 1], sine)), add(mul(x[i], sine), mul(x[i + 1], cosine))]
        assert bench.get(IN, len(x)) == expected


def test_cache_copies_patterns(rng):
    kv_heads, head_size, context, position = 2, 4, 7, 3
    k, v = rng.integers(0, 1 << 32, (2, kv_heads * head_size)).tolist()
    bench = Bench()
    bench.put(IN, k)
    bench.put(OTHER, v)
    bench.run(
        Opcode.FLOAT_CACHE, position, k=IN, v=OTHER, keys=CACHE, values=OUT, kv_heads=kv_heads, head_size=head_size, context=context
    )  # fmt: skip
    for vector, cache in ((k, CACHE), (v, OUT)):
        expected = [0] * (kv_heads * context * head_size)
        for head in range(kv_heads):
            place = (head * context + position) * head_size
            expected[place : place + head_size] = vector[head * head_size : (head + 1) * head_size]
        assert bench.get(cache, len(expected)) == expected


@pytest.mark.parametrize("position", [0, 2, 3, 4, 8])
@pytest.mark.parametrize("scale", [1.0, 1e-22, 1e19, None])
def test_attention(rng, position, scale):
    heads, kv_heads, head_size, context, root = 4, 2, 6, 9, 0x401CC471

    def values(count):
        return rng.choice(np.array(ODD), count).tolist() if scale is None else floats(rng, count, scale)

    q, keys, cached = values(heads * head_size), values(kv_heads * context * head_size), values(kv_heads * context * head_size)
    bench = Bench()
    bench.put(IN, q)
    bench.put(CACHE, keys)
    bench.put(OTHER, cached)
    sizes = {"heads": heads, "kv_heads": kv_heads, "head_size": head_size, "context": context}
    bench.run(Opcode.FLOAT_ATTENTION, position, out=OUT, q=IN, keys=CACHE, values=OTHER, **sizes, root_bits=root)
    expected = []
    for head in range(heads):
        row = head // (heads // kv_heads) * context
        at = [slice((row + t) * head_size, (row + t + 1) * head_size) for t in range(position + 1)]
        scores = [div(dot(q[head * head_size : (head + 1) * head_size], keys[place]), root) for place in at]
        largest = scores[0]
        for score in scores:
            largest = score if less(largest, score) else largest
        weights = [exp(sub(score, largest)) for score in scores]
        total = ZERO
        for w in weights:
            total = add(total, w)
        shares = [div(w, total) for w in weights]
        expected += [dot(shares, [cached[place][i] for place in at]) for i in range(head_size)]
    assert bench.get(OUT, len(expected)) == expected


def test_swiglu_add_relu(rng):
    for x in vectors(rng, 40):
        y = rng.permutation(x).tolist()
        bench = Bench()
        bench.put(IN, x)
        bench.put(OTHER, y)
        bench.run(Opcode.FLOAT_SWIGLU, out=OUT, gate=IN, up=OTHER, length=40)
        assert bench.get(OUT, 40) == [mul(mul(gate, sigmoid(gate)), up) for gate, up in zip(x, y, strict=True)]
        bench.run(Opcode.FLOAT_RELU, out=OUT, x=IN, length=40)
        assert bench.get(OUT, 40) == [v if less(ZERO, v) else ZERO for v in x]
        bench.run(Opcode.FLOAT_ADD, x=IN, y=OTHER, length=40)
        assert bench.get(IN, 40) == [add(*pair) for pair in zip(x, y, strict=True)]


def test_input():
    data = bytes(range(256))
    bench = Bench(data, BYTES)
    bench.run(Opcode.FLOAT_INPUT, out=OUT, length=256)
    assert bench.get(OUT, 256) == [div(from_i64(byte), from_i64(256)) for byte in data]


def splitmix64(seed, position):
    z = (seed + (position + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def value(bits):
    return Fraction(struct.unpack("<f", struct.pack("<I", bits))[0])


def expected_token(logits, temperature_q16, seed):
    best = 0
    for j, logit in enumerate(logits):
        best = j if less(logits[best], logit) else best
    if temperature_q16 == 0:
        return best
    temperature = mul(from_i64(temperature_q16), 0x37800000)
    scaled = [mul(exp(div(sub(logit, logits[best]), temperature)), from_i64(1 << 24)) for logit in logits]
    weights = [0 if bits == NAN else round(value(bits)) for bits in scaled]
    threshold = splitmix64(seed, 0) * sum(weights) >> 64
    for j in range(len(weights)):
        if sum(weights[: j + 1]) > threshold:
            return j
    return best


@pytest.mark.parametrize("temperature_q16", [0, 1 << 10, 1 << 15, 1 << 16, 1 << 22])
def test_sample(rng, temperature_q16):
    for seed in range(6):
        for logits in vectors(rng, 30):
            bench = Bench(TextRequest((3,), 4, temperature_q16, seed).pack())
            bench.put(IN, logits)
            bench.run(Opcode.FLOAT_SAMPLE, logits=IN, length=30)
            assert bench.get(OUTPUT + 32, 1) == [expected_token(logits, temperature_q16, seed)]


def test_sigmoid_is_accurate(rng):
    """It, through SWIGLU's sigmoid at x and up = 1, is within 4 units in the last place of the function."""
    x = np.concatenate([np.linspace(-85, 85, 4000), rng.normal(0, 1, 4000)]).astype(np.float32)
    bench = Bench()
    bench.put(IN, x.view(np.uint32))
    bench.put(OTHER, np.full(len(x), ONE, np.uint32))
    bench.run(Opcode.FLOAT_SWIGLU, out=OUT, gate=IN, up=OTHER, length=len(x))
    found = np.array(bench.get(OUT, len(x)), np.uint32).view(np.float32).astype(np.float64)
    exact = x.astype(np.float64) / (1 + np.exp(-x.astype(np.float64)))
    assert (np.abs(found - exact) <= 4 * 2.0**-23 * np.abs(exact)).all()
