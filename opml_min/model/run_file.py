"""A run in a file: what a validator needs to recompute it, and the run hash that it claims."""

import json
from pathlib import Path

from attrs import frozen

from opml_min.model.errors import ModelError
from opml_min.model.files.atomic import written_whole
from opml_min.model.image.ops import ARITHMETICS
from opml_min.model.image.request import MAX_REQUEST_BYTES, MAX_STAGES
from opml_min.model.strict_json import JsonError, object_in

FORMAT = "opml run 1"
MOST_BYTES = 1 << 20


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
    """Read a saved run, which comes from a stranger."""
    try:
        data = object_in(path, MOST_BYTES)
    except OSError as error:
        raise SavedRunError(f"cannot read {path}: {error.strerror}") from error
    except JsonError as error:
        raise SavedRunError(f"{path} is not a saved run: it {error}") from error
    if data.get("format") != FORMAT:
        raise SavedRunError(f"{path} is not a saved run: its format is {str(data.get('format'))[:50]!r}, not {FORMAT!r}")
    try:
        tokenizer = None if data["tokenizer"] is None else Path(_text(data["tokenizer"]))
        texts = _text(data["model"]), tokenizer, _text(data["arithmetic"]), bytes.fromhex(_text(data["model_root"]))
        saved = SavedRun(*texts, bytes.fromhex(_text(data["request"])), data["stages"], bytes.fromhex(_text(data["run_hash"])))
    except (ValueError, KeyError) as error:
        raise SavedRunError(f"{path} is damaged: {type(error).__name__} {str(error)[:100]}") from error
    if (
        saved.arithmetic not in ARITHMETICS
        or len(saved.model_root) != 32
        or len(saved.run_hash) != 32
        or len(saved.request) > MAX_REQUEST_BYTES
        or type(saved.stages) is not int
        or not 1 <= saved.stages <= MAX_STAGES
    ):
        raise SavedRunError(f"{path} is damaged")
    return saved


def _text(value: object) -> str:
    """Return a text that can also be a path."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{str(value)[:50]!r} is no text")
    value.encode()  # raises for half a surrogate pair
    return value
