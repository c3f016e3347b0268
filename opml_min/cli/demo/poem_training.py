"""The training of the demonstration: a LLaMA with a few thousand weights that learns the letters of a poem from nothing."""

from opml_min.cli.demo.training_scene import TrainingScene, scene_of_training
from opml_min.model.files.temporary import temporary_folder
from opml_min.training.image import TrainingImage, write_training_image
from opml_min.training.recipes.llama import llama_training
from opml_min.training.recipes.llama_shape import LlamaShape
from opml_min.training.recipes.recipe import Method, Recipe, TokenText
from opml_min.training.request import Settings

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


def poem_training(settings: Settings = SETTINGS) -> TrainingScene:
    """Builds the training, with the shipped program in it."""
    text = bytes(LETTERS.index(letter) for letter in POEM.replace("\n", " "))
    model = llama_training(SHAPE, RECIPE, TokenText(text, token_bytes=1))
    with temporary_folder() as folder:
        path = folder / "training.opml"
        write_training_image(path, model)
        image = TrainingImage(path)
    what = f"a LLaMA from nothing, on {RECIPE.sequences} pieces of {RECIPE.period} letters of a poem at a time"
    return scene_of_training(image, settings.pack(), model.trained, what)
