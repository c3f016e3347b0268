"""Fine-tuning with LoRA, made of training operations alone: a network of two matrices against float64 and exact rationals.

The network is `W2·relu(W1·x)`, where each W is frozen and has its A and B beside it. Places and steps are those of spec §6.11.
"""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from attrs import evolve, frozen
from opml_spec.errors import ImageOp
from opml_spec.machine.memory import MODEL, STATE, Memory
from opml_spec.model.layout import HEADER, Header, encode_tape, encode_words
from opml_spec.model.loader import check_model
from opml_spec.model.operations.fixed import MatMul
from opml_spec.model.tensors import Matrix, load_vector
from opml_spec.training.layout import EACH_UPDATE, FIRST_UPDATE, LAST_UPDATE, TENSORS, TrainingHeader
from opml_spec.training.llama_places import Space
from opml_spec.training.loader import check_training
from opml_spec.training.operations.attention import Heads
from opml_spec.training.operations.backward import BackwardRelu, CrossEntropy, Round, Sum
from opml_spec.training.operations.batch_operation import BatchOperation
from opml_spec.training.operations.forward import ForwardAdd, ForwardMatMul, ForwardRelu
from opml_spec.training.operations.optimisers import Adam
from opml_spec.training.operations.products import MatMulData, MatMulWeights, TargetData, TargetWeights
from opml_spec.training.operations.weights import Cast, Export, Init, Pictures
from opml_spec.training.tensors import activation, gradient, working
from opml_spec.training.training_stage import run_training_stage
from spec_llama import with_request
from spec_training import settings
from test_spec_training_operations import differences

ROWS, LENGTH, HIDDEN, CLASSES, RANK = 3, 5, 6, 4, 2
FROZEN_BITS, MASTER_BITS, OUT_BITS, LOW_BITS, SUM_BITS, WIDTH = 24, 26, 12, 20, 20, 15
PICTURES, LABELS = MODEL + (1 << 29), MODEL + (1 << 30)
io, state, model = Space(TENSORS), Space(STATE), Space(MODEL + (1 << 31))


@frozen
class Small:
    """A small matrix that trains: A or B."""

    rows: int
    columns: int
    master: int
    working: int
    sums: int
    moments: tuple[int, int]

    @property
    def count(self) -> int:
        return self.rows * self.columns

    @classmethod
    def place(cls, rows: int, columns: int) -> "Small":
        count = rows * columns
        moments = io.take(4 * count), io.take(8 * count)
        return cls(rows, columns, state.take(4 * count), io.take(working(0, count).size), io.take(4 * count), moments)


def acts(rows: int, length: int) -> int:
    return io.take(activation(0, rows, length).size)


def grads(length: int) -> int:
    return io.take(gradient(0, ROWS, length).size)


class Adapted:
    """A frozen matrix with its A and B, and the operations that spec §6.11 has for them."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self.w, self.w_working = model.take(4 * rows * columns), acts(1, rows * columns)
        self.exported = state.take(Export(0, 0, rows, columns, 0).size)
        self.a, self.b = Small.place(RANK, columns), Small.place(rows, RANK)
        self.out, self.low, self.branch = (io.take(4 * ROWS * n) for n in (rows, RANK, rows))
        self.low_act, self.h, self.d_low, self.d_low_target = acts(ROWS, RANK), acts(ROWS, RANK), grads(RANK), grads(RANK)
        self.d_x, self.d_part = grads(columns), grads(columns)
        self.b_rows, self.a_rows = acts(RANK, rows), acts(RANK, columns)
        self.product, self.merged = io.take(4 * rows * columns), io.take(4 * rows * columns)

    def forward(self, x: int) -> Iterator[BatchOperation]:
        """Yield the forward table."""
        yield ForwardMatMul(self.out, x, self.w_working, ROWS, self.columns, self.rows, 0, self.rows, OUT_BITS)
        yield ForwardMatMul(self.low, x, self.a.working, ROWS, self.columns, RANK, 0, RANK, LOW_BITS)
        yield Heads(self.low_act, self.low, ROWS, 1, 1, RANK, LOW_BITS, WIDTH)
        yield ForwardMatMul(self.branch, self.low_act, self.b.working, ROWS, RANK, self.rows, 0, self.rows, OUT_BITS)
        yield ForwardAdd(self.out, self.branch, self.out, ROWS * self.rows)

    def backward(self, g: int, x: int, target: tuple[int, int] | None) -> Iterator[BatchOperation]:
        """Yield the backward table; target: of_target and targets of the classifier."""
        rows, columns = self.rows, self.columns
        yield MatMulData(self.d_x, g, self.w_working, ROWS, columns, rows, 0, rows)
        if target:
            yield TargetData(self.d_part, *target, self.w_working, ROWS, columns, rows)
            yield Sum(self.d_x, self.d_x, self.d_part, ROWS, columns)
        yield MatMulWeights(self.b.sums, g, self.low_act, ROWS, RANK, rows, 0, rows, SUM_BITS)
        if target:
            yield TargetWeights(self.b.sums, *target, self.low_act, ROWS, RANK, rows, SUM_BITS)
        yield MatMulData(self.d_low, g, self.b.working, ROWS, RANK, rows, 0, rows)
        if target:
            yield TargetData(self.d_low_target, *target, self.b.working, ROWS, RANK, rows)
            yield Sum(self.d_low, self.d_low, self.d_low_target, ROWS, RANK)
        yield Round(self.h, self.d_low, ROWS, RANK, WIDTH)
        yield MatMulWeights(self.a.sums, self.h, x, ROWS, columns, RANK, 0, RANK, SUM_BITS)
        yield MatMulData(self.d_part, self.h, self.a.working, ROWS, columns, RANK, 0, RANK)
        yield Sum(self.d_x, self.d_x, self.d_part, ROWS, columns)

    def merging(self) -> Iterator[BatchOperation]:
        """Yield the merging table."""
        rows, columns = self.rows, self.columns
        yield Heads(self.b_rows, self.b.master, 1, rows, RANK, 1, MASTER_BITS, WIDTH)
        yield Heads(self.a_rows, self.a.master, RANK, columns, 1, 1, MASTER_BITS, WIDTH)
        yield MatMulWeights(self.product, self.b_rows, self.a_rows, RANK, columns, rows, 0, rows, FROZEN_BITS)
        yield ForwardAdd(self.merged, self.product, self.w, rows * columns)
        yield Export(self.exported, self.merged, rows, columns, FROZEN_BITS)


FIRST, SECOND = Adapted(HIDDEN, LENGTH), Adapted(CLASSES, HIDDEN)
SMALLS = (FIRST.a, FIRST.b, SECOND.a, SECOND.b)
X, HIDDEN_ACT, G2, G1 = acts(ROWS, LENGTH), acts(ROWS, HIDDEN), acts(ROWS, CLASSES), acts(ROWS, HIDDEN)
TARGETS, OF_TARGET = io.take(4 * ROWS), io.take(4 * ROWS)


def tape() -> tuple[list[tuple[int, BatchOperation]], int]:
    """The conditions and operations of a tape, and the index of the first optimiser."""
    first: list[BatchOperation] = [Init(one.a.master, one.a.count, 0, 1 << 22, i) for i, one in enumerate((FIRST, SECOND), 1)]
    first += [Cast(one.w_working, one.w, one.rows * one.columns, FROZEN_BITS, WIDTH) for one in (FIRST, SECOND)]
    each: list[BatchOperation] = [Pictures(X, TARGETS, PICTURES, LABELS, 4, ROWS, LENGTH, 0, ROWS, 0)]
    each += [Cast(small.working, small.master, small.count, MASTER_BITS, WIDTH) for small in SMALLS]
    each += [*FIRST.forward(X), ForwardRelu(HIDDEN_ACT, FIRST.out, ROWS, HIDDEN, OUT_BITS, WIDTH), *SECOND.forward(HIDDEN_ACT)]
    each.append(CrossEntropy(G2, OF_TARGET, SECOND.out, TARGETS, ROWS, CLASSES, WIDTH))
    each += SECOND.backward(G2, HIDDEN_ACT, (OF_TARGET, TARGETS))
    each += [BackwardRelu(G1, SECOND.d_x, FIRST.out, ROWS, HIDDEN, WIDTH), *FIRST.backward(G1, X, None)]
    optimised = len(first) + len(each)
    each += [Adam(small.master, small.sums, *small.moments, small.count, MASTER_BITS, 1 << 16, 0) for small in SMALLS]
    last = [*FIRST.merging(), *SECOND.merging()]
    conditions = [FIRST_UPDATE] * len(first) + [EACH_UPDATE] * len(each) + [LAST_UPDATE] * len(last)
    return list(zip(conditions, [*first, *each, *last], strict=True)), optimised


def start(updates: int) -> Memory:
    """The memory before the run: frozen matrices, pictures, labels, the tape."""
    records = [op.record(condition) for condition, op in tape()[0]]
    segments = {HEADER: encode_words(TrainingHeader(ops=len(records), tape=HEADER + 4096).words), HEADER + 4096: encode_tape(records)}
    rng = np.random.default_rng(3)
    segments |= {PICTURES: rng.integers(0, 256, 4 * LENGTH, dtype=np.uint8).tobytes(), LABELS: bytes([0, 3, 1, 2])}
    for one in (FIRST, SECOND):
        segments[one.w] = np.rint(rng.normal(0, 0.6, one.rows * one.columns) * 2**FROZEN_BITS).astype("<i4").tobytes()
    memory = Memory.from_segments(segments)
    check_training(memory)
    return with_request(memory, len(records) * updates, settings(len(records), updates, rate_q34=round(0.02 * 2**34)))


def run(memory: Memory, stages: range) -> Memory:
    for stage in stages:
        memory, code = run_training_stage(memory, stage)
        assert code == 0
    return memory


def numbers(memory: Memory, address: int, rows: int, columns: int, bits: int) -> np.ndarray:
    return np.array(load_vector(memory, address, rows * columns)).reshape(rows, columns) / 2.0**bits


def masters(memory: Memory) -> list[np.ndarray]:
    return [numbers(memory, one.master, one.rows, one.columns, MASTER_BITS) for one in SMALLS]


def frozen_weights(memory: Memory) -> list[np.ndarray]:
    return [numbers(memory, one.w, one.rows, one.columns, FROZEN_BITS) for one in (FIRST, SECOND)]


def batch(memory: Memory) -> tuple[np.ndarray, list[int]]:
    """The pictures and labels that are in memory, after PICTURES."""
    return np.array(activation(X, ROWS, LENGTH).load(memory)[0]) / 256, load_vector(memory, TARGETS, ROWS)


def loss(memory: Memory, smalls: list[np.ndarray], pictures: np.ndarray, targets: list[int]) -> float:
    """The sum of −ln of the targets' probabilities in float64."""
    (w1, w2), (a1, b1, a2, b2) = frozen_weights(memory), smalls
    logits = np.maximum(pictures @ (w1 + b1 @ a1).T, 0) @ (w2 + b2 @ a2).T
    return float((np.log(np.exp(logits).sum(-1)) - logits[range(len(targets)), targets]).sum())


@pytest.fixture(scope="module")
def trained() -> tuple[Memory, Memory]:
    """The memory before the optimisers of the third and last update, and after the run."""
    (records, optimised), updates = tape(), 3
    before = run(start(updates), range((updates - 1) * len(records) + optimised))
    return before, run(before, range((updates - 1) * len(records) + optimised, updates * len(records)))


def test_the_gradients_of_a_and_b_are_those_of_finite_differences(trained: tuple[Memory, Memory]) -> None:
    memory, smalls = trained[0], masters(trained[0])
    assert all(np.abs(small).max() > 2**-6 for small in smalls), "B is no longer zero"
    for i, one in enumerate(SMALLS):
        sums = numbers(memory, one.sums, one.rows, one.columns, SUM_BITS)

        def of_small(values: np.ndarray, i: int = i) -> np.ndarray:
            return np.array(loss(memory, [*smalls[:i], values, *smalls[i + 1 :]], *batch(memory)))

        expected = differences(of_small, smalls[i], np.ones(()))
        assert np.abs(sums - expected).max() < 2.0**-10 * np.abs(expected).max(), one


def test_the_loss_falls_and_the_frozen_matrices_stay(trained: tuple[Memory, Memory]) -> None:
    before, after = trained
    every = np.frombuffer(before.load_bytes(PICTURES, 4 * LENGTH), np.uint8).reshape(4, LENGTH) / 256, [0, 3, 1, 2]
    nothing_trained = [small * (i % 2 == 0) for i, small in enumerate(masters(before))]
    assert loss(before, masters(after), *every) < loss(before, masters(before), *every) < loss(before, nothing_trained, *every)
    assert before.subtree(33, 1) is after.subtree(33, 1)


def test_the_merged_matrix_is_w_plus_b_times_a(trained: tuple[Memory, Memory]) -> None:
    """Within 2^-20, as exact rationals; and the exported matrix is the nearest one of its scales."""
    after = trained[1]
    for one in (FIRST, SECOND):
        a, b = (load_vector(after, small.master, small.count) for small in (one.a, one.b))
        w, merged = (load_vector(after, at, one.rows * one.columns) for at in (one.w, one.merged))
        assert any(abs(x - y) > 1 << 12 for x, y in zip(w, merged, strict=True)), "B·A is seen"
        exported = Matrix(one.exported, 0, 32).rows(after, one.rows)
        for j in range(one.rows):
            for c in range(one.columns):
                product = sum(Fraction(b[j * RANK + t] * a[t * one.columns + c], 4**MASTER_BITS) for t in range(RANK))
                exact = Fraction(w[j * one.columns + c], 2**FROZEN_BITS) + product
                assert abs(Fraction(merged[j * one.columns + c], 2**FROZEN_BITS) - exact) < Fraction(1, 2**20)
                (group,) = exported[j]
                assert abs(Fraction(group.weights[c] * group.scale, 2**24) - exact) <= Fraction(group.scale, 2**25) + Fraction(1, 2**20)


def test_a_model_of_inference_reads_the_merged_matrix_where_it_is(trained: tuple[Memory, Memory]) -> None:
    """Its buffers lie behind what training left; on the exported matrix they would be refused."""
    def inference(out: int) -> Memory:
        product = MatMul(out, state.free + 4096, FIRST.exported, 0, HIDDEN, 32, OUT_BITS)
        header = Header(ops=1, tape=HEADER + 4096, context=1, vocabulary=1)
        return trained[1].store_bytes(HEADER, encode_words(header.words)).store_bytes(HEADER + 4096, encode_tape([product.record()]))

    check_model(inference(state.free))
    with pytest.raises(ImageOp):
        check_model(inference(FIRST.exported))


def test_b_must_not_be_read_as_other_bytes_than_were_trained() -> None:
    """A HEADS that takes one row too many of B is refused: it would share bytes with B and not be the same tensor."""
    records, _ = tape()
    place = next(i for i, (_, op) in enumerate(records) if op == next(FIRST.merging()))
    wrong = evolve(next(FIRST.merging()), period=HIDDEN + 1)
    memory = start(1).store_bytes(HEADER + 4096 + 128 * place, encode_tape([wrong.record(LAST_UPDATE)]))
    with pytest.raises(ImageOp, match="share bytes"):
        check_training(memory)
