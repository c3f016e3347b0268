"""The model that a finished job has trained, as an image for `opml run`. Its state quarter is the last one of the run."""

from collections.abc import Iterable
from pathlib import Path

from opml_min.cli.job_origin import source_of
from opml_min.cli.train_text import shape_of
from opml_min.machine import Memory
from opml_min.memory_map import STATE, Quarter
from opml_min.mnist.build import trained_classifier
from opml_min.model.build.tape import Matrix
from opml_min.model.image.image import Image
from opml_min.model.image.ops import align
from opml_min.model.image.segments import Bytes, PlacedPieces, is_image_of, write_image
from opml_min.model.image.weights import Q8_0, matrix_bytes
from opml_min.model.resolve import text_of
from opml_min.model.sources.checkpoint import Shape
from opml_min.training.image import TrainingImage
from opml_min.training.jobs.description import PICTURES, TrainingJob
from opml_min.training.jobs.errors import JobError
from opml_min.training.jobs.folder import IMAGE, JOB, TRAINED, JobFolder
from opml_min.training.operations import TrainingOp, TrainingOpcode
from opml_min.training.recipes.recipe import Method
from opml_min.training.run import TrainingRun
from opml_min.training.trained_image import image_from_scratch, state_bytes, state_left, trained_image
from opml_min.training.training_model import Trained


def write_trained_model(folder: JobFolder, job: TrainingJob, run: TrainingRun) -> Path:
    """Write the image of a job whose run is finished, and return its path. What was not trained comes from the source."""
    write_image(folder / TRAINED, _segments(folder, job, run.ops, state_left(run.memory, run.ops)))
    return folder / TRAINED


def state_root_of(folder: JobFolder) -> bytes:
    """Return the root of the state quarter with which the job's trained model begins."""
    return _state_of(folder, TrainingImage(folder / IMAGE).ops).quarter_root(Quarter.STATE)


def is_all_as_trained(folder: JobFolder, job: TrainingJob) -> bool:
    """Tell whether the job's trained model is, byte for byte, the image that the job's end makes of the state quarter in it.

    A model may begin with the right weights, and compute something else with them."""
    ops = TrainingImage(folder / IMAGE).ops
    return is_image_of(folder / TRAINED, _segments(folder, job, ops, state_left(_state_of(folder, ops), ops)))


def _state_of(folder: JobFolder, ops: list[TrainingOp]) -> Memory:
    """Return a memory with the trained model's state quarter, which a stranger's file may claim to be of any size."""
    memory, end = Memory(), STATE + state_bytes(ops)
    for segment in Image(folder / TRAINED).segments:
        if segment.address + len(segment.data) > max(STATE, end):
            raise JobError(f"{folder / TRAINED} is damaged: its state quarter is longer than what the run left")
        if segment.address >= STATE:
            memory.write(segment.address, segment.data.tobytes())
    return memory


def _segments(folder: JobFolder, job: TrainingJob, ops: list[TrainingOp], state: Bytes) -> list[PlacedPieces]:
    """Return the image that a job makes of a state. It depends on nothing else but the job's description, its tape and the source."""
    is_classifier = any(op.opcode == TrainingOpcode.PICTURES for op in ops)
    if is_classifier != (job.kind == PICTURES) or (is_classifier and len(job.trained) != 2) or not _are_left(job.trained, ops):
        raise JobError(f"{folder / JOB} is damaged: it does not fit the training image")
    if is_classifier:
        first, second = (Matrix(each.address, Q8_0, each.rows, align(each.columns)) for each in job.trained)
        return trained_classifier(job.trained[0].columns, first, second, state)
    model = source_of(job)
    if job.recipe != Method.SCRATCH:
        return trained_image(model.image, job.trained, state)
    header = model.image.header
    sizes = (header.dim, header.hidden_dim, header.layers, header.heads, header.kv_heads, header.vocabulary)
    shape = Shape(*sizes, context=header.context, head_size=header.head_size)
    return image_from_scratch(shape, text_of(model.image), shape_of(model.image).r, job.trained, state)


def _are_left(trained: Iterable[Trained], ops: list[TrainingOp]) -> bool:
    """Tell whether ops of the run write each of these tensors. The description may come from a stranger."""
    left = {(tensor.address, tensor.size) for op in ops for tensor in op.tensors() if tensor.written}
    return all((each.address, _size(each)) in left for each in trained)


def _size(tensor: Trained) -> int:
    return matrix_bytes(Q8_0, tensor.rows, align(tensor.columns)) if tensor.is_matrix else 4 * tensor.rows * tensor.columns
