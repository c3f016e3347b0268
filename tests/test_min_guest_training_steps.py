"""How many steps the guest of training needs per unit of work, and that it never needs more than the bound; `pytest -s` prints the table.

Steps do not depend on the computer, and hardly on the numbers: only on the sizes, which are those of a small model here.
"""

import numpy as np
import pytest
from attrs import evolve
from min_training_guest import Guest, memory_of
from opml_spec.machine.memory import MODEL, STATE
from opml_spec.training.layout import TENSORS
from opml_spec.training.operations.attention import BackwardAttention, ForwardAttention, Heads
from opml_spec.training.operations.backward import BackwardNorm, BackwardRelu, BackwardRope, BackwardSwiGlu, CrossEntropy, Round, Sum
from opml_spec.training.operations.batch_operation import BatchOperation
from opml_spec.training.operations.forward import (
    ForwardAdd,
    ForwardEmbed,
    ForwardMatMul,
    ForwardNorm,
    ForwardRelu,
    ForwardRope,
    ForwardSwiGlu,
)
from opml_spec.training.operations.opcodes import BATCH_OPERATIONS
from opml_spec.training.operations.optimisers import Adam, Muon, Sgd
from opml_spec.training.operations.products import EmbedWeights, MatMulData, MatMulWeights, TargetData, TargetWeights
from opml_spec.training.operations.weights import Cast, Export, Init, Pictures, Tokens
from opml_spec.training.tensors import RowTensor
from spec_training import settings
from test_spec_training_page import page_name

from opml_min.training.operations import TrainingOp
from opml_min.training.steps import STAGE_STEPS, steps_bound, usual_steps

A, B, C, D, E, F, G = (TENSORS + (i << 24) for i in range(7))
DATA = MODEL + (1 << 29)
SEQUENCES, PERIOD, ROWS = 2, 128, 256
HEADS, KV_HEADS, HEAD_SIZE, WIDTH = 4, 2, 48, 192
VOCABULARY, TAKEN = 512, 64
EACH, PRODUCTS, PAIRS = ROWS * WIDTH, ROWS * WIDTH * TAKEN, SEQUENCES * HEADS * PERIOD * (PERIOD + 1) // 2
MUON_ROWS = 128
LONG_HEAD = 1 << 10

# The op, how many units of work it does, the unit, and the most steps of a unit (0: no goal).
COSTS: list[tuple[BatchOperation, int, str, float]] = [
    (Init(STATE, EACH, 5, 1 << 20, 1), EACH, "weight", 0),
    (Tokens(A, B, DATA, 2, 6000, SEQUENCES, PERIOD, 0, 4, 3), ROWS, "token", 0),
    (Pictures(A, B, DATA, DATA + (1 << 20), 60, ROWS, WIDTH, 0, ROWS, 3), EACH, "byte", 0),
    (Cast(A, STATE, EACH, 26, 15), EACH, "weight", 0),
    (Export(STATE + (1 << 24), STATE, ROWS, WIDTH, 26), EACH, "weight", 0),
    (ForwardEmbed(C, B, A, ROWS, WIDTH, VOCABULARY, 14), EACH, "value", 0),
    (ForwardNorm(D, A, B, ROWS, WIDTH, 14, 2815, 15), EACH, "value", 0),
    (ForwardMatMul(D, A, C, ROWS, WIDTH, VOCABULARY, 0, TAKEN, 14), PRODUCTS, "product", 3),
    (ForwardRope(A, ROWS, PERIOD, HEADS, HEAD_SIZE, DATA), EACH, "value", 0),
    (Heads(A, B, SEQUENCES, PERIOD, HEADS, HEAD_SIZE, 14, 15), EACH, "value", 0),
    (ForwardAttention(F, B, C, D, SEQUENCES, PERIOD, HEADS, KV_HEADS, HEAD_SIZE, 15), PAIRS, "pair", 0),
    (ForwardSwiGlu(D, A, B, ROWS, WIDTH, 15), EACH, "value", 0),
    (ForwardAdd(A, A, B, EACH), EACH, "value", 0),
    (ForwardRelu(D, A, ROWS, WIDTH, 12, 15), EACH, "value", 0),
    (CrossEntropy(C, D, A, B, ROWS, VOCABULARY, 15), ROWS * VOCABULARY, "logit", 0),
    (Round(C, A, ROWS, WIDTH, 15), EACH, "value", 0),
    (Sum(A, A, B, ROWS, WIDTH), EACH, "value", 0),
    (MatMulData(E, B, C, ROWS, TAKEN, VOCABULARY, 0, WIDTH), PRODUCTS, "product", 3),
    (MatMulWeights(F, B, A, ROWS, WIDTH, VOCABULARY, 0, TAKEN, 20), PRODUCTS, "product", 3),
    (TargetData(F, D, B, E, ROWS, WIDTH, VOCABULARY), EACH, "value", 0),
    (TargetWeights(A, D, B, F, ROWS, WIDTH, VOCABULARY, 20), EACH, "value", 0),
    (EmbedWeights(D, E, A, ROWS, WIDTH, VOCABULARY, 20), EACH, "value", 0),
    (BackwardNorm(E, F, C, A, B, ROWS, WIDTH, 14, 2815, 20), EACH, "value", 0),
    (BackwardRope(C, B, ROWS, PERIOD, HEADS, HEAD_SIZE, DATA, 15), EACH, "value", 0),
    (BackwardAttention(E, F, G, B, C, D, A, SEQUENCES, PERIOD, HEADS, KV_HEADS, HEAD_SIZE, 15), PAIRS, "pair", 0),
    (BackwardSwiGlu(E, F, C, A, B, ROWS, WIDTH, 15), EACH, "value", 0),
    (BackwardRelu(C, B, A, ROWS, WIDTH, 15), EACH, "value", 0),
    (Adam(STATE, A, B, C, EACH, 26, 1 << 16, 1), EACH, "weight", 120),
    (Sgd(STATE, A, EACH, 26, 20, 1 << 16, 1), EACH, "weight", 0),
    (Muon(STATE, A, B, MUON_ROWS, WIDTH, 26, 1 << 16, 1), 5 * (2 * MUON_ROWS**2 * WIDTH + MUON_ROWS**3), "product", 3.1),
]


def steps(op: BatchOperation, *, unusual: bool = False) -> int:
    """The steps of an op on numbers as a run has them: normal, with exponents near one another. Unusual numbers are any bits."""
    rng, guest = np.random.default_rng(1), Guest(memory_of([op.record()], settings(1, 1), 1), {})
    for span in op.spans():
        if unusual:
            data = rng.bytes(span.size)
        elif isinstance(span.form, RowTensor):
            bits = {2: 15, 4: 30}[span.form.value_bytes]
            limit = (1 << bits) - 1
            exponents = rng.integers(12, 20, span.form.rows, dtype=np.int32).tobytes()
            values = np.clip(rng.normal(0, limit / 4, span.form.rows * span.form.length), -limit, limit)
            data = exponents + bytes(-len(exponents) % 32) + values.astype(f"<i{span.form.value_bytes}").tobytes()
        elif span.form == 1:
            data = rng.integers(0, 256, span.size, dtype=np.uint8).tobytes()
        else:
            data = np.abs(rng.normal(0, 1 << 15, span.size // span.form)).astype(f"<i{span.form}").tobytes()
        guest.machine.memory.write(span.address, data)
    assert guest.stage(0) == 0
    return guest.steps


@pytest.mark.parametrize(("op", "units", "unit", "most"), COSTS, ids=lambda value: type(value).__name__)
def test_steps_per_unit(op: BatchOperation, units: int, unit: str, most: float) -> None:
    cost = steps(op) / units
    print(f"| {page_name(type(op))} | {cost:.1f} | {unit} |")
    assert cost <= (most or 2000)
    bound = steps_bound(min_op(op))
    assert cost * units <= bound
    assert not most or bound - STAGE_STEPS <= 1.6 * cost * units  # so that hardly anything is refused that a stage can hold


def min_op(op: BatchOperation) -> TrainingOp:
    return TrainingOp.of((*op.record().words, *[0] * 16)[:16])


def smaller(op: BatchOperation) -> BatchOperation:
    """The op with sizes that fill neither tiles nor blocks."""
    sizes = {"rows": 5, "length": 7, "columns": 9, "taken": 6, "matrix_rows": 11, "sequences": 1, "period": 5, "vocabulary": 13}
    sizes |= {"heads": 2, "kv_heads": 1, "head_size": 6, "count": 33}
    return evolve(op, **{name: value for name, value in sizes.items() if hasattr(op, name)})


@pytest.mark.parametrize("op", [smaller(op) for op, *_ in COSTS], ids=lambda op: type(op).__name__)
def test_no_numbers_need_more_steps_than_the_bound(op: BatchOperation) -> None:
    assert steps(op) <= steps_bound(min_op(op)) - STAGE_STEPS + 30_000  # without the room for the powers of a rate
    assert steps(op, unusual=True) <= steps_bound(min_op(op)) - STAGE_STEPS + 30_000


LONG = 2000
THIN: list[BatchOperation] = [  # all sizes but one are small, so what a bound leaves out stands alone
    *(Heads(A, B, *sizes, 14, 15) for sizes in ((1, 1, LONG, 1), (LONG, 1, 1, 1), (1, LONG, 1, 1), (40, 1, 50, 1))),
    *(ForwardAttention(F, B, C, D, 1, period, heads, kv_heads, LONG_HEAD, 15) for period, heads, kv_heads in ((1, 8, 8), (5, 2, 1))),
    ForwardAttention(F, B, C, D, 1, 1, LONG // 2, 1, 1, 15),
    *(BackwardAttention(E, F, G, B, C, D, A, 1, period, 4, kv_heads, LONG_HEAD, 15) for period, kv_heads in ((1, 4), (5, 1))),
    BackwardAttention(E, F, G, B, C, D, A, 1, 1, LONG // 2, 1, 1, 15),
    *(Export(STATE + (1 << 24), STATE, rows, columns, 26) for rows, columns in ((1, LONG), (9, LONG), (LONG, 1), (LONG, 33))),
    *(ForwardMatMul(D, A, C, 1, columns, rows, 0, rows, 14) for columns, rows in ((LONG, 1), (1, LONG))),
    *(MatMulData(E, B, C, 1, columns, rows, 0, rows) for columns, rows in ((LONG, 1), (1, LONG))),
    *(MatMulWeights(F, B, A, 1, columns, rows, 0, rows, 20) for columns, rows in ((LONG, 1), (1, LONG))),
    *(ForwardRope(A, 1, 1, heads, size, DATA) for heads, size in ((LONG // 2, 2), (1, LONG_HEAD))),
    *(BackwardRope(C, B, 1, 1, heads, size, DATA, 15) for heads, size in ((LONG // 2, 2), (1, LONG_HEAD))),
    *(Muon(STATE, A, B, rows, columns, 26, 1 << 16, 1) for rows, columns in ((1, LONG), (LONG, 1), (5, 300), (300, 5))),
]


@pytest.mark.parametrize("op", THIN, ids=lambda op: type(op).__name__)
def test_no_shape_needs_more_steps_than_the_bound(op: BatchOperation) -> None:
    assert steps(op, unusual=True) <= usual_steps(min_op(op)) + 30_000


def test_every_op_has_its_cost() -> None:
    assert [type(op) for op, *_ in COSTS] == sorted(BATCH_OPERATIONS.values(), key=lambda kind: kind.opcode)
