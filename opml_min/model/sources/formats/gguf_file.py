"""The container GGUF: metadata by key, and tensors as blocks of bytes, from a file that may say anything.

Every length, count and type in the header is compared with the bytes that are left before anything is read or allocated for it. Tensors
stay in the file.

*Source*: ggml's `docs/gguf.md` (versions 2 and 3), and `ggml-common.h` for the sizes of blocks.
"""

import struct
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from opml_min.model.errors import CheckpointError

MAGIC, VERSIONS = b"GGUF", (2, 3)
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}  # value types, as struct writes them
BOOL, STRING, ARRAY = 7, 8, 9
MOST_ELEMENTS = 1 << 22  # of an array; the largest vocabularies have 2^18 tokens and twice as many merges
MOST_ENTRIES = 1 << 16  # of the metadata, and of the list of tensors
MOST_NAME_BYTES = 1 << 16
MOST_DIMENSIONS = 4
ALIGNMENT = "general.alignment"


@frozen(eq=False)
class StoredTensor:
    """A tensor in the file: its shape (rows first), and its bytes by row."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    data: NDArray[np.uint8]  # (rows, bytes of a row); a vector is one row


@frozen(eq=False)
class GgufFile:
    """What a file holds."""

    metadata: dict[str, Any]
    tensors: dict[str, StoredTensor]


def read_gguf_file(path: Path) -> GgufFile:
    """Read the metadata of a file, and map its tensors."""
    try:
        size = path.stat().st_size
        data = np.memmap(path, np.uint8, "r") if size else np.empty(0, np.uint8)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    try:
        return _Header(data.data).read(data)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


class _Header:
    """Reads a header from its first byte to its last."""

    def __init__(self, view: memoryview) -> None:
        self._view, self._offset = view, 0

    def read(self, data: NDArray[np.uint8]) -> GgufFile:
        if self._take(4, "the magic") != MAGIC:
            raise CheckpointError("it is no GGUF file")
        version = self._number("I", "the version")
        if version & 0xFFFF == 0:
            raise CheckpointError("it is a big-endian GGUF file; only little-endian ones can be read")
        if version not in VERSIONS:
            raise CheckpointError(f"it has version {version} of GGUF; 2 and 3 can be read")
        tensor_count, entry_count = self._number("Q", "the number of tensors"), self._number("Q", "the number of metadata")
        for count, what in ((tensor_count, "tensors"), (entry_count, "metadata")):
            if count > MOST_ENTRIES or 12 * count > self._left:
                raise CheckpointError(f"it is truncated or corrupted: {count} {what} do not fit")
        metadata = self._metadata(entry_count)
        alignment = metadata.get(ALIGNMENT, 32)
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1) or alignment > 1 << 20:
            raise CheckpointError(f"its {ALIGNMENT} is {_shown(alignment)}, not a power of two")
        infos = [self._tensor_info() for _ in range(tensor_count)]
        start = -(-self._offset // alignment) * alignment
        return GgufFile(metadata, _placed(infos, data, start, alignment))

    @property
    def _left(self) -> int:
        return len(self._view) - self._offset

    def _take(self, length: int, what: str) -> memoryview:
        if length > self._left:
            raise CheckpointError(f"it is truncated or corrupted: {what} ends beyond the file")
        part = self._view[self._offset : self._offset + length]
        self._offset += length
        return part

    def _number(self, code: str, what: str) -> Any:
        return struct.unpack(f"<{code}", self._take(struct.calcsize(code), what))[0]

    def _string(self, what: str) -> str:
        length = self._number("Q", what)
        try:
            return str(self._take(length, what), "utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{what} is not UTF-8") from error

    def _name(self, what: str) -> str:
        name = self._string(what)
        if len(name) > MOST_NAME_BYTES:
            raise CheckpointError(f"it is corrupted: {what} has {len(name)} characters")
        return name

    def _metadata(self, count: int) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        for index in range(count):
            key = self._name(f"the key of metadata {index}")
            if key in metadata:
                raise CheckpointError(f"its metadata has {_shown(key)} twice")
            metadata[key] = self._value(_shown(key), self._number("I", _shown(key)))
        return metadata

    def _value(self, key: str, value_type: int) -> Any:
        if value_type == STRING:
            return self._string(key)
        if value_type == ARRAY:
            return self._array(key)
        if value_type not in SCALARS:
            raise CheckpointError(f"its metadata {key} has the unknown type {value_type}")
        value = self._number(SCALARS[value_type], key)
        return bool(value) if value_type == BOOL else value

    def _array(self, key: str) -> list[Any]:
        value_type, count = self._number("I", key), self._number("Q", key)
        if value_type != STRING and value_type not in SCALARS:
            raise CheckpointError(f"its metadata {key} is an array of the type {value_type}, which cannot be read")
        width = 8 if value_type == STRING else struct.calcsize(SCALARS[value_type])
        if count > MOST_ELEMENTS or width * count > self._left:
            raise CheckpointError(f"it is truncated or corrupted: the {count} elements of {key} do not fit")
        if value_type == STRING:
            return [self._string(key) for _ in range(count)]
        values = np.frombuffer(self._take(width * count, key), f"<{np.dtype(SCALARS[value_type]).str[1:]}")
        return list((values != 0 if value_type == BOOL else values).tolist())

    def _tensor_info(self) -> tuple[str, tuple[int, ...], GGMLQuantizationType, int]:
        name = self._name("the name of a tensor")
        shown = _shown(name)
        dimensions = self._number("I", shown)
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise CheckpointError(f"the tensor {shown} has {dimensions} dimensions")
        shape = tuple(self._number("Q", shown) for _ in range(dimensions))[::-1]
        kind = self._number("I", shown)
        if kind not in GGMLQuantizationType._value2member_map_:
            raise CheckpointError(f"the tensor {shown} has the unknown type {kind}")
        return name, shape, GGMLQuantizationType(kind), self._number("Q", shown)


def _placed(
    infos: list[tuple[str, tuple[int, ...], GGMLQuantizationType, int]], data: NDArray[np.uint8], start: int, alignment: int
) -> dict[str, StoredTensor]:
    """Return the tensors, each of which must lie within the file, aligned, and apart from the others. start: of their data"""
    tensors: dict[str, StoredTensor] = {}
    free = start
    for name, shape, kind, offset in sorted(infos, key=lambda info: info[3]):
        weights, block_bytes = GGML_QUANT_SIZES[kind]
        if name in tensors:
            raise CheckpointError(f"it has the tensor {_shown(name)} twice")
        if min(shape) < 1 or shape[-1] % weights:
            raise CheckpointError(f"the tensor {_shown(name)} has the impossible shape {list(shape)} for the type {kind.name}")
        rows, row_bytes = prod(shape[:-1]), shape[-1] // weights * block_bytes
        first, end = start + offset, start + offset + rows * row_bytes
        if end > len(data):
            raise CheckpointError(f"it is truncated or corrupted: the tensor {_shown(name)} ends at byte {end} of {len(data)}")
        if offset % alignment or first < free:
            raise CheckpointError(f"the tensor {_shown(name)} is not aligned, or overlaps another one")
        tensors[name], free = StoredTensor(name, shape, kind, data[first:end].reshape(rows, row_bytes)), end
    return tensors


def _shown(value: object) -> str:
    """Return a name from the file as one short line can show it."""
    text = str(value)[:80]
    return "".join(c if c.isprintable() else "?" for c in text)
