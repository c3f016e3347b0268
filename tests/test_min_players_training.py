"""Players of a training: native code and the machine agree, however one goes back and forth; and no cheat of a trainer pays."""

import os
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from opml_spec.dispute.result import Outcome, read_result
from opml_spec.runs.run import RunState as SpecRunState
from opml_spec.runs.run import RunStatus
from test_min_players_cheats import check_instruction

from evm_arbiter.court import Court
from opml_min.cli.demo.evidence import evidence
from opml_min.cli.demo.op_names import op_at
from opml_min.cli.demo.play import Match, play, shared_computations
from opml_min.cli.demo.poem_training import SETTINGS, poem_training
from opml_min.cli.demo.training_scene import TrainingScene
from opml_min.memory_map import ENTRY, STAGE_STEP_LIMIT
from opml_min.model.errors import CheckFailed
from opml_min.model.image.image import Image
from opml_min.model.image.segments import write_image
from opml_min.model.resolve import resolve
from opml_min.model.staged_run import FAILED, OK, RunState
from opml_min.players.chain import STAGES, Segment
from opml_min.players.cheats import CHEATS, NONE, TRAINING_CHEATS, own_programs, trainers
from opml_min.players.cheats.own_programs import EXIT_WELL
from opml_min.players.cheats.tampering import NoSuchLie
from opml_min.players.computation import Computation
from opml_min.players.image_kinds import begin_run, open_image, quickest_device
from opml_min.training.image import TrainingImage, write_training_image
from opml_min.training.operations import TrainingOp, TrainingOpcode
from opml_min.training.recipes.llama import llama_training
from opml_min.training.recipes.pictures import PictureRecipe, Pictures, classifier_training
from opml_min.training.recipes.recipe import Method, Optimiser, Recipe, TokenText
from opml_min.training.run import TrainingRun
from opml_min.training.steps import steps_bound
from opml_min.training.tensor_names import tensor_names, weights_of
from opml_min.training.training_model import TrainingModel

Play = Callable[..., Match]
UPDATES = 3
IS_NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
OWN = [cheat.name for cheat in trainers.CHEATS]
OF_ANSWERS = {"kv-cache", "token", "read-out", "other-prompt", "other-weights", *(cheat.name for cheat in own_programs.CHEATS)}
OTHERS = [name for name in CHEATS if name not in OF_ANSWERS]
ACCUSATIONS = ["accuse-at-random", "denied-failure"]


def classifier() -> TrainingModel:
    """A training with few kinds of ops, which are compiled soon."""
    rng = np.random.default_rng(3)
    pictures, labels = rng.integers(0, 256, 200, dtype=np.uint8), rng.integers(0, 4, 20, dtype=np.uint8)
    data = Pictures(pictures.tobytes(), labels.tobytes())
    return classifier_training((10, 9, 7, 4), PictureRecipe(Optimiser.SGD, rows=6), data)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> TrainingImage:
    path = tmp_path_factory.mktemp("training") / "classifier.opml"
    write_training_image(path, classifier())
    return TrainingImage(path)


REQUEST = evolve(SETTINGS, updates=UPDATES).pack()


def computed(image: TrainingImage, device: Any = "vm") -> Computation:
    return Computation(image, REQUEST, UPDATES * len(image.ops), device)


# What a run gives ------------------------------------------------------------------------------------------------------------------------


def test_native_code_and_the_machine_agree_on_every_stage(image: TrainingImage) -> None:
    native, machine = computed(image, "cpu"), computed(image)
    for stage in range(native.stage_count + 1):
        assert native.run_state(stage) == machine.run_state(stage)
    assert native.result() == machine.result()
    assert native.final_state_root() == machine.final_state_root() != machine.state_root


@pytest.mark.parametrize("device", ["cpu", "vm"])
def test_a_stage_opens_between_the_run_states(device: str, image: TrainingImage) -> None:
    run = computed(image, device)
    for stage in (0, 2, run.stage_count // 2, run.stage_count - 1):
        opening = run.opening(stage)
        assert RunState(opening.start_carry, opening.start_status) == run.run_state(stage)
        assert RunState(opening.final_carry, OK) == run.run_state(stage + 1)
        assert 1 <= opening.steps < STAGE_STEP_LIMIT


@pytest.mark.parametrize("device", ["cpu", "vm"])
def test_a_run_goes_back_and_forth_between_its_stages(device: Any, image: TrainingImage) -> None:
    run = TrainingRun(image, REQUEST, device=device)
    snapshots, states = [], []
    while run.stage < run.stage_count:
        snapshots.append(run.snapshot())
        states.append(run.state())
        run.run_to(min(run.stage + 5, run.stage_count))
    states.append(run.state())
    order = list(range(len(snapshots)))
    Random(1).shuffle(order)
    for index in order:
        run.restore(snapshots[index])
        assert (run.stage, run.state()) == (5 * index, states[index])
        run.run_to(min(5 * index + 5, run.stage_count))
        assert run.state() == states[index + 1]


def test_the_empty_output_is_a_result_for_the_specification(image: TrainingImage) -> None:
    carry, status, shown, proof = computed(image).result()
    assert read_result(SpecRunState(carry, RunStatus(status)), shown, proof)[0] is Outcome.OK
    assert shown == bytes(32)


def test_a_request_that_stage_0_refuses_fails_alike(image: TrainingImage) -> None:
    runs = [Computation(image, b"no settings", 5, device) for device in ("cpu", "vm")]
    start = runs[0].run_state(0)
    for run in runs:
        assert run.run_state(5) == RunState(start.carry_root, FAILED)
        assert run.opening(3) == (start.carry_root, FAILED, 0, b"", bytes(32), bytes(32))


@pytest.mark.parametrize("checkpoint_bytes", [0, 20_000, 1 << 20])
def test_room_for_checkpoints_does_not_matter(checkpoint_bytes: int, image: TrainingImage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dispute about stages with true hashes up to the target and none after it, as the server and as a validator sees it."""
    monkeypatch.setattr("opml_min.players.computation.CHECKPOINT_BYTES", checkpoint_bytes)
    true, server, validator = computed(image), computed(image), computed(image)
    expected = [true.run_state(stage).hash() for stage in range(true.stage_count + 1)]
    target, low, high = true.stage_count * 2 // 3, 0, true.stage_count
    while high - low > 1:
        ends = Segment(STAGES, low, high, b"", b"").boundaries(4)
        posted = server.hashes(None, low, ends[1:-1])
        assert posted == [expected[end] for end in ends[1:-1]]
        lies = [known if end <= target else bytes(32) for end, known in zip(ends[1:-1], posted, strict=True)]
        part = validator.false_part(None, low, ends[1:-1], lies)
        low, high = ends[part], ends[part + 1]
        assert low <= target < high
        assert server.held_bytes() <= max(checkpoint_bytes, 200_000)
    assert server.opening(low) == validator.opening(low)


def test_checkpoints_of_a_round_save_the_stages_before_them(image: TrainingImage) -> None:
    run, done = computed(image), []
    advance = run._run.run_to
    run._run.run_to = lambda stage: (done.append(stage - run._run.stage), advance(stage))[1]  # type: ignore[method-assign, assignment]
    ends = Segment(STAGES, 0, run.stage_count, b"", b"").boundaries(8)
    run.hashes(None, 0, ends[1:-1])
    assert sum(done) == ends[-2]
    for low, high in pairwise(ends[:-1]):
        done.clear()
        run.hashes(None, low, list(range(low + 1, high)))
        assert sum(done) == high - 1 - low


# Which kind of run -----------------------------------------------------------------------------------------------------------------------


def test_the_magic_tells_which_kind_of_run_it_is(image: TrainingImage) -> None:
    embedded = resolve("embedded").image.path
    assert isinstance(open_image(embedded), Image)
    opened = open_image(image.path)
    assert isinstance(opened, TrainingImage)
    assert isinstance(begin_run(opened, REQUEST, 5), TrainingRun)
    assert quickest_device(image, UPDATES * len(image.ops)) == "vm"
    assert quickest_device(image, 1 << 24) == "cpu"


def test_native_code_leaves_other_programs_to_the_machine(image: TrainingImage, tmp_path: Path) -> None:
    program = b"".join(word.to_bytes(4, "little") for word in EXIT_WELL)
    rest = [(segment.address, [segment.data]) for segment in image.segments[1:]]
    write_image(tmp_path / "other.opml", [(ENTRY, [program]), *rest])
    other = TrainingImage(tmp_path / "other.opml")
    with pytest.raises(CheckFailed, match="shipped"):
        TrainingRun(other, REQUEST, device="cpu")
    run = begin_run(other, REQUEST, 4, "cpu")
    before = run.state()
    run.run_to(4)
    assert (run.device, run.state(), run.machine_steps) == ("vm", before, 4 * len(EXIT_WELL))


def test_native_code_leaves_stages_that_may_be_too_long_to_the_machine(image: TrainingImage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opml_min.training.run.STAGE_STEP_LIMIT", max(map(steps_bound, image.ops)) - 1)
    with pytest.raises(CheckFailed, match="more steps than a stage has"):
        TrainingRun(image, REQUEST, device="cpu")
    assert begin_run(image, REQUEST, 4, "cpu").device == "vm"


# Cheats ----------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def training() -> TrainingScene:
    return poem_training(evolve(SETTINGS, updates=UPDATES))


@pytest.fixture(scope="module")
def play_here(training: TrainingScene) -> Play:
    """Plays on one court, which is set back each time, with one honest computation."""
    court, compute = Court(), shared_computations()
    before = court.snapshot()

    def played(name: str, **how: Any) -> Match:
        court.restore(before)
        cheat = ({"none": NONE} | CHEATS | TRAINING_CHEATS)[name]
        return play(training.scene, cheat, court=court, compute=compute, tensor_names=training.tensor_names, **how)

    return played


def check_match(match: Match) -> None:
    assert match.verdict == match.cheat.verdict
    assert match.honest_side_won()
    assert match.money_adds_up()
    assert not any(player.agenda.troubles for player in match.players if player.honest)
    assert match.cheat.refusal is None or match.cheat.refusal in {delivered.refusal for delivered in match.history}


def disputed_op(match: Match, training: TrainingScene) -> TrainingOp:
    found = evidence(match)
    assert found is not None
    return training.image.ops[found.stage % len(training.image.ops)]


BATCHES = {TrainingOpcode.TOKENS}
EXPECTED: dict[str, tuple[Callable[[TrainingOp], bool], str]] = {  # the op that each cheat is about, and the instruction
    "poisoned-gradient": (trainers.adds_to_sums, "sw "),
    "stale-moment": (lambda op: op.opcode == TrainingOpcode.ADAM, "sw "),
    "skipped-step": (lambda op: op.opcode == TrainingOpcode.ADAM, ""),
    "other-label": (lambda op: op.opcode in BATCHES, "sw "),
    "wrong-checkpoint": (lambda op: op.opcode in BATCHES, ""),
    "other-seed": (lambda op: "stream" in op.operands, "ld "),
    "other-data": (lambda op: op.opcode in BATCHES, "lbu "),
}


@pytest.mark.parametrize("name", OWN)
def test_no_cheat_of_a_trainer_pays(name: str, play_here: Play, training: TrainingScene) -> None:
    match = play_here(name, seed=1)
    check_match(match)
    check_instruction(match, narrowed_down=True)
    is_expected, instruction = EXPECTED[name]
    assert is_expected(disputed_op(match, training))
    found = evidence(match)
    assert found is not None
    assert found.instruction.startswith(instruction)
    assert found.claimed != found.after


@pytest.mark.parametrize("name", OTHERS if IS_NIGHTLY else ACCUSATIONS)
def test_other_cheats_do_not_pay_in_a_training_either(name: str, play_here: Play) -> None:
    check_match(play_here(name, seed=1))


@pytest.mark.skipif(not IS_NIGHTLY, reason="takes minutes")
@pytest.mark.parametrize("seed", range(2, 5))
@pytest.mark.parametrize("name", OWN)
def test_no_cheat_of_a_trainer_pays_wherever_it_is(name: str, seed: int, play_here: Play) -> None:
    check_match(play_here(name, seed=seed))


def test_without_a_cheat_the_claim_becomes_final_with_an_empty_output(play_here: Play) -> None:
    match = play_here("none")
    check_match(match)
    (finalised,) = [event for event in match.court.events() if type(event).__name__ == "Finalised"]
    assert not any(finalised.output)
    assert match.setup.honest.tokens() == []


def test_a_stage_can_be_chosen(play_here: Play, training: TrainingScene) -> None:
    ops = training.image.ops
    stage = len(ops) + next(i for i, op in enumerate(ops) if op.opcode == TrainingOpcode.MATMUL_WEIGHTS)
    match = play_here("poisoned-gradient", seed=1, stage=stage)
    found = evidence(match)
    assert found is not None
    assert (found.stage, found.op.update, match.dispute is not None) == (stage, 1, True)
    with pytest.raises(NoSuchLie):
        play_here("stale-moment", stage=stage)
    with pytest.raises(NoSuchLie):
        play_here("skipped-step", stage=0)


def test_ops_are_called_by_their_weights_layer_and_update(play_here: Play, training: TrainingScene) -> None:
    match, ops = play_here("none"), training.image.ops
    names = {str(op_at(match, len(ops) + index)) for index in range(len(ops))}
    for name in (
        "MATMUL_WEIGHTS of layer 1's gate in update 1",
        "ADAM of the embedding in update 1",
        "INIT of layer 0's query matrix, not done in update 1",
        "ATTENTION_BACKWARD in layer 0 in update 1",
        "TOKENS in update 1",
    ):
        assert name in names


def test_adapters_are_called_by_the_matrix_that_they_adapt(tmp_path: Path) -> None:
    text = TokenText(np.arange(64, dtype="<u2").tobytes())
    model = llama_training(resolve("embedded").image, Recipe(Method.LORA, sequences=1, period=8), text)
    write_training_image(tmp_path / "lora.opml", model)
    ops = TrainingImage(tmp_path / "lora.opml").ops
    names = tensor_names(model.trained, ops)
    moved = Counter(weights_of(op, names) for op in ops if op.opcode == TrainingOpcode.ADAM)
    assert moved == {tensor.name: 2 for tensor in model.trained}  # both matrices of an adapter
    assert Counter(weights_of(op, names) for op in ops if op.opcode == TrainingOpcode.EXPORT) == dict.fromkeys(moved, 1)
