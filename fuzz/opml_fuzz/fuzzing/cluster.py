"""Workers of a Dask cluster, which may be on any number of computers. Each needs the same version of this package.

If a worker dies, the scheduler gives its work to another one, up to three times. The clocks of the computers must agree within a second.

*Source*: the documentation of dask.distributed, "Client", "Worker death".
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any

from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.loop import WorkerLost

CONNECT_SECONDS = 10
MISSING = "--scheduler needs dask.distributed, which is not installed: pip install 'opml[dask]'"


@contextmanager
def cluster(address: str) -> Iterator[tuple[Executor, int]]:
    """Gives the workers of the cluster whose scheduler has this address, and how many threads they have."""
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise InputError(MISSING) from None
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        size = sum(client.nthreads().values())
        if size == 0:
            raise InputError(f"the Dask cluster at {address} has no workers")
        yield ClusterExecutor(client.get_executor(pure=False), KilledWorker), size


class ClusterExecutor(Executor):
    """Dask's executor. Work that has killed its workers raises `WorkerLost`."""

    def __init__(self, inner: Executor, killed: type[Exception]) -> None:
        self._inner, self._killed = inner, killed

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        outer: Future[Any] = Future()
        outer.set_running_or_notify_cancel()

        def pass_on(inner: "Future[Any]") -> None:
            error = inner.exception()
            if error is None:
                outer.set_result(inner.result())
            else:
                outer.set_exception(WorkerLost(str(error)) if isinstance(error, self._killed) else error)

        self._inner.submit(fn, *args, **kwargs).add_done_callback(pass_on)
        return outer
