"""Every op of training in native code leaves the bytes that the specification's stage leaves, on random and on extreme operands."""

import numpy as np
import pytest
from opml_spec.machine.memory import Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.training.training_stage import run_training_stage
from spec_training import settings

from opml_min.memory_map import HEADER, MODEL, REQUEST, STATE
from opml_min.training.layout import TAPE, TENSORS, TrainingHeader, pack_tape
from opml_min.training.operations import OPERANDS, Tensor, TensorPlace, TrainingOp, TrainingOpcode
from opml_min.training.run import TrainingRun

UPDATE, UPDATES = 1, 3

TOKENS = {"count": 50, "sequences": 3, "period": 7, "first": 2, "per_update": 6, "stream": 0}

# Sizes and settings of each op: usual ones, and others with odd sizes, several blocks, or operands at an end of their range.
CASES: list[tuple[TrainingOpcode, dict[str, int]]] = [
    (TrainingOpcode.INIT, {"count": 37, "mean": 0, "scale_q16": 1 << 24, "stream": 1}),
    (TrainingOpcode.INIT, {"count": 9, "mean": (1 << 31) - 1, "scale_q16": (1 << 31) - 1, "stream": (1 << 32) - 1}),
    *((TrainingOpcode.TOKENS, TOKENS | {"token_bytes": size}) for size in (1, 2, 4)),
    (TrainingOpcode.PICTURES, {"count": 5, "rows": 3, "length": 10, "first": 1, "per_update": 4, "stream": 2}),
    (TrainingOpcode.CAST, {"count": 21, "frac": 26, "width": 15}),
    (TrainingOpcode.CAST, {"count": 5, "frac": 18, "width": 7}),
    (TrainingOpcode.EXPORT, {"rows": 11, "columns": 37, "frac": 26}),
    (TrainingOpcode.EXPORT, {"rows": 8, "columns": 32, "frac": 18}),
    (TrainingOpcode.EMBED, {"rows": 5, "columns": 6, "matrix_rows": 4, "r": 14}),
    (TrainingOpcode.NORM, {"rows": 6, "length": 9, "r": 14, "eps_q48": 1 << 31, "width": 15}),
    (TrainingOpcode.NORM, {"rows": 6, "length": 5, "r": 4, "eps_q48": (1 << 36) - 1, "width": 7}),
    (TrainingOpcode.MATMUL, {"rows": 7, "columns": 5, "matrix_rows": 9, "first": 2, "taken": 6, "out_frac": 14}),
    (TrainingOpcode.MATMUL, {"rows": 50, "columns": 259, "matrix_rows": 35, "first": 0, "taken": 35, "out_frac": 30}),
    (TrainingOpcode.ROPE, {"rows": 6, "period": 3, "heads": 2, "head_size": 4}),
    (TrainingOpcode.HEADS, {"sequences": 2, "period": 3, "heads": 2, "head_size": 5, "vector_frac": 14, "width": 13}),
    (TrainingOpcode.ATTENTION, {"sequences": 2, "period": 5, "heads": 4, "kv_heads": 2, "head_size": 3, "width": 15}),
    (TrainingOpcode.ATTENTION, {"sequences": 1, "period": 49, "heads": 1, "kv_heads": 1, "head_size": 34, "width": 8}),
    (TrainingOpcode.SWIGLU, {"rows": 6, "length": 7, "width": 15}),
    (TrainingOpcode.ADD, {"count": 30}),
    (TrainingOpcode.RELU, {"rows": 6, "length": 7, "vector_frac": 12, "width": 14}),
    (TrainingOpcode.CROSS_ENTROPY, {"rows": 6, "vocabulary": 9, "width": 15}),
    (TrainingOpcode.ROUND, {"rows": 6, "length": 7, "width": 15}),
    (TrainingOpcode.SUM, {"rows": 9, "length": 5}),
    (TrainingOpcode.MATMUL_DATA, {"rows": 7, "columns": 5, "matrix_rows": 9, "first": 1, "taken": 7}),
    (TrainingOpcode.MATMUL_DATA, {"rows": 49, "columns": 33, "matrix_rows": 300, "first": 3, "taken": 290}),
    (TrainingOpcode.MATMUL_WEIGHTS, {"rows": 7, "columns": 5, "matrix_rows": 9, "first": 2, "taken": 7, "sum_frac": 20}),
    (TrainingOpcode.MATMUL_WEIGHTS, {"rows": 300, "columns": 33, "matrix_rows": 50, "first": 0, "taken": 50, "sum_frac": 0}),
    (TrainingOpcode.TARGET_DATA, {"rows": 6, "columns": 7, "matrix_rows": 5}),
    (TrainingOpcode.TARGET_WEIGHTS, {"rows": 9, "columns": 7, "matrix_rows": 5, "sum_frac": 20}),
    (TrainingOpcode.EMBED_WEIGHTS, {"rows": 9, "columns": 7, "matrix_rows": 5, "sum_frac": 24}),
    (TrainingOpcode.NORM_BACKWARD, {"rows": 6, "length": 9, "r": 14, "eps_q48": 1 << 31, "sum_frac": 20}),
    (TrainingOpcode.NORM_BACKWARD, {"rows": 6, "length": 5, "r": 4, "eps_q48": (1 << 36) - 1, "sum_frac": 0}),
    (TrainingOpcode.ROPE_BACKWARD, {"rows": 6, "period": 3, "heads": 2, "head_size": 4, "width": 15}),
    (TrainingOpcode.ATTENTION_BACKWARD, {"sequences": 2, "period": 5, "heads": 4, "kv_heads": 2, "head_size": 3, "width": 15}),
    (TrainingOpcode.ATTENTION_BACKWARD, {"sequences": 1, "period": 29, "heads": 2, "kv_heads": 1, "head_size": 34, "width": 7}),
    (TrainingOpcode.SWIGLU_BACKWARD, {"rows": 6, "length": 7, "width": 15}),
    (TrainingOpcode.RELU_BACKWARD, {"rows": 6, "length": 7, "width": 15}),
    (TrainingOpcode.ADAM, {"count": 40, "frac": 26, "rate_q16": 1 << 16, "decays": 1}),
    (TrainingOpcode.ADAM, {"count": 40, "frac": 18, "rate_q16": 1 << 24, "decays": 0}),
    (TrainingOpcode.SGD, {"count": 40, "frac": 30, "sum_frac": 0, "rate_q16": 1 << 24, "decays": 1}),
    (TrainingOpcode.MUON, {"matrix_rows": 3, "columns": 7, "frac": 26, "rate_q16": 1 << 16, "decays": 1}),
    (TrainingOpcode.MUON, {"matrix_rows": 7, "columns": 2, "frac": 18, "rate_q16": 1 << 16, "decays": 0}),
    (TrainingOpcode.MUON, {"matrix_rows": 29, "columns": 26, "frac": 26, "rate_q16": 1 << 16, "decays": 1}),
]
BASES = {
    **{TensorPlace.STATE: STATE, TensorPlace.TENSORS: TENSORS},
    **{TensorPlace.MODEL: MODEL + (1 << 29), TensorPlace.ANYWHERE: TENSORS + (1 << 28)},
}


def placed(opcode: TrainingOpcode, sizes: dict[str, int]) -> TrainingOp:
    """The op with every tensor at a place of its own."""
    numbers = {name: sizes.get(name, 0) for name in OPERANDS[opcode]}
    tensors = TrainingOp(opcode, 0, numbers).tensors()
    return TrainingOp(opcode, 0, numbers | {tensor.name: BASES[tensor.place] + (i << 20) for i, tensor in enumerate(tensors)})


def numbers(rng: np.random.Generator, shape: tuple[int, int], limit: int) -> np.ndarray:
    """Rows of integers within ±limit: zeros, small ones, ones at an end, and of all sizes."""
    rows = []
    for _ in range(shape[0]):
        size = 2.0 ** rng.integers(0, limit.bit_length() + 1)
        row = np.clip(np.rint(rng.normal(0, size, shape[1])), -limit, limit).astype(np.int64)
        kinds = [row * 0, row, rng.choice([-limit, limit, 0, 1, -1], shape[1]), np.full(shape[1], -limit)]
        rows.append(kinds[rng.choice(4, p=[0.15, 0.6, 0.15, 0.1])])
    return np.array(rows)


def content(op: TrainingOp, tensor: Tensor, rng: np.random.Generator) -> bytes:
    """Bytes that the op may find in the tensor."""
    if tensor.form[0] == "rows":
        _, rows, length, value_bytes = tensor.form
        values = numbers(rng, (int(rows), int(length)), (1 << (15 if value_bytes == 2 else 30)) - 1)
        low, high = (-40, 90) if rng.random() < 0.3 else (8, 30)
        exponents = np.where(values.any(axis=1), rng.integers(low, high, len(values)), rng.choice([127, -50]))
        head = exponents.astype("<i4").tobytes()
        return head + bytes(-len(head) % 32) + values.astype(f"<i{value_bytes}").tobytes()
    if tensor.form[0] == "longs":
        return numbers(rng, (1, tensor.size // 8), 1 << 46).__abs__().astype("<i8").tobytes()
    if tensor.form[0] == "bytes" or tensor.name in ("text", "pictures", "labels"):
        return rng.integers(0, 256, tensor.size, dtype=np.uint8).tobytes()
    if tensor.name == "table":
        return numbers(rng, (1, tensor.size // 4), 1 << 30).astype("<i4").tobytes()
    if tensor.name in ("tokens", "targets"):
        return rng.choice([0, 1, 2, 3, 4, 7, (1 << 32) - 1], tensor.size // 4).astype("<u4").tobytes()
    if tensor.name == "of_target":
        return rng.integers(-(1 << 30), 1, tensor.size // 4).astype("<i4").tobytes()
    length = next((op[name] for name in ("length", "vocabulary", "columns") if name in op.operands), 1)
    count = tensor.size // 4
    length = length if count % length == 0 else 1
    values = numbers(rng, (count // length, length), (1 << 31) - 1)
    return np.where(values == -(1 << 31) + 1, -(1 << 31), values).astype("<i4").tobytes()


def memories(op: TrainingOp, seed: int) -> tuple[list[tuple[int, bytes]], bytes]:
    """What lies in memory before the op, and the request."""
    rng = np.random.default_rng([seed, op.opcode])
    segments = [(HEADER, TrainingHeader(1).pack()), (TAPE, pack_tape([op.words()]))]
    segments += [(tensor.address, content(op, tensor, rng)) for tensor in op.tensors()]
    return segments, settings(1, UPDATES, rate_q34=int(rng.integers(1, 1 << 31)), warmup=int(rng.integers(0, 4)))


@pytest.mark.parametrize("case", CASES, ids=[f"{opcode.name}-{i}" for i, (opcode, _) in enumerate(CASES)])
def test_an_op_leaves_the_bytes_of_the_specification(case: tuple[TrainingOpcode, dict[str, int]]) -> None:
    op = placed(*case)
    for seed in range(2 if max(tensor.size for tensor in op.tensors()) > 4096 else 6):
        segments, request = memories(op, seed)
        run = TrainingRun(segments, request, threads=2)
        run.stage = UPDATE
        run.run_stage()
        leaf = UPDATES.to_bytes(8, "little") + len(request).to_bytes(8, "little") + bytes(16)
        before = Memory.from_segments(dict(sorted([*segments, (REQUEST, leaf + request)])))
        after, code = run_training_stage(before, UPDATE)
        assert code == 0
        for tensor in op.tensors():
            size, at = tensor.size, tensor.address
            mine, expected = run.memory.read(at, size), after.load_bytes(at, size)
            assert mine == expected, (seed, tensor.name, first_difference(tensor, mine, expected))
        assert run.state().carry_root == hash_of(after.subtree(34, 1))


def first_difference(tensor: Tensor, mine: bytes, expected: bytes) -> tuple[int, int, list[int], list[int]]:
    """How many bytes differ, where the first one is, and the numbers there."""
    differ = np.flatnonzero(np.frombuffer(mine, np.uint8) != np.frombuffer(expected, np.uint8))
    at = int(differ[0]) // 8 * 8
    numbers = (np.frombuffer(data[at : at + 16], "<i2").tolist() for data in (mine, expected))
    return (len(differ), at, *numbers)


def test_every_op_has_a_case() -> None:
    assert {opcode for opcode, _ in CASES} == set(TrainingOpcode)
