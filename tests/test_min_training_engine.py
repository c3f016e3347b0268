"""The engine of training: threads and groups of ops change no bit, what was written is on record, and an exception in a kernel is told."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from opml_min.memory_map import MODEL, PAGE_BYTES
from opml_min.training import engine
from opml_min.training.plans import Phase, Plan
from opml_min.training.recipes.llama import llama_training
from opml_min.training.recipes.llama_shape import LlamaShape
from opml_min.training.recipes.recipe import Method, Optimiser, Recipe, TokenText
from opml_min.training.request import Settings
from opml_min.training.run import TrainingRun
from opml_min.training.written import whole_pages

SETTINGS = Settings(5, 2, 1, 1 << 26, 0, 6554, 3277, 62259, 6554)


def training_run(threads: int) -> TrainingRun:
    """Two updates, by MUON and ADAM, whose ops have many pieces: 210 rows, 10 key-value heads, several tiles of logits."""
    text = np.random.default_rng(5).integers(0, 100, 500, dtype=np.uint8).tobytes()
    shape = LlamaShape(dim=60, hidden_dim=104, layers=2, heads=4, kv_heads=2, head_size=14, vocabulary=100, r=16)
    recipe = Recipe(Method.SCRATCH, Optimiser.MUON, sequences=5, period=42, sum_frac=20, logit_rows=70)
    return TrainingRun(llama_training(shape, recipe, TokenText(text, 1)).segments, SETTINGS.pack(), threads=threads)


def test_threads_and_groups_of_ops_change_no_bit() -> None:
    stage_by_stage, whole, shared, crowded = training_run(1), training_run(1), training_run(2), training_run(5)
    for update in (1, 2):
        for _ in whole.ops:
            stage_by_stage.run_stage()
        hashes = [stage_by_stage.run_hash()]
        for run in (whole, shared, crowded):
            run.run_to(update * len(run.ops))
            hashes.append(run.run_hash())
        assert len({*hashes}) == 1
    assert len({run.state_root for run in (stage_by_stage, whole, shared, crowded)}) == 1


def test_threads_compute_every_stage_alike() -> None:
    one, two = training_run(1), training_run(2)
    for stage in range(one.stage_count):
        one.run_stage()
        two.run_stage()
        assert one.state().carry_root == two.state().carry_root, one.ops[stage % len(one.ops)]


def test_the_groups_of_a_run_stop_where_an_op_is_not_done_and_before_they_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[range] = []
    monkeypatch.setattr(engine.TrainingEngine, "run", lambda self, first, end, settings, update: computed.append(range(first, end)))
    run = training_run(1)
    run.run_all()
    ops = len(run.ops)
    only_first = [i for i, op in enumerate(run.ops) if op.condition == 1]
    only_last = [i for i, op in enumerate(run.ops) if op.condition == 2]
    assert only_first
    assert only_last
    done = [i for group in computed for i in group]
    assert done == [i for i in range(ops) if i not in only_last] + [i for i in range(ops) if i not in only_first]
    computed.clear()
    monkeypatch.setattr("opml_min.training.run.STEPS_AT_ONCE", 1)
    training_run(1).run_all()
    assert {len(group) for group in computed} == {1}


@njit(nogil=True)
def raising(base, words, first, end, chunk, scratch, shared):  # type: ignore[no-untyped-def]
    if first == 1:
        raise ValueError


@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_in_a_kernel_is_no_result(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(engine, "plan_of", lambda op: Plan((Phase(raising, 3, 1),)))
    run = training_run(threads)
    with pytest.raises(RuntimeError, match="kernel"):
        run.run_stage()


@given(st.lists(st.tuples(st.integers(0, 20 * PAGE_BYTES), st.integers(1, 3 * PAGE_BYTES)), max_size=8))
def test_whole_pages_are_those_that_spans_meet(spans: list[tuple[int, int]]) -> None:
    def pages(of: list[tuple[int, int]]) -> list[int]:
        return [page for at, size in of for page in range(at // PAGE_BYTES, (at + size - 1) // PAGE_BYTES + 1)]

    merged = whole_pages((MODEL + at, size) for at, size in spans)
    found = pages([(at - MODEL, size) for at, size in merged])
    assert found == sorted({*pages(spans)})
    assert all(at % PAGE_BYTES == size % PAGE_BYTES == 0 for at, size in merged)
    assert all(at + size < following for (at, size), (following, _) in pairwise(merged))
