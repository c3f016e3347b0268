"""What a demonstration of training is about: a request to train, and how to tell of it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from opml_min.cli.demo.play import Match
from opml_min.cli.errors import InputError
from opml_min.cli.output import printable
from opml_min.players.cheats.cheat import Scene
from opml_min.players.computation import Computation
from opml_min.players.image_kinds import open_image
from opml_min.training.image import TrainingImage
from opml_min.training.jobs.description import load_job
from opml_min.training.jobs.execution import start_of_run
from opml_min.training.jobs.folder import IMAGE, JobFolder
from opml_min.training.jobs.loss import losses_of
from opml_min.training.operations import TrainingOpcode
from opml_min.training.request import Settings, stage_count
from opml_min.training.tensor_names import tensor_names
from opml_min.training.training_model import Trained


@frozen
class TrainingScene:
    """A request to train, and how its weights are called."""

    scene: Scene
    image: TrainingImage
    tensor_names: Mapping[int, str]
    description: str

    @property
    def updates(self) -> int:
        return Settings.unpack(self.scene.request).updates

    def facts(self, match: Match) -> dict[str, Any]:
        """What a training has beside a match: its first and last loss, and the root of the trained weights; null for another request."""
        if match.setup.scene != self.scene:
            return {"losses": None, "state_root": None}
        honest = match.setup.honest
        losses = [self.loss(honest, update) for update in (0, self.updates - 1)]
        return {"losses": losses, "state_root": "0x" + honest.final_state_root().hex()}

    def loss(self, honest: Computation, update: int) -> float:
        """The mean loss of an update, nats per target, as the run has it before its weights move."""
        found = []
        for index, op in enumerate(self.image.ops):
            if op.opcode == TrainingOpcode.CROSS_ENTROPY:
                memory = honest.machine_at(update * len(self.image.ops) + index + 1, 0).memory
                found.append(float(losses_of(memory, op)[0].mean()))
        return sum(found) / len(found)


def scene_of_training(image: TrainingImage, request: bytes, trained: Iterable[Trained], what: str) -> TrainingScene:
    """A scene with the one number of stages that the request allows. what: is trained, and on what"""
    trained = tuple(trained)
    stages, weights = stage_count(image.header, request), sum(tensor.rows * tensor.columns for tensor in trained)
    description = f"{what}: {weights:,} weights, {stages // len(image.ops):,} updates of {len(image.ops):,} ops"
    return TrainingScene(Scene(image, request, stages), image, tensor_names(trained, image.ops), description)


def scene_of_job(path: Path) -> TrainingScene:
    """The training of a job of `opml train`."""
    folder = JobFolder(path)
    job, image = load_job(folder), open_image(folder / IMAGE)
    if not isinstance(image, TrainingImage):
        raise InputError(f"{folder / IMAGE} is not a training image")
    start_of_run(folder, job, threads=1)  # which must be of the model that the job names
    if not any(op.opcode == TrainingOpcode.CROSS_ENTROPY for op in image.ops):
        raise InputError(f"{folder / IMAGE} trains nothing: its tape has no op of a loss")
    return scene_of_training(image, job.request, job.trained, printable(f"{job.recipe} of {job.source} on {job.data}"))
