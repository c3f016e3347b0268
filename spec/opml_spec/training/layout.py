"""Where everything of a training model lies: its header, its tape, the tensors that pass from stage to stage.

The tape's records are those of chapter 3; only the header, the conditions and the request are others.

*Source*: spec §6.1.
"""

from typing import Self

from attrs import astuple, frozen

from opml_spec.dispute.narrowing import MOST_STAGES
from opml_spec.errors import ImageHeader
from opml_spec.machine.memory import IO, MODEL, Memory
from opml_spec.model.layout import HEADER, MAX_REQUEST_BYTES, RECORD_BYTES, words_at

TRAINING_MAGIC = int.from_bytes(b"OPMLTRNG", "little")
TRAINING_VERSION = 1

TENSORS = IO + (1 << 29)
"""From here on the io quarter holds what passes from stage to stage and is no weight. (= 0x80_2000_0000)"""

EACH_UPDATE, FIRST_UPDATE, LAST_UPDATE = 0, 1, 2  # conditions

SETTINGS_BYTES = 64
"""The numbers of a request, before its data. (= 64)"""


@frozen
class TrainingHeader:
    """The words at HEADER."""

    magic: int = TRAINING_MAGIC
    version: int = TRAINING_VERSION
    ops: int = 0
    tape: int = 0
    request_bytes: int = SETTINGS_BYTES  # of every request: the settings, and the data if the tape reads them there

    @classmethod
    def read(cls, memory: Memory) -> Self:
        return cls(*words_at(memory, HEADER, TRAINING_HEADER_WORDS))

    @property
    def words(self) -> tuple[int, ...]:
        return astuple(self)

    def check(self) -> None:
        """Raise unless everything that does not depend on the ops is valid."""
        if (self.magic, self.version) != (TRAINING_MAGIC, TRAINING_VERSION) or not 1 <= self.ops <= MOST_STAGES:
            raise ImageHeader("magic, version or number of ops")
        if not MODEL <= self.tape <= IO - RECORD_BYTES * self.ops:
            raise ImageHeader("the tape is not in the model quarter")
        if not SETTINGS_BYTES <= self.request_bytes <= MAX_REQUEST_BYTES:
            raise ImageHeader(f"requests of {self.request_bytes} bytes")


TRAINING_HEADER_WORDS = len(TrainingHeader().words)
"""(= 5)"""
