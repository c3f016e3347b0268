"""A job that trains a language model on a text."""

import argparse
import os
from pathlib import Path

import numpy as np

from opml_min.cli.errors import InputError
from opml_min.cli.train_settings import checkpoint_every, settings_of
from opml_min.model.build.llama_image import check_llama
from opml_min.model.files.sealed import sha256_of
from opml_min.model.image.image import Image
from opml_min.model.native.check import check
from opml_min.model.resolve import Model, resolve
from opml_min.training.jobs.description import TEXT, TrainingJob
from opml_min.training.jobs.held_out import Examples
from opml_min.training.jobs.making import JobPlan
from opml_min.training.jobs.text_data import packed, read_tokens, require_enough, split_off, windows
from opml_min.training.recipes.llama import llama_training
from opml_min.training.recipes.llama_shape import LlamaShape
from opml_min.training.recipes.recipe import Method, Optimiser, Recipe, TokenText

STEPS, SEQUENCES, LENGTH, RANK = 200, 8, 128, 8
# The best of rates a factor of three apart, on the embedded model with 8 sequences of 64: 100 updates from scratch on Shakespeare, and
# otherwise 40 on WikiText-2. MEASUREMENTS.md has the losses.
RATES = {
    Optimiser.ADAM: {Method.SCRATCH: 0.004, Method.FULL: 0.003, Method.LAST: 0.018, Method.LORA: 0.012},
    Optimiser.MUON: {Method.SCRATCH: 0.015, Method.FULL: 0.009, Method.LAST: 0.018, Method.LORA: 0.036},
    # Of the mean gradient, well below where it diverges. From scratch it was not measured.
    Optimiser.SGD: {Method.SCRATCH: 0.1, Method.FULL: 0.1, Method.LAST: 0.3, Method.LORA: 0.3},
}
DECAYS = {Method.SCRATCH: 0.1, Method.FULL: 0.1}


def text_plan(model: Model, options: argparse.Namespace) -> JobPlan:
    if options.hidden is not None:
        raise InputError("--hidden is for a classifier of digits; a language model has the shape of its source")
    if model.tokenizer is None:
        raise InputError(f"{options.source} has no tokenizer")
    header = model.image.header
    length = options.length or min(LENGTH, header.context)
    if length > header.context:
        raise InputError(f"--length {length} is beyond the context of {options.source}, {header.context}")
    recipe = Recipe(
        method=Method(options.recipe or Method.LORA),
        optimiser=Optimiser(options.optimizer or Optimiser.ADAM),
        sequences=options.batch or SEQUENCES,
        period=length,
        batches=options.batches,
        rank=options.rank or RANK,
    )
    if options.rank is not None and recipe.method != Method.LORA:
        raise InputError(f"--rank is for lora, not for {recipe.method.value}")
    updates = options.steps or STEPS
    rate = rate_of(recipe) if options.rate is None else options.rate
    summed = recipe.sequences * length if recipe.optimiser == Optimiser.SGD else 1
    settings = settings_of(options, updates, rate, DECAYS.get(recipe.method, 0.0), summed)
    tokens, held_out = read_tokens(options.data, model.tokenizer), None
    if options.eval is True:
        tokens, rest = split_off(tokens, length)
        held_out = windows(rest, length)
    elif options.eval is not None:
        rest = read_tokens(options.eval, model.tokenizer)
        require_enough(rest, length, options.eval)
        held_out = windows(rest, length)
    require_enough(tokens, length, options.data)
    origin = shape_of(model.image) if recipe.method == Method.SCRATCH else model.image
    is_path = os.path.isfile(options.source) or model.source == Path(options.source)
    return JobPlan(
        kind=TEXT,
        source=str(Path(options.source).absolute()) if is_path else options.source,
        source_sha256=sha256_of(model.image.path),
        tokenizer=None if model.tokenizer_path is None else str(model.tokenizer_path.absolute()),
        recipe=recipe.method.value,
        optimizer=recipe.optimiser.value,
        data=str(options.data.absolute()),
        model=llama_training(origin, recipe, TokenText(*packed(tokens, header.vocabulary))),
        settings=settings,
        checkpoint_every=checkpoint_every(options, updates),
        held_out=held_out,
    )


def characters_of(held_out: Examples, job: TrainingJob) -> int:
    """Return how many characters the held-out targets of a text job have. Windows follow one another, so their targets are one text."""
    model = resolve(job.source, None if job.tokenizer is None else Path(job.tokenizer))
    if model.tokenizer is None:
        raise InputError(f"{job.source} has no tokenizer")
    before, *targets = np.minimum([held_out.inputs[0, 0], *held_out.targets.reshape(-1)], model.image.header.vocabulary - 1).tolist()
    return max(1, len(model.tokenizer.decode(targets, before)))


def shape_of(image: Image) -> LlamaShape:
    """Return the shape of a model, for one of the same shape with other weights. An image whose header says anything else is refused."""
    check(image)
    check_llama(image)  # so its weights are such as the header says
    header = image.header
    sizes = (header.dim, header.hidden_dim, header.layers, header.heads, header.kv_heads, header.head_size, header.vocabulary)
    return LlamaShape(*sizes)


def rate_of(recipe: Recipe) -> float:
    """Return the default of the highest learning rate."""
    return RATES[recipe.optimiser][recipe.method]
