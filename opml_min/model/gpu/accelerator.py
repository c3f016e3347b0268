"""What the engine asks of an accelerator. The tests have one without a card: an emulator that runs the same kernels."""

import weakref
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


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


class AcceleratorArray:
    """An array on an accelerator, freed with this object."""

    def __init__(self, accelerator: Accelerator, content: NDArray[np.generic]) -> None:
        self._accelerator = accelerator
        self.place = accelerator.allocate(content.nbytes)
        weakref.finalize(self, accelerator.release, self.place).atexit = False
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
