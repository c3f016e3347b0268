"""The training image: a training model as a file of segments.

*Source*: spec §3.1 and §6.1.
"""

from functools import cached_property
from pathlib import Path

from opml_min.machine import Memory
from opml_min.memory_map import HEADER
from opml_min.model.errors import CheckFailed, ImageError
from opml_min.model.image.segments import PlacedPieces, SegmentFile, is_image_of, parts_of, write_image
from opml_min.training.errors import ImageHeader
from opml_min.training.layout import HEADER_WORDS, Segments, TrainingHeader
from opml_min.training.loader import decoded_ops
from opml_min.training.operations import TrainingOp
from opml_min.training.training_model import TrainingModel


class TrainingImage(SegmentFile):
    """A training image's file, and its header."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self.header = TrainingHeader.unpack(self.read(HEADER, 8 * HEADER_WORDS))
        except ImageHeader as error:
            raise ImageError(f"{path} is not a training image: {error}") from error

    @cached_property
    def ops(self) -> list[TrainingOp]:
        """The records of the tape; CheckFailed is raised if native code cannot know them all, or no segment holds them all."""
        try:
            return decoded_ops(self.header, self.read)
        except ImageError as error:
            raise CheckFailed(f"{self.path}: its tape is not whole, so only the machine can run it: {error}") from error


def write_training_image(path: Path, model: TrainingModel) -> None:
    """Write a training model. Its pieces are produced one after the other."""
    write_image(path, _placed(model))


def is_training_image_of(path: Path, model: TrainingModel) -> bool:
    """Tell whether a file is, byte for byte, the image of a training model."""
    return is_image_of(path, _placed(model))


def _placed(model: TrainingModel) -> list[PlacedPieces]:
    return [(address, [piece]) for address, piece in model.segments]


def load_segments(segments: Segments, memory: Memory) -> None:
    """Put the segments of a training model into their places, part by part."""
    for address, piece in segments:
        for part in parts_of(piece):
            memory.write(address, bytes(part))
            address += len(part)
