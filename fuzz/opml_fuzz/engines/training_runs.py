"""Training on the implementations: the specification, opml_min's native kernels with one thread and with two, and its guest in the machine.

The native kernels take only tapes that pass the loader's check. An engine that does not take a case has no answer to it, and is left out.

*Source*: spec §6.
"""

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import lru_cache
from random import Random

from opml_spec.errors import SpecError
from opml_spec.machine.memory import CARRY_HEIGHT
from opml_spec.machine.memory import Memory as SpecMemory
from opml_spec.machine.merkle import hash_of
from opml_spec.model.layout import REQUEST, REQUEST_BYTES
from opml_spec.training.loader import check_training
from opml_spec.training.training_stage import run_training_stage

from opml_fuzz.engines.guarded_kernels import check_scratch, guarded_kernels
from opml_fuzz.engines.protocol import describe
from opml_fuzz.machine.case import Case
from opml_fuzz.machine.model_case import Segments
from opml_fuzz.machine.target_question import HASH
from opml_fuzz.machine.training_case import TrainingStages, TrainingTape
from opml_fuzz.models.random_training import KINDS, one_training_operation
from opml_min.machine import HALTED, Machine, Memory, Snapshot
from opml_min.memory_map import ENTRY, STAGE_STEP_LIMIT
from opml_min.model.errors import CheckFailed, RequestError
from opml_min.model.image.program import shipped_training_program
from opml_min.model.native.kernel_cache import are_kernels_compiled
from opml_min.training.errors import TrainingImageRefused
from opml_min.training.kernels.compiled import TRAINING_KERNEL_SOURCES
from opml_min.training.loader import load_header, load_ops
from opml_min.training.request import Settings
from opml_min.training.run import TrainingRun

ACCEPTED = "accepted"
Read = Callable[[int, int], bytes]


class RunsDiffer(Exception):
    """A run in one go and one that stops after each stage do not agree."""


class TrainingEngine(ABC):
    """An engine that computes stages of training one after the other."""

    name: str

    @abstractmethod
    def _after(self, case: TrainingStages) -> Iterator[tuple[str, Read]]:
        """Yields the answer to each stage, and how memory is read after it; nothing at all if this engine does not take the case."""

    def _verdict(self, case: TrainingTape) -> list[str] | None:
        """Says whether a loader takes a tape; None if there is no loader here."""
        return None

    def answer(self, case: Case) -> list[str] | None:
        try:
            if isinstance(case, TrainingStages):
                return [answer for answer, _ in self._after(case)] or None
            return self._verdict(case) if isinstance(case, TrainingTape) else None
        except Exception as error:  # any exception is a finding
            return [describe(error)]

    def tensors(self, case: TrainingStages) -> dict[int, bytes]:
        """Returns the tensors of the last stage's op after it, by address; none if that stage fails or is not computed here."""
        operation = case.operation(case.first + case.count - 1)
        try:
            *_, (answer, read) = self._after(case)
        except Exception:
            return {}
        return {span.address: read(span.address, span.size) for span in operation.spans()} if operation and HASH.fullmatch(answer) else {}


class SpecTraining(TrainingEngine):
    """The engine that computes stages as the training chapter says, and checks what its loader checks."""

    name = "spec"

    def _after(self, case: TrainingStages) -> Iterator[tuple[str, Read]]:
        memory = SpecMemory.from_segments(case.memory)
        for stage in range(case.first, case.first + case.count):
            memory, exit_code = run_training_stage(memory, stage)
            yield f"exit {exit_code}" if exit_code else hash_of(memory.subtree(CARRY_HEIGHT, 1)).hex(), memory.load_bytes
            if exit_code:
                break

    def _verdict(self, case: TrainingTape) -> list[str]:
        try:
            check_training(SpecMemory.from_segments(case.memory))
        except SpecError as error:
            return [f"error {error.number}"]
        return [ACCEPTED]


@lru_cache(maxsize=2)
def machine_with(program: bytes) -> tuple[Machine, Snapshot]:
    """Makes the machine with a program in it, once, so that it is translated once; and its first state."""
    memory = Memory()
    memory.write(ENTRY, program)
    machine = Machine(memory)
    return machine, machine.snapshot()


class GuestTraining(TrainingEngine):
    """The engine that runs opml_min's guest of training in its machine."""

    name = "opml_min, guest"

    def __init__(self, program: bytes | None = None, most_steps: int = STAGE_STEP_LIMIT) -> None:
        """program, most_steps: in place of the shipped one, and when a stage is given up"""
        self._program, self._most_steps = program or shipped_training_program(), most_steps

    def _after(self, case: TrainingStages) -> Iterator[tuple[str, Read]]:
        machine, first_state = machine_with(self._program)
        machine.restore(first_state)
        for address, data in case.memory.items():
            machine.memory.write(address, data)
        for stage in range(case.first, case.first + case.count):
            machine.begin_stage(stage)
            machine.run(self._most_steps)
            kind, value = machine.status
            machine.memory.forget_scratch()
            is_done = (kind, value) == (HALTED, 0)
            yield machine.memory.carry_root().hex() if is_done else f"exit {value}", machine.memory.read
            if not is_done:
                break


class NativeTraining(TrainingEngine):
    """The engine that computes stages by opml_min's compiled kernels of training, and checks what its loader checks.

    With one thread it also finds kernels that write beyond their memory; with more, whether several ops in one go lead to the same."""

    def __init__(self, threads: int = 1) -> None:
        self.name = "opml_min, native" if threads == 1 else f"opml_min, native, {threads} threads"
        self._threads = threads

    def _after(self, case: TrainingStages) -> Iterator[tuple[str, Read]]:
        """Yields nothing after a request that stage 0 refuses, nor on a tape that native code refuses."""
        run = self._begun(case)
        if run is None:
            return
        for _ in range(case.count):
            with guarded_kernels() if self._threads == 1 else nullcontext():
                run.run_stage()
            check_scratch(run.memory)
            state = run.state()
            yield f"exit {state.status}" if state.status else state.carry_root.hex(), run.memory.read
            if state.status:
                break
        if self._threads > 1 and case.count > 1 and (at_once := self._begun(case)):
            at_once.run_to(run.stage)
            if at_once.state() != run.state():
                raise RunsDiffer("several stages in one go lead elsewhere than one by one")

    def _begun(self, case: TrainingStages) -> TrainingRun | None:
        """Begins a run before the case's first stage; None if native code does not take it. All its memory is hashed once, so that from
        then on a page that counts as unwritten though it was written shows in the root."""
        stages, length = struct.unpack_from("<QQ", case.memory[REQUEST])
        request = case.memory.get(REQUEST_BYTES, b"")
        model = [(at, data) for at, data in sorted(case.memory.items()) if at not in (REQUEST, REQUEST_BYTES)]
        if len(request) != length:  # no run begins so
            return None
        try:
            run = TrainingRun(model, request, stages=stages, threads=self._threads)
            if case.first:
                Settings.unpack(request)
        except (CheckFailed, RequestError):
            return None
        run.stage = case.first
        run.state()
        return run

    def _verdict(self, case: TrainingTape) -> list[str] | None:
        return native_verdict(case.memory) if self._threads == 1 else None


def native_verdict(memory: Segments) -> list[str] | None:
    """Says whether native code takes a tape; None if it refuses one only to spare itself."""
    loaded = Memory()
    for address, data in memory.items():
        loaded.write(address, data)
    try:
        load_ops(loaded, load_header(loaded))
    except TrainingImageRefused as error:
        return [f"error {error.number}"]
    except CheckFailed:
        return None
    return [ACCEPTED]


def compile_training_kernels() -> None:
    """Compiles the native kernels of training, unless that was done before, so that no campaign spends its time on it in every worker."""
    if not are_kernels_compiled(TRAINING_KERNEL_SOURCES):
        for kind in KINDS:
            NativeTraining().answer(one_training_operation(Random(kind.__name__), kind))
