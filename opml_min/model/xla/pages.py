"""The pages of the machine's memory that a run carries, on the device too: word by word, pages in the order of their addresses.

Pages travel in sets of a few sizes, because each size is compiled.
"""

from collections.abc import Iterable
from functools import partial

import jax
import numpy as np
from numpy.typing import NDArray

from opml_min.machine import Memory
from opml_min.memory_map import PAGE_BYTES
from opml_min.model.gpu.resident import ranges_of_pages
from opml_min.model.image.ops import Buffer
from opml_min.model.xla.first_device import XlaDevice

PAGE_WORDS = PAGE_BYTES // 4
Indices = NDArray[np.int64]


class Pages:
    """All pages that some ranges touch. `words` is what they hold on the device."""

    def __init__(self, device: XlaDevice, ranges: Iterable[Buffer]) -> None:
        self._device = device
        self._pages = pages_of(ranges)
        self.words: jax.Array | None = None

    def place_of(self, address: int) -> int:
        """Return the index of the word at an address."""
        return int(np.searchsorted(self._pages, address // PAGE_BYTES)) * PAGE_WORDS + address % PAGE_BYTES // 4

    def upload(self, memory: Memory, changed: Indices) -> None:
        """Bring the host's content of these pages to the device; of all, the first time."""
        if self.words is None:
            content = np.pad(_content(memory, self._pages), ((0, 1), (0, 0)))  # a page more, for pieces at the end
            self.words = jax.device_put(content.reshape(-1), self._device.handle)
            return
        places = self._places(changed)
        if len(places):
            padded = _padded(places)
            content = np.pad(_content(memory, self._pages[places]), ((0, len(padded) - len(places)), (0, 0)), mode="edge")
            self.words = _replaced(self.words, padded, content)

    def download(self, memory: Memory, ranges: Iterable[Buffer]) -> None:
        """Bring the device's content of the pages of these ranges to the host."""
        places = self._places(pages_of(ranges))
        if self.words is None or not len(places):
            return
        content = np.asarray(_taken(self.words, _padded(places)))
        done = 0
        for address, length in ranges_of_pages(self._pages[places]):
            memory.view(address, length // 4, np.int32)[:] = content[done : done + length // PAGE_BYTES].reshape(-1)
            done += length // PAGE_BYTES

    def _places(self, pages: Indices) -> Indices:
        """Return which of the pages held here are among those."""
        places = np.searchsorted(self._pages, pages)
        held: Indices = places[self._pages[np.minimum(places, len(self._pages) - 1)] == pages]
        return held


def pages_of(ranges: Iterable[Buffer]) -> Indices:
    """Return the pages of ranges, ascending."""
    found = [np.arange(address // PAGE_BYTES, (address + length - 1) // PAGE_BYTES + 1) for address, length in ranges if length]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)


def _content(memory: Memory, pages: Indices) -> NDArray[np.int32]:
    parts = [memory.view(address, length // 4, np.int32) for address, length in ranges_of_pages(pages)]
    return np.concatenate(parts).reshape(-1, PAGE_WORDS)


def _padded(places: Indices) -> Indices:
    """Repeat the last place, up to a power of two."""
    return np.pad(places, (0, (1 << (len(places) - 1).bit_length()) - len(places)), mode="edge")


@partial(jax.jit, donate_argnums=0)
def _replaced(words: jax.Array, places: jax.Array, content: jax.Array) -> jax.Array:
    return words.reshape(-1, PAGE_WORDS).at[places].set(content).reshape(-1)


@jax.jit
def _taken(words: jax.Array, places: jax.Array) -> jax.Array:
    return words.reshape(-1, PAGE_WORDS)[places]
