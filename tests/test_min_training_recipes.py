"""Recipes of training: the specification, native code and the machine agree after every stage; gradients, source models, and files.

A source model is read exactly.
"""

import struct
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve
from min_training_guest import STEP_LIMIT, machine_with_program
from opml_spec.machine.memory import Memory as SpecMemory
from opml_spec.machine.merkle import hash_of
from opml_spec.model.llama import Shape as SpecShape
from opml_spec.training.loader import check_training
from opml_spec.training.training_stage import run_training_stage
from spec_training import Weights, gradient

from opml_min.machine import HALTED
from opml_min.memory_map import ENTRY, HEADER, REQUEST, STAGE_STEP_LIMIT, STATE
from opml_min.model.build.build import build_llama
from opml_min.model.errors import ImageError, RequestError
from opml_min.model.image.image import Image
from opml_min.model.image.program import shipped_program
from opml_min.model.image.segments import parts_of, write_image
from opml_min.model.image.weights import Q4_0, Q4_1, Q8_0, Groups, dequantise, matrix_bytes, pack, unpack
from opml_min.model.resolve import resolve
from opml_min.model.sources.checkpoint import Checkpoint, Layer, Shape
from opml_min.model.sources.from_image import checkpoint_of_image
from opml_min.training.image import TrainingImage, write_training_image
from opml_min.training.layout import TAPE
from opml_min.training.operations import TrainingOp, TrainingOpcode
from opml_min.training.recipes.llama import llama_training
from opml_min.training.recipes.llama_shape import LlamaShape
from opml_min.training.recipes.pictures import PictureRecipe, Pictures, classifier_training
from opml_min.training.recipes.recipe import Method, Optimiser, Recipe, TokenText
from opml_min.training.recipes.source_llama import exact_weights
from opml_min.training.request import Settings
from opml_min.training.run import TrainingRun
from opml_min.training.steps import steps_bound
from opml_min.training.trained_image import state_left, trained_image
from opml_min.training.training_model import TrainingModel

VOCABULARY, PERIOD = 20, 4
SETTINGS = Settings(7, 2, 1, round(0.01 * 2**34), 0, 6554, 3277, 62259, 6554)
TEXT = TokenText(np.random.default_rng(5).integers(0, VOCABULARY, 60, dtype=np.uint16).tobytes(), 2)


def source(path: Path, layers: int = 1, *, is_tied: bool = True, largest: float = 0.0) -> Image:
    """A LLaMA with random weights, no matrix of which has a multiple of 32 columns. largest: a weight of the first gate, if it is not 0"""
    shape = Shape(dim=12, hidden_dim=20, layers=layers, heads=2, kv_heads=1, vocabulary=VOCABULARY, context=8, head_size=8)
    rng = np.random.default_rng(layers)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return rng.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)

    def gains() -> np.ndarray:
        return rng.normal(1, 0.1, shape.dim).astype(np.float32)

    def layer() -> Layer:
        attention = gains(), matrix(16, 12), matrix(8, 12), matrix(8, 12), matrix(12, 16)
        gate = matrix(20, 12)
        gate[0, 0] = largest or gate[0, 0]
        return Layer(*attention, gains(), gate, matrix(20, 12), matrix(12, 20))

    embedding = matrix(VOCABULARY, 12)
    classifier = None if is_tied else matrix(VOCABULARY, 12)
    build_llama(Checkpoint(shape, embedding, [layer() for _ in range(layers)], gains(), classifier), None, path, shipped_program())
    return Image(path)


def bytes_of(model: TrainingModel) -> list[tuple[int, bytes]]:
    return [(address, b"".join(bytes(part) for part in parts_of(piece))) for address, piece in model.segments]


# Every stage -----------------------------------------------------------------------------------------------------------------------------


def check_every_stage(model: TrainingModel) -> None:
    """Two updates, natively with two threads, and in the machine with the program of the model itself."""
    segments, request = bytes_of(model), SETTINGS.pack()
    run = TrainingRun(segments, request, threads=2)
    leaf = run.stage_count.to_bytes(8, "little") + len(request).to_bytes(8, "little") + bytes(16)
    memory = SpecMemory.from_segments({**dict(segments[1:]), REQUEST: leaf + request})
    check_training(memory)
    machine, first_state = machine_with_program()
    machine.restore(first_state)
    assert machine.memory.read(ENTRY, len(segments[0][1])) == segments[0][1]
    for address, data in [*segments[1:], (REQUEST, leaf + request)]:
        machine.memory.write(address, data)
    for stage in range(run.stage_count):
        memory, code = run_training_stage(memory, stage)
        assert code == 0
        run.run_stage()
        expected = hash_of(memory.subtree(34, 1))
        assert run.state().carry_root == expected, (stage, run.ops[stage % len(run.ops)])
        machine.begin_stage(stage)
        machine.run(STEP_LIMIT)
        assert machine.status == (HALTED, 0)
        machine.memory.forget_scratch()
        assert machine.memory.carry_root() == expected, (stage, run.ops[stage % len(run.ops)])


METHODS = {
    "scratch": lambda path: LlamaShape(12, 20, 1, 2, 1, 6, VOCABULARY),
    "full": lambda path: source(path),
    "last": lambda path: source(path, 2),
    "lora": lambda path: source(path, is_tied=False),
}


@pytest.mark.parametrize("optimiser", list(Optimiser))
@pytest.mark.parametrize("method", METHODS)
def test_every_stage_of_a_recipe(method: str, optimiser: Optimiser, tmp_path: Path) -> None:
    """An update of two batches, with the logits in tiles."""
    recipe = Recipe(Method(method), optimiser, sequences=2, batches=2, period=PERIOD, rank=2, logit_rows=11)
    model = llama_training(METHODS[method](tmp_path / "source.opml"), recipe, TEXT)
    check_every_stage(model)


@pytest.mark.parametrize("optimiser", list(Optimiser))
def test_every_stage_of_a_classifier(optimiser: Optimiser) -> None:
    rng = np.random.default_rng(3)
    pictures, labels = rng.integers(0, 256, 200, dtype=np.uint8), rng.integers(0, 4, 20, dtype=np.uint8)
    model = classifier_training((10, 9, 4), PictureRecipe(optimiser, rows=6), Pictures(pictures.tobytes(), labels.tobytes()))
    check_every_stage(model)


# What is trained -------------------------------------------------------------------------------------------------------------------------

NAMES = dict(
    zip(
        ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"),
        ("attention_norm", "wq", "wk", "wv", "wo", "feed_forward_norm", "w_gate", "w_up", "w_down"),
        strict=True,
    )
)
SGD = evolve(SETTINGS, rate_q34=round(0.002 * 2**34), warmup=0)
EXACT = {"sequences": 2, "period": PERIOD, "sum_frac": 20}


def weights_of(image: Image) -> Weights:
    """The weights of a source model, by the names of the witness in float64."""
    checkpoint = checkpoint_of_image(image)
    inner = {f"{i}.{name}": w for i, layer in enumerate(checkpoint.layers) for name, w in zip(NAMES.values(), layer, strict=True)}
    ends = {"final_norm": checkpoint.final_norm, "classifier": checkpoint.classifier}
    return {name: np.array(w, np.float64) for name, w in ({"embedding": checkpoint.embedding} | inner | ends).items()}


def steps_of(run: TrainingRun) -> list[TrainingOp]:
    """The ops of SGD, which come in the order of the weights."""
    return [op for op in run.ops if op.opcode == TrainingOpcode.SGD]


def master(run: TrainingRun, op: TrainingOp, columns: int) -> np.ndarray:
    return np.array(run.memory.view(op["master"], op["count"], np.int32)).reshape(-1, columns) / 2.0 ** op["frac"]


def sums(run: TrainingRun, op: TrainingOp, columns: int) -> np.ndarray:
    return np.array(run.memory.view(op["sums"], op["count"], np.int32)).reshape(-1, columns) / 2.0 ** op["sum_frac"]


def before_the_second_step(image: Image, method: Method) -> tuple[TrainingRun, np.ndarray, np.ndarray]:
    """A run that has all gradients of its second update, and the tokens and targets of that update."""
    run = TrainingRun(llama_training(image, Recipe(method, Optimiser.SGD, rank=2, **EXACT), TEXT).segments, SGD.pack())
    steps = [i for i, op in enumerate(run.ops) if op.opcode == TrainingOpcode.SGD]
    run.run_to(len(run.ops) + steps[0])
    (tokens,) = (op for op in run.ops if op.opcode == TrainingOpcode.TOKENS)
    inputs, targets = (np.array(run.memory.view(tokens[name], 2 * PERIOD, np.uint32)).reshape(2, PERIOD) for name in ("out", "targets"))
    return run, inputs, targets


def assert_close(actual: np.ndarray, expected: np.ndarray, name: str) -> None:
    """Within 2^-9 of the largest number, and the roundings of the rows of a batch."""
    assert np.abs(actual - expected).max() <= 2.0**-9 * np.abs(expected).max() + 2 * PERIOD * 2.0**-20, name


SPEC_SHAPE = SpecShape(12, 20, 1, 2, 1, 8, 8, VOCABULARY, 14, round(1e-5 * 2**48))


def test_all_weights_get_the_gradient_in_float64_and_a_tied_matrix_both_of_its_gradients(tmp_path: Path) -> None:
    run, inputs, targets = before_the_second_step(source(tmp_path / "source.opml"), Method.FULL)
    names = ["embedding", *(f"0.{name}" for name in NAMES.values()), "final_norm"]
    widths = [12, 12, 12, 12, 12, 16, 12, 12, 12, 20, 12]
    weights = {name: master(run, op, columns) for name, op, columns in zip(names, steps_of(run), widths, strict=True)}
    weights = {name: w[0] if name.endswith("norm") else w for name, w in weights.items()} | {"classifier": weights["embedding"]}
    _, d_w = gradient(SPEC_SHAPE, weights, inputs, targets)
    d_w["embedding"] += d_w.pop("classifier")
    for name, op, columns in zip(names, steps_of(run), widths, strict=True):
        assert_close(sums(run, op, columns).reshape(d_w[name].shape), d_w[name], name)


def test_adapters_get_the_gradient_in_float64(tmp_path: Path) -> None:
    """The gradient dW of W + B·A gives Bᵀ·dW to A and dW·Aᵀ to B. In the second update B is no longer zero."""
    image = source(tmp_path / "source.opml", is_tied=False)
    run, inputs, targets = before_the_second_step(image, Method.LORA)
    names = [*(f"0.{name}" for name in NAMES.values() if not name.endswith("norm")), "classifier"]
    weights, steps = weights_of(image), steps_of(run)
    adapters = {}
    for i, name in enumerate(names):
        a, b = master(run, steps[2 * i], weights[name].shape[1]), master(run, steps[2 * i + 1], 2)
        assert np.abs(b).max() > 1e-4
        weights[name] = weights[name] + b @ a
        adapters[name] = a, b
    _, d_w = gradient(SPEC_SHAPE, weights, inputs, targets)
    for i, name in enumerate(names):
        a, b = adapters[name]
        assert_close(sums(run, steps[2 * i], a.shape[1]), b.T @ d_w[name], f"A of {name}")
        assert_close(sums(run, steps[2 * i + 1], 2), d_w[name] @ a.T, f"B of {name}")


def test_the_last_layer_alone_moves_as_it_does_among_all(tmp_path: Path) -> None:
    """In the first update, to the last bit: where the backward pass stops changes nothing above."""
    image = source(tmp_path / "source.opml", 2)
    moved = []
    for method in (Method.LAST, Method.FULL):
        model = llama_training(image, Recipe(method, Optimiser.SGD, **EXACT), TEXT)
        run = TrainingRun(model.segments, evolve(SGD, updates=1).pack())
        before = {op["master"]: run.memory.read(op["master"], 4 * op["count"]) for op in steps_of(run)}
        run.run_all()
        assert all(run.memory.read(address, len(data)) != data for address, data in before.items())
        moved.append({tensor.name: run.memory.read(tensor.address, 300) for tensor in model.trained})
    last, full = moved
    assert last.keys() == {"output_norm.weight", *(f"blk.1.{name}.weight" for name in NAMES)}
    assert {name: full[name][:48] for name in last if "norm" in name} == {name: last[name][:48] for name in last if "norm" in name}
    assert {name: full[name] for name in last if "norm" not in name} == {name: last[name] for name in last if "norm" not in name}


def test_what_is_exported_is_the_sum_of_matrix_and_adapter(tmp_path: Path) -> None:
    image = source(tmp_path / "source.opml")
    model = llama_training(image, Recipe(Method.LORA, Optimiser.ADAM, rank=2, **EXACT), TEXT)
    run = TrainingRun(model.segments, evolve(SETTINGS, updates=3, rate_q34=round(0.05 * 2**34)).pack())
    run.run_all()
    weights, adapters = weights_of(image), [op for op in run.ops if op.opcode == TrainingOpcode.ADAM]
    names = {f"blk.0.{theirs}.weight": f"0.{ours}" for theirs, ours in NAMES.items() if "norm" not in theirs}
    assert [tensor.name for tensor in model.trained] == list(names)
    for i, tensor in enumerate(model.trained):
        a, b = master(run, adapters[2 * i], tensor.columns), master(run, adapters[2 * i + 1], 2)
        data = np.array(run.memory.view(tensor.address, matrix_bytes(Q8_0, tensor.rows, 32), np.uint8))
        groups = unpack(data, Q8_0, tensor.rows, 32)
        exported, expected = dequantise(Q8_0, groups)[:, : tensor.columns], weights[names[tensor.name]] + b @ a
        assert np.abs(b @ a).max() > 0.01
        half_a_unit = groups.scales.view(np.float16).astype(np.float64) / 2
        assert (np.abs(exported - expected) <= half_a_unit + 2.0**-13 * np.abs(b @ a).max()).all(), tensor.name


def test_two_batches_are_one_update(tmp_path: Path) -> None:
    """They read the same sequences as one batch, and make nearly the same step."""
    image, results = source(tmp_path / "source.opml"), []
    for batches in (1, 2, 4):
        recipe = Recipe(Method.FULL, Optimiser.SGD, sequences=4, batches=batches, period=PERIOD, sum_frac=20)
        model = llama_training(image, recipe, TEXT)
        run = TrainingRun(model.segments, evolve(SGD, updates=1).pack())
        before = [master(run, op, 1) for op in steps_of(run)]
        run.run_all()
        assert sum(op.opcode == TrainingOpcode.TOKENS for op in run.ops) == batches
        results.append([master(run, op, 1) - old for op, old in zip(steps_of(run), before, strict=True)])
    for other in results[1:]:
        for one, several in zip(results[0], other, strict=True):
            assert np.abs(one - several).max() <= 2.0**-9 * np.abs(one).max()


# Source models and files -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantisation", [Q8_0, Q4_0, Q4_1])
def test_what_a_matrix_stands_for_is_exact(quantisation: int) -> None:
    """Against float64, in which a half times 8 bits is exact."""
    rng = np.random.default_rng(quantisation)
    low, high = (-128, 128) if quantisation == Q8_0 else (0, 16)
    weights = rng.integers(low, high, (11, 2, 32)).astype(np.int8)
    scales, minimums = rng.normal(0, 1, (2, 11, 2)).astype(np.float16)
    scales[0] = [2.0**-24, -(2.0**-15)]  # the least half, and a subnormal one
    groups = Groups(weights, scales.view(np.uint16), minimums.view(np.uint16) if quantisation == Q4_1 else None)
    expected = (weights.astype(np.float64) - (8 if quantisation == Q4_0 else 0)) * scales[:, :, None]
    expected += minimums[:, :, None] if quantisation == Q4_1 else 0
    actual = exact_weights(pack(quantisation, groups), quantisation, 11, 64)
    assert (actual / 2.0**24 == expected.reshape(11, 64)).all()


def test_training_begins_with_the_weights_of_the_source(tmp_path: Path) -> None:
    """Frozen matrices with 24 fraction bits, trained ones with 26, all exactly; RoPE table, epsilon and r are those of its tape."""
    image = source(tmp_path / "source.opml", 2, is_tied=False)
    weights = weights_of(image)
    run = TrainingRun(llama_training(image, Recipe(Method.LAST, period=8), TEXT).segments, SETTINGS.pack())
    casts = [op for op in run.ops if op.opcode == TrainingOpcode.CAST]
    matrices = [name for name in weights if "norm" not in name]
    assert [(op.condition, op["frac"], op["master"] >= STATE) for op in casts[:8]] == [(1, 24, False)] * 8
    assert [(op.condition, op["frac"], op["master"] >= STATE) for op in casts[8:]] == [*[(0, 26, True)] * 7, (1, 24, False)]
    for name, op in zip(matrices, casts, strict=True):
        assert (master(run, op, weights[name].shape[1]) == weights[name]).all(), name
    norms, source_norm = [op for op in run.ops if op.opcode == TrainingOpcode.NORM], image.ops[1].operands
    assert {(op["r"], op["eps_q48"]) for op in norms} == {(source_norm["r"], source_norm["eps_q48"])}
    (table,) = {op["table"] for op in run.ops if op.opcode == TrainingOpcode.ROPE}
    source_table = next(op.operands["table"] for op in image.ops if "table" in op.operands)
    assert run.memory.read(table, 8 * 8 * 4) == image.read(source_table, 8 * 8 * 4)


def test_a_trained_model_trains_further(tmp_path: Path) -> None:
    """Its source has weights in the state quarter. They are what the first training left, to the last bit."""
    image = source(tmp_path / "source.opml")
    model = llama_training(image, Recipe(Method.FULL, **EXACT), TEXT)
    run = TrainingRun(model.segments, SETTINGS.pack())
    run.run_all()
    write_image(tmp_path / "trained.opml", trained_image(image, model.trained, state_left(run.memory, run.ops)))
    again = llama_training(Image(tmp_path / "trained.opml"), Recipe(Method.FULL, **EXACT), TEXT)
    assert again.trained == model.trained
    further = TrainingRun(again.segments, SETTINGS.pack())
    steps = [op for op in run.ops if op.opcode == TrainingOpcode.ADAM]
    for tensor, op in zip(model.trained, steps, strict=True):
        masters = master(further, op, tensor.columns)
        if tensor.is_matrix:
            data = np.array(run.memory.view(tensor.address, matrix_bytes(Q8_0, tensor.rows, 32), np.uint8))
            expected = dequantise(Q8_0, unpack(data, Q8_0, tensor.rows, 32))[:, : tensor.columns]
        else:
            expected = master(run, op, tensor.columns)
        assert (masters == expected).all(), tensor.name


def test_a_training_image_is_its_segments_in_a_file(tmp_path: Path) -> None:
    """One run hash from both, on one thread, on two, and in the machine; a run on a mapped image does not change the next."""
    model = llama_training(source(tmp_path / "source.opml"), Recipe(Method.FULL, **EXACT), TEXT)
    write_training_image(tmp_path / "training.opml", model)
    image = TrainingImage(tmp_path / "training.opml")
    assert (image.header.op_count, image.program) == (model.op_count, bytes_of(model)[0][1])
    runs = [TrainingRun(model.segments, SETTINGS.pack(), threads=2), *(TrainingRun(image, SETTINGS.pack()) for _ in range(2))]
    assert len({run.run_hash() for run in runs}) == 1
    assert runs[0].model_root == runs[1].model_root
    runs.append(TrainingRun(image, SETTINGS.pack(), device="vm"))
    for run in runs:
        run.run_all()
    assert len({(run.state_root, run.run_hash()) for run in runs}) == 1


def test_files_that_are_no_training_images_are_refused(tmp_path: Path) -> None:
    image = source(tmp_path / "source.opml")
    path = tmp_path / "training.opml"
    write_training_image(path, llama_training(image, Recipe(Method.LAST, period=PERIOD), TEXT))
    data = path.read_bytes()
    with pytest.raises(ImageError, match=r"source\.opml is not a training image: .*header"):
        TrainingImage(image.path)
    with pytest.raises(ImageError, match=r"training\.opml: the image has no header"):
        Image(path)
    header = data.index(b"OPMLTRNG")
    for damaged, message in (
        (data[:-1], "truncated"),
        (data + b"\0", "after its last segment"),
        (b"", "not an image"),
        (data[:header] + bytes(8) + data[header + 8 :], "not a training image"),
        (data[: header + 16] + bytes(8) + data[header + 24 :], "0 ops"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ImageError, match=message) as error:
            TrainingImage(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_sources_that_do_not_train_are_refused(tmp_path: Path) -> None:
    image = source(tmp_path / "source.opml")
    for origin, recipe, error, message in (
        (image, Recipe(Method.FULL, period=9), ImageError, "context of 8 tokens"),
        (image, Recipe(Method.LORA, period=60), RequestError, "60 tokens is too short for sequences of 60"),
        (image, Recipe(Method.SCRATCH), RequestError, "from scratch"),
        (LlamaShape(12, 20, 1, 2, 1, 6, VOCABULARY), Recipe(Method.LORA), RequestError, "from scratch"),
        (resolve("mnist").image, Recipe(Method.LORA, period=PERIOD), ImageError, "does not hold a LLaMA"),
        (resolve("embedded", arithmetic="float").image, Recipe(Method.LORA, period=PERIOD), ImageError, "float arithmetic"),
    ):
        with pytest.raises(error, match=message):
            llama_training(origin, recipe, TEXT)
    with pytest.raises(RequestError, match="1024 is the highest"):
        Recipe(Method.LORA, rank=1025)
    with pytest.raises(RequestError, match="equal batches"):
        Recipe(Method.LORA, sequences=3, batches=2)


def test_a_weight_that_no_master_weight_can_hold_is_refused(tmp_path: Path) -> None:
    """A matrix that trains holds weights below 32, a frozen one below 128."""
    for largest, refused in ((31.5, []), (33, [Method.FULL]), (130, [Method.FULL, Method.LORA])):
        image = source(tmp_path / f"{largest}.opml", largest=largest)
        for method in (Method.FULL, Method.LORA):
            model = llama_training(image, Recipe(method, period=PERIOD), TEXT)
            if method in refused:
                with pytest.raises(ImageError, match=r"blk\.0\.ffn_gate\.weight has a weight of (32|128) or more"):
                    bytes_of(model)
            else:
                bytes_of(model)


# Large models ----------------------------------------------------------------------------------------------------------------------------

LONG_TEXT = TokenText(bytes(2 * 4000), 2)
LARGE = LlamaShape(576, 1536, 1, 9, 3, 64, 49152)  # a layer of SmolLM2-135M


def ops_of(model: TrainingModel) -> list[TrainingOp]:
    tape = dict(bytes_of(model))[HEADER][TAPE - HEADER :]
    return [TrainingOp.of(struct.unpack_from("<16Q", tape, 128 * i)) for i in range(model.op_count)]


def test_an_update_is_divided_until_each_op_fits_a_stage() -> None:
    """In the fewest batches, as more of them make more stages: one batch less has an op that does not fit."""
    ops = ops_of(llama_training(LARGE, Recipe(Method.SCRATCH), LONG_TEXT))
    assert max(map(steps_bound, ops)) <= STAGE_STEP_LIMIT
    batches = [(op["first"], op["sequences"], op["per_update"]) for op in ops if op.opcode == TrainingOpcode.TOKENS]
    assert batches == [(first, 2, 8) for first in (0, 2, 4, 6)]
    tiles = [(op["first"], op["taken"]) for op in ops if op.opcode == TrainingOpcode.MATMUL and op["matrix_rows"] == LARGE.vocabulary]
    assert len(tiles) % 4 == 0
    assert sum(taken for _, taken in tiles) == 4 * LARGE.vocabulary
    with pytest.raises(RequestError, match=r"CROSS_ENTROPY .* more batches"):
        llama_training(LARGE, Recipe(Method.SCRATCH, batches=2), LONG_TEXT)


def test_what_fits_no_stage_is_refused() -> None:
    with pytest.raises(RequestError, match=r"MUON .* another optimiser"):
        llama_training(LARGE, Recipe(Method.SCRATCH, Optimiser.MUON), LONG_TEXT)
    with pytest.raises(RequestError, match=r"ATTENTION_BACKWARD .* less at once"):
        llama_training(LARGE, Recipe(Method.SCRATCH, sequences=1, period=2048), LONG_TEXT)
    with pytest.raises(RequestError, match=r"MATMUL.* less at once"):
        classifier_training((1 << 16, 1 << 12, 10), PictureRecipe(rows=64), Pictures(bytes(1 << 16), bytes(1)))
