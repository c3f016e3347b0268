"""Training runs in native code: the page's worked example, a small LLaMA stage by stage, refusals, and requests that stage 0 refuses."""

import re
import struct
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from attrs import evolve
from opml_spec.errors import SpecError
from opml_spec.machine.memory import Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.training.llama_update import LlamaTraining
from opml_spec.training.loader import check_training
from opml_spec.training.training_stage import run_training_stage
from spec_training import SMALL, start
from test_spec_page import CHAPTERS

from opml_min.memory_map import HEADER, MODEL, REQUEST, STATE
from opml_min.model.errors import RequestError
from opml_min.model.image.segments import parts_of
from opml_min.training.errors import ImageBound, ImageHeader, ImageOp, TrainingImageRefused
from opml_min.training.layout import TAPE, TENSORS, TrainingHeader, pack_tape
from opml_min.training.operations import TrainingOp, TrainingOpcode
from opml_min.training.recipes.llama import llama_training
from opml_min.training.recipes.llama_shape import LlamaShape
from opml_min.training.recipes.pictures import PictureRecipe, Pictures, classifier_training
from opml_min.training.recipes.recipe import Method, Optimiser, Recipe, TokenText
from opml_min.training.request import Settings
from opml_min.training.run import TrainingRun
from opml_min.training.training_model import TrainingModel

Segments = list[tuple[int, bytes]]
PAGE = CHAPTERS["training"].read_text()
SETTINGS = Settings(7, 1, 0, 171798692, 0, 6554, 3277, 62259, 6554)
TEXT, ROPE = MODEL + (1 << 29), MODEL + (1 << 30)


def example() -> Segments:
    """The classifier of spec §6.10, from the page's tape."""
    section = PAGE.split("## 6.10")[1]
    records = [
        [int(word, 0) for word in words.split(",")] for words in re.findall(r"^\| [A-Z_]+ \| `(\d[^`]*)` \|$", section, re.M)
    ]
    assert len(records) == 8
    pictures = bytes([200, 0, 100, 10, 250, 30, 0, 0, 128])
    return [
        (HEADER, TrainingHeader(len(records), 0x4010001000).pack()),
        (0x4010001000, pack_tape(records)),
        (0x4020000000, pictures),
        (0x4020000100, bytes([0, 1, 1])),
    ]


def test_the_worked_example_has_the_run_hashes_of_the_page() -> None:
    section = PAGE.split("## 6.10")[1]
    assert SETTINGS.pack().hex() in section
    run = TrainingRun(example(), SETTINGS.pack())
    rows = re.findall(r"^\| (\d) \| `([0-9a-f]{64})` \| `([0-9a-f]{64})` \|$", section, re.M)
    assert len(rows) == run.stage_count + 1 == 9
    for stage, carry_root, run_hash in rows:
        run.run_to(int(stage))
        assert (run.state().carry_root.hex(), run.run_hash().hex()) == (carry_root, run_hash)
    assert run.state_root.hex() in section


# Whole updates ---------------------------------------------------------------------------------------------------------------------------


def small_llama() -> tuple[Segments, bytes]:
    text = np.random.default_rng(5).integers(0, 16, 200, dtype=np.uint8).tobytes()
    shape = LlamaShape(dim=12, hidden_dim=20, layers=2, heads=2, kv_heads=1, head_size=6, vocabulary=16, r=16)
    recipe = Recipe(Method.SCRATCH, sequences=2, period=7, sum_frac=20, logit_rows=11)
    return without_program(llama_training(shape, recipe, TokenText(text, 1))), evolve(SETTINGS, updates=2, warmup=1).pack()


def small_classifier(optimiser: Optimiser) -> tuple[Segments, bytes]:
    rng = np.random.default_rng(3)
    pictures, labels = rng.integers(0, 256, 200, dtype=np.uint8), rng.integers(0, 4, 20, dtype=np.uint8)
    model = classifier_training((10, 9, 7, 4), PictureRecipe(optimiser, rows=6), Pictures(pictures.tobytes(), labels.tobytes()))
    return without_program(model), evolve(SETTINGS, updates=2).pack()


def without_program(model: TrainingModel) -> Segments:
    """The segments of a model but for the first one, as bytes."""
    return [(address, b"".join(bytes(part) for part in parts_of(piece))) for address, piece in model.segments[1:]]


@pytest.mark.parametrize(
    "model",
    [small_llama, partial(small_classifier, Optimiser.SGD), partial(small_classifier, Optimiser.MUON)],
    ids=["llama", "sgd", "muon"],
)
def test_two_updates_have_the_state_roots_of_the_specification(model: Callable[[], tuple[Segments, bytes]]) -> None:
    segments, request = model()
    run, other = TrainingRun(segments, request, threads=1), TrainingRun(segments, request, threads=2)
    leaf = run.stage_count.to_bytes(8, "little") + len(request).to_bytes(8, "little") + bytes(16)
    memory = Memory.from_segments(dict(sorted([*segments, (REQUEST, leaf + request)])))
    check_training(memory)
    for stage in range(run.stage_count):
        memory, code = run_training_stage(memory, stage)
        assert code == 0
        run.run_stage()
        assert run.state().carry_root == hash_of(memory.subtree(34, 1)), (stage, run.ops[stage % len(run.ops)])
    other.run_all()
    assert (other.state_root, other.run_hash()) == (run.state_root, run.run_hash())
    assert run.state_root == hash_of(memory.subtree(33, 3))


def test_the_tape_of_a_llama_has_the_ops_of_the_specification() -> None:
    """Ops and sizes are equal; where their tensors lie is the builder's own choice."""
    plan: LlamaTraining = start(SMALL)[0]
    names = ("dim", "hidden_dim", "layers", "heads", "kv_heads", "head_size", "vocabulary", "eps_q48", "r")
    shape = LlamaShape(**{name: getattr(SMALL, name) for name in names})
    model = llama_training(shape, Recipe(Method.SCRATCH, sequences=2, period=SMALL.context, sum_frac=20), TokenText(bytes(200), 1))
    theirs = [TrainingOp.of(struct.unpack("<16Q", pack_tape([record.words]))) for record in plan.tape()]
    addresses = {name for op in theirs for name, value in op.operands.items() if value >= MODEL}
    ours = TrainingRun(model.segments, SETTINGS.pack()).ops
    assert [(op.opcode, op.condition, {n: v for n, v in op.operands.items() if n not in addresses}) for op in ours] == [
        (op.opcode, op.condition, {n: v for n, v in op.operands.items() if n not in addresses}) for op in theirs
    ]


# Refusals --------------------------------------------------------------------------------------------------------------------------------


def with_operand(index: int, name: str, value: int) -> Callable[[list[TrainingOp]], list[TrainingOp]]:
    def change(ops: list[TrainingOp]) -> list[TrainingOp]:
        return [evolve(op, operands={**op.operands, name: value}) if i == index else op for i, op in enumerate(ops)]

    return change


A, B, C = (TENSORS + (i << 20) for i in range(3))
NORM = [TrainingOp.of((71, 0, A, B, C, 4, 8, 14, 1 << 31, 15))]
ADD = [TrainingOp.of((77, 0, A, A, B, 9))]
SUM = [TrainingOp.of((81, 0, A, A, B, 2, 5))]
MATMUL = [TrainingOp.of((72, 0, A, B, C, 2, 5, 7, 1, 4, 30))]
ATTENTION = [TrainingOp.of((75, 0, A, B, C, C + (1 << 20), 2, 3, 4, 2, 4, 15))]
ADAM = [TrainingOp.of((92, 0, STATE, A, B, C, 8, 26, 1 << 16, 1))]
ROPE_OP = [TrainingOp.of((73, 0, A, 4, 2, 2, 4, ROPE))]
TOKENS = [TrainingOp.of((66, 0, A, B, TEXT, 1, 60, 2, 5, 0, 2, 3))]
INIT = [TrainingOp.of((65, 0, STATE, 8, 0, 1, 1))]
FINE = [NORM, ADD, SUM, MATMUL, ATTENTION, ADAM, ROPE_OP, TOKENS, INIT]
FAULTS = [
    (NORM, with_operand(0, "r", 19), ImageOp),
    (NORM, with_operand(0, "width", 16), ImageOp),
    (NORM, with_operand(0, "out", A + 4), ImageOp),
    (NORM, with_operand(0, "out", STATE), ImageOp),
    (NORM, with_operand(0, "x", TENSORS - 32), ImageOp),
    (NORM, with_operand(0, "gains", A + 64), ImageOp),
    (NORM, with_operand(0, "x", (1 << 40) - 32), ImageOp),
    (NORM, with_operand(0, "length", 4097), ImageBound),
    (ADD, with_operand(0, "x", A + 32), ImageOp),
    (ADD, with_operand(0, "count", 0), ImageOp),
    (SUM, with_operand(0, "y", A + 64), ImageOp),
    (MATMUL, with_operand(0, "taken", 7), ImageOp),
    (ATTENTION, with_operand(0, "kv_heads", 3), ImageOp),
    (ADAM, with_operand(0, "decays", 2), ImageOp),
    (ADAM, with_operand(0, "master", A + (9 << 20)), ImageOp),
    (ADAM, with_operand(0, "v", STATE + 4096), ImageOp),
    (ADAM, with_operand(0, "rate_q16", (1 << 24) + 1), ImageOp),
    (ROPE_OP, with_operand(0, "head_size", 3), ImageOp),
    (ROPE_OP, with_operand(0, "table", A + (9 << 20)), ImageOp),
    (TOKENS, with_operand(0, "token_bytes", 3), ImageOp),
    (TOKENS, with_operand(0, "count", 5), ImageOp),
    (TOKENS, with_operand(0, "first", 1), ImageOp),
    (INIT, with_operand(0, "mean", 1 << 31), ImageOp),
    (NORM, lambda ops: [*ops, TrainingOp.of((77, 0, B, B, C, 9))], ImageOp),
    (ADAM, lambda ops: [*ops, TrainingOp.of((77, 0, B, C, A, 8))], ImageOp),
]


def model_of(ops: list[TrainingOp], table: int = 1 << 30) -> Segments:
    return [
        (HEADER, TrainingHeader(len(ops)).pack()),
        (TAPE, pack_tape(op.words() for op in ops)),
        (ROPE, struct.pack("<i", table) + bytes(28)),
    ]


def refusals(segments: Segments, ops: int) -> tuple[int, int]:
    """The error numbers of native code and of the specification; 0 for none."""
    request, numbers = SETTINGS.pack(), []
    try:
        TrainingRun(segments, request, stages=ops)
        numbers.append(0)
    except TrainingImageRefused as error:
        numbers.append(error.number)
    try:
        check_training(Memory.from_segments(dict(segments)))
        numbers.append(0)
    except SpecError as error:
        numbers.append(error.number)
    return numbers[0], numbers[1]


def test_a_loader_refuses_what_the_specification_refuses() -> None:
    for ops in FINE:
        assert refusals(model_of(ops), len(ops)) == (0, 0)
    for base, change, error in FAULTS:
        ops = change(base)
        assert refusals(model_of(ops), len(ops)) == (error.number, error.number), ops
    assert refusals(model_of(ROPE_OP, (1 << 30) + 1), 1) == (ImageBound.number, ImageBound.number)
    unknown = [*model_of(ADD)[:1], (TAPE, pack_tape([(95, 0)]))]
    assert refusals(unknown, 1) == (ImageOp.number, ImageOp.number)
    too_long = with_operand(0, "length", 4097)(NORM)[0].words()
    assert refusals([model_of(NORM + ADD)[0], (TAPE, pack_tape([too_long, (95, 0)]))], 2) == (ImageBound.number, ImageBound.number)


@pytest.mark.parametrize("words", [{"op_count": 0}, {"request_bytes": 63}, {"request_bytes": 16385}])
def test_a_loader_refuses_a_header(words: dict[str, int]) -> None:
    segments = [(HEADER, evolve(TrainingHeader(1), **words).pack()), *model_of(ADD)[1:]]
    assert refusals(segments, 1) == (ImageHeader.number, ImageHeader.number)
    segments[0] = (HEADER, bytes(40))
    assert refusals(segments, 1) == (ImageHeader.number, ImageHeader.number)


# Requests --------------------------------------------------------------------------------------------------------------------------------


BAD = [
    *({"updates": 0}, {"warmup": 2}, {"rate_q34": 1 << 31}, {"last_rate_q34": 171798693}, {"first_moment_q16": 0}),
    *({"first_moment_q16": 65537}, {"second_moment_q16": 0}, {"momentum_q16": 65537}, {"decay_q16": 65537}),
]


@pytest.mark.parametrize("change", BAD, ids=str)
def test_stage_0_refuses_a_request(change: dict[str, int]) -> None:
    request = evolve(SETTINGS, **change).pack()
    with pytest.raises(RequestError):
        TrainingRun(example(), request)
    run = TrainingRun(example(), request, stages=8)
    before = run.state().carry_root
    run.run_all()
    assert (run.state().carry_root, run.state().status) == (before, 1)


def test_stage_0_refuses_another_length_or_number_of_stages() -> None:
    for request, stages in ((SETTINGS.pack() + b"\0", 8), (SETTINGS.pack(), 9), (SETTINGS.pack()[:-1] + b"\1", 8)):
        run = TrainingRun(example(), request, stages=stages)
        run.run_stage()
        assert run.state().status == 1


def test_the_tape_of_a_llama_uses_all_ops_but_those_of_other_trainings() -> None:
    used = {op.opcode for op in TrainingRun(*small_llama()).ops}
    others = {"PICTURES", "RELU", "RELU_BACKWARD", "SGD", "MUON"}
    assert {opcode.name for opcode in set(TrainingOpcode) - used} == others
