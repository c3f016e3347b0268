"""Who recomputes shards at the same time: processes on this computer, or the workers of a Dask cluster.

*Source*: the documentation of dask.distributed, "Client", "Worker death".
"""

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from opml_min.training.jobs.errors import JobError

CONNECT_SECONDS = 10
MISSING = "--scheduler needs dask.distributed, which is not installed: pip install 'opml[dask]'"


@contextmanager
def processes(count: int) -> Iterator[Executor]:
    """Give so many processes of this computer. When an error or Ctrl-C comes first, they are ended."""
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads of this process hold
    before = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(count, mp_context=context, initializer=_leave_ctrl_c_to_the_parent)
    try:
        yield executor
        executor.shutdown()
    except BaseException as error:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        executor.shutdown(cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise JobError("a process that recomputed a shard was killed; if memory is short, use fewer --workers") from error
        raise


def _leave_ctrl_c_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
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
            yield client.get_executor(pure=False)
        except KilledWorker as error:
            raise JobError(f"a shard has killed its workers: {error}") from error
