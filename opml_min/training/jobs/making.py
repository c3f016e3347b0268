"""Making a job: its training image, what is held out, how the model does on that before training, and last the description.

A folder becomes a job with its description. Whatever ends the making before that leaves a folder in which a job can be made again.
"""

import zipfile
from collections.abc import Callable

import numpy as np
from attrs import frozen

from opml_min.model.files.atomic import written_whole
from opml_min.model.image.request import MAX_STAGES
from opml_min.training.image import TrainingImage, write_training_image
from opml_min.training.jobs.description import TrainingJob, save_job
from opml_min.training.jobs.errors import DataError, JobError
from opml_min.training.jobs.folder import HELD_OUT, IMAGE, JobFolder
from opml_min.training.jobs.held_out import Examples, fits, scored
from opml_min.training.request import Settings
from opml_min.training.run import TrainingRun
from opml_min.training.training_model import TrainingModel

MOST_HELD_OUT_BYTES = 1 << 28


@frozen(eq=False)
class JobPlan:
    """All that a job is made of. DataError is raised for a plan of too many updates."""

    kind: str
    source: str
    source_sha256: bytes
    tokenizer: str | None
    recipe: str
    optimizer: str
    data: str
    model: TrainingModel
    settings: Settings
    checkpoint_every: int
    held_out: Examples | None

    def __attrs_post_init__(self) -> None:
        if self.settings.updates * self.model.op_count > MAX_STAGES:
            most = MAX_STAGES // self.model.op_count
            raise DataError(f"a run has at most 2^24 stages, and an update {self.model.op_count}: at most {most} updates are possible")


def make_job(folder: JobFolder, plan: JobPlan, threads: int, watch: Callable[[int], None] = lambda done: None) -> None:
    """Make a job in a folder that is locked. An error is raised if another process made one here before it was.

    watch: called with how many of the held-out examples are scored"""
    folder.require_new()
    folder.tidy()
    write_training_image(folder / IMAGE, plan.model)
    run = TrainingRun(TrainingImage(folder / IMAGE), plan.settings.pack(), threads=threads)
    model_root, before = run.model_root, None
    if plan.held_out is not None:
        with written_whole(folder / HELD_OUT) as file:
            np.savez(file, inputs=plan.held_out.inputs, targets=plan.held_out.targets)
        before = scored(run, plan.held_out, threads, watch)
    save_job(
        folder,
        TrainingJob(
            kind=plan.kind,
            source=plan.source,
            tokenizer=plan.tokenizer,
            recipe=plan.recipe,
            optimizer=plan.optimizer,
            data=plan.data,
            model_root=model_root,
            request=plan.settings.pack(),
            trained=plan.model.trained,
            source_sha256=plan.source_sha256,
            checkpoint_every=plan.checkpoint_every,
            before=before,
        ),
    )


def held_out_examples(folder: JobFolder, run: TrainingRun) -> Examples:
    """Read back what is held out for a run. The file may come from a stranger."""
    path = folder / HELD_OUT
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())  # a small archive may unfold to any size
        if size > MOST_HELD_OUT_BYTES:
            raise JobError(f"{path} is damaged: it unfolds to {size} bytes; at most {MOST_HELD_OUT_BYTES} are read")
        with np.load(path, allow_pickle=False) as stored:
            examples = Examples(stored["inputs"], stored["targets"])
            is_fit = fits(examples, run)
    except (JobError, MemoryError):
        raise
    except Exception as error:  # an archive and the headers in it can be wrong in more ways than their readers tell
        raise JobError(f"{path} is damaged: {str(error)[:100]}") from error
    if not is_fit:
        raise JobError(f"{path} is damaged: its examples are not such as the job learns from")
    return examples
