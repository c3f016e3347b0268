"""Where a training model lies in memory: its header, its tape, and the addresses that are the same for all.

*Source*: spec §6.1.
"""

import struct
from collections.abc import Iterable

import numpy as np
from attrs import frozen

from opml_min.memory_map import HEADER, IO
from opml_min.model.image.ops import RECORD_BYTES, RECORD_WORDS, Tape
from opml_min.model.image.segments import Piece
from opml_min.training.errors import ImageHeader

MAGIC = int.from_bytes(b"OPMLTRNG", "little")
VERSION = 1
HEADER_WORDS = 5
TAPE = HEADER + 4096  # where the builders here put it
TENSORS = IO + (1 << 29)  # (= 0x80_2000_0000)
SETTINGS_BYTES, MAX_REQUEST_BYTES = 64, 16384
MAX_OPS = 1 << 24
EACH_UPDATE, FIRST_UPDATE, LAST_UPDATE = 0, 1, 2

Segments = Iterable[tuple[int, Piece]]  # addresses and their bytes


@frozen
class TrainingHeader:
    """The words of a training image's header after magic and version."""

    op_count: int
    tape_address: int = TAPE
    request_bytes: int = SETTINGS_BYTES

    def pack(self) -> bytes:
        return struct.pack("<5Q", MAGIC, VERSION, self.op_count, self.tape_address, self.request_bytes)

    @classmethod
    def unpack(cls, data: bytes) -> "TrainingHeader":
        magic, version, *fields = struct.unpack_from("<5Q", data)
        if magic != MAGIC or version != VERSION:
            raise ImageHeader("the image has no header of training, version 1, at 0x4010000000")
        header = cls(*fields)
        if not 1 <= header.op_count <= MAX_OPS:
            raise ImageHeader(f"a tape of {header.op_count} ops is impossible")
        if not SETTINGS_BYTES <= header.request_bytes <= MAX_REQUEST_BYTES:
            raise ImageHeader(f"a request of {header.request_bytes} bytes is impossible")
        return header


def pack_tape(records: Iterable[Iterable[int]]) -> bytes:
    """Encode records, each an opcode, a condition and operands."""
    return b"".join(struct.pack(f"<{RECORD_WORDS}Q", *(tuple(record) + (0,) * RECORD_WORDS)[:RECORD_WORDS]) for record in records)


def unpack_tape(data: bytes) -> Tape:
    assert len(data) % RECORD_BYTES == 0
    return np.frombuffer(data, np.int64).reshape(-1, RECORD_WORDS)
