"""The parts that mutants are made of, and the questions about each: `opml-fuzz mutants --operators N`.

The questions are those of `opml-fuzz run` in its own order, made again for each mutant with engines that know nothing of the last one.
What the fuzzer asks of a model's operations are the test vectors.
"""

from collections.abc import Iterator
from functools import cache
from itertools import count, islice, product
from random import Random
from typing import Any

from attrs import astuple, evolve
from opml_spec.arithmetic.binary32 import Rounding, from_fixed, to_fixed
from opml_spec.machine.state import state_hash
from opml_spec.machine.step import step
from opml_spec.machine.witness import make_witness
from opml_spec.model.operations.fixed import Attention, Cache, Sample
from opml_spec.model.operations.table import FIXED_OPERATIONS

from evm_arbiter.chain import Artefact
from opml_fuzz.conformance.spec_float import ROUNDED
from opml_fuzz.disputes.deployments import at_limits, tight_parameters
from opml_fuzz.disputes.sequences import RandomDisputes
from opml_fuzz.engines.bytecode import EmbeddedEvm, fastest
from opml_fuzz.engines.model_runs import GuestModels, NativeModels, SpecModels
from opml_fuzz.engines.opml_min import OneStep, interpreted, no_code_on_disk, translated
from opml_fuzz.engines.specification import SpecProgram, SpecWitness
from opml_fuzz.engines.training_runs import GuestTraining, NativeTraining, SpecTraining
from opml_fuzz.fuzzing.broken_guest import TRAINING as OF_TRAINING
from opml_fuzz.fuzzing.broken_guest import guest_texts
from opml_fuzz.fuzzing.broken_kernels import DOES_NOT_COMPILE, KERNELS, TRAINING_KERNELS
from opml_fuzz.fuzzing.compiled_mutants import NotCompiled
from opml_fuzz.fuzzing.score import Part, Text
from opml_fuzz.machine.case import Case, Program, Step, Witness
from opml_fuzz.machine.counted_loops import counted_loop
from opml_fuzz.machine.model_case import OneStage, header_of
from opml_fuzz.machine.programs import gallery, loop
from opml_fuzz.machine.start import Leaves, Start
from opml_fuzz.machine.training_case import TrainingStages
from opml_fuzz.models.corner_floats import sums_of_zeros
from opml_fuzz.models.corner_models import corner_operations, corner_runs
from opml_fuzz.models.corner_training import corner_training
from opml_fuzz.models.edge_draws import draws_that_show_weights, edge_draws
from opml_fuzz.models.random_models import one_model, one_operation, random_shape, random_stage
from opml_fuzz.models.random_training import random_training_operation, random_training_stages, refused_request
from opml_fuzz.models.refused_models import images_at_bounds, images_at_edges, images_at_ranges, random_image
from opml_fuzz.models.refused_training import random_training_tape, tapes_at_bounds, tapes_at_edges, tapes_that_just_fit
from opml_fuzz.models.tiny_models import POSITIONS, SMALL, ModelBuilder, text_request, with_request
from opml_fuzz.sweep.borders import at_borders
from opml_fuzz.sweep.order import BATCHES, sweep
from opml_fuzz.sweep.pairs import pairs, triples
from opml_fuzz.sweep.translated import translated as sweep_translated
from opml_fuzz.vectors.arithmetic import EDGES, binary32_cases, fixed_cases
from opml_fuzz.vectors.operations import fixed_operations, float_operations, stage_case
from opml_fuzz.vectors.runs import machine_stages, model_runs

SHAPES, STAGES, SINGLE, RUNS, MOST_STEPS = 6, 12, 6, 3, 1 << 24  # of models; steps of a stage, of which those here need far fewer
IMAGES = 400  # random models for a loader
TRAINING, SHARING, TAPES = 60, 20, 300  # random stages, a few in a row on one tape, and tapes for a loader
WITNESS_EVERY = 4  # steps: the specification is also asked from the witness
GALLERIES, LOOPS, COUNTED_LOOPS, SEQUENCES, DEPLOYMENTS = 4, 16, 160, 16, 30  # deployments per sequence, as in a batch


@cache
def questions() -> tuple[tuple[Start, ...], tuple[bytes, ...], tuple[bytes, ...]]:
    """The states of the sweep, the witnesses of their steps, and the forged witnesses, in the order of the fuzzer."""
    cases = [case for number in range(BATCHES) for case in sweep(number)]
    starts = tuple(case.start for case in cases if isinstance(case, Step))
    forged = tuple(case.witness for case in cases if isinstance(case, Witness))
    return starts, tuple(make_witness(start.state()) for start in starts), forged


def anew(start: Start) -> Start:
    """Copies a state; of the copy no memory has been built yet."""
    return Start(start.pc, start.x, Leaves(start.leaves.by_index), start.kind, start.value)


def machine_of_specification(_: None) -> Iterator[Any]:
    starts, forged, engine = questions()[0], questions()[2], SpecWitness()
    for number, start in enumerate(starts[: len(starts) // 3]):  # every group in the order of the fuzzer; the specification is slow
        state = anew(start).state()
        yield state_hash(step(state))
        if number % WITNESS_EVERY == 0:
            witness = make_witness(state)
            yield witness, engine.execute(witness)
        if number < len(forged):
            yield engine.execute(forged[number])
    for program in islice(programs(), GALLERIES):
        yield SpecProgram().run(anew(program.start), program.stops)
    yield from machine_stages(Random("stages"))
    yield from islice(model_runs(Random("runs")), 1)
    courts = RandomDisputes()  # only there somebody brings a state that has no length of its own
    yield from (courts.play(f"{number}/1", 400) for number in range(SEQUENCES // 2))


@cache
def programs() -> tuple[Program, ...]:
    """Programs: from a gallery, at the edges, loops, and more galleries."""
    rng = Random("mutants")
    galleries = [list(gallery(rng)) for _ in range(GALLERIES)]
    loops = [*(loop(rng) for _ in range(LOOPS)), *(counted_loop(rng) for _ in range(COUNTED_LOOPS))]
    edges = [program for number in range(BATCHES) for program in sweep_translated(number)]
    return tuple(each for programs in (galleries[0], edges, pairs(), triples(), at_borders(), loops, *galleries[1:]) for each in programs)


def interpreter(_: None) -> Iterator[Any]:
    one_step, machine = OneStep(), interpreted()
    for start in questions()[0]:
        yield one_step.run(start, (1,))
    for program in programs():
        yield machine.run(program.start, program.stops)


def translator(_: None) -> Iterator[Any]:
    machine = translated()
    for program in programs():
        yield machine.run(program.start, program.stops)


def arbiter(contract: Artefact | None) -> Iterator[Any]:
    engine = fastest(EmbeddedEvm(contract))
    witnesses, forged = questions()[1:]
    for number, witness in enumerate(witnesses):
        yield engine.execute(witness)
        if number < len(forged):
            yield engine.execute(forged[number])


def game(contract: Artefact | None) -> Iterator[Any]:
    courts, rng = RandomDisputes(contract), Random("deployments")
    for number in range(SEQUENCES):
        yield courts.play(f"{number}/1", 400)
        for parameters in at_limits(number, SEQUENCES):
            yield courts.deploy(astuple(parameters))
        for _ in range(DEPLOYMENTS):
            yield courts.deploy(astuple(tight_parameters(rng)))


def models(_: None) -> Iterator[Any]:
    """Yields the test vectors of operations and of whole runs and the corners, with the results that the specification computes now."""
    rng = Random("models")
    yield from fixed_operations(rng)
    yield from float_operations(rng)
    yield from model_runs(rng)
    yield from machine_stages(rng)
    at = ModelBuilder(rng)
    a, b, c = (at.reserve(at.numbers(96)) for _ in range(3))
    heads = 2, SMALL.head_size // 2, SMALL.context  # more than one, in the place of one
    for operation in (Cache(a, b, *at.cache(), *heads), Attention(c, b, *at.cache(), 4, *heads, 1 << 28)):
        yield stage_case("heads", at.segments([operation.record()]), text_request(rng), POSITIONS, 1)
    for stop_tokens in range(5):  # of four tokens, one of which is drawn
        at = ModelBuilder(rng)
        record = Sample(at.reserve(at.numbers(8)), 4).record()
        segments = at.segments([record], stop_tokens=stop_tokens, stop_1=1, stop_2=2, stop_3=3)
        yield stage_case("stops", segments, text_request(rng), POSITIONS, 1)
    shape = evolve(random_shape(rng), heads=4, kv_heads=2)
    operations = (one_operation(rng, shape, *each) for each in product((False, True), FIXED_OPERATIONS))
    yield from map(SpecModels().answer, (*corner_operations(), *operations))


def arithmetic(_: None) -> Iterator[Any]:
    """Yields the test vectors, the edges in every direction of rounding, exact squares, and the operations that use all this."""
    rng = Random("arithmetic")
    yield from fixed_cases(rng)
    yield from binary32_cases(rng)
    for mode, (name, (arity, function)) in product(Rounding, ROUNDED.items()):
        for operands in product(EDGES, repeat=arity) if arity < 3 else ():
            yield name, operands, function(*operands, mode)
        yield [function(*(from_fixed(n * n, 2) for n in range(7, 7 + arity)), mode) for _ in range(3)]
        yield [from_fixed(value, bits, mode) for value in (0, 1, -1, 5, -(1 << 40) - 1) for bits in (0, 3, -3, 160)]
        yield [to_fixed(each, -1_000, 1_000, bits, mode) for each in EDGES for bits in (0, 3)]
    yield from fixed_operations(rng)
    yield from float_operations(rng)
    yield from map(SpecModels().answer, (*draws_that_show_weights(rng), sums_of_zeros(rng)))


@cache
def model_questions() -> tuple[Case, ...]:
    """Draws each operation in both arithmetics several times, stages of tiny models, stages that are whole runs, and whole runs."""
    rng = Random("model questions")
    shapes = [random_shape(rng) for _ in range(SHAPES)]
    operations = [one_operation(rng, *each) for each in product(shapes, (False, True), FIXED_OPERATIONS)]
    draws = [case for is_float in (False, True) for case in edge_draws(rng, is_float)]
    runs = [one_model(rng, random_shape(rng), is_float) for is_float in (False, True) for _ in range(RUNS)]
    stages = [random_stage(rng) for _ in range(STAGES)]
    deep = (one_model(rng, evolve(random_shape(rng), layers=2), number % 2 == 0) for number in count())
    single = (OneStage(with_request(each.memory, each.request, 1), 0) for each in deep if header_of(each.memory).single_phase)
    return (*operations, *draws, *corner_operations(), *stages, *islice(single, SINGLE), *corner_runs(), *runs)


def kernels(_: None) -> Iterator[Any]:
    engine = NativeModels()
    for case in model_questions():
        answer = engine.answer(case)
        if answer and answer[0].startswith(DOES_NOT_COMPILE):
            raise NotCompiled(answer[0])
        yield answer


def guest(program: bytes | None) -> Iterator[Any]:
    engine = GuestModels(program, MOST_STEPS)
    with no_code_on_disk():
        for case in model_questions():
            if isinstance(case, OneStage):
                yield engine.answer(case)


@cache
def images() -> tuple[Case, ...]:
    """Draws models for a loader, with those at the end of what it takes."""
    rng = Random("images")
    return (*images_at_ranges(), *images_at_edges(), *images_at_bounds(), *(random_image(rng) for _ in range(IMAGES)))


def loader_of_specification(_: None) -> Iterator[Any]:
    yield from map(SpecModels().answer, images())


def native_loader(_: None) -> Iterator[Any]:
    yield from map(NativeModels().answer, images())


@cache
def training_questions() -> tuple[Case, ...]:
    """Draws stages of training, those at corners among them, stages in a row, refused requests, and tapes for a loader."""
    rng = Random("training questions")
    operations = [random_training_operation(rng) for _ in range(TRAINING)]
    others = [make(rng) for make in (random_training_stages, refused_request) for _ in range(SHARING)]
    tapes = (random_training_tape(rng) for _ in range(TAPES))
    return (*corner_training(), *tapes_at_bounds(), *tapes_at_edges(), *tapes_that_just_fit(), *operations, *others, *tapes)


def training_of_specification(_: None) -> Iterator[Any]:
    engine = SpecTraining()
    for case in training_questions():
        yield engine.answer(case)


def native_training(_: None) -> Iterator[Any]:
    engine = NativeTraining()
    for case in training_questions():
        answer = engine.answer(case)
        if answer and answer[0].startswith(DOES_NOT_COMPILE):
            raise NotCompiled(answer[0])
        yield answer


def training_engine(_: None) -> Iterator[Any]:
    """Asks what one thread cannot show: with two, phases are computed by compiled code, and several ops in one go."""
    yield NativeTraining().answer(training_questions()[0])
    engine = NativeTraining(threads=2)
    for case in training_questions():
        if isinstance(case, TrainingStages):
            yield engine.answer(case)


def training_guest(program: bytes | None) -> Iterator[Any]:
    engine = GuestTraining(program, MOST_STEPS)
    with no_code_on_disk():
        for case in training_questions():
            if isinstance(case, TrainingStages):
                yield engine.answer(case)


def _of(package: str, names: str) -> tuple[str, ...]:
    return tuple(f"{package}.{name}" for name in names.split())


INSTRUCTIONS = "instructions.control instructions.integer instructions.integer_word instructions.loads_stores instructions.multiply"
AT_IMPORT = ("parse", "add_row", "computes", "computes_from_pc", "jumps", "branches", "loads", "stores", "enter")
TO_PYTHON = ("disassemble", "from_segments", "inside", "inside_bytes", "read", "write")  # what the machine itself does not use
BY_PROCESSOR = ("halfs", "multiply_add")  # each has code for processors with an instruction and for those without it
NO_CODE: tuple[str, ...] = ("sigmoid_table.h", "binary32.h", "dot.h", "float_elementary.h", "ops.h", "tape.h", "work.h")
NO_CODE += tuple(  # tables and declarations alone
    f"{OF_TRAINING}{name}.h" for name in ("layout", "ops", "work", "schedule", "product", "attention")
)
GUEST_CODE = tuple(name for name in guest_texts() if name.endswith((".c", ".h")) and name not in NO_CODE)
SPEC_TRAINING = "loader request tensors training_stage operations.attention operations.backward operations.forward operations.optimisers"
SPEC_TRAINING += " operations.products operations.weights"
TRAINING_MODULES = "attention attention_backward batch_rows data elementwise loss muon norm optimisers packing products short_rows weights"
MORE_OF_DISPUTE = "opening parameters result tree"
PARTS = (
    Part(
        "spec: machine",
        (
            *_of("opml_spec.machine", "alu decode formats memory merkle state step witness"),
            *_of("opml_spec.machine", f"{INSTRUCTIONS} instructions.system instructions.upper"),
        ),
        machine_of_specification,
        but=(*AT_IMPORT, *TO_PYTHON),
    ),
    Part("spec: dispute", _of("opml_spec.dispute", f"claims clocks ends money moves narrowing objects {MORE_OF_DISPUTE}"), game),
    Part("spec: arithmetic", _of("opml_spec.arithmetic", "binary32 elementary fixed float_functions"), arithmetic, but=("sigmoid_table",)),
    Part("spec: model", (*_of("opml_spec.model", "stage request tensors operations.fixed operations.float"), "opml_spec.runs.run"), models),
    Part("spec: loader", _of("opml_spec.model", "loader places bounds"), loader_of_specification),
    Part("opml_min: loader", ("opml_min.model.native.check",), native_loader, but=("steps_bound", "_steps", "_weights")),
    Part("opml_min: interpreter", _of("opml_min.machine", "interpret decode sparse state witness"), interpreter),
    Part(
        "opml_min: translator",
        _of("opml_min.machine.translator", "bounds_checks emit loops operations"),
        translator,
        Text.LLVM,
    ),
    Part(
        "opml_min: kernels",
        (
            *_of(f"{KERNELS}.fixed", "attention attention_output batch_attention elementwise embed fixed_point kv_cache"),
            *_of(f"{KERNELS}.fixed", "matmul norm rope sample"),
            *_of(f"{KERNELS}.floats", "attention elementwise functions matmul sample"),
            *_of(f"{KERNELS}.vector", "attention_sums packed panel rounding tile vector_code"),
            *_of(KERNELS, "batch stages unshared work_sharing"),
        ),
        kernels,
        Text.NUMBA,
        but=("is_worth_sharing", "help_leader", "take_chunks", "tiles_per_chunk", "sigmoid_table", *BY_PROCESSOR),
    ),
    Part("opml_min: guest", tuple(name for name in GUEST_CODE if not name.startswith(OF_TRAINING)), guest, Text.C),
    Part("spec: training", _of("opml_spec.training", SPEC_TRAINING), training_of_specification),
    Part("opml_min: training", _of("opml_min.training", "loader operations plans request run written"), native_training),
    Part("opml_min: kernels of training", _of(TRAINING_KERNELS, TRAINING_MODULES), native_training, Text.NUMBA, but=("padded",)),
    Part("opml_min: engine of training", ("opml_min.training.engine",), training_engine, but=("_compute", "_enter")),
    Part("opml_min: guest of training", tuple(name for name in GUEST_CODE if name.startswith(OF_TRAINING)), training_guest, Text.C),
    Part("arbiter", ("arbiter.vy", "modules/codec.vy", "modules/merkle.vy"), arbiter, Text.VYPER, "arbiter"),
    Part("game", ("game.vy", "modules/bounds.vy", "modules/codec.vy", "modules/merkle.vy"), game, Text.VYPER, "game"),
)
BY_NAME = {part.name: part for part in PARTS}
