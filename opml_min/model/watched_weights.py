"""Whether a memory still has the weights of its image, so that a device may hold them once for all runs of the image.

No op writes to a weight. But the host may write anywhere, as a liar does, and then this run's weights are its own.

*Source*: spec §3.8 (weights in the state quarter).
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from opml_min.machine import Memory
from opml_min.memory_map import PAGE_BYTES, STATE
from opml_min.model.image.image import Image
from opml_min.model.image.ops import Buffer


class WatchedWeights:
    """Looks at all changes of a memory that so far equals its image."""

    def __init__(self, memory: Memory, image: Image, weights: Iterable[Buffer]) -> None:
        self._memory, self._image = memory, image
        self._in_state = sorted({buffer for buffer in weights if buffer[0] >= STATE})
        pages = [np.arange(address // PAGE_BYTES, (address + length - 1) // PAGE_BYTES + 1) for address, length in self._in_state]
        self._pages = np.unique(np.concatenate(pages)) if pages else np.zeros(0, np.int64)
        self._model_version = memory.model_version
        self._are_own = self._have_changed = False
        memory.take_changed()  # from here on

    def take_changed(self) -> NDArray[np.int64]:
        """Return the pages of the memory that have changed since the last call."""
        changed = self._memory.take_changed()
        touched = np.intersect1d(changed, self._pages, assume_unique=True)
        self._have_changed |= bool(len(touched)) and (self._are_own or self._differ(touched))
        return changed

    def have_changed(self) -> bool:
        """Tell whether weights have changed since they were copied to a device: at last, or at first from the image."""
        return self._have_changed or self._model_version != self._memory.model_version

    def note_copied(self) -> None:
        """Take note that this run now has weights of its own on a device, copied from the memory as it is."""
        self._have_changed, self._model_version, self._are_own = False, self._memory.model_version, True

    def _differ(self, pages: NDArray[np.int64]) -> bool:
        """Tell whether weights on some pages are others than the image's."""
        for page in pages.tolist():
            for address, length in self._in_state:
                first, end = max(address, page * PAGE_BYTES), min(address + length, (page + 1) * PAGE_BYTES)
                if first < end and self._memory.read(first, end - first) != self._image.read(first, end - first):
                    return True
        return False
