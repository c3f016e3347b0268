"""Each operation against the real-valued function that it stands for, and on edge cases."""

import random
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.machine.memory import MODEL, STATE, Memory
from opml_spec.model.layout import BYTES, HEADER, Header, encode_words
from opml_spec.model.llama import attention_scale_q30
from opml_spec.model.operations.fixed import Add, Attention, Cache, Embed, Input, MatMul, Norm, Relu, Rope, Sample, SwiGlu, draw, splitmix64
from opml_spec.model.tensors import half, load_activation, load_ints, load_vector, store_activation, store_ints, store_vector
from spec_llama import Q4_0, Q4_1, Q8_0, block_matrix, output, text_request, with_request

A, B, C, D, E = (STATE + (i << 20) for i in range(5))
TABLE = MODEL + (1 << 29)


def memory(**header: int) -> Memory:
    return Memory.from_segments({HEADER: encode_words(Header(context=64, vocabulary=64, **header).words)})


def vector(size: int, seed: int, scale: float = 1.0, frac: int = 14) -> list[int]:
    numbers = np.rint(np.random.default_rng(seed).normal(0, scale, size) * 2**frac)
    return [int(v) for v in np.clip(numbers, -(2**31), 2**31 - 1)]


def value(activation: tuple[Sequence[int], int]) -> np.ndarray:
    return np.array(activation[0]) * 2.0 ** -activation[1]


def close(actual: np.ndarray, expected: np.ndarray, units: float = 1.0) -> None:
    """Within `units` of the last place of an activation: 2^-15 of the largest value."""
    assert np.abs(actual - expected).max() <= units * np.abs(expected).max() * 2**-14


# Tensors ---------------------------------------------------------------------------------------------------------------------------------


def test_a_half_is_read_exactly() -> None:
    """All finite encodings, against numpy's binary16."""
    encodings = np.array([e for e in range(1 << 16) if e >> 10 & 31 != 31], dtype=np.uint16)
    expected = encodings.view(np.float16).astype(np.float64) * 2**24
    assert [half(int(e)) for e in encodings] == expected.astype(np.int64).tolist()


# MATMUL and EMBED ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [Q8_0, Q4_0, Q4_1])
@pytest.mark.parametrize("rows", [8, 13])
def test_matmul_is_the_exact_product_rounded_once(form: int, rows: int) -> None:
    rng = np.random.default_rng(form + rows)
    low, high = {Q8_0: (-128, 128), Q4_0: (0, 16), Q4_1: (0, 16)}[form]
    stored, scales = rng.integers(low, high, (rows, 96)), rng.normal(0, 0.1, (rows, 3)).astype(np.float16)
    scales[0, 0] = np.float16(3e-8)  # a subnormal half
    minimums = rng.normal(0, 1, (rows, 3)).astype(np.float16) if form == Q4_1 else None
    q, e = [int(v) for v in rng.integers(-32767, 32768, 96)], 11
    m = memory().store_bytes(TABLE, block_matrix(form, stored, scales, minimums))
    m = MatMul(B, A, TABLE, form, rows, 96, 14).execute(store_activation(m, A, (q, e)), 0)
    for row, actual in enumerate(load_vector(m, B, rows)):
        exact = Fraction(0)
        for c in range(96):
            weight = (int(stored[row, c]) - (8 if form == Q4_0 else 0)) * Fraction(float(scales[row, c // 32]))
            weight += Fraction(float(minimums[row, c // 32])) if minimums is not None else 0
            exact += weight * q[c] / 2**e
        assert abs(actual - exact * 2**14) <= Fraction(1, 2)


def test_matmul_saturates() -> None:
    m = memory().store_bytes(TABLE, block_matrix(Q8_0, np.full((2, 32), 127) * [[1], [-1]], np.full((2, 1), 100, np.float16)))
    m = MatMul(B, A, TABLE, Q8_0, 2, 32, 14).execute(store_activation(m, A, ([32767] * 32, 5)), 0)
    assert load_vector(m, B, 2) == [2**31 - 1, -(2**31)]


@pytest.mark.parametrize("form", [Q8_0, Q4_0, Q4_1])
def test_embed_is_the_tokens_row(form: int) -> None:
    rng = np.random.default_rng(form)
    stored, scales = rng.integers(0, 16, (40, 64)), rng.normal(0, 0.1, (40, 2)).astype(np.float16)
    minimums = rng.normal(0, 1, (40, 2)).astype(np.float16) if form == Q4_1 else None
    m = with_request(memory().store_bytes(TABLE, block_matrix(form, stored, scales, minimums)), 1, text_request([3, 37], 4))
    row = Embed(B, TABLE, form, 64, 50, 9).execute(m, 1)
    expected = (stored[37] - (8 if form == Q4_0 else 0)) * np.repeat(scales[37].astype(float), 32)
    if minimums is not None:
        expected = expected + np.repeat(minimums[37].astype(float), 32)
    assert np.abs(np.array(load_vector(row, B, 50)) - expected[:50] * 2**9).max() <= 0.5
    assert load_vector(row, B + 200, 1) == [0], "nothing is written beyond the length"


# NORM ------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-4, 0.01, 1.0, 300.0, 60000.0])
@pytest.mark.parametrize("r", [4, 9, 14])
def test_norm_is_rms_norm(scale: float, r: int) -> None:
    x, weights = vector(96, 1, scale, r), vector(96, 2, 1.0, 24)
    m = store_vector(store_vector(memory(), A, x), B, weights)
    out = load_activation(Norm(C, A, B, 96, r, round(1e-5 * 2**48)).execute(m, 0), C, 96)
    real = np.array(x) / 2.0**r
    if any(x):
        close(value(out), real / np.sqrt((real**2).mean() + 1e-5) * np.array(weights) / 2**24)
    else:
        assert out == ([0] * 96, 127)


@pytest.mark.parametrize("x", [[0] * 32, [1] + [0] * 31, [-(2**31)] * 32, [2**31 - 1] * 32, [2**31 - 1] + [0] * 31])
def test_norm_at_its_corners(x: list[int]) -> None:
    m = store_vector(store_vector(memory(), A, x), B, [2**31 - 1] * 32)
    out = load_activation(Norm(C, A, B, 32, 14, 0).execute(m, 0), C, 32)
    if not any(x):
        assert out == ([0] * 32, 127)
    else:
        real = np.array(x, dtype=float)
        close(value(out), real / np.sqrt((real**2).mean()) * (2**31 - 1) / 2**24)


# ROPE ------------------------------------------------------------------------------------------------------------------------------------


def test_rope_turns_each_pair_by_the_positions_angle() -> None:
    angles = np.arange(4)[:, None] * np.array([1.0, 0.01])
    table = np.rint(np.stack([np.cos(angles), np.sin(angles)], axis=-1) * 2**30).astype("<i4")
    x = vector(12, 3)
    m = Rope(A, 3, 4, TABLE).execute(store_vector(memory(), A, x).store_bytes(TABLE, table.tobytes()), 3)
    z = np.array(x[0::2]) + 1j * np.array(x[1::2])
    turned = z * np.exp(1j * np.tile(angles[3], 3))
    actual = np.array(load_vector(m, A, 12))
    assert np.abs(actual[0::2] + 1j * actual[1::2] - turned).max() < 1
    extreme = Rope(A, 1, 2, TABLE).execute(store_vector(m, A, [2**31 - 1, -(2**31)]).store_bytes(TABLE, b"\0\0\0\x2d" * 2), 0)
    assert load_vector(extreme, A, 2) == [2**31 - 1, -1], "it saturates; cos = sin = 0.703"


# CACHE and ATTENTION ---------------------------------------------------------------------------------------------------------------------


def cached(rows: int, kv_heads: int, size: int, keys: np.ndarray, values: np.ndarray) -> tuple[Memory, tuple[int, int, int, int]]:
    """The memory after `rows` positions of CACHE, whose vectors are given as floats (rows, kv_heads, size)."""
    m, at = memory(), (C, D, E, E + (1 << 18))
    for position in range(rows):
        for place, x in ((A, keys), (B, values)):
            m = store_vector(m, place, [int(v) for v in np.rint(x[position] * 2**14).ravel()])
        m = Cache(A, B, *at, kv_heads, size, 64).execute(m, position)
    return m, at


def test_cache_keeps_each_head_in_its_row() -> None:
    rng = np.random.default_rng(4)
    keys, values = rng.normal(0, 3, (5, 2, 32)), rng.normal(0, 0.01, (5, 2, 32))
    m, (k, k_exp, v, v_exp) = cached(5, 2, 32, keys, values)
    for position, head in np.ndindex(5, 2):
        for real, rows, exponents in ((keys, k, k_exp), (values, v, v_exp)):
            place = head * 64 + position
            q, e = load_ints(m, rows + 64 * place, 32, 2), load_ints(m, exponents + place, 1, 1)[0]
            rounded = np.rint(real[position, head] * 2**14) / 2**14
            close(value((q, e)), rounded)
    assert load_ints(m, k_exp + 5, 1, 1) == [0], "the next position is untouched"


@pytest.mark.parametrize(("key_scale", "value_scale"), [(1.0, 1.0), (10.0, 0.001), (0.0, 1.0), (1.0, 0.0)])
def test_attention_is_the_weighted_mean_of_the_values(key_scale: float, value_scale: float) -> None:
    rng = np.random.default_rng(5)
    keys = np.rint(rng.normal(0, key_scale, (7, 2, 32)) * 2**14) / 2**14
    values = np.rint(rng.normal(0, value_scale, (7, 2, 32)) * rng.choice([1, 16], (7, 2, 1)) * 2**14) / 2**14
    m, at = cached(7, 2, 32, keys, values)
    q = vector(4 * 32, 6)
    m = Attention(B, A, *at, 4, 2, 32, 64, attention_scale_q30(32)).execute(store_vector(m, A, q), 6)
    out = load_activation(m, B, 128)
    expected = []
    for head, query in enumerate(np.array(q).reshape(4, 32) / 2**14):
        scores = keys[:, head // 2] @ query / np.sqrt(32)
        p = np.exp(scores - scores.max())
        expected.append(p / p.sum() @ values[:, head // 2])
    if value_scale:
        close(value(out), np.concatenate(expected), 8 * max(1.0, key_scale))
    else:
        assert out == ([0] * 128, 127)


@pytest.mark.parametrize("head_size", [2, 8, 48, 64, 128])
def test_the_attention_scale_is_the_nearest_integer(head_size: int) -> None:
    assert abs(attention_scale_q30(head_size) - 2**30 * np.log2(np.e) / np.sqrt(head_size)) <= 0.5 + 1e-6


# SWIGLU, ADD, INPUT, RELU ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.001, 1.0, 1000.0, 100000.0])
def test_swiglu(scale: float) -> None:
    gate, up = vector(64, 7, scale), vector(64, 8)
    m = SwiGlu(C, A, B, 64).execute(store_vector(store_vector(memory(), A, gate), B, up), 0)
    real = np.array(gate) / 2**14
    close(value(load_activation(m, C, 64)), real / (1 + np.exp(-np.clip(real, -700, 700))) * np.array(up) / 2**14)


def test_add_saturates() -> None:
    m = store_vector(store_vector(memory(), A, [1, 2**31 - 1, -(2**31)]), B, [5, 1, -1])
    assert load_vector(Add(A, B, 3).execute(m, 0), A, 3) == [6, 2**31 - 1, -(2**31)]


def test_input_and_relu() -> None:
    m = with_request(memory(), 1, bytes([0, 1, 255]))
    assert load_activation(Input(A, 4).execute(m, 0), A, 4) == ([0, 1, 255, 0], 8)
    m = Relu(B, A, 3, 20).execute(store_vector(m, A, [-5, 0, 1 << 20]), 0)
    assert load_activation(m, B, 3) == ([0, 0, 1 << 14], 14)


# SAMPLE ----------------------------------------------------------------------------------------------------------------------------------


def sampled(logits: list[int], temperature_q16: int, seed: int = 0, **header: int) -> Memory:
    m = with_request(memory(**header), 1, text_request([1, 2], 5, temperature_q16, seed))
    return Sample(A, len(logits)).execute(store_vector(m, A, logits), 3)


def test_greedy_takes_the_first_of_the_largest() -> None:
    assert output(sampled([1, 9, 3, 9], 0)) == ([0, 0, 1], 0), "the third token: positions 1, 2 and 3 draw one each"
    assert output(sampled([1, 9, 3, 9], 0, stop_tokens=2, stop_0=7, stop_1=1)) == ([0, 0, 1], 1)
    assert output(sampled([1, 9, 3, 9], 0, stop_tokens=1, stop_0=7, stop_1=1)) == ([0, 0, 1], 0), "only the first of the four counts"


def test_a_bytes_request_has_one_result() -> None:
    m = store_vector(with_request(memory(request_kind=BYTES), 1, bytes([0xFF] * 24)), A, [1, 2, 9])
    assert output(Sample(A, 3).execute(m, 0)) == ([2], 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_by_their_probability(temperature: float) -> None:
    logits = np.array([0.0, 1.0, -2.0, 0.5])
    p = np.exp(logits / temperature)
    counts = Counter(output(sampled([int(v * 4096) for v in logits], round(temperature * 65536), seed))[0][2] for seed in range(400))
    for token, share in enumerate(p / p.sum()):
        assert abs(counts[token] / 400 - share) < 4 * np.sqrt(share * (1 - share) / 400)


def test_extreme_temperatures_and_logits() -> None:
    assert output(sampled([-(2**31), 2**31 - 1], 1 << 10))[0][2] == 1
    assert {output(sampled([-(2**31), 2**31 - 1], 1 << 22, seed))[0][2] for seed in range(30)} == {1}
    assert {output(sampled([0, 4096], 1 << 22, seed))[0][2] for seed in range(30)} == {0, 1}


def test_splitmix64_is_the_published_generator() -> None:
    """First outputs for the seed 1234567, as in the reference implementation's test vectors."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [splitmix64(1234567, position) for position in range(5)] == known


@given(st.lists(st.integers(0, 1 << 24), min_size=1, max_size=20).filter(any), st.integers(0, (1 << 64) - 1))
def test_draw_takes_the_first_whose_sum_passes(weights: list[int], number: int) -> None:
    index = draw(weights, number)
    threshold = Fraction(number, 1 << 64) * sum(weights)
    assert sum(weights[:index]) <= threshold < sum(weights[: index + 1])


def test_store_ints_round_trips() -> None:
    numbers = [random.Random(9).randrange(-(1 << 15), 1 << 15) for _ in range(100)]
    assert load_ints(store_ints(memory(), A + 7, numbers, 2), A + 7, 100, 2) == numbers
