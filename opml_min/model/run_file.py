"""A run in a file: what a validator needs to recompute it, and the run hash that it claims."""

import json
from pathlib import Path

from attrs import frozen

from opml_min.model.errors import ModelError
from opml_min.model.files.atomic import written_whole
from opml_min.model.image.ops import ARITHMETICS
from opml_min.model.image.request import MAX_REQUEST_BYTES, MAX_STAGES

FORMAT = "opml run 1"


class SavedRunError(ModelError):
    """The file is not a saved run."""


class RunOfAnotherModel(ModelError):
    """The saved run used another model than the one given."""


@frozen
class SavedRun:
    """What the file holds."""

    model: str  # a name, or an absolute path
    tokenizer: Path | None  # absolute; only for a source file
    arithmetic: str
    model_root: bytes
    request: bytes
    stages: int
    run_hash: bytes


def save(path: Path, saved: SavedRun) -> None:
    """Write a finished run."""
    text = json.dumps(
        {
            "format": FORMAT,
            "model": saved.model,
            "tokenizer": None if saved.tokenizer is None else str(saved.tokenizer),
            "arithmetic": saved.arithmetic,
            "model_root": saved.model_root.hex(),
            "request": saved.request.hex(),
            "stages": saved.stages,
            "run_hash": saved.run_hash.hex(),
        },
        indent=2,
    )
    with written_whole(path, also_into=True) as file:
        file.write(text.encode() + b"\n")


def load(path: Path) -> SavedRun:
    try:
        data = json.loads(path.read_bytes())
        if data["format"] != FORMAT:
            raise SavedRunError(f"{path} has the format {data['format']!r}, not {FORMAT!r}")
        tokenizer = data["tokenizer"]
        saved = SavedRun(
            str(data["model"]),
            None if tokenizer is None else Path(tokenizer),
            str(data["arithmetic"]),
            bytes.fromhex(data["model_root"]),
            bytes.fromhex(data["request"]),
            int(data["stages"]),
            bytes.fromhex(data["run_hash"]),
        )
    except OSError as error:
        raise SavedRunError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SavedRunError(f"{path} is not a saved run") from error
    if (
        saved.arithmetic not in ARITHMETICS
        or len(saved.model_root) != 32
        or len(saved.run_hash) != 32
        or len(saved.request) > MAX_REQUEST_BYTES
        or not 1 <= saved.stages <= MAX_STAGES
    ):
        raise SavedRunError(f"{path} is damaged")
    return saved
