"""Several positions at once on the emulated card, of a prompt or of several requests: each run ends with the memory that it has alone."""

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from attrs import evolve
from min_gpu_emulator import EmulatedCard, Schedule
from min_gpu_stages import OPS, RandomStage, embed, input_bytes, matmul, norm, random_stage, relu, swiglu, written_by_specification
from min_model import write_source
from test_min_gpu_kernels import behind_others, check_on, in_a_batch

from opml_min.machine import Memory
from opml_min.memory_map import HEADER, STAGE_STEP_LIMIT, STATE
from opml_min.model.build.build import write_model
from opml_min.model.gpu import accelerator, batches, card
from opml_min.model.gpu.barriers import barriers_before
from opml_min.model.gpu.batches import Batches, Span, planned, waits_before
from opml_min.model.gpu.engine import run_together
from opml_min.model.image.image import Image
from opml_min.model.image.ops import ALWAYS, Op, Opcode
from opml_min.model.image.request import TextRequest
from opml_min.model.image.weights import Q8_0
from opml_min.model.resolve import build_source, resolve
from opml_min.model.run import Run
from opml_min.model.run_batch import finished_runs

LONG = TextRequest(tuple(range(5, 25)), 3, 1 << 16, 99)
MIXED = [LONG, TextRequest((1,), 6), TextRequest((1, 260, 77), 5, 1 << 16, 1), TextRequest((*LONG.prompt[:9], 7), 2)]


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> EmulatedCard:
    found = EmulatedCard()
    monkeypatch.setattr(card, "open_card", lambda: found)
    return found


@pytest.fixture(scope="module")
def memory() -> Memory:
    return Memory()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("tiny")
    build_source(write_source(folder), folder / "tok300.bin", folder / "tiny.opml")
    return Image(folder / "tiny.opml")


def alone(image: Image, request: TextRequest) -> Run:
    """The run in native code."""
    run = Run(image, request.pack())
    run.run_all()
    return run


def together(image: Image, requests: Sequence[TextRequest]) -> list[Run]:
    return list(finished_runs(image, [request.pack() for request in requests], device="gpu"))


def require_same(runs: Sequence[Run], image: Image, requests: Sequence[TextRequest]) -> None:
    assert len(runs) == len(requests)
    for run, request in zip(runs, requests, strict=True):
        expected = alone(image, request)
        assert run.tokens() == expected.tokens()
        assert run.run_hash() == expected.run_hash()


def test_plans() -> None:
    """Each position comes once and in its order; only the last of a request in a batch works in place, and only that may draw."""
    rng = random.Random(1)
    for _ in range(300):
        most, may_copy = rng.randint(1, 9), rng.random() < 0.8
        spans = []
        for _ in range(rng.randint(1, 12)):
            prompt, first = rng.randint(1, 20), rng.randint(0, 3)
            spans.append(Span(None, first, first + rng.randint(1, 25), prompt - 1))  # type: ignore[arg-type]
        plan = planned(spans, most, may_copy)
        for index, span in enumerate(spans):
            assert [place.position for batch in plan for place in batch if place.span == index] == [*range(span.first, span.end)]
        for batch in plan:
            assert 1 <= len(batch) <= most
            copies = [place.copy for place in batch if place.copy is not None]
            assert copies == [*range(len(copies))]
            assert may_copy or not copies
            assert all(place.position < spans[place.span].draws_from for place in batch if place.copy is not None)
            for place, following in pairwise([*batch, None]):
                assert (place.copy is None) == (following is None or following.span != place.span)


@pytest.mark.parametrize("schedule", [*Schedule])
def test_a_prompt(schedule: Schedule, image: Image, emulated: EmulatedCard) -> None:
    emulated.schedule, emulated.blocks = schedule, 2 + schedule
    run = Run(image, LONG.pack(), device="gpu")
    run.run_all()
    require_same([run], image, [LONG])
    assert emulated.batches_launched == [(0, 1)]
    assert emulated.launched[0][0] == len(LONG.prompt) * len(image.ops)


@pytest.mark.parametrize("schedule", [*Schedule])
def test_requests_of_mixed_lengths(schedule: Schedule, image: Image, emulated: EmulatedCard) -> None:
    emulated.schedule, emulated.seed = schedule, 5
    require_same(together(image, MIXED), image, MIXED)
    assert emulated.batches_launched
    assert not emulated.launched


def test_one_request_is_computed_as_usual(image: Image, emulated: EmulatedCard) -> None:
    require_same(together(image, [LONG]), image, [LONG])
    assert emulated.launched


def test_a_common_prefix(image: Image, emulated: EmulatedCard) -> None:
    requests = [evolve(LONG, prompt=(*LONG.prompt[:12], last), max_new_tokens=2, seed=last) for last in (3, 4, 4, 9)]
    runs = together(image, requests)
    require_same(runs, image, requests)
    assert runs[1].run_hash() == runs[2].run_hash() != runs[0].run_hash()


def test_more_requests_than_positions_in_a_batch(image: Image, emulated: EmulatedCard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_POSITIONS", 3)
    require_same(together(image, MIXED), image, MIXED)
    assert not emulated.launched


def test_the_embedded_model(emulated: EmulatedCard) -> None:
    model = resolve("embedded")
    texts = ["ROMEO:", "ROMEO: O", "", "To be, or not"]
    requests = [TextRequest(tuple(model.tokenizer.prompt(text)), 3, 1 << 16, 7) for text in texts]
    emulated.schedule = Schedule.SHUFFLED
    require_same(together(model.image, requests), model.image, requests)


def test_stories260k(emulated: EmulatedCard, shared_data: Path) -> None:
    model = resolve(str(shared_data / "stories260K.bin"))
    requests = [TextRequest(tuple(model.tokenizer.prompt(text)), 3) for text in ["Once upon a time", "Lily and"]]
    require_same(together(model.image, requests), model.image, requests)


def test_runs_end_at_a_stop_token(image: Image, tmp_path: Path, emulated: EmulatedCard, monkeypatch: pytest.MonkeyPatch) -> None:
    """One before the other; within a launch, and between two."""
    requests = [TextRequest((1, 5), 12, 1 << 19, 3), TextRequest((1, 260, 77), 12, 1 << 19, 1)]
    free = [alone(image, request).tokens() for request in requests]
    stop = free[0][3]
    assert stop not in free[0][:3] + free[1]
    header = evolve(image.header, stop_tokens=(stop,))
    rest = image.segments[1].data[image.header.tape_address - HEADER + 128 * len(image.tape) :]
    write_model(tmp_path / "stop.opml", image.program, header, image.ops, [rest])
    stopping = Image(tmp_path / "stop.opml")
    for seconds, launches in ((1e9, 4 + 3), (0, 12 + 4)):
        monkeypatch.setattr(accelerator, "LAUNCH_SECONDS", seconds)
        emulated.batches_launched.clear()
        require_same(together(stopping, requests), stopping, requests)
        require_same(together(stopping, requests[:1] * 2), stopping, requests[:1] * 2)
        assert len(emulated.batches_launched) == launches  # with time for one batch each, none comes after the last token


@pytest.mark.parametrize("position", [1, 7, 19, 20])
def test_the_machine_takes_over_at_any_stage(position: int, image: Image, emulated: EmulatedCard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_POSITIONS", 5)
    run, expected, stage = Run(image, LONG.pack(), device="gpu"), Run(image, LONG.pack()), position * len(image.ops) + 6
    for each in (run, expected):
        each.run_to(stage)
    assert run.state() == expected.state()
    run.machine.begin_stage(stage)
    run.machine.run(STAGE_STEP_LIMIT)
    run.stage += 1
    run.run_all()
    require_same([run], image, [LONG])


def test_what_no_op_writes_is_in_every_copy(image: Image, emulated: EmulatedCard) -> None:
    """A product whose matrix has weights beyond the last column reads the padding, so what the host puts there counts at every position."""
    norm = next(op.operands for op in image.ops if op.opcode == Opcode.NORM)
    cache = next(op.operands for op in image.ops if op.opcode == Opcode.CACHE)
    (keys,) = [op.operands for op in image.ops if op.operands.get("out") == cache["k"]][:1]
    assert (keys["x"], keys["columns"], keys["quantisation"], norm["length"]) == (norm["out"], 32, Q8_0, 24)
    roots, first_keys = [], []
    for device, padding in (("gpu", bytes(range(1, 17))), ("cpu", bytes(range(1, 17))), ("cpu", bytes(16))):
        run = Run(image, LONG.pack(), device=device)  # type: ignore[arg-type]
        run.memory.write(norm["out"] + 32 + 2 * 24, padding)
        run.memory.write(keys["matrix"] + 8 * 24, b"\x40" * 16)  # columns 24 and 25 of 8 rows
        run.run_to(len(LONG.prompt) * len(image.ops))
        roots.append(run.memory.carry_root())
        first_keys.append(run.memory.read(cache["keys"], 2 * cache["head_size"]))
    assert roots[0] == roots[1]
    assert first_keys[0] == first_keys[1] != first_keys[2]


def test_after_an_interrupt_all_can_be_computed_again(image: Image, emulated: EmulatedCard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_POSITIONS", 4)
    monkeypatch.setattr(accelerator, "LAUNCH_SECONDS", 0)
    runs = [Run(image, request.pack(), device="gpu") for request in MIXED[:2]]
    seen = iter(range(9))

    def interrupt() -> None:
        if next(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_together([run.engine for run in runs], [run.positions for run in runs], interrupt)  # type: ignore[misc]
    run_together([run.engine for run in runs], [run.positions for run in runs], lambda: None)  # type: ignore[misc]
    for run in runs:
        expected = Run(image, run.request)
        expected.run_all()
        assert run.memory.carry_root() == expected.memory.carry_root()


def test_a_card_with_little_memory_takes_fewer_at_once(image: Image, emulated: EmulatedCard) -> None:
    first = Run(image, LONG.pack(), device="gpu")
    needed = sum(emulated.lengths.values())
    emulated.left = 4 * needed
    runs = together(image, MIXED)
    assert emulated.batches_launched
    require_same(runs, image, MIXED)
    del first, runs
    assert not emulated.lengths
    emulated.left = needed + 1000
    emulated.batches_launched.clear()
    require_same(together(image, [LONG]), image, [LONG])
    assert not emulated.batches_launched


def test_memory_is_freed(image: Image, emulated: EmulatedCard) -> None:
    runs = together(image, MIXED)
    assert emulated.lengths
    del runs
    assert not emulated.lengths


@pytest.mark.parametrize("make", [make for make in OPS if make is not input_bytes], ids=lambda make: make.__name__)
def test_random_stages(make, memory: Memory) -> None:
    """The last of up to 6 positions, with the extremes of every range, leaves what the specification says."""
    may_copy = make in (embed, norm, matmul, swiglu, relu)
    for seed in range(10):
        rng, stage = random.Random(seed), random_stage(make, seed)
        if stage.is_text:
            stage = with_longer_prompt(stage, seed % 6 if may_copy and make is not embed else 0)
            emulated = EmulatedCard(rng.choice([1, 2, 3, 5]), 32 * rng.choice([1, 2, 4]), Schedule(rng.randrange(4)), seed)
            check_on(emulated, stage, memory, written_by_specification(stage), behind_others if may_copy else in_a_batch)
            assert emulated.batches_launched


def with_longer_prompt(stage: RandomStage, more: int) -> RandomStage:
    """Moves a stage to a later position, behind tokens 0."""
    request = TextRequest.unpack(stage.request)
    prompt = (0,) * more + request.prompt
    return evolve(stage, position=stage.position + more, request=evolve(request, prompt=prompt).pack())


def test_tapes_that_draw_in_the_middle_are_not_batched(image: Image) -> None:
    for ops, most in [(image.ops, batches.MOST_POSITIONS), ([*image.ops, image.ops[0]], 1)]:
        assert Batches(EmulatedCard(), ops, None).most_positions == most


def test_blocks_wait_before_a_token_is_drawn() -> None:
    """Even if the draw needs no other op: it may end the run, and until then every block must have read whether it has ended."""
    add, sample = {"x": STATE, "y": STATE + 32, "length": 8}, {"logits": STATE + 64, "length": 8}
    ops = [Op(Opcode.ADD, ALWAYS, add), Op(Opcode.SAMPLE, ALWAYS, sample)]
    assert barriers_before(ops).tolist() == [1, 0]
    assert waits_before(ops).tolist() == [1, 1]
