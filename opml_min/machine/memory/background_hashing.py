"""Hashing in a second thread while the machine goes on.

All memories share one thread, which does one job after the other. A job works on a memory's tree, so nobody else may look at the tree
before the job is done. What the job hashes must not change meanwhile: either nobody writes there, or it hashes a copy.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from opml_min.machine.memory.address_space import reserve
from opml_min.machine.memory.page_set import Indices
from opml_min.memory_map import PAGE_BYTES

LEAST_PAGES = 1 << 8  # hashing fewer takes less time than handing them over
MOST_PAGES = 3 << 16  # (= 192 MiB); more are not copied to be hashed

Result = TypeVar("Result")


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)


class BackgroundHashing:
    """The jobs on one memory's tree."""

    def __init__(self) -> None:
        self._latest: Future[Any] | None = None
        self._latest_on_copies: Future[Any] | None = None
        self._copies: npt.NDArray[np.uint8] | None = None

    def is_running(self) -> bool:
        return self._latest is not None and not self._latest.done()

    def wait(self) -> None:
        """Waits for all jobs; call it before looking at the writable quarters' tree."""
        for job in (self._latest_on_copies, self._latest):
            if job is not None:
                job.result()
        self._latest_on_copies = self._latest = None

    def start(self, job: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Starts a job, after those that were started before."""
        future = _thread().submit(job, *arguments)
        self._latest = future
        return future

    def start_on_copies(self, job: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Starts a job that reads what `copies` gave; the next `copies` waits for it."""
        future = self.start(job, *arguments)
        self._latest_on_copies = future
        return future

    def is_worthwhile(self, page_count: int) -> bool:
        """Whether to copy and hash this many pages in the background: never very many, and few only if the thread is busy anyway."""
        return page_count <= MOST_PAGES and (page_count >= LEAST_PAGES or self.is_running())

    def copies(self, memory: npt.NDArray[np.uint8], pages: Indices) -> npt.NDArray[np.uint8]:
        """(pages, 1024): a copy of some of the memory's pages, valid until the next call.

        It lies at the same address each time, as fresh memory is slow.
        """
        if self._latest_on_copies is not None:
            self._latest_on_copies.result()
        if self._copies is None:
            self._copies = np.frombuffer(reserve(PAGE_BYTES * MOST_PAGES), dtype=np.uint8).reshape(-1, PAGE_BYTES)
        return np.take(memory, pages, axis=0, out=self._copies[: len(pages)], mode="clip")  # the default mode makes one more copy
