"""What a loader of training models checks, and that nothing within these bounds leaves 64 bits."""

import random
from typing import Any

import opml_spec.model.tensors
import pytest
from attrs import evolve, fields
from opml_spec.arithmetic import elementary, fixed
from opml_spec.arithmetic.fixed import round_shift
from opml_spec.errors import ImageBound, ImageHeader, ImageOp
from opml_spec.machine.memory import IO, MODEL, STATE, Memory
from opml_spec.model.layout import HEADER, RECORD_BYTES, REQUEST_BYTES, encode_tape, encode_words
from opml_spec.model.llama import Shape
from opml_spec.training import request, tensors
from opml_spec.training.layout import TENSORS, TrainingHeader
from opml_spec.training.llama_places import Batch
from opml_spec.training.llama_update import LlamaTraining
from opml_spec.training.loader import check_operation, check_training
from opml_spec.training.operations import attention, backward, forward, optimisers, products, weights
from opml_spec.training.operations.attention import BackwardAttention, ForwardAttention, Heads
from opml_spec.training.operations.backward import BackwardNorm, BackwardRelu, BackwardRope, BackwardSwiGlu, CrossEntropy, Round, Sum
from opml_spec.training.operations.batch_operation import Access, BatchOperation
from opml_spec.training.operations.forward import (
    ForwardAdd,
    ForwardEmbed,
    ForwardMatMul,
    ForwardNorm,
    ForwardRelu,
    ForwardRope,
    ForwardSwiGlu,
)
from opml_spec.training.operations.opcodes import BATCH_OPERATIONS, RANGES, operands
from opml_spec.training.operations.optimisers import Adam, Muon, Sgd
from opml_spec.training.operations.products import EmbedWeights, MatMulData, MatMulWeights, TargetData, TargetWeights
from opml_spec.training.operations.weights import Cast, Export, Init, Pictures, Tokens
from opml_spec.training.tensors import RowTensor
from spec_llama import with_request
from spec_training import ROPE, settings, start

A, B, C, D, E, F, G = (TENSORS + (i << 22) for i in range(7))
TABLE = MODEL + (1 << 29)

EXAMPLES: list[BatchOperation] = [
    Init(STATE, 8, 5, (1 << 31) - 1, 1),
    Tokens(A, B, TABLE, 2, 60, 2, 5, 0, 2, 3),
    Pictures(A, B, TABLE, TABLE + 4096, 5, 2, 6, 0, 2, 3),
    Cast(A, STATE, 12, 26, 15),
    Export(STATE + 4096, STATE, 3, 5, 18),
    ForwardEmbed(C, B, A, 2, 6, 4, 18),
    ForwardNorm(D, A, B, 3, 8, 14, (1 << 36) - 1, 15),
    ForwardMatMul(D, A, C, 2, 5, 7, 1, 4, 30),
    ForwardRope(A, 4, 2, 2, 4, TABLE),
    Heads(A, B, 2, 3, 2, 4, 14, 15),
    ForwardAttention(F, B, C, D, 2, 3, 4, 2, 4, 15),
    ForwardSwiGlu(D, A, B, 2, 6, 15),
    ForwardAdd(A, A, B, 9),
    ForwardRelu(D, A, 2, 6, 12, 15),
    CrossEntropy(C, D, A, B, 2, 9, 15),
    Round(C, A, 2, 5, 15),
    Sum(A, A, B, 2, 5),
    MatMulData(E, B, C, 2, 5, 7, 1, 4),
    MatMulWeights(F, B, A, 2, 5, 7, 1, 4, 24),
    TargetData(F, D, B, E, 2, 5, 7),
    TargetWeights(A, D, B, F, 2, 5, 7, 24),
    EmbedWeights(D, E, A, 2, 6, 4, 24),
    BackwardNorm(E, F, C, A, B, 3, 8, 14, (1 << 36) - 1, 24),
    BackwardRope(C, B, 4, 2, 2, 4, TABLE, 15),
    BackwardAttention(E, F, G, B, C, D, A, 2, 3, 4, 2, 4, 15),
    BackwardSwiGlu(E, F, C, A, B, 2, 6, 15),
    BackwardRelu(C, B, A, 2, 6, 15),
    Adam(STATE, A, B, C, 8, 26, 1 << 24, 1),
    Sgd(STATE, A, 8, 30, 0, 1 << 24, 1),
    Muon(STATE, A, B, 4, 3, 30, 1 << 24, 1),
]


def test_there_is_an_example_of_every_operation() -> None:
    assert [type(example) for example in EXAMPLES] == sorted(BATCH_OPERATIONS.values(), key=lambda kind: kind.opcode)
    names = {name for example in EXAMPLES for name, _ in operands(example)}
    assert set(RANGES) <= names


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda op: type(op).__name__)
def test_each_operation_is_accepted_and_its_spans_hold_all_that_it_changes(example: BatchOperation) -> None:
    check_operation(example)
    before = extreme_memory(example, random.Random(1))
    assert all(span.size % span.form == 0 for span in example.spans() if isinstance(span.form, int))
    after = example.execute(before, 0)
    own = before
    for span in example.spans():
        if span.access != Access.READ:
            own = own.store_bytes(span.address, after.load_bytes(span.address, span.size))
    assert own == after != before


# Refusals --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda op: type(op).__name__)
def test_an_operand_out_of_its_range_is_refused(example: BatchOperation) -> None:
    for name, _ in operands(example):
        if name in RANGES:
            for value in (RANGES[name][0] - 1, RANGES[name][1] + 1):
                with pytest.raises(ImageOp, match=name):
                    check_operation(evolve(example, **{name: value}))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda op: type(op).__name__)
def test_every_tensor_has_its_place(example: BatchOperation) -> None:
    """A tensor that is written may not lie in the model quarter or in the request; weights may not lie in io; all are aligned."""
    addresses = [name for name, _ in operands(example) if name not in RANGES]
    for name in addresses:
        for wrong in (REQUEST_BYTES - 32, TENSORS - 32, 1 << 40, getattr(example, name) + 4):
            with pytest.raises(ImageOp):
                check_operation(evolve(example, **{name: wrong}))
    written = {span.address: span.access for span in example.spans() if span.access != Access.READ}
    for name in addresses:
        if getattr(example, name) in written and not example.in_place:
            for wrong in (MODEL + (1 << 33), STATE + (1 << 33) if written[getattr(example, name)] == Access.WRITE else TENSORS + (1 << 33)):
                with pytest.raises(ImageOp, match="may not lie there"):
                    check_operation(evolve(example, **{name: wrong}))


def test_what_is_written_overlaps_nothing_else() -> None:
    good = ForwardSwiGlu(C, A, B, 2, 8, 15)  # 64 bytes each
    check_operation(evolve(good, gate=B))  # what is only read may be read twice
    for wrong in (evolve(good, out=A), evolve(good, out=A + 32), evolve(good, out=B - 32)):
        with pytest.raises(ImageOp, match="overlap"):
            check_operation(wrong)
    check_operation(ForwardAdd(A, B, A, 16))
    with pytest.raises(ImageOp, match="overlap"):
        check_operation(ForwardAdd(A, B, A + 32, 16))


@pytest.mark.parametrize(
    "wrong",
    [
        ForwardMatMul(D, A, C, 2, 5, 7, 4, 4, 30),
        MatMulData(E, B, C, 2, 5, 7, 4, 4),
        MatMulWeights(F, B, A, 2, 5, 7, 4, 4, 24),
        Tokens(A, B, TABLE, 2, 5, 2, 5, 0, 2, 3),
        Tokens(A, B, TABLE, 3, 60, 2, 5, 0, 2, 3),
        Tokens(A, B, TABLE, 2, 60, 2, 5, 1, 2, 3),
        Pictures(A, B, TABLE, TABLE + 4096, 5, 2, 6, 1, 2, 3),
        ForwardRope(A, 4, 2, 2, 3, TABLE),
        BackwardRope(C, B, 4, 2, 2, 3, TABLE, 15),
        ForwardAttention(F, B, C, D, 2, 3, 3, 2, 4, 15),
        BackwardAttention(E, F, G, B, C, D, A, 2, 3, 3, 2, 4, 15),
    ],
    ids=lambda op: type(op).__name__,
)
def test_operands_that_do_not_fit_each_other_are_refused(wrong: BatchOperation) -> None:
    with pytest.raises(ImageOp, match="fit"):
        check_operation(wrong)


@pytest.mark.parametrize(
    ("good", "changes"),
    [
        (ForwardNorm(D, A, B, 1, 4096, 14, 1 << 32, 15), {"length": 4097}),
        (ForwardNorm(D, A, B, 1, 8, 16, (1 << 32) - 1, 15), {"eps_q48": 1 << 34}),
        (BackwardNorm(E, F, C, A, B, 1, 4096, 14, 1 << 32, 24), {"length": 4097}),
        (BackwardAttention(E, TENSORS + (1 << 34), G, TENSORS + (1 << 33), C, D, A, 1, 1 << 13, 1, 1, 16, 15), {"head_size": 32}),
    ],
    ids=lambda x: type(x).__name__,
)
def test_bounds_are_exact(good: BatchOperation, changes: dict[str, int]) -> None:
    check = list(good.bounds())
    assert all(bound.magnitude < bound.limit for bound in check)
    worse = list(evolve(good, **changes).bounds())
    assert any(bound.magnitude >= bound.limit for bound in worse)


def test_a_model_is_checked_op_by_op() -> None:
    plan, memory = start()
    check_training(memory)
    op = next(i for i, record in enumerate(plan.tape()) if record.opcode == Sum.opcode)
    with pytest.raises(ImageOp, match=f"op {op}"):
        check_training(memory.store(HEADER + 4096 + 128 * op, 8, 12))
    with pytest.raises(ImageBound, match="op"):
        check_training(memory.store(HEADER + 4096 + 128 * normed(plan) + 8 * 8, 8, 1 << 35))


def test_all_ops_agree_on_the_tensors() -> None:
    """No bytes may be two things: another length, rows with exponents and without, a part of a tensor."""

    def model(*ops: BatchOperation) -> Memory:
        header = TrainingHeader(ops=len(ops), tape=HEADER + 4096)
        tape = encode_tape([op.record() for op in ops])
        return Memory.from_segments({HEADER: encode_words(header.words), HEADER + 4096: tape})

    swiglu = ForwardSwiGlu(C, A, B, 2, 16, 15)
    check_training(model(swiglu, ForwardAdd(A, B, A, 32), Round(D, E, 2, 16, 15)))
    adds = ForwardAdd(A, B, D, 24), ForwardAdd(A, B + 32, D, 32)
    for other in (*adds, Round(D, A, 1, 24, 15), Round(E, C, 2, 16, 15), Round(C, D, 1, 32, 15)):
        check_operation(other)
        with pytest.raises(ImageOp, match="share bytes"):
            check_training(model(swiglu, other))


def test_rope_tables_lie_in_the_model_quarter_and_hold_sines() -> None:
    plan, memory = start()
    for entry in (1 << 30, -(1 << 30)):
        check_training(memory.store(ROPE + 64, 4, entry))
    for entry in ((1 << 30) + 1, -(1 << 30) - 1):
        with pytest.raises(ImageBound, match="RoPE"):
            check_training(memory.store(ROPE + 64, 4, entry))
    op = next(i for i, record in enumerate(plan.tape()) if record.opcode == ForwardRope.opcode)
    with pytest.raises(ImageOp, match="model quarter"):
        check_training(memory.store(HEADER + 4096 + 128 * op + 8 * 7, 8, STATE + (1 << 33)))


def test_what_only_ops_make_lies_in_io() -> None:
    """An activation in the model quarter could have any exponents."""
    for at in (MODEL + (1 << 33), STATE + (1 << 33), REQUEST_BYTES):
        with pytest.raises(ImageOp, match="may not lie there"):
            check_operation(evolve(EXAMPLES[7], x=at))


def normed(plan: LlamaTraining) -> int:
    """The first NORM; its eps is word 8."""
    return next(i for i, record in enumerate(plan.tape()) if record.opcode == ForwardNorm.opcode)


IMPOSSIBLE = {
    **{"magic": [1], "version": [2], "ops": [0, (1 << 24) + 1]},
    **{"request_bytes": [63, 16385], "tape": [MODEL - RECORD_BYTES, IO - RECORD_BYTES + 8, STATE]},
}


@pytest.mark.parametrize("wrong", [{name: value} for name, values in IMPOSSIBLE.items() for value in values], ids=str)
def test_headers_of_another_kind_are_refused(wrong: dict[str, int]) -> None:
    header = TrainingHeader(ops=1, tape=HEADER + 4096)
    header.check()
    with pytest.raises(ImageHeader):
        check_training(Memory.from_segments({HEADER: encode_words(evolve(header, **wrong).words)}))


def test_the_builder_places_a_model_of_any_size() -> None:
    """The plan of SmolLM2-135M, with three of its layers, passes: no number leaves 64 bits, no tensor its place."""
    shape = Shape(576, 1536, 3, 9, 3, 64, 256, 49152, 16, round(1e-5 * 2**48))
    plan = LlamaTraining(shape, Batch(TABLE, 2, 1 << 20, 8, 256, MODEL + (1 << 33), logit_rows=6144))
    records = plan.tape()
    header = TrainingHeader(ops=len(records), tape=HEADER + 4096)
    check_training(Memory.from_segments({HEADER: encode_words(header.words), HEADER + 4096: encode_tape(records)}))


# Extremes --------------------------------------------------------------------------------------------------------------------------------


class Narrow(int):
    """A number of 64 bits: every result of its arithmetic must be one too."""

    def __new__(cls, value: int) -> "Narrow":
        assert -(1 << 63) <= value < 1 << 64, value
        return super().__new__(cls, value)


def narrowed(name: str) -> Any:
    plain = getattr(int, name)

    def operation(self: int, *others: int) -> Any:
        result = plain(self, *others)
        return Narrow(result) if type(result) is int else result

    return operation


for _name in ("add", "sub", "mul", "floordiv", "lshift", "rshift", "pow"):
    setattr(Narrow, f"__{_name}__", narrowed(f"__{_name}__"))
    setattr(Narrow, f"__r{_name}__", narrowed(f"__r{_name}__"))
Narrow.__neg__ = narrowed("__neg__")


def narrow_shift(value: int, shift: int) -> int:
    """`round_shift` as 64 bits do it: what is shifted right has room for the half, what is shifted left is for a clamp to cut."""
    assert abs(int(value)) + (1 << min(shift, 62) >> 1 if shift > 0 else 0) < 1 << 63
    result = round_shift(int(value), int(shift))
    return Narrow(result) if abs(result) < 1 << 63 else result


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """All numbers that training reads from memory, and all that come from them, are `Narrow`."""
    plain = opml_spec.model.tensors.load_ints

    def load(*arguments: Any) -> list[int]:
        return [Narrow(value) for value in plain(*arguments)]

    earlier = (elementary, fixed, request, tensors, opml_spec.model.tensors)
    for module in (*earlier, attention, backward, forward, optimisers, products, weights):
        for name, replaced in (("load_ints", load), ("round_shift", narrow_shift)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, replaced)


def extreme_memory(example: BatchOperation, rng: random.Random) -> Memory:
    """All tensors with the largest magnitudes, or with small ones, and exponents far apart."""
    memory = with_request(Memory(), 4, settings(1, 4, rate_q34=2**31 - 1, first_moment_q16=1, second_moment_q16=65536, decay_q16=65536))
    for span in example.spans():
        if isinstance(span.form, RowTensor):
            most = (1 << {2: 15, 4: 30}[span.form.value_bytes]) - 1
            values = [[extreme(rng, most) for _ in range(span.form.length)] for _ in range(span.form.rows)]
            memory = span.form.store(memory, [(row, rng.choice([-8, 0, 14, 15, 29, 60, 126])) for row in values])
        else:
            most = (1 << 30) if span.address == TABLE and span.form == 4 else {1: 127, 4: (1 << 31) - 1, 8: 1 << 46}[span.form]
            numbers = [abs(v) if span.form == 8 else v for v in (extreme(rng, most) for _ in range(span.size // span.form))]
            memory = memory.store_bytes(span.address, b"".join(v.to_bytes(span.form, "little", signed=True) for v in numbers))
    return memory


def extreme(rng: random.Random, most: int) -> int:
    return rng.choice([most, -most, most, -most, 1, -1, 0, rng.randrange(-most, most + 1)])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda op: type(op).__name__)
@pytest.mark.usefixtures("narrow")
def test_extremes_stay_within_64_bits(example: BatchOperation) -> None:
    for seed in range(12):
        example.execute(extreme_memory(example, random.Random(seed)), seed % 4)


@pytest.mark.usefixtures("narrow")
def test_that_such_a_test_can_fail() -> None:
    assert type(Narrow(3) * 2 + 1) is Narrow
    with pytest.raises(AssertionError):
        Narrow(1 << 40) * (1 << 30)
    with pytest.raises(AssertionError):
        optimisers.dot(tensors.load_ints(Memory().store_bytes(A, b"\xff" * 7 + b"\x7f"), A, 1, 8), [4])


def test_every_field_of_an_operation_is_a_number() -> None:
    assert all(field.type is int for kind in BATCH_OPERATIONS.values() for field in fields(kind))
