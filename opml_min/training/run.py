"""A training run: a request on a training model, computed stage by stage in native code or in the machine.

*Source*: spec §6.2 and chapter 4.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Literal

from opml_min.machine import Memory
from opml_min.memory_map import STAGE_STEP_LIMIT
from opml_min.model.errors import CheckFailed
from opml_min.model.image.program import shipped_training_program
from opml_min.model.image.segments import Piece
from opml_min.model.staged_run import StagedRun, loaded
from opml_min.training.engine import TrainingEngine
from opml_min.training.image import TrainingImage, load_segments
from opml_min.training.layout import FIRST_UPDATE, LAST_UPDATE, Segments, TrainingHeader
from opml_min.training.loader import load_header, load_ops
from opml_min.training.operations import TrainingOp
from opml_min.training.request import Settings, stage_count
from opml_min.training.steps import steps_bound, usual_steps

STEPS_AT_ONCE = 1 << 32  # of the machine, in one call of native code: about 0.05 seconds of one core
TrainingDevice = Literal["cpu", "vm"]


class TrainingRun(StagedRun):
    """A request on a training model. `stage` counts the stages done."""

    def __init__(
        self,
        model: TrainingImage | Segments,
        request: bytes,
        *,
        stages: int | None = None,
        device: TrainingDevice = "cpu",
        threads: int = 1,
    ) -> None:
        """model: an image, or segments with what the model and state quarters hold at first.

        stages: N as requested. By default it is the N that stage 0 accepts; if no N is accepted, RequestError is raised.
        CheckFailed is raised for a model that must not run in native code."""
        self._model = model if isinstance(model, TrainingImage) else tuple(model)
        image = model if isinstance(model, TrainingImage) else None
        memory = _memory_of(self._model)
        super().__init__(image, memory, request, stage_count(load_header(memory), request) if stages is None else stages, device)
        self._engine: TrainingEngine | None = None
        if device != "vm":
            if image is not None and image.program != shipped_training_program():
                raise CheckFailed(f"{image.path}: its program is not the shipped one, so only the machine can run it")
            self._require_steps()
            self._engine = TrainingEngine(self.memory, self.ops, threads)

    @cached_property
    def header(self) -> TrainingHeader:
        return load_header(self.memory)

    @cached_property
    def ops(self) -> list[TrainingOp]:
        """The ops of an update; TrainingImageRefused is raised unless native code may compute them."""
        return load_ops(self.memory, self.header)

    @cached_property
    def _steps(self) -> list[int]:
        """How many machine steps each op usually needs."""
        return [usual_steps(op) for op in self.ops]

    def run_all(self) -> None:
        """Compute all stages."""
        self.run_to(self.stage_count)

    def _require_steps(self) -> None:
        for index, op in enumerate(self.ops):
            if steps_bound(op) > STAGE_STEP_LIMIT:
                raise CheckFailed(f"op {index} ({op.opcode.name}) may need more steps than a stage has, so only the machine can run it")

    def _accepted_stage_count(self) -> int:
        return stage_count(self.header, self.request)

    def _compute(self, first: int, end: int, watch: Callable[[], None]) -> None:
        assert self._engine is not None
        settings = Settings.unpack(self.request)
        while first < end:
            update, begin = divmod(first, len(self.ops))
            stop = self._end_of_group(begin, min(len(self.ops), begin + end - first), update, settings.updates)
            if stop > begin:
                self._engine.run(begin, stop, settings, update)
            first += max(stop - begin, 1)  # one that is not done counts, too
            watch()

    def _end_of_group(self, begin: int, end: int, update: int, updates: int) -> int:
        """Return up to which op all are done in this update, and together take at most a fraction of a second."""
        steps = 0
        for index in range(begin, end):
            steps += self._steps[index]
            if not is_done(self.ops[index], update, updates) or (steps > STEPS_AT_ONCE and index > begin):
                return index
        return end

    def _begun_again(self) -> "TrainingRun":
        return TrainingRun(self._model, self.request, stages=self.stage_count, device="vm")


def _memory_of(model: "TrainingImage | tuple[tuple[int, Piece], ...]") -> Memory:
    if isinstance(model, TrainingImage):
        return loaded(model)
    memory = Memory()
    load_segments(model, memory)
    return memory


def is_done(op: TrainingOp, update: int, updates: int) -> bool:
    """Tell whether the op's condition holds in an update."""
    if op.condition == FIRST_UPDATE:
        return update == 0
    return op.condition != LAST_UPDATE or update == updates - 1
