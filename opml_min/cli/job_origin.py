"""Whether a job is what its description says: the training that its recipe makes of its source and of the data in its image.

Run hashes alone say that somebody computed the image. They do not say that the image begins with the source's weights, that its tape is the
recipe's, or which bytes of the last state are which tensor.
"""

from pathlib import Path

from opml_min.cli.train_text import shape_of
from opml_min.model.errors import ModelError
from opml_min.model.files.sealed import sha256_of
from opml_min.model.resolve import Model, resolve
from opml_min.training.image import TrainingImage, is_training_image_of
from opml_min.training.jobs.description import PICTURES, TrainingJob
from opml_min.training.jobs.errors import SourceAbsent
from opml_min.training.jobs.folder import IMAGE, JOB, JobFolder
from opml_min.training.layout import LAST_UPDATE
from opml_min.training.operations import TrainingOp, TrainingOpcode
from opml_min.training.recipes.llama import llama_training
from opml_min.training.recipes.pictures import PictureRecipe, Pictures, classifier_training
from opml_min.training.recipes.recipe import Method, Optimiser, Recipe, TokenText
from opml_min.training.training_model import TrainingModel


def source_of(job: TrainingJob) -> Model:
    """Return the model that a job trained. SourceAbsent is raised if it is not here."""
    try:
        model = resolve(job.source, None if job.tokenizer is None else Path(job.tokenizer))
    except ModelError as error:
        raise SourceAbsent(f"the job's source is not here: {error}") from error
    if sha256_of(model.image.path) != job.source_sha256:
        raise SourceAbsent(f"{job.source} is not the model that the job trained, or has changed since")
    return model


def fault_of_origin(folder: JobFolder, job: TrainingJob) -> str:
    """Say what is wrong with a job whose image may run in native code; nothing if it is what its description says.

    SourceAbsent is raised if that cannot be told."""
    image = TrainingImage(folder / IMAGE)
    source = None if job.kind == PICTURES else source_of(job)
    try:
        model = _classifier(job, image) if source is None else _llama(job, image, source)
    except (ModelError, ValueError) as error:  # ValueError: an unknown recipe, or operands that no recipe writes
        return f"{folder / JOB} does NOT fit the training image: {str(error)[:200]}"
    if not is_training_image_of(image.path, model):
        of = "the data in it" if source is None else f"{job.source} and the data in it"
        return f"{image.path} is NOT what the recipe {job.recipe} with {job.optimizer} makes of {of}"
    if job.trained != model.trained:
        return f"{folder / JOB} does NOT say where the run leaves the trained tensors"
    return ""


def _ops_of(image: TrainingImage, opcode: TrainingOpcode) -> list[TrainingOp]:
    found = [op for op in image.ops if op.opcode == opcode]
    if not found:
        raise ValueError(f"it has no {opcode.name}")
    return found


def _classifier(job: TrainingJob, image: TrainingImage) -> TrainingModel:
    drawn, loss = _ops_of(image, TrainingOpcode.PICTURES)[0], _ops_of(image, TrainingOpcode.CROSS_ENTROPY)[0]
    hidden = [op["length"] for op in image.ops if op.opcode == TrainingOpcode.RELU]
    pictures = Pictures(image.read(drawn["pictures"], drawn["count"] * drawn["length"]), image.read(drawn["labels"], drawn["count"]))
    recipe = PictureRecipe(Optimiser(job.optimizer), drawn["rows"])
    return classifier_training((drawn["length"], *hidden, loss["vocabulary"]), recipe, pictures)


def _llama(job: TrainingJob, image: TrainingImage, source: Model) -> TrainingModel:
    """Return the training of the same text. The tape says how much of it is learned at once, and the rank of adapters."""
    batches = _ops_of(image, TrainingOpcode.TOKENS)
    drawn = batches[0]
    merged = [op["heads"] for op in image.ops if op.opcode == TrainingOpcode.HEADS and op.condition == LAST_UPDATE]
    recipe = Recipe(
        method=Method(job.recipe),
        optimiser=Optimiser(job.optimizer),
        sequences=drawn["per_update"],
        period=drawn["period"],
        batches=len(batches),
        rank=max(merged, default=1),
    )
    text = TokenText(image.read(drawn["text"], drawn["count"] * drawn["token_bytes"]), drawn["token_bytes"])
    origin = shape_of(source.image) if recipe.method == Method.SCRATCH else source.image
    return llama_training(origin, recipe, text)
