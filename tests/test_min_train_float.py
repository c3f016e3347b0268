"""Training a classifier in integers is as good as in float64: the same pictures, the same first weights, the same rates, plain SGD.

With `HYPOTHESIS_PROFILE=nightly` the training is as long as that of `opml train mnist`.
"""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from opml_spec.model.operations.fixed import splitmix64

from opml_min.cli.train_pictures import HIDDEN, RATES, ROWS, STEPS, learned_and_held_out
from opml_min.training.jobs.execution import compute_update
from opml_min.training.jobs.held_out import Examples, scored
from opml_min.training.operations import TrainingOpcode
from opml_min.training.recipes.pictures import PictureRecipe, Pictures, classifier_training
from opml_min.training.recipes.recipe import Optimiser
from opml_min.training.request import Settings
from opml_min.training.run import TrainingRun

IS_NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
UPDATES = STEPS if IS_NIGHTLY else 150
SEEDS = (1, 2, 3) if IS_NIGHTLY else (1,)
POINTS = 0.005  # of accuracy
Floats = np.ndarray


def step(weights: list[Floats], x: Floats, labels: Floats, rate: float) -> None:
    """One step of SGD on the sum of the cross-entropies, with ReLU between the matrices."""
    first, second = weights
    hidden = np.maximum(x @ first.T, 0)
    error = np.exp(hidden @ second.T)
    error /= error.sum(1, keepdims=True)
    error[np.arange(len(x)), labels] -= 1
    back = error @ second * (hidden > 0)
    second -= rate * error.T @ hidden
    first -= rate * back.T @ x


def accuracy(weights: list[Floats], pictures: Floats, labels: Floats) -> float:
    return float(((np.maximum(pictures / 256 @ weights[0].T, 0) @ weights[1].T).argmax(1) == labels).mean())


def test_the_accuracy_of_floats(shared_data: Path) -> None:
    (pictures, labels), (held_pictures, held_labels) = learned_and_held_out(shared_data)
    sizes, rate = (pictures.shape[1], HIDDEN, 10), round(RATES[Optimiser.SGD] / ROWS * 2**34)
    model = classifier_training(sizes, PictureRecipe(Optimiser.SGD, ROWS), Pictures(pictures.tobytes(), labels.tobytes()))
    for seed in SEEDS:
        settings = Settings(seed, UPDATES, UPDATES // 10, rate, rate // 10, 6554, 3277, 62259, 0)
        run = TrainingRun(model.segments, settings.pack())
        masters = [op["out"] for op in run.ops if op.opcode == TrainingOpcode.INIT]
        run.run_to(len(masters))
        weights = [
            run.memory.view(at, rows * columns, np.int32).reshape(rows, columns) / 2.0**26
            for at, (columns, rows) in zip(masters, pairwise(sizes), strict=True)
        ]
        run.run_to(len(run.ops))
        while run.stage < run.stage_count:
            compute_update(run)
        for update in range(UPDATES):
            drawn = [splitmix64(splitmix64(seed, 0), update * ROWS + row) * len(labels) >> 64 for row in range(ROWS)]
            step(weights, pictures[drawn] / 256, labels[drawn], settings.rate(update, 1 << 16) / 2**34)
        of_floats = accuracy(weights, held_pictures, held_labels)
        of_integers = scored(run, Examples(held_pictures, held_labels.reshape(-1, 1)), threads=1).accuracy
        print(f"seed {seed}: {of_integers:.2%} in integers, {of_floats:.2%} in float64")
        assert of_floats > (0.93 if IS_NIGHTLY else 0.8)
        assert of_integers == pytest.approx(of_floats, abs=POINTS)
