"""The model that a finished job has trained, as an image for `opml run`. Its state quarter is the last one of the run."""

import tempfile
from collections.abc import Iterable
from filecmp import cmp
from pathlib import Path

from opml_min.cli.train_text import shape_of
from opml_min.machine import Memory
from opml_min.memory_map import STATE, Quarter
from opml_min.mnist.build import write_trained_classifier
from opml_min.model.build.tape import Matrix
from opml_min.model.files.sealed import sha256_of
from opml_min.model.image.image import Image
from opml_min.model.image.ops import align
from opml_min.model.image.segments import Bytes
from opml_min.model.image.weights import Q8_0, matrix_bytes
from opml_min.model.resolve import resolve, text_of
from opml_min.model.sources.checkpoint import Shape
from opml_min.training.image import TrainingImage
from opml_min.training.jobs.description import PICTURES, TrainingJob
from opml_min.training.jobs.errors import JobError
from opml_min.training.jobs.folder import IMAGE, JOB, TRAINED, JobFolder
from opml_min.training.operations import TrainingOp, TrainingOpcode
from opml_min.training.recipes.recipe import Method
from opml_min.training.run import TrainingRun
from opml_min.training.trained_image import state_left, write_image_from_scratch, write_trained_image
from opml_min.training.training_model import Trained


def write_trained_model(folder: JobFolder, job: TrainingJob, run: TrainingRun) -> Path:
    """Write the image of a job whose run is finished, and return its path. What was not trained comes from the source."""
    _write(folder / TRAINED, folder, job, run.ops, state_left(run.memory, run.ops))
    return folder / TRAINED


def state_root_of(trained: Path) -> bytes:
    """Return the root of the state quarter with which a trained model begins."""
    return _state_of(trained).quarter_root(Quarter.STATE)


def is_all_as_trained(folder: JobFolder, job: TrainingJob) -> bool:
    """Tell whether the job's trained model is, byte for byte, the image that the job's end makes of the state quarter in it.

    A model may begin with the right weights, and compute something else with them."""
    ops = TrainingImage(folder / IMAGE).ops
    with tempfile.TemporaryDirectory() as temporary:
        again = Path(temporary, TRAINED)
        _write(again, folder, job, ops, state_left(_state_of(folder / TRAINED), ops))
        return cmp(again, folder / TRAINED, shallow=False)


def _state_of(trained: Path) -> Memory:
    memory = Memory()
    for segment in Image(trained).segments:
        if segment.address >= STATE:
            memory.write(segment.address, segment.data.tobytes())
    return memory


def _write(path: Path, folder: JobFolder, job: TrainingJob, ops: list[TrainingOp], state: Bytes) -> None:
    """Write the image that a job makes of a state. It depends on nothing else but the job's description, its tape and the source."""
    is_classifier = any(op.opcode == TrainingOpcode.PICTURES for op in ops)
    if is_classifier != (job.kind == PICTURES) or (is_classifier and len(job.trained) != 2) or not _are_left(job.trained, ops):
        raise JobError(f"{folder / JOB} is damaged: it does not fit the training image")
    if is_classifier:
        first, second = (Matrix(each.address, Q8_0, each.rows, align(each.columns)) for each in job.trained)
        write_trained_classifier(path, job.trained[0].columns, first, second, state)
        return
    model = resolve(job.source, None if job.tokenizer is None else Path(job.tokenizer))
    if sha256_of(model.image.path) != job.source_sha256:
        raise JobError(f"{job.source} has changed since the job was made, so the trained model cannot be put together")
    if job.recipe != Method.SCRATCH:
        write_trained_image(path, model.image, job.trained, state)
        return
    header = model.image.header
    sizes = (header.dim, header.hidden_dim, header.layers, header.heads, header.kv_heads, header.vocabulary)
    shape = Shape(*sizes, context=header.context, head_size=header.head_size)
    write_image_from_scratch(path, shape, text_of(model.image), shape_of(header).r, job.trained, state)


def _are_left(trained: Iterable[Trained], ops: list[TrainingOp]) -> bool:
    """Tell whether ops of the run write each of these tensors. The description may come from a stranger."""
    left = {(tensor.address, tensor.size) for op in ops for tensor in op.tensors() if tensor.written}
    return all((each.address, _size(each)) in left for each in trained)


def _size(tensor: Trained) -> int:
    return matrix_bytes(Q8_0, tensor.rows, align(tensor.columns)) if tensor.is_matrix else 4 * tensor.rows * tensor.columns
