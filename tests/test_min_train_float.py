"""Training a classifier in integers is as good as in float64: the same pictures, the same first weights, the same rates, plain SGD.

With `HYPOTHESIS_PROFILE=nightly` the training on MNIST is as long as that of `opml train mnist`. That on Fashion-MNIST is longer, and is
done if `OPML_FASHION_MNIST` names the folder with its four files.
"""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from attrs import frozen
from opml_spec.model.operations.fixed import splitmix64

from opml_min.cli.train_pictures import HIDDEN, RATES, ROWS, STEPS, Labelled, learned_and_held_out
from opml_min.training.jobs.held_out import Examples, scored
from opml_min.training.operations import TrainingOpcode
from opml_min.training.recipes.pictures import PictureRecipe, Pictures, classifier_training
from opml_min.training.recipes.recipe import Optimiser
from opml_min.training.request import Settings
from opml_min.training.run import TrainingRun

IS_NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
FASHION = os.environ.get("OPML_FASHION_MNIST", "")
POINTS = 0.005  # of accuracy
Floats = np.ndarray


@frozen
class Training:
    """How a network with one hidden layer learns. rate: the highest, of the mean gradient; the last one is a tenth of it"""

    hidden: int
    rows: int
    updates: int
    rate: float

    def settings(self, seed: int) -> Settings:
        rate, last = (round(self.rate / part / self.rows * 2**34) for part in (1, 10))
        return Settings(seed, self.updates, self.updates // 10, rate, last, 6554, 3277, 62259, 0)


MNIST = Training(HIDDEN, ROWS, STEPS if IS_NIGHTLY else 150, RATES[Optimiser.SGD])
FASHION_MNIST = Training(256, 64, 14_000, 0.25)


def test_mnist(shared_data: Path) -> None:
    learned, held_out = learned_and_held_out(shared_data)
    for seed in (1, 2, 3) if IS_NIGHTLY else (1,):
        compare(MNIST, learned, held_out, seed, least=0.93 if IS_NIGHTLY else 0.8)


@pytest.mark.skipif(not FASHION, reason="OPML_FASHION_MNIST does not name the folder of Debian's package dataset-fashion-mnist")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fashion_mnist(seed: int) -> None:
    learned, held_out = learned_and_held_out(Path(FASHION))
    compare(FASHION_MNIST, learned, held_out, seed, least=0.887)


def compare(training: Training, learned: Labelled, held_out: Labelled, seed: int, least: float) -> None:
    """Train in integers and in floats, and compare what both know about the pictures that are held out. least: accuracy of both"""
    settings, sizes = training.settings(seed), (learned[0].shape[1], training.hidden, 10)
    pictures = Pictures(learned[0].tobytes(), learned[1].tobytes())
    run = TrainingRun(classifier_training(sizes, PictureRecipe(Optimiser.SGD, training.rows), pictures).segments, settings.pack())
    weights = first_weights(run, sizes)
    run.run_all()
    run_hash = run.run_hash().hex()
    of_integers = scored(run, Examples(held_out[0], held_out[1].reshape(-1, 1)), threads=1).accuracy
    train_floats(weights, learned, training.rows, settings)
    of_floats = accuracy(weights, *held_out)
    print(f"seed {seed}: {of_integers:.2%} in integers, {of_floats:.2%} in float64, run hash 0x{run_hash}")
    assert min(of_integers, of_floats) > least
    assert of_integers == pytest.approx(of_floats, abs=POINTS)


def first_weights(run: TrainingRun, sizes: tuple[int, ...]) -> list[Floats]:
    """Finish the first update of a run, and return the weights with which it began."""
    masters = [op["out"] for op in run.ops if op.opcode == TrainingOpcode.INIT]
    run.run_to(len(masters))
    weights = [
        run.memory.view(at, rows * columns, np.int32).reshape(rows, columns) / 2.0**26
        for at, (columns, rows) in zip(masters, pairwise(sizes), strict=True)
    ]
    run.run_to(len(run.ops))
    return weights


def train_floats(weights: list[Floats], learned: Labelled, rows: int, settings: Settings) -> None:
    """Make the same updates, with the same batches and rates."""
    pictures, labels = learned
    for update in range(settings.updates):
        of_update = range(update * rows, (update + 1) * rows)
        drawn = [splitmix64(splitmix64(settings.seed, 0), index) * len(labels) >> 64 for index in of_update]
        step(weights, pictures[drawn] / 256, labels[drawn], settings.rate(update, 1 << 16) / 2**34)


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
