"""A small job that learns pictures: made in a moment, and trained in a few."""

from pathlib import Path

import numpy as np

from opml_min.training.jobs.description import PICTURES
from opml_min.training.jobs.execution import open_job, train
from opml_min.training.jobs.folder import JobFolder
from opml_min.training.jobs.held_out import Examples
from opml_min.training.jobs.making import JobPlan, make_job
from opml_min.training.recipes.pictures import PictureRecipe, Pictures, classifier_training
from opml_min.training.recipes.recipe import Optimiser
from opml_min.training.request import Settings

SIZES, ROWS, UPDATES, EVERY = (10, 8, 4), 6, 12, 3


def small_plan(seed: int = 7, optimiser: Optimiser = Optimiser.ADAM) -> JobPlan:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, SIZES[-1], 40, dtype=np.uint8)
    pictures = rng.integers(0, 80, (40, SIZES[0]), dtype=np.uint8)
    pictures[np.arange(40), labels] += 150  # so there is something to learn
    data = Pictures(pictures[:30].tobytes(), labels[:30].tobytes())
    return JobPlan(
        kind=PICTURES,
        source="mnist",
        source_sha256=bytes(32),
        tokenizer=None,
        recipe="scratch",
        optimizer=optimiser.value,
        data="/pictures",
        model=classifier_training(SIZES, PictureRecipe(optimiser, ROWS), data),
        settings=Settings(seed, UPDATES, 2, round(0.02 * 2**34), 0, 6554, 3277, 62259, 0),
        checkpoint_every=EVERY,
        held_out=Examples(pictures[30:], labels[30:].reshape(-1, 1)),
    )


def made(path: Path, plan: JobPlan | None = None) -> JobFolder:
    """A job of which no update is done."""
    folder = JobFolder(path)
    folder.create()
    with folder.locked():
        make_job(folder, plan or small_plan(), threads=1)
    return folder


def finished(path: Path, plan: JobPlan | None = None) -> JobFolder:
    folder = made(path, plan)
    with folder.locked():
        train(open_job(folder, threads=1))
    return folder
