"""Each training operation against exact rationals, or against finite differences of the real-valued function whose gradient it computes."""

import random
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from opml_spec.arithmetic.fixed import ZERO_EXPONENT
from opml_spec.machine.memory import MODEL, STATE, Memory
from opml_spec.model.layout import REQUEST_BYTES
from opml_spec.model.operations.fixed import MatMul
from opml_spec.model.tensors import Matrix, load_ints, load_vector, store_activation, store_ints, store_vector
from opml_spec.training.layout import TENSORS
from opml_spec.training.operations.attention import BackwardAttention, ForwardAttention, Heads
from opml_spec.training.operations.backward import BackwardNorm, BackwardRelu, BackwardRope, BackwardSwiGlu, CrossEntropy, Round, Sum
from opml_spec.training.operations.forward import (
    ForwardAdd,
    ForwardEmbed,
    ForwardMatMul,
    ForwardNorm,
    ForwardRelu,
    ForwardRope,
    ForwardSwiGlu,
)
from opml_spec.training.operations.optimisers import Adam, Muon, Sgd, orthogonal
from opml_spec.training.operations.products import EmbedWeights, MatMulData, MatMulWeights, TargetData, TargetWeights
from opml_spec.training.operations.weights import Cast, Export, Init, Pictures, Tokens
from opml_spec.training.request import Settings
from opml_spec.training.tensors import RowTensor, accumulate, activation, align, gradient, working
from spec_llama import with_request
from spec_training import attend, rms, rope, rope_table, settings, sigma

A, B, C, D, E, F, G, H = (TENSORS + (i << 22) for i in range(8))
TABLE = MODEL + (1 << 29)
ROWS = 3


def normal(*shape: int, seed: int = 1, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape)


def put_vectors(memory: Memory, address: int, values: np.ndarray, frac: int) -> Memory:
    return store_vector(memory, address, np.rint(values * 2.0**frac).astype(int).ravel().tolist())


def vectors(memory: Memory, address: int, *shape: int, frac: int) -> np.ndarray:
    return np.array(load_vector(memory, address, int(np.prod(shape)))).reshape(shape) / 2.0**frac


def put(memory: Memory, tensor: RowTensor, values: np.ndarray) -> Memory:
    """Stores rows of numbers with as many bits as the tensor holds, each row with an exponent of its own."""
    bits = {2: 15, 4: 30}[tensor.value_bytes]
    rows = values.reshape(tensor.rows, tensor.length)
    exponents = [bits - 1 - int(np.floor(np.log2(np.abs(row).max()))) if row.any() else ZERO_EXPONENT for row in rows]
    limit = (1 << bits) - 1
    stored = [(np.clip(np.rint(row * 2.0**e), -limit, limit).astype(int).tolist(), e) for row, e in zip(rows, exponents, strict=True)]
    return tensor.store(memory, stored)


def get(memory: Memory, tensor: RowTensor) -> np.ndarray:
    rows, exponents = tensor.load(memory)
    return np.array(rows) * 2.0 ** -np.array(exponents, dtype=float)[:, None]


def close(actual: np.ndarray, expected: np.ndarray, bits: int = 12) -> None:
    """Within 2^-bits of the largest value."""
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= np.abs(expected).max() * 2.0**-bits


def differences(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, g: np.ndarray, h: float = 1e-6) -> np.ndarray:
    """The gradient of Σ g·function(x) by central differences."""
    result = np.zeros(x.size)
    for i in range(x.size):
        at = np.zeros(x.size)
        at[i] = h
        result[i] = (g * (function(x + at.reshape(x.shape)) - function(x - at.reshape(x.shape)))).sum() / (2 * h)
    return result.reshape(x.shape)


def requested(updates: int = 4, **given: int) -> Memory:
    return with_request(Memory(), updates, settings(1, updates, **given))


# ALIGN and ACCUMULATE --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_align_rounds_every_row_to_the_coarsest_grid(seed: int) -> None:
    rng = random.Random(seed)
    rows = [[rng.randrange(-(1 << 30), 1 << 30) for _ in range(4)] for _ in range(5)] + [[0] * 4]
    exponents = [rng.randrange(-9, 70) for _ in range(5)] + [-1000]
    aligned, common = align(rows, exponents)
    assert common == min(exponents[:5])
    for row, e, result in zip(rows, exponents, aligned, strict=True):
        assert all(abs(r - Fraction(v) * Fraction(2) ** (common - e)) <= Fraction(1, 2) for v, r in zip(row, result, strict=True))
        assert max(map(abs, result)) <= max(map(abs, row))


def test_align_of_nothing() -> None:
    assert align([[0, 0], [0, 0]], [5, 9]) == ([[0, 0], [0, 0]], ZERO_EXPONENT)


def test_accumulate_saturates_each_part_and_then_the_sum() -> None:
    most = 2**31 - 1
    assert accumulate([5, -(2**31), most, 7], [[1, 2**40, 1, 3]], [-31]) == [most, -1, most, most]
    assert accumulate([0], [[2**40], [-(2**40)], [3]], [0, 0, 1]) == [2**31 - 1 - 2**31 + 2]
    assert accumulate([3, 4], [], []) == [3, 4]


# Products --------------------------------------------------------------------------------------------------------------------------------


def test_matmul_and_its_gradients_are_exact_products_rounded_once() -> None:
    k, r, e_w, out_frac, sum_frac = 5, 7, 13, 14, 16
    rng = np.random.default_rng(3)
    x, g = rng.integers(-32767, 32768, (ROWS, k)), rng.integers(-32767, 32768, (ROWS, r))
    w, e_x, e_g = rng.integers(-32767, 32768, (r, k)), [20, 23, 25], [22, 19, 28]
    m = activation(A, ROWS, k).store(Memory(), [(row.tolist(), e) for row, e in zip(x, e_x, strict=True)])
    m = activation(B, ROWS, r).store(m, [(row.tolist(), e) for row, e in zip(g, e_g, strict=True)])
    m = working(C, r * k).store(m, [(w.ravel().tolist(), e_w)])
    m = store_vector(m, F, [-5] * (r * k))
    for first, taken in ((0, 3), (3, 4)):
        m = ForwardMatMul(D, A, C, ROWS, k, r, first, taken, out_frac).execute(m, 0)
        m = MatMulWeights(F, B, A, ROWS, k, r, first, taken, sum_frac).execute(m, 0)
    m = MatMulData(E, B, C, ROWS, k, r, 2, 4).execute(m, 0)
    y, (d, e_d) = load_vector(m, D, ROWS * r), gradient(E, ROWS, k).load(m)
    for t in range(ROWS):
        for row in range(r):
            exact = Fraction(int(x[t] @ w[row]), 2 ** (e_x[t] + e_w)) * 2**out_frac
            assert abs(y[t * r + row] - exact) <= Fraction(1, 2)
        assert max(map(abs, d[t])).bit_length() == 30
        for column in range(k):
            assert abs(d[t][column] - Fraction(int(g[t, 2:6] @ w[2:6, column])) * Fraction(2) ** (e_d[t] - e_g[t] - e_w)) <= Fraction(1, 2)
    common = min(a + b for a, b in zip(e_x, e_g, strict=True))
    sums = load_vector(m, F, r * k)
    for row in range(r):
        for column in range(k):
            exact = sum(Fraction(int(g[t, row]) * int(x[t, column]), 2 ** (e_g[t] + e_x[t])) for t in range(ROWS))
            aligned = Fraction(int(np.abs(x[:, column]).sum()), 2 ** (common + 1))  # each G' is off by half a unit of the common grid
            assert abs(sums[row * k + column] + 5 - exact * 2**sum_frac) <= Fraction(1, 2) + aligned * 2**sum_frac


def test_rows_that_are_zero_on_either_side_do_not_coarsen_the_gradient_of_weights() -> None:
    m = activation(A, 3, 1).store(Memory(), [([3], 10), ([0], -90), ([5], -80)])
    m = activation(B, 3, 1).store(m, [([7], 10), ([9], 0), ([0], 127)])
    m = MatMulWeights(C, B, A, 3, 1, 1, 0, 1, 20).execute(m, 0)
    assert load_vector(m, C, 1) == [21]


def test_embed_and_its_gradient() -> None:
    tokens, w, d = [2, 0, 2, 99], normal(4, 6, seed=2), normal(4, 6, seed=3)
    m = put(store_ints(Memory(), A, tokens, 4), working(B, 24), w)
    m = ForwardEmbed(C, B, A, 4, 6, 4, 14).execute(m, 0)
    rows = [2, 0, 2, 3]  # what is no token counts as the last one
    close(vectors(m, C, 4, 6, frac=14), get(m, working(B, 24)).reshape(4, 6)[rows])
    m = EmbedWeights(D, E, A, 4, 6, 4, 16).execute(put(m, gradient(E, 4, 6), d), 0)
    expected = np.zeros((4, 6))
    np.add.at(expected, rows, d)
    assert np.abs(vectors(m, D, 4, 6, frac=16) - expected).max() <= 2.0**-16


# The loss --------------------------------------------------------------------------------------------------------------------------------


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


@pytest.mark.parametrize(("vocabulary", "scale", "lift"), [(40, 1.0, 0.0), (40, 1.0, 12.0), (49152, 0.05, 0.0)])
def test_the_gradient_of_the_loss_through_the_classifier(vocabulary: int, scale: float, lift: float) -> None:
    """Also of a target that is learned (lifted), and of a vocabulary whose probabilities are near 2^-16."""
    rows, k = (2, 3) if vocabulary < 1000 else (1, 2)
    targets = [5, 17][:rows]
    logits = np.rint(normal(rows, vocabulary, seed=4, scale=scale) * 4096) / 4096
    logits[range(rows), targets] += lift
    m = store_ints(put_vectors(Memory(), A, logits, 12), B, targets, 4)
    m = CrossEntropy(C, D, A, B, rows, vocabulary, 15).execute(m, 0)
    p = softmax(logits)
    of_target = vectors(m, D, rows, frac=30)
    of_p = p[range(rows), targets]
    assert np.all(np.abs(of_target + 1 - of_p) <= of_p * 2.0**-16 + 2.0**-24)  # a score is off by 2^-17 at most
    others = p.copy()
    others[range(rows), targets] = 0
    stored = get(m, activation(C, rows, vocabulary))
    assert np.abs(stored - others).max() <= others.max() * 2.0**-14 + 2.0**-24
    # towards the input of the classifier
    w = normal(vocabulary, k, seed=6)
    m = put(m, working(E, vocabulary * k), w)
    w = get(m, working(E, vocabulary * k)).reshape(vocabulary, k)
    m = TargetData(F, D, B, E, rows, k, vocabulary).execute(MatMulData(G, C, E, rows, k, vocabulary, 0, vocabulary).execute(m, 0), 0)
    m = Sum(F, F, G, rows, k).execute(m, 0)
    g = others.copy()
    g[range(rows), targets] = p[range(rows), targets] - 1
    close(get(m, gradient(F, rows, k)), g @ w, 10)
    # and towards its weights
    x = normal(rows, k, seed=7)
    m = put(m, activation(H, rows, k), x)
    m = MatMulWeights(A, C, H, rows, k, vocabulary, 0, vocabulary, 24).execute(store_vector(m, A, [0] * (vocabulary * k)), 0)
    m = TargetWeights(A, D, B, H, rows, k, vocabulary, 24).execute(m, 0)
    assert np.abs(vectors(m, A, vocabulary, k, frac=24) - g.T @ x).max() <= 2.0**-13 * np.abs(g).max() + 2.0**-23
    assert np.abs(vectors(m, A, vocabulary, k, frac=24)[0] - (g.T @ x)[0]).max() <= 2.0**-12 * np.abs(others).max() + 2.0**-23


def test_the_gradient_of_the_loss_is_that_of_minus_log_of_the_targets_probability() -> None:
    logits, target = np.rint(normal(1, 12, seed=9) * 4096) / 4096, 4
    m = store_ints(put_vectors(Memory(), A, logits, 12), B, [target], 4)
    m = CrossEntropy(C, D, A, B, 1, 12, 15).execute(m, 0)
    actual = get(m, activation(C, 1, 12))
    actual[0, target] = vectors(m, D, 1, frac=30)[0]
    close(actual, differences(lambda z: -np.log(softmax(z))[:, target], logits, np.ones(1)))


# Norm, rotation, SwiGLU, RELU ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("r", "scale", "length"), [(12, 1.0, 9), (4, 3e4, 5), (14, 1e-3, 8)])
def test_norm_and_its_gradients(r: int, scale: float, length: int) -> None:
    eps_q48 = round(1e-5 * 2**48)
    x, gains, g = normal(ROWS, length, seed=2, scale=scale), 1 + normal(length, seed=3, scale=0.3), normal(ROWS, length, seed=4)
    m = put(put_vectors(put_vectors(Memory(), A, x, r), B, gains, 24), gradient(C, ROWS, length), g)
    x = vectors(m, A, ROWS, length, frac=r)
    m = ForwardNorm(D, A, B, ROWS, length, r, eps_q48, 15).execute(m, 0)
    close(get(m, activation(D, ROWS, length)), rms(x, gains, eps_q48 / 2**48), 13)
    m = BackwardNorm(E, F, C, A, B, ROWS, length, r, eps_q48, 20).execute(m, 0)
    h = 1e-5 * np.abs(x).max()
    close(get(m, gradient(E, ROWS, length)), differences(lambda z: rms(z, gains, eps_q48 / 2**48), x, g, h), 17)
    close(vectors(m, F, length, frac=20), differences(lambda z: rms(x, z, eps_q48 / 2**48), gains, g), 16)


def test_a_row_of_zeros_has_no_gradient_through_a_norm() -> None:
    m = put(put_vectors(Memory(), B, np.ones(4), 24), gradient(C, 2, 4), normal(2, 4))
    m = put_vectors(m, A + 16, normal(4), 12)  # the second row
    m = BackwardNorm(E, F, C, A, B, 2, 4, 12, 0, 20).execute(m, 0)
    rows, exponents = gradient(E, 2, 4).load(m)
    assert (rows[0], exponents[0]) == ([0] * 4, ZERO_EXPONENT)
    assert any(rows[1])
    m = ForwardNorm(D, A, B, 2, 4, 12, 0, 15).execute(m, 0)
    assert activation(D, 2, 4).load(m)[1][0] == ZERO_EXPONENT


def test_rope_and_its_gradient() -> None:
    rows, heads, size, period = 4, 2, 4, 2
    x, g = normal(rows, heads * size, seed=2), normal(rows, heads * size, seed=3)
    m = put(put_vectors(Memory().store_bytes(TABLE, rope_table(period, size)), A, x, 14), gradient(B, rows, heads * size), g)
    shape = (rows // period, period, heads, size)
    m = ForwardRope(A, rows, period, heads, size, TABLE).execute(m, 0)
    close(vectors(m, A, rows, heads * size, frac=14), rope(x.reshape(shape)).reshape(x.shape))
    m = BackwardRope(C, B, rows, period, heads, size, TABLE, 15).execute(m, 0)
    expected = differences(lambda z: rope(z.reshape(shape)).reshape(x.shape), x, g)
    close(get(m, activation(C, rows, heads * size)), expected, 13)


def test_swiglu_and_its_gradients() -> None:
    gate, up, g = (normal(2, 6, seed=seed, scale=scale) for seed, scale in ((2, 3.0), (3, 1.0), (4, 1e-4)))
    gate[0, 0], gate[0, 1] = 17.0, -17.0
    m = put(put_vectors(put_vectors(Memory(), A, gate, 14), B, up, 14), gradient(C, 2, 6), g)
    gate, up = (vectors(m, at, 2, 6, frac=14) for at in (A, B))
    m = ForwardSwiGlu(D, A, B, 2, 6, 15).execute(m, 0)
    close(get(m, activation(D, 2, 6)), gate * sigma(gate) * up, 13)
    m = BackwardSwiGlu(E, F, C, A, B, 2, 6, 15).execute(m, 0)
    close(get(m, activation(E, 2, 6)), differences(lambda z: z * sigma(z) * up, gate, g), 13)
    close(get(m, activation(F, 2, 6)), differences(lambda z: gate * sigma(gate) * z, up, g), 13)


def test_relu_and_its_gradient() -> None:
    x, g = normal(2, 6, seed=2), normal(2, 6, seed=3)
    x[0, 0] = 0
    m = put(put_vectors(Memory(), A, x, 12), gradient(B, 2, 6), g)
    m = BackwardRelu(C, B, A, 2, 6, 15).execute(ForwardRelu(D, A, 2, 6, 12, 15).execute(m, 0), 0)
    close(get(m, activation(D, 2, 6)), np.maximum(x, 0))
    close(get(m, activation(C, 2, 6)), np.where(x > 0, g, 0), 13)


def test_sums_of_vectors_and_of_gradients() -> None:
    x, y = normal(2, 5, seed=2), normal(2, 5, seed=3, scale=1e-3)
    y[1] = 0
    m = put(put(Memory(), gradient(A, 2, 5), x), gradient(B, 2, 5), y)
    m = Sum(A, A, B, 2, 5).execute(m, 0)
    close(get(m, gradient(A, 2, 5)), x + y, 27)
    m = Round(C, A, 2, 5, 9).execute(m, 0)
    assert max(abs(v) for row in activation(C, 2, 5).load(m)[0] for v in row) < 1 << 9
    close(get(m, activation(C, 2, 5)), x + y, 8)
    m = ForwardAdd(D, D, E, 2).execute(store_vector(store_vector(m, D, [2**31 - 1, -7]), E, [1, 3]), 0)
    assert load_vector(m, D, 2) == [2**31 - 1, -4]


# Attention -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("heads", "kv_heads"), [(2, 2), (4, 2), (2, 1)])
def test_attention_and_its_gradients(heads: int, kv_heads: int) -> None:
    sequences, period, size, rows = 2, 3, 4, 6
    q, k, v = (normal(rows, n * size, seed=n + i, scale=2.0) for i, n in enumerate((heads, kv_heads, kv_heads)))
    g = normal(rows, heads * size, seed=9) * np.array([1, 1e-6, 30, 1, 0, 1])[:, None]
    m = put(Memory(), gradient(E, rows, heads * size), g)
    for vector, at, values, n in ((A, B, q, heads), (A, C, k, kv_heads), (A, D, v, kv_heads)):
        m = Heads(at, vector, sequences, period, n, size, 14, 15).execute(put_vectors(m, vector, values, 14), 0)

    def mean(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        group = heads // kv_heads
        parts = (x.reshape(sequences, period, -1, size) for x in (q, k, v))
        q, k, v = (np.repeat(part, times, axis=2) for part, times in zip(parts, (1, group, group), strict=True))
        return attend(q, k, v)[0].reshape(rows, -1)

    m = ForwardAttention(F, B, C, D, sequences, period, heads, kv_heads, size, 15).execute(m, 0)
    close(get(m, activation(F, rows, heads * size)), mean(q, k, v), 11)
    m = BackwardAttention(F, G, H, B, C, D, E, sequences, period, heads, kv_heads, size, 15).execute(m, 0)
    close(get(m, gradient(F, rows, heads * size)), differences(lambda z: mean(z, k, v), q, g), 10)
    close(get(m, gradient(G, rows, kv_heads * size)), differences(lambda z: mean(q, z, v), k, g), 10)
    close(get(m, gradient(H, rows, kv_heads * size)), differences(lambda z: mean(q, k, z), v, g), 10)


# Optimisers ------------------------------------------------------------------------------------------------------------------------------


def test_adam_is_adam() -> None:
    """Three updates with the moments kept in between, against float64."""
    g = normal(3, 8, seed=2, scale=0.5)
    w = normal(8, seed=3)
    m = put_vectors(requested(), STATE, w, 26)
    request = Settings.read(m)
    b1, b2 = 1 - request.first_moment_q16 / 2**16, 1 - request.second_moment_q16 / 2**16
    first = second = np.zeros(8)
    for k in range(3):
        m = Adam(STATE, A, B, C, 8, 26, 1 << 15, 1).execute(put_vectors(m, A, g[k], 18), k)
        first, second = b1 * first + (1 - b1) * g[k], b2 * second + (1 - b2) * g[k] ** 2
        rate = request.rate(k, 1 << 16) / 2**35
        step = first / (1 - b1 ** (k + 1)) / np.sqrt(second / (1 - b2 ** (k + 1)))
        w = w - rate * step - rate * request.decay_q16 / 2**16 * w
        assert np.abs(vectors(m, STATE, 8, frac=26) - w).max() <= 2e-6
        assert load_vector(m, A, 8) == [0] * 8


def test_sgd_is_sgd() -> None:
    w, g = normal(8, seed=3), normal(8, seed=2)
    m = put_vectors(put_vectors(requested(warmup=4), STATE, w, 26), A, g, 12)
    m = Sgd(STATE, A, 8, 26, 12, 1 << 16, 0).execute(m, 0)  # a quarter of the rate: it rises in four updates
    assert np.abs(vectors(m, STATE, 8, frac=26) - (w - 0.0025 * g)).max() <= 2.0**-20
    assert load_vector(m, A, 8) == [0] * 8


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_muon_is_muon(shape: tuple[int, int]) -> None:
    w, g, mu = normal(*shape, seed=3), normal(2, *shape, seed=2), 62259 / 2**16
    m = put_vectors(requested(decay_q16=0), STATE, w, 26)
    momentum = np.zeros(shape)
    for k in range(2):
        rate = Settings.read(m).rate(k, 1 << 16) / 2**34
        m = Muon(STATE, A, B, *shape, 26, 1 << 16, 1).execute(put_vectors(m, A, g[k], 12), k)
        momentum = mu * momentum + g[k]
        x = g[k] + mu * momentum
        x = x / np.linalg.norm(x)
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        w = w - rate * x
        assert np.abs(vectors(m, STATE, *shape, frac=26) - w).max() <= rate * 2e-3
    assert load_vector(m, A, 24) == [0] * 24


def test_muons_step_is_nearly_orthogonal() -> None:
    matrix = (normal(5, 8, seed=7) * 2**12).astype(int).tolist()
    rows, e = orthogonal(matrix)
    values = np.linalg.svd(np.array(rows) / 2.0**e, compute_uv=False)
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert orthogonal([[0, 0]]) == ([[0, 0]], 0)


# Weights and data ------------------------------------------------------------------------------------------------------------------------


def test_init_is_nearly_normal_and_depends_on_seed_stream_and_index_alone() -> None:
    deviation = 0.02
    scale = round(deviation * 2 ** (26 + 16) / 37837.2)
    m = requested()
    values = {stream: np.array(load_vector(Init(STATE, 4000, 0, scale, stream).execute(m, 0), STATE, 4000)) / 2**26 for stream in (1, 2)}
    assert abs(values[1].std() - deviation) < 0.001
    assert abs(values[1].mean()) < 0.001
    assert abs((np.abs(values[1]) < deviation).mean() - 0.683) < 0.03
    assert abs(np.corrcoef(values[1], values[2])[0, 1]) < 0.06
    assert load_vector(Init(STATE, 10, 0, scale, 1).execute(m, 3), STATE, 10) == (values[1][:10] * 2**26).astype(int).tolist()
    assert load_vector(Init(STATE, 2, 1 << 24, 0, 1).execute(m, 0), STATE, 2) == [1 << 24] * 2


@pytest.mark.parametrize("size", [1, 2, 4])
def test_tokens_are_neighbours_of_the_text(size: int) -> None:
    text = [(7 * i) % 251 for i in range(60)]
    m = requested().store_bytes(TABLE, b"".join(token.to_bytes(size, "little") for token in text))
    starts = []
    for update in range(30):
        m = Tokens(A, B, TABLE, size, 60, 2, 5, 0, 2, 3).execute(m, update)
        inputs, targets = load_vector(m, A, 10), load_vector(m, B, 10)
        for b in range(2):
            start = text.index(inputs[5 * b])
            starts.append(start)
            assert text[start : start + 6] == [*inputs[5 * b : 5 * b + 5], targets[5 * b + 4]]
            assert inputs[5 * b + 1 : 5 * b + 5] == targets[5 * b : 5 * b + 4]
    assert len(set(starts)) > 25
    assert max(starts) <= 54
    whole = load_vector(Tokens(A, B, TABLE, size, 60, 4, 5, 0, 4, 3).execute(m, 1), A, 20)
    parts = [load_vector(Tokens(A, B, TABLE, size, 60, 2, 5, first, 4, 3).execute(m, 1), A, 10) for first in (0, 2)]
    assert whole == parts[0] + parts[1]


def test_pictures_come_with_their_labels() -> None:
    pictures = np.random.default_rng(2).integers(0, 256, (9, 6), dtype=np.uint8)
    m = requested().store_bytes(TABLE, pictures.tobytes()).store_bytes(TABLE + 4096, bytes(range(9)))
    m = Pictures(A, B, TABLE, TABLE + 4096, 9, 20, 6, 0, 20, 1).execute(m, 2)
    labels = load_vector(m, B, 20)
    assert np.array_equal(get(m, activation(A, 20, 6)), pictures[labels] / 256)
    assert len(set(labels)) > 4


def test_cast_has_one_exponent() -> None:
    w = normal(12, seed=3)
    m = Cast(A, STATE, 12, 26, 12).execute(put_vectors(Memory(), STATE, w, 26), 0)
    (values,), _ = working(A, 12).load(m)
    assert max(map(abs, values)).bit_length() == 12
    close(get(m, working(A, 12))[0], w, 11)


@pytest.mark.parametrize("scale", [1.0, 1e-4, 31.0])
def test_inference_reads_what_was_exported(scale: float) -> None:
    """Each group: d is the least half with which nothing exceeds 127, and each weight is off by half of d at most."""
    rows, columns = 11, 40
    w = np.clip(normal(rows, columns, seed=3, scale=scale / 3), -scale, scale)
    w[2, :32] = 0
    m = put_vectors(Memory(), STATE, w, 26)
    w = vectors(m, STATE, rows, columns, frac=26)
    m = Export(STATE + 65536, STATE, rows, columns, 26).execute(m, 0)
    halfs = np.sort(np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(float))
    for row, groups in enumerate(Matrix(STATE + 65536, 0, 64).rows(m, rows)):
        for group, values in zip(groups, (w[row, :32], w[row, 32:]), strict=True):
            d = group.scale / 2**24
            assert d == halfs[np.searchsorted(halfs, np.abs(values).max() / 127)]
            assert np.abs(np.array(group.weights[: len(values)]) * d - values).max() <= d / 2
            assert max(map(abs, group.weights)) <= 127
    x = [int(v) for v in np.random.default_rng(2).integers(-32767, 32768, columns)]
    m = MatMul(A, B, STATE + 65536, 0, rows, 64, 12).execute(store_activation(m, B, (x + [0] * 24, 15)), 0)
    assert np.abs(vectors(m, A, rows, frac=12) - w @ np.array(x) / 2**15).max() <= scale * 0.2 + 2.0**-12


# The request -----------------------------------------------------------------------------------------------------------------------------


def test_the_rate_rises_and_falls_in_lines() -> None:
    request = Settings.read(requested(10, warmup=4, rate_q34=4000, last_rate_q34=400))
    rates = [request.rate(k, 1 << 16) for k in range(10)]
    assert rates == [1000, 2000, 3000, 4000, 4000, 3400, 2800, 2200, 1600, 1000]
    assert request.rate(0, 1 << 15) == 500
    assert all(b - a in (1000, 0, -600) for a, b in pairwise(rates))


def test_the_seed_is_read() -> None:
    m = requested().store_bytes(REQUEST_BYTES, (8).to_bytes(8, "little"))
    assert Settings.read(m).key(0) != Settings.read(requested()).key(0)
    assert load_ints(m, REQUEST_BYTES, 1, 8) == [8]
