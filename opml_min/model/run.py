"""A run: a request on a model, executed stage by stage on one memory, in native code or in the machine.

Between two stages the memory holds exactly what the machine would hold, whichever of the two computed the stages before.

*Source*: spec §4 and §3.
"""

import time
from collections.abc import Callable

import numpy as np
from attrs import frozen

from opml_min.machine import HALTED, Machine, Memory, Snapshot
from opml_min.machine.hashing import keccak256
from opml_min.memory_map import OUTPUT, REQUEST, STAGE_STEP_LIMIT, Quarter
from opml_min.model.devices import Device, StageEngine, engine_for
from opml_min.model.errors import CheckFailed, RequestError, RunTorn
from opml_min.model.gpu.engine import AcceleratorEngine
from opml_min.model.image.image import Image
from opml_min.model.image.request import MAX_STAGES, position_count, prompt_length, stage_count
from opml_min.model.native.check import steps_bound
from opml_min.model.quality.losses import Losses, losses_of

OK, FAILED = 0, 1


@frozen
class RunState:
    """What one stage hands to the next."""

    carry_root: bytes
    status: int

    def hash(self) -> bytes:
        return keccak256(self.carry_root + bytes([self.status]))


@frozen(eq=False)
class RunSnapshot:
    """A point of a run that the run can return to."""

    machine: Snapshot
    stage: int
    failed_carry: bytes | None


@frozen
class Timing:
    """The seconds for the prompt and the first new token, and those for the tokens after it."""

    prefill_seconds: float
    decode_seconds: float


class Run:
    """A request on a model. `stage` counts the stages done."""

    def __init__(self, image: Image, request: bytes, *, stages: int | None = None, device: Device = "cpu", threads: int = 1) -> None:
        """stages: N as requested. By default it is the N that stage 0 accepts; if no N is accepted, RequestError is raised."""
        self.image, self.request, self.device = image, request, device
        self.stage_count = stage_count(image.header, request) if stages is None else stages
        self.memory = Memory()
        image.load_into(self.memory)
        self._model_version = self.memory.model_version
        known_root = image.known_model_root()
        if known_root is not None:
            self.memory.assume_model_root(known_root)
        self.memory.write(REQUEST, self.stage_count.to_bytes(8, "little") + len(request).to_bytes(8, "little") + bytes(16) + request)
        self.stage = 0
        self.machine_steps = 0
        self._failed_carry: bytes | None = None  # the carry root that a failed stage began with
        self._is_torn = False  # whether an exception ended `run_to`, so that the memory is that of no stage
        self._machine: Machine | None = None
        self.engine: StageEngine | None = None  # what computes stages outside the machine
        if device != "vm":
            self.engine = engine_for(device, self.memory, image, image.tape, threads)
            if image.header.single_phase and steps_bound(image) * self.positions > STAGE_STEP_LIMIT:
                raise CheckFailed(f"{image.path}: its one stage may need too many steps, so only the machine can run it (--device vm)")

    # Results -----------------------------------------------------------------------------------------------------------------

    @property
    def machine(self) -> Machine:
        """The machine on this run's memory."""
        if self._machine is None:
            self._machine = Machine(self.memory)
        return self._machine

    @property
    def model_root(self) -> bytes:
        if self.memory.model_version != self._model_version:  # it is no longer the image's
            return self.memory.quarter_root(Quarter.MODEL)
        return self.image.model_root(self.memory)

    def state(self) -> RunState:
        """Return the run state after the stages done so far."""
        self._require_whole()
        if self._failed_carry is not None:
            return RunState(self._failed_carry, FAILED)
        if isinstance(self.engine, AcceleratorEngine):
            self.engine.hash_pages()
        return RunState(self.memory.carry_root(), OK)

    def run_hash(self) -> bytes:
        return self.state().hash()

    def tokens(self) -> list[int]:
        """Return the output so far."""
        count = int(self.memory.view(OUTPUT, 1, np.uint64)[0])
        return [int(token) for token in self.memory.view(OUTPUT + 32, min(count, MAX_STAGES), np.uint32)]

    # Going forward -------------------------------------------------------------------------------------------------------------

    def run_stage(self) -> None:
        """Compute the next stage."""
        self.run_to(self.stage + 1)

    def run_to(self, stage: int, watch: Callable[[], None] = lambda: None) -> None:
        """Compute every stage before `stage`, calling `watch` from time to time."""
        self._require_whole()
        if self._failed_carry is None and self.stage < stage:
            self._is_torn = True
            if self.engine is not None:
                self._run_natively(self.stage, stage, watch)
            else:
                self._run_in_machine(self.stage, stage, watch)
            self._is_torn = False
        self.stage = max(self.stage, stage)

    def run_all(self, watch: Callable[[], None] = lambda: None) -> Timing:
        """Compute all stages."""
        start = time.perf_counter()
        header = self.image.header
        if not header.single_phase:
            self.run_to(min(self.stage_count, header.op_count * prompt_length(header.request_kind, self.request)), watch)
        between = time.perf_counter()
        self.run_to(self.stage_count, watch)
        watch()
        return Timing(between - start, time.perf_counter() - between)

    @property
    def positions(self) -> int:
        """The number of positions, if no stop token comes first."""
        return position_count(self.image.header.request_kind, self.request)

    def losses(self) -> Losses | None:
        """Return what fixed point has lost so far, or None if the machine or an accelerator computes the stages: they count nothing."""
        counts = self.engine.losses() if self.engine is not None else None
        if counts is None:
            return None
        prompt, drawn = prompt_length(self.image.header.request_kind, self.request), len(self.tokens())
        return losses_of(self.image, counts, prompt - 1 + drawn, drawn)

    def _request_accepted(self) -> bool:
        try:
            return self.stage_count == stage_count(self.image.header, self.request)
        except RequestError:
            return False

    def _run_natively(self, first: int, end: int, watch: Callable[[], None]) -> None:
        assert self.engine is not None
        if first == 0 and not self._request_accepted():
            self._failed_carry = self.memory.carry_root()
            return
        if self.image.header.single_phase:
            first, end = 0, self.image.header.op_count * self.positions
        self.engine.run(first, end, watch=watch)

    def _run_in_machine(self, first: int, end: int, watch: Callable[[], None]) -> None:
        for stage in range(first, end):
            self.machine.begin_stage(stage)
            self.machine_steps += self.machine.run(STAGE_STEP_LIMIT)
            if tuple(self.machine.status) != (HALTED, 0):
                before = Run(self.image, self.request, stages=self.stage_count, device="vm")
                before.run_to(stage)
                self._failed_carry = before.memory.carry_root()
                return
            watch()

    # Going back -------------------------------------------------------------------------------------------------------------------

    def _require_whole(self) -> None:
        if self._is_torn:
            raise RunTorn("the run was interrupted in the middle, so it has no state and cannot go on")

    def snapshot(self) -> RunSnapshot:
        self._require_whole()
        return RunSnapshot(self.machine.snapshot(), self.stage, self._failed_carry)

    def restore(self, snapshot: RunSnapshot) -> None:
        self._require_whole()
        self.machine.restore(snapshot.machine)
        self.stage, self._failed_carry = snapshot.stage, snapshot.failed_carry
