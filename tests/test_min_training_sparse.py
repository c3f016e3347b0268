"""Images that are far larger in name than in fact: native code needs no more memory for them than the machine, or leaves them to it."""

from pathlib import Path

import numpy as np
import pytest
from spec_training import settings

from opml_min.memory_map import HEADER, MODEL, PAGE_BYTES
from opml_min.model.errors import CheckFailed
from opml_min.model.image.program import shipped_training_program
from opml_min.model.image.segments import write_image
from opml_min.model.staged_run import FAILED
from opml_min.players.image_kinds import begin_run, open_image
from opml_min.training.layout import TAPE, TENSORS, TrainingHeader, pack_tape
from opml_min.training.loader import MOST_OPS, decoded_ops
from opml_min.training.operations import TrainingOp, TrainingOpcode, row_tensor_bytes
from opml_min.training.request import power
from opml_min.training.run import TrainingRun

MANY = 1 << 20
ROWS = 5
X, G, WORKING, SUMS, INDICES, FACTORS = (TENSORS + (i << 34) for i in range(6))


def activation(length: int, at: int) -> list[tuple[int, bytes]]:
    """Rows that are zero but for their last value."""
    ends = [at + row_tensor_bytes(ROWS, 0, 2) + 2 * length * t for t in range(1, ROWS + 1)]
    return [(at, np.full(ROWS, 3, "<i4").tobytes()), *((end - 2, ONE) for end in ends)]


def operands(**given: int) -> dict[str, int]:
    return {"columns": 1, "matrix_rows": MANY, "first": MANY - 1, "taken": 1, "rows": ROWS} | given


ONE = np.int16(300).tobytes()
IDS = np.array([0, MANY - 1, (1 << 32) - 1, 70_000, 0], "<u4").tobytes()
CASES = {
    TrainingOpcode.MATMUL: operands(out=SUMS, x=X, working=WORKING, out_frac=0),
    TrainingOpcode.MATMUL_WEIGHTS: operands(sums=SUMS, g=G, x=X, sum_frac=0),
    TrainingOpcode.TARGET_WEIGHTS: operands(sums=SUMS, of_target=FACTORS, targets=INDICES, x=G, columns=2048, sum_frac=0),
    TrainingOpcode.EMBED_WEIGHTS: operands(sums=SUMS, d=G, tokens=INDICES, columns=1024, sum_frac=0),
}


@pytest.mark.parametrize("opcode", CASES)
def test_only_pages_that_an_op_writes_count_as_written(opcode: TrainingOpcode) -> None:
    op = TrainingOp(opcode, 0, CASES[opcode])
    segments = [(MODEL, shipped_training_program()), (HEADER, TrainingHeader(1).pack()), (TAPE, pack_tape([op.words()])), (INDICES, IDS)]
    segments.append((FACTORS, np.full(ROWS, -(1 << 30), "<i4").tobytes()))
    segments += [(WORKING, np.int32(3).tobytes()), (WORKING + 32 + 2 * (MANY - 1), ONE)]
    segments += activation(ROWS, X) + activation(MANY if opcode == TrainingOpcode.MATMUL_WEIGHTS else 2048, G)
    native, machine = (TrainingRun(segments, settings(1, 1), device=device) for device in ("cpu", "vm"))
    for run in (native, machine):
        run.snapshot()
        run.run_all()
    assert native.memory.snapshot_bytes() <= 2 * ROWS * 4 * PAGE_BYTES
    assert native.run_hash() == machine.run_hash() != TrainingRun(segments, settings(1, 1), device="vm").run_hash()


def test_a_table_may_be_much_longer_than_the_batch() -> None:
    table = MODEL + (1 << 32)
    op = TrainingOp(
        TrainingOpcode.ROPE, 0, {"vectors": TENSORS, "rows": 1, "period": MANY, "heads": 1, "head_size": 64, "table": table}
    )
    segments = [(HEADER, TrainingHeader(1).pack()), (TAPE, pack_tape([op.words()])), (TENSORS, ONE)]
    assert TrainingRun(segments, settings(1, 1)).ops[0] == op


def image_of(folder: Path, op_count: int, *tape: bytes) -> Path:
    path = folder / "image"
    end = [(TAPE, [b"".join(tape)])] if tape else []
    write_image(path, [(MODEL, [shipped_training_program()]), (HEADER, [TrainingHeader(op_count).pack()]), *end])
    return path


@pytest.mark.parametrize("op_count", [2, 1 << 24])
def test_a_tape_with_records_that_no_segment_holds_is_left_to_the_machine(tmp_path: Path, op_count: int) -> None:
    op = TrainingOp(TrainingOpcode.ADD, 0, {"out": TENSORS, "x": TENSORS, "y": TENSORS, "count": 8})
    path = image_of(tmp_path, op_count, pack_tape([op.words()]))
    run = begin_run(open_image(path), settings(op_count, 1), op_count)
    assert run.device == "vm"
    run.run_to(2)
    assert run.state().status == FAILED  # the second record is zero


def test_more_ops_than_native_code_keeps_are_refused() -> None:
    def read(address: int, size: int) -> bytes:
        raise AssertionError("nothing should be read")

    with pytest.raises(CheckFailed, match="only the machine"):
        decoded_ops(TrainingHeader(MOST_OPS + 1), read)


def test_tables_are_not_looked_at_without_end() -> None:
    """Each table overlaps the next one, which is noticed only at the end, so they are left to the machine."""
    sizes = {"vectors": TENSORS, "rows": 1, "period": MANY, "heads": 1, "head_size": 32}
    ops = [TrainingOp(TrainingOpcode.ROPE, 0, sizes | {"table": MODEL + (1 << 32) + 32 * i}) for i in range(3)]
    with pytest.raises(CheckFailed, match="too long"):
        TrainingRun([(HEADER, TrainingHeader(len(ops)).pack()), (TAPE, pack_tape(op.words() for op in ops))], settings(len(ops), 1))


def test_powers_of_late_updates_take_no_longer_than_in_the_machine() -> None:
    assert power(1, 1 << 32) == power(1, 1 << 20) == 0 < power(1, 1 << 19)
