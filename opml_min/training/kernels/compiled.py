"""Compilation of the kernels of training, which are kept apart from those of inference.

*Source*: numba's dispatcher.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from opml_min.model.native.kernel_cache import KERNEL_SOURCES, compiled

TRAINING_KERNEL_SOURCES = (*KERNEL_SOURCES, Path(__file__).parent)


def compiled_for_training(function: Callable[..., None]) -> Any:
    """Return the function as native code; a change of any kernel compiles it again."""
    return compiled(function, TRAINING_KERNEL_SOURCES)
