"""The devices that compute stages outside the machine, and the engine for each."""

from typing import TYPE_CHECKING, Literal, TypeAlias

from opml_min.machine import Memory
from opml_min.model.gpu import card
from opml_min.model.gpu.engine import AcceleratorEngine
from opml_min.model.image.image import Image
from opml_min.model.image.ops import Tape
from opml_min.model.native.check import check
from opml_min.model.native.engine import Engine
from opml_min.model.xla.first_device import open_device

if TYPE_CHECKING:
    from opml_min.model.xla.engine import XlaEngine

Device = Literal["cpu", "gpu", "xla", "vm"]
StageEngine: TypeAlias = "Engine | AcceleratorEngine | XlaEngine"


def engine_for(device: Device, memory: Memory, image: Image, tape: Tape, threads: int) -> StageEngine:
    """Return what computes stages of a tape on a device other than the machine. The image is checked first."""
    check(image)
    if device == "gpu":
        return AcceleratorEngine(memory, image, tape, card.open_card())
    if device == "xla":
        xla_device = open_device()  # which says so if JAX is missing
        from opml_min.model.xla.engine import XlaEngine

        return XlaEngine(memory, image, tape, xla_device)
    return Engine(memory, image.header, tape, threads)
