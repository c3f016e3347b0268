"""The image of inference: a file of segments whose header and tape compute a model.

*Source*: spec §3.1.
"""

from functools import cached_property
from pathlib import Path

import numpy as np

from opml_min.memory_map import HEADER
from opml_min.model.errors import ImageError
from opml_min.model.image.header import HEADER_WORDS, TOKENIZER_NONE, Header
from opml_min.model.image.ops import RECORD_BYTES, RECORD_WORDS, Op, Tape, ops_of
from opml_min.model.image.segments import SegmentFile


class Image(SegmentFile):
    """An image file, its header and its tape."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self.header = Header.unpack(self.read(HEADER, 8 * HEADER_WORDS))
        except ImageError as error:
            raise ImageError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
        self.tape = self._read_tape()

    def _read_tape(self) -> Tape:
        if not 1 <= self.header.op_count <= 1 << 24:
            raise ImageError(f"{self.path}: a tape of {self.header.op_count} ops is impossible")
        words = np.frombuffer(self.read(self.header.tape_address, RECORD_BYTES * self.header.op_count), np.int64)
        return words.reshape(-1, RECORD_WORDS)

    @cached_property
    def ops(self) -> list[Op]:
        """The records of the tape."""
        try:
            return ops_of(self.tape)
        except ValueError as error:
            raise ImageError(f"{self.path}: the tape has an unknown opcode") from error

    def tokenizer_bytes(self) -> bytes:
        header = self.header
        return self.read(header.tokenizer_address, header.tokenizer_length) if header.tokenizer_kind != TOKENIZER_NONE else b""

    def template(self) -> str:
        """Return the chat template; it is empty if the image has none."""
        header = self.header
        return self.read(header.template_address, header.template_length).decode("utf-8", "replace") if header.template_length else ""
