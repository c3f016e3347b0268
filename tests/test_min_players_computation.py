"""What a player computes: natively or in the machine, in any order, the same; and a machine that has halted stays as it is."""

from itertools import pairwise
from random import Random

import pytest
from opml_spec.dispute.result import Outcome, read_result
from opml_spec.runs.run import RunState as SpecRunState
from opml_spec.runs.run import RunStatus

from opml_min.cli.demo.scene import scene_of
from opml_min.machine import HALTED
from opml_min.memory_map import STAGE_STEP_LIMIT
from opml_min.model.resolve import resolve
from opml_min.model.staged_run import FAILED, OK, RunState
from opml_min.players.chain import INSTRUCTIONS, STAGES, Segment
from opml_min.players.cheats.own_programs import ACROSS_QUARTERS, EXIT_WELL, INTO_THE_MODEL, T0, T1, X0, add, addi, model_of, sd, slli
from opml_min.players.computation import Computation

STAGES_TRIED = (0, 2, 6, 64 * 3 + 7, 1152, 1214, 1215)


@pytest.fixture(scope="module")
def computation() -> Computation:
    return Computation(*scene_of(resolve("embedded")), device="cpu")


def test_native_code_and_the_machine_agree(computation: Computation) -> None:
    in_machine = Computation(*scene_of(resolve("embedded")), device="vm")
    assert [in_machine.run_state(stage) for stage in STAGES_TRIED] == [computation.run_state(stage) for stage in STAGES_TRIED]
    assert in_machine.run_hash() == computation.run_hash()
    assert in_machine.result() == computation.result()


@pytest.mark.parametrize("stage", STAGES_TRIED)
def test_opening_fits_between_the_run_states(stage: int, computation: Computation) -> None:
    """The machine begins where native code arrived, and ends where native code arrives next."""
    start, end, opening = computation.run_state(stage), computation.run_state(stage + 1), computation.opening(stage)
    assert RunState(opening.start_carry, opening.start_status) == start == RunState(start.carry_root, OK)
    assert RunState(opening.final_carry, OK) == end
    assert opening.final_state[256] == HALTED
    assert 1 <= opening.steps < STAGE_STEP_LIMIT


def test_order_of_questions_does_not_matter(computation: Computation) -> None:
    fresh = Computation(*scene_of(resolve("embedded")))
    points = [(1215, 17), (3, 5_000), (3, 40), (1215, 5_000), (0, 0)]
    backwards = [fresh.step_hash(stage, step) for stage, step in reversed(points)]
    stages = [fresh.run_state(stage) for stage in reversed(STAGES_TRIED)]
    assert [computation.step_hash(stage, step) for stage, step in points] == backwards[::-1]
    assert [computation.run_state(stage) for stage in STAGES_TRIED] == stages[::-1]
    assert len({*backwards}) == len(points)


def test_after_the_end_nothing_changes(computation: Computation) -> None:
    steps = computation.opening(7).steps
    last, before = computation.step_hash(7, steps), computation.step_hash(7, steps - 1)
    assert last != before
    assert computation.step_hash(7, STAGE_STEP_LIMIT) == computation.step_hash(7, steps + 1) == last


def test_every_part_of_a_segment_has_a_length() -> None:
    for length in (1, 2, 3, 31, 32, 33, 1216, 1 << 32):
        for k in (2, 3, 32, 64):
            ends = Segment(STAGES, 5, 5 + length, b"", b"").boundaries(k)
            assert ends[0] == 5
            assert ends[-1] == 5 + length
            assert len(ends) == min(k, length) + 1
            assert all(low < high for low, high in pairwise(ends))


def test_own_program_runs_in_the_machine() -> None:
    computation = Computation(model_of(ACROSS_QUARTERS), b"!", 5)
    assert computation.run_state(5).status == OK
    assert len({computation.run_state(stage).carry_root for stage in range(6)}) == 6
    assert computation.opening(4).final_carry == computation.run_state(5).carry_root


@pytest.mark.parametrize("behind", [None, 96, 120, 128])
def test_a_program_that_stores_behind_its_output_can_be_finalised(behind: int | None) -> None:
    """Nine tokens need three leaves of four; what stands in the fourth must be shown, or the court refuses the proof."""
    output = [addi(T0, X0, 0x400), add(T0, T0, T0), addi(T0, T0, 1), slli(T0, T0, 28)]
    stores = [sd(T1, at, T0) for at in (0, 32, 64, *([] if behind is None else [behind]))]
    done = Computation(model_of([*output, addi(T1, X0, 9), *stores, *EXIT_WELL]), b"!", 1)
    carry, status, shown, proof = done.result()
    assert read_result(SpecRunState(carry, RunStatus(status)), shown, proof)[0] is Outcome.OK


def test_failed_stage_leaves_the_run_as_it_was() -> None:
    computation = Computation(model_of(INTO_THE_MODEL), b"!", 3)
    start = computation.run_state(0)
    assert [computation.run_state(stage) for stage in (1, 3)] == [RunState(start.carry_root, FAILED)] * 2
    assert computation.opening(2) == (start.carry_root, FAILED, 0, b"", bytes(32), bytes(32))
    assert computation.result() == (start.carry_root, FAILED, b"", b"")


def test_hashes_of_a_round_are_those_of_the_points(computation: Computation) -> None:
    assert computation.hashes(None, 0, [3, 9]) == [computation.run_state(3).hash(), computation.run_state(9).hash()]
    assert computation.hashes(3, 0, [4, 90]) == [computation.step_hash(3, 4), computation.step_hash(3, 90)]
    assert STAGES != INSTRUCTIONS


@pytest.mark.parametrize("checkpoint_bytes", [0, 3 << 10, 1 << 20])
def test_room_for_checkpoints_does_not_matter(checkpoint_bytes: int, computation: Computation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dispute about stage 2, narrowed down to one step in the middle."""
    monkeypatch.setattr("opml_min.players.computation.CHECKPOINT_BYTES", checkpoint_bytes)
    fresh = Computation(*scene_of(resolve("embedded")), device="vm")
    low, high = 0, fresh.opening(2).steps
    target = high * 2 // 3
    while high - low > 1:
        ends = Segment(INSTRUCTIONS, low, high, b"", b"").boundaries(8)
        assert fresh.hashes(2, low, ends[1:-1]) == [computation.step_hash(2, end) for end in ends[1:-1]]
        low, high = next((begin, end) for begin, end in pairwise(ends) if begin <= target < end)
    assert fresh.witness(2, low) == computation.witness(2, low)
    assert fresh.run_hash() == computation.run_hash()


@pytest.mark.parametrize("checkpoint_bytes", [0, 3 << 10, 1 << 20])
@pytest.mark.parametrize("stage", [None, 2])
def test_a_false_part_is_found_by_bisection(
    stage: int | None, checkpoint_bytes: int, computation: Computation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashes that are true up to a point, and wrong, or now and then true again, after it; few of them are compared."""
    monkeypatch.setattr("opml_min.players.computation.CHECKPOINT_BYTES", checkpoint_bytes)
    fresh, rng = Computation(*scene_of(resolve("embedded")), device="cpu" if stage is None else "vm"), Random(4)
    for first_lie in range(0, 9, 2):
        low, high = (0, 32) if stage is None else (0, fresh.opening(stage).steps)
        ends = Segment(STAGES, low, high, b"", b"").boundaries(8)
        true = computation.hashes(stage, low, ends[1:-1])
        is_true = [done < first_lie or (done > first_lie and rng.random() < 0.5) for done in range(len(true))]
        posted = [hash_ if kept else rng.randbytes(32) for hash_, kept in zip(true, is_true, strict=True)]
        part = fresh.false_part(stage, low, ends[1:-1], posted)
        assert [True, *is_true, False][part : part + 2] == [True, False]
        if True not in is_true[first_lie:]:
            assert part == min(first_lie, len(true))
        begin = ends[part]
        assert fresh.hash_at(stage, begin) == computation.hash_at(stage, begin)
        assert fresh.hashes(stage, begin, [begin + 1]) == computation.hashes(stage, begin, [begin + 1])


def test_bisection_is_the_same_for_all_who_compute_the_same_run() -> None:
    """The ends 2, 3, 5, 6 and 8 of eight parts are false. The middle one is true, so the search goes on above it."""
    run = Computation(model_of(ACROSS_QUARTERS), b"!", 8)
    posted = [bytes(32) if end in (2, 3, 5, 6) else run.hash_at(None, end) for end in range(1, 8)]
    assert run.false_part(None, 0, range(1, 8), posted) == 4


def test_the_only_stage_is_run_once_for_all_that_its_end_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    once, again = (Computation(model_of(ACROSS_QUARTERS), b"!", 1) for _ in range(2))
    once.run_hash()
    monkeypatch.setattr(once, "_advance_steps", None)
    assert once.opening(0).final_carry == once.run_state(1).carry_root == once.result().carry
    again._only_stage_in_machine = False
    assert (again.result(), again.opening(0), again.run_hash()) == (once.result(), once.opening(0), once.run_hash())
    failed = Computation(model_of(INTO_THE_MODEL), b"!", 1)
    assert failed.run_state(1) == RunState(failed.run_state(0).carry_root, FAILED)
    assert failed.result() == (failed.run_state(0).carry_root, FAILED, b"", b"")
