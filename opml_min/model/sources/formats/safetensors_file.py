"""The container safetensors, and which files of a folder hold a model's tensors.

An index names the file of every tensor. It is obeyed: other files are not read, and a file that disagrees with it is refused. Without an
index `model.safetensors` is the model, or else all files together. A tensor that two of the files have is refused.

*Source*: github.com/huggingface/safetensors, "Format"; `transformers`, `modeling_utils.py` (`model.safetensors` and its index).
"""

import struct
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.model.errors import CheckpointError
from opml_min.model.strict_json import JsonError, object_in, object_of

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
MOST_HEADER_BYTES = 100_000_000  # Source: safetensors, MAX_HEADER_SIZE
MOST_INDEX_BYTES = 1 << 26
DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}  # 1 for all others


@frozen(eq=False)
class SafeTensor:
    """A tensor in its file. The shape is rows first; a bfloat16 is an unsigned integer, and a type that cannot be read is bytes."""

    kind: str
    shape: tuple[int, ...]
    values: NDArray[Any]


def files_beside(folder: Path) -> list[Path]:
    """Return every file that decides which tensors the model has: the index, or else all files of tensors."""
    index = folder / INDEX
    return [index, *_indexed(folder)[0]] if index.exists() else _all(folder)


def tensors_of_folder(folder: Path) -> dict[str, SafeTensor]:
    """Map the tensors of a model into memory."""
    if (folder / INDEX).exists():
        files, places = _indexed(folder)
        found = {path.name: _mapped(path) for path in files}
        for name, place in places.items():
            if name not in found[place]:
                raise CheckpointError(f"{INDEX} places the tensor {name} in {place}, which does not have it (another version?)")
        for place, tensors in found.items():
            stale = [name for name in tensors if places.get(name) != place]
            if stale:
                raise CheckpointError(f"{place} has the tensor {stale[0]}, which {INDEX} does not place there (another version?)")
        return {name: found[place][name] for name, place in places.items()}
    files = _all(folder)
    if not files:
        raise CheckpointError("it has no *.safetensors")
    merged: dict[str, SafeTensor] = {}
    owner: dict[str, str] = {}
    for path in files:
        for name, tensor in _mapped(path).items():
            if name in merged:
                raise CheckpointError(f"{owner[name]} and {path.name} both have the tensor {name}; remove the file that is not the model's")
            merged[name], owner[name] = tensor, path.name
    alone = folder / SINGLE
    return {name: tensor for name, tensor in merged.items() if owner[name] == SINGLE} if alone in files else merged


def _all(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.safetensors")) if path.is_file()]


def _indexed(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Return the files that the index names, and the file of each tensor."""
    try:
        places = object_in(folder / INDEX, MOST_INDEX_BYTES).get("weight_map")
    except JsonError as error:
        raise CheckpointError(f"{folder / INDEX} {error}") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {folder / INDEX}: {error.strerror}") from error
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{folder / INDEX} has no weight_map")
    names = set(map(str, places.values()))
    for name, place in places.items():
        if not isinstance(place, str) or "/" in place or "\\" in place or not place.endswith(".safetensors") or "\0" in place:
            raise CheckpointError(f"{folder / INDEX} places the tensor {name[:80]!r} in {str(place)[:80]!r}, no file of the folder")
    missing = [name for name in sorted(names) if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder / INDEX} names {missing[0]}, which is missing")
    if (folder / SINGLE).exists() and SINGLE not in names:
        raise CheckpointError(f"{folder} has both {SINGLE} and an index that does not name it; remove one of them")
    return [folder / name for name in sorted(names)], places


def _mapped(path: Path) -> dict[str, SafeTensor]:
    """Map the tensors of a file into memory. They must fill the file after the header exactly."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
            if 8 + length > size or length > MOST_HEADER_BYTES:
                raise CheckpointError(f"{path.name} is truncated or corrupted: its header ends beyond the file")
            header = object_of(file.read(length), MOST_HEADER_BYTES)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except JsonError as error:
        raise CheckpointError(f"{path.name} is corrupted: its header {error}") from error
    header.pop("__metadata__", None)
    data = np.memmap(path, np.uint8, "r", offset=8 + length) if size > 8 + length else np.empty(0, np.uint8)
    places = {name: _place(path, name, entry) for name, entry in header.items()}
    free = 0
    for name, (_, _, first, end) in sorted(places.items(), key=lambda item: item[1][2:]):
        if first != free:
            raise CheckpointError(f"{path.name} is corrupted: the tensor {name[:80]!r} overlaps another one, or leaves a gap")
        free = end
    if free != len(data):
        raise CheckpointError(f"{path.name} is truncated or corrupted: its tensors have {free} bytes, the file {len(data)}")
    return {
        name: SafeTensor(kind, tuple(shape), data[first:end].view(DTYPES.get(kind, "u1")).reshape(shape if kind in DTYPES else -1))
        for name, (kind, shape, first, end) in places.items()
    }


def _place(path: Path, name: str, entry: Any) -> tuple[str, list[int], int, int]:
    """Return type, shape and the range of bytes of a tensor."""
    wrong = CheckpointError(f"{path.name} is corrupted: the entry of the tensor {name[:80]!r} is impossible")
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        raise wrong
    kind, shape, place = entry["dtype"], _sizes(entry.get("shape")), _sizes(entry.get("data_offsets"))
    if shape is None or place is None or len(place) != 2 or place[0] > place[1]:
        raise wrong
    if kind in BYTES and prod(shape) * BYTES[kind] != place[1] - place[0]:
        raise wrong
    return kind, shape, place[0], place[1]


def _sizes(numbers: Any) -> list[int] | None:
    """Return a short list of sizes, or None if it is something else."""
    right = isinstance(numbers, list) and len(numbers) <= 8 and all(type(n) is int and 0 <= n < 1 << 63 for n in numbers)
    return numbers if right else None
