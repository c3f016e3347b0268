"""Who recomputes shards at the same time: processes on this computer, or the workers of a Dask cluster.

*Source*: the documentation of dask.distributed, "Client", "Worker death".
"""

import errno
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from attrs import frozen

from opml_min.training.jobs.errors import JobError

CONNECT_SECONDS = 10
LOOK_SECONDS, LOST_SECONDS = 5, 60  # between two looks at a cluster that finishes nothing, and until one without workers is given up
TOO_MANY = (errno.EMFILE, errno.ENFILE, errno.EAGAIN)  # files or processes, in the eyes of the system
MISSING = "--scheduler needs dask.distributed, which is not installed: pip install 'opml[dask]'"

R = TypeVar("R")


@frozen
class Workers:
    """Who takes tasks. look: raises JobError if nobody is left who could finish them"""

    executor: Executor
    look: Callable[[], None] = lambda: None

    def results(self, futures: Iterable[Future[R]]) -> Iterator[R]:
        """Yield what tasks return, as they finish."""
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, LOOK_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
            if not done:
                self.look()


@contextmanager
def processes(count: int) -> Iterator[Workers]:
    """Give so many processes of this computer. When an error or Ctrl-C comes first, they are ended."""
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads of this process hold
    before = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(count, mp_context=context, initializer=_begin_worker)
    try:
        yield Workers(executor)
        executor.shutdown()
    except BaseException as error:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        executor.shutdown(cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise JobError("a process that recomputed a shard was killed; if memory is short, use fewer --workers") from error
        if isinstance(error, OSError) and error.errno in TOO_MANY:
            raise JobError(f"cannot begin {count} processes: {error.strerror}; use fewer --workers") from error
        raise


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it, also if it is killed: else a process without a parent would wait for work forever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def cluster(address: str) -> Iterator[Workers]:
    """Give the workers of the cluster whose scheduler has this address. They must see the job's folder under the same path."""
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise JobError(MISSING) from None
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise JobError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        if not client.nthreads():
            raise JobError(f"the Dask cluster at {address} has no workers")
        try:
            yield Workers(client.get_executor(pure=False), _look_at(client, address))
        except KilledWorker as error:
            raise JobError(f"a shard has killed its workers: {error}") from error
        except CancelledError as error:
            raise JobError(f"the Dask scheduler at {address} is gone") from error


def _look_at(client: Any, address: str) -> Callable[[], None]:
    """Return a look at a cluster that is given up when it has had no workers for a while: the scheduler itself would wait for ever."""
    seen = time.monotonic()

    def look() -> None:
        nonlocal seen
        try:
            is_there = bool(client.nthreads())
        except (OSError, ValueError, RuntimeError):  # there is no scheduler at the moment
            is_there = False
        if is_there:
            seen = time.monotonic()
        elif time.monotonic() - seen > LOST_SECONDS:
            raise JobError(f"the Dask cluster at {address} has lost all its workers")

    return look
