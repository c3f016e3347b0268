"""Training runs: updates of a whole small LLaMA and of a classifier against the same formulas in float64; stages and their requests."""

import struct
from itertools import pairwise

import numpy as np
import pytest
from attrs import evolve, frozen
from opml_spec.machine.memory import STATE, Memory
from opml_spec.machine.merkle import ZERO, hash_of
from opml_spec.model.layout import HEADER, OUTPUT, Header, encode_tape, encode_words
from opml_spec.model.llama import Addresses, Layer, Shape, llama_tape
from opml_spec.model.llama import Weights as InferenceWeights
from opml_spec.model.stage import run_stage
from opml_spec.model.tensors import load_vector
from opml_spec.runs.run import RunState, RunStatus, first_state, io_quarter
from opml_spec.training.layout import EACH_UPDATE, FIRST_UPDATE, LAST_UPDATE, SETTINGS_BYTES, TENSORS, TrainingHeader
from opml_spec.training.llama_places import Space, Trained
from opml_spec.training.llama_update import LlamaTraining
from opml_spec.training.loader import check_training
from opml_spec.training.operations.backward import BackwardRelu, CrossEntropy, Sum
from opml_spec.training.operations.batch_operation import BatchOperation
from opml_spec.training.operations.forward import ForwardMatMul, ForwardRelu
from opml_spec.training.operations.optimisers import Adam, Sgd
from opml_spec.training.operations.products import MatMulData, MatMulWeights, TargetData, TargetWeights
from opml_spec.training.operations.weights import Cast, Init, Pictures
from opml_spec.training.request import Settings
from opml_spec.training.tensors import activation, working
from opml_spec.training.tensors import gradient as gradient_tensor
from opml_spec.training.training_stage import run_training_stage, train
from spec_llama import output, text_request, with_request
from spec_training import NAMES, ROPE, SMALL, TEXT, AdamW, Weights, floats, forward, gradient, loss, named, settings, stages, start, tokens

TINY = Shape(8, 8, 1, 2, 1, 4, 4, 11, 12, round(1e-5 * 2**48))


@frozen
class Training:
    """A LLaMA of two layers: its memory after the weights were drawn and after each of two updates, and before each first ADAM."""

    plan: LlamaTraining
    memories: list[Memory]
    with_gradients: list[Memory]


@pytest.fixture(scope="module")
def trained() -> Training:
    plan, memory = start(SMALL)
    check_training(memory)
    opcodes = [record.opcode for record in plan.tape()]
    stops = {len(plan.weights), opcodes.index(Adam.opcode), len(opcodes)}
    reached = []
    for stage in range(2 * len(opcodes)):
        memory, code = run_training_stage(memory, stage)
        assert code == 0
        if stage % len(opcodes) + 1 in stops:
            reached.append(memory)
    return Training(plan, [reached[0], reached[2], reached[5]], [reached[1], reached[4]])


def test_the_gradients_are_those_in_float64(trained: Training) -> None:
    """Every sum, from the weights that the update begins with: within 2^-9 of the largest in its matrix, and its rows' roundings."""
    rounded = trained.plan.batch.rows * 2.0**-trained.plan.batch.sum_frac
    for before, memory in zip(trained.memories, trained.with_gradients, strict=False):
        _, d_w = gradient(SMALL, floats(before, trained.plan), *tokens(memory, trained.plan))
        for name, w in named(trained.plan).items():
            sums = np.array(load_vector(memory, w.sums, w.count)) / 2.0**trained.plan.batch.sum_frac
            assert np.abs(sums.reshape(d_w[name].shape) - d_w[name]).max() <= 2.0**-9 * np.abs(d_w[name]).max() + rounded, name


def test_the_gradient_in_closed_form_is_that_of_the_loss(trained: Training) -> None:
    """The witness of the tests below, against central differences along a random direction in each weight."""
    plan, memories = trained.plan, trained.memories
    weights, rng = floats(memories[0], plan), np.random.default_rng(1)
    inputs, targets = tokens(memories[1], plan)
    _, d_w = gradient(SMALL, weights, inputs, targets)
    assert set(d_w) == set(weights)
    for name, w in weights.items():
        direction = rng.normal(size=w.shape)
        ends = [loss(forward(SMALL, weights | {name: w + h * direction}, inputs)[0], targets) for h in (1e-5, -1e-5)]
        assert abs((ends[0] - ends[1]) / 2e-5 - (d_w[name] * direction).sum()) <= 1e-5


def test_a_llama_learns_as_in_float64(trained: Training) -> None:
    """The losses fall alike; each update moves the weights as AdamW does, wherever no gradient was so small that rounding hides it."""
    plan, memories = trained.plan, trained.memories
    exact, optimiser = floats(memories[0], plan), AdamW(Settings.read(memories[0]), plan.batch.sum_frac)
    large: dict[str, np.ndarray] = {}
    for update, (before, after) in enumerate(pairwise(memories)):
        inputs, targets = tokens(after, plan)
        _, d_w = gradient(SMALL, exact, inputs, targets)
        own, now = floats(before, plan), floats(after, plan)
        expected = optimiser.update(update, exact, d_w)
        first, last = (loss(forward(SMALL, weights, inputs)[0], targets) for weights in (own, now))
        exact_first, exact_last = (loss(forward(SMALL, weights, inputs)[0], targets) for weights in (exact, expected))
        assert last < first - 1
        assert abs((last - first) - (exact_last - exact_first)) <= 0.02 * (exact_first - exact_last)
        moved = sum(optimiser.request.rate(k, 1 << 16) for k in range(update + 1)) / 2**34  # that a weight can have, nearly
        for name, w in expected.items():
            large[name] = large.get(name, True) & (np.abs(d_w[name]) >= 0.1 * np.abs(d_w[name]).max())
            assert np.abs(now[name] - w)[large[name]].max() <= 0.1 * moved, (update, name)
            assert np.sqrt(((now[name] - w) ** 2).mean()) <= 0.15 * moved, (update, name)
            assert (np.abs(now[name] - w) > 0.05 * moved).mean() <= 0.05, (update, name)
        exact = expected


def test_the_state_quarter_ends_as_the_weights_alone(trained: Training) -> None:
    """Master weights and exports, and nothing else: whoever has them has the last state_root."""
    plan, memories = trained.plan, trained.memories
    last, alone = memories[-1], Memory()
    for w in named(plan).values():
        alone = alone.store_bytes(w.master, last.load_bytes(w.master, 4 * w.count))
    for w in named(plan).values():
        if w.is_matrix:
            size = -(-w.rows // 8) * -(-w.columns // 32) * 272
            alone = alone.store_bytes(w.exported, last.load_bytes(w.exported, size))
            assert any(last.load_bytes(w.exported, size))
            assert not any(memories[1].load_bytes(w.exported, size))  # only the last update exports
    assert hash_of(alone.subtree(33, 3)) == hash_of(last.subtree(33, 3))
    assert last.load_bytes(OUTPUT, 32) == bytes(32)


def test_inference_reads_the_trained_state_quarter(trained: Training) -> None:
    """A tape of chapter 3 whose weights are what the run left, where it left them; its buffers lie behind them."""
    plan, trained_memory = trained.plan, trained.memories[-1]
    shape, weights, buffers = evolve(SMALL, r=14), named(plan), Space(plan.state.free)
    exported = {name: InferenceWeights(w.exported, 0) if w.is_matrix else w.master for name, w in weights.items()}
    kv, cached = shape.kv_heads * shape.head_size, shape.kv_heads * shape.context
    layers = tuple(
        Layer(
            *(exported[f"{i}.{name}"] for name in NAMES),
            *(buffers.take(size) for size in (2 * cached * shape.head_size, cached, 2 * cached * shape.head_size, cached)),
        )
        for i in range(shape.layers)
    )
    sizes = (shape.dim, 64, shape.dim + kv, kv, shape.dim, shape.hidden_dim, shape.hidden_dim, shape.vocabulary)
    vectors = [buffers.take(4 * size) for size in sizes]
    places = Addresses(exported["embedding"], ROPE, layers, exported["final_norm"], exported["classifier"], *vectors)
    tape, prompt = llama_tape(shape, places), [3, 14, 15, 9]
    header = Header(ops=len(tape), tape=HEADER + 4096, context=shape.context, vocabulary=shape.vocabulary)
    rope = trained_memory.load_bytes(ROPE, 4 * shape.context * shape.head_size)
    model = Memory.from_segments({HEADER: encode_words(header.words), HEADER + 4096: encode_tape(tape), ROPE: rope})
    memory = model.set_subtree(33, 3, trained_memory.subtree(33, 3))
    memory = with_request(memory, len(tape) * 4, text_request(prompt, 1))
    for stage in range(len(tape) * 4):
        memory, code = run_stage(memory, stage)
        assert code == 0
    expected = forward(shape, floats(trained_memory, plan), np.array([prompt]))[0][0, -1]
    actual = np.array(load_vector(memory, places.logits, shape.vocabulary)) / 2**12
    assert np.abs(actual - expected).max() <= 0.02 * np.abs(expected).max() + 2.0**-11
    assert output(memory)[0] == [int(np.argmax(actual))]


def test_logits_in_tiles_are_the_same_training() -> None:
    """Tiles change only where gradients are rounded."""
    results = []
    for rows in (1 << 20, 8):
        plan, memory = start(TINY, 1, sequences=1, logit_rows=rows)
        check_training(memory)
        (memory,) = stages(memory, TrainingHeader.read(memory).ops, 1)
        results.append(floats(memory, plan))
    assert np.abs(results[0]["classifier"] - results[1]["classifier"]).max() <= 2e-4
    assert loss_gap(*results) <= 1e-3


def loss_gap(a: Weights, b: Weights) -> float:
    """The root of the mean square of all differences."""
    return float(np.sqrt(np.mean(np.concatenate([((a[name] - b[name]) ** 2).ravel() for name in a]))))


# A classifier of pictures ----------------------------------------------------------------------------------------------------------------

PIXELS, HIDDEN, CLASSES, PICTURES, ROWS, UPDATES = 16, 12, 4, 40, 10, 10


def classifier() -> tuple[Memory, list[Trained], int, int]:
    """A network of two matrices with RELU between them and SGD; its memory, its matrices, and where pictures and targets lie."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, CLASSES, PICTURES, dtype=np.uint8)
    pictures = (rng.integers(0, 128, (PICTURES, PIXELS)) + 127 * (np.arange(PIXELS) % CLASSES == labels[:, None])).astype(np.uint8)
    io, state = Space(TENSORS), Space(STATE)

    def matrix(rows: int, columns: int) -> Trained:
        count = rows * columns
        return Trained(rows, columns, 26, state.take(4 * count), io.take(4 * count), 0, 0, io.take(working(0, count).size), 0)

    first, second = matrix(HIDDEN, PIXELS), matrix(CLASSES, HIDDEN)
    x, hidden, g, g_hidden = (io.take(activation(0, ROWS, n).size) for n in (PIXELS, HIDDEN, CLASSES, HIDDEN))
    targets, of_target, y, logits = (io.take(4 * ROWS * n) for n in (1, 1, HIDDEN, CLASSES))
    d, part = (io.take(gradient_tensor(0, ROWS, HIDDEN).size) for _ in range(2))
    drawn = [Init(w.master, w.rows * w.columns, 0, 1 << 24, i) for i, w in enumerate((first, second))]
    ops: list[BatchOperation] = [
        Pictures(x, targets, TEXT, TEXT + 4096, PICTURES, ROWS, PIXELS, 0, ROWS, 9),
        *(Cast(w.working, w.master, w.rows * w.columns, 26, 15) for w in (first, second)),
        ForwardMatMul(y, x, first.working, ROWS, PIXELS, HIDDEN, 0, HIDDEN, 14),
        ForwardRelu(hidden, y, ROWS, HIDDEN, 14, 15),
        ForwardMatMul(logits, hidden, second.working, ROWS, HIDDEN, CLASSES, 0, CLASSES, 12),
        CrossEntropy(g, of_target, logits, targets, ROWS, CLASSES, 15),
        MatMulWeights(second.sums, g, hidden, ROWS, HIDDEN, CLASSES, 0, CLASSES, 18),
        TargetWeights(second.sums, of_target, targets, hidden, ROWS, HIDDEN, CLASSES, 18),
        MatMulData(d, g, second.working, ROWS, HIDDEN, CLASSES, 0, CLASSES),
        TargetData(part, of_target, targets, second.working, ROWS, HIDDEN, CLASSES),
        Sum(d, d, part, ROWS, HIDDEN),
        BackwardRelu(g_hidden, d, y, ROWS, HIDDEN, 15),
        MatMulWeights(first.sums, g_hidden, x, ROWS, PIXELS, HIDDEN, 0, HIDDEN, 18),
        *(Sgd(w.master, w.sums, w.rows * w.columns, 26, 18, 1 << 16, 0) for w in (first, second)),
    ]
    tape = [op.record(FIRST_UPDATE) for op in drawn] + [op.record(EACH_UPDATE) for op in ops]
    header = TrainingHeader(ops=len(tape), tape=HEADER + 4096)
    data = {TEXT: pictures.tobytes(), TEXT + 4096: labels.tobytes()}
    memory = Memory.from_segments({HEADER: encode_words(header.words), HEADER + 4096: encode_tape(tape), **data})
    request = settings(len(tape), UPDATES, rate_q34=2**30, last_rate_q34=2**30)
    return with_request(memory, UPDATES * len(tape), request), [first, second], x, targets


def test_a_classifier_learns_as_in_float64() -> None:
    """Each update against SGD in float64 from the weights before it; the loss on all pictures falls."""
    memory, matrices, x, targets = classifier()
    check_training(memory)
    losses, last = [], None
    everything = np.frombuffer(memory.load_bytes(TEXT, PICTURES * PIXELS), "u1").reshape(PICTURES, PIXELS) / 256
    every_label = np.frombuffer(memory.load_bytes(TEXT + 4096, PICTURES), "u1")
    for after in stages(memory, TrainingHeader.read(memory).ops, UPDATES):
        a, b = (np.array(load_vector(after, w.master, w.count)).reshape(w.rows, w.columns) / 2**26 for w in matrices)
        pixels = np.array(activation(x, ROWS, PIXELS).load(after)[0]) / 256
        labels = load_vector(after, targets, ROWS)
        if last is not None:
            first, second = last
            hidden = np.maximum(pixels @ first.T, 0)
            logits = hidden @ second.T
            p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            g = p - np.eye(CLASSES)[labels]
            d = (g @ second) * (hidden > 0)
            for actual, before, d_w in ((a, first, d.T @ pixels), (b, second, g.T @ hidden)):
                assert np.abs(actual - (before - d_w / 16)).max() <= 2e-5
        last = a, b
        losses.append(loss(np.maximum(everything @ a.T, 0) @ b.T, every_label) / PICTURES)
    assert losses[-1] < 0.7 * losses[0]


# Stages and requests ---------------------------------------------------------------------------------------------------------------------


def small(updates: int = 3, condition: int = EACH_UPDATE, opcode: int = 0, request: bytes | None = None, **header: int) -> Memory:
    """A tape of one op, which draws 8 weights unless another opcode is given."""
    record = Init(STATE, 8, 0, 1 << 20, 1).record(condition)
    tape = encode_tape([evolve(record, opcode=opcode or record.opcode)])
    words = evolve(TrainingHeader(ops=1, tape=HEADER + 4096), **header).words
    memory = Memory.from_segments({HEADER: encode_words(words), HEADER + 4096: tape})
    return with_request(memory, updates, settings(1, updates) if request is None else request)


@pytest.mark.parametrize(("condition", "done"), [(EACH_UPDATE, [0, 1, 2]), (FIRST_UPDATE, [0]), (LAST_UPDATE, [2]), (77, [0, 1, 2])])
def test_conditions(condition: int, done: list[int]) -> None:
    for stage in range(3):
        memory, code = run_training_stage(small(condition=condition), stage)
        assert code == 0
        assert any(memory.load_bytes(STATE, 32)) == (stage in done)


def test_an_unknown_opcode_exits_with_2_unless_its_condition_fails() -> None:
    assert run_training_stage(small(opcode=1), 1)[1] == 2
    assert run_training_stage(small(opcode=1, condition=FIRST_UPDATE), 1)[1] == 0


BAD = {
    "warmup": [4],
    "rate_q34": [1 << 31],
    "last_rate_q34": [(1 << 31) - 1],
    "first_moment_q16": [0, 65537],
    "second_moment_q16": [0, 65537],
    "momentum_q16": [65537],
    "decay_q16": [65537],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_settings_out_of_range_are_refused(name: str, value: int) -> None:
    assert run_training_stage(small(), 0)[1] == 0
    memory = small(request=settings(1, 3, **{name: value}))
    assert run_training_stage(memory, 0) == (memory, 1)


def test_requests_of_another_length_or_number_of_stages_are_refused() -> None:
    good = settings(1, 3)
    for request in (good + bytes(1), good[:-1], good[:-1] + b"\1", struct.pack("<QI", 7, 0) + good[12:]):
        assert run_training_stage(small(request=request), 0)[1] == 1
    assert run_training_stage(with_request(small(), 4, good), 0)[1] == 1
    assert run_training_stage(small(request=good + bytes(8), request_bytes=SETTINGS_BYTES + 8), 0)[1] == 0


def test_a_run_of_stages() -> None:
    memory = small(condition=LAST_UPDATE)
    model = memory.subtree(33, 1)
    state = first_state(io_quarter(3, settings(1, 3)), ZERO[33])
    for stage in range(3):
        state = train(model, state, stage)
    assert state.status == RunStatus.OK
    weights = Init(STATE, 8, 0, 1 << 20, 1).execute(memory, 2)
    assert hash_of(state.carry) == hash_of(weights.subtree(34, 1))
    refused = train(model, first_state(io_quarter(4, settings(1, 3)), ZERO[33]), 0)
    assert refused.status == RunStatus.FAILED
    assert train(model, refused, 1) == refused == RunState(refused.carry, RunStatus.FAILED)
