"""The float operations against the hardware's float32, bit for bit, in the order that the text pins; and exp against its true value."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.arithmetic.binary32 import INFINITY, NAN, ONE, SIGN, lt
from opml_spec.arithmetic.float_functions import EXP_OVERFLOWS, EXP_VANISHES, dot, exp, sigmoid, total
from opml_spec.machine.memory import MODEL, STATE, Memory
from opml_spec.model.layout import FLOAT, HEADER, Header, encode_words
from opml_spec.model.operations.float import (
    FloatAdd,
    FloatAttention,
    FloatCache,
    FloatEmbed,
    FloatInput,
    FloatMatMul,
    FloatNorm,
    FloatRelu,
    FloatRope,
    FloatSample,
    FloatSwiGlu,
    first_largest,
    weight_q24,
)
from opml_spec.model.stage import run_stage
from opml_spec.model.tensors import load_floats
from spec_llama import output, text_request, with_request

A, B, C, D = (STATE + (i << 20) for i in range(4))
TABLE = MODEL + (1 << 29)
f32 = np.float32


def memory(**segments: np.ndarray) -> Memory:
    header = encode_words(Header(context=16, vocabulary=32, arithmetic=FLOAT).words)
    places = {"a": A, "b": B, "c": C, "d": D, "table": TABLE}
    return Memory.from_segments({HEADER: header, **{places[name]: data.astype(f32).tobytes() for name, data in segments.items()}})


def normal(size: tuple[int, ...], seed: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, size).astype(f32)


def read(m: Memory, address: int, count: int) -> np.ndarray:
    return np.frombuffer(m.load_bytes(address, 4 * count), f32)


def same(actual: np.ndarray, expected: np.ndarray) -> None:
    assert expected.dtype == f32
    assert actual.view(np.uint32).tolist() == expected.ravel().view(np.uint32).tolist()


def sum_in_order(terms: np.ndarray) -> np.ndarray:
    """Along the first axis, one float32 addition after the other."""
    result = np.zeros(terms.shape[1:], f32)
    for term in terms:
        result = result + term
    return result


def tiled(weights: np.ndarray) -> np.ndarray:
    """(rows, columns) as it lies in memory."""
    rows, columns = weights.shape
    full = np.zeros((-(-rows // 8) * 8, columns), f32)
    full[:rows] = weights
    return full.reshape(-1, 8, columns).transpose(0, 2, 1)


def exp_f32(x: np.ndarray) -> np.ndarray:
    """The sequence of the text in the hardware's float32, for arguments within its range."""
    c = {name: np.array(bits, np.uint32).view(f32) for name, bits in (("log2e", 0x3FB8AA3B), ("high", 0x3F318000), ("low", 0xB95E8083))}
    big = f32(12582912)
    n = (x * c["log2e"] + big) - big
    r = (x - n * c["high"]) - n * c["low"]
    p = np.full_like(x, np.uint32(0x3AB6DA15).view(f32))
    for bits in (0x3C091DAB, 0x3D2AAA2F, 0x3E2AAA47, 0x3F000000):
        p = p * r + np.uint32(bits).view(f32)
    p = ((p * r) * r + r) + f32(1)
    m = n.astype(np.int64)
    h = m >> 1
    return p * np.exp2(h).astype(f32) * np.exp2(m - h).astype(f32)


def test_exp_is_the_pinned_sequence() -> None:
    x = np.concatenate([np.random.default_rng(1).uniform(-103.9, 88.7, 3000).astype(f32), normal((500,), 2, 1e-3)])
    same(np.array([exp(a) for a in x.view(np.uint32).tolist()], np.uint32).view(f32), exp_f32(x))


def test_exp_at_its_borders() -> None:
    assert exp(0) == exp(SIGN) == ONE
    assert exp(NAN | SIGN | 1) == NAN
    assert exp(INFINITY) == exp(EXP_OVERFLOWS + 1) == INFINITY
    assert exp(EXP_OVERFLOWS - 1) < exp(EXP_OVERFLOWS) == INFINITY, "the border itself overflows by itself"
    assert exp(INFINITY | SIGN) == exp(EXP_VANISHES + 1) == 0
    assert exp(EXP_VANISHES) <= 1
    assert sigmoid(0) == 0x3F000000
    assert sigmoid(INFINITY) == ONE
    assert sigmoid(INFINITY | SIGN) == 0


def test_sums_run_in_order_from_plus_zero() -> None:
    assert total([SIGN, SIGN]) == 0, "+0 + −0 is +0"
    one, huge = ONE, 0x5F800000
    assert total([one, huge, huge | SIGN]) == 0
    assert total([huge, huge | SIGN, one]) == one
    assert dot([one, huge], [one, one]) == huge


@pytest.mark.parametrize("rows", [8, 11])
def test_matmul(rows: int) -> None:
    weights, x = normal((rows, 20), 3), normal((20,), 4, 100)
    m = FloatMatMul(B, A, TABLE, rows, 20).execute(memory(table=tiled(weights), a=x), 0)
    same(read(m, B, rows), sum_in_order((weights * x).T))
    assert read(m, B + 4 * rows, 1) == 0


def test_embed_copies_the_row() -> None:
    weights = normal((32, 20), 5)
    weights[29, 3] = np.uint32(0x7F800001).view(f32)  # a NaN's bits are copied too
    m = with_request(memory(table=tiled(weights)), 1, text_request([3, 29], 1))
    same(read(FloatEmbed(A, TABLE, 20).execute(m, 1), A, 20), weights[29])


def test_norm() -> None:
    x, weights, eps = normal((48,), 6), normal((48,), 7), f32(1e-5)
    m = FloatNorm(C, A, B, 48, int(eps.view(np.uint32))).execute(memory(a=x, b=weights), 0)
    inverse = f32(1) / np.sqrt(sum_in_order(x * x) / f32(48) + eps)
    same(read(m, C, 48), weights * (inverse * x))


def test_rope_swiglu_add_relu_input() -> None:
    x, y = normal((24,), 8), normal((24,), 9, 5)
    angles = np.arange(4)[:, None] * np.array([1.0, 0.01])
    table = np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(f32)
    m = memory(a=x, b=y, table=table)
    cos, sin = np.tile(table[3, :, 0], 6), np.tile(table[3, :, 1], 6)
    turned = np.stack([x[0::2] * cos - x[1::2] * sin, x[0::2] * sin + x[1::2] * cos], axis=-1)
    same(read(FloatRope(A, 6, 4, TABLE).execute(m, 3), A, 24), turned)
    same(read(FloatSwiGlu(C, B, A, 24).execute(m, 0), C, 24), (y * (f32(1) / (f32(1) + exp_f32(-y)))) * x)
    same(read(FloatAdd(A, B, 24).execute(m, 0), A, 24), x + y)
    same(read(FloatRelu(C, A, 24).execute(m, 0), C, 24), np.where(x > 0, x, f32(0)))
    for special, expected in ((NAN, 0), (SIGN, 0), (INFINITY, INFINITY), (1, 1)):
        assert load_floats(FloatRelu(C, A, 1).execute(m.store(A, 4, special), 0), C, 1) == [expected]
    same(read(FloatInput(A, 3).execute(with_request(m, 1, bytes([0, 1, 255])), 0), A, 3), np.array([0, 1, 255], f32) / f32(256))


def test_cache_and_attention() -> None:
    keys, values, q = normal((5, 2, 8), 10), normal((5, 2, 8), 11), normal((4, 8), 12, 3)
    m = memory()
    at = C, D
    for position in range(5):
        m = m.store_bytes(A, keys[position].tobytes()).store_bytes(B, values[position].tobytes())
        m = FloatCache(A, B, *at, 2, 8, 16).execute(m, position)
    root = np.sqrt(f32(8))
    m = FloatAttention(B, A, *at, 4, 2, 8, 16, int(root.view(np.uint32))).execute(m.store_bytes(A, q.tobytes()), 4)
    expected = []
    for head in range(4):
        scores = sum_in_order((keys[:, head // 2] * q[head]).T) / root
        weights = exp_f32(scores - scores.max())
        shares = weights / sum_in_order(weights)
        expected.append(sum_in_order(shares[:, None] * values[:, head // 2]))
    same(read(m, B, 32), np.array(expected))


def sampled(logits: list[float], temperature_q16: int, seed: int = 0) -> int:
    m = with_request(memory(a=np.array(logits)), 1, text_request([1], 1, temperature_q16, seed))
    return output(FloatSample(A, len(logits)).execute(m, 0))[0][0]


def test_sample() -> None:
    nan, infinity = float("nan"), float("inf")
    assert sampled([1, 9, 3, 9], 0) == 1
    assert sampled([nan, 9, 3], 0) == 0, "a NaN at index 0 is never replaced"
    assert sampled([1, nan, 3], 0) == 2
    assert sampled([-0.0, 0.0], 0) == 0
    draws = [sampled([0, 1, -2, nan], 1 << 16, seed) for seed in range(100)]
    assert set(draws) == {0, 1, 2}
    assert draws.count(1) > draws.count(0) > draws.count(2)
    assert sampled([nan, 1, 2], 1 << 16) == 0
    assert sampled([1, infinity, 2], 1 << 16) == 1, "∞ − ∞ is NaN: no weight at all, so the largest"
    assert weight_q24(NAN) == 0
    assert weight_q24(ONE) == 1 << 24
    assert weight_q24(0x33000000) == 0, "2^-25 is a tie: to even"


@given(st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=8))
def test_first_largest(values: list[int]) -> None:
    index = first_largest(values)
    assert not any(lt(values[index], value) for value in values)


def test_float_ops_are_on_the_tape() -> None:
    m = memory(a=np.array([1.0]), b=np.array([2.0]))
    header = Header(ops=1, tape=HEADER + 4096, context=16, vocabulary=32, arithmetic=FLOAT)
    m = m.store_bytes(HEADER, encode_words(header.words)).store_bytes(header.tape, encode_words(FloatAdd(A, B, 1).record().words))
    after, exit_code = run_stage(with_request(m, 1, text_request([1], 1)), 0)
    assert exit_code == 0
    assert after.load(A, 4) == struct.unpack("<I", struct.pack("<f", 3.0))[0]
