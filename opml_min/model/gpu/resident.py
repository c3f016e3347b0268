"""Ranges of the machine's memory that lie on an accelerator too, byte for byte.

Ranges that are close together become one extent. What lies between them is copied as well, which changes nothing: copies are made only
while both sides hold the same.
"""

import weakref
from collections.abc import Hashable, Iterable, Iterator

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.machine import Memory
from opml_min.memory_map import PAGE_BYTES, QUARTER_BYTES
from opml_min.model.errors import AcceleratorUnusable
from opml_min.model.files.file_memo import Identity
from opml_min.model.gpu.accelerator import Accelerator
from opml_min.model.image.ops import Buffer

CLOSE_BYTES = 1 << 16
COPIED_AT_ONCE = 1 << 26
DEVICE_ALIGNMENT = 256


@frozen
class Extent:
    """Bytes of the machine's memory, and their place on the accelerator."""

    address: int
    length: int
    place: int


class Resident:
    """The extents that hold some ranges. They are freed with this object."""

    def __init__(self, accelerator: Accelerator, ranges: Iterable[Buffer]) -> None:
        self._accelerator = accelerator
        self.extents: list[Extent] = []
        for address, length in close_together(ranges):
            before = address % DEVICE_ALIGNMENT
            place = accelerator.allocate(before + length)
            weakref.finalize(self, accelerator.release, place).atexit = False
            self.extents.append(Extent(address - before, before + length, place))

    def place_of(self, address: int) -> int:
        """Return where a byte of the machine's memory lies on the accelerator."""
        for extent in self.extents:
            if extent.address <= address < extent.address + extent.length:
                return extent.place + address - extent.address
        raise KeyError(f"{address:#x}")

    def held_pages(self, pages: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Return which of the ascending pages lie whole on the accelerator, and where."""
        held, places = [pages[:0]], [np.empty(0, np.uint64)]
        for extent in self.extents:
            first, end = -(-extent.address // PAGE_BYTES), (extent.address + extent.length) // PAGE_BYTES
            found = pages[(pages >= first) & (pages < end)]
            held.append(found)
            places.append((found * PAGE_BYTES - extent.address + extent.place).astype(np.uint64))
        return np.concatenate(held), np.concatenate(places)

    def upload(self, memory: Memory, ranges: Iterable[Buffer] | None = None) -> None:
        """Copy the host's bytes in the ranges, or all, to the accelerator."""
        for address, place, length in self._pieces(ranges):
            self._accelerator.upload(place, memory.view(address, length, np.uint8))  # type: ignore[arg-type]

    def download(self, memory: Memory, ranges: Iterable[Buffer]) -> None:
        """Copy the accelerator's bytes in the ranges to the host."""
        for address, place, length in self._pieces(ranges):
            self._accelerator.download(place, memory.view(address, length, np.uint8))  # type: ignore[arg-type]

    def _pieces(self, ranges: Iterable[Buffer] | None) -> Iterator[tuple[int, int, int]]:
        """Yield (address, place, length) of what lies in both the ranges and the extents."""
        wanted = None if ranges is None else close_together(ranges)
        for extent in self.extents:
            for address, length in [(extent.address, extent.length)] if wanted is None else wanted:
                first, end = max(address, extent.address), min(address + length, extent.address + extent.length)
                for start in range(first, end, COPIED_AT_ONCE):
                    yield start, extent.place + start - extent.address, min(COPIED_AT_ONCE, end - start)


def close_together(ranges: Iterable[Buffer]) -> list[Buffer]:
    """Join ranges of one quarter with less than CLOSE_BYTES between them."""
    joined: list[Buffer] = []
    for address, length in sorted(ranges):
        if joined:
            before, before_length = joined[-1]
            if address < before + before_length + CLOSE_BYTES and address // QUARTER_BYTES == before // QUARTER_BYTES:
                joined[-1] = (before, max(before_length, address + length - before))
                continue
        joined.append((address, length))
    return joined


def require_room(accelerator: Accelerator, ranges: Iterable[Buffer], scratch_bytes: int) -> None:
    """Raise AcceleratorUnusable unless the extents of the ranges, and scratch, fit the accelerator's free memory."""
    needed, free = sum(length for _, length in close_together(ranges)) + scratch_bytes, accelerator.free_bytes()
    if needed > free:
        raise AcceleratorUnusable(f"{accelerator.name} has {free >> 20} MiB free, and the model needs {-(-needed >> 20)} MiB")


def ranges_of_pages(pages: NDArray[np.int64]) -> list[Buffer]:
    """Return the bytes of ascending pages, neighbours as one range."""
    ends = np.flatnonzero(np.diff(pages) > 1)
    firsts, lasts = np.concatenate([pages[:1], pages[ends + 1]]), np.concatenate([pages[ends], pages[-1:]])
    return [(first * PAGE_BYTES, (last - first + 1) * PAGE_BYTES) for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)]


_models: "weakref.WeakValueDictionary[Hashable, Resident]" = weakref.WeakValueDictionary()


def resident_model(accelerator: Accelerator, memory: Memory, identity: Identity, ranges: list[Buffer]) -> Resident:
    """Return the tensors of an image on the accelerator: those that another run of it has brought there, if there is one."""
    key = (id(accelerator), identity, *ranges)
    model = _models.get(key)
    if model is None:
        model = Resident(accelerator, ranges)
        model.upload(memory)
        _models[key] = model  # now that it is complete
    return model
