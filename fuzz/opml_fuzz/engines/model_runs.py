"""Stages, runs and loading of models on the specification, opml_min's kernels, and its guest program in the machine.

The native kernels take only images that pass the loader's check. An engine that does not take a case has no answer to it, and is left out.

*Source*: spec §3 and §4.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from attrs import evolve
from opml_spec.machine.memory import CARRY_HEIGHT, QUARTER_HEIGHT
from opml_spec.machine.memory import Memory as SpecMemory
from opml_spec.machine.merkle import hash_of
from opml_spec.model.layout import FIXED, FLOAT, HEADER, OUTPUT, REQUEST, REQUEST_BYTES, Header, encode_words
from opml_spec.model.stage import run_stage
from opml_spec.runs.run import first_state, io_quarter, run_meaning

from opml_fuzz.engines.guarded_kernels import check_scratch, guarded_kernels
from opml_fuzz.engines.protocol import describe
from opml_fuzz.machine.case import Case
from opml_fuzz.machine.model_case import ModelImage, OneStage, Segments, WholeRun
from opml_fuzz.models.tiny_models import is_accepted
from opml_min.machine import HALTED, Machine, Memory
from opml_min.memory_map import ENTRY, IO, STAGE_STEP_LIMIT, STATE
from opml_min.model.errors import CheckFailed, ImageError, MayNeedTooManySteps, NotInOneSegment, RequestError
from opml_min.model.image.header import Header as OpmlHeader
from opml_min.model.image.image import Image
from opml_min.model.image.ops import Opcode, writes
from opml_min.model.image.program import shipped_program
from opml_min.model.image.request import stage_count
from opml_min.model.image.segments import write_image
from opml_min.model.native.check import check
from opml_min.model.native.engine import Engine
from opml_min.model.native.kernel_cache import are_kernels_compiled
from opml_min.model.run import Run

REFUSED = "exit 1"
ACCEPTED, REFUSED_IMAGE = "accepted", "refused"
OUTPUT_BYTES = 1 << 12


class SpecModels:
    """The engine that computes stages as the model chapter says."""

    name = "spec"

    def answer(self, case: Case) -> list[str] | None:
        try:
            if isinstance(case, OneStage):
                memory, exit_code = run_stage(SpecMemory.from_segments(case.memory), case.stage)
                return [f"exit {exit_code}" if exit_code else hash_of(memory.subtree(CARRY_HEIGHT, 1)).hex()]
            if isinstance(case, WholeRun):
                memory = SpecMemory.from_segments(case.memory)
                model, state = (memory.subtree(QUARTER_HEIGHT, quarter) for quarter in (1, 3))
                run, hashes = first_state(io_quarter(case.stages, case.request), state), list[str]()
                for stage in range(case.until):
                    run = run_meaning(model, run, stage)
                    hashes.append(run.run_hash.hex())
                return hashes
            if isinstance(case, ModelImage):  # weights may lie where the program does
                return [ACCEPTED if is_accepted({ENTRY: shipped_program(), **case.memory}) else REFUSED_IMAGE]
            return None
        except Exception as error:  # any other exception is a finding
            return [describe(error)]


class GuestModels:
    """The engine that runs opml_min's guest program in its machine."""

    name = "opml_min, guest"

    def __init__(self, program: bytes | None = None, most_steps: int = STAGE_STEP_LIMIT) -> None:
        """program, most_steps: for single stages, in place of the shipped one, and when such a stage is given up"""
        self._program, self._most_steps = program or shipped_program(), most_steps

    def answer(self, case: Case) -> list[str] | None:
        try:
            if isinstance(case, OneStage):
                memory = loaded(case.memory)
                memory.write(ENTRY, self._program)
                machine = Machine(memory)
                machine.begin_stage(case.stage)
                machine.run(self._most_steps)
                kind, value = machine.status
                return [memory.carry_root().hex() if (kind, value) == (HALTED, 0) else f"exit {value}"]
            return hashes_of_run(case, "vm") if isinstance(case, WholeRun) else None
        except Exception as error:
            return [describe(error)]


def guest_stages(memory: Segments, count: int) -> Callable[[int, int], bytes]:
    """Runs the first stages by the guest program, which is much faster than the specification, and tells what the memory holds then."""
    after = loaded(memory)
    after.write(ENTRY, shipped_program())
    machine = Machine(after)
    for stage in range(count):
        machine.begin_stage(stage)
        machine.run(STAGE_STEP_LIMIT)
    return after.read


class NativeModels:
    """The engine that computes stages by opml_min's compiled kernels, and finds those that write beyond their memory."""

    name = "opml_min, native"

    def answer(self, case: Case) -> list[str] | None:
        try:
            if isinstance(case, ModelImage):
                return native_verdict(case.memory)
            with suppress(CheckFailed, ImageError), guarded_kernels():  # suppressed: only the machine may run it
                if isinstance(case, OneStage):
                    return native_stage(case)
                return hashes_of_run(case, "cpu") if isinstance(case, WholeRun) else None
        except Exception as error:
            return [describe(error)]
        return None


def loaded(memory: Segments) -> Memory:
    result = Memory()
    for address, data in memory.items():
        result.write(address, data)
    return result


@contextmanager
def image_of(memory: Segments) -> Iterator[Image]:
    """Writes a model as an image, with the shipped program and without its request."""
    placed = {ENTRY: shipped_program(), **{address: data for address, data in memory.items() if not IO <= address < STATE}}
    with TemporaryDirectory(prefix="opml-fuzz-") as folder:
        path = Path(folder) / "model.opml"
        write_image(path, [(address, [data]) for address, data in sorted(placed.items())])
        yield Image(path)


def hashes_of_run(case: WholeRun, device: str) -> list[str]:
    """Returns the run hash after each stage. The native kernels may compute several positions of a prompt together, but not stage by stage;
    so they run once more in two parts, and where one of these ends otherwise, that is one answer more than the others give."""
    with image_of(case.memory) as image:
        run = Run(image, case.request, stages=case.stages, device="vm" if device == "vm" else "cpu")
        hashes = []
        for _ in range(case.until):
            run.run_stage()
            hashes.append(run.run_hash().hex())
        if device != "vm":
            whole, position = Run(image, case.request, stages=case.stages), max(image.header.op_count, 1)
            for stop in sorted({case.until // 2 // position * position, case.until} - {0}):
                whole.run_to(stop)
                check_scratch(whole.memory)
                if (end := whole.run_hash().hex()) != hashes[stop - 1]:
                    hashes.append(f"in one go to stage {stop}: {end}")
            lost = [each.engine.losses() for each in (run, whole) if each.engine]
            if len({counts.tobytes() for counts in lost if counts is not None}) > 1:
                hashes.append("in one go, other numbers saturate or lose all bits")
        return hashes


def native_stage(case: OneStage) -> list[str] | None:
    """Computes a stage; None where the kernels are not asked: beyond the last stage, and in a model of one stage."""
    stages, length = struct.unpack_from("<QQ", case.memory[REQUEST])
    request = case.memory.get(REQUEST_BYTES, b"")[:length]
    with image_of(case.memory) as image:
        check(image)
        try:
            is_accepted = stage_count(image.header, request) == stages and len(request) == length
        except RequestError:
            is_accepted = False
        if not is_accepted:
            return [REFUSED] if case.stage == 0 else None
        if case.stage >= stages or image.header.single_phase:
            return None
        memory = loaded(case.memory)
        Engine(memory, image.header, image.tape, 1).run(case.stage, case.stage + 1)
        check_scratch(memory)
        position, index = divmod(case.stage, image.header.op_count)
        op = image.ops[index]
        for address, size in [(OUTPUT, OUTPUT_BYTES)] if op.opcode.kind == Opcode.SAMPLE else writes(op, position):
            memory.mark_written(address, size)
        return [memory.carry_root().hex()]


def native_verdict(memory: Segments) -> list[str] | None:
    """Says whether native code takes a model; None if it refuses one only to spare itself, or because of how it lies in its file."""
    try:
        with image_of(memory) as image:
            check(image)
    except (CheckFailed, ImageError) as error:
        return None if isinstance(error.__cause__ or error, MayNeedTooManySteps | NotInOneSegment) else [REFUSED_IMAGE]
    return [ACCEPTED]


def compile_kernels() -> None:
    """Compiles the native kernels, unless that was done before, so that no campaign spends its time on it in every worker."""
    if not are_kernels_compiled():
        sizes = Header(ops=1, tape=HEADER + 4096, context=1, vocabulary=1)
        tape = np.array([[8, 0, STATE, STATE + 32, 1, *[0] * 11]], np.int64)
        memory = loaded({HEADER: encode_words(sizes.words), REQUEST: bytes(32)})
        for arithmetic in (FIXED, FLOAT):
            tape[0, 0] = 8 + 32 * arithmetic
            Engine(memory, OpmlHeader.unpack(encode_words(evolve(sizes, arithmetic=arithmetic).words)), tape, 1)
