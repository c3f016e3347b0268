"""The file of segments: ranges of the machine's memory with their bytes, mapped or written.

The file is `"OPMLIMG1"`, u32 segment count, u32 0, a table (u64 address, u64 file offset, u64 length per segment), and the data.

*Source*: spec §3.1.
"""

import mmap
import os
import struct
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.machine import Memory
from opml_min.memory_map import ENTRY, MODEL, PROGRAM_BYTES, QUARTER_BYTES, STATE, Quarter
from opml_min.model.errors import ImageError, NotInOneSegment
from opml_min.model.files.atomic import written_whole
from opml_min.model.files.file_memo import Identity, recalled, remembered

FILE_MAGIC = b"OPMLIMG1"
PAGE_BYTES = 4096
HUGE_PAGE_BYTES = 1 << 21  # a segment of at least this size lies in the file so that it can be mapped in such pages
HASH_BYTES = 32
MODEL_ROOT = "model root"  # the name of the fact that is remembered about an image

Bytes = NDArray[np.uint8]


class Streamed:
    """A piece of an image whose parts are produced one by one while the file is written."""

    def __init__(self, length: int, parts: Callable[[], Iterable[bytes | Bytes]]) -> None:
        self.length, self.parts = length, parts

    def __len__(self) -> int:
        return self.length


Piece = bytes | Bytes | Streamed
PlacedPieces = tuple[int, list[Piece]]  # a segment: its address, and what follows one another there


def parts_of(piece: Piece) -> Iterable[bytes | Bytes]:
    """Return the bytes of a piece, part by part."""
    return piece.parts() if isinstance(piece, Streamed) else [piece]


@frozen(eq=False)
class ImageSegment:
    """A range of the memory, and its bytes in the file."""

    address: int
    offset: int  # in the file
    data: Bytes


def write_image(path: Path, segments: Iterable[PlacedPieces]) -> None:
    """Write segments, each an address and the pieces that follow one another there. Addresses must ascend."""
    with written_whole(path) as file:
        for part in _contents(segments):
            file.write(part)


def is_image_of(path: Path, segments: Iterable[PlacedPieces]) -> bool:
    """Tell whether a file is, byte for byte, what `write_image` would make of segments. Nothing is written."""
    try:
        with path.open("rb") as file:
            return all(file.read(len(part)) == part for part in _contents(segments)) and not file.read(1)
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from error


def _contents(segments: Iterable[PlacedPieces]) -> Iterator[bytes]:
    """Yield the bytes of the file, part by part."""
    layout = [(address, pieces, sum(len(piece) for piece in pieces)) for address, pieces in segments]
    offset = done = 16 + 24 * len(layout)
    table = [struct.pack("<8sII", FILE_MAGIC, len(layout), 0)]
    starts = []
    for address, _, length in layout:
        offset += (address - offset) % (HUGE_PAGE_BYTES if length >= HUGE_PAGE_BYTES else PAGE_BYTES)
        table.append(struct.pack("<3Q", address, offset, length))
        starts.append(offset)
        offset += length
    yield b"".join(table)
    for start, (_, pieces, _) in zip(starts, layout, strict=True):
        yield bytes(start - done)
        done = start
        for piece in pieces:
            before = done
            for part in parts_of(piece):
                yield bytes(part)
                done += len(part)
            if done != before + len(piece):
                raise ImageError(f"a piece of {len(piece)} bytes came out as {done - before}")


class SegmentFile:
    """A file of segments, mapped into memory: its bytes are read when they are touched.

    While it is in use the file may be replaced, but not written to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)
            self.identity = Identity.of(self._descriptor)
            self._map = mmap.mmap(self._descriptor, self.identity.size or 1, access=mmap.ACCESS_READ)
        except OSError as error:
            raise ImageError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:  # it is empty
            raise ImageError(f"{path} is not an image") from error
        if hasattr(mmap, "MADV_HUGEPAGE"):
            self._map.madvise(mmap.MADV_HUGEPAGE)
        self._file: Bytes = np.frombuffer(self._map, np.uint8)
        self.segments = self._read_segments()
        if not self.segments or self.segments[0].address != ENTRY:
            raise ImageError(f"{path}: the first segment of an image must be the program")

    def _read_segments(self) -> list[ImageSegment]:
        file, size = self._file, len(self._file)
        if size < 16 or file[:8].tobytes() != FILE_MAGIC:
            raise ImageError(f"{self.path} is not an image")
        count, zero = struct.unpack("<II", file[8:16].tobytes())
        if zero != 0 or 16 + 24 * count > size:
            raise ImageError(f"{self.path}: the segment table is damaged")
        segments: list[ImageSegment] = []
        free_address, free_offset, end = 0, 16 + 24 * count, 0
        for address, offset, length in struct.iter_unpack("<3Q", file[16 : 16 + 24 * count].tobytes()):
            quarter = address // QUARTER_BYTES * QUARTER_BYTES
            if address % PAGE_BYTES or offset % PAGE_BYTES:
                raise ImageError(f"{self.path}: segment {len(segments)} is not aligned to {PAGE_BYTES} bytes")
            if address < free_address or offset < free_offset:
                raise ImageError(f"{self.path}: segment {len(segments)} overlaps another one")
            if quarter not in (MODEL, STATE) or address + length > quarter + QUARTER_BYTES:
                raise ImageError(f"{self.path}: segment {len(segments)} lies outside the model and state quarters")
            end = offset + length
            if end > size:
                raise ImageError(f"{self.path} is truncated: segment {len(segments)} ends at byte {end} of {size}")
            segments.append(ImageSegment(address, offset, file[offset:end]))
            free_address, free_offset = address + length, end
        if end != size:
            raise ImageError(f"{self.path} has {size - end} bytes after its last segment")
        if segments and len(segments[0].data) >= PROGRAM_BYTES:
            raise ImageError(f"{self.path}: the program exceeds {PROGRAM_BYTES} bytes")
        return segments

    @property
    def program(self) -> bytes:
        return self.segments[0].data.tobytes()

    def view(self, address: int, length: int) -> Bytes:
        """Return the bytes at an address, which one segment must hold."""
        for segment in self.segments:
            offset = address - segment.address
            if offset >= 0 and offset + length <= len(segment.data):
                return segment.data[offset : offset + length]
        raise NotInOneSegment(f"{self.path}: no segment holds the {length} bytes at {address:#x}")

    def read(self, address: int, length: int) -> bytes:
        return self.view(address, length).tobytes()

    def load_into(self, memory: Memory) -> None:
        """Put every segment into its place. What nobody writes to stays in the file, and processes share it."""
        now = Identity.of(self._descriptor)
        if (now.size, now.modified_ns) != (self.identity.size, self.identity.modified_ns):
            raise ImageError(f"{self.path} was written to while it was in use")
        for segment in self.segments:
            memory.map_file(segment.address, self._descriptor, segment.offset, len(segment.data))

    def require_unchanged(self) -> None:
        """Raise ImageError if the file was written to since it was opened, so that not all that was read of it has the root it had."""
        if Identity.of(self._descriptor) != self.identity:
            raise ImageError(f"{self.path} was changed while it was in use")

    def known_model_root(self) -> bytes | None:
        """Return this file's model root if it was computed before."""
        return recalled(MODEL_ROOT, self.identity, HASH_BYTES)

    def model_root(self, memory: Memory) -> bytes:
        """Return the root of a model quarter that holds this image and nothing else. It is computed once per file."""
        return remembered(MODEL_ROOT, self.path, self.identity, lambda: memory.quarter_root(Quarter.MODEL), HASH_BYTES)

    def release(self) -> None:
        """Drop the pages read so far from this process's memory; they are read again when they are needed."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
