"""The devices that compute stages outside the machine, and the engine for each."""

from typing import Literal

from opml_min.machine import Memory
from opml_min.model.gpu import card
from opml_min.model.gpu.engine import AcceleratorEngine
from opml_min.model.image.image import Image
from opml_min.model.image.ops import Tape
from opml_min.model.native.check import check
from opml_min.model.native.engine import Engine

Device = Literal["cpu", "gpu", "vm"]
StageEngine = Engine | AcceleratorEngine


def engine_for(device: Device, memory: Memory, image: Image, tape: Tape, threads: int) -> StageEngine:
    """Return what computes stages of a tape on a device other than the machine. The image is checked first."""
    check(image)
    if device == "gpu":
        return AcceleratorEngine(memory, image, tape, card.open_card())
    return Engine(memory, image.header, tape, threads)
