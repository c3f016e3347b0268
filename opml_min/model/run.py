"""A run: a request on a model, executed stage by stage on one memory, in native code or in the machine.

*Source*: spec §4 and §3.
"""

import time
from collections.abc import Callable

from attrs import frozen

from opml_min.memory_map import STAGE_STEP_LIMIT
from opml_min.model.devices import Device, StageEngine, engine_for
from opml_min.model.errors import CheckFailed
from opml_min.model.gpu.engine import AcceleratorEngine
from opml_min.model.image.image import Image
from opml_min.model.image.request import position_count, prompt_length, stage_count
from opml_min.model.native.check import steps_bound
from opml_min.model.quality.losses import Losses, losses_of
from opml_min.model.staged_run import RunState, StagedRun, loaded


@frozen
class Timing:
    """The seconds for the prompt and the first new token, and those for the tokens after it."""

    prefill_seconds: float
    decode_seconds: float


class Run(StagedRun):
    """A request on a model. `stage` counts the stages done."""

    def __init__(self, image: Image, request: bytes, *, stages: int | None = None, device: Device = "cpu", threads: int = 1) -> None:
        """stages: N as requested. By default it is the N that stage 0 accepts; if no N is accepted, RequestError is raised."""
        self.image = image
        super().__init__(image, loaded(image), request, stage_count(image.header, request) if stages is None else stages, device)
        self.engine: StageEngine | None = None  # what computes stages outside the machine
        if device != "vm":
            self.engine = engine_for(device, self.memory, image, image.tape, threads)
            if image.header.single_phase and steps_bound(image) * self.positions > STAGE_STEP_LIMIT:
                raise CheckFailed(f"{image.path}: its one stage may need too many steps, so only the machine can run it (--device vm)")

    def state(self) -> RunState:
        self._require_whole()
        if self._failed_carry is None and isinstance(self.engine, AcceleratorEngine):
            self.engine.hash_pages()
        return super().state()

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

    def _accepted_stage_count(self) -> int:
        return stage_count(self.image.header, self.request)

    def _compute(self, first: int, end: int, watch: Callable[[], None]) -> None:
        assert self.engine is not None
        if self.image.header.single_phase:
            first, end = 0, self.image.header.op_count * self.positions
        self.engine.run(first, end, watch=watch)

    def _begun_again(self) -> "Run":
        return Run(self.image, self.request, stages=self.stage_count, device="vm")
