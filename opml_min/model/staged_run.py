"""What all runs have in common: stages on one memory, computed by native code or by the machine, which is at hand for any of them.

Between two stages the memory holds exactly what the machine would hold, whichever of the two computed the stages before.

*Source*: spec §4 and §3.2.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

import numpy as np
from attrs import frozen

from opml_min.machine import HALTED, Machine, Memory, Snapshot
from opml_min.machine.hashing import keccak256
from opml_min.memory_map import OUTPUT, REQUEST, STAGE_STEP_LIMIT, Quarter
from opml_min.model.devices import Device
from opml_min.model.errors import RequestError, RunTorn
from opml_min.model.image.request import MAX_STAGES
from opml_min.model.image.segments import SegmentFile

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


class StagedRun(ABC):
    """The stages of one request on one memory. `stage` counts the stages done."""

    def __init__(self, image: SegmentFile | None, memory: Memory, request: bytes, stage_count: int, device: Device) -> None:
        """memory: what the model and state quarters hold at first, which is the image if there is one. stage_count: N as requested"""
        self._file, self._model_version = image, memory.model_version
        self.memory, self.request, self.stage_count, self.device = memory, request, stage_count, device
        memory.write(REQUEST, stage_count.to_bytes(8, "little") + len(request).to_bytes(8, "little") + bytes(16) + request)
        self.stage = 0
        self.machine_steps = 0
        self._failed_carry: bytes | None = None  # the carry root that a failed stage began with
        self._is_torn = False  # whether an exception ended `run_to`, so that the memory is that of no stage
        self._machine: Machine | None = None

    @abstractmethod
    def _accepted_stage_count(self) -> int:
        """Return the only N that stage 0 accepts; RequestError is raised if it accepts none."""

    @abstractmethod
    def _compute(self, first: int, end: int, watch: Callable[[], None]) -> None:
        """Compute the stages [first, end) outside the machine, for a request that stage 0 has accepted."""

    @abstractmethod
    def _begun_again(self) -> Self:
        """Return this run at its begin, computed by the machine."""

    # Results -----------------------------------------------------------------------------------------------------------------

    @property
    def machine(self) -> Machine:
        """The machine on this run's memory."""
        if self._machine is None:
            self._machine = Machine(self.memory)
        return self._machine

    @property
    def model_root(self) -> bytes:
        if self._file is None or self.memory.model_version != self._model_version:  # it is no longer the image's
            return self.memory.quarter_root(Quarter.MODEL)
        return self._file.model_root(self.memory)

    @property
    def state_root(self) -> bytes:
        """Return the root of the state quarter; that of a finished training run registers the weights as a model."""
        return self.memory.quarter_root(Quarter.STATE)

    def state(self) -> RunState:
        """Return the run state after the stages done so far."""
        self._require_whole()
        if self._failed_carry is not None:
            return RunState(self._failed_carry, FAILED)
        return RunState(self.memory.carry_root(), OK)

    def run_hash(self) -> bytes:
        return self.state().hash()

    def require_unchanged_image(self) -> None:
        """Raise ImageError if the image's file was written to since the run began."""
        if self._file is not None:
            self._file.require_unchanged()

    def tokens(self) -> list[int]:
        """Return the output so far. That of a training run is empty."""
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
            if self.device == "vm":
                self._run_in_machine(self.stage, stage, watch)
            elif self.stage == 0 and not self._request_accepted():
                self._failed_carry = self.memory.carry_root()
            else:
                self._compute(self.stage, stage, watch)
            self._is_torn = False
        self.stage = max(self.stage, stage)

    def _request_accepted(self) -> bool:
        try:
            return self.stage_count == self._accepted_stage_count()
        except RequestError:
            return False

    def _run_in_machine(self, first: int, end: int, watch: Callable[[], None]) -> None:
        for stage in range(first, end):
            self.machine.begin_stage(stage)
            self.machine_steps += self.machine.run(STAGE_STEP_LIMIT)
            if tuple(self.machine.status) != (HALTED, 0):
                before = self._begun_again()
                before.run_to(stage)
                self._failed_carry = before.memory.carry_root()
                return
            watch()

    # Going back -------------------------------------------------------------------------------------------------------------------

    def _require_whole(self) -> None:
        if self._is_torn:
            raise RunTorn("the run was interrupted in the middle, so it has no state and cannot go on")

    def snapshot(self) -> RunSnapshot:
        """Record this point of the run; the cost grows with what was written since the last snapshot."""
        self._require_whole()
        return RunSnapshot(self.machine.snapshot(), self.stage, self._failed_carry)

    def restore(self, snapshot: RunSnapshot) -> None:
        """Go back, or forward, to a point at which a snapshot of this run was taken."""
        self._require_whole()
        self.machine.restore(snapshot.machine)
        self.stage, self._failed_carry = snapshot.stage, snapshot.failed_carry


def loaded(image: SegmentFile) -> Memory:
    """Return a memory with the image in its place. If the root of its model is known, it is not computed again."""
    memory = Memory()
    image.load_into(memory)
    known_root = image.known_model_root()
    if known_root is not None:
        memory.assume_model_root(known_root)
    return memory
