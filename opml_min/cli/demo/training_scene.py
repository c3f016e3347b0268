"""What a demonstration of training is about: a LLaMA with a few thousand weights that learns the letters of a poem from nothing."""

from collections.abc import Mapping
from math import log
from typing import Any

import numpy as np
from attrs import frozen

from opml_min.cli.demo.play import Match
from opml_min.model.files.temporary import temporary_folder
from opml_min.players.cheats.cheat import Scene
from opml_min.players.computation import Computation
from opml_min.training.image import TrainingImage, write_training_image
from opml_min.training.operations import TrainingOpcode
from opml_min.training.recipes.llama import llama_training
from opml_min.training.recipes.llama_shape import LlamaShape
from opml_min.training.recipes.recipe import Method, Recipe, TokenText
from opml_min.training.request import Settings
from opml_min.training.tensor_names import tensor_names

POEM = """\
shall i compare thee to a summer's day? thou art more lovely and more temperate: rough winds do shake the darling buds of may, and summer's
lease hath all too short a date: sometime too hot the eye of heaven shines, and often is his gold complexion dimm'd; and every fair from
fair sometime declines, by chance, or nature's changing course, untrimm'd; but thy eternal summer shall not fade
"""  # Source: W. Shakespeare, sonnet 18
LETTERS = "abcdefghijklmnopqrstuvwxyz ,:;?'"
SHAPE = LlamaShape(dim=24, hidden_dim=40, layers=2, heads=2, kv_heads=1, head_size=12, vocabulary=len(LETTERS))
RECIPE = Recipe(Method.SCRATCH, sequences=4, period=16)
SETTINGS = Settings(
    seed=7, updates=8, warmup=1, rate_q34=round(0.02 * 2**34), last_rate_q34=0,
    first_moment_q16=round(0.1 * 2**16), second_moment_q16=round(0.05 * 2**16), momentum_q16=0, decay_q16=0,
)  # fmt: skip


@frozen
class TrainingScene:
    """A request to train, and how its weights are called."""

    scene: Scene
    image: TrainingImage
    settings: Settings
    tensor_names: Mapping[int, str]
    weights: int

    @property
    def description(self) -> str:
        ops = len(self.image.ops)
        return (
            f"a LLaMA of {self.weights:,} weights, {self.settings.updates} updates of {ops} ops, "
            f"each over {RECIPE.sequences} pieces of {RECIPE.period} letters of a poem"
        )

    def facts(self, match: Match) -> dict[str, Any]:
        """What a training has beside a match: losses, nats per letter, and the root of the trained weights, if the request is this one."""
        if match.setup.scene != self.scene:
            return {"losses": None, "state_root": None}
        honest = match.setup.honest
        losses = [self.loss(honest, update) for update in range(self.settings.updates)]
        return {"losses": losses, "state_root": "0x" + honest.final_state_root().hex()}

    def loss(self, honest: Computation, update: int) -> float:
        """The loss in an update, nats per letter, as the run computes it: the mean of −ln of the probability that the right letter has."""
        (index,) = [i for i, op in enumerate(self.image.ops) if op.opcode == TrainingOpcode.CROSS_ENTROPY]
        op = self.image.ops[index]
        memory = honest.machine_at(update * len(self.image.ops) + index + 1, 0).memory
        of_target = memory.view(op["of_target"], op["rows"], np.int32)
        return sum(-log(1 + int(value) / 2**30) for value in of_target) / op["rows"]


def training_scene(settings: Settings = SETTINGS) -> TrainingScene:
    """Builds the training, with the shipped program in it."""
    text = bytes(LETTERS.index(letter) for letter in POEM.replace("\n", " "))
    model = llama_training(SHAPE, RECIPE, TokenText(text, token_bytes=1))
    with temporary_folder() as folder:
        path = folder / "training.opml"
        write_training_image(path, model)
        image = TrainingImage(path)
    names = tensor_names(model.trained, image.ops)
    weights = sum(tensor.rows * tensor.columns for tensor in model.trained)
    scene = Scene(image, settings.pack(), settings.updates * model.op_count)
    return TrainingScene(scene, image, settings, names, weights)
