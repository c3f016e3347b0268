"""Runs: native code with any number of threads and the machine leave the same bytes after every stage."""

import struct

import numpy as np
import pytest
from attrs import evolve
from min_model import write_source

from opml_min.memory_map import HEADER, Quarter
from opml_min.model.build.build import replace_program, write_model
from opml_min.model.build.quantise import quantise_q8_0
from opml_min.model.errors import RequestError
from opml_min.model.image.header import BYTES, Header
from opml_min.model.image.image import Image
from opml_min.model.image.ops import Op, Opcode, align
from opml_min.model.image.program import shipped_program
from opml_min.model.image.request import TextRequest
from opml_min.model.image.weights import Q8_0, pack
from opml_min.model.quality.reference import logits
from opml_min.model.resolve import build_source
from opml_min.model.run import Run
from opml_min.model.sources.llama2c import read_llama2c
from opml_min.model.staged_run import FAILED, OK, RunState


@pytest.fixture
def image(tmp_path):
    build_source(write_source(tmp_path), tmp_path / "tok300.bin", tmp_path / "tiny.opml")
    return Image(tmp_path / "tiny.opml")


def test_every_stage_is_the_same_natively_and_in_the_machine(image):
    request = TextRequest((1, 260, 77), 3, 1 << 16, 99).pack()
    native, machine = Run(image, request), Run(image, request, device="vm")
    while native.stage < native.stage_count:
        native.run_stage()
        machine.run_stage()
        assert native.state() == machine.state(), image.ops[(native.stage - 1) % len(image.tape)]
    assert len(native.tokens()) == 3
    assert native.state().status == OK


@pytest.mark.parametrize("temperature", [0, 1 << 15])
def test_threads_and_single_stages_change_nothing(image, temperature):
    request = TextRequest((1, 5), 12, temperature, 4).pack()
    one, two, stepwise = Run(image, request), Run(image, request, threads=2), Run(image, request, threads=2)
    one.run_all()
    two.run_all()
    while stepwise.stage < stepwise.stage_count:
        stepwise.run_stage()
    assert one.run_hash() == two.run_hash() == stepwise.run_hash()
    assert one.tokens() == two.tokens()
    assert one.memory.quarter_root(Quarter.IO) == two.memory.quarter_root(Quarter.IO)


def test_threads_that_share_ops_change_nothing(tmp_path):
    """The matrices are large enough to be shared, and so is attention at the later positions."""
    source = write_source(tmp_path, shape=(256, 512, 2, 32, 4, 300, 256))
    build_source(source, tmp_path / "tok300.bin", tmp_path / "large.opml")
    request = TextRequest(tuple(range(3, 200)), 20).pack()
    hashes = set()
    for threads in (1, 2, 3):
        run = Run(Image(tmp_path / "large.opml"), request, threads=threads)
        run.run_all()
        hashes.add(run.run_hash())
    assert len(hashes) == 1


def test_the_incremental_root_sees_all_that_native_code_wrote(image):
    run = Run(image, TextRequest((1, 5), 6).pack())
    run.memory.carry_root()
    for stage in range(0, run.stage_count, 7):
        run.run_to(stage)
        before = run.memory.carry_root()
    run.run_all()
    before = run.memory.carry_root()
    run.memory.mark_written(Quarter.STATE << 38, 1 << 20)
    run.memory.mark_written(Quarter.IO << 38, 1 << 16)
    run.memory.mark_written((Quarter.IO << 38) + (1 << 28), 1 << 16)
    assert run.memory.carry_root() == before


def test_single_phase_is_one_stage_with_the_same_tokens(image, tmp_path):
    build_source(tmp_path / "tiny.bin", tmp_path / "tok300.bin", tmp_path / "single.opml", single_phase=True)
    request = TextRequest((1, 5), 6).pack()
    many, native, machine = (
        Run(image, request),
        Run(Image(tmp_path / "single.opml"), request),
        Run(Image(tmp_path / "single.opml"), request, device="vm"),
    )
    for run in (many, native, machine):
        run.run_all()
    assert native.stage_count == 1
    assert native.tokens() == many.tokens()
    assert native.run_hash() == machine.run_hash()


def stopping_at(image, path, tokens):
    """The image with other stop tokens."""
    header = evolve(image.header, stop_tokens=tokens)
    rest = image.segments[1].data[image.header.tape_address - HEADER + 128 * len(image.tape) :]
    write_model(path, image.program, header, image.ops, [rest])
    return Image(path)


def test_a_run_ends_at_a_stop_token(image, tmp_path):
    """One that no vocabulary has ends nothing."""
    request = TextRequest((1, 5), 12).pack()
    free = Run(image, request)
    free.run_all()
    stop = free.tokens()[4]
    first = free.tokens().index(stop)
    stopping = stopping_at(image, tmp_path / "stop.opml", (7, 1 << 63, (1 << 64) - 1, stop))
    runs = [Run(stopping, request), Run(stopping, request, threads=2), Run(stopping, request, device="vm")]
    for run in runs:
        run.run_all()
        assert run.tokens() == free.tokens()[: first + 1]
    assert len({run.run_hash() for run in runs}) == 1


@pytest.mark.parametrize("stages", [1, 48, 49 * 34, 2**24])
def test_a_wrong_number_of_stages_fails(image, stages):
    request = TextRequest((1, 5), 6).pack()
    native, machine = Run(image, request, stages=stages), Run(image, request, stages=stages, device="vm")
    start = native.state()
    for run in (native, machine):
        run.run_to(2)
    assert native.state() == machine.state() == RunState(start.carry_root, FAILED)


BAD_REQUESTS = [
    TextRequest((), 5), TextRequest((1,), 0), TextRequest((1,), 32), TextRequest((1,) * 32, 1), TextRequest((300,), 2),
    TextRequest((1,), 2, 1023), TextRequest((1,), 2, (1 << 22) + 1),
]  # fmt: skip


MALFORMED = [b"", b"\1" * 23, TextRequest((1,), 2).pack() + b"\0", struct.pack("<4IQI", 1, 2, 0, 1, 0, 1)]


@pytest.mark.parametrize("request_", [bad.pack() for bad in BAD_REQUESTS] + MALFORMED)
def test_requests_that_stage_0_refuses(image, request_):
    with pytest.raises(RequestError):
        Run(image, request_)
    native, machine = Run(image, request_, stages=98), Run(image, request_, stages=98, device="vm")
    native.run_to(1)
    machine.run_to(1)
    assert native.state() == machine.state()
    assert native.state().status == FAILED


def test_another_program_runs_in_the_machine_alone(image, tmp_path):
    halt_with_1 = struct.pack("<3I", 0x00100513, 0x05D00893, 0x00000073)  # addi a0, x0, 1; addi a7, x0, 93; ecall
    write_then_halt = struct.pack("<5I", 0x00100513, 0x02751293, 0x00A2A023, 0x05D00893, 0x00000073)  # sw a0, (1 << 39) first
    for program in (halt_with_1, write_then_halt):
        replace_program(image, tmp_path / "other.opml", program)
        run = Run(Image(tmp_path / "other.opml"), TextRequest((1,), 2).pack(), device="vm")
        start = run.state()
        run.run_all()
        assert run.state() == RunState(start.carry_root, FAILED)


def test_snapshots_bring_a_run_back(image):
    run = Run(image, TextRequest((1, 5), 6).pack())
    start = run.snapshot()
    run.run_to(60)
    middle, hash_there = run.snapshot(), run.run_hash()
    run.run_all()
    end = run.run_hash()
    run.restore(middle)
    assert (run.stage, run.run_hash()) == (60, hash_there)
    run.restore(start)
    run.run_all()
    assert run.run_hash() == end


def test_a_network_on_bytes(tmp_path):
    """INPUT, MATMUL, ADD (a bias), RELU, SAMPLE: the ops that a LLaMA does not use."""
    rng = np.random.default_rng(5)
    out, hidden, act, state = 3 << 38, (3 << 38) + 4096, (3 << 38) + 8192, (3 << 38) + 16384
    tape_at = HEADER + 4096
    first = pack(Q8_0, quantise_q8_0(rng.normal(0, 0.2, (24, 40)).astype(np.float32)))
    second = pack(Q8_0, quantise_q8_0(rng.normal(0, 0.2, (10, 24)).astype(np.float32)))
    bias = rng.integers(-(2**13), 2**13, 24).astype("<i4").tobytes()
    first_at = align(tape_at + 6 * 128)
    second_at = first_at + align(len(first))
    bias_at = second_at + align(len(second))
    ops = [
        Op(Opcode.INPUT, 0, {"out": state, "length": 40}),
        Op(Opcode.MATMUL, 0, {"out": hidden, "x": state, "matrix": first_at, "quantisation": 0, "rows": 24, "columns": 64, "out_frac": 14}),
        Op(Opcode.ADD, 0, {"x": hidden, "y": bias_at, "length": 24}),
        Op(Opcode.RELU, 0, {"out": act, "x": hidden, "length": 24, "frac": 14}),
        Op(Opcode.MATMUL, 0, {"out": out, "x": act, "matrix": second_at, "quantisation": 0, "rows": 10, "columns": 32, "out_frac": 12}),
        Op(Opcode.SAMPLE, 1, {"logits": out, "length": 10}),
    ]
    header = Header(0, BYTES, 6, tape_at, 40, 0, (), 0, 0, 0, (1 << 64) - 1)
    pieces = [bytes(first_at - tape_at - 6 * 128)]
    pieces += [part for tensor in (first, second) for part in (tensor.tobytes(), bytes(align(len(tensor)) - len(tensor)))]
    pieces.append(bias)
    write_model(tmp_path / "bytes.opml", shipped_program(), header, ops, pieces)
    data = rng.integers(0, 256, 40).astype(np.uint8).tobytes()
    native, machine = Run(Image(tmp_path / "bytes.opml"), data), Run(Image(tmp_path / "bytes.opml"), data, device="vm")
    for _ in range(6):
        native.run_stage()
        machine.run_stage()
        assert native.state() == machine.state()
    assert len(native.tokens()) == 1
    with pytest.raises(RequestError):
        Run(Image(tmp_path / "bytes.opml"), data + b"\0")


# ------------------------------------------------------------------------------------------------------------- a real LLaMA


@pytest.fixture(scope="session")
def stories(shared_data, tmp_path_factory):
    path = tmp_path_factory.mktemp("stories") / "stories.opml"
    build_source(shared_data / "stories260K.bin", shared_data / "tok512.bin", path)
    return Image(path)


def test_stories260k_tells_the_floats_story(stories, shared_data):
    """Greedy tokens equal those of the float32 weights for at least 24 tokens."""
    prompt = [1, 403, 407, 261, 378]  # Once upon a time
    run = Run(stories, TextRequest(tuple(prompt), 128).pack(), threads=2)
    run.run_all()
    checkpoint, tokens = read_llama2c(shared_data / "stories260K.bin"), list(prompt)
    for _ in range(24):
        tokens.append(int(logits(checkpoint, tokens)[-1].argmax()))
    assert run.tokens()[:24] == tokens[5:]
    assert len(run.tokens()) == 128


def test_stories260k_has_one_run_hash(stories):
    request = TextRequest((1, 403, 407, 261, 378), 24).pack()
    runs = [Run(stories, request), Run(stories, request, threads=2), Run(stories, request, device="vm")]
    for run in runs:
        run.run_all()
    assert len({run.run_hash() for run in runs}) == 1
    assert runs[2].machine_steps > 10**6
