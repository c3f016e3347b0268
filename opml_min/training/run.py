"""A training run: a request on a training model, computed stage by stage in native code on the machine's memory.

Between two stages the memory holds exactly what the machine would hold.

*Source*: spec §6.2 and chapter 4.
"""

from opml_min.machine import Memory
from opml_min.memory_map import REQUEST, Quarter
from opml_min.model.errors import RequestError
from opml_min.model.run import FAILED, OK, RunState
from opml_min.training.engine import TrainingEngine
from opml_min.training.image import TrainingImage, load_segments
from opml_min.training.layout import FIRST_UPDATE, LAST_UPDATE, Segments
from opml_min.training.loader import load_header, load_ops
from opml_min.training.operations import TrainingOp
from opml_min.training.request import Settings, stage_count


class TrainingRun:
    """A request on a training model. `stage` counts the stages done."""

    def __init__(self, model: TrainingImage | Segments, request: bytes, *, stages: int | None = None, threads: int = 1) -> None:
        """model: an image, or segments with what the model and state quarters hold at first.

        stages: N as requested. By default it is the N that stage 0 accepts; if no N is accepted, RequestError is raised.
        TrainingImageRefused is raised for a tape that must not run in native code."""
        self.memory, self.request = Memory(), request
        if isinstance(model, TrainingImage):
            model.load_into(self.memory)
        else:
            load_segments(model, self.memory)
        self.header = load_header(self.memory)
        self.stage_count = stage_count(self.header, request) if stages is None else stages
        self.memory.write(REQUEST, self.stage_count.to_bytes(8, "little") + len(request).to_bytes(8, "little") + bytes(16) + request)
        self.ops = load_ops(self.memory, self.header)
        self.stage = 0
        self._failed_carry: bytes | None = None
        self._engine = TrainingEngine(self.memory, threads)

    @property
    def model_root(self) -> bytes:
        return self.memory.quarter_root(Quarter.MODEL)

    @property
    def state_root(self) -> bytes:
        """Return the root of the weights so far; that of a finished run registers them as a model."""
        return self.memory.quarter_root(Quarter.STATE)

    def state(self) -> RunState:
        """Return the run state after the stages done so far."""
        if self._failed_carry is not None:
            return RunState(self._failed_carry, FAILED)
        return RunState(self.memory.carry_root(), OK)

    def run_hash(self) -> bytes:
        return self.state().hash()

    def run_stage(self) -> None:
        """Compute the next stage."""
        if self.stage == 0 and not self._request_accepted():
            self._failed_carry = self.memory.carry_root()
        if self._failed_carry is None:
            settings = Settings.unpack(self.request)
            update, index = divmod(self.stage, len(self.ops))
            if _is_done(self.ops[index], update, settings.updates):
                self._engine.run(self.ops[index], settings, update)
        self.stage += 1

    def run_to(self, stage: int) -> None:
        """Compute every stage before `stage`."""
        while self.stage < stage:
            self.run_stage()

    def run_all(self) -> None:
        """Compute all stages."""
        self.run_to(self.stage_count)

    def _request_accepted(self) -> bool:
        try:
            return self.stage_count == stage_count(self.header, self.request)
        except RequestError:
            return False


def _is_done(op: TrainingOp, update: int, updates: int) -> bool:
    """Tell whether the op's condition holds in an update."""
    if op.condition == FIRST_UPDATE:
        return update == 0
    return op.condition != LAST_UPDATE or update == updates - 1
