"""A job that trains a classifier of pictures in the IDX format, such as MNIST or Fashion-MNIST.

Where the folder has the files of training, the others are held out. Where it has only the 10,000 pictures of the test, the last fifth of
these is held out.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opml_min.cli.errors import InputError
from opml_min.cli.train_settings import checkpoint_every, settings_of
from opml_min.mnist.pictures import read_idx, read_pictures
from opml_min.model.files.sealed import sha256_of
from opml_min.model.resolve import Model
from opml_min.training.jobs.description import PICTURES
from opml_min.training.jobs.errors import DataError
from opml_min.training.jobs.held_out import Examples
from opml_min.training.jobs.making import JobPlan
from opml_min.training.recipes.pictures import PictureRecipe, Pictures, classifier_training
from opml_min.training.recipes.recipe import Optimiser

TRAIN, TEST = "train", "t10k"
KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")
HELD_OUT_PART = 5  # one in so many, where there is one pair of files
CLASSES = 10
SEE = "MNIST is at yann.lecun.com/exdb/mnist, Fashion-MNIST in Debian's package dataset-fashion-mnist"
STEPS, ROWS, HIDDEN = 3000, 32, 64
RATES = {Optimiser.SGD: 0.1, Optimiser.ADAM: 0.002, Optimiser.MUON: 0.004}  # for SGD, of the mean gradient
ONLY_FOR_TEXTS = ("recipe", "length", "batches", "rank", "eval", "tokenizer")

Labelled = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def picture_plan(model: Model, options: argparse.Namespace) -> JobPlan:
    for name in ONLY_FOR_TEXTS:
        if getattr(options, name) is not None:
            raise InputError(f"--{name} is for language models, not for {options.source}")
    (pictures, labels), held_out = learned_and_held_out(options.data)
    updates, rows = options.steps or STEPS, options.batch or ROWS
    optimiser = Optimiser(options.optimizer or Optimiser.SGD)
    rate = RATES[optimiser] if options.rate is None else options.rate
    settings = settings_of(options, updates, rate, decay=0.0, summed=rows if optimiser == Optimiser.SGD else 1)
    sizes = (pictures.shape[1], options.hidden or HIDDEN, CLASSES)
    return JobPlan(
        kind=PICTURES,
        source=options.source,
        source_sha256=sha256_of(model.image.path),
        tokenizer=None,
        recipe="scratch",
        optimizer=optimiser.value,
        data=str(options.data.absolute()),
        model=classifier_training(sizes, PictureRecipe(optimiser, rows), Pictures(pictures.tobytes(), labels.tobytes())),
        settings=settings,
        checkpoint_every=checkpoint_every(options, updates),
        held_out=Examples(held_out[0], held_out[1].reshape(-1, 1)),
    )


def learned_and_held_out(folder: Path) -> tuple[Labelled, Labelled]:
    """Return the pictures with their labels that are learned from, and those that are held out."""
    test = _pair(folder, TEST)
    if test is None:
        raise DataError(f"{folder} has no {TEST}-{KINDS[0]} and {TEST}-{KINDS[1]}, with or without .gz; {SEE}")
    train = _pair(folder, TRAIN)
    if train is None:
        first = len(test[0]) - len(test[0]) // HELD_OUT_PART
        train, test = (test[0][:first], test[1][:first]), (test[0][first:], test[1][first:])
    if not len(train[0]) or not len(test[0]):
        raise DataError(f"{folder} has too few pictures")
    if train[0].shape[1] != test[0].shape[1]:
        raise DataError(f"{folder}: pictures of {train[0].shape[1]} and of {test[0].shape[1]} pixels")
    return train, test


def _pair(folder: Path, part: str) -> Labelled | None:
    """Read pictures and labels, if they are there."""
    found = [path for kind in KINDS for path in (folder / f"{part}-{kind}", folder / f"{part}-{kind}.gz") if path.is_file()][:2]
    if len(found) < 2:
        return None
    pictures, labels = read_pictures(found[0]), read_idx(found[1], 1)
    if len(pictures) != len(labels) or labels.max(initial=0) >= CLASSES:
        problem = "which do not fit, or a label is not from 0 to 9"
        raise DataError(f"{folder} has {len(pictures)} pictures and {len(labels)} labels, {problem}")
    return pictures, labels
