"""The device on which XLA computes: the first one that JAX finds, unless `JAX_PLATFORMS` names a platform (`cpu`, `cuda`, `tpu`, …).

JAX is the extra `opml[xla]`, and it is imported when a device is opened, not before.
"""

from functools import cache
from importlib import import_module
from typing import Any

from opml_min.model.errors import AcceleratorUnusable
from opml_min.model.image.image import Image
from opml_min.model.image.ops import FLOAT


class XlaDevice:
    """A device of XLA. Whatever is missing raises AcceleratorUnusable with a line that says what."""

    def __init__(self) -> None:
        try:
            jax: Any = import_module("jax")
        except ImportError as error:
            raise AcceleratorUnusable("--device xla needs JAX: pip install 'opml[xla]'") from error
        try:
            self.handle = jax.local_devices()[0]
        except (RuntimeError, IndexError) as error:
            raise AcceleratorUnusable(f"JAX finds no device: {first_line(error)}") from error
        kind, platform = str(self.handle.device_kind), str(self.handle.platform)
        self.name: str = f"XLA's device {kind}" if platform in kind.lower() else f"XLA's device {kind} ({platform})"


def first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


@cache
def open_device() -> XlaDevice:
    """Return the device of this process."""
    return XlaDevice()


def require_computable(image: Image) -> None:
    """Raise AcceleratorUnusable unless the ops here can compute the image."""
    if image.header.arithmetic == FLOAT:
        raise AcceleratorUnusable(f"{image.path} is a float image; accelerators compute fixed point only")
