"""What the engine asks of an accelerator. The tests have one without a card: an emulator that runs the same kernels."""

import time
import weakref
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
LAUNCH_SECONDS = 0.05  # about how long the accelerator works between two looks at it


class Accelerator(Protocol):
    """Memory apart from the host's, and the kernel that computes stages there."""

    name: str
    hashes_from: int | None
    """From how many pages on it hashes memory instead of the processor; None: never."""
    issues_per_second: float
    """How many instructions it can begin per second, counted once for each lane."""

    def free_bytes(self) -> int:
        """Return how much memory can still be allocated."""

    def allocate(self, length: int) -> int:
        """Return the address of so many bytes, a multiple of 256. Their content is undefined."""

    def release(self, address: int) -> None:
        """Free what `allocate` returned."""

    def upload(self, address: int, data: Bytes) -> None:
        """Copy from the host."""

    def download(self, address: int, into: Bytes) -> None:
        """Copy to the host."""

    def copy(self, source: int, destination: int, length: int) -> None:
        """Copy between two places of this memory, and return when that is done."""

    def run_stages(self, job: int, first: int, end: int) -> None:
        """Compute the stages [first, end) of the job at an address, and return when they are done."""

    def hash_pages(self, places: int, roots: int, count: int) -> None:
        """Compute the Merkle roots of pages, given the array of their addresses and the array for the roots, and return when it is done."""

    def run_batches(self, job: int, first: int, end: int) -> None:
        """Compute the batches [first, end) of the batch job at an address, and return when they are done."""


class AcceleratorSpace:
    """Bytes on an accelerator, freed with this object. Their content is undefined."""

    def __init__(self, accelerator: Accelerator, length: int) -> None:
        self.place = accelerator.allocate(length)
        weakref.finalize(self, accelerator.release, self.place).atexit = False


class AcceleratorArray(AcceleratorSpace):
    """An array on an accelerator, freed with this object."""

    def __init__(self, accelerator: Accelerator, content: NDArray[np.generic]) -> None:
        super().__init__(accelerator, content.nbytes)
        self._accelerator = accelerator
        self.put(content)

    def put(self, content: NDArray[np.generic]) -> None:
        """Replace the content by one of the same size."""
        self._accelerator.upload(self.place, np.ascontiguousarray(content).view(np.uint8).reshape(-1))


def roots_on(accelerator: Accelerator, places: NDArray[np.uint64]) -> Bytes:
    """Return the Merkle roots of pages by their addresses on an accelerator: (pages, 32)."""
    roots = np.zeros((len(places), 32), np.uint8)
    arrays = [AcceleratorArray(accelerator, each) for each in (places, roots)]
    accelerator.hash_pages(arrays[0].place, arrays[1].place, len(places))
    accelerator.download(arrays[1].place, roots.reshape(-1))
    return roots


def launches(compute: Callable[[int, int], None], first: int, end: int, at_once: int) -> Iterator[int]:
    """Compute [first, end) in launches that take about LAUNCH_SECONDS each, and yield where each ends. The first one computes `at_once`."""
    while first < end:
        until = min(first + at_once, end)
        begin = time.perf_counter()
        compute(first, until)
        if time.perf_counter() - begin < LAUNCH_SECONDS / 2:
            at_once *= 2
        first = until
        yield first
