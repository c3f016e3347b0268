"""What a job is, in the file `job.json`. Whoever verifies a job reads it from a stranger."""

import json
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from opml_min.model.errors import RequestError
from opml_min.model.files.atomic import written_whole
from opml_min.model.image.request import MAX_REQUEST_BYTES
from opml_min.model.strict_json import JsonError, object_in
from opml_min.training.jobs.errors import JobError
from opml_min.training.jobs.folder import JOB, JobFolder
from opml_min.training.jobs.loss import is_loss
from opml_min.training.request import Settings
from opml_min.training.training_model import Trained

FORMAT = "opml training job 1"
MOST_BYTES = 1 << 20
MOST_CHARACTERS = 1 << 15  # of a text in it; a path has fewer, and a request's digits too
TEXT, PICTURES = "text", "pictures"


@frozen
class Score:
    """How well a model does on what is held out."""

    loss: float  # nats per token or picture
    accuracy: float  # how often the likeliest token or class is the right one
    examples: int  # how many were scored


@frozen
class TrainingJob:
    """What the file holds."""

    kind: str  # TEXT or PICTURES
    source: str  # the model that gives the weights, or only the shape: a name or an absolute path
    tokenizer: str | None  # an absolute path; only for a source file
    recipe: str
    optimizer: str
    data: str  # an absolute path
    model_root: bytes  # of the training image
    request: bytes
    trained: tuple[Trained, ...]
    source_sha256: bytes  # of the source's image
    checkpoint_every: int  # updates
    before: Score | None  # None if nothing is held out

    @property
    def settings(self) -> Settings:
        return Settings.unpack(self.request)


def save_job(folder: JobFolder, job: TrainingJob) -> None:
    """Write the description. From then on the folder is a job."""
    values = asdict(job) | {name: getattr(job, name).hex() for name in ("model_root", "request", "source_sha256")}
    with written_whole(folder / JOB) as file:
        file.write(json.dumps({"format": FORMAT, **values}, indent=2).encode() + b"\n")


def load_job(folder: JobFolder) -> TrainingJob:
    """Read the description in a folder that may come from a stranger. JobError is raised if the folder is no job, or is damaged."""
    path = folder / JOB
    folder.require_plain_files()
    try:
        data = object_in(path, MOST_BYTES)
    except FileNotFoundError as error:
        raise JobError(f"{folder.path} is no training job: it has no {JOB}") from error
    except OSError as error:
        raise JobError(f"cannot read {path}: {error.strerror}") from error
    except JsonError as error:
        raise JobError(f"{path} is no training job: it {error}") from error
    if data.pop("format", None) != FORMAT:
        raise JobError(f"{path} is no training job: its format is not {FORMAT!r}")
    try:
        job = _job_of(data)
        _ = job.settings
    except (ValueError, TypeError, KeyError, OverflowError, RequestError) as error:
        raise JobError(f"{path} is damaged: {type(error).__name__} {str(error)[:100]}") from error
    return job


def _job_of(data: dict[str, Any]) -> TrainingJob:
    texts = {name: _text(data[name]) for name in ("kind", "source", "recipe", "optimizer", "data")}
    tokenizer = None if data["tokenizer"] is None else _text(data["tokenizer"])
    model_root, source_sha256, request = (bytes.fromhex(_text(data[name])) for name in ("model_root", "source_sha256", "request"))
    every, before = data["checkpoint_every"], data["before"]
    if texts["kind"] not in (TEXT, PICTURES) or len(model_root + source_sha256) != 64 or len(request) > MAX_REQUEST_BYTES:
        raise ValueError("a field is out of its bounds")
    if type(every) is not int or not 1 <= every < 1 << 32:
        raise ValueError(f"checkpoint_every is {str(every)[:50]!r}")
    score = None if before is None else Score(float(before["loss"]), float(before["accuracy"]), int(before["examples"]))
    if score is not None and not (is_loss(score.loss) and 0 <= score.accuracy <= 1 and 0 < score.examples < 1 << 32):
        raise ValueError("a score is out of its bounds")
    return TrainingJob(
        tokenizer=tokenizer,
        model_root=model_root,
        request=request,
        trained=tuple(_trained(each) for each in data["trained"]),
        source_sha256=source_sha256,
        checkpoint_every=every,
        before=score,
        **texts,
    )


def _trained(data: dict[str, Any]) -> Trained:
    tensor = Trained(**data)
    sizes = tensor.address, tensor.rows, tensor.columns
    if type(tensor.is_matrix) is not bool or any(type(size) is not int or not 0 <= size < 1 << 40 for size in sizes):
        raise ValueError("a trained tensor is out of its bounds")
    if not _text(tensor.name).isprintable():
        raise ValueError("a trained tensor has no name that can be printed")
    return tensor


def _text(value: object) -> str:
    """Return a text that can also be a path."""
    if not isinstance(value, str) or not 0 < len(value) <= MOST_CHARACTERS or "\0" in value:
        raise ValueError(f"{str(value)[:50]!r} is no text")
    str(Path(value)).encode()  # raises for half a surrogate pair
    return value
