"""Whole training runs of tiny models, on the tapes that opml_min builds: a LLaMA by each recipe and optimiser, and a classifier.

The data flows as it does in practice: what one op leaves is what the next one reads, from the first update to the last. Shapes are random
and the recipes come in turn, so that every one comes up.

*Source*: spec §6.9 and §6.11.
"""

import struct
from itertools import product
from math import prod
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from opml_spec.model.layout import HEADER, RECORD_BYTES, encode_words

from opml_fuzz.machine.replay_limits import is_within_limits
from opml_fuzz.machine.training_case import TrainingStages, header_in, with_training_request
from opml_fuzz.models.random_training import stage_alone, training_request
from opml_min.model.build.build import build_llama
from opml_min.model.image.image import Image
from opml_min.model.image.program import shipped_program
from opml_min.model.image.segments import parts_of
from opml_min.model.sources.checkpoint import Checkpoint, Layer, Shape
from opml_min.model.sources.matrices import Floats
from opml_min.training.recipes.llama import llama_training
from opml_min.training.recipes.llama_shape import LlamaShape
from opml_min.training.recipes.pictures import PictureRecipe, Pictures, classifier_training
from opml_min.training.recipes.recipe import Method, Optimiser, Recipe, TokenText
from opml_min.training.training_model import TrainingModel

RECIPES: tuple[tuple[Method | None, Optimiser], ...] = (*product(Method, Optimiser), *((None, optimiser) for optimiser in Optimiser))
"""Without a method it is a classifier."""

UPDATES = 2


def recipe_run(rng: Random, number: int) -> TrainingStages:
    """Draws a run of the recipe of this number, with all its stages, on a tape that a loader takes: few are too large for 64 bits."""
    method, optimiser = RECIPES[number % len(RECIPES)]
    while not is_within_limits(run := drawn_run(rng, method, optimiser)):
        pass
    return run


def drawn_run(rng: Random, method: Method | None, optimiser: Optimiser) -> TrainingStages:
    """Draws a run of a recipe."""
    model = tiny_classifier(rng, optimiser) if method is None else tiny_llama(rng, method, optimiser)
    memory = {at: b"".join(bytes(part) for part in parts_of(piece)) for at, piece in model.segments if at >= HEADER}
    header, head = header_in(memory), memory.pop(HEADER)  # with the tape
    tape = head[header.tape - HEADER :][: RECORD_BYTES * header.ops]
    memory |= {HEADER: encode_words(header.words), header.tape: tape}
    stages = UPDATES * header.ops
    return TrainingStages(with_training_request(memory, training_request(rng, UPDATES), stages), 0, stages)


def recipe_stage(rng: Random, number: int) -> TrainingStages:
    """Draws a run of the recipe of this number, and of it one stage, as the specification comes to it."""
    run = recipe_run(rng, number)
    return stage_alone(run, rng.randrange(run.count))


def tiny_classifier(rng: Random, optimiser: Optimiser) -> TrainingModel:
    """Draws pictures, labels and the sizes of a classifier."""
    sizes = tuple(rng.randint(1, 12) for _ in range(rng.randint(2, 4)))
    count = rng.randint(1, 9)
    data = Pictures(rng.randbytes(count * sizes[0]), bytes(rng.randrange(sizes[-1]) for _ in range(count)))
    return classifier_training(sizes, PictureRecipe(optimiser, rows=rng.randint(1, 7), sum_frac=rng.randint(8, 24)), data)


def tiny_llama(rng: Random, method: Method, optimiser: Optimiser) -> TrainingModel:
    """Draws a text and a LLaMA, which the recipe trains further or from scratch."""
    kv_heads, vocabulary, period = rng.choice((1, 1, 2)), rng.randint(2, 20), rng.randint(1, 5)
    sizes: dict[str, Any] = {"dim": rng.randint(4, 16), "hidden_dim": rng.randint(4, 20), "layers": 2 if method is Method.LAST else 1}
    heads: dict[str, Any] = {"heads": kv_heads * rng.randint(1, 2), "kv_heads": kv_heads, "head_size": 2 * rng.randint(1, 4)}
    recipe = Recipe(
        method,
        optimiser,
        sequences=2,
        batches=rng.choice((1, 2)),
        period=period,
        rank=rng.randint(1, 3),
        sum_frac=rng.randint(8, 24),
        logit_rows=rng.choice((None, 1 + vocabulary // 2)),
    )
    text = TokenText(struct.pack(f"<{3 * period + 5}H", *(rng.randrange(vocabulary) for _ in range(3 * period + 5))))
    if method is Method.SCRATCH:
        return llama_training(LlamaShape(**sizes, **heads, vocabulary=vocabulary, r=rng.randint(12, 18)), recipe, text)
    heads["head_size"] = 8 * rng.randint(1, 2)
    with TemporaryDirectory(prefix="opml-fuzz-") as folder:
        path = Path(folder) / "model.opml"
        build_llama(tiny_checkpoint(rng, Shape(**sizes, **heads, context=8, vocabulary=vocabulary)), None, path, shipped_program())
        return llama_training(Image(path), recipe, text)


def tiny_checkpoint(rng: Random, shape: Shape) -> Checkpoint:
    """Draws the weights of a LLaMA."""

    def floats(*lengths: int) -> Floats:
        return np.array([rng.uniform(-0.4, 0.4) for _ in range(prod(lengths))], np.float32).reshape(lengths)

    dim, hidden = shape.dim, shape.hidden_dim
    q_rows, kv_rows = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    layers = [
        Layer(
            *(1 + floats(dim), floats(q_rows, dim), floats(kv_rows, dim), floats(kv_rows, dim), floats(dim, q_rows)),
            *(1 + floats(dim), floats(hidden, dim), floats(hidden, dim), floats(dim, hidden)),
        )
        for _ in range(shape.layers)
    ]
    return Checkpoint(shape, floats(shape.vocabulary, dim), layers, 1 + floats(dim), floats(shape.vocabulary, dim))
